/* A node: the real node/converge decides, this file is the world that it acts on. What runs survives its agent, the
 * disk survives both. The agent may die between any two of its actions. */
#include "sim.h"

static unsigned place_of(const struct world *w, const struct sim_node *n)
{
    return AT_NODES + (unsigned)(n - w->nodes);
}

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
    n->report_seq++;
    if (to < 0)
        return;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    *c = (struct command){.kind = COMMAND_INSTANCE_OBSERVED, .instance_observed = observed_of(w, n, v)};
    send_command(w, place_of(w, n), AT_REPLICAS + (unsigned)to, c);
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
                                            .capacity = {2, INT64_C(6) << 30, 0},
                                            .runtimes = {runtimes, 1},
                                            .items = items,
                                            .items_n = at}};
    for (unsigned r = 0; r < w->replicas_n; r++)
        send_command(w, place_of(w, n), AT_REPLICAS + r, c);
}

/* ---- Its disk ---- */

static struct kept *kept_find(struct sim_node *n, struct id id)
{
    for (size_t i = 0; i < n->kept_n; i++)
        if (id_eq(n->kept[i].spec.id, id))
            return &n->kept[i];
    return NULL;
}

static void keep_spec(struct world *w, struct sim_node *n, const struct desired_item *item)
{
    struct kept *k = kept_find(n, item->id);
    if (k == NULL) {
        if (n->kept_n == MACHINES_MAX)
            broken(w, RULE_bounded, "%s: too many machines", n->name);
        k = &n->kept[n->kept_n++];
        *k = (struct kept){0};
    }
    k->spec = *item;
}

static void keep_state(struct sim_node *n, const struct converge_view *v)
{
    struct kept *k = kept_find(n, v->id);
    if (k != NULL)
        k->state = (struct converge_kept){.was_started = v->was_started,
                                          .was_healthy = v->health == CONVERGE_HEALTH_NOMINAL,
                                          .is_failed = v->is_failed,
                                          .is_finished = v->is_finished,
                                          .is_removing = v->is_removing,
                                          .is_tombstone = v->leaves_tombstone,
                                          .restarts = v->restarts};
}

static void forget(struct world *w, struct sim_node *n, const struct converge_action *a, struct machine *m)
{
    struct kept *k = kept_find(n, a->id);
    checked(w, RULE_agent_sound);
    if (m->is_up)
        broken(w, RULE_agent_sound, "%s forgets an instance that still runs", n->name);
    if (k != NULL)
        *k = n->kept[--n->kept_n];
    if (a->tombstone && n->buried_n < MACHINES_MAX)
        n->buried[n->buried_n++] = a->id;
    w->gone[w->gone_n % GONE_MAX].id = a->id;
    w->gone[w->gone_n++ % GONE_MAX].at_ms = m->down_ms;
    *m = n->machines[--n->machines_n];
}

/* ---- What it does ---- */

static void give(struct world *w, struct sim_node *n, struct converge_input in);

static void later(struct world *w, struct sim_node *n, int64_t in_ms, enum converge_input_type type,
                  const struct machine *m, bool ok)
{
    if (n->late_n == QUEUE_MAX)
        broken(w, RULE_bounded, "%s: too many answers under way", n->name);
    n->late[n->late_n++] = (struct late_input){w->now_ms + in_ms, type, m->id, m->attempt, ok};
}

/* What must not run twice is not started twice, on any node, whatever becomes of it. */
static void starts_once(struct world *w, const struct sim_node *n, struct id id)
{
    checked(w, RULE_once);
    for (size_t i = 0; i < w->started_once_n; i++)
        if (id_eq(w->started_once[i], id))
            broken(w, RULE_once, "%s: a builder is started twice", n->name);
    w->started_once[w->started_once_n++ % (LOG_MAX / 8)] = id;
}

/* Nowhere else. */
static void starts_here_only(struct world *w, const struct sim_node *here, struct id id)
{
    checked(w, RULE_one_place);
    for (size_t i = 0; i < w->nodes_n; i++) {
        const struct machine *twin = &w->nodes[i] == here ? NULL : node_machine(&w->nodes[i], id);
        if (twin != NULL && twin->is_up)
            broken(w, RULE_one_place, "an instance runs on %s and on %s", here->name, w->nodes[i].name);
    }
}

static void draw_guest(struct world *w, struct machine *m)
{
    m->is_deaf = chance(w, CHANCE_guest_deaf, 10);
    m->ready_ms = w->now_ms + between(w, 300, 3000);
    if (chance(w, CHANCE_boot_slow, 6))
        m->ready_ms += between(w, 5000, 40000);
    m->never_ready = chance(w, CHANCE_boot_never, 2);
    m->die_ms = m->hang_until_ms = 0;
    if (m->spec.want.restart_never)
        m->die_ms = w->now_ms + between(w, 1000, 8000);
    else if (m->spec.behaviour == CRASHES) /* it may answer once before it dies */
        m->die_ms = w->now_ms + between(w, 100, 2000);
    else if (m->spec.behaviour == FLAKY && !w->is_calm && roll(w, 100) < 30)
        m->die_ms = w->now_ms + between(w, 100, 4000);
}

static void machine_starts(struct world *w, struct sim_node *n, struct machine *m)
{
    if (m->spec.want.restart_never)
        starts_once(w, n, m->id);
    bool ok = m->spec.want.restart_never || !chance(w, CHANCE_start_fails, 3);
    later(w, n, between(w, 20, 100), CONVERGE_STARTED, m, ok);
    if (!ok)
        return;
    starts_here_only(w, n, m->id);
    m->is_up = true;
    m->is_healthy = false;
    m->check_ms = w->now_ms + 500;
    draw_guest(w, m);
}

static void prepare(struct world *w, struct sim_node *n, struct machine *m, uint32_t attempt)
{
    bool ok = n->full_until_ms <= w->now_ms && !chance(w, CHANCE_fetch_fails, 4);
    m->attempt = attempt;
    later(w, n, between(w, 50, 800), CONVERGE_PREPARED, m, ok);
}

static void act(struct world *w, struct sim_node *n, const struct converge_action *a)
{
    struct machine *m = node_machine(n, a->id);
    const struct converge_view *v = converge_find(n->converge, a->id);
    checked(w, RULE_agent_sound);
    if (m == NULL && a->type != CONVERGE_DO_UNBURY)
        broken(w, RULE_agent_sound, "%s: an action for an instance that was never sent here", n->name);
    switch (a->type) {
    case CONVERGE_DO_PREPARE: prepare(w, n, m, a->attempt); return;
    case CONVERGE_DO_START: machine_starts(w, n, m); return;
    case CONVERGE_DO_STOP:
        if (m->is_up && v != NULL && v->want.desired == CONVERGE_STOPPED)
            check_stop(w, n, m->id);
        if (m->is_up && !m->is_deaf)
            m->die_ms = w->now_ms + between(w, 50, 900);
        return;
    case CONVERGE_DO_KILL:
        if (m->is_up)
            m->die_ms = w->now_ms + 20;
        return;
    case CONVERGE_DO_CLEAN: later(w, n, between(w, 20, 200), CONVERGE_CLEANED, m, true); return;
    case CONVERGE_DO_REPORT:
        if (v != NULL) {
            keep_state(n, v);
            report(w, n, v);
        }
        return;
    case CONVERGE_DO_FORGET: forget(w, n, a, m); return;
    case CONVERGE_DO_UNBURY:
        for (size_t i = 0; i < n->buried_n; i++)
            if (id_eq(n->buried[i], a->id))
                n->buried[i] = n->buried[--n->buried_n];
        return;
    }
}

static void give(struct world *w, struct sim_node *n, struct converge_input in)
{
    if (n->is_agent_dead)
        return;
    in.at_ms = w->now_ms;
    converge_step(n->converge, &in, &n->out);
    /* Acting never steps, so the output stays as it is. */
    for (size_t i = 0; i < n->out.actions_n; i++) {
        act(w, n, &n->out.actions[i]);
        if (n->fails_at_start && n->out.actions[i].type == CONVERGE_DO_START) {
            happened(w, OUTCOME_power_lost_at_start);
            n->fails_at_start = false;
            n->is_agent_dead = true;
            n->up_at_ms = w->now_ms + between(w, 2000, 20000);
            node_crash(w, n);
            return;
        }
        bool dies = n->dies_after == 1;
        n->dies_after -= n->dies_after > 0;
        if (dies) {
            tell(w, "the agent of %s dies after action %zu of %zu", n->name, i + 1, n->out.actions_n);
            happened(w, OUTCOME_agent_died_between);
            n->is_agent_dead = true;
            return;
        }
    }
}

/* ---- Guests ---- */

/* A builder reports its image until somebody has written it down, then it ends. */
static bool builder_reports(struct world *w, struct sim_node *n, struct machine *m)
{
    const struct image *image = model_image(w->oracle, m->spec.image_id);
    bool fails = m->spec.behaviour == BUILD_FAILS;
    bool is_late = image != NULL && !id_eq(image->builder_instance_id, m->id); /* another one builds it now */
    if (image == NULL || image->status != IMAGE_BUILDING || (is_late && m->has_told))
        return false;
    if (is_late)
        happened(w, OUTCOME_late_builder_tells);
    m->has_told = true;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    *c = (struct command){
        .kind = COMMAND_IMAGE_OBSERVED,
        .image_observed = {.image_id = image->id,
                           .builder_instance_id = m->id,
                           .status = fails ? STR("failed") : STR("ready"),
                           .cause = fails ? STR("RUN false: exit status 1") : STR(""),
                           .digest = fails ? STR("") : arena_str(&w->arena, str_from(image->context_digest)),
                           .size_bytes = fails ? 0 : 1 << 20}};
    int to = any_replica(w);
    if (to >= 0)
        send_command(w, place_of(w, n), AT_REPLICAS + (unsigned)to, c);
    m->die_ms = w->now_ms + 1000;
    return true;
}

/* Before it could say a word. */
static bool builder_is_killed(struct world *w, const struct machine *m)
{
    const struct image *image = m->spec.want.restart_never ? model_image(w->oracle, m->spec.image_id) : NULL;
    return image != NULL && image->status == IMAGE_BUILDING && chance(w, CHANCE_builder_killed, 30);
}

static void machine_dies(struct world *w, struct sim_node *n, struct machine *m, bool is_killed)
{
    bool ok = m->spec.want.restart_never && m->spec.behaviour != BUILD_FAILS && !is_killed;
    m->is_up = m->is_healthy = false;
    m->down_ms = w->now_ms;
    m->die_ms = 0;
    give(
        w, n,
        (struct converge_input){
            .type = CONVERGE_EXITED, .id = m->id, .attempt = m->attempt, .ok = ok, .cause = ok ? "" : "exit status 1"});
}

/* What befalls a guest in its life. */
static void guest_lives(struct world *w, struct machine *m)
{
    if (m->spec.want.restart_never || m->die_ms != 0 || roll(w, 800) > 1)
        return;
    if (chance(w, CHANCE_guest_crash, 50))
        m->die_ms = w->now_ms;
    else if (chance(w, CHANCE_guest_hangs, 50))
        m->hang_until_ms = w->now_ms + between(w, 3000, 30000);
}

static void machine_tick(struct world *w, struct sim_node *n, struct id id)
{
    struct machine *m = node_machine(n, id);
    if (m == NULL || !m->is_up)
        return;
    guest_lives(w, m);
    if (m->die_ms != 0 && w->now_ms >= m->die_ms) {
        bool is_killed = builder_is_killed(w, m);
        if (is_killed || !(m->spec.want.restart_never && builder_reports(w, n, m)))
            machine_dies(w, n, m, is_killed);
        return;
    }
    if (w->now_ms < m->check_ms || m->spec.want.restart_never)
        return;
    bool ok = m->spec.behaviour != NEVER_LISTENS && !m->never_ready && w->now_ms >= m->ready_ms &&
              (w->is_calm || w->now_ms >= m->hang_until_ms);
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
    if (n->is_agent_dead || (m == NULL && converge_is_deleted(n->converge, item->id)))
        return;
    if (m == NULL) {
        if (n->machines_n == MACHINES_MAX)
            broken(w, RULE_bounded, "%s: too many machines", n->name);
        m = &n->machines[n->machines_n++];
        *m = (struct machine){.id = item->id};
    }
    m->spec = *item;
    keep_spec(w, n, item);
    give(w, n, (struct converge_input){.type = CONVERGE_WANT, .id = item->id, .want = &m->spec.want});
}

/* A complete list: what is not in it goes. */
static void sync_all(struct world *w, struct sim_node *n, const struct desired_answer *d)
{
    struct id *ids = arena_alloc(&w->arena, (d->items_n + 1) * sizeof(*ids));
    for (size_t i = 0; i < d->items_n; i++)
        ids[i] = d->items[i].id;
    for (size_t i = 0; i < n->machines_n; i++) {
        size_t k = 0;
        while (k < d->items_n && !id_eq(ids[k], n->machines[i].id))
            k++;
        if (k == d->items_n)
            happened(w, OUTCOME_forgotten_removed);
    }
    give(w, n, (struct converge_input){.type = CONVERGE_SYNC, .owner = "sim", .ids = ids, .ids_n = d->items_n});
}

void node_takes(struct world *w, struct sim_node *n, const struct message *msg)
{
    const struct desired_answer *d = msg->desired;
    if (msg->kind != SAY_DESIRED || d->poll != n->poll || n->is_agent_dead)
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
    if (d->is_full)
        sync_all(w, n, d);
}

/* ---- Boots, crashes ---- */

/* A new agent knows what is on the disk, and finds what runs. */
static void agent_begins(struct world *w, struct sim_node *n)
{
    struct kept kept[MACHINES_MAX];
    size_t kept_n = n->kept_n, buried_n = n->buried_n;
    memcpy(kept, n->kept, kept_n * sizeof(kept[0]));
    converge_free(n->converge);
    n->converge = converge_new();
    n->is_agent_dead = false;
    n->dies_after = 0;
    n->late_n = 0;
    n->cursor = 0;
    n->poll++;
    for (size_t i = 0; i < buried_n; i++)
        give(w, n, (struct converge_input){.type = CONVERGE_BURY, .id = n->buried[i], .owner = "sim"});
    for (size_t i = 0; i < kept_n; i++) {
        struct machine *m = node_machine(n, kept[i].spec.id);
        if (m == NULL)
            broken(w, RULE_agent_sound, "%s has on its disk what it does not have", n->name);
        m->attempt = 0; /* answers about the agent's former attempts have no number any more */
        kept[i].state.is_up = m->is_up;
        give(w, n,
             (struct converge_input){
                 .type = CONVERGE_KEPT, .id = m->id, .want = &kept[i].spec.want, .kept = kept[i].state});
    }
}

void agent_restart(struct world *w, struct sim_node *n)
{
    tell(w, "the agent of %s starts again", n->name);
    agent_begins(w, n);
}

void node_boot(struct world *w, struct sim_node *n)
{
    n->is_up = true;
    memcpy(n->boot_before, n->boot, sizeof(n->boot));
    const struct node *known = model_node(w->oracle, n->id);
    n->was_boot_known = known != NULL && n->boot[0] != '\0' && str_eq_c(str_from(n->boot), known->boot_id);
    (void)snprintf(n->boot, sizeof(n->boot), "%s-%u/home", n->name, ++n->boots_n); /* its numbers go on */
    tell(w, "%s boots", n->name);
    agent_begins(w, n);
}

void node_crash(struct world *w, struct sim_node *n)
{
    tell(w, "%s crashes", n->name);
    n->is_up = false;
    for (size_t i = 0; i < n->machines_n; i++) {
        struct machine *m = &n->machines[i];
        if (m->is_up)
            m->down_ms = w->now_ms;
        m->is_up = m->is_healthy = false;
    }
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

static void poll(struct world *w, struct sim_node *n)
{
    int to = any_replica(w);
    if (w->now_ms < n->next_poll_ms || to < 0)
        return;
    n->next_poll_ms = w->now_ms + 1000;
    n->poll++;
    send(w, (struct message){.kind = SAY_NODE_POLL,
                             .to = AT_REPLICAS + (unsigned)to,
                             .from = place_of(w, n),
                             .poll = n->poll,
                             .cursor = n->cursor});
}

void node_tick(struct world *w, struct sim_node *n)
{
    if (!n->is_up) {
        if (w->now_ms >= n->up_at_ms)
            node_boot(w, n);
        return;
    }
    if (n->paused_until_ms > w->now_ms)
        return;
    if (n->is_agent_dead)
        agent_restart(w, n);
    late_inputs(w, n);
    struct id ids[MACHINES_MAX];
    size_t ids_n = n->machines_n;
    for (size_t i = 0; i < ids_n; i++)
        ids[i] = n->machines[i].id;
    for (size_t i = 0; i < ids_n && n->is_up; i++)
        machine_tick(w, n, ids[i]);
    if (n->is_up)
        give(w, n, (struct converge_input){.type = CONVERGE_TICK});
    if (n->is_agent_dead)
        return;
    if (w->now_ms >= n->next_beat_ms) {
        n->next_beat_ms = w->now_ms + 2000;
        heartbeat(w, n);
    }
    poll(w, n);
}
