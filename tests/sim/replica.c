/* A control-plane replica: folds the one log, decides commands and plans on what it has folded, appends on condition.
 */
#include "sim.h"

/* A replica suspects a node that it has not heard for 10 s. */
enum { SUSPECT_MS = 10000 };

static void fold(struct world *w, struct replica *r, uint64_t to)
{
    while (r->model->seq < to) {
        struct errinfo err;
        if (model_apply(r->model, &w->log[r->model->seq], &err) != OK)
            broken(w, "replica %s cannot fold event %" PRIu64 ": %s", r->name, r->model->seq + 1, err.msg);
    }
}

void replica_start(struct world *w, struct replica *r)
{
    r->model = model_new();
    r->is_up = true;
    r->live_since_ms = w->now_ms;
    r->edges_n = 0;
    r->queue_n = 0;
    r->in_flight.n = 0;
    for (size_t i = 0; i < NODES_MAX; i++)
        r->heard_ms[i] = w->now_ms;
    fold(w, r, w->log_n);
    tell(w, "replica %s is live", r->name);
}

void replica_crash(struct world *w, struct replica *r)
{
    tell(w, "replica %s crashes", r->name);
    model_free(r->model);
    r->model = NULL;
    r->is_up = false;
}

static void enqueue(struct replica *r, const struct command *c)
{
    if (r->queue_n < QUEUE_MAX) /* a full queue refuses: who asks, asks again */
        r->queue[r->queue_n++] = c;
}

static struct desired_item item_of(const struct model *m, const struct instance *i)
{
    enum desired d = instance_desired(i);
    const struct image *built = model_image_of_builder(m, i->id);
    struct desired_item item = {.id = i->id,
                                .want = {.restart_never = i->restart_never,
                                         .grace_ms = 5000,
                                         .start_timeout_ms = i->restart_never ? -1 : 20000,
                                         .desired = d == DESIRED_RUNNING    ? CONVERGE_RUNNING
                                                    : d == DESIRED_DRAINING ? CONVERGE_DRAINING
                                                                            : CONVERGE_STOPPED},
                                .behaviour =
                                    behaviour_of(built != NULL ? built->context_digest : i->process->image_digest),
                                .image_id = built != NULL ? built->id : ID_NONE};
    (void)snprintf(item.want.owner, sizeof(item.want.owner), "%s", i->owner);
    return item;
}

/* GET /v1/instances?node_id=…&cursor=… */
static void answer_node(struct world *w, struct replica *r, const struct message *m)
{
    const struct model *model = r->model;
    const struct node *n = model_node(model, w->nodes[m->from].id);
    if (n == NULL || m->cursor > model->seq)
        return; /* behind the caller: 503 */
    struct desired_answer *d = arena_alloc(&w->arena, sizeof(*d));
    *d = (struct desired_answer){.poll = m->poll, .cursor = model->seq};
    d->is_full = m->cursor == 0 || !model_can_follow(model, m->cursor);
    if (d->is_full)
        happened(w, FAULT_full_poll);
    d->items = arena_alloc(&w->arena, (n->instances.n + 1) * sizeof(*d->items));
    MODEL_EACH (instance, i, &n->instances)
        if (d->is_full || i->changed_seq > m->cursor)
            d->items[d->items_n++] = item_of(model, i);
    size_t gone = d->is_full ? 0 : model_removed(model, OBJECT_INSTANCE, n->id, m->cursor, NULL, 0);
    d->removed = arena_alloc(&w->arena, (gone + 1) * sizeof(*d->removed));
    d->removed_n = d->is_full ? 0 : model_removed(model, OBJECT_INSTANCE, n->id, m->cursor, d->removed, gone);
    send(w, (struct message){.kind = TO_NODE_DESIRED, .to = m->from, .desired = d});
}

/* GET /v1/routes?cursor=…: the cursor that comes along is the edge's confirmation. */
static void answer_edge(struct world *w, struct replica *r, const struct message *m)
{
    struct sim_edge *edge = &w->edges[m->from];
    struct edge_observed seen = {str_from(edge->name), m->cursor, w->now_ms};
    edge->contact_ms = w->now_ms;
    size_t k = 0;
    while (k < r->edges_n && !str_eq(r->edges[k].name, seen.name))
        k++;
    r->edges_n += k == r->edges_n;
    r->edges[k] = seen;
    if (m->cursor > r->model->seq)
        return;
    struct routes *t = arena_alloc(&w->arena, sizeof(*t));
    t->seq = r->model->seq;
    t->since = m->cursor;
    t->is_full = m->cursor == 0 || !model_can_follow(r->model, m->cursor);
    if (!t->is_full)
        t->removed_n = model_removed(r->model, OBJECT_ROUTE, ID_NONE, m->cursor, t->removed, 16);
    if (t->removed_n > 16)
        broken(w, "a cursor is very old, or routes come and go");
    MODEL_EACH (project, p, &r->model->projects) {
        if (p->live == NULL || (!t->is_full && p->route_seq <= m->cursor))
            continue;
        struct route_entry *e = &t->entries[t->entries_n++];
        const struct instance *to[16];
        *e = (struct route_entry){.project = p->id, .deployment = p->live->id};
        e->endpoints_n = project_endpoints(p, to, 16);
        for (size_t i = 0; i < e->endpoints_n && i < 16; i++)
            e->endpoints[i] = to[i]->id;
    }
    send(w, (struct message){.kind = TO_EDGE_ROUTES, .to = m->from, .routes = t});
}

void replica_takes(struct world *w, struct replica *r, const struct message *m)
{
    if (m->kind == TO_REPLICA_NODE_POLL) {
        answer_node(w, r, m);
    } else if (m->kind == TO_REPLICA_EDGE_POLL) {
        answer_edge(w, r, m);
    } else {
        if (m->from >= 0)
            r->heard_ms[m->from] = w->now_ms;
        enqueue(r, m->command);
    }
}

static enum err decide(struct world *w, struct replica *r, const struct command *c, struct event_list *out,
                       struct errinfo *err)
{
    w->ids.wall_ms = w->now_ms;
    struct decide d = {r->model, &w->settings, w->now_ms, &w->ids};
    struct id id;
    switch (c->kind) {
    case COMMAND_NODE_REPORTED: {
        struct node_reported n = c->node_reported;
        n.replica = r->name_str;
        for (size_t i = 0; i < w->nodes_n; i++)
            w->nodes[i].was_heard |= id_eq(w->nodes[i].id, n.node_id);
        return decide_node_reported(&d, &n, out, err);
    }
    case COMMAND_INSTANCE_OBSERVED: return decide_instance_observed(&d, &c->instance_observed, out, err);
    case COMMAND_IMAGE_OBSERVED: return decide_image_observed(&d, &c->image_observed, out, err);
    case COMMAND_DEPLOY: return decide_create_deployment(&d, &c->deploy, out, &id, err);
    case COMMAND_REPEAT: return decide_repeat_deployment(&d, c->id, STR("somebody"), out, &id, err);
    case COMMAND_CANCEL: return decide_cancel_deployment(&d, c->id, out, err);
    case COMMAND_STOP: return decide_stop_deployment(&d, c->id, out, err);
    case COMMAND_DELETE_INSTANCE: return decide_delete_instance(&d, c->id, out, err);
    case COMMAND_CREATE_INSTANCE:
        return decide_create_instance(&d, &(struct instance_create){.process_id = c->id}, out, &id, err);
    case COMMAND_SUSPECT: return decide_suspect_node(&d, c->id, r->name_str, STR("silent for 10 s"), out, err);
    case COMMAND_CERTIFICATE: return decide_issue_certificate(&d, c->text, STR("2036-01-01T00:00:00Z"), out, &id, err);
    }
    return OK;
}

/* The first command of the queue that leads to events stays in front until they are durable. */
static bool decide_next(struct world *w, struct replica *r)
{
    for (; r->queue_n > 0; memmove(r->queue, r->queue + 1, --r->queue_n * sizeof(r->queue[0]))) {
        struct errinfo err = {0};
        r->in_flight = (struct event_list){.arena = &w->arena};
        enum err rc = decide(w, r, r->queue[0], &r->in_flight, &err);
        if (rc != OK && r->in_flight.n != 0)
            broken(w, "a refused command left events behind: %s", err.msg);
        if (rc != OK)
            happened(w, FAULT_report_refused);
        if (r->in_flight.n > 0) {
            r->base_seq = r->model->seq;
            r->is_plan = false;
            return true;
        }
    }
    return false;
}

static void plan_next(struct world *w, struct replica *r)
{
    int64_t fresh = 0;
    for (size_t i = 0; i < REPLICAS_N; i++) /* a lease outlives its replica by 10 s */
        fresh += w->replicas[i].is_up || w->replicas[i].up_at_ms > w->now_ms + 5000;
    struct observations seen = {.edges = r->edges,
                                .edges_n = r->edges_n,
                                .live_since_ms = r->live_since_ms,
                                .format_min = EVENT_FORMAT,
                                .replicas_n = fresh};
    struct plan p = {.events = {.arena = &w->arena}};
    w->ids.wall_ms = w->now_ms;
    model_plan(r->model, &w->settings, w->now_ms, &seen, &w->ids, &p);
    r->in_flight = p.events;
    r->base_seq = r->model->seq;
    r->is_plan = true;
    if (p.events.n == 0 && p.deadline_ms <= w->now_ms)
        broken(w, "the plan of replica %s has nothing to do and wants to run again at once", r->name);
}

/* Watchdog and certificates: the commands of a replica to itself. */
static void watch(struct world *w, struct replica *r)
{
    struct str host;
    size_t hears_n = 0;
    for (size_t i = 0; i < w->nodes_n; i++)
        hears_n += w->now_ms - r->heard_ms[i] <= SUSPECT_MS;
    bool abstains = hears_n * 2 < w->nodes_n || w->now_ms - r->live_since_ms < SUSPECT_MS;
    for (size_t i = 0; i < w->nodes_n && !abstains; i++) {
        if (w->now_ms - r->heard_ms[i] <= SUSPECT_MS)
            continue;
        struct command *c = arena_alloc(&w->arena, sizeof(*c));
        *c = (struct command){.kind = COMMAND_SUSPECT, .id = w->nodes[i].id};
        enqueue(r, c);
        r->heard_ms[i] = w->now_ms - SUSPECT_MS + 2000; /* say it again in 2 s */
    }
    if (r->queue_n == 0 && model_host_without_certificate(r->model, w->settings.app_domain, &w->arena, &host)) {
        struct command *c = arena_alloc(&w->arena, sizeof(*c));
        *c = (struct command){.kind = COMMAND_CERTIFICATE, .text = host};
        enqueue(r, c);
    }
}

static void commit(struct world *w, struct replica *r)
{
    bool was_plan = r->is_plan;
    if (!world_append(w, &r->in_flight, r->base_seq, r->name)) {
        happened(w, FAULT_append_conflict);
        r->in_flight.n = 0;
        return; /* a command is still in front of the queue and is decided again */
    }
    r->in_flight.n = 0;
    if (!was_plan)
        memmove(r->queue, r->queue + 1, --r->queue_n * sizeof(r->queue[0]));
}

void replicas_tick(struct world *w)
{
    for (size_t i = 0; i < REPLICAS_N; i++)
        if (w->replicas[i].is_up)
            watch(w, &w->replicas[i]);
    /* Deciding and appending are separate turns: another replica may come in between. */
    for (int turn = 0; turn < 16; turn++) {
        struct replica *r = &w->replicas[roll(w, REPLICAS_N)];
        if (!r->is_up)
            continue;
        if (r->in_flight.n > 0) {
            commit(w, r);
            continue;
        }
        if (percent(w, 10))
            continue; /* slow */
        fold(w, r, percent(w, 10) ? r->model->seq + roll(w, w->log_n - r->model->seq + 1) : w->log_n);
        if (!decide_next(w, r))
            plan_next(w, r);
    }
}
