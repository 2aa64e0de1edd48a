/* A heartbeat was heard: what the programs on that node say about themselves goes into the log of statistics, and what
 * is to be thought of them into the platform's log, when it is another than before. */
#include <stdlib.h>

#include "base/clock.h"
#include "control/instance_watch.h"
#include "control/parts.h"

struct judgement {
    struct control *control;
    struct id node_id, instance_id;
    char cause[WATCH_CAUSE_SIZE];
};

static enum health said(const struct instance *i)
{
    return i->watched == HEALTH_UNKNOWN ? HEALTH_NOMINAL : (enum health)i->watched;
}

/* It may have waited for the store: what is decided is what the last heartbeat says, which may be a later one. */
static enum err judge(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct judgement *j = args;
    const struct instance_report *r = seen_instance_report(j->control->seen, j->node_id, j->instance_id);
    enum health health;
    if (r == NULL || !instance_watch(&r->umbilical, &health, j->cause))
        return OK;
    const struct umbilical_report *u = &r->umbilical.report;
    struct instance_watched w = {.instance_id = j->instance_id,
                                 .health = health,
                                 .cause = str_from(j->cause),
                                 .silent_ms = r->umbilical.silent_ms,
                                 .behind_ms = u->behind_ms,
                                 .lag_events = u->lag_events,
                                 .n_errors = u->n_errors,
                                 .n_effects_parked = u->n_effects_parked};
    return decide_instance_watched(d, &w, out, err);
}

static void judged(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    (void)rc; /* the next heartbeat judges again */
    (void)events_n;
    (void)err;
    free(ctx);
}

static void judge_one(struct control *c, struct id node_id, const struct instance *i, const struct umbilical *u)
{
    struct judgement *j = mem_alloc(sizeof(*j));
    enum health health = HEALTH_UNKNOWN;
    *j = (struct judgement){.control = c, .node_id = node_id, .instance_id = i->id};
    if (!process_is_application(i->process) || !instance_watch(u, &health, j->cause) || health == said(i)) {
        free(j);
        return;
    }
    control_submit(c, judge, j, judged, j);
}

void control_heard_node(struct control *c, struct id node_id)
{
    const struct seen_node *n = seen_node_find(c->seen, node_id);
    if (n == NULL || !control_is_live(c) || c->is_closing)
        return;
    const struct instance_report *items = n->report.instances.items;
    for (size_t k = 0; k < n->report.instances.n; k++) {
        if (id_is_none(items[k].umbilical.report.run_id)) /* most are no applications: they say nothing here */
            continue;
        const struct instance *i = model_instance(c->model, items[k].instance_id);
        bool is_its = i != NULL && i->node != NULL && id_eq(i->node->id, node_id); /* else it tells tales of others */
        if (!is_its)
            continue;
        if (c->statistics != NULL)
            statistics_hear(c->statistics, i->id, &items[k].umbilical.report, clock_mono_us());
        if (c->watchdog != NULL)
            judge_one(c, node_id, i, &items[k].umbilical);
    }
}
