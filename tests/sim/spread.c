/* Instances are spread: what the rule of plan_spread.c must bring about, told from the model alone and in other words.
 */
#include "sim.h"

/* Whose place it is to take, by what it was decided from: an instance of the same deployment that is named there. */
static const struct instance *instead_of(const struct process *d, struct str because, struct id but)
{
    static const char KEY[] = "\"insteadOf\":\"";
    const char *at = because.len == 0 ? NULL : memmem(because.ptr, because.len, KEY, sizeof(KEY) - 1);
    struct id id;
    if (at == NULL || !id_parse((struct str){at + sizeof(KEY) - 1, ID_TEXT_SIZE - 1}, &id) || id_eq(id, but))
        return NULL;
    return id_index_find(&d->instances, id);
}

static uint32_t here_n(const struct process *d, const struct node *n)
{
    uint32_t here = 0;
    MODEL_EACH (instance, i, &d->instances)
        here += i->node == n && instance_is_hopeful(i);
    return here;
}

static bool is_in_zone_only(const struct process *d, const struct zone *z)
{
    MODEL_EACH (instance, i, &d->instances)
        if (instance_is_hopeful(i) && i->node->zone != z)
            return false;
    return true;
}

static bool may_have(const struct world *w, const struct node *n, const struct process *d)
{
    int64_t free = n->capacity.memory_bytes / 100 * w->settings.memory_overcommit_percent - node_used(n).memory_bytes;
    int64_t vcpus = n->capacity.vcpus * w->settings.vcpus_overcommit_percent / 100 - node_used(n).vcpus;
    return n->status == NODE_READY && text_list_has(&n->labels, "worker") && free >= d->resources.memory_bytes &&
           vcpus >= d->resources.vcpus;
}

/* ---- While things happen ---- */

uint32_t spreads_n(const struct world *w, const struct create_instance *e)
{
    const struct process *d = model_deployment(w->oracle, e->process_id);
    if (instead_of(d, e->because, ID_NONE) != NULL)
        return 1;
    MODEL_EACH (instance, i, &d->instances) {
        const struct instance *old = instead_of(d, str_from(i->because), i->id);
        if (old != NULL && instance_is_hopeful(i) && instance_is_hopeful(old))
            return 1;
    }
    return 0;
}

static void check_begun(struct world *w, const struct create_instance *e)
{
    const struct process *d = model_deployment(w->oracle, e->process_id);
    const struct instance *old = d == NULL ? NULL : instead_of(d, e->because, ID_NONE);
    const struct node *n = model_node(w->oracle, e->node_id);
    if (old == NULL)
        return;
    checked(w, RULE_spread);
    happened(w, OUTCOME_spread_begun);
    int64_t ready_ms = store_clock_now_ms(w) + w->store.back_ms - n->since_ns / 1000000;
    if (here_n(d, n) > 0 || (here_n(d, old->node) < 2 && !is_in_zone_only(d, old->node->zone)))
        broken(w, RULE_spread, "an instance of %s moves from %s to %s, and nothing is better then", d->project->slug,
               old->node->name, n->name);
    if (d->status != DEPLOYMENT_LIVE || process_healthy_n(d) < d->instances_wanted)
        broken(w, RULE_spread, "a deployment of %s is spread that is not complete", d->project->slug);
    if (ready_ms < w->settings.spread_after_seconds * 1000 - 1)
        broken(w, RULE_spread, "%s gets an instance to spread it, and is ready for %.1f s", n->name,
               (double)ready_ms / 1000);
}

static void check_done(struct world *w, const struct instance_status_change *e)
{
    const struct instance *i = model_instance(w->oracle, e->instance_id);
    if (i == NULL || !str_starts(e->cause, STR("spread over more nodes")) || !str_eq(e->desired, STR("deleted")) ||
        i->wanted == DESIRED_DELETED)
        return;
    happened(w, OUTCOME_spread_done);
}

void check_spread(struct world *w, const struct event *ev)
{
    if (ev->kind == EVENT_CREATE_INSTANCE)
        check_begun(w, &ev->create_instance);
    if (ev->kind == EVENT_INSTANCE_STATUS_CHANGE)
        check_done(w, &ev->instance_status_change);
}

/* ---- In the end ---- */

/* Two of it are on this node, and another one could have one of them. */
static bool is_crowded(const struct world *w, const struct process *d, const struct node *n)
{
    if (here_n(d, n) < 2)
        return false;
    MODEL_EACH (node, other, &w->oracle->nodes)
        if (may_have(w, other, d) && here_n(d, other) == 0)
            return true;
    return false;
}

static bool could_have_another_zone(const struct world *w, const struct process *d)
{
    const struct instance *first = d->instances.n == 0 ? NULL : d->instances.items[0];
    if (first == NULL || !is_in_zone_only(d, first->node->zone))
        return false;
    MODEL_EACH (node, other, &w->oracle->nodes)
        if (other->zone != first->node->zone && may_have(w, other, d))
            return true;
    return false;
}

/* What a person placed stays there, and is not counted: where that may be, nothing is asked for. */
static bool is_asked_for(const struct world *w, const struct process *d)
{
    int64_t now_ms = store_clock_now_ms(w) + w->store.back_ms;
    bool has_failed = d->failure_ns != 0 && now_ms - d->failure_ns / 1000000 <= MODEL_CALM_SECONDS * 1000;
    bool is_disturbed = false; /* by one that waits for room */
    MODEL_EACH (process, other, &d->project->deployments)
        is_disturbed |= other->created_seq > d->created_seq && !deployment_is_over(other);
    MODEL_EACH (instance, i, &d->instances)
        if (strstr(i->because, "by hand") != NULL)
            return false;
    return !has_failed && !is_disturbed;
}

bool is_spread(struct world *w, const char **ret_why)
{
    MODEL_EACH (project, p, &w->oracle->projects) {
        if (p->live == NULL || !is_asked_for(w, p->live))
            continue;
        checked(w, RULE_spread);
        MODEL_EACH (instance, i, &p->live->instances)
            if (instead_of(p->live, str_from(i->because), i->id) != NULL &&
                process_present_n(p->live) > p->live->instances_wanted) {
                *ret_why = arena_printf(&w->arena, "%s: an instance has not yet taken the place of another", p->slug);
                return false;
            }
        MODEL_EACH (node, n, &w->oracle->nodes)
            if (is_crowded(w, p->live, n)) {
                *ret_why =
                    arena_printf(&w->arena, "%s: several are on %s, and another node has none", p->slug, n->name);
                return false;
            }
        if (could_have_another_zone(w, p->live)) {
            *ret_why = arena_printf(&w->arena, "%s: all are in one zone, and another has room", p->slug);
            return false;
        }
    }
    return true;
}
