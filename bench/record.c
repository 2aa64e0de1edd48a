/* bench-record FILE EVENTS [SEED [DEPLOYMENTS]] - a long log of one big installation, for bench-replay: nodes report
 * what they run, people deploy again and again (at most DEPLOYMENTS times), instances fail and come back, nodes fall
 * silent; every event is decided or planned by src/platform on the model that the ones before it make. Virtual time;
 * one seed, one log.
 * tests/sim makes stories with every fault but few objects; this one has many objects and few kinds of faults. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "event/envelope.h"
#include "platform/decide.h"
#include "platform/plan_state.h"

enum { WORKERS_N = 40, PROJECTS_N = 120, INSTANCES_WANTED_MAX = 8, STEP_MS_MAX = 4000 };

struct recorder {
    struct model *m;
    struct plan_state *planner;
    struct platform_settings settings;
    struct id_source ids;
    int64_t now_ms;
    uint64_t rng, events_max, deploys_n, deploys_max;
    struct arena arena; /* of one step */
    struct event_list out;
    struct id nodes[WORKERS_N + 1], projects[PROJECTS_N];
    int64_t report_seq;
    FILE *file;
    uint32_t sum;
    struct buf line, payload;
};

static uint64_t roll(struct recorder *r, uint64_t n)
{
    r->rng ^= r->rng << 13;
    r->rng ^= r->rng >> 7;
    r->rng ^= r->rng << 17;
    return r->rng % n;
}

_Noreturn static void stop(const char *what, const struct errinfo *err)
{
    (void)fprintf(stderr, "bench-record: %s: %s\n", what, err->msg);
    exit(1);
}

/* Fold and write what was decided. */
static void commit(struct recorder *r)
{
    for (size_t i = 0; i < r->out.n; i++) {
        struct errinfo err;
        struct event *ev = &r->out.items[i];
        ev->time = event_time_next(r->m->time, r->now_ms * 1000000);
        if (model_apply(r->m, ev, &err) != OK)
            stop("fold", &err);
        buf_clear(&r->payload);
        buf_clear(&r->line);
        event_encode_payload(ev, &r->payload);
        r->sum = envelope_encode(&(struct envelope){.time = ev->time,
                                                    .type = str_from(event_kind_row(ev->kind)->name),
                                                    .id = ev->id,
                                                    .payload = buf_str(&r->payload),
                                                    .more = i + 1 < r->out.n},
                                 r->sum, &r->line);
        (void)fwrite(r->line.ptr, 1, r->line.len, r->file);
    }
    r->out.n = 0;
}

static struct decide decider(struct recorder *r)
{
    r->ids.wall_ms = r->now_ms;
    return (struct decide){r->m, &r->settings, r->now_ms, &r->ids};
}

static void must(enum err rc, const struct errinfo *err)
{
    if (rc != OK)
        stop("begin", err);
}

static void begin(struct recorder *r)
{
    struct errinfo err;
    struct id id;
    struct decide d = decider(r);
    must(decide_create_region(&d, STR("local"), &r->out, &id, &err), &err);
    commit(r);
    for (int z = 0; z < 3; z++) {
        must(decide_create_zone(&d, STR("local"), str_from(arena_printf(&r->arena, "z%d", z)), &r->out, &id, &err),
             &err);
        commit(r);
    }
    for (int i = 0; i <= WORKERS_N; i++) {
        struct str label = i == 0 ? STR("control") : STR("worker"), runtime = STR("qemu");
        r->nodes[i] = id_next(&r->ids);
        struct node_joining j = {.node_id = r->nodes[i],
                                 .name = str_from(arena_printf(&r->arena, "node-%d", i)),
                                 .region = STR("local"),
                                 .zone = str_from(arena_printf(&r->arena, "z%d", i % 3)),
                                 .labels = {&label, 1},
                                 .prefix = i == 0 ? STR("") : str_from(arena_printf(&r->arena, "fd00:0:0:%x::/64", i))};
        must(decide_join_node(&d, &j, &r->out, &err), &err);
        commit(r);
        struct node_reported n = {.node_id = r->nodes[i],
                                  .replica = STR("a"),
                                  .boot_id = str_from(arena_printf(&r->arena, "boot-%d", i)),
                                  .status = STR("ready"),
                                  .report_seq = ++r->report_seq,
                                  .capacity = {64, INT64_C(256) << 30, INT64_C(4) << 40},
                                  .runtimes = {&runtime, 1}};
        must(decide_node_reported(&d, &n, &r->out, &err), &err);
        commit(r);
    }
    for (int i = 0; i < PROJECTS_N; i++) {
        must(decide_create_project(&d, str_from(arena_printf(&r->arena, "project %d", i)), &r->out, &r->projects[i],
                                   &err),
             &err);
        commit(r);
    }
}

/* What the agent of its node says of an instance. */
static void observe(struct recorder *r, const struct instance *i, const char *status, const char *health,
                    const char *cause, int64_t restarts)
{
    struct decide d = decider(r);
    struct instance_observed o = {.instance_id = i->id,
                                  .reporter_node_id = i->node->id,
                                  .observed = str_from(status),
                                  .health = str_from(health),
                                  .cause = str_from(cause),
                                  .boot_id = str_from(i->node->boot_id),
                                  .report_seq = ++r->report_seq,
                                  .restarts = restarts};
    struct errinfo err;
    err_ignore(decide_instance_observed(&d, &o, &r->out, &err)); /* refused: as in life, the agent hears it */
    commit(r);
}

static void build(struct recorder *r, const struct image *image)
{
    struct decide d = decider(r);
    struct str words[] = {STR("/bin/server"), STR("--port=8080")};
    struct image_observed o = {.image_id = image->id,
                               .builder_instance_id = image->builder_instance_id,
                               .status = roll(r, 20) == 0 ? STR("failed") : STR("ready"),
                               .digest = str_from(image->context_digest),
                               .cause = STR(""),
                               .size_bytes = 123456789,
                               .config = {.cmd = {words, 2}, .workdir = STR("/srv")}};
    if (str_eq(o.status, STR("failed")))
        o.cause = STR("step 3 of the Dockerfile ended with code 1: npm: not found");
    struct errinfo err;
    err_ignore(decide_image_observed(&d, &o, &r->out, &err));
    commit(r);
}

/* One instance goes one step on, or something happens to it. */
static void live(struct recorder *r, const struct instance *i)
{
    if (i->node == NULL)
        return;
    bool goes = instance_desired(i) != DESIRED_RUNNING;
    int64_t restarts = i->restarts;
    if (goes && i->status != INSTANCE_STOPPED && i->status != INSTANCE_FAILED) {
        if (instance_desired(i) != DESIRED_DRAINING)
            observe(r, i, "stopped", "", "", restarts);
    } else if (i->status == INSTANCE_PENDING) {
        observe(r, i, "starting", "", "", restarts);
    } else if (i->status == INSTANCE_STARTING) {
        const struct image *image = model_image_of_builder(r->m, i->id);
        observe(r, i, "running", "NOMINAL", "", restarts);
        if (image != NULL)
            build(r, image);
    } else if (i->restart_never && i->status == INSTANCE_RUNNING) {
        observe(r, i, "stopped", "EXIT", "exit code 0", restarts);
    } else if (i->status == INSTANCE_RUNNING && roll(r, 60) == 0) {
        observe(r, i, "starting", "", "the program ended with signal 11 (segmentation fault)", restarts + 1);
    } else if (i->status == INSTANCE_RUNNING && i->health != HEALTH_NOMINAL) {
        observe(r, i, "running", "NOMINAL", "", restarts);
    } else if (i->status == INSTANCE_RUNNING && roll(r, 60) == 0) {
        observe(r, i, "running", "ERROR", "3 health checks in a row failed: GET /health answered 503", restarts);
    }
}

static void deploy(struct recorder *r)
{
    struct decide d = decider(r);
    struct deployment_create c = {
        .project_id = r->projects[roll(r, PROJECTS_N)],
        .context_digest = str_from(arena_printf(&r->arena, "sha256:%064llu", (unsigned long long)++r->deploys_n)),
        .instances = 3 + (int64_t)roll(r, INSTANCES_WANTED_MAX - 2),
        .drain_seconds = (int64_t)roll(r, 30),
        .requested_by = STR("somebody")};
    struct id id;
    struct errinfo err;
    err_ignore(decide_create_deployment(&d, &c, &r->out, &id, &err));
    commit(r);
}

static void plan(struct recorder *r)
{
    struct edge_observed edges[] = {{STR("edge-0"), r->m->seq, r->now_ms}, {STR("edge-1"), r->m->seq, r->now_ms}};
    struct observations seen = {
        .edges = edges, .edges_n = 2, .live_since_ms = 0, .format_min = EVENT_FORMAT, .replicas_n = 1};
    for (;;) {
        struct plan p = {.events = {.arena = &r->arena}};
        r->ids.wall_ms = r->now_ms;
        plan_next(r->planner, r->m, &r->settings, r->now_ms, &seen, &r->ids, &p);
        if (p.events.n == 0)
            return;
        struct event_list mine = r->out;
        r->out = p.events;
        commit(r);
        r->out = mine;
        r->out.n = 0;
    }
}

/* A tenth of all instances, and now and then a deployment or a vote about a node. */
static void step(struct recorder *r)
{
    r->now_ms += 1 + (int64_t)roll(r, STEP_MS_MAX);
    size_t n = r->m->instances.n, some = n / 10 + 1;
    for (size_t k = 0; k < some && r->m->instances.n > 0; k++)
        live(r, r->m->instances.items[roll(r, r->m->instances.n)]);
    for (uint64_t k = 0; k < 2 && r->deploys_n < r->deploys_max; k++)
        deploy(r);
    struct errinfo err;
    struct str host;
    struct id id;
    struct decide d = decider(r);
    const struct id node = r->nodes[1 + roll(r, WORKERS_N)];
    if (roll(r, 4) == 0 && decide_suspect_node(&d, node, STR("a"), STR("silent for 15 s"), &r->out, &err) == OK)
        commit(r);
    r->out.n = 0;
    if (roll(r, 2) == 0 && decide_trust_node(&d, node, STR("a"), &r->out, &err) == OK)
        commit(r);
    r->out.n = 0;
    while (model_host_without_certificate(r->m, r->settings.app_domain, &r->arena, &host) &&
           decide_issue_certificate(&d, host, STR("2036-01-01T00:00:00Z"), &r->out, &id, &err) == OK)
        commit(r);
    r->out.n = 0;
    plan(r);
    r->out = (struct event_list){.arena = &r->arena};
    arena_done(&r->arena);
}

int main(int argc, char **argv)
{
    struct recorder *r = mem_alloc(sizeof(*r));
    uint64_t seed = 1;
    r->deploys_max = UINT64_MAX;
    if (argc < 3 || !str_parse_u64(str_from(argv[2]), 100000000, &r->events_max) ||
        (argc > 3 && !str_parse_u64(str_from(argv[3]), UINT64_MAX, &seed)) ||
        (argc > 4 && !str_parse_u64(str_from(argv[4]), UINT64_MAX, &r->deploys_max)) || seed == 0) {
        (void)fprintf(stderr, "usage: bench-record FILE EVENTS [SEED [DEPLOYMENTS]]\n");
        free(r);
        return 2;
    }
    r->rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    memcpy(r->ids.seed, &seed, sizeof(seed));
    r->now_ms = INT64_C(1763812800000); /* 2025-11-22T12:00:00Z */
    r->m = model_new();
    r->planner = plan_state_new();
    r->out.arena = &r->arena;
    platform_settings_init(&r->settings);
    r->settings.installation = STR("bench");
    r->settings.stop_timeout_seconds = 30;
    r->file = fopen(argv[1], "we");
    if (r->file == NULL) {
        (void)fprintf(stderr, "bench-record: open '%s': %s\n", argv[1], strerror(errno));
        return 5;
    }
    begin(r);
    while (r->m->seq < r->events_max)
        step(r);
    bool is_written = fflush(r->file) == 0 && ferror(r->file) == 0;
    (void)fclose(r->file);
    (void)printf("%llu events; %zu nodes, %zu projects, %zu processes, %zu instances, %zu images at the end; %zu bytes "
                 "of model\n",
                 (unsigned long long)r->m->seq, r->m->nodes.n, r->m->projects.n, r->m->processes.n, r->m->instances.n,
                 r->m->images.n, model_size_bytes(r->m));
    plan_state_free(r->planner);
    model_free(r->m);
    arena_done(&r->arena);
    buf_done(&r->line);
    buf_done(&r->payload);
    free(r);
    return is_written ? 0 : 1;
}
