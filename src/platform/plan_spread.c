/* Rule for live deployments that stand on fewer nodes than they could: when only one node was ready, all three
 * instances are on it; later others come. One instance at a time moves, as from a draining node:
 *
 *   plan_spread    a node that has none of them, has room and has been ready for spread_after_seconds: one more
 *                  instance there, the heir. Its `because` names the one whose place it is to take (insteadOf)
 *   plan_spread    the heir is healthy, has stayed so, and every edge knows it: the other one goes
 *   plan_replace   one of the two fails or is lost: it goes, and the other one stays
 *
 * That a move is under way is seen from the model alone: there are more instances than wanted, and an heir beside the
 * one that it names. A move begins only when the deployment is at rest, and when it makes the deployment stand on one
 * node more, or in a second zone. So moves come to an end; who failed within MODEL_CALM_SECONDS is left alone, so that
 * a node on which nothing gets healthy is not tried again and again. */
#include "platform/planner.h"

/* Larger deployments are left as they are (chosen: ten times instances_max). */
enum { SPREAD_INSTANCES_MAX = 1024, SEEN_MAX = 2 * SPREAD_INSTANCES_MAX };

/* ---- How it stands ---- */

struct stand {
    uint32_t instances_n, nodes_n; /* meant to run; the nodes that they are on */
    const struct zone *zone;       /* of the first */
    bool is_in_one_zone;
    size_t seen_size;                  /* a power of two */
    const struct node *seen[SEEN_MAX]; /* each node once: open addressing by the pointer; only compared */
};

static void see_node(struct stand *s, const struct node *n)
{
    size_t at = ((uintptr_t)n >> 6) * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    for (at &= s->seen_size - 1; s->seen[at] != NULL; at = (at + 1) & (s->seen_size - 1))
        if (s->seen[at] == n)
            return;
    s->seen[at] = n;
    s->nodes_n++;
    if (s->zone == NULL)
        s->zone = n->zone;
    else if (s->is_in_one_zone && n->zone != s->zone)
        s->is_in_one_zone = false;
}

/* Without this one (NULL: with all). */
static void stand_of(const struct process *d, const struct instance *without, struct stand *ret)
{
    ret->instances_n = ret->nodes_n = 0;
    ret->zone = NULL;
    ret->is_in_one_zone = true;
    for (ret->seen_size = 16; ret->seen_size < 2 * d->instances.n;)
        ret->seen_size *= 2;
    memset(ret->seen, 0, ret->seen_size * sizeof(ret->seen[0]));
    MODEL_EACH (instance, i, &d->instances) {
        if (i == without || i->node == NULL || !instance_is_hopeful(i))
            continue;
        ret->instances_n++;
        see_node(ret, i->node);
    }
}

/* All are healthy, where they may stay, as many as wanted or more; none is on its way out, or stopped by a person, who
 * may want it again. */
static bool is_at_rest(const struct process *d)
{
    int64_t healthy = 0;
    MODEL_EACH (instance, i, &d->instances) {
        if (i->wanted != DESIRED_RUNNING || !instance_is_healthy(i) || i->node == NULL || i->node->status != NODE_READY)
            return false;
        healthy++;
    }
    return healthy >= d->instances_wanted;
}

/* ---- A move under way ---- */

#define INSTEAD_OF "\"insteadOf\":\""

/* Whose place it was made to take. NULL: nobody's, or that one is gone. */
static const struct instance *instead_of(const struct process *d, const struct instance *i)
{
    const char *at = strstr(i->because, INSTEAD_OF); /* canonical, and a name's quotes would be escaped */
    struct id id;
    if (at == NULL || strlen(at += sizeof(INSTEAD_OF) - 1) < ID_TEXT_SIZE - 1 ||
        !id_parse((struct str){at, ID_TEXT_SIZE - 1}, &id))
        return NULL;
    const struct instance *old = id_index_find(&d->instances, id);
    return old == NULL || old->wanted == DESIRED_DELETED ? NULL : old;
}

struct plan_move plan_move_of(const struct process *d)
{
    if (d->instances.n <= (size_t)d->instances_wanted || process_present_n(d) <= d->instances_wanted)
        return (struct plan_move){0};
    for (size_t k = d->instances.n; k > 0; k--) { /* the newest first: what is left of earlier ones does not count */
        const struct instance *i = d->instances.items[k - 1];
        const struct instance *old = i->wanted == DESIRED_RUNNING ? instead_of(d, i) : NULL;
        if (old != NULL)
            return (struct plan_move){i, old};
    }
    return (struct plan_move){0};
}

/* Meanwhile others came or went, so that it would stand worse without the old one than without the heir. */
static bool is_in_vain(const struct process *d, const struct plan_move *m)
{
    struct stand without_old, without_heir;
    stand_of(d, m->old, &without_old);
    stand_of(d, m->heir, &without_heir);
    if (without_old.nodes_n != without_heir.nodes_n)
        return without_old.nodes_n < without_heir.nodes_n;
    return without_old.is_in_one_zone && !without_heir.is_in_one_zone;
}

static bool has_settled(struct planner *p, const struct instance *i)
{
    return planner_is_due(p, i->history[i->history_n - 1].at_ns, p->settings->settle_seconds);
}

/* What leaves is healthy, or does not serve anyway: never fewer than wanted. */
static bool may_go(struct planner *p, const struct process *d, const struct instance *i)
{
    bool is_spare = (int64_t)process_healthy_n(d) > d->instances_wanted;
    return !instance_is_healthy(i) || (is_spare && plan_edges_know(p, d->project->route_seq));
}

static void remove_one(struct planner *p, const struct process *d, const struct instance *goes,
                       const struct instance *stays, const char *rule)
{
    emit_instance_removal(
        p->out, p->ids, goes,
        say(p->out, "%s: instance %s on node '%s' stays in its place", rule, id_text(p->out, stays->id),
            stays->node->name),
        because(p->out, "{\"rule\":\"%s\",\"node\":%s,\"stays\":\"%s\",\"on\":%s,\"healthy\":%u,\"wanted\":%lld}", rule,
                quoted(p->out, goes->node->name), id_text(p->out, stays->id), quoted(p->out, stays->node->name),
                process_healthy_n(d), (long long)d->instances_wanted));
}

static void go_on(struct planner *p, const struct process *d, const struct plan_move *m)
{
    if (m->old->wanted != DESIRED_RUNNING || m->old->node == NULL || m->heir->node == NULL)
        return; /* a person stopped it: what is to become of it is theirs to say */
    if (is_in_vain(d, m)) {
        if (may_go(p, d, m->heir))
            remove_one(p, d, m->heir, m->old, "spreading is not needed any more");
    } else if (instance_is_healthy(m->heir) && has_settled(p, m->heir) && may_go(p, d, m->old)) {
        remove_one(p, d, m->old, m->heir, "spread over more nodes");
    }
}

/* ---- The next one ---- */

/* Another deployment of the project is on its way in, or gives way. */
static bool is_disturbed(const struct process *d)
{
    MODEL_EACH (process, other, &d->project->deployments)
        if (other->status == DEPLOYMENT_QUEUED || other->status == DEPLOYMENT_BUILDING ||
            other->status == DEPLOYMENT_STARTING || (deployment_is_beside(other) && other->instances.n > 0))
            return true;
    return false;
}

/* There is a node, with room or not, on which it would stand better. */
static bool could_stand_better(const struct planner *p, const struct wish *w, const struct stand *s,
                               const struct zone *out_of)
{
    size_t suited = places_suited_n(&p->places, w, out_of), mine = 0;
    if (out_of != NULL || suited > s->nodes_n)
        return suited > 0;
    for (size_t k = 0; k < s->seen_size; k++)
        mine += s->seen[k] != NULL && places_is_suited(&p->places, w, s->seen[k]);
    return suited > mine;
}

static bool is_pinned(const struct instance *i)
{
    return strstr(i->because, "\"rule\":\"by hand\"") != NULL;
}

static uint32_t here_n(const struct process *d, const struct node *n, const struct zone *z)
{
    uint32_t here = 0;
    MODEL_EACH (instance, i, &d->instances)
        here += instance_is_hopeful(i) && i->node != NULL && (n == NULL || i->node == n) &&
                (z == NULL || i->node->zone == z);
    return here;
}

/* Of those on the most crowded node, in the zone with most of them, the newest; none that a person placed. */
static const struct instance *who_moves(const struct process *d, uint32_t *ret_here)
{
    const struct instance *found = NULL;
    uint32_t most_here = 0, most_zone = 0;
    MODEL_EACH (instance, i, &d->instances) {
        uint32_t here = instance_is_hopeful(i) && i->node != NULL ? here_n(d, i->node, NULL) : 0;
        if (here == 0 || here < most_here)
            continue;
        uint32_t zone = here_n(d, NULL, i->node->zone);
        if ((here == most_here && zone < most_zone) || is_pinned(i))
            continue;
        found = i;
        most_here = here;
        most_zone = zone;
    }
    *ret_here = most_here;
    return found;
}

static void emit_heir(struct planner *p, const struct process *d, const struct instance *old, uint32_t here,
                      const struct placement *at)
{
    const struct place *place = places_find(&p->places, at->node->id);
    struct str why =
        because(p->out,
                "{\"rule\":\"spread\",\"insteadOf\":\"%s\",\"from\":%s,\"onThatNode\":%u,\"node\":%s,\"zone\":%s,"
                "\"nodeReadyMs\":%lld,\"freeAfterwards\":{\"memoryBytes\":%lld,\"vcpus\":%lld},"
                "\"needs\":{\"memoryBytes\":%lld,\"vcpus\":%lld}}",
                id_text(p->out, old->id), quoted(p->out, old->node->name), here, quoted(p->out, at->node->name),
                quoted(p->out, at->node->zone->name), (long long)(p->now_ms - at->node->since_ns / 1000000),
                (long long)place->memory_free, (long long)place->vcpus_free, (long long)d->resources.memory_bytes,
                (long long)d->resources.vcpus);
    emit_create_instance(p->out, p->ids, d->id, p->settings->installation, at, why);
}

/* out_of: it stands on as many nodes as it has instances, all in this zone. NULL: some share a node. */
static void begin(struct planner *p, const struct process *d, const struct wish *w, const struct zone *out_of)
{
    struct placement at;
    int64_t next_ns = 0, before_ms = p->now_ms - p->settings->spread_after_seconds * 1000;
    uint32_t here = 0;
    const struct instance *old = who_moves(d, &here);
    if (old == NULL || (out_of == NULL && here < 2))
        return;
    if (places_take_fresh(&p->places, w, out_of, before_ms * 1000000, &at, &next_ns))
        emit_heir(p, d, old, here, &at);
    else if (next_ns != INT64_MAX)
        (void)planner_is_due(p, next_ns, p->settings->spread_after_seconds);
}

/* Nobody of it failed just now, or comes or goes. */
static bool may_begin(struct planner *p, const struct process *d)
{
    if (is_disturbed(d) || (d->failure_ns != 0 && !planner_is_due(p, d->failure_ns, MODEL_CALM_SECONDS)))
        return false;
    return planner_is_due(p, plan_last_news_ns(d), p->settings->settle_seconds);
}

void plan_spread(struct planner *p, const struct process *d)
{
    struct stand s;
    struct plan_move move = plan_move_of(d);
    if (d->instances.n > SPREAD_INSTANCES_MAX)
        return;
    if (move.heir != NULL) {
        planner_waits(p, WORK_WAITS_CLOCK); /* it may rest though a time that it asked for has come */
        go_on(p, d, &move);
        return;
    }
    if (!is_at_rest(d))
        return;
    stand_of(d, NULL, &s);
    bool is_crowded = s.nodes_n < s.instances_n;
    const struct zone *out_of = is_crowded ? NULL : s.zone;
    struct wish wish = plan_wish(d);
    if (!is_crowded && (!s.is_in_one_zone || s.instances_n < 2))
        return; /* one alone is in one zone wherever it is */
    planner_waits(p, WORK_WAITS_CLOCK);
    if (!may_begin(p, d))
        return;
    bool could_be = could_stand_better(p, &wish, &s, out_of);
    planner_waits(p, is_crowded || could_be ? WORK_WAITS_NODE : WORK_WAITS_ZONE);
    if (could_be)
        begin(p, d, &wish, out_of);
}
