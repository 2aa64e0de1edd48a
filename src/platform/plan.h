#pragma once
/* platform/plan.h - what follows from the model and the clock: the next events on the way to what is wanted.
 *
 * The story of a deployment, in the order in which plan() tells it:
 *   queued    a builder is placed on a `control` node (once per image)                     -> building
 *   building  the image is there and nodes have room: process and instances are created    -> starting
 *   starting  every wanted instance is healthy and has stayed so: the route switches to it                   -> live
 *   live      failed and lost instances are replaced; when the next one is switched to     -> draining
 *   draining  every live edge confirmed the switch, the drain time is over: instances go   -> stopped
 *   failed    the build failed, an instance crash-loops, or it was not healthy in time; the one before goes on serving
 * Each event says in `because` (JSON) what it was decided from; a deployment that waits says for what in its cause.
 * Planning twice without news gives the same and, once appended and folded, nothing. Any number of replicas may plan:
 * the log takes the first, the others fold it and find nothing left to do.
 * Layer: platform. Pure. */
#include "platform/events.h"
#include "platform/model.h"
#include "platform/settings.h"

/* No further rule is begun after 800 events, so that a batch stays under 1 MiB (contract; events of a plan have
 * 600 to 900 bytes, a rule adds at most instances_max + 2); what is left follows at once. */
#define PLAN_EVENTS_MAX 800u
#define PLAN_NEVER INT64_MAX
#define PLAN_REPLICAS_UNKNOWN INT64_C(1000000)
/* Begins the cause of a deployment that waits for room. */
#define CAUSE_WAITS_ROOM "waits for capacity: "
/* Begins the cause of one that waits for an edge, whose name follows. */
#define CAUSE_WAITS_EDGE "waits for edge '"

/* An edge as its polls show it. */
struct edge_observed {
    struct str name;
    uint64_t confirmed_seq; /* position of the routes that its Envoy has acknowledged */
    int64_t seen_ms;        /* last poll, on the clock of now_ms */
};
/* What the log does not hold. Borrowed for the call. */
struct observations {
    const struct edge_observed *edges; /* all that this replica has heard of; old ones may stay in */
    size_t edges_n;
    int64_t live_since_ms; /* when this replica began to hear edges. Drains wait until it has listened for
                            * settings->edge_live_seconds: else an edge might be there that it does not know */
    int64_t
        format_min; /* the lowest format that any of these replicas reads (EVENT_FORMAT of its build); 0: not known */
    /* Control-plane replicas with a fresh lease that do not abstain. PLAN_REPLICAS_UNKNOWN: nobody can tell, or none
     * votes; then no node is lost. */
    int64_t replicas_n;
    /* Their names: the votes of others do not count. None: all votes count. */
    struct strs replicas;
};

struct plan {
    struct event_list events; /* to append as one batch; events.arena is set by the caller */
    int64_t deadline_ms;      /* plan again then, even without news; PLAN_NEVER; now after any event */
    size_t asked_n;           /* rules that were asked: what it cost, as far as that does not depend on a machine */
};

/* now_ms: the store's clock. ret_plan->events.arena must be set; everything returned lives there. */
void model_plan(const struct model *m, const struct platform_settings *s, int64_t now_ms,
                const struct observations *seen, struct id_source *ids, struct plan *ret_plan);
