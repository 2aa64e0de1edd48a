#pragma once
/* platform/planner.h - what the rules of a plan share. Only plan*.c include it.
 * Layer: platform. Pure. */
#include "platform/emit.h"
#include "platform/plan.h"

/* Longest cause that is passed on to another object: words come around it, and 4 KiB is the contract's limit. */
enum { CAUSE_PASSED_ON_MAX = 3000 };

struct planner {
    const struct model *model;
    const struct platform_settings *settings;
    const struct observations *seen;
    struct id_source *ids;
    struct event_list *out;
    struct places places; /* what is free after what this plan gave away */
    int64_t now_ms, deadline_ms;
};

/* Come back at this time at the latest. */
void planner_wake(struct planner *p, int64_t at_ms);
/* True when `seconds` have passed since since_ns; else the planner wakes then. */
bool planner_is_due(struct planner *p, int64_t since_ns, int64_t seconds);

/* Rules, by subject: each adds events, or a time to wake, or nothing. */
void plan_node(struct planner *p, const struct node *n);
void plan_image(struct planner *p, const struct image *i);
void plan_deployment(struct planner *p, const struct process *d);
/* Names that lead to a project: its own, and domains that are proved and have a certificate. */
struct strs route_hosts(struct planner *p, const struct project *project);
/* Of a live deployment: domains begin to lead to it, or do no more. False: nothing to do. */
bool plan_domains(struct planner *p, const struct process *d);
/* Of a live deployment that was scaled down: those go that are missed least. */
void plan_surplus(struct planner *p, const struct process *d);
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
/* A deployment that needs its image built: a builder, or why it waits. */
void plan_build(struct planner *p, const struct process *d);
/* It goes on waiting: says for what, when that is new and was not said just now. */
void plan_wait(struct planner *p, const struct process *d, struct str cause);
