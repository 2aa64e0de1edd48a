/* Chance, and the network: it delays, loses, doubles and so reorders. */
#include "sim.h"

uint64_t roll(struct world *w, uint64_t n)
{
    w->rng += 0x9e3779b97f4a7c15u; /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = w->rng;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % n;
}

bool percent(struct world *w, unsigned p)
{
    return !w->is_calm && roll(w, 100) < p;
}

int64_t between(struct world *w, int64_t from, int64_t to)
{
    return from + (int64_t)roll(w, (uint64_t)(to - from + 1));
}

/* A node that is cut off hears nobody and is heard by nobody. */
static bool is_cut(const struct world *w, const struct message *m)
{
    bool from_node = m->kind == TO_REPLICA_COMMAND || m->kind == TO_REPLICA_NODE_POLL;
    if (from_node && m->from >= 0)
        return w->nodes[m->from].partition_until_ms > w->now_ms;
    return m->kind == TO_NODE_DESIRED && w->nodes[m->to].partition_until_ms > w->now_ms;
}

static void enqueue(struct world *w, struct message m)
{
    m.due_ms = w->now_ms + between(w, 1, 300);
    if (percent(w, 4)) {
        m.due_ms += between(w, 500, 5000);
        happened(w, FAULT_message_late);
    }
    if (w->messages_n == MESSAGES_MAX)
        broken(w, "too many messages under way");
    w->messages[w->messages_n++] = m;
}

void send(struct world *w, struct message m)
{
    if (is_cut(w, &m))
        return;
    if (percent(w, 8)) {
        happened(w, FAULT_message_lost);
        return;
    }
    enqueue(w, m);
    if (percent(w, 5)) {
        happened(w, FAULT_message_doubled);
        enqueue(w, m);
    }
}

void send_command(struct world *w, int to, const struct command *c)
{
    send(w, (struct message){.kind = TO_REPLICA_COMMAND, .to = to, .from = -1, .command = c});
}

int any_replica(struct world *w)
{
    int first = (int)roll(w, REPLICAS_N);
    for (int i = 0; i < REPLICAS_N; i++)
        if (w->replicas[(first + i) % REPLICAS_N].is_up)
            return (first + i) % REPLICAS_N;
    return -1;
}

static void take(struct world *w, const struct message *m)
{
    switch (m->kind) {
    case TO_REPLICA_COMMAND:
    case TO_REPLICA_NODE_POLL:
    case TO_REPLICA_EDGE_POLL:
        if (w->replicas[m->to].is_up)
            replica_takes(w, &w->replicas[m->to], m);
        return;
    case TO_NODE_DESIRED:
        if (w->nodes[m->to].is_up)
            node_takes(w, &w->nodes[m->to], m);
        return;
    case TO_EDGE_ROUTES:
        if (w->edges[m->to].is_up)
            edge_takes(w, &w->edges[m->to], m);
        return;
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
        if (!is_cut(w, &m))
            take(w, &m);
    }
}
