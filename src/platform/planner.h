#pragma once
/* platform/planner.h - a plan in the making, and what the rules share. Only plan*.c include it.
 *
 * A rule is a function of one object: it reads the model, adds events, and says when it wants to look again
 * (planner_wake, planner_is_due) or what it waits for. It is called when
 *   - its object changed, or one that plan_state.c says it depends on (mark_*): whoever writes a rule that reads
 * another object adds the dependency there, and test_plan finds what was forgotten
 *   - the time that it asked for has come
 *   - what it waits for has come: places_take found no room and there is more now (by itself); edges, with
 *     planner_waits(p, WORK_WAITS_EDGES): at every plan; a certificate, or the nodes that may be placed on, likewise
 *   - the clock stepped back, for who rests though a time that it asked for has come (WORK_WAITS_CLOCK)
 * A rule that is called without need must do nothing.
 * Layer: platform. Pure. */
#include "platform/emit.h"
#include "platform/id_links.h"
#include "platform/plan_state.h"
#include "platform/work.h"

/* Longest cause that is passed on to another object: words come around it, and 4 KiB is the contract's limit. */
enum { CAUSE_PASSED_ON_MAX = 3000 };
/* Begins the cause of a live deployment that lacks an instance for want of room. */
#define CAUSE_NOT_REPLACED "an instance cannot be replaced: "

struct plan_kept { /* an object that stays dirty: its events may not come to be */
    struct work_key key;
    enum work_class class;
    uint64_t seq;
    struct id scope;
};

struct planner {
    /* The plan at hand. */
    const struct model *model;
    const struct platform_settings *settings;
    const struct observations *seen;
    struct id_source *ids;
    struct event_list *out;
    struct places places; /* what is free after what this plan gave away; kept between plans */
    int64_t now_ms;
    int64_t deadline_ms; /* of the object at hand */
    uint32_t waits;      /* of the object at hand: WORK_WAITS_* */
    size_t asked_n;
    struct plan_kept *kept;
    size_t kept_n, kept_size;
    struct id *rounds; /* projects whose round is over in this plan */
    size_t rounds_n, rounds_size;

    /* Kept between plans. */
    struct platform_settings settings_kept;
    const struct model *model_kept; /* compared only */
    uint64_t changes_n;             /* of the model's change list: read up to here */
    uint64_t voters;                /* who votes, as of the last plan (plan_state.c) */
    int64_t planned_ms;             /* now_ms of the last plan */
    struct work_list work;
    struct id_links open;      /* project -> its deployments that are not over or still have instances; none -> other
                                * processes */
    struct id_links unplaced;  /* image -> deployments that wait to be placed */
    struct id_links builds;    /* builder's instance -> image */
    struct id_links hosts;     /* hash of a host -> certificates */
    struct id builder_process; /* the process of all builders; none: there is none */
    uint64_t hold;             /* places_hold of the last plan */
    struct id hold_for;
};

/* Come back at this time at the latest. */
void planner_wake(struct planner *p, int64_t at_ms);
/* True when `seconds` have passed since since_ns; else the planner wakes then. */
bool planner_is_due(struct planner *p, int64_t since_ns, int64_t seconds);
void planner_waits(struct planner *p, uint32_t waits);

/* Rules, by subject: each adds events, or a time to wake, or nothing. */
void plan_node(struct planner *p, const struct node *n);
void plan_image(struct planner *p, const struct image *i);
void plan_deployment(struct planner *p, const struct process *d);
/* Names that lead to a project: its own, and domains that are proved and have a certificate. */
struct strs route_hosts(struct planner *p, const struct project *project);
/* Of a live deployment: domains begin to lead to it, or do no more. False: nothing to do. */
bool plan_domains(struct planner *p, const struct process *d);
/* Of a live deployment that was scaled down: those go that are missed least. False: nothing to do. */
bool plan_surplus(struct planner *p, const struct process *d);
/* New kinds may be written once every replica reads them. */
void plan_format(struct planner *p);
/* A process of no project: an event-sourced application, or one that is being deleted. At most so many instances of one
 * are planned (chosen: what decisions allow is less, platform/settings.h). */
#define APPLICATION_INSTANCES_MAX 1000
void plan_application(struct planner *p, const struct process *d);
/* How long after a failure an instance of it is replaced: later each time. */
int64_t replace_delay_seconds(const struct planner *p, const struct process *d);
/* Why it was placed there, as JSON. */
struct str placement_because(struct planner *p, const char *rule, const struct process *d, const struct placement *at);
/* Until it is placed: queued, building. */
void plan_unplaced(struct planner *p, const struct process *d);
/* A deployment that needs its image built: a builder, or why it waits. */
void plan_build(struct planner *p, const struct process *d);
/* As many as wanted are kept: missing, failed and lost ones are replaced, and those on draining nodes.
 * True: as many as wanted are there or on their way. An instance that a person stopped keeps its place. */
bool plan_replace(struct planner *p, const struct process *d);
/* Of a live deployment that is complete: one of its instances goes to a node with none of them, one at a time. */
void plan_spread(struct planner *p, const struct process *d);
/* Such a move under way: the heir was made to take the place of the old one, and both are there. NULL: none is. */
struct plan_move {
    const struct instance *heir, *old;
};
struct plan_move plan_move_of(const struct process *d);
/* It replaces another one, there is no room for both, and those that it has are healthy: one of the others goes. */
void plan_roll(struct planner *p, const struct process *d);
/* A deployment that is over: its instances go, but never so that fewer serve than are wanted. */
void plan_over(struct planner *p, const struct process *d);

/* It goes on waiting: says for what, when that is new and was not said just now. What is free (behind "; free on") may
 * have changed since: that alone is not news. */
void plan_wait(struct planner *p, const struct process *d, struct str cause);
void plan_fail(struct planner *p, const struct process *d, struct str cause, struct str because);
struct wish plan_wish(const struct process *d);
/* Nobody waits for it any more, which is said; false: somebody does. */
bool plan_cancel(struct planner *p, const struct process *d);
/* When one of its instances last changed. */
int64_t plan_last_news_ns(const struct process *d);
/* A certificate for this host is there. */
bool plan_has_certificate(const struct planner *p, struct str host);
/* An edge that has not acknowledged routes up to here, as far as anybody knows. NULL: none. */
const struct edge_observed *plan_edge_behind(struct planner *p, uint64_t route_seq);
/* Every live edge has acknowledged routes up to here. Waits for edges. */
bool plan_edges_know(struct planner *p, uint64_t route_seq);
/* What is known of them, as JSON. */
struct str plan_edges_because(struct planner *p, const char *rule, uint64_t route_seq);

/* Bring what is kept up to the model and to now (plan_state.c). */
void planner_sync(struct planner *p);
/* Ask the rules (plan.c). Returns when to plan again. */
int64_t planner_run(struct planner *p);
bool deployment_waits_for_room(const struct process *d);
