/* Rules that keep a deployment whole: what is missing, failed, lost or on a draining node is replaced. */
#include "platform/planner.h"
#include "platform/replace_delay.h"

int64_t replace_delay_seconds(const struct planner *p, const struct process *d)
{
    return replace_delay(p->settings, d->failures_n);
}

/* It will not run again by itself, and is to be replaced now. */
static bool is_given_up(struct planner *p, const struct process *d, const struct instance *i)
{
    if (i->wanted != DESIRED_RUNNING)
        return false;
    if (i->status == INSTANCE_LOST)
        return true;
    return i->status == INSTANCE_FAILED && planner_is_due(p, i->since_ns, replace_delay_seconds(p, d));
}

/* It runs where it cannot stay: its node drains. */
static bool must_move(const struct instance *i)
{
    return i->wanted == DESIRED_RUNNING && i->node != NULL && i->node->status == NODE_DRAINING;
}

static bool replace_one(struct planner *p, const struct process *d, const struct instance *old, const char *rule)
{
    struct wish wish = plan_wish(d);
    struct placement at;
    const char *why = "";
    wish.avoid = old == NULL ? NULL : old->node;
    if (!places_take(&p->places, &wish, 1, &at, &why)) {
        if (d->status != DEPLOYMENT_STARTING || d->project->live == NULL) /* else plan_roll goes on */
            plan_wait(p, d, say(p->out, CAUSE_NOT_REPLACED "%s", why));
        return false;
    }
    emit_create_instance(p->out, p->ids, d->id, p->settings->installation, &at, placement_because(p, rule, d, &at));
    if (old != NULL)
        emit_delete_instance(p->out, p->ids, old,
                             because(p->out, "{\"rule\":\"replaced\",\"status\":\"%s\",\"cause\":%s}",
                                     instance_status_name((enum instance_status)old->status),
                                     quoted(p->out, old->cause)));
    return true;
}

/* While another deployment rolls in beside it, that one's instances stand in for those that went. */
static int64_t wanted_now(const struct process *d)
{
    int64_t wanted = d->instances_wanted;
    if (d->project->live != d)
        return wanted;
    MODEL_EACH (process, other, &d->project->deployments)
        if (other->status == DEPLOYMENT_STARTING && deployment_is_beside(other))
            wanted -= process_present_n(other);
    return wanted > 0 ? wanted : 0;
}

/* Its replacement serves, and every edge knows it. */
static bool may_leave(struct planner *p, const struct process *d, const struct instance *i, int64_t spare)
{
    if (!instance_is_healthy(i) || d->project->live != d)
        return true;
    return spare > 0 && plan_edges_know(p, d->project->route_seq);
}

/* Replaced first, drained then: never fewer than wanted. */
static void move_away(struct planner *p, const struct process *d, int64_t wanted)
{
    int64_t spare = (int64_t)process_healthy_n(d) - wanted;
    MODEL_EACH (instance, i, &d->instances) {
        if (!must_move(i) || !may_leave(p, d, i, spare))
            continue;
        spare -= instance_is_healthy(i);
        emit_instance_removal(p->out, p->ids, i, say(p->out, "node '%s' drains", i->node->name),
                              because(p->out,
                                      "{\"rule\":\"its node drains\",\"node\":%s,\"healthy\":%u,\"wanted\":%lld}",
                                      quoted(p->out, i->node->name), process_healthy_n(d), (long long)wanted));
    }
}

/* One of two in a move has failed or is lost: the other one stands in for it. */
static void end_move(struct planner *p, const struct instance *i)
{
    emit_delete_instance(p->out, p->ids, i,
                         because(p->out, "{\"rule\":\"the other one of a move stays\",\"status\":\"%s\",\"cause\":%s}",
                                 instance_status_name((enum instance_status)i->status), quoted(p->out, i->cause)));
}

bool plan_replace(struct planner *p, const struct process *d)
{
    int64_t have = 0, moving = 0, wanted = wanted_now(d);
    struct plan_move move = plan_move_of(d);
    MODEL_EACH (instance, i, &d->instances) {
        if (i->wanted == DESIRED_DELETED)
            continue;
        if (must_move(i)) {
            moving++;
            continue;
        }
        if ((i == move.heir || i == move.old) && is_given_up(p, d, i)) {
            end_move(p, i);
            move = (struct plan_move){0};
            continue;
        }
        have++;
        if (is_given_up(p, d, i) && !replace_one(p, d, i, "replace"))
            return false;
    }
    for (; have < wanted; have++)
        if (!replace_one(p, d, NULL, moving > 0 ? "its node drains" : "one is missing"))
            return false;
    if (moving > 0)
        move_away(p, d, wanted);
    return true;
}
