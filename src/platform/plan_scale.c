/* Rule for deployments that were scaled: the instances that are missed least go, in one batch. One that was made by
 * hand stays where nobody has ever scaled. */
#include "platform/planner.h"

/* Greater goes first: what does not serve, then what stands on a node with many of the same, then the newest. */
static int64_t missed_least(const struct instance *i)
{
    int64_t here = 0;
    if (i->node != NULL)
        MODEL_EACH (instance, other, &i->process->instances)
            here += other->node == i->node && other->wanted == DESIRED_RUNNING;
    int64_t state = !instance_is_hopeful(i) ? 2 : !instance_is_healthy(i) ? 1 : 0;
    return state * 1000000 + here;
}

static const struct instance *next_to_go(const struct process *d, const struct instance *const *gone, size_t gone_n)
{
    const struct instance *found = NULL;
    int64_t most = -1;
    MODEL_EACH (instance, i, &d->instances) {
        bool goes = i->wanted == DESIRED_DELETED;
        for (size_t k = 0; k < gone_n; k++)
            goes = goes || gone[k] == i;
        int64_t score = goes ? -1 : missed_least(i);
        if (score >= most && score >= 0) {
            most = score;
            found = i;
        }
    }
    return found;
}

bool plan_surplus(struct planner *p, const struct process *d)
{
    int64_t have = 0;
    MODEL_EACH (instance, i, &d->instances)
        have += i->wanted != DESIRED_DELETED && (i->node == NULL || i->node->status != NODE_DRAINING);
    if (d->scaled_seq == 0 || have <= d->instances_wanted)
        return false;
    if (have == d->instances_wanted + 1 && plan_move_of(d).heir != NULL)
        return false; /* the one more is on its way to take the place of another: plan_spread */
    size_t n = (size_t)(have - d->instances_wanted);
    const struct instance **gone = arena_alloc(p->out->arena, n * sizeof(*gone));
    for (size_t k = 0; k < n; k++) {
        gone[k] = next_to_go(d, gone, k);
        if (gone[k] == NULL)
            return k > 0;
        emit_instance_removal(p->out, p->ids, gone[k], STR("fewer instances are wanted"),
                              because(p->out, "{\"rule\":\"scaled down\",\"wanted\":%lld,\"had\":%lld}",
                                      (long long)d->instances_wanted, (long long)have));
    }
    return true;
}
