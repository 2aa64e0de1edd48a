/* The store: one log on one disk, as lines of docs/formats/event-log.md. An append writes, syncs, then answers; between
 * any two of these the power may fail, the disk be full, the answer be lost. What is durable is true: it is decoded
 * from the bytes and folded into the oracle. Readers decode the same bytes, and may find a damaged one. */
#include "sim.h"

#include "event/hash.h"

int64_t store_clock_now_ms(const struct world *w)
{
    return w->now_ms + w->store.offset_ms;
}

bool store_is_reachable(const struct world *w, unsigned from)
{
    return w->store.down_until_ms <= w->now_ms && !is_cut(w, from, AT_STORE);
}

bool store_lease_renew(struct world *w, struct replica *r, struct leases_known *ret)
{
    unsigned me = (unsigned)(r - w->replicas);
    if (!store_is_reachable(w, AT_REPLICAS + me))
        return false;
    struct lease *mine = &w->store.leases[me];
    bool goes_on = mine->until_ms > w->now_ms && mine->format == r->format;
    *mine = (struct lease){goes_on ? mine->since_ms : w->now_ms,
                           w->now_ms + LEASE_MS,
                           !r->may_vote,
                           replica_is_fresh(w, r),
                           r->format,
                           ""};
    edges_tell(r->edges, r->edges_n, w->now_ms, w->settings.edge_live_seconds * 1000, mine->text, sizeof(mine->text));
    *ret = (struct leases_known){.at_ms = w->now_ms};
    for (size_t i = 0; i < w->replicas_n && i < REPLICAS_MAX; i++) {
        const struct lease *l = &w->store.leases[i];
        if (l->until_ms <= w->now_ms)
            continue;
        ret->voters |= (unsigned)!l->abstains << i;
        ret->planners |= (unsigned)l->plans << i;
        ret->format_min = ret->format_min == 0 || l->format < ret->format_min ? l->format : ret->format_min;
    }
    if (is_cut(w, AT_STORE, AT_REPLICAS + me))
        return false; /* the answer is lost */
    for (size_t i = 0; i < w->replicas_n; i++)
        if (i != me && w->store.leases[i].until_ms > w->now_ms)
            r->must_plan |= edges_hear(&r->told, w->replicas[i].name_str, str_from(w->store.leases[i].text), w->now_ms);
    edges_forget(&r->told, w->now_ms - w->settings.edge_live_seconds * 1000);
    return true;
}

/* ---- Lines ---- */

/* The bytes as we write them: a sum with another spelling would let a changed byte pass (as src/store does). */
static bool has_our_tail(struct str line, uint32_t sum)
{
    char tail[40];
    int n = snprintf(tail, sizeof(tail), ",\"sum\":\"crc32c:%08" PRIx32 "\"}", sum);
    return str_ends(line, (struct str){tail, (size_t)n});
}

/* The line at `at` and the event in it. False: no whole, sound line. unknown: a kind that this binary has no name for.
 */
static bool line_read(const struct sim_store *s, size_t at, size_t end, uint32_t sum, struct envelope *ret,
                      size_t *ret_next)
{
    const char *start = s->bytes.ptr + at;
    const char *newline = at < end ? memchr(start, '\n', end - at) : NULL;
    if (newline == NULL)
        return false;
    struct str line = {start, (size_t)(newline - start)};
    if (envelope_decode(line, sum, ret, NULL) != OK || !ret->has_sum || !has_our_tail(line, ret->sum))
        return false;
    *ret_next = at + line.len + 1;
    return true;
}

static void batch_encode(struct world *w, const struct event_list *l, struct buf *out)
{
    struct event_time last = w->oracle->time;
    uint32_t sum = w->store.sum;
    for (size_t i = 0; i < l->n; i++) {
        AUTO(buf) struct buf payload = {0};
        event_encode_payload(&l->items[i], &payload);
        last = event_time_next(last, store_clock_now_ms(w) * 1000000);
        struct envelope e = {.time = last,
                             .id = l->items[i].id,
                             .type = str_from(event_kind_row(l->items[i].kind)->name),
                             .payload = buf_str(&payload),
                             .more = i + 1 < l->n};
        sum = envelope_encode(&e, sum, out);
    }
}

/* ---- What becomes durable becomes true ---- */

static void write_down(struct world *w, const struct event *ev, const char *who)
{
    if (!w->is_telling)
        return;
    AUTO(buf) struct buf line = {0};
    event_describe(w->oracle, ev, &line);
    tell(w, "  #%" PRIu64 " by %s: %s", w->store.seq, who, line.ptr);
}

/* The status of an event's subject, for the table of transitions: what it is before and after. */
struct moves {
    unsigned instance, deployment, node, image;
};
static struct moves moves_of(const struct world *w, const struct event *ev)
{
    const struct model *m = w->oracle;
    struct moves s = {INSTANCE_STATUS_MAX_, DEPLOYMENT_STATUS_MAX_, NODE_STATUS_MAX_, IMAGE_STATUS_MAX_};
    const struct instance *i = NULL;
    const struct process *d = NULL;
    const struct node *n = NULL;
    const struct image *image = NULL;
    if (ev->kind == EVENT_INSTANCE_STATUS_CHANGE)
        i = model_instance(m, ev->instance_status_change.instance_id);
    else if (ev->kind == EVENT_CREATE_INSTANCE)
        i = model_instance(m, ev->create_instance.instance_id);
    else if (ev->kind == EVENT_DELETE_INSTANCE)
        i = model_instance(m, ev->delete_instance.instance_id);
    else if (ev->kind == EVENT_CREATE_DEPLOYMENT)
        d = model_deployment(m, ev->create_deployment.deployment_id);
    else if (ev->kind == EVENT_DEPLOYMENT_STATUS_CHANGE)
        d = model_deployment(m, ev->deployment_status_change.deployment_id);
    else if (ev->kind == EVENT_JOIN_NODE)
        n = model_node(m, ev->join_node.node_id);
    else if (ev->kind == EVENT_DRAIN_NODE)
        n = model_node(m, ev->drain_node.node_id);
    else if (ev->kind == EVENT_NODE_STATUS_CHANGE)
        n = model_node(m, ev->node_status_change.node_id);
    else if (ev->kind == EVENT_CREATE_IMAGE)
        image = model_image(m, ev->create_image.image_id);
    else if (ev->kind == EVENT_IMAGE_STATUS_CHANGE)
        image = model_image(m, ev->image_status_change.image_id);
    s.instance = i != NULL ? i->status : s.instance;
    s.deployment = d != NULL ? d->status : s.deployment;
    s.node = n != NULL ? n->status : s.node;
    s.image = image != NULL ? image->status : s.image;
    return s;
}

static void count_moves(struct world *w, struct moves from, struct moves to)
{
    struct coverage *c = w->coverage;
    c->instances[from.instance][to.instance]++;
    c->deployments[from.deployment][to.deployment]++;
    c->nodes[from.node][to.node]++;
    c->images[from.image][to.image]++;
}

static void fold_one(struct world *w, const struct envelope *e, const char *who)
{
    AUTO(buf) struct buf again = {0};
    struct errinfo err;
    struct event *ev = &w->log[w->store.seq];
    struct envelope own = *e;
    own.payload = arena_str(&w->arena, e->payload); /* the bytes of the log move */
    own.type = arena_str(&w->arena, e->type);
    if (event_decode(&own, &w->arena, ev, &err) != OK)
        broken(w, RULE_codec, "%s cannot be decoded: %s", own.type.ptr, err.msg);
    event_encode_payload(ev, &again);
    checked(w, RULE_codec);
    if (!str_eq(own.payload, buf_str(&again)))
        broken(w, RULE_codec, "an event changes when it is encoded and decoded: %s, then %s", own.payload.ptr,
               again.ptr);
    check_before(w, ev);
    bool is_end = ev->kind == EVENT_DELETE_INSTANCE || ev->kind == EVENT_DELETE_PROCESS;
    struct moves before = moves_of(w, ev);
    check_kept_before(w);
    w->store.seq++;
    if (is_end)
        write_down(w, ev, who);
    checked(w, RULE_follows);
    if (model_apply(w->oracle, ev, &err) != OK)
        broken(w, RULE_follows, "%s wrote an event that cannot follow: %s", who, err.msg);
    if (!is_end)
        write_down(w, ev, who);
    count_moves(w, before, moves_of(w, ev));
    check_kept(w, ev);
    if (ev->kind == EVENT_ERASE_SUBJECT)
        check_erased(w, ev->erase_subject.subject_id);
    w->coverage->events[ev->kind]++;
    w->store.sum = e->sum;
}

/* What lies behind the durable length is durable now. */
static void make_true(struct world *w, size_t end, const char *who)
{
    struct sim_store *s = &w->store;
    uint64_t before = s->seq;
    while (s->durable_size < end) {
        struct envelope e;
        size_t next = 0;
        if (s->seq == LOG_MAX)
            broken(w, RULE_bounded, "the log never ends");
        if (!line_read(s, s->durable_size, end, s->sum, &e, &next))
            broken(w, RULE_codec, "record %" PRIu64 " cannot be read back", s->seq + 1);
        fold_one(w, &e, who);
        s->durable_size = next;
        s->line_at[s->seq] = next;
    }
    check_batch(w, before);
    for (unsigned i = 0; i < w->replicas_n; i++)
        send(w, (struct message){.kind = SAY_MOVED, .from = AT_STORE, .to = AT_REPLICAS + i});
}

void store_append_first(struct world *w, const struct event_list *l)
{
    batch_encode(w, l, &w->store.bytes);
    make_true(w, w->store.bytes.len, "the installer");
}

/* ---- Appends ---- */

/* After the power was gone, or a sync failed: whole batches that are there are kept, the rest is cut off. */
static void recover(struct world *w, const char *who)
{
    struct sim_store *s = &w->store;
    size_t at = s->durable_size, whole = at;
    uint32_t sum = s->sum;
    struct envelope e;
    for (size_t next = 0; line_read(s, at, s->bytes.len, sum, &e, &next); at = next) {
        sum = e.sum;
        if (!e.more)
            whole = next;
    }
    size_t lost = s->bytes.len - whole;
    if (lost > 0) {
        happened(w, at < s->bytes.len ? OUTCOME_tail_torn : OUTCOME_tail_lost);
        tell(w, "the store cuts off %zu bytes of a torn tail", lost);
    }
    s->bytes.len = whole;
    if (whole > s->durable_size) {
        happened(w, OUTCOME_tail_adopted);
        make_true(w, whole, who);
    }
}

static void once(struct world *w, struct replica *r, uint64_t seq_before)
{
    if (r->job == NULL || w->store.seq == seq_before)
        return;
    const struct command *c = r->job->command;
    checked(w, RULE_once);
    if (++r->job->written_n > 1)
        broken(w, RULE_once, "the events of one command are in the log twice");
    if (c->is_lie)
        broken(w, RULE_lies, "a lie of a node was written down");
    if (c->kind == COMMAND_SUSPECT)
        check_vote(w, r, c->id);
    if (c->kind == COMMAND_CREATE_INSTANCE)
        w->hand_made_n++;
}

static enum appended append(struct world *w, struct replica *r)
{
    struct sim_store *s = &w->store;
    unsigned me = AT_REPLICAS + (unsigned)(r - w->replicas);
    uint64_t before = s->seq;
    w->appending = r;
    if (r->base_seq != s->seq || r->sum != s->sum)
        return APPEND_CONFLICT;
    batch_encode(w, &r->batch, &s->bytes);
    size_t added = s->bytes.len - s->durable_size;
    if (s->full_until_ms > w->now_ms) { /* what went in before the disk was full is cut off again */
        s->bytes.len = s->durable_size;
        return APPEND_NO_SPACE;
    }
    if (s->next_loses_power || s->next_sync_fails) {
        /* Nobody knows how much of it is on the disk. */
        size_t left = roll(w, 4) == 0 ? added : roll(w, added + 1);
        if (left < added)
            happened(w, OUTCOME_tail_lost);
        s->bytes.len = s->durable_size + left;
        if (s->next_loses_power) {
            tell(w, "the store's host loses its power while %s appends", r->name);
            s->down_until_ms = w->now_ms + between(w, 500, 20000);
            if (w->troubled_ms < s->down_until_ms)
                w->troubled_ms = s->down_until_ms;
        } else {
            tell(w, "a sync of the log fails while %s appends", r->name);
        }
        s->next_loses_power = s->next_sync_fails = false;
        recover(w, r->name); /* seen by others when the store is up again */
        once(w, r, before);
        return APPEND_UNKNOWN;
    }
    make_true(w, s->bytes.len, r->name);
    once(w, r, before);
    return is_cut(w, AT_STORE, me) ? APPEND_UNKNOWN : APPEND_OK;
}

enum appended store_append_from(struct world *w, struct replica *r)
{
    unsigned me = AT_REPLICAS + (unsigned)(r - w->replicas);
    if (!store_is_reachable(w, me))
        return APPEND_UNKNOWN; /* who gets no answer cannot tell why */
    checked(w, RULE_read_only);
    if (r->is_read_only || r->is_damaged || !r->is_live)
        broken(w, RULE_read_only, "replica %s appends though it does not know the whole log", r->name);
    enum appended a = append(w, r);
    return a != APPEND_OK && is_cut(w, AT_STORE, me) ? APPEND_UNKNOWN : a;
}

/* ---- Readers ---- */

static void meets_damage(struct world *w, struct replica *r, uint64_t seq)
{
    checked(w, RULE_damage_named);
    if (!w->store.rot.is_there || w->store.rot.seq != seq)
        broken(w, RULE_damage_named, "replica %s takes record %" PRIu64 " for damaged, which is sound", r->name, seq);
    if (!r->is_damaged) {
        happened(w, OUTCOME_rot_found);
        tell(w, "replica %s finds record %" PRIu64 " of the log damaged, and stops there", r->name, seq);
    }
    r->is_damaged = true;
}

/* False: it stops here. */
static bool read_one(struct world *w, struct replica *r)
{
    struct sim_store *s = &w->store;
    uint64_t seq = r->model->seq + 1;
    struct envelope e;
    struct event ev;
    struct errinfo err;
    size_t next = 0;
    if (!line_read(s, r->offset, s->durable_size, r->sum, &e, &next)) {
        meets_damage(w, r, seq);
        return false;
    }
    checked(w, RULE_damage_named);
    if (s->rot.is_there && s->rot.seq == seq)
        broken(w, RULE_damage_named, "replica %s folds record %" PRIu64 ", a bit of which is flipped", r->name, seq);
    AUTO(arena) struct arena a = {0};
    if (event_decode(&e, &a, &ev, &err) != OK)
        broken(w, RULE_codec, "replica %s cannot decode record %" PRIu64 ": %s", r->name, seq, err.msg);
    if (ev.kind == r->unknown_kind || event_kind_format(ev.kind) > r->format) {
        happened(w, OUTCOME_kind_unknown);
        r->is_read_only = true;
        tell(w, "replica %s does not know %s, and only reads from now on", r->name, event_kind_row(ev.kind)->name);
        return false;
    }
    if (model_apply(r->model, &ev, &err) != OK)
        broken(w, RULE_follows, "replica %s cannot fold record %" PRIu64 ": %s", r->name, seq, err.msg);
    if (r->state == IS_UNKNOWN && r->batch.n > 0 && id_eq(e.id, r->batch.items[0].id))
        r->is_found = true;
    r->offset = next;
    r->sum = e.sum;
    r->is_damaged = false;
    return true;
}

bool store_read_into(struct world *w, struct replica *r, uint64_t max)
{
    unsigned me = AT_REPLICAS + (unsigned)(r - w->replicas);
    if (!store_is_reachable(w, me) || is_cut(w, AT_STORE, me))
        return false;
    while (max-- > 0 && r->offset < w->store.durable_size && !r->is_read_only)
        if (!read_one(w, r))
            break;
    r->store_clock_ms = store_clock_now_ms(w);
    r->store_clock_at_ms = w->now_ms;
    if (r->model->seq == w->store.seq)
        r->read_end_ms = w->now_ms;
    return true;
}

void store_check_replay(struct world *w)
{
    struct sim_store *s = &w->store;
    if (s->rot.is_there)
        return;
    struct replica cold = {
        .model = model_new(), .unknown_kind = EVENT_KIND_MAX_, .format = EVENT_FORMAT, .name = "cold"};
    cold.model->kept = w->oracle->kept;
    happened(w, OUTCOME_cold_replay);
    while (cold.offset < s->durable_size)
        if (!read_one(w, &cold))
            broken(w, RULE_replay, "record %" PRIu64 " cannot be read again", cold.model->seq + 1);
    check_model(w, &cold);
    model_free(cold.model);
    for (size_t i = 0; i < w->acknowledged_n; i++) {
        uint64_t seq = w->acknowledged[i].seq;
        checked(w, RULE_acknowledged);
        if (seq > s->seq || !id_eq(w->log[seq - 1].id, w->acknowledged[i].id))
            broken(w, RULE_acknowledged, "record %" PRIu64 " was acknowledged and is another one now", seq);
    }
}

/* ---- Time, damage ---- */

void store_rot(struct world *w)
{
    struct sim_store *s = &w->store;
    if (s->rot.is_there || s->seq < 10)
        return;
    size_t at = roll(w, s->durable_size);
    uint64_t seq = 1;
    while (s->line_at[seq] <= at)
        seq++;
    s->rot = (struct rot){true, at, seq, s->bytes.ptr[at], w->now_ms + between(w, 5000, 60000)};
    s->bytes.ptr[at] = (char)(s->bytes.ptr[at] ^ (char)(1u << roll(w, 7)));
    tell(w, "a bit of record %" PRIu64 " flips on the store's disk", seq);
}

void store_tick(struct world *w)
{
    struct sim_store *s = &w->store;
    if (s->rot.is_there && (w->is_calm || w->now_ms >= s->rot.until_ms)) {
        s->bytes.ptr[s->rot.at] = s->rot.was;
        s->rot.is_there = false;
        tell(w, "record %" PRIu64 " is restored from a copy", s->rot.seq);
    }
    if (w->is_calm)
        s->full_until_ms = s->down_until_ms = 0;
}
