/* A control-plane replica: folds the one log, decides commands and plans on what it has folded, appends on condition.
 * What happens to one append: decided -> appended, answered; or refused as too late (decided again on the news); or
 * nobody knows (the log is read until its own event is found, or its end). A replica may die between any two of these.
 */
#include "sim.h"

/* SEEN_EDGE_SILENT_US of control/seen.h, TELL_MS of control/leases.c. */
enum { EDGE_SILENT_MS = 7000, LEASE_TELL_MS = 500 };
enum { PULL_MS = 3000, LATE_MS = SUSPECT_MS / 3, TURNS = 20 };

static unsigned place_of(const struct world *w, const struct replica *r)
{
    return AT_REPLICAS + (unsigned)(r - w->replicas);
}

/* The store's clock as this replica knows it: as last seen, plus what has passed since. */
int64_t replica_clock_ms(const struct world *w, const struct replica *r)
{
    int64_t seen_ms = r->store_clock_ms + (w->now_ms - r->store_clock_at_ms),
            log_ms = r->model->time.instant_ns / 1000000;
    return seen_ms > log_ms ? seen_ms : log_ms;
}

void replica_start(struct world *w, struct replica *r)
{
    r->model = model_new();
    r->model->kept = w->oracle->kept;
    r->plan_state = plan_state_new();
    r->is_up = true;
    r->is_live = r->is_damaged = r->is_read_only = r->is_found = false;
    r->dies = DIES_NOT;
    r->offset = 0;
    r->sum = 0;
    r->edges_n = r->queue_n = 0;
    r->state = NOTHING_IN_FLIGHT;
    r->next_tick_ms = r->next_pull_ms = r->paused_until_ms = 0;
    r->read_end_ms = INT64_MIN / 2;
    r->checked_seq = 0;
    r->resumed_ms = 0;
    r->may_vote = false;
    r->leases = (struct leases_known){.at_ms = INT64_MIN / 2};
    r->next_lease_ms = r->left_since_ms = 0;
    r->rules =
        (struct watchdog_rules){.timeout_us = SUSPECT_MS * 1000, .tick_us = TICK_MS * 1000, .late_us = LATE_MS * 1000};
    for (size_t i = 0; i < NODES_MAX; i++)
        r->heard_ms[i] = INT64_MIN / 2;
    tell(w, "replica %s starts", r->name);
}

void replica_crash(struct world *w, struct replica *r, const char *how)
{
    tell(w, "replica %s crashes%s", r->name, how);
    model_free(r->model);
    plan_state_free(r->plan_state);
    preferred_done(&r->left);
    edges_heard_done(&r->told);
    r->plan_state = NULL;
    r->model = NULL;
    r->is_up = r->is_live = false;
}

bool replica_is_fresh(const struct world *w, const struct replica *r)
{
    return r->is_live && !r->is_read_only && !r->is_damaged && w->now_ms - r->read_end_ms <= FRESH_MS;
}

static void enqueue(struct world *w, struct replica *r, const struct command *c, unsigned from)
{
    if (r->queue_n == QUEUE_MAX)
        return; /* a full queue refuses: who asks, asks again */
    struct job *j = arena_alloc(&w->arena, sizeof(*j));
    *j = (struct job){.command = c, .from = from};
    r->queue[r->queue_n++] = j;
}

/* ---- Answers ---- */

static struct desired_item item_of(const struct model *m, const struct instance *i)
{
    enum desired d = instance_told(i);
    const struct image *built = i->restart_never ? model_image_of_builder(m, i->id) : NULL;
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
    const struct node *n = model_node(model, w->nodes[m->from - AT_NODES].id);
    if (n == NULL || m->cursor > model->seq || !replica_is_fresh(w, r))
        return; /* behind the caller, or behind the log: 503 */
    struct desired_answer *d = arena_alloc(&w->arena, sizeof(*d));
    *d = (struct desired_answer){.poll = m->poll, .cursor = model->seq};
    d->is_full = m->cursor == 0 || !model_can_follow(model, m->cursor);
    if (d->is_full)
        happened(w, OUTCOME_full_poll);
    if (d->is_full || n->instances_seq > m->cursor) {
        d->items = arena_alloc(&w->arena, (n->instances.n + 1) * sizeof(*d->items));
        MODEL_EACH (instance, i, &n->instances)
            if (d->is_full || i->changed_seq > m->cursor)
                d->items[d->items_n++] = item_of(model, i);
    }
    size_t gone = d->is_full ? 0 : model_removed(model, OBJECT_INSTANCE, n->id, m->cursor, NULL, 0);
    d->removed = arena_alloc(&w->arena, (gone + 1) * sizeof(*d->removed));
    d->removed_n = d->is_full ? 0 : model_removed(model, OBJECT_INSTANCE, n->id, m->cursor, d->removed, gone);
    send(w, (struct message){.kind = SAY_DESIRED, .from = place_of(w, r), .to = m->from, .desired = d});
}

static void hears_edge(struct world *w, struct replica *r, const struct message *m)
{
    struct sim_edge *edge = &w->edges[m->from - AT_EDGES];
    struct edge_observed seen = {str_from(edge->name), m->cursor, w->now_ms};
    if (w->now_ms - edge->contact_ms > w->settings.edge_live_seconds * 1000 - EDGE_CLOSE_MS)
        edge->back_ms = w->now_ms;
    edge->contact_ms = w->now_ms;
    size_t k = 0;
    while (k < r->edges_n && !str_eq(r->edges[k].name, seen.name))
        k++;
    bool is_there = k < r->edges_n && w->now_ms - r->edges[k].seen_ms < EDGE_SILENT_MS;
    if (!is_there || r->edges[k].confirmed_seq != seen.confirmed_seq) {
        r->must_plan = true;
        if (r->next_lease_ms > w->now_ms + LEASE_TELL_MS)
            r->next_lease_ms = w->now_ms + LEASE_TELL_MS;
    }
    r->edges_n += k == r->edges_n;
    r->edges[k] = seen;
}

/* GET /v1/routes?cursor=…: the cursor that comes along is the edge's confirmation. */
static void answer_edge(struct world *w, struct replica *r, const struct message *m)
{
    if (!replica_is_fresh(w, r))
        return; /* 503: the edge asks another one */
    hears_edge(w, r, m);
    if (m->cursor > r->model->seq)
        return;
    struct routes *t = arena_alloc(&w->arena, sizeof(*t));
    t->seq = r->model->seq;
    t->since = m->cursor;
    t->is_full = m->cursor == 0 || !model_can_follow(r->model, m->cursor);
    t->document = routes_document(w, r->model, t->since, t->is_full);
    send(w, (struct message){.kind = SAY_ROUTES, .from = place_of(w, r), .to = m->from, .routes = t});
}

void replica_takes(struct world *w, struct replica *r, const struct message *m)
{
    if (r->paused_until_ms > w->now_ms)
        return; /* who asked gives up */
    switch (m->kind) {
    case SAY_MOVED: r->next_pull_ms = 0; return;
    case SAY_NODE_POLL: answer_node(w, r, m); return;
    case SAY_EDGE_POLL: answer_edge(w, r, m); return;
    case SAY_COMMAND:
        if (m->from >= AT_NODES && m->from < AT_EDGES)
            r->heard_ms[m->from - AT_NODES] = w->now_ms;
        enqueue(w, r, m->command, m->from);
        return;
    case SAY_DESIRED:
    case SAY_ROUTES: return;
    }
}

/* ---- Decisions ---- */

static size_t node_index(const struct world *w, struct id id)
{
    size_t i = 0;
    while (i < w->nodes_n && !id_eq(w->nodes[i].id, id))
        i++;
    return i;
}

static bool has_heard(const struct world *w, const struct replica *r, struct id node, int64_t within_ms)
{
    size_t i = node_index(w, node);
    return i < w->nodes_n && w->now_ms - r->heard_ms[i] <= within_ms;
}

bool replica_hears(const struct world *w, const struct replica *r, struct id node)
{
    return has_heard(w, r, node, SUSPECT_MS);
}

static void queue_pop(struct replica *r)
{
    memmove(r->queue, r->queue + 1, --r->queue_n * sizeof(r->queue[0]));
}

/* The first command of the queue that leads to events stays in front until they are durable. */
static bool decide_next(struct world *w, struct replica *r)
{
    for (; r->queue_n > 0; queue_pop(r)) {
        struct errinfo err = {0};
        const struct command *c = r->queue[0]->command;
        r->batch = (struct event_list){.arena = &w->arena};
        enum err rc = command_decide(w, r, c, &r->batch, &err);
        checked(w, RULE_refusals);
        if (rc != OK && r->batch.n != 0)
            broken(w, RULE_refusals, "a refused command left events behind: %s", err.msg);
        if (rc != OK)
            happened(w, c->is_lie ? OUTCOME_lie_refused : OUTCOME_report_refused);
        if (rc != OK && r->queue[0]->from == AT_PEOPLE)
            tell(w, "  replica %s refuses: %s", r->name, err.msg);
        if (r->batch.n > 0) {
            r->base_seq = r->model->seq;
            r->job = r->queue[0];
            r->decided_ms = w->now_ms;
            r->state = IS_DECIDED;
            return true;
        }
        checked(w, RULE_lies);
    }
    return false;
}

/* ---- Watchdog, leases, certificates: what a replica says to itself ---- */

static void command_to_self(struct world *w, struct replica *r, struct command c)
{
    struct command *copy = arena_alloc(&w->arena, sizeof(*copy));
    *copy = c;
    enqueue(w, r, copy, place_of(w, r));
}

static void vote(struct world *w, struct replica *r)
{
    size_t fresh_n = 0, nodes_n = 0;
    MODEL_EACH (node, n, &r->model->nodes) {
        bool counts = n->status != NODE_GONE && n->status != NODE_LOST;
        nodes_n += counts;
        fresh_n += counts && has_heard(w, r, n->id, watchdog_fresh_us(&r->rules) / 1000);
    }
    bool may = watchdog_may_vote(&r->rules, w->now_ms * 1000, r->live_since_ms * 1000, fresh_n, nodes_n);
    /* Who was deaf does not know either which edges are there. */
    if (r->rules.late_at_us == w->now_ms * 1000 || fresh_n * 2 < nodes_n)
        r->listens_since_ms = w->now_ms;
    r->may_vote = may;
    if (!may)
        happened(w, OUTCOME_vote_withheld);
    MODEL_EACH (node, n, &r->model->nodes) {
        bool counts = n->status != NODE_GONE && n->status != NODE_LOST;
        if (!may || !counts || replica_hears(w, r, n->id) || text_list_has(&n->suspected_by, r->name))
            continue;
        command_to_self(w, r, (struct command){.kind = COMMAND_SUSPECT, .id = n->id});
    }
}

static void watch(struct world *w, struct replica *r)
{
    struct str host;
    if (w->now_ms < r->next_tick_ms)
        return;
    r->next_tick_ms = w->now_ms + TICK_MS;
    vote(w, r);
    if (r->queue_n == 0 && model_host_without_certificate(r->model, w->settings.app_domain, &w->arena, &host))
        command_to_self(w, r, (struct command){.kind = COMMAND_CERTIFICATE, .text = host});
}

/* ---- Appends ---- */

static void acknowledge(struct world *w, struct replica *r, uint64_t seq)
{
    if (r->job == NULL)
        return;
    if (r->job->from == AT_PEOPLE && w->acknowledged_n < QUEUE_MAX) {
        happened(w, OUTCOME_command_acknowledged);
        checked(w, RULE_acknowledged);
        if (seq == 0 || seq > w->store.seq || !id_eq(w->log[seq - 1].id, r->batch.items[0].id))
            broken(w, RULE_acknowledged, "replica %s acknowledges what is not in the log", r->name);
        w->acknowledged[w->acknowledged_n].seq = seq;
        w->acknowledged[w->acknowledged_n++].id = r->batch.items[0].id;
    }
    queue_pop(r);
}

static void finish(struct world *w, struct replica *r, uint64_t seq)
{
    r->state = NOTHING_IN_FLIGHT;
    acknowledge(w, r, seq);
    r->must_plan = true;
}

static void commit(struct world *w, struct replica *r)
{
    uint64_t seq = r->base_seq + 1;
    if (r->dies == DIES_BEFORE_APPEND) {
        happened(w, OUTCOME_died_before_append);
        replica_crash(w, r, " before it appends what it has decided");
        return;
    }
    enum appended a = store_append_from(w, r);
    if (r->dies == DIES_AFTER_APPEND && a == APPEND_OK) {
        happened(w, OUTCOME_died_after_append);
        replica_crash(w, r, " before it acknowledges what it has appended");
        return;
    }
    r->next_pull_ms = 0;
    switch (a) {
    case APPEND_OK: finish(w, r, seq); return;
    case APPEND_CONFLICT:
        happened(w, OUTCOME_append_conflict);
        r->state = NOTHING_IN_FLIGHT; /* a command is still in front of the queue and is decided again */
        r->must_plan = true;
        return;
    case APPEND_NO_SPACE:
        happened(w, OUTCOME_append_no_space);
        r->state = NOTHING_IN_FLIGHT;
        r->must_plan = true;
        if (r->job != NULL)
            queue_pop(r); /* who asked is told, and asks again */
        return;
    case APPEND_UNKNOWN:
        happened(w, OUTCOME_append_unknown);
        r->state = IS_UNKNOWN;
        r->is_found = false;
        return;
    }
}

/* An append without an answer: the log says what became of it. Nothing else is appended before that is known. */
static void resolve(struct world *w, struct replica *r)
{
    uint64_t after = r->model->seq;
    if (!store_read_into(w, r, UINT64_MAX) || r->model->seq < w->store.seq)
        return;
    if (r->is_found) {
        happened(w, OUTCOME_append_found_again);
        tell(w, "replica %s finds in the log what it had appended without an answer", r->name);
        uint64_t seq = r->base_seq + 1; /* conditional: there or nowhere */
        (void)after;
        finish(w, r, seq);
    } else {
        happened(w, OUTCOME_append_was_not);
        r->state = NOTHING_IN_FLIGHT;
        r->must_plan = true;
    }
}

/* ---- Turns ---- */

void replica_stands_still(struct world *w, struct replica *r, int64_t for_ms)
{
    r->paused_until_ms = w->now_ms + for_ms;
    if (for_ms > SUSPECT_MS)
        r->resumed_ms = r->paused_until_ms;
    tell(w, "replica %s stands still for %.0f s", r->name, (double)for_ms / 1000);
}

static void pull(struct world *w, struct replica *r)
{
    if (w->now_ms < r->next_pull_ms)
        return;
    uint64_t max = w->store.seq - r->model->seq;
    if (max > 0 && r->is_live && chance(w, CHANCE_replica_reads_half, 10))
        max = roll(w, max + 1);
    if (!store_read_into(w, r, max == 0 ? 1 : max))
        return;
    bool is_at_end = r->model->seq == w->store.seq;
    r->next_pull_ms = is_at_end ? w->now_ms + PULL_MS : 0;
    if (r->is_live || !is_at_end)
        return;
    r->is_live = true;
    r->live_since_ms = r->listens_since_ms = w->now_ms;
    r->must_plan = true;
    tell(w, "replica %s is live", r->name);
    if (r->still_ms > 0)
        replica_stands_still(w, r, r->still_ms);
    r->still_ms = 0;
}

static void turn(struct world *w, struct replica *r)
{
    if (r->state == IS_UNKNOWN) {
        resolve(w, r);
    } else if (r->state == IS_DECIDED) {
        commit(w, r);
    } else if (!chance(w, CHANCE_replica_slow, 10)) {
        pull(w, r);
        if (r->is_live && !r->is_damaged && !r->is_read_only && !decide_next(w, r))
            replica_plans(w, r);
    }
}

/* People restart what has crashed, and replace what is too old. */
static void tend(struct world *w, struct replica *r)
{
    if (!r->is_up && w->now_ms >= r->up_at_ms)
        replica_start(w, r);
    if (r->new_at_ms != 0 && w->now_ms >= r->new_at_ms) {
        r->new_at_ms = 0;
        r->unknown_kind = EVENT_KIND_MAX_;
        r->format = EVENT_FORMAT;
        if (r->is_up)
            replica_crash(w, r, ": a newer version takes its place");
        r->up_at_ms = w->now_ms + 1000;
    }
}

void replicas_tick(struct world *w)
{
    for (size_t i = 0; i < w->replicas_n; i++) {
        struct replica *r = &w->replicas[i];
        tend(w, r);
        if (r->is_up && r->paused_until_ms <= w->now_ms)
            replica_renews_lease(w, r);
        if (r->is_live && r->paused_until_ms <= w->now_ms)
            watch(w, r);
    }
    /* Deciding and appending are separate turns: another replica may come in between. */
    for (int i = 0; i < TURNS; i++) {
        struct replica *r = &w->replicas[roll(w, w->replicas_n)];
        if (r->is_up && r->paused_until_ms <= w->now_ms)
            turn(w, r);
    }
    for (size_t i = 0; i < w->replicas_n; i++)
        if (w->replicas[i].is_up)
            check_model(w, &w->replicas[i]);
}
