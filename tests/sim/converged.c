/* What must come true once nothing fails any more. */
#include "sim.h"

static bool no(struct world *w, const char **ret_why, const char *what, const char *name)
{
    *ret_why = arena_printf(&w->arena, "%s: %s", name, what);
    return false;
}

/* Instances of it that would still fit, by memory, which is what is short here. */
static int64_t fitting_n(const struct world *w, const struct process *d)
{
    int64_t sum = 0;
    MODEL_EACH (node, n, &w->oracle->nodes) {
        if (n->status != NODE_READY || !text_list_has(&n->labels, "worker"))
            continue;
        int64_t free =
            n->capacity.memory_bytes / 100 * w->settings.memory_overcommit_percent - node_used(n).memory_bytes;
        sum += free > 0 ? free / d->resources.memory_bytes : 0;
    }
    return sum;
}

/* Too big for what is free, says so, and it is true. */
bool waits_for_room(const struct world *w, const struct process *d)
{
    bool says_so = str_starts(str_from(d->cause), STR("waits for capacity")) ||
                   str_starts(str_from(d->cause), STR("rolls one at a time"));
    return !deployment_is_over(d) && says_so && fitting_n(w, d) < d->instances_wanted - (int64_t)process_present_n(d);
}

static bool project_is_well(struct world *w, const struct project *p, const char **ret_why)
{
    MODEL_EACH (process, d, &p->deployments) {
        if (d == p->live) {
            /* Those of one that rolls in beside it and waits for room stand in for those that went. */
            if (project_endpoints(p, NULL, 0) < (size_t)d->instances_wanted)
                return no(w, ret_why, "the live deployment is not complete", p->slug);
            continue;
        }
        if (waits_for_room(w, d))
            continue;
        if (!deployment_is_over(d))
            return no(w, ret_why, "another deployment is not over", p->slug);
        if (d->instances.n > 0)
            return no(w, ret_why, "a deployment that is over has instances", p->slug);
    }
    if (p->is_deleted && p->live != NULL)
        return no(w, ret_why, "is deleted and still leads somewhere", p->slug);
    return true;
}

/* An edge knows exactly the healthy instances. */
static bool entry_is_well(const struct route_entry *e, const struct project *p)
{
    const struct instance *to[ENDPOINTS_MAX];
    size_t n = project_endpoints(p, to, ENDPOINTS_MAX);
    if (n != e->endpoints_n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!id_eq(to[i]->id, e->endpoints[i]))
            return false;
    return true;
}

static bool edge_is_well(struct world *w, const struct sim_edge *e, const char **ret_why)
{
    if (!e->is_up)
        return no(w, ret_why, "is down", e->name);
    MODEL_EACH (project, p, &w->oracle->projects) {
        const struct route_entry *entry = NULL;
        for (size_t k = 0; k < e->entries_n; k++)
            if (id_eq(e->entries[k].route, p->id))
                entry = &e->entries[k];
        if ((entry == NULL) != (p->live == NULL) || (entry != NULL && !id_eq(entry->deployment, p->live->id)))
            return no(w, ret_why, "leads elsewhere", e->name);
        if (entry != NULL && !entry_is_well(entry, p))
            return no(w, ret_why, "leads to other instances", e->name);
        for (uint32_t k = 0; p->live != NULL && k < p->hosts.n; k++)
            if (route_map_find_host(e->map, str_from(p->hosts.items[k])) != route_map_find(e->map, p->id))
                return no(w, ret_why, "leads a host elsewhere", e->name);
    }
    return true;
}

static bool node_is_well(struct world *w, struct sim_node *n, const char **ret_why)
{
    const struct node *known = model_node(w->oracle, n->id);
    if (known->status != NODE_READY || !n->is_up)
        return no(w, ret_why, "is not ready", n->name);
    for (size_t i = 0; i < n->machines_n; i++)
        if (n->machines[i].is_up && id_index_find(&known->instances, n->machines[i].id) == NULL)
            return no(w, ret_why, "runs what nobody wants", n->name);
    MODEL_EACH (instance, i, &known->instances) {
        const struct machine *m = node_machine(n, i->id);
        if (i->wanted == DESIRED_DELETED)
            return no(w, ret_why, "an instance is still being deleted", n->name);
        if (!i->restart_never && i->wanted == DESIRED_RUNNING && (m == NULL || !m->is_up))
            return no(w, ret_why, "an instance does not run", n->name);
    }
    return true;
}

/* All of its input is folded, or there is no room for who would; a deleted one is gone. */
static bool application_is_well(struct world *w, const struct process *p, const char **ret_why)
{
    if (p->is_deleted)
        return no(w, ret_why, "is deleted and still there", p->name);
    return application_is_covered(p) || fitting_n(w, p) == 0 ||
           no(w, ret_why, "has parts of its input that nobody folds", p->name);
}

static bool domains_are_well(struct world *w, const char **ret_why)
{
    MODEL_EACH (domain, d, &w->oracle->domains)
        if (domain_is_proved(d) && d->project->live != NULL && d->status != DOMAIN_SERVING)
            return no(w, ret_why, "is proved and does not serve", d->host);
    return true;
}

bool is_converged(struct world *w, const char **ret_why)
{
    if (w->oracle->format != EVENT_FORMAT)
        return no(w, ret_why, "its format is not raised", "the log");
    MODEL_EACH (process, p, &w->oracle->processes)
        if (process_is_application(p) && !application_is_well(w, p, ret_why))
            return false;
    if (!domains_are_well(w, ret_why))
        return false;
    MODEL_EACH (project, p, &w->oracle->projects)
        if (!project_is_well(w, p, ret_why))
            return false;
    for (size_t i = 0; i < w->nodes_n; i++)
        if (!node_is_well(w, &w->nodes[i], ret_why))
            return false;
    for (size_t i = 0; i < w->edges_n; i++)
        if (!edge_is_well(w, &w->edges[i], ret_why))
            return false;
    for (size_t i = 0; i < w->replicas_n; i++)
        if (!w->replicas[i].is_live || w->replicas[i].model->seq != w->store.seq)
            return no(w, ret_why, "is behind", w->replicas[i].name);
    return is_spread(w, ret_why);
}
