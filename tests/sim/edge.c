/* An edge: polls every replica, gives what is newest to its Envoy, confirms what Envoy has acknowledged. */
#include "sim.h"

void edge_takes(struct world *w, struct sim_edge *e, const struct message *m)
{
    if (m->routes->seq <= e->coming.seq)
        return;
    e->coming = *m->routes;
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
    for (int r = 0; r < REPLICAS_N; r++)
        send(w, (struct message){
                    .kind = TO_REPLICA_EDGE_POLL, .to = r, .from = (int)(e - w->edges), .cursor = e->applied.seq});
}
