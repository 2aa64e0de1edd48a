/* sim - many seeds, or one that is told: sim [--seeds N] [--steps N] [--seed N]
 * [--record FOLDER]. */
#include "sim.h"

#include <stdarg.h>

#include "base/own.h"
#include "event/hash.h"

enum { SEEDS_DEFAULT = 300, STEPS_DEFAULT = 300, STEPS_CALM_MAX = 3000 };

/* ---- Story ---- */

void tell(struct world *w, const char *fmt, ...)
{
    AUTO(buf) struct buf line = {0};
    va_list ap;
    buf_addf(&line, "[%5u %8.3f s] ", w->step, (double)w->now_ms / 1000 - 1e6);
    va_start(ap, fmt);
    buf_vaddf(&line, fmt, ap);
    va_end(ap);
    if (w->is_telling)
        (void)puts(line.ptr);
    char **slot = &w->story[w->story_n++ % STORY_MAX];
    free(*slot);
    *slot = buf_take(&line);
}

_Noreturn void broken(struct world *w, const char *fmt, ...)
{
    va_list ap;
    (void)fflush(stdout);
    (void)fprintf(stderr, "seed %" PRIu64 ", step %u: ", w->seed, w->step);
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fprintf(stderr, "\nthe last events:\n");
    for (size_t i = w->story_n < STORY_MAX ? 0 : w->story_n - STORY_MAX; i < w->story_n; i++)
        (void)fprintf(stderr, "%s\n", w->story[i % STORY_MAX]);
    (void)fprintf(stderr, "tell it again: sim --seed %" PRIu64 "\n", w->seed);
    exit(1);
}

void happened(struct world *w, enum fault f)
{
    w->coverage->faults[f]++;
}

/* ---- A world ---- */

static void must(struct world *w, enum err rc, const struct errinfo *err)
{
    if (rc != OK)
        broken(w, "the beginning is refused: %s", err->msg);
}

static void begin_log(struct world *w)
{
    struct errinfo err;
    struct id id;
    struct event_list l = {.arena = &w->arena};
    struct decide d = {w->oracle, &w->settings, w->now_ms, &w->ids};
    must(w, decide_create_region(&d, STR("local"), &l, &id, &err), &err);
    (void)world_append(w, &l, w->log_n, "setup");
    for (int z = 0; z < 3; z++) {
        l.n = 0;
        struct str name = str_from(arena_printf(&w->arena, "z%d", z));
        must(w, decide_create_zone(&d, STR("local"), name, &l, &id, &err), &err);
        (void)world_append(w, &l, w->log_n, "setup");
    }
    for (size_t i = 0; i < w->nodes_n; i++) {
        struct sim_node *n = &w->nodes[i];
        struct str label = n->is_control ? STR("control") : STR("worker");
        struct node_joining j = {.node_id = n->id,
                                 .name = str_from(n->name),
                                 .region = STR("local"),
                                 .zone = str_from(arena_printf(&w->arena, "z%zu", i % 3)),
                                 .labels = {&label, 1},
                                 .prefix = n->is_control ? STR("")
                                                         : str_from(arena_printf(&w->arena, "fd00:0:0:%zu::/64", i))};
        l.n = 0;
        must(w, decide_join_node(&d, &j, &l, &err), &err);
        (void)world_append(w, &l, w->log_n, "setup");
    }
    for (size_t i = 0; i < w->projects_n; i++) {
        l.n = 0;
        struct str name = i == 0 ? STR("ant") : STR("bee");
        must(w, decide_create_project(&d, name, &l, &w->projects[i], &err), &err);
        (void)world_append(w, &l, w->log_n, "setup");
    }
}

static void begin(struct world *w, uint64_t seed, bool is_telling, struct coverage *coverage)
{
    *w = (struct world){
        .seed = seed, .rng = seed, .now_ms = INT64_C(1000000000), .is_telling = is_telling, .coverage = coverage};
    memcpy(w->ids.seed, &seed, sizeof(seed));
    platform_settings_init(&w->settings);
    w->settings.installation = STR("sim");
    w->settings.start_timeout_seconds = 45; /* shorter than in life: a story has some ten minutes */
    w->settings.builder_linger_seconds = 5;
    w->settings.stop_timeout_seconds = 25;
    w->settings.build_timeout_seconds = 60;
    w->settings.status_repeat_seconds = 60;
    w->oracle = model_new();
    w->projects_n = 1 + roll(w, PROJECTS_MAX);
    w->nodes_n = 4 + roll(w, NODES_MAX - 3);
    for (size_t i = 0; i < w->nodes_n; i++) {
        struct sim_node *n = &w->nodes[i];
        n->id = id_next(&w->ids);
        n->is_control = i == 0 || (i == w->nodes_n - 1 && w->nodes_n == NODES_MAX);
        (void)snprintf(n->name, sizeof(n->name), "n%zu", i);
    }
    begin_log(w);
    for (size_t i = 0; i < w->nodes_n; i++)
        node_boot(w, &w->nodes[i]);
    for (int i = 0; i < REPLICAS_N; i++) {
        (void)snprintf(w->replicas[i].name, sizeof(w->replicas[i].name), "%c", 'A' + i);
        w->replicas[i].name_str = str_from(w->replicas[i].name);
        replica_start(w, &w->replicas[i]);
    }
    for (int i = 0; i < EDGES_N; i++) {
        w->edges[i].is_up = true;
        (void)snprintf(w->edges[i].name, sizeof(w->edges[i].name), "edge-%d", i);
    }
}

static void end(struct world *w)
{
    for (size_t i = 0; i < w->nodes_n; i++)
        node_done(&w->nodes[i]);
    for (size_t i = 0; i < REPLICAS_N; i++)
        model_free(w->replicas[i].model);
    for (size_t i = 0; i < STORY_MAX; i++)
        free(w->story[i]);
    model_free(w->oracle);
    arena_done(&w->arena);
}

/* ---- Invariants of a step ---- */

static void same_hash(struct world *w, const struct model *a, const struct model *b, const char *what)
{
    uint8_t x[32], y[32];
    model_hash(a, x);
    model_hash(b, y);
    if (memcmp(x, y, sizeof(x)) != 0)
        broken(w, "%s has another model than the log tells", what);
}

static void check_replay(struct world *w)
{
    struct model *cold = model_new();
    happened(w, FAULT_cold_replay);
    for (size_t i = 0; i < w->log_n; i++)
        if (model_apply(cold, &w->log[i], NULL) != OK)
            broken(w, "event %zu cannot be replayed", i + 1);
    same_hash(w, cold, w->oracle, "a cold replay");
    model_free(cold);
}

/* An instance runs on the one node that it was placed on. */
static void check_machines(struct world *w)
{
    for (size_t i = 0; i < w->nodes_n; i++)
        for (size_t k = 0; k < w->nodes[i].machines_n; k++) {
            const struct machine *m = &w->nodes[i].machines[k];
            for (size_t o = 0; m->is_up && o < w->nodes_n; o++) {
                const struct machine *twin = o == i ? NULL : node_machine(&w->nodes[o], m->id);
                if (twin != NULL && twin->is_up)
                    broken(w, "an instance runs on %s and on %s", w->nodes[i].name, w->nodes[o].name);
            }
        }
}

/* In calm times no request may meet a dead endpoint: every endpoint of every edge runs and is healthy. */
static void check_edges(struct world *w)
{
    for (size_t e = 0; e < EDGES_N; e++)
        for (size_t p = 0; p < w->edges[e].applied.entries_n; p++) {
            const struct route_entry *r = &w->edges[e].applied.entries[p];
            if (r->endpoints_n == 0)
                broken(w, "%s has a route without an endpoint though nothing failed", w->edges[e].name);
            for (size_t k = 0; k < r->endpoints_n; k++) {
                const struct machine *m = NULL;
                for (size_t n = 0; n < w->nodes_n && m == NULL; n++)
                    m = node_machine(&w->nodes[n], r->endpoints[k]);
                if (m == NULL || !m->is_up)
                    broken(w, "%s sends requests to an instance that does not run though nothing failed",
                           w->edges[e].name);
            }
        }
}

/* What a lost node took along is replaced soon, or the deployment says why not. */
static void check_lost(struct world *w)
{
    enum { SOON_MS = 15000 };
    for (size_t i = 0; i < REPLICAS_N; i++)
        if (!w->replicas[i].is_up || w->now_ms - w->replicas[i].live_since_ms < SOON_MS)
            return;
    MODEL_EACH (instance, i, &w->oracle->instances) {
        const struct process *d = i->process;
        if (i->status == INSTANCE_LOST && i->wanted == DESIRED_RUNNING && d->status == DEPLOYMENT_LIVE &&
            d->cause[0] == '\0' && w->now_ms - i->since_ns / 1000000 > SOON_MS)
            broken(w, "a lost instance of a live deployment is not replaced");
    }
}

static void check_step(struct world *w)
{
    check_machines(w);
    check_lost(w);
    if (w->step % 16 == 0)
        for (size_t i = 0; i < REPLICAS_N; i++)
            if (w->replicas[i].is_up && w->replicas[i].model->seq == w->log_n)
                same_hash(w, w->replicas[i].model, w->oracle, w->replicas[i].name);
    if (w->step % 128 == 0)
        check_replay(w);
    if (w->is_settled)
        check_edges(w);
}

static void step(struct world *w)
{
    w->step++;
    w->coverage->steps++;
    w->now_ms += between(w, 50, 1200);
    faults_tick(w);
    people_tick(w);
    deliver(w);
    for (size_t i = 0; i < w->nodes_n; i++)
        node_tick(w, &w->nodes[i]);
    for (size_t i = 0; i < EDGES_N; i++)
        edge_tick(w, &w->edges[i]);
    replicas_tick(w);
    check_step(w);
}

/* ---- A story: unsafe times, then calm ones ---- */

static void calm_down(struct world *w)
{
    const char *why = "";
    w->is_calm = true;
    tell(w, "from now on nothing fails");
    for (size_t i = 0; i < w->nodes_n; i++)
        w->nodes[i].partition_until_ms = w->nodes[i].up_at_ms = 0;
    for (size_t i = 0; i < REPLICAS_N; i++)
        w->replicas[i].up_at_ms = 0;
    for (size_t i = 0; i < EDGES_N; i++)
        w->edges[i].up_at_ms = 0;
    for (unsigned i = 0; i < STEPS_CALM_MAX; i++) {
        step(w);
        /* Not before those are suspected who fell silent just before: 24 steps are 15 s. */
        if (i >= 24 && i % 8 == 0 && is_converged(w, &why))
            return;
    }
    broken(w, "it does not converge: %s", why);
}

/* With nothing failing, a good deployment goes live on every project and no request is lost on the way. */
static void last_deployments(struct world *w)
{
    const char *why = "";
    w->is_settled = true;
    for (size_t i = 0; i < w->projects_n; i++)
        deploy_one(w, w->projects[i], GOOD);
    for (unsigned i = 0; i < STEPS_CALM_MAX; i++) {
        step(w);
        bool all_live = true;
        for (size_t k = 0; k < w->projects_n; k++) {
            const struct process *live = model_project(w->oracle, w->projects[k])->live;
            all_live = all_live && live != NULL && live->created_seq > 0 &&
                       behaviour_of(live->context_digest) == GOOD && live->created_ns / 1000000 >= w->now_ms - 600000;
            const struct process *last = NULL;
            MODEL_EACH (process, d, &model_project(w->oracle, w->projects[k])->deployments)
                if (last == NULL || d->created_seq > last->created_seq)
                    last = d;
            all_live = all_live && last == live;
        }
        if (i % 8 == 0 && all_live && i > 20 && is_converged(w, &why)) {
            check_replay(w);
            return;
        }
    }
    broken(w, "a good deployment does not go live though nothing fails: %s", why);
}

/* record_folder: NULL, or where its log goes. */
static void run(uint64_t seed, unsigned steps, bool is_telling, const char *record_folder, struct coverage *coverage)
{
    struct world *w = mem_alloc(sizeof(*w));
    begin(w, seed, is_telling, coverage);
    for (unsigned i = 0; i < steps; i++)
        step(w);
    calm_down(w);
    last_deployments(w);
    coverage->seeds++;
    if (record_folder != NULL)
        record(w, record_folder);
    end(w);
    free(w);
}

/* ---- Coverage ---- */

/* Kinds that no story of this simulator writes. */
static bool is_elsewhere(enum event_kind k)
{
    return k == EVENT_CREATE_TYPE || k == EVENT_CREATE_GATEWAY || k == EVENT_CREATE_STREAM ||
           k == EVENT_CREATE_EVENT_LOG || k == EVENT_DELETE_PROCESS || k == EVENT_DELETE_PROJECT;
}

static unsigned row(const char *what, const char *name, uint64_t n, bool needed)
{
    bool is_low = needed && n == 0;
    printf("  %-10s %-24s %10" PRIu64 "%s\n", what, name, n, is_low ? "   never happened" : "");
    return is_low;
}

static unsigned print_coverage(const struct coverage *c)
{
    static const char *const FAULT_NAMES[] = {
#define FAULT_NAME(name) #name,
        FAULTS(FAULT_NAME)
#undef FAULT_NAME
    };
    unsigned low = 0;
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++)
        low += row("event", event_kind_row((enum event_kind)k)->name, c->events[k], !is_elsewhere((enum event_kind)k));
    for (unsigned s = 0; s < INSTANCE_STATUS_MAX_; s++)
        low += row("instance", instance_status_name((enum instance_status)s), c->instances[s], s != INSTANCE_SUSPENDED);
    for (unsigned s = 0; s < DEPLOYMENT_STATUS_MAX_; s++)
        low += row("deployment", deployment_status_name((enum deployment_status)s), c->deployments[s], true);
    for (unsigned s = 0; s < NODE_STATUS_MAX_; s++)
        low += row("node", node_status_name((enum node_status)s), c->nodes[s], s != NODE_DRAINING && s != NODE_GONE);
    for (unsigned s = 0; s < IMAGE_STATUS_MAX_; s++)
        low += row("image", image_status_name((enum image_status)s), c->images[s], true);
    for (unsigned f = 0; f < FAULTS_N; f++)
        low += row("fault", FAULT_NAMES[f], c->faults[f], true);
    return low;
}

static uint64_t number(const char *text)
{
    uint64_t v = 0;
    if (!str_parse_u64(str_from(text), UINT64_MAX / 2, &v)) {
        (void)fprintf(stderr, "sim: '%s' is not a number\n", text);
        exit(2);
    }
    return v;
}

int main(int argc, char **argv)
{
    uint64_t seeds = SEEDS_DEFAULT, steps = STEPS_DEFAULT, only = 0;
    const char *record_folder = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0)
            seeds = number(argv[i + 1]);
        else if (strcmp(argv[i], "--steps") == 0)
            steps = number(argv[i + 1]);
        else if (strcmp(argv[i], "--seed") == 0)
            only = number(argv[i + 1]);
        else if (strcmp(argv[i], "--record") == 0)
            record_folder = argv[i + 1];
    }
    struct coverage coverage = {0};
    if (only != 0) {
        run(only, (unsigned)steps, true, record_folder, &coverage);
        return 0;
    }
    for (uint64_t s = 1; s <= seeds; s++)
        run(s, (unsigned)steps, false, record_folder, &coverage);
    unsigned low = print_coverage(&coverage);
    printf("%" PRIu64 " seeds, %" PRIu64 " steps\n", coverage.seeds, coverage.steps);
    return seeds >= SEEDS_DEFAULT && low > 0 ? 1 : 0;
}
