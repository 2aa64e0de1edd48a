/* An edge: polls every replica, gives what is newest to its Envoy, confirms what Envoy has acknowledged. */
#include "sim.h"

static void drop(struct routes *t, struct id project)
{
    for (size_t i = 0; i < t->entries_n; i++)
        if (id_eq(t->entries[i].project, project)) {
            t->entries[i] = t->entries[--t->entries_n];
            return;
        }
}

/* What changed since the cursor is put over what is there: each entry is the whole truth about its project. */
void edge_takes(struct world *w, struct sim_edge *e, const struct message *m)
{
    bool follows = m->routes->is_full || m->routes->since <= e->coming.seq;
    if (m->routes->seq <= e->coming.seq || !follows)
        return; /* late, or an answer to what it was before it crashed */
    e->coming.seq = m->routes->seq;
    if (m->routes->is_full)
        e->coming.entries_n = 0;
    for (size_t i = 0; i < m->routes->removed_n; i++)
        drop(&e->coming, m->routes->removed[i]);
    for (size_t i = 0; i < m->routes->entries_n; i++) {
        drop(&e->coming, m->routes->entries[i].project);
        e->coming.entries[e->coming.entries_n++] = m->routes->entries[i];
    }
    if (e->apply_ms == 0)
        e->apply_ms = w->now_ms + between(w, 20, 1500);
}

void edge_tick(struct world *w, struct sim_edge *e)
{
    if (!e->is_up) {
        if (w->now_ms >= e->up_at_ms) {
            e->is_up = true;
            tell(w, "%s is back, empty", e->name);
        }
        return;
    }
    if (e->apply_ms != 0 && w->now_ms >= e->apply_ms) {
        e->applied = e->coming;
        e->apply_ms = 0;
    }
    if (w->now_ms < e->next_poll_ms)
        return;
    e->next_poll_ms = w->now_ms + 1000;
    for (unsigned r = 0; r < w->replicas_n; r++)
        send(w, (struct message){.kind = SAY_EDGE_POLL,
                                 .to = AT_REPLICAS + r,
                                 .from = AT_EDGES + (unsigned)(e - w->edges),
                                 .cursor = e->applied.seq});
}
