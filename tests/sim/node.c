/* A node: the real node/converge decides, this file is the world that it acts on. Its disk survives a crash, what runs
 * does not; an agent's restart leaves what runs alone. */
#include "sim.h"

struct machine *node_machine(struct sim_node *n, struct id id)
{
    for (size_t i = 0; i < n->machines_n; i++)
        if (id_eq(n->machines[i].id, id))
            return &n->machines[i];
    return NULL;
}

/* ---- What the node says ---- */

static struct instance_observed observed_of(struct world *w, struct sim_node *n, const struct converge_view *v)
{
    return (struct instance_observed){.instance_id = v->id,
                                      .reporter_node_id = n->id,
                                      .observed = str_from(converge_status_name(v->status)),
                                      .health = str_from(converge_health_name(v->health)),
                                      .cause = arena_str(&w->arena, str_from(v->cause)),
                                      .boot_id = arena_str(&w->arena, str_from(n->boot)),
                                      .report_seq = n->report_seq,
                                      .restarts = v->restarts};
}

static void report(struct world *w, struct sim_node *n, const struct converge_view *v)
{
    int to = any_replica(w);
    if (to < 0)
        return;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    n->report_seq++;
    *c = (struct command){.kind = COMMAND_INSTANCE_OBSERVED, .instance_observed = observed_of(w, n, v)};
    send(w, (struct message){.kind = TO_REPLICA_COMMAND, .to = to, .from = (int)(n - w->nodes), .command = c});
}

static void heartbeat(struct world *w, struct sim_node *n)
{
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    size_t count = converge_count(n->converge), at = 0;
    struct instance_observed *items = arena_alloc(&w->arena, (count + 1) * sizeof(*items));
    struct str *runtimes = arena_alloc(&w->arena, sizeof(*runtimes));
    *runtimes = STR("qemu");
    n->report_seq++;
    for (const struct converge_view *v = converge_next(n->converge, NULL); v != NULL; v = converge_next(n->converge, v))
        items[at++] = observed_of(w, n, v);
    *c = (struct command){.kind = COMMAND_NODE_REPORTED,
                          .node_reported = {.node_id = n->id,
                                            .boot_id = arena_str(&w->arena, str_from(n->boot)),
                                            .status = STR("ready"),
                                            .report_seq = n->report_seq,
                                            .capacity = {2, INT64_C(4) << 30, 0},
                                            .runtimes = {runtimes, 1},
                                            .items = items,
                                            .items_n = at}};
    for (int r = 0; r < REPLICAS_N; r++)
        send(w, (struct message){.kind = TO_REPLICA_COMMAND, .to = r, .from = (int)(n - w->nodes), .command = c});
}

/* ---- What it does ---- */

static void give(struct world *w, struct sim_node *n, struct converge_input in);

static void later(struct world *w, struct sim_node *n, int64_t in_ms, enum converge_input_type type,
                  const struct machine *m, bool ok)
{
    if (n->late_n == QUEUE_MAX)
        broken(w, "%s: too many answers under way", n->name);
    n->late[n->late_n++] = (struct late_input){w->now_ms + in_ms, type, m->id, m->attempt, ok};
}

static void machine_starts(struct world *w, struct sim_node *n, struct machine *m)
{
    m->is_up = true;
    m->is_healthy = false;
    m->is_deaf = percent(w, 10);
    m->starts_n++;
    m->check_ms = w->now_ms + 500;
    m->ready_ms = w->now_ms + between(w, 300, 3000) + (percent(w, 5) ? 10000 : 0);
    m->die_ms = 0;
    if (m->spec.want.restart_never) {
        if (m->starts_n > 1)
            broken(w, "%s: a builder was started twice", n->name);
        m->die_ms = w->now_ms + between(w, 1000, 8000);
    } else if (m->spec.behaviour == CRASHES) { /* it may answer once before it dies */
        m->die_ms = w->now_ms + between(w, 100, 2000);
    } else if (m->spec.behaviour == FLAKY && percent(w, 30)) {
        m->die_ms = w->now_ms + between(w, 100, 4000);
    }
}

static void act(struct world *w, struct sim_node *n, const struct converge_action *a)
{
    struct machine *m = node_machine(n, a->id);
    const struct converge_view *v = converge_find(n->converge, a->id);
    if (m == NULL)
        broken(w, "%s: an action for an instance that was never sent here", n->name);
    switch (a->type) {
    case CONVERGE_DO_PREPARE: {
        bool ok = !percent(w, 4);
        if (!ok)
            happened(w, FAULT_prepare_failed);
        m->attempt = a->attempt;
        later(w, n, between(w, 50, 800), CONVERGE_PREPARED, m, ok);
        return;
    }
    case CONVERGE_DO_START:
        machine_starts(w, n, m);
        later(w, n, between(w, 20, 100), CONVERGE_STARTED, m, true);
        return;
    case CONVERGE_DO_STOP:
        if (m->is_deaf)
            happened(w, FAULT_guest_deaf);
        else if (m->is_up)
            m->die_ms = w->now_ms + between(w, 50, 900);
        return;
    case CONVERGE_DO_KILL:
        if (m->is_up)
            m->die_ms = w->now_ms + 20;
        return;
    case CONVERGE_DO_CLEAN: later(w, n, between(w, 20, 200), CONVERGE_CLEANED, m, true); return;
    case CONVERGE_DO_REPORT:
        if (v != NULL)
            report(w, n, v);
        return;
    case CONVERGE_DO_FORGET:
        if (m->is_up)
            broken(w, "%s forgets an instance that still runs", n->name);
        *m = n->machines[--n->machines_n];
        return;
    case CONVERGE_DO_UNBURY: return;
    }
}

static void give(struct world *w, struct sim_node *n, struct converge_input in)
{
    in.at_ms = w->now_ms;
    converge_step(n->converge, &in, &n->out);
    /* Acting never steps, so the output stays as it is. */
    for (size_t i = 0; i < n->out.actions_n; i++)
        act(w, n, &n->out.actions[i]);
}

/* ---- Guests ---- */

/* A builder reports its image until somebody has written it down, then it ends. */
static bool builder_reports(struct world *w, struct machine *m)
{
    const struct image *image = model_image(w->oracle, m->spec.image_id);
    if (m->spec.behaviour == BUILD_FAILS || image == NULL || image->status != IMAGE_BUILDING)
        return false;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    *c = (struct command){.kind = COMMAND_IMAGE_OBSERVED,
                          .image_observed = {.image_id = image->id,
                                             .builder_instance_id = m->id,
                                             .status = STR("ready"),
                                             .digest = arena_str(&w->arena, str_from(image->context_digest)),
                                             .size_bytes = 1 << 20}};
    int to = any_replica(w);
    if (to >= 0)
        send_command(w, to, c);
    m->die_ms = w->now_ms + 1000;
    return true;
}

static void machine_dies(struct world *w, struct sim_node *n, struct machine *m)
{
    bool ok = m->spec.want.restart_never && m->spec.behaviour != BUILD_FAILS;
    m->is_up = m->is_healthy = false;
    m->die_ms = 0;
    give(
        w, n,
        (struct converge_input){
            .type = CONVERGE_EXITED, .id = m->id, .attempt = m->attempt, .ok = ok, .cause = ok ? "" : "exit status 1"});
}

static void machine_tick(struct world *w, struct sim_node *n, struct id id)
{
    struct machine *m = node_machine(n, id);
    if (m == NULL || !m->is_up)
        return;
    if (!m->spec.want.restart_never && m->die_ms == 0 && roll(w, 400) == 0 && percent(w, 50)) {
        happened(w, FAULT_guest_crash);
        m->die_ms = w->now_ms;
    }
    if (m->die_ms != 0 && w->now_ms >= m->die_ms) {
        if (!(m->spec.want.restart_never && builder_reports(w, m)))
            machine_dies(w, n, m);
        return;
    }
    if (w->now_ms < m->check_ms || m->spec.want.restart_never)
        return;
    bool ok = m->spec.behaviour != NEVER_LISTENS && w->now_ms >= m->ready_ms;
    m->check_ms = w->now_ms + 2000;
    m->is_healthy = ok;
    give(w, n,
         (struct converge_input){.type = CONVERGE_HEALTH,
                                 .id = id,
                                 .attempt = m->attempt,
                                 .ok = ok,
                                 .timed_out = !ok,
                                 .cause = ok ? "" : "nothing answers on its port"});
}

/* ---- Desired state ---- */

static void accept(struct world *w, struct sim_node *n, const struct desired_item *item)
{
    struct machine *m = node_machine(n, item->id);
    if (m == NULL && converge_is_deleted(n->converge, item->id))
        return;
    if (m == NULL) {
        if (n->machines_n == MACHINES_MAX)
            broken(w, "%s: too many machines", n->name);
        m = &n->machines[n->machines_n++];
        *m = (struct machine){.id = item->id};
    }
    m->spec = *item;
    give(w, n, (struct converge_input){.type = CONVERGE_WANT, .id = item->id, .want = &m->spec.want});
}

void node_takes(struct world *w, struct sim_node *n, const struct message *msg)
{
    const struct desired_answer *d = msg->desired;
    if (d->poll != n->poll)
        return; /* the answer to an earlier poll */
    n->poll++;
    n->cursor = d->cursor;
    for (size_t i = 0; i < d->items_n; i++)
        accept(w, n, &d->items[i]);
    for (size_t i = 0; i < d->removed_n; i++)
        if (node_machine(n, d->removed[i]) != NULL)
            give(w, n,
                 (struct converge_input){
                     .type = CONVERGE_REMOVE, .id = d->removed[i], .owner = "sim", .tombstone = true});
    if (d->is_full) {
        struct id *ids = arena_alloc(&w->arena, (d->items_n + 1) * sizeof(*ids));
        for (size_t i = 0; i < d->items_n; i++)
            ids[i] = d->items[i].id;
        give(w, n, (struct converge_input){.type = CONVERGE_SYNC, .owner = "sim", .ids = ids, .ids_n = d->items_n});
    }
}

/* ---- Boots, crashes ---- */

static void agent_begins(struct world *w, struct sim_node *n, const struct converge_view *kept, size_t kept_n)
{
    n->converge = converge_new();
    n->late_n = 0;
    n->cursor = 0;
    n->poll++;
    for (size_t i = 0; i < kept_n; i++) {
        const struct converge_view *v = &kept[i];
        struct machine *m = node_machine(n, v->id);
        if (m == NULL)
            continue;
        struct converge_kept k = {.is_up = m->is_up,
                                  .was_started = v->was_started,
                                  .was_healthy = v->health == CONVERGE_HEALTH_NOMINAL,
                                  .is_failed = v->is_failed,
                                  .is_finished = v->is_finished,
                                  .is_removing = v->is_removing,
                                  .is_tombstone = v->leaves_tombstone,
                                  .restarts = v->restarts};
        m->attempt = 0; /* answers about the agent's former attempts have no number any more */
        give(w, n, (struct converge_input){.type = CONVERGE_KEPT, .id = v->id, .want = &v->want, .kept = k});
    }
}

static size_t keep(struct world *w, struct sim_node *n, struct converge_view **ret)
{
    size_t count = 0;
    *ret = arena_alloc(&w->arena, (converge_count(n->converge) + 1) * sizeof(**ret));
    for (const struct converge_view *v = converge_next(n->converge, NULL); v != NULL; v = converge_next(n->converge, v))
        (*ret)[count++] = *v;
    converge_free(n->converge);
    n->converge = NULL;
    return count;
}

void agent_restart(struct world *w, struct sim_node *n)
{
    struct converge_view *kept = NULL;
    tell(w, "the agent of %s restarts", n->name);
    agent_begins(w, n, kept, keep(w, n, &kept));
}

void node_boot(struct world *w, struct sim_node *n)
{
    struct converge_view *kept = NULL;
    size_t kept_n = n->converge == NULL ? 0 : keep(w, n, &kept);
    n->is_up = true;
    n->report_seq = 0;
    (void)snprintf(n->boot, sizeof(n->boot), "%s-%u", n->name, ++n->boots_n);
    tell(w, "%s boots", n->name);
    agent_begins(w, n, kept, kept_n);
}

void node_crash(struct world *w, struct sim_node *n)
{
    tell(w, "%s crashes", n->name);
    n->is_up = false;
    for (size_t i = 0; i < n->machines_n; i++)
        n->machines[i].is_up = n->machines[i].is_healthy = false;
}

void node_done(struct sim_node *n)
{
    converge_free(n->converge);
    converge_output_done(&n->out);
}

static void late_inputs(struct world *w, struct sim_node *n)
{
    for (size_t i = 0; i < n->late_n;) {
        struct late_input in = n->late[i];
        if (in.due_ms > w->now_ms) {
            i++;
            continue;
        }
        n->late[i] = n->late[--n->late_n];
        if (node_machine(n, in.id) != NULL)
            give(w, n,
                 (struct converge_input){.type = in.type,
                                         .id = in.id,
                                         .attempt = in.attempt,
                                         .ok = in.ok,
                                         .cause = in.ok ? "" : "the image cannot be fetched"});
    }
}

void node_tick(struct world *w, struct sim_node *n)
{
    if (!n->is_up) {
        if (w->now_ms >= n->up_at_ms)
            node_boot(w, n);
        return;
    }
    late_inputs(w, n);
    struct id ids[MACHINES_MAX];
    size_t ids_n = n->machines_n;
    for (size_t i = 0; i < ids_n; i++)
        ids[i] = n->machines[i].id;
    for (size_t i = 0; i < ids_n; i++)
        machine_tick(w, n, ids[i]);
    give(w, n, (struct converge_input){.type = CONVERGE_TICK});
    if (w->now_ms >= n->next_beat_ms) {
        n->next_beat_ms = w->now_ms + 2000;
        heartbeat(w, n);
    }
    int to = any_replica(w);
    if (w->now_ms >= n->next_poll_ms && to >= 0) {
        n->next_poll_ms = w->now_ms + 1000;
        n->poll++;
        send(w, (struct message){.kind = TO_REPLICA_NODE_POLL,
                                 .to = to,
                                 .from = (int)(n - w->nodes),
                                 .poll = n->poll,
                                 .cursor = n->cursor});
    }
}
