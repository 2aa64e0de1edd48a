#include "platform/plan.h"
#include "base/own.h"

#include "platform/planner.h"

void planner_wake(struct planner *p, int64_t at_ms)
{
    if (at_ms < p->deadline_ms)
        p->deadline_ms = at_ms;
}

bool planner_is_due(struct planner *p, int64_t since_ns, int64_t seconds)
{
    int64_t at_ms = (since_ns + 999999) / 1000000 + seconds * 1000;
    if (p->now_ms >= at_ms)
        return true;
    planner_wake(p, at_ms);
    return false;
}

static bool is_full(struct planner *p)
{
    if (p->out->n < PLAN_EVENTS_MAX)
        return false;
    planner_wake(p, p->now_ms);
    return true;
}

/* What was told to go has gone, or has had its time. */
static void plan_removal(struct planner *p, const struct instance *i)
{
    if (i->wanted != DESIRED_DELETED)
        return;
    if (i->status != INSTANCE_DRAINING)
        emit_delete_instance(
            p->out, p->ids, i,
            because(p->out, "{\"rule\":\"it is %s\"}", instance_status_name((enum instance_status)i->status)));
    else if (planner_is_due(p, i->since_ns, p->settings->stop_timeout_seconds))
        emit_delete_instance(p->out, p->ids, i,
                             because(p->out, "{\"rule\":\"its node did not report its end\",\"timeoutSeconds\":%lld}",
                                     (long long)p->settings->stop_timeout_seconds));
}

/* A switch ends the round: what its other deployments do follows from the model after it. */
static void plan_project(struct planner *p, const struct project *project)
{
    MODEL_EACH (process, d, &project->deployments) {
        size_t before = p->out->n;
        plan_deployment(p, d);
        for (size_t i = before; i < p->out->n; i++)
            if (p->out->items[i].kind == EVENT_ROUTE_DEPLOYMENT) {
                planner_wake(p, p->now_ms);
                return;
            }
    }
}

static void plan_rules(struct planner *p)
{
    const struct model *m = p->model;
    plan_format(p);
    MODEL_EACH (node, n, &m->nodes)
        plan_node(p, n);
    if (p->out->n > 0) { /* the rest follows from the model after that */
        planner_wake(p, p->now_ms);
        return;
    }
    MODEL_EACH (instance, i, &m->instances) {
        if (is_full(p))
            return;
        plan_removal(p, i);
    }
    MODEL_EACH (image, i, &m->images) {
        if (is_full(p))
            return;
        plan_image(p, i);
    }
    MODEL_EACH (process, process, &m->processes) {
        if (is_full(p))
            return;
        if (process->project == NULL)
            plan_application(p, process);
    }
    MODEL_EACH (project, project, &m->projects) {
        if (is_full(p))
            return;
        plan_project(p, project);
    }
}

void model_plan(const struct model *m, const struct platform_settings *s, int64_t now_ms,
                const struct observations *seen, struct id_source *ids, struct plan *ret_plan)
{
    struct planner p = {.model = m,
                        .settings = s,
                        .seen = seen,
                        .ids = ids,
                        .out = &ret_plan->events,
                        .now_ms = now_ms,
                        .deadline_ms = PLAN_NEVER};
    ret_plan->events.items = NULL;
    ret_plan->events.n = ret_plan->events.size = 0;
    places_init(&p.places, m, s, ret_plan->events.arena);
    plan_rules(&p);
    ret_plan->deadline_ms = p.deadline_ms;
}

int64_t model_deadline(const struct model *m, const struct platform_settings *s, int64_t now_ms,
                       const struct observations *seen)
{
    AUTO(arena) struct arena a = {0};
    struct id_source ids = {0};
    struct plan plan = {.events = {.arena = &a}};
    model_plan(m, s, now_ms, seen, &ids, &plan);
    return plan.events.n > 0 ? now_ms : plan.deadline_ms;
}
