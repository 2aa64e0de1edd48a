/* Rolling: old and new do not fit side by side, so new ones come as old ones go, and both serve meanwhile.
 *
 *   plan_unplaced   as many new ones as there is room for                              -> starting
 *   plan_roll       they are healthy: edges may send requests to them too (RouteDeployment, beside)
 *                   every edge knows: one old instance goes, as long as the healthy ones of both are more than wanted
 *   plan_replace    there is room again: the next new one; and so on
 *   plan_starting   all new ones are healthy: the route switches as always
 * If it fails or is cancelled on the way, the same backwards: plan_over lets its instances go one by one as
 * plan_replace fills up the old deployment. When there is no room for that any more, they give way all the same, one
 * after the other, as long as the old one serves: what is over is not kept serving. */
#include "platform/planner.h"

static void begin_beside(struct planner *p, const struct process *d, uint32_t healthy)
{
    event_list_add(p->out, EVENT_ROUTE_DEPLOYMENT, p->ids)->route_deployment = (struct route_deployment){
        .deployment_id = d->id,
        .project_id = d->project->id,
        .beside = true,
        .because = because(p->out, "{\"rule\":\"rolls one at a time\",\"healthy\":%u,\"wanted\":%lld}", healthy,
                           (long long)d->instances_wanted)};
}

static bool is_leaving(const struct process *d)
{
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted == DESIRED_DELETED)
            return true;
    return false;
}

/* What would be free on its node without it. */
static int64_t room_without(const struct planner *p, const struct instance *i)
{
    const struct place *place = i->node == NULL ? NULL : places_find(&p->places, i->node->id);
    return place == NULL || !place->is_open ? INT64_MIN : place->memory_free + i->process->resources.memory_bytes;
}

/* One that does not serve anyway, else the one whose node has the most room without it. */
static const struct instance *who_goes(const struct planner *p, const struct process *old, bool may_be_healthy)
{
    const struct instance *found = NULL;
    MODEL_EACH (instance, i, &old->instances) {
        bool is_healthy = instance_is_healthy(i);
        if (i->wanted == DESIRED_DELETED || !instance_takes_room(i) || (is_healthy && !may_be_healthy))
            continue;
        bool found_is_healthy = found != NULL && instance_is_healthy(found);
        if (found == NULL || (found_is_healthy && !is_healthy) ||
            (found_is_healthy == is_healthy && room_without(p, i) > room_without(p, found)))
            found = i;
    }
    return found;
}

static void one_goes(struct planner *p, const struct process *d, const struct process *old)
{
    uint32_t new_n = process_healthy_n(d), old_n = process_healthy_n(old);
    const struct instance *i = who_goes(p, old, (int64_t)new_n + old_n > old->instances_wanted);
    if (i == NULL) {
        const struct wish wish = plan_wish(d);
        plan_wait(p, d,
                  say(p->out, "rolls one at a time: %u of %lld are new, no other may go: %s", new_n,
                      (long long)d->instances_wanted, places_say_why(&p->places, &wish, 1)));
        return;
    }
    emit_instance_removal(
        p->out, p->ids, i, say(p->out, "it makes room for deployment %s", id_text(p->out, d->id)),
        because(p->out, "{\"rule\":\"rolls one at a time\",\"healthyNew\":%u,\"healthyOld\":%u,\"wanted\":%lld}", new_n,
                old_n, (long long)old->instances_wanted));
}

void plan_roll(struct planner *p, const struct process *d)
{
    const struct process *old = d->project->live;
    int64_t healthy = process_healthy_n(d), present = process_present_n(d);
    const struct wish wish = plan_wish(d);
    if (present == 0)
        plan_wait(p, d, say(p->out, "rolls one at a time: %s", places_say_why(&p->places, &wish, 1)));
    if (present == 0 || healthy < present || !planner_is_due(p, plan_last_news_ns(d), p->settings->settle_seconds))
        return;
    if (!deployment_is_beside(d))
        begin_beside(p, d, (uint32_t)healthy);
    else if (plan_edges_know(p, d->project->route_seq) && !is_leaving(old))
        one_goes(p, d, old);
}

/* Nothing of it is on its way, up or down. */
static bool is_at_rest(const struct process *d)
{
    MODEL_EACH (instance, i, &d->instances)
        if (i->wanted == DESIRED_DELETED || (instance_is_hopeful(i) && !instance_is_healthy(i)))
            return false;
    return true;
}

/* The live one lacks instances, and there is no room for them but what these have: who cancelled wants the old version
 * back, so one gives way. The last one that serves the project does not. */
static const struct instance *who_gives_way(struct planner *p, const struct process *d)
{
    const struct process *live = d->project->live;
    bool lacks_room = str_starts(str_from(live->cause), STR(CAUSE_NOT_REPLACED));
    if (!lacks_room || process_healthy_n(live) == 0 || !is_at_rest(live) || !is_at_rest(d))
        return NULL;
    const struct instance *i = who_goes(p, d, true);
    return i != NULL && plan_edges_know(p, d->project->route_seq) ? i : NULL; /* nobody waits for edges in vain */
}

static void give_way(struct planner *p, const struct process *d)
{
    const struct process *live = d->project->live;
    const struct instance *i = who_gives_way(p, d);
    if (i == NULL)
        return;
    emit_instance_removal(p->out, p->ids, i,
                          say(p->out, "its deployment is %s, and there is no other room for one of %s",
                              deployment_status_name(d->status), id_text(p->out, live->id)),
                          because(p->out,
                                  "{\"rule\":\"deployment is over and gives way\",\"healthy\":%u,\"healthyLive\":%u,"
                                  "\"wanted\":%lld}",
                                  process_healthy_n(d), process_healthy_n(live), (long long)live->instances_wanted));
}

void plan_over(struct planner *p, const struct process *d)
{
    const struct process *live = d->project->live;
    size_t before = p->out->n;
    bool serves = deployment_is_beside(d) && live != NULL && live->status == DEPLOYMENT_LIVE;
    int64_t spare =
        serves ? (int64_t)process_healthy_n(live) + process_healthy_n(d) - live->instances_wanted : INT64_MAX;
    MODEL_EACH (instance, i, &d->instances) {
        bool is_healthy = instance_is_healthy(i);
        if (i->wanted == DESIRED_DELETED)
            continue;
        if (serves && is_healthy && (spare <= 0 || !plan_edges_know(p, d->project->route_seq)))
            continue;
        spare -= serves && is_healthy;
        emit_instance_removal(p->out, p->ids, i, say(p->out, "its deployment is %s", deployment_status_name(d->status)),
                              because(p->out, "{\"rule\":\"deployment is over\"}"));
    }
    if (serves && spare <= 0 && p->out->n == before)
        give_way(p, d);
}
