/* An edge: polls one replica at a time, another one when that one does not answer, puts what is newest into its map
 * (edge/route_map/), gives that to its Envoy, confirms what Envoy has acknowledged. */
#include "sim.h"

#include <jansson.h>

#include "base/json.h"

void edge_forgets(struct sim_edge *e)
{
    route_map_free(e->map);
    e->map = NULL;
}

/* A document is put over what is there: each item of it is the whole truth about its route. */
void edge_takes(struct world *w, struct sim_edge *e, const struct message *m)
{
    const struct routes *t = m->routes;
    struct errinfo err = {0};
    e->turn_ms = w->now_ms + between(w, 1000, 8000);
    if (t->seq <= e->map_seq || (!t->is_full && t->since > e->map_seq))
        return; /* late, or an answer to what it was before it crashed */
    e->map_seq = t->seq;
    if (e->map == NULL)
        e->map = route_map_new();
    if (t->document.len > 0) {
        AUTO(route_changes) struct route_changes changes = {0};
        auto_json json_t *doc = NULL;
        checked(w, RULE_routes_read);
        if (json_parse(t->document, &doc, &err) != OK || route_map_apply(e->map, doc, &changes, &err) != OK)
            broken(w, RULE_routes_read, "%s refuses a document of routes: %s", e->name, err.msg);
    }
    if (e->apply_ms == 0)
        e->apply_ms = w->now_ms + between(w, 20, 1500);
}

static void serve(struct world *w, struct sim_edge *e, struct id route)
{
    const struct route *r = route_map_find(e->map, route);
    if (r == NULL)
        return;
    if (e->entries_n == ROUTES_MAX)
        broken(w, RULE_bounded, "%s has too many routes", e->name);
    struct route_entry *to = &e->entries[e->entries_n++];
    const struct route_endpoint *endpoints = r->endpoints.items;
    *to = (struct route_entry){.route = route, .deployment = r->deployment_id, .endpoints_n = r->endpoints.n};
    for (size_t i = 0; i < r->endpoints.n; i++)
        to->endpoints[i] = endpoints[i].instance_id;
}

/* Envoy has taken the map. */
static void apply(struct world *w, struct sim_edge *e)
{
    e->apply_ms = 0;
    e->applied_seq = e->map_seq;
    e->entries_n = 0;
    for (size_t i = 0; i < w->oracle->projects.n; i++)
        serve(w, e, ((const struct project *)w->oracle->projects.items[i])->id);
    size_t of_projects = e->entries_n;
    MODEL_EACH (process, p, &w->oracle->processes)
        if (p->project == NULL)
            serve(w, e, p->id);
    if (e->entries_n > of_projects)
        happened(w, OUTCOME_application_routed);
    checked(w, RULE_routes_read);
    if (e->entries_n < route_map_count(e->map))
        broken(w, RULE_routes_read, "%s has %zu routes, %zu of them of nothing that is there", e->name,
               route_map_count(e->map), route_map_count(e->map) - e->entries_n);
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
        apply(w, e);
    }
    if (w->now_ms < e->next_poll_ms)
        return;
    e->next_poll_ms = w->now_ms + 1000;
    if (w->now_ms >= e->turn_ms) {
        e->asks++;
        e->turn_ms = w->now_ms + between(w, 1000, 8000);
    }
    send(w, (struct message){.kind = SAY_EDGE_POLL,
                             .to = AT_REPLICAS + e->asks % (unsigned)w->replicas_n,
                             .from = AT_EDGES + (unsigned)(e - w->edges),
                             .cursor = e->applied_seq});
}
