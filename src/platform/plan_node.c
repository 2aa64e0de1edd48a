/* Rules for nodes: the votes of the replicas are counted, and what ran on a lost node is lost. */
#include "platform/planner.h"

/* Votes of replicas that are there: who is dead suspects nobody any more. */
static uint32_t votes_n(const struct planner *p, const struct node *n)
{
    uint32_t counted = 0;
    if (p->seen->replicas.n == 0)
        return n->suspected_by.n;
    for (uint32_t i = 0; i < n->suspected_by.n; i++)
        for (size_t k = 0; k < p->seen->replicas.n; k++)
            counted += str_eq_c(p->seen->replicas.items[k], n->suspected_by.items[i]);
    return counted;
}

static struct str votes_text(struct planner *p, const struct node *n)
{
    return because(p->out, "{\"rule\":\"votes\",\"suspectedBy\":%u,\"replicas\":%lld}", votes_n(p, n),
                   (long long)p->seen->replicas_n);
}

static void emit_node_status(struct planner *p, const struct node *n, enum node_status status, struct str cause)
{
    struct event *e = event_list_add(p->out, EVENT_NODE_STATUS_CHANGE, p->ids);
    e->node_status_change = (struct node_status_change){
        .node_id = n->id, .status = str_from(node_status_name(status)), .cause = cause, .because = votes_text(p, n)};
}

static bool could_run(const struct instance *i)
{
    return i->status != INSTANCE_STOPPED && i->status != INSTANCE_FAILED && i->status != INSTANCE_LOST;
}

/* At most max of them. */
static void lose_instances(struct planner *p, const struct node *n, size_t max)
{
    size_t lost_n = 0;
    MODEL_EACH (instance, i, &n->instances) {
        if (!could_run(i))
            continue;
        if (lost_n++ == max)
            return;
        emit_instance_status(p->out, p->ids, i, INSTANCE_LOST, "", say(p->out, "node '%s' is lost", n->name),
                             votes_text(p, n));
    }
}

static size_t could_run_n(const struct node *n)
{
    size_t could_n = 0;
    MODEL_EACH (instance, i, &n->instances)
        could_n += could_run(i);
    return could_n;
}

void plan_node(struct planner *p, const struct node *n)
{
    if (n->status == NODE_GONE)
        return;
    bool is_suspected = (int64_t)votes_n(p, n) * 2 > p->seen->replicas_n;
    if (is_suspected && n->status != NODE_LOST && could_run_n(n) > PLAN_EVENTS_MAX) {
        lose_instances(p, n, PLAN_EVENTS_MAX); /* more than a batch holds: the node itself comes last */
    } else if (is_suspected && n->status != NODE_LOST) {
        emit_node_status(
            p, n, NODE_LOST,
            say(p->out, "%u of %lld replicas hear nothing of it", votes_n(p, n), (long long)p->seen->replicas_n));
        lose_instances(p, n, PLAN_EVENTS_MAX);
    } else if (n->status == NODE_LOST && !is_suspected && n->is_heard_again) {
        /* Not merely because there are more replicas now, who have not had the time to suspect it. */
        emit_node_status(p, n, n->reported, STR(""));
    }
}
