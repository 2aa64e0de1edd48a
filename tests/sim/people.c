/* Faults, and people: both come by chance until times are calm. */
#include "sim.h"

enum behaviour behaviour_of(const char *digest)
{
    size_t n = strlen(digest);
    return n == 0 ? GOOD : (enum behaviour)(digest[n - 1] - '0');
}

void deploy_one(struct world *w, struct id project, enum behaviour b)
{
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    struct str digest = str_from(arena_printf(&w->arena, "sha256:%063u%d", ++w->deploys_n, (int)b));
    *c = (struct command){.kind = COMMAND_DEPLOY,
                          .deploy = {.project_id = project,
                                     .context_digest = digest,
                                     .instances = between(w, 3, 4),
                                     .drain_seconds = between(w, 0, 25),
                                     .requested_by = STR("somebody")}};
    int to = any_replica(w);
    if (to >= 0)
        send_command(w, to, c);
}

static void crash_something(struct world *w)
{
    struct sim_node *n = &w->nodes[roll(w, w->nodes_n)];
    struct replica *r = &w->replicas[roll(w, REPLICAS_N)];
    struct sim_edge *e = &w->edges[roll(w, EDGES_N)];
    switch (roll(w, 6)) {
    case 0:
        if (!r->is_up)
            return;
        happened(w, FAULT_replica_crash);
        r->up_at_ms = w->now_ms + between(w, 500, 40000);
        replica_crash(w, r);
        return;
    case 1:
        if (!n->is_up)
            return;
        happened(w, FAULT_node_reboot);
        n->up_at_ms = w->now_ms + between(w, 2000, 60000);
        node_crash(w, n);
        return;
    case 2:
        if (!n->is_up)
            return;
        happened(w, FAULT_agent_restart);
        agent_restart(w, n);
        return;
    case 3:
    case 4:
        happened(w, FAULT_partition);
        n->partition_until_ms = w->now_ms + between(w, 1000, 50000);
        tell(w, "%s is cut off", n->name);
        return;
    default:
        if (!e->is_up)
            return;
        happened(w, FAULT_edge_crash);
        *e = (struct sim_edge){.up_at_ms = w->now_ms + between(w, 500, 30000)};
        (void)snprintf(e->name, sizeof(e->name), "edge-%d", (int)(e - w->edges));
        tell(w, "%s crashes", e->name);
        return;
    }
}

void faults_tick(struct world *w)
{
    for (size_t i = 0; i < REPLICAS_N; i++)
        if (!w->replicas[i].is_up && w->now_ms >= w->replicas[i].up_at_ms)
            replica_start(w, &w->replicas[i]);
    if (percent(w, 3))
        crash_something(w);
}

static const struct process *some_deployment(struct world *w)
{
    const struct project *p = model_project(w->oracle, w->projects[roll(w, w->projects_n)]);
    return p->deployments.n == 0 ? NULL : p->deployments.items[roll(w, p->deployments.n)];
}

static void ask(struct world *w, enum command_kind kind, struct id id, enum fault f)
{
    struct command *c = arena_alloc(&w->arena, sizeof(*c));
    *c = (struct command){.kind = kind, .id = id, .text = STR("somebody")};
    int to = any_replica(w);
    if (to < 0)
        return;
    happened(w, f);
    send_command(w, to, c);
}

static void meddle(struct world *w, const struct process *d)
{
    switch (roll(w, 6)) {
    case 0: ask(w, COMMAND_CANCEL, d->id, FAULT_cancelled_by_hand); return;
    case 1:
        if (percent(w, 30))
            ask(w, COMMAND_STOP, d->id, FAULT_stopped_by_hand);
        return;
    case 2:
        if (d->instances.n > 0)
            ask(w, COMMAND_DELETE_INSTANCE, ((struct instance *)d->instances.items[0])->id, FAULT_deleted_by_hand);
        return;
    case 3: ask(w, COMMAND_CREATE_INSTANCE, d->id, FAULT_created_by_hand); return;
    default: ask(w, COMMAND_REPEAT, d->id, FAULT_repeated); return;
    }
}

void people_tick(struct world *w)
{
    static const enum behaviour DEPLOYS[] = {GOOD, GOOD, GOOD, GOOD, FLAKY, BUILD_FAILS, NEVER_LISTENS, CRASHES};
    if (percent(w, 3))
        deploy_one(w, w->projects[roll(w, w->projects_n)], DEPLOYS[roll(w, sizeof(DEPLOYS) / sizeof(DEPLOYS[0]))]);
    const struct process *d = percent(w, 2) ? some_deployment(w) : NULL;
    if (d != NULL)
        meddle(w, d);
}
