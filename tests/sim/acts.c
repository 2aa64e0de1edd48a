/* Acts: what people do, and what befalls the installation. Each throws its own dice, drawn before the story began. */
#include "sim.h"

enum behaviour behaviour_of(const char *digest)
{
    size_t n = strlen(digest);
    return n == 0 ? GOOD : (enum behaviour)(digest[n - 1] - '0');
}

/* ---- People ---- */

void ask(struct world *w, struct command c)
{
    struct command *copy = arena_alloc(&w->arena, sizeof(*copy));
    *copy = c;
    int to = any_replica(w);
    if (to >= 0)
        send_command(w, AT_PEOPLE, AT_REPLICAS + (unsigned)to, copy);
}

const struct project *some_project(struct world *w)
{
    const struct id_index *all = &w->oracle->projects;
    for (unsigned tries = 0; all->n > 0 && tries < 8; tries++) {
        const struct project *p = all->items[roll(w, all->n)];
        if (!p->is_deleted)
            return p;
    }
    return NULL;
}

static const struct process *some_deployment(struct world *w)
{
    const struct project *p = some_project(w);
    return p == NULL || p->deployments.n == 0 ? NULL : p->deployments.items[roll(w, p->deployments.n)];
}

static const struct instance *some_instance(struct world *w)
{
    const struct process *d = some_deployment(w);
    if (d != NULL && d->project->live != NULL)
        d = d->project->live;
    return d == NULL || d->instances.n == 0 ? NULL : d->instances.items[roll(w, d->instances.n)];
}

void deploy_one(struct world *w, struct id project, enum behaviour b)
{
    struct str digest = str_from(arena_printf(&w->arena, "sha256:%063u%d", ++w->deploys_n, (int)b));
    struct deployment_create d = {.project_id = project,
                                  .context_digest = digest,
                                  .instances = between(w, 3, 4),
                                  .drain_seconds = between(w, 0, 25),
                                  .requested_by = STR("somebody")};
    /* One project is sometimes too big for what is free. */
    bool is_first = w->oracle->projects.n > 0 && id_eq(((struct project *)w->oracle->projects.items[0])->id, project);
    if (is_first && !w->is_calm && roll(w, 3) == 0)
        d.resources.memory_bytes = INT64_C(2400) << 20;
    ask(w, (struct command){.kind = COMMAND_DEPLOY, .deploy = d});
}

static void act_deploy(struct world *w)
{
    static const enum behaviour DEPLOYS[] = {GOOD, GOOD, GOOD, GOOD, FLAKY, BUILD_FAILS, NEVER_LISTENS, CRASHES};
    const struct project *p = some_project(w);
    if (p == NULL)
        return;
    enum behaviour b = DEPLOYS[roll(w, sizeof(DEPLOYS) / sizeof(DEPLOYS[0]))];
    tell(w, "somebody deploys '%s'%s", p->slug, b == GOOD ? "" : ", which is not as it should be");
    deploy_one(w, p->id, b);
}

static void act_flood(struct world *w)
{
    const struct project *p = some_project(w);
    uint64_t n = 5 + roll(w, 20);
    if (p == NULL)
        return;
    tell(w, "somebody deploys '%s' %" PRIu64 " times", p->slug, n);
    for (uint64_t i = 0; i < n; i++)
        deploy_one(w, p->id, GOOD);
}

static void on_deployment(struct world *w, enum command_kind kind, const char *what)
{
    const struct process *d = some_deployment(w);
    if (d == NULL)
        return;
    tell(w, "somebody wants to %s a deployment of '%s'", what, d->project->slug);
    ask(w, (struct command){.kind = kind, .id = d->id, .text = STR("somebody")});
}

static void on_instance(struct world *w, enum command_kind kind, const char *what, struct str text)
{
    const struct instance *i = some_instance(w);
    if (i == NULL)
        return;
    tell(w, "somebody wants to %s an instance of '%s' on %s", what, i->process->name, i->node->name);
    ask(w, (struct command){.kind = kind, .id = i->id, .text = text});
}

static void act_stop_instance(struct world *w)
{
    /* What is stopped by hand is started again by hand: later, and once times are calm (run.c). */
    if (roll(w, 2) == 0)
        on_instance(w, COMMAND_DESIRED, "start", STR("running"));
    else
        on_instance(w, COMMAND_DESIRED, "stop", STR("stopped"));
}

static void act_create_project(struct world *w)
{
    if (w->projects_made_n == PROJECTS_MAX)
        return;
    struct str name = str_from(arena_printf(&w->arena, "p%u", w->projects_made_n++));
    tell(w, "somebody makes project '%s'", name.ptr);
    ask(w, (struct command){.kind = COMMAND_CREATE_PROJECT, .text = name});
}

static void act_delete_project(struct world *w)
{
    const struct project *p = some_project(w);
    size_t left = 0;
    MODEL_EACH (project, other, &w->oracle->projects)
        left += !other->is_deleted;
    if (p == NULL || left < 2)
        return;
    tell(w, "somebody deletes project '%s'", p->slug);
    ask(w, (struct command){.kind = COMMAND_DELETE_PROJECT, .id = p->id});
}

static void act_scale(struct world *w)
{
    const struct project *p = some_project(w);
    if (p == NULL || p->live == NULL)
        return;
    int64_t to = between(w, 3, 6);
    tell(w, "somebody wants %lld instances of '%s'", (long long)to, p->slug);
    ask(w, (struct command){.kind = COMMAND_SCALE, .id = p->live->id, .number = to});
}

static void drain(struct world *w, bool is_drain)
{
    const struct sim_node *n = &w->nodes[roll(w, w->nodes_n)];
    for (size_t i = 0; !is_drain && i < w->nodes_n; i++)
        if (model_node(w->oracle, w->nodes[i].id)->status == NODE_DRAINING)
            n = &w->nodes[i];
    tell(w, "somebody wants %s %s", n->name, is_drain ? "drained" : "to be used again");
    ask(w, (struct command){.kind = is_drain ? COMMAND_DRAIN : COMMAND_UNDRAIN, .id = n->id});
}

static void act_drain_node(struct world *w)
{
    drain(w, true);
}

static void act_undrain_node(struct world *w)
{
    drain(w, false);
}

/* ---- Replicas ---- */

static struct replica *some_replica(struct world *w)
{
    return &w->replicas[roll(w, w->replicas_n)];
}

static void replica_dies(struct world *w, enum dies when)
{
    struct replica *r = some_replica(w);
    if (!r->is_up)
        return;
    r->up_at_ms = w->now_ms + between(w, 500, 40000);
    if (when == DIES_NOT)
        replica_crash(w, r, "");
    else
        r->dies = when;
}

static void act_replica_pause(struct world *w)
{
    struct replica *r = some_replica(w);
    if (r->paused_until_ms > w->now_ms)
        return;
    replica_stands_still(w, r, between(w, 1000, 40000));
}

/* Before its first look at the nodes. */
static void act_replica_still_at_start(struct world *w)
{
    struct replica *r = some_replica(w);
    if (!r->is_up)
        return;
    replica_crash(w, r, ", and will stand still when it is back");
    r->up_at_ms = w->now_ms + between(w, 500, 5000);
    r->still_ms = between(w, SUSPECT_MS + 1000, 30000);
}

static void act_replica_cut_off(struct world *w)
{
    unsigned who = AT_REPLICAS + (unsigned)roll(w, w->replicas_n);
    int64_t until_ms = w->now_ms + between(w, 1000, 40000);
    tell(w, "replica %s is cut off for %.0f s", w->replicas[who].name, (double)(until_ms - w->now_ms) / 1000);
    cut_off(w, who, until_ms);
}

static void act_replica_old_version(struct world *w)
{
    static const enum event_kind NEW[] = {EVENT_ROUTE_DEPLOYMENT, EVENT_TRUST_NODE,     EVENT_CREATE_IMAGE,
                                          EVENT_CREATE_PROJECT,   EVENT_DELETE_PROJECT, EVENT_ISSUE_CERTIFICATE};
    struct replica *r = some_replica(w);
    if (!r->is_up || r->new_at_ms != 0)
        return;
    replica_crash(w, r, ": an old version takes its place");
    r->unknown_kind = NEW[roll(w, sizeof(NEW) / sizeof(NEW[0]))];
    r->up_at_ms = w->now_ms + 1000;
    r->new_at_ms = w->now_ms + between(w, 5000, 60000);
}

/* A version from before the present format of the log. */
static void act_replica_old_format(struct world *w)
{
    struct replica *r = some_replica(w);
    if (!r->is_up || r->new_at_ms != 0)
        return;
    replica_crash(w, r, ": a version that knows format 1 takes its place");
    r->format = 1;
    r->up_at_ms = w->now_ms + 1000;
    r->new_at_ms = w->now_ms + between(w, 5000, 60000);
}

/* ---- The store ---- */

static void store_out_of_reach(struct world *w, bool answers_only)
{
    unsigned who = AT_REPLICAS + (unsigned)roll(w, w->replicas_n);
    int64_t until_ms = w->now_ms + between(w, 1000, 30000);
    tell(w, "replica %s %s the store for %.0f s", w->replicas[who].name,
         answers_only ? "gets no answer from" : "cannot reach", (double)(until_ms - w->now_ms) / 1000);
    cut_link(w, AT_STORE, who, until_ms);
    if (!answers_only)
        cut_link(w, who, AT_STORE, until_ms);
}

static void act_store_full(struct world *w)
{
    w->store.full_until_ms = w->now_ms + between(w, 1000, 40000);
    tell(w, "the store's disk is full for %.0f s", (double)(w->store.full_until_ms - w->now_ms) / 1000);
}

static void act_store_clock_jump(struct world *w)
{
    int64_t by_ms = between(w, -20000, 20000);
    w->store.offset_ms += by_ms;
    w->store.back_ms += by_ms < 0 ? -by_ms : 0;
    tell(w, "the store's clock jumps by %.1f s", (double)by_ms / 1000);
}

static void act_host_clock_jump(struct world *w)
{
    struct replica *r = some_replica(w);
    r->clock_offset_ms = between(w, -3600000, 3600000);
    tell(w, "the wall clock of replica %s is off by %.0f s", r->name, (double)r->clock_offset_ms / 1000);
}

/* ---- Nodes ---- */

static struct sim_node *some_node(struct world *w)
{
    return &w->nodes[roll(w, w->nodes_n)];
}

static void act_node_reboot(struct world *w)
{
    struct sim_node *n = some_node(w);
    if (!n->is_up)
        return;
    n->up_at_ms = w->now_ms + between(w, 2000, 60000);
    node_crash(w, n);
}

/* Between an effect and its record: nodes that build, as often as all others. */
static void act_node_power_at_start(struct world *w)
{
    struct sim_node *n = roll(w, 2) == 0 ? &w->nodes[0] : some_node(w);
    n->fails_at_start = n->is_up;
}

static unsigned place_of(const struct world *w, const struct sim_node *n)
{
    return AT_NODES + (unsigned)(n - w->nodes);
}

static void act_node_cut_off(struct world *w)
{
    struct sim_node *n = some_node(w);
    int64_t until_ms = w->now_ms + between(w, 1000, 50000);
    tell(w, "%s is cut off for %.0f s", n->name, (double)(until_ms - w->now_ms) / 1000);
    cut_off(w, place_of(w, n), until_ms);
}

/* It hears and is not heard, or the other way round; one replica, or all. */
static void act_node_one_way(struct world *w)
{
    struct sim_node *n = some_node(w);
    int64_t until_ms = w->now_ms + between(w, 1000, 50000);
    bool is_deaf = roll(w, 2) == 0;
    uint64_t only = roll(w, w->replicas_n * 2);
    tell(w, "%s %s %s for %.0f s", n->name, is_deaf ? "does not hear" : "is not heard by",
         only < w->replicas_n ? w->replicas[only].name : "any replica", (double)(until_ms - w->now_ms) / 1000);
    for (unsigned r = 0; r < w->replicas_n; r++) {
        if (only < w->replicas_n && r != only)
            continue;
        if (is_deaf)
            cut_link(w, AT_REPLICAS + r, place_of(w, n), until_ms);
        else
            cut_link(w, place_of(w, n), AT_REPLICAS + r, until_ms);
    }
}

static void act_node_pause(struct world *w)
{
    struct sim_node *n = some_node(w);
    n->paused_until_ms = w->now_ms + between(w, 1000, 40000);
    tell(w, "the agent of %s stands still for %.0f s", n->name, (double)(n->paused_until_ms - w->now_ms) / 1000);
}

static void act_node_disk_full(struct world *w)
{
    struct sim_node *n = some_node(w);
    n->full_until_ms = w->now_ms + between(w, 5000, 60000);
    tell(w, "the disk of %s is full for %.0f s", n->name, (double)(n->full_until_ms - w->now_ms) / 1000);
}

static void agent_trouble(struct world *w, bool is_between)
{
    struct sim_node *n = some_node(w);
    if (!n->is_up)
        return;
    if (is_between)
        n->dies_after = 1 + (unsigned)roll(w, 4);
    else
        agent_restart(w, n);
}

/* ---- Edges ---- */

static void act_edge_crash(struct world *w)
{
    struct sim_edge *e = &w->edges[roll(w, w->edges_n)];
    if (!e->is_up)
        return;
    edge_forgets(e);
    *e = (struct sim_edge){.up_at_ms = w->now_ms + between(w, 500, 30000)};
    (void)snprintf(e->name, sizeof(e->name), "edge-%d", (int)(e - w->edges));
    tell(w, "%s crashes", e->name);
}

/* Both ways, or it hears and is not heard, or the other way round; from one replica, or from all. */
static void edge_is_cut(struct world *w, bool is_one_way, bool from_one)
{
    unsigned who = AT_EDGES + (unsigned)roll(w, w->edges_n), only = (unsigned)roll(w, w->replicas_n);
    int64_t until_ms = w->now_ms + between(w, 1000, from_one ? 90000 : 40000);
    bool is_deaf = roll(w, 2) == 0;
    tell(w, "%s %s %s for %.0f s", w->edges[who - AT_EDGES].name,
         !is_one_way ? "is cut off from"
         : is_deaf   ? "does not hear"
                     : "is not heard by",
         from_one ? w->replicas[only].name : "any replica", (double)(until_ms - w->now_ms) / 1000);
    for (unsigned r = 0; r < w->replicas_n; r++) {
        if (from_one && r != only)
            continue;
        if (!is_one_way || is_deaf)
            cut_link(w, AT_REPLICAS + r, who, until_ms);
        if (!is_one_way || !is_deaf)
            cut_link(w, who, AT_REPLICAS + r, until_ms);
    }
}

/* ---- Lies ---- */

/* A node says something about an instance. Each lie must be one that cannot be taken for the truth. */
static void lie_about(struct world *w, struct sim_node *n, const struct instance *i, struct str boot, int64_t seq)
{
    static const char *const CLAIMS[] = {"failed", "running", "stopped", "starting"};
    const char *claim = CLAIMS[roll(w, 4)];
    struct command c = {.kind = COMMAND_INSTANCE_OBSERVED,
                        .is_lie = true,
                        .instance_observed = {.instance_id = i->id,
                                              .reporter_node_id = n->id,
                                              .observed = str_from(claim),
                                              .health = strcmp(claim, "running") == 0 ? STR("NOMINAL") : STR(""),
                                              .cause = STR("a lie"),
                                              .boot_id = arena_str(&w->arena, boot),
                                              .report_seq = seq}};
    struct command *copy = arena_alloc(&w->arena, sizeof(*copy));
    *copy = c;
    int to = any_replica(w);
    tell(w, "%s says of an instance of '%s' on %s that it is %s, which is a lie", n->name, i->process->name,
         i->node->name, claim);
    if (to >= 0)
        send_command(w, place_of(w, n), AT_REPLICAS + (unsigned)to, copy);
}

static const struct instance *instance_where(struct world *w, const struct sim_node *n, bool is_there)
{
    const struct id_index *all = &w->oracle->instances;
    for (unsigned tries = 0; all->n > 0 && tries < 16; tries++) {
        const struct instance *i = all->items[roll(w, all->n)];
        if (i->node != NULL && id_eq(i->node->id, n->id) == is_there)
            return i;
    }
    return NULL;
}

static void act_lie_old_boot(struct world *w)
{
    struct sim_node *n = some_node(w);
    const struct node *known = model_node(w->oracle, n->id);
    const struct instance *i = instance_where(w, n, true);
    bool is_past = n->was_boot_known && str_eq_c(str_from(n->boot), known->boot_id);
    if (i != NULL && is_past)
        lie_about(w, n, i, str_from(n->boot_before), 1000000);
}

/* A heartbeat of a boot that was over before anybody had heard of it, kept back on its way. */
static void act_lie_late_boot(struct world *w)
{
    struct sim_node *n = some_node(w);
    const struct node *known = model_node(w->oracle, n->id);
    int to = any_replica(w);
    if (to < 0 || !str_eq_c(str_from(n->boot), known->boot_id) || known->report_seq < 2)
        return;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    *c = (struct command){
        .kind = COMMAND_NODE_REPORTED,
        .is_lie = true,
        .node_reported = {.node_id = n->id,
                          .boot_id = str_from(arena_printf(&w->arena, "%s-short%u/home", n->name, ++w->names_n)),
                          .status = STR("ready"),
                          .report_seq = known->report_seq - 1,
                          .capacity = {2, INT64_C(6) << 30, 0}}};
    tell(w, "a heartbeat of %s comes late, of a boot that nobody has heard of", n->name);
    send_command(w, place_of(w, n), AT_REPLICAS + (unsigned)to, c);
}

static void act_lie_old_report(struct world *w)
{
    struct sim_node *n = some_node(w);
    const struct instance *i = instance_where(w, n, true);
    if (i != NULL && i->report_seq > 0 && str_eq_c(str_from(n->boot), i->boot_id))
        lie_about(w, n, i, str_from(n->boot), 1 + (int64_t)roll(w, (uint64_t)i->report_seq));
}

static void act_lie_not_its_own(struct world *w)
{
    struct sim_node *n = some_node(w);
    const struct instance *i = instance_where(w, n, false);
    if (i != NULL)
        lie_about(w, n, i, str_from(n->boot), n->report_seq + 1000);
}

/* A heartbeat with instances of others among its items: the first part of it is true. */
static void act_lie_heartbeat(struct world *w)
{
    struct sim_node *n = some_node(w);
    const struct instance *i = instance_where(w, n, false);
    int to = any_replica(w);
    if (i == NULL || to < 0 || !n->is_up)
        return;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    struct instance_observed *item = arena_alloc(&w->arena, sizeof(*item));
    struct str *runtimes = arena_alloc(&w->arena, sizeof(*runtimes));
    *runtimes = STR("qemu");
    *item = (struct instance_observed){.instance_id = i->id, .observed = STR("failed"), .cause = STR("a lie")};
    *c = (struct command){.kind = COMMAND_NODE_REPORTED,
                          .node_reported = {.node_id = n->id,
                                            .boot_id = arena_str(&w->arena, str_from(n->boot)),
                                            .status = STR("ready"),
                                            .report_seq = ++n->report_seq,
                                            .capacity = {2, INT64_C(6) << 30, 0},
                                            .runtimes = {runtimes, 1},
                                            .items = item,
                                            .items_n = 1}};
    tell(w, "%s says that an instance on %s has failed, which is a lie", n->name, i->node->name);
    send_command(w, place_of(w, n), AT_REPLICAS + (unsigned)to, c);
}

/* A builder says what became of an image that is not its own. */
static void act_lie_image(struct world *w)
{
    const struct id_index *all = &w->oracle->images;
    const struct instance *i = instance_where(w, some_node(w), true);
    const struct image *image = all->n == 0 ? NULL : all->items[roll(w, all->n)];
    if (i == NULL || image == NULL || id_eq(image->builder_instance_id, i->id))
        return;
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    *c = (struct command){
        .kind = COMMAND_IMAGE_OBSERVED,
        .is_lie = true,
        .image_observed = {
            .image_id = image->id, .builder_instance_id = i->id, .status = STR("failed"), .cause = STR("a lie")}};
    int to = any_replica(w);
    tell(w, "an instance on %s says that the image of another has failed, which is a lie", i->node->name);
    if (to >= 0)
        send_command(w, AT_PEOPLE, AT_REPLICAS + (unsigned)to, c);
}

/* ---- All ---- */

static void act_cancel(struct world *w)
{
    on_deployment(w, COMMAND_CANCEL, "cancel");
}

static void act_stop_deployment(struct world *w)
{
    on_deployment(w, COMMAND_STOP, "stop");
}

static void act_repeat(struct world *w)
{
    on_deployment(w, COMMAND_REPEAT, "repeat");
}

static void act_create_instance(struct world *w)
{
    on_deployment(w, COMMAND_CREATE_INSTANCE, "add an instance to");
}

static void act_delete_instance(struct world *w)
{
    on_instance(w, COMMAND_DELETE_INSTANCE, "delete", STR(""));
}

static void act_replica_crash(struct world *w)
{
    replica_dies(w, DIES_NOT);
}

static void act_replica_dies_before_append(struct world *w)
{
    replica_dies(w, DIES_BEFORE_APPEND);
}

static void act_replica_dies_after_append(struct world *w)
{
    replica_dies(w, DIES_AFTER_APPEND);
}

static void act_store_unreachable(struct world *w)
{
    store_out_of_reach(w, false);
}

static void act_store_answers_lost(struct world *w)
{
    store_out_of_reach(w, true);
}

static void act_store_power_loss(struct world *w)
{
    w->store.next_loses_power = true;
}

static void act_store_sync_fails(struct world *w)
{
    w->store.next_sync_fails = true;
}

static void act_store_bit_rot(struct world *w)
{
    store_rot(w);
}

static void act_agent_restart(struct world *w)
{
    agent_trouble(w, false);
}

static void act_agent_dies_between(struct world *w)
{
    agent_trouble(w, true);
}

static void act_edge_cut_off(struct world *w)
{
    edge_is_cut(w, false, false);
}

static void act_edge_one_way(struct world *w)
{
    edge_is_cut(w, true, false);
}

static void act_edge_cut_from_one(struct world *w)
{
    edge_is_cut(w, roll(w, 2) == 0, true);
}

/* One function an act, in the order of the enum. */
static void (*const ACT_FUNCTIONS[])(struct world *w) = {
#define ACT_FUNCTION(name, weight, group) act_##name,
    ACTS(ACT_FUNCTION)
#undef ACT_FUNCTION
};

void acts_tick(struct world *w)
{
    const struct story *s = w->story;
    for (; w->next_act < s->acts_n && s->acts[w->next_act].step <= w->step; w->next_act++) {
        const struct act *a = &s->acts[w->next_act];
        if (!s->is_kept[w->next_act] || w->is_calm)
            continue;
        w->rng = a->dice;
        w->coverage->acts[a->kind]++;
        ACT_FUNCTIONS[a->kind](w);
    }
}
