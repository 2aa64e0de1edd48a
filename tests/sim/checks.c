/* What must always hold: before each event is true, after each batch, after each step. */
#include "sim.h"

#include "event/hash.h"

/* An edge leads nowhere dead for longer than this, as long as the control plane is well: 10 s until a node is
 * suspected, its votes, a poll, an Envoy (each some seconds here). The same for a lost node's instances to be replaced.
 */
enum { DEAD_ROUTE_MS = 35000, REPLACED_MS = 15000 };

/* ---- Before an event ---- */

static bool is_live_edge(const struct world *w, const struct sim_edge *e)
{
    /* Silent for longer than the contract says: it does not count as live. */
    return e->is_up && w->now_ms - e->back_ms > EDGE_CLOSE_MS &&
           w->now_ms - e->contact_ms <= w->settings.edge_live_seconds * 1000 - EDGE_CLOSE_MS;
}

/* Counted only: who plans has not heard it itself lately, another one has. */
static bool is_heard_by(const struct world *w, const struct replica *r, const struct sim_edge *e)
{
    for (size_t i = 0; r != NULL && i < r->edges_n; i++)
        if (str_eq_c(r->edges[i].name, e->name))
            return w->now_ms - r->edges[i].seen_ms <= w->settings.edge_live_seconds * 1000;
    return false;
}

/* A live edge, whichever replica hears it. */
static bool edge_leads_to(struct world *w, struct id instance)
{
    for (size_t i = 0; i < w->edges_n; i++) {
        const struct sim_edge *e = &w->edges[i];
        bool is_live = is_live_edge(w, e);
        if (is_live && !is_heard_by(w, w->appending, e))
            happened(w, OUTCOME_edge_heard_by_others);
        for (size_t p = 0; is_live && p < e->entries_n; p++)
            for (size_t k = 0; k < e->entries[p].endpoints_n; k++)
                if (id_eq(e->entries[p].endpoints[k], instance))
                    return true;
    }
    return false;
}

/* Healthy ones that serve the project without this one: of the live deployment, and of one that takes its place. */
static uint32_t others_healthy(const struct instance *i)
{
    return (uint32_t)project_endpoints(i->process->project, NULL, 0) - 1;
}

/* The planner takes an instance of a draining deployment away: requests may still come to it. */
static void check_drained(struct world *w, const struct instance *i)
{
    const struct process *d = i->process;
    checked(w, RULE_drained);
    if (!d->edges_confirmed)
        broken(w, RULE_drained, "an instance is removed before the edges have confirmed the switch");
    /* On the store's clock, as good as a replica can know it. */
    int64_t drained_ns = store_clock_now_ms(w) * 1000000 - d->drain_from_ns;
    if (drained_ns < d->drain_wait_seconds * INT64_C(1000000000) - (1 + w->store.back_ms) * 1000000)
        broken(w, RULE_drained, "an instance is removed before its drain time is over");
    if (edge_leads_to(w, i->id))
        broken(w, RULE_drained, "an instance is removed while a live edge still leads to it");
}

/* Its node is told to stop it: edges have withdrawn it, or had their time. */
static void check_withdrawn(struct world *w, const struct instance_status_change *e)
{
    const struct instance *i = model_instance(w->oracle, e->instance_id);
    bool stops = str_eq(e->desired, STR("stopped")) || str_eq(e->desired, STR("deleted"));
    if (i == NULL || !stops || e->withdraw)
        return;
    if (i->status != INSTANCE_RUNNING && i->status != INSTANCE_STARTING && i->status != INSTANCE_DRAINING)
        return;
    checked(w, RULE_withdrawn);
    int64_t waited_ms = store_clock_now_ms(w) - i->since_ns / 1000000;
    bool had_its_time = i->status == INSTANCE_DRAINING &&
                        waited_ms >= w->settings.withdraw_timeout_seconds * 1000 - (1 + w->store.back_ms);
    if (!had_its_time && edge_leads_to(w, i->id))
        broken(w, RULE_withdrawn, "an instance is told to stop while a live edge still leads to it");
}

void check_stop(struct world *w, const struct sim_node *n, struct id id)
{
    const struct instance *i = model_instance(w->oracle, id);
    checked(w, RULE_withdrawn);
    if (i != NULL && i->status == INSTANCE_DRAINING && i->withdraw_seq != 0)
        broken(w, RULE_withdrawn, "%s stops an instance that is still being withdrawn", n->name);
}

/* A person starts it again. */
static void check_started_again(struct world *w, const struct instance_status_change *e)
{
    const struct instance *started = model_instance(w->oracle, e->instance_id);
    const struct node *n = started == NULL ? NULL : started->node;
    int64_t used = 0;
    if (n == NULL || !str_eq(e->desired, STR("running")))
        return;
    checked(w, RULE_placement);
    MODEL_EACH (instance, i, &n->instances)
        used += i == started || instance_is_hopeful(i) || i->status == INSTANCE_DRAINING
                    ? i->process->resources.memory_bytes
                    : 0;
    if (used > n->capacity.memory_bytes / 100 * w->settings.memory_overcommit_percent)
        broken(w, RULE_placement, "an instance is started again on %s, which has no room for it", n->name);
}

/* The planner takes an instance away. */
static void check_removal(struct world *w, struct id id, bool by_person)
{
    const struct instance *i = model_instance(w->oracle, id);
    if (i == NULL || i->process->project == NULL || by_person || i->wanted == DESIRED_DELETED)
        return;
    const struct process *d = i->process;
    if (d->status == DEPLOYMENT_DRAINING && (i->status == INSTANCE_RUNNING || i->status == INSTANCE_DRAINING))
        check_drained(w, i);
    if (!instance_is_healthy(i))
        return;
    checked(w, RULE_healthy_kept);
    if (d->status == DEPLOYMENT_LIVE && others_healthy(i) < (uint32_t)d->instances_wanted)
        broken(w, RULE_healthy_kept, "a healthy instance of a live deployment is removed while it is needed");
    if (d->status != DEPLOYMENT_LIVE && d->project->live == d && !d->project->is_deleted)
        broken(w, RULE_healthy_kept, "a healthy instance is removed while its project's route leads to it");
}

/* How many it has to show as healthy. Beside another one: all that it had when that was planned; the plan may have
 * placed one more. */
static uint32_t must_be_healthy_n(const struct world *w, const struct process *d, bool is_beside)
{
    uint32_t n = is_beside ? process_present_n(d) : (uint32_t)d->instances_wanted;
    MODEL_EACH (instance, i, &d->instances)
        n -= is_beside && w->appending != NULL && i->created_ns == i->since_ns && i->status == INSTANCE_PENDING &&
             i->changed_seq > w->appending->base_seq;
    return n;
}

static void check_route(struct world *w, const struct route_deployment *e)
{
    const struct process *d = model_deployment(w->oracle, e->deployment_id);
    int64_t now_ms = store_clock_now_ms(w) + w->store.back_ms;
    checked(w, RULE_route_switch);
    if (!e->beside) /* also when only its domains have changed */
        for (size_t k = 0; k == 0 || k < e->hosts.n; k++)
            if (e->hosts.n == 0 || model_certificate_by_host(w->oracle, e->hosts.items[k]) == NULL)
                broken(w, RULE_route_switch, "a route switches to a host without a certificate");
    if (d != NULL && d->project->live == d && !e->beside)
        return;
    if (d == NULL)
        d = model_process(w->oracle, e->deployment_id); /* an application */
    if (d == NULL || process_healthy_n(d) < must_be_healthy_n(w, d, e->beside))
        broken(w, RULE_route_switch, "a route switches to a deployment that is not fully healthy");
    MODEL_EACH (instance, i, &d->instances)
        if (instance_is_healthy(i) &&
            now_ms - i->history[i->history_n - 1].at_ns / 1000000 < w->settings.settle_seconds * 1000 - 1)
            broken(w, RULE_route_switch, "a route switches to an instance that has been healthy for a moment only");
    if (d->project == NULL)
        return;
    if (d->project->live != NULL && d->project->live->created_seq > d->created_seq)
        broken(w, RULE_route_switch, "an older deployment takes over from a newer one");
    if (e->beside && d->project->live == NULL)
        broken(w, RULE_route_switch, "a deployment serves beside nothing");
}

/* An address has one owner in the whole story. */
static void check_address(struct world *w, struct str address)
{
    uint32_t at = crc32c(0, address.ptr, address.len);
    if (address.len == 0)
        return;
    checked(w, RULE_one_address);
    for (;; at++) {
        struct str *slot = &w->addresses[at % ADDRESSES_MAX];
        if (slot->ptr == NULL) {
            *slot = address; /* of an event of the log: it stays */
            return;
        }
        if (str_eq(*slot, address))
            broken(w, RULE_one_address, "address %.*s is given twice", STR_ARG(address));
    }
}

static struct sim_node *sim_node_of(struct world *w, struct id id)
{
    for (size_t i = 0; i < w->nodes_n; i++)
        if (id_eq(w->nodes[i].id, id))
            return &w->nodes[i];
    broken(w, RULE_placement, "an event names a node that is not there");
}

/* Votes of more than half of the replicas that might vote when this was planned; of others they do not count. */
static void check_lost(struct world *w, const struct node *known)
{
    const struct replica *by = w->appending;
    int64_t might = by == NULL ? 0 : by->planned_replicas_n, votes = 0;
    for (size_t i = 0; by != NULL && i < w->replicas_n; i++)
        if (text_list_has(&known->suspected_by, w->replicas[i].name)) {
            bool counts = (by->planned_voters & 1u << i) != 0;
            votes += counts;
            if (!counts)
                happened(w, OUTCOME_vote_not_counted);
        }
    checked(w, RULE_votes_counted);
    if (votes * 2 <= might || might == 0)
        broken(w, RULE_votes_counted, "%s counts as lost by %lld votes of %lld replicas that hold a lease", known->name,
               (long long)votes, (long long)might);
}

static void check_node(struct world *w, const struct node_status_change *e)
{
    const struct node *known = model_node(w->oracle, e->node_id);
    struct sim_node *n = sim_node_of(w, e->node_id);
    if (str_eq(e->status, STR("lost"))) {
        check_lost(w, known);
        n->was_heard = false;
        return;
    }
    checked(w, RULE_heard_again);
    if (known->status == NODE_LOST && !n->was_heard)
        broken(w, RULE_heard_again, "lost node %s is back though nobody has heard it", n->name);
}

/* Placed where it can run. */
static void check_placement(struct world *w, const struct create_instance *e)
{
    const struct node *n = model_node(w->oracle, e->node_id);
    const struct process *p = model_process(w->oracle, e->process_id);
    bool is_guest = p != NULL && (p->project != NULL || process_is_application(p));
    checked(w, RULE_placement);
    if (n == NULL || n->status != NODE_READY || !text_list_has(&n->labels, is_guest ? "worker" : "control"))
        broken(w, RULE_placement, "an instance is placed on a node that cannot run it");
    if (is_guest && node_used(n).memory_bytes + p->resources.memory_bytes >
                        n->capacity.memory_bytes / 100 * w->settings.memory_overcommit_percent + 100)
        broken(w, RULE_placement, "an instance is placed on %s, which has no room for it", n->name);
}

/* No more than wanted are on their way, but for what people made by hand, and what has to leave its node. */
static void check_wanted(struct world *w, const struct create_instance *e)
{
    const struct process *d = model_deployment(w->oracle, e->process_id);
    size_t hopeful = 1;
    if (d == NULL || str_eq(e->because, STR("{\"rule\":\"by hand\"}")))
        return;
    checked(w, RULE_as_wanted);
    MODEL_EACH (instance, i, &d->instances)
        hopeful += instance_is_hopeful(i) && i->node->status != NODE_DRAINING;
    if (hopeful > (size_t)d->instances_wanted + w->hand_made_n + spreads_n(w, e))
        broken(w, RULE_as_wanted, "a deployment of %s has %zu instances on their way, %lld are wanted",
               d->project->slug, hopeful, (long long)d->instances_wanted);
}

/* Reports overtake each other on the way; what is written down is never older than what was. */
static void check_report(struct world *w, const struct instance_status_change *e)
{
    const struct instance *i = model_instance(w->oracle, e->instance_id);
    if (i == NULL || e->boot_id.len == 0)
        return;
    checked(w, RULE_old_reports);
    if (node_boot_is_past(i->node, e->boot_id) || (str_eq_c(e->boot_id, i->boot_id) && e->report_seq <= i->report_seq))
        broken(w, RULE_old_reports, "an old report is written down");
    if (!id_eq(e->node_id, i->node->id))
        broken(w, RULE_lies, "what a node says of an instance on another is written down");
    if (str_eq(e->cause, STR("a lie")))
        broken(w, RULE_lies, "a lie is written down");
}

void check_before(struct world *w, const struct event *ev)
{
    check_kind(w, ev);
    check_spread(w, ev);
    if (ev->kind == EVENT_DELETE_INSTANCE)
        check_removal(w, ev->delete_instance.instance_id, false);
    if (ev->kind == EVENT_INSTANCE_STATUS_CHANGE && str_eq(ev->instance_status_change.desired, STR("deleted")))
        check_removal(w, ev->instance_status_change.instance_id,
                      str_starts(ev->instance_status_change.cause, STR("deleted by a person")));
    if (ev->kind == EVENT_INSTANCE_STATUS_CHANGE) {
        check_report(w, &ev->instance_status_change);
        check_withdrawn(w, &ev->instance_status_change);
        check_started_again(w, &ev->instance_status_change);
    }
    if (ev->kind == EVENT_ROUTE_DEPLOYMENT)
        check_route(w, &ev->route_deployment);
    if (ev->kind == EVENT_ROUTE_DEPLOYMENT && ev->route_deployment.beside)
        happened(w, OUTCOME_rolls_one_by_one);
    if (ev->kind == EVENT_DRAIN_NODE) /* each may be replaced, and then be lost with its node */
        w->hand_made_n += model_node(w->oracle, ev->drain_node.node_id)->instances.n;
    if (ev->kind == EVENT_NODE_STATUS_CHANGE)
        check_node(w, &ev->node_status_change);
    if (ev->kind == EVENT_CREATE_INSTANCE) {
        check_placement(w, &ev->create_instance);
        check_wanted(w, &ev->create_instance);
        check_address(w, ev->create_instance.address);
    }
}

/* Nodes that this replica heard in the last half of the time after which one is suspected, and of how many. A vote is
 * decided up to a look after what it rests on. */
static size_t fresh_nodes(struct world *w, const struct replica *r, size_t *ret_nodes_n)
{
    size_t fresh_n = 0;
    *ret_nodes_n = 0;
    MODEL_EACH (node, n, &r->model->nodes) {
        const struct sim_node *s = sim_node_of(w, n->id);
        if (n->status == NODE_GONE || n->status == NODE_LOST || s == NULL)
            continue;
        *ret_nodes_n += 1;
        fresh_n += r->heard_ms[s - w->nodes] + SUSPECT_MS / 2 + TICK_MS >= r->decided_ms;
    }
    return fresh_n;
}

void check_vote(struct world *w, const struct replica *r, struct id node)
{
    size_t nodes_n, fresh_n = fresh_nodes(w, r, &nodes_n);
    if (fresh_n * 2 < nodes_n)
        broken(w, RULE_fresh_votes, "replica %s suspects %s though only %zu of %zu nodes are fresh", r->name,
               sim_node_of(w, node)->name, fresh_n, nodes_n);
    size_t i = (size_t)(sim_node_of(w, node) - w->nodes);
    checked(w, RULE_fresh_votes);
    /* What it heard after it had decided, it could not know. */
    if (r->heard_ms[i] <= r->decided_ms && r->decided_ms - r->heard_ms[i] <= SUSPECT_MS)
        broken(w, RULE_fresh_votes, "replica %s suspects %s, which it has just heard", r->name, w->nodes[i].name);
    if (r->decided_ms - r->resumed_ms < SUSPECT_MS)
        broken(w, RULE_fresh_votes, "replica %s suspects %s though it stood still until a moment ago", r->name,
               w->nodes[i].name);
    if (w->now_ms - r->live_since_ms < SUSPECT_MS)
        broken(w, RULE_fresh_votes, "replica %s suspects %s before it could have heard it", r->name, w->nodes[i].name);
}

/* ---- After a batch: what it has touched ---- */

static void check_deployment(struct world *w, const struct process *d)
{
    checked(w, RULE_as_wanted);
    if (d->status == DEPLOYMENT_LIVE && d->project->live != d && !d->project->is_deleted)
        broken(w, RULE_as_wanted, "a deployment of %s is live, and nothing leads to it", d->project->slug);
    checked(w, RULE_causes);
    if ((d->status == DEPLOYMENT_FAILED || d->status == DEPLOYMENT_CANCELLED) && d->cause[0] == '\0')
        broken(w, RULE_causes, "a deployment ended without a cause");
}

static void check_builders(struct world *w, uint64_t after_seq)
{
    const struct process *builders = model_process_by_name(w->oracle, STR("image-builder"));
    if (builders == NULL || builders->instances.n == 0)
        return;
    MODEL_EACH (instance, i, &builders->instances) {
        if (i->changed_seq <= after_seq)
            continue;
        checked(w, RULE_builders);
        if (model_image_of_builder(w->oracle, i->id) == NULL && !builder_was_relieved(w, i->id))
            broken(w, RULE_builders, "a builder builds nothing");
    }
}

void check_batch(struct world *w, uint64_t after_seq)
{
    MODEL_EACH (process, d, &w->oracle->processes)
        if (d->project != NULL && d->changed_seq > after_seq)
            check_deployment(w, d);
    check_builders(w, after_seq);
}

/* ---- After a step ---- */

static const uint8_t *oracle_hash(struct world *w)
{
    if (w->oracle_hash_seq != w->oracle->seq) {
        model_hash(w->oracle, w->oracle_hash);
        w->oracle_hash_seq = w->oracle->seq;
    }
    return w->oracle_hash;
}

void check_model(struct world *w, struct replica *r)
{
    uint8_t hash[32];
    if (r->model->seq != w->oracle->seq || r->checked_seq == r->model->seq)
        return;
    r->checked_seq = r->model->seq;
    checked(w, RULE_replay);
    model_hash(r->model, hash);
    if (memcmp(hash, oracle_hash(w), sizeof(hash)) != 0)
        broken(w, RULE_replay, "replica %s has another model than the log tells", r->name);
}

/* An endpoint that is not up: since when; -1: it is up. */
static int64_t down_since(struct world *w, struct id instance)
{
    int64_t since_ms = w->now_ms; /* never seen: it is on its way to its node */
    for (size_t i = 0; i < GONE_MAX && i < w->gone_n; i++)
        if (id_eq(w->gone[i].id, instance))
            since_ms = w->gone[i].at_ms;
    for (size_t n = 0; n < w->nodes_n; n++) {
        const struct machine *m = node_machine(&w->nodes[n], instance);
        if (m != NULL && m->is_up)
            return -1;
        since_ms = m != NULL ? m->down_ms : since_ms;
    }
    return since_ms;
}

static uint32_t wanted_by(const struct world *w, struct id deployment)
{
    const struct process *d = model_deployment(w->oracle, deployment);
    return d == NULL ? 0 : (uint32_t)d->instances_wanted;
}

static void check_entry(struct world *w, const struct sim_edge *e, const struct route_entry *r)
{
    checked(w, w->is_settled ? RULE_goes_live : RULE_no_dead_route);
    if (w->is_settled && r->endpoints_n < wanted_by(w, r->deployment))
        broken(w, RULE_goes_live, "%s leads to %zu instances of a deployment that wants %u though nothing failed",
               e->name, r->endpoints_n, wanted_by(w, r->deployment));
    for (size_t k = 0; k < r->endpoints_n; k++) {
        int64_t since_ms = down_since(w, r->endpoints[k]);
        if (since_ms < 0)
            continue;
        if (w->is_settled)
            broken(w, RULE_goes_live, "%s sends requests to an instance that does not run though nothing failed",
                   e->name);
        int64_t from_ms = since_ms > w->troubled_ms ? since_ms : w->troubled_ms;
        if (is_live_edge(w, e) && w->now_ms - from_ms > DEAD_ROUTE_MS)
            broken(w, RULE_no_dead_route, "%s leads to an instance that has been down for %.1f s", e->name,
                   (double)(w->now_ms - since_ms) / 1000);
    }
}

/* What a lost node took along is replaced soon, or the deployment says why not. */
static void check_replaced(struct world *w)
{
    if (w->now_ms - w->troubled_ms < REPLACED_MS)
        return;
    checked(w, RULE_replaced);
    MODEL_EACH (instance, i, &w->oracle->instances) {
        const struct process *d = i->process;
        if (i->status == INSTANCE_LOST && i->wanted == DESIRED_RUNNING && d->status == DEPLOYMENT_LIVE &&
            d->cause[0] == '\0' && store_clock_now_ms(w) - i->since_ns / 1000000 > REPLACED_MS + w->store.back_ms)
            broken(w, RULE_replaced, "a lost instance of a live deployment is not replaced");
    }
}

/* The control plane is not well: some replica cannot do its work, or the store. */
static bool is_troubled(const struct world *w)
{
    if (w->store.down_until_ms > w->now_ms || w->store.full_until_ms > w->now_ms)
        return true;
    for (size_t i = 0; i < w->replicas_n; i++) {
        const struct replica *r = &w->replicas[i];
        if (!r->is_up || !r->is_live || r->is_read_only || r->is_damaged || r->paused_until_ms > w->now_ms)
            return true;
    }
    return false;
}

void check_step(struct world *w)
{
    if (is_troubled(w) && w->troubled_ms < w->now_ms)
        w->troubled_ms = w->now_ms;
    check_replaced(w);
    for (size_t e = 0; e < w->edges_n; e++)
        for (size_t p = 0; p < w->edges[e].entries_n; p++)
            check_entry(w, &w->edges[e], &w->edges[e].entries[p]);
}
