/* What must always hold (after each event, after each step), and what must come true once nothing fails any more. */
#include "base/own.h"
#include "event/hash.h"
#include "sim.h"

/* ---- The log ---- */

static void write_down(struct world *w, const struct event *ev, const char *who)
{
    AUTO(buf) struct buf line = {0};
    event_describe(w->oracle, ev, &line);
    tell(w, "%s #%zu %s", who, w->log_n, line.ptr);
}

/* The way that events take in earnest: encoded, decoded. The copy lives as long as the log. */
static struct event through_the_codec(struct world *w, const struct event *ev)
{
    AUTO(buf) struct buf payload = {0}, again = {0};
    struct event copy;
    struct errinfo err;
    event_encode_payload(ev, &payload);
    struct envelope e = {
        .time = ev->time, .id = ev->id, .type = str_from(event_kind_row(ev->kind)->name), .payload = buf_str(&payload)};
    if (event_decode(&e, &w->arena, &copy, &err) != OK)
        broken(w, "an event cannot be decoded: %s", err.msg);
    event_encode_payload(&copy, &again);
    if (!str_eq(buf_str(&payload), buf_str(&again)))
        broken(w, "an event changes when it is encoded and decoded: %s, then %s", payload.ptr, again.ptr);
    return copy;
}

bool world_append(struct world *w, const struct event_list *l, uint64_t expected_seq, const char *who)
{
    if (expected_seq != w->log_n)
        return false;
    for (size_t i = 0; i < l->n; i++) {
        struct event ev = l->items[i];
        struct errinfo err;
        if (w->log_n == LOG_MAX)
            broken(w, "the log never ends");
        ev.time = event_time_next(w->oracle->time, w->now_ms * 1000000);
        ev = through_the_codec(w, &ev);
        check_before(w, &ev, who);
        bool is_end = ev.kind == EVENT_DELETE_INSTANCE || ev.kind == EVENT_DELETE_PROCESS;
        if (is_end)
            write_down(w, &ev, who);
        if (model_apply(w->oracle, &ev, &err) != OK)
            broken(w, "%s wrote an event that cannot follow: %s", who, err.msg);
        w->log[w->log_n++] = ev;
        w->coverage->events[ev.kind]++;
        if (ev.kind == EVENT_CREATE_INSTANCE && str_eq(ev.create_instance.because, STR("{\"rule\":\"by hand\"}")))
            w->hand_made_n++;
        if (!is_end)
            write_down(w, &ev, who);
    }
    check_after(w);
    return true;
}

/* ---- Before an event ---- */

static bool edge_leads_to(const struct world *w, struct id instance)
{
    for (size_t i = 0; i < EDGES_N; i++) {
        const struct sim_edge *e = &w->edges[i];
        /* Silent for longer than the contract says: it does not count as live. */
        if (!e->is_up || w->now_ms - e->contact_ms > w->settings.edge_live_seconds * 1000)
            continue;
        for (size_t p = 0; p < e->applied.entries_n; p++)
            for (size_t k = 0; k < e->applied.entries[p].endpoints_n; k++)
                if (id_eq(e->applied.entries[p].endpoints[k], instance))
                    return true;
    }
    return false;
}

/* The planner takes an instance away. */
static void check_removal(struct world *w, struct id id, bool by_person)
{
    const struct instance *i = model_instance(w->oracle, id);
    if (i == NULL || i->process->project == NULL || by_person || i->wanted == DESIRED_DELETED)
        return;
    const struct process *d = i->process;
    if (!instance_is_healthy(i))
        return;
    if (d->status == DEPLOYMENT_LIVE)
        broken(w, "a healthy instance of a live deployment is removed");
    if (d->project->live == d)
        broken(w, "a healthy instance is removed while its project's route leads to it");
    if (d->status != DEPLOYMENT_DRAINING)
        return; /* failed, cancelled: nothing ever led to it */
    if (!d->edges_confirmed)
        broken(w, "a healthy instance is removed before the edges have confirmed the switch");
    if (w->now_ms * 1000000 - d->drain_from_ns < d->drain_wait_seconds * INT64_C(1000000000) - 1000000)
        broken(w, "a healthy instance is removed before its drain time is over");
    if (edge_leads_to(w, id))
        broken(w, "a healthy instance is removed while a live edge still leads to it");
}

static void check_route(struct world *w, const struct route_deployment *e)
{
    const struct process *d = model_deployment(w->oracle, e->deployment_id);
    if (d == NULL || process_healthy_n(d) < (uint32_t)d->instances_wanted)
        broken(w, "a route switches to a deployment that is not fully healthy");
    MODEL_EACH (instance, i, &d->instances)
        if (instance_is_healthy(i) &&
            w->now_ms - i->history[i->history_n - 1].at_ns / 1000000 < w->settings.settle_seconds * 1000)
            broken(w, "a route switches to an instance that has been healthy for a moment only");
    if (d->project->live != NULL && d->project->live->created_seq > d->created_seq)
        broken(w, "an older deployment takes over from a newer one");
    if (e->hosts.n != 1 || model_certificate_by_host(w->oracle, e->hosts.items[0]) == NULL)
        broken(w, "a route switches to a host without a certificate");
}

/* An address has one owner in the whole story. */
static void check_address(struct world *w, const struct create_instance *e)
{
    for (size_t i = 0; e->address.len > 0 && i < w->log_n; i++)
        if (w->log[i].kind == EVENT_CREATE_INSTANCE && str_eq(w->log[i].create_instance.address, e->address))
            broken(w, "address %.*s is given twice", STR_ARG(e->address));
}

/* A node counts as lost, or is back: only when somebody has heard it. */
static void check_node(struct world *w, const struct node_status_change *e)
{
    const struct node *known = model_node(w->oracle, e->node_id);
    for (size_t i = 0; i < w->nodes_n; i++) {
        struct sim_node *n = &w->nodes[i];
        if (!id_eq(n->id, e->node_id))
            continue;
        if (str_eq(e->status, STR("lost")))
            n->was_heard = false;
        else if (known->status == NODE_LOST && !n->was_heard)
            broken(w, "lost node %s is back though nobody has heard it", n->name);
    }
}

/* Placed where it can run. */
static void check_placement(struct world *w, const struct create_instance *e)
{
    const struct node *n = model_node(w->oracle, e->node_id);
    const struct process *p = model_process(w->oracle, e->process_id);
    bool is_guest = p != NULL && p->project != NULL;
    if (n == NULL || n->status != NODE_READY || !text_list_has(&n->labels, is_guest ? "worker" : "control"))
        broken(w, "an instance is placed on a node that cannot run it");
}

/* Reports overtake each other on the way; what is written down is never older than what was. */
static void check_report(struct world *w, const struct instance_status_change *e)
{
    const struct instance *i = model_instance(w->oracle, e->instance_id);
    if (i == NULL || e->boot_id.len == 0)
        return;
    if (node_boot_is_past(i->node, e->boot_id) || (str_eq_c(e->boot_id, i->boot_id) && e->report_seq <= i->report_seq))
        broken(w, "an old report is written down");
}

void check_before(struct world *w, const struct event *ev, const char *who)
{
    (void)who;
    if (ev->kind == EVENT_DELETE_INSTANCE)
        check_removal(w, ev->delete_instance.instance_id, false);
    if (ev->kind == EVENT_INSTANCE_STATUS_CHANGE && str_eq(ev->instance_status_change.desired, STR("deleted")))
        check_removal(w, ev->instance_status_change.instance_id,
                      str_starts(ev->instance_status_change.cause, STR("deleted by a person")));
    if (ev->kind == EVENT_INSTANCE_STATUS_CHANGE)
        check_report(w, &ev->instance_status_change);
    if (ev->kind == EVENT_ROUTE_DEPLOYMENT)
        check_route(w, &ev->route_deployment);
    if (ev->kind == EVENT_NODE_STATUS_CHANGE)
        check_node(w, &ev->node_status_change);
    if (ev->kind == EVENT_CREATE_INSTANCE) {
        check_placement(w, &ev->create_instance);
        check_address(w, &ev->create_instance);
    }
}

/* ---- After a batch ---- */

static void check_deployment(struct world *w, const struct process *d)
{
    size_t hopeful = 0;
    MODEL_EACH (instance, i, &d->instances)
        hopeful += instance_is_hopeful(i);
    if (hopeful > (size_t)d->instances_wanted + w->hand_made_n)
        broken(w, "a deployment of %s has %zu instances on their way, %lld are wanted", d->project->slug, hopeful,
               (long long)d->instances_wanted);
    if (d->status == DEPLOYMENT_LIVE && d->project->live != d)
        broken(w, "a deployment of %s is live, and nothing leads to it", d->project->slug);
    if ((d->status == DEPLOYMENT_FAILED || d->status == DEPLOYMENT_CANCELLED) && d->cause[0] == '\0')
        broken(w, "a deployment ended without a cause");
    w->coverage->deployments[d->status]++;
}

static void check_builders(struct world *w)
{
    const struct process *builders = model_process_by_name(w->oracle, STR("image-builder"));
    if (builders == NULL)
        return;
    MODEL_EACH (instance, i, &builders->instances)
        if (model_image_of_builder(w->oracle, i->id) == NULL)
            broken(w, "a builder builds nothing");
}

void check_after(struct world *w)
{
    MODEL_EACH (process, d, &w->oracle->processes)
        if (d->project != NULL)
            check_deployment(w, d);
    MODEL_EACH (instance, i, &w->oracle->instances)
        w->coverage->instances[i->status]++;
    MODEL_EACH (node, n, &w->oracle->nodes)
        w->coverage->nodes[n->status]++;
    MODEL_EACH (image, i, &w->oracle->images)
        w->coverage->images[i->status]++;
    check_builders(w);
}

/* ---- When all is well ---- */

static bool no(struct world *w, const char **ret_why, const char *fmt, const char *name)
{
    AUTO(buf) struct buf text = {0};
    buf_addf(&text, "%s: %s", name, fmt);
    *ret_why = arena_strdup(&w->arena, text.ptr);
    return false;
}

static const struct process *newest(const struct project *p)
{
    const struct process *found = NULL;
    MODEL_EACH (process, d, &p->deployments)
        if (found == NULL || d->created_seq > found->created_seq)
            found = d;
    return found;
}

static bool project_is_well(struct world *w, const struct project *p, const char **ret_why)
{
    const struct process *last = newest(p);
    MODEL_EACH (process, d, &p->deployments) {
        if (d == p->live) {
            if (process_healthy_n(d) < (uint32_t)d->instances_wanted)
                return no(w, ret_why, "the live deployment is not complete", p->slug);
            continue;
        }
        if (!deployment_is_over(d))
            return no(w, ret_why, "another deployment is not over", p->slug);
        if (d->instances.n > 0)
            return no(w, ret_why, "a deployment that is over has instances", p->slug);
    }
    if (last != NULL && last->status == DEPLOYMENT_FAILED && last->cause[0] == '\0')
        return no(w, ret_why, "the newest failed without a cause", p->slug);
    return true;
}

/* An edge knows exactly the healthy instances. */
static bool entry_is_well(const struct route_entry *e, const struct project *p)
{
    const struct instance *to[16];
    size_t n = project_endpoints(p, to, 16);
    if (n != e->endpoints_n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!id_eq(to[i]->id, e->endpoints[i]))
            return false;
    return true;
}

static bool edge_is_well(struct world *w, const struct sim_edge *e, const char **ret_why)
{
    for (size_t i = 0; i < w->projects_n; i++) {
        const struct project *p = model_project(w->oracle, w->projects[i]);
        const struct route_entry *entry = NULL;
        if (!e->is_up)
            return no(w, ret_why, "is down", e->name);
        for (size_t k = 0; k < e->applied.entries_n; k++)
            if (id_eq(e->applied.entries[k].project, p->id))
                entry = &e->applied.entries[k];
        if ((entry == NULL) != (p->live == NULL) || (entry != NULL && !id_eq(entry->deployment, p->live->id)))
            return no(w, ret_why, "leads elsewhere", e->name);
        if (entry != NULL && !entry_is_well(entry, p))
            return no(w, ret_why, "leads to other instances", e->name);
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
        if (i->process->project != NULL && (m == NULL || !m->is_up))
            return no(w, ret_why, "an instance does not run", n->name);
    }
    return true;
}

bool is_converged(struct world *w, const char **ret_why)
{
    for (size_t i = 0; i < w->projects_n; i++)
        if (!project_is_well(w, model_project(w->oracle, w->projects[i]), ret_why))
            return false;
    for (size_t i = 0; i < w->nodes_n; i++)
        if (!node_is_well(w, &w->nodes[i], ret_why))
            return false;
    for (size_t i = 0; i < EDGES_N; i++)
        if (!edge_is_well(w, &w->edges[i], ret_why))
            return false;
    for (size_t i = 0; i < REPLICAS_N; i++)
        if (!w->replicas[i].is_up || w->replicas[i].model->seq != w->log_n)
            return no(w, ret_why, "is behind", w->replicas[i].name);
    return true;
}
