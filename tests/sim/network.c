/* The network: it delays, loses, doubles, and so reorders; links are cut, one way or both. */
#include "sim.h"

bool is_cut(const struct world *w, unsigned from, unsigned to)
{
    return w->cut_until_ms[from][to] > w->now_ms;
}

void cut_link(struct world *w, unsigned from, unsigned to, int64_t until_ms)
{
    if (w->cut_until_ms[from][to] < until_ms)
        w->cut_until_ms[from][to] = until_ms;
    if (w->troubled_ms < until_ms)
        w->troubled_ms = until_ms;
}

void cut_off(struct world *w, unsigned who, int64_t until_ms)
{
    for (unsigned other = 0; other < PLACES_N; other++) {
        cut_link(w, who, other, until_ms);
        cut_link(w, other, who, until_ms);
    }
}

static void put(struct world *w, struct message m)
{
    m.due_ms = w->now_ms + between(w, 1, 300);
    if (chance(w, CHANCE_message_late, 4))
        m.due_ms += between(w, 500, 8000);
    int64_t *last = &w->last_due_ms[m.from][m.to];
    if (m.due_ms < *last)
        happened(w, OUTCOME_message_overtaken);
    else
        *last = m.due_ms;
    if (w->messages_n == MESSAGES_MAX)
        broken(w, RULE_bounded, "too many messages under way");
    w->messages[w->messages_n++] = m;
}

void send(struct world *w, struct message m)
{
    m.sent_ms = w->now_ms;
    if (is_cut(w, m.from, m.to)) {
        happened(w, OUTCOME_message_cut);
        return;
    }
    if (chance(w, CHANCE_message_lost, 8))
        return;
    put(w, m);
    if (chance(w, CHANCE_message_doubled, 5))
        put(w, m);
}

void send_command(struct world *w, unsigned from, unsigned to, const struct command *c)
{
    send(w, (struct message){.kind = SAY_COMMAND, .from = from, .to = to, .command = c});
}

int any_replica(struct world *w)
{
    unsigned first = (unsigned)roll(w, w->replicas_n), n = (unsigned)w->replicas_n;
    for (unsigned i = 0; i < n; i++)
        if (w->replicas[(first + i) % n].is_up)
            return (int)((first + i) % n);
    return -1;
}

static void take(struct world *w, const struct message *m)
{
    if (m->to < AT_NODES) {
        if (w->replicas[m->to].is_up)
            replica_takes(w, &w->replicas[m->to], m);
    } else if (m->to < AT_EDGES) {
        struct sim_node *n = &w->nodes[m->to - AT_NODES];
        if (n->is_up && n->paused_until_ms <= w->now_ms)
            node_takes(w, n, m);
    } else if (m->to < AT_PEOPLE) {
        if (w->edges[m->to - AT_EDGES].is_up)
            edge_takes(w, &w->edges[m->to - AT_EDGES], m);
    }
}

void deliver(struct world *w)
{
    for (size_t i = 0; i < w->messages_n;) {
        struct message m = w->messages[i];
        if (m.due_ms > w->now_ms) {
            i++;
            continue;
        }
        w->messages[i] = w->messages[--w->messages_n];
        if (is_cut(w, m.from, m.to))
            happened(w, OUTCOME_message_cut);
        else
            take(w, &m);
    }
}
