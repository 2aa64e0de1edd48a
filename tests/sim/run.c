/* One story: a beginning, unsafe times, calm ones, a last deployment. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>

/* Once nothing fails any more, everything has come to what is wanted within this (virtual) time. Measured over 1,000
 * seeds: see the last line of what the simulator prints; the longest waits are those of the settings below. */
enum { CONVERGE_MS = 600000, STEP_MS_MIN = 50, STEP_MS_MAX = 1200, REPLAY_STEPS = 256 };

/* ---- Telling ---- */

void tell(struct world *w, const char *fmt, ...)
{
    va_list ap;
    if (!w->is_telling)
        return;
    printf("[%5u %8.3f s] ", w->step, (double)w->now_ms / 1000 - 1e6);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
}

_Noreturn void broken(struct world *w, enum rule r, const char *fmt, ...)
{
    va_list ap;
    struct failure *f = w->failure;
    f->is_failed = true;
    f->rule = r;
    f->step = w->step;
    f->at_ms = w->now_ms - INT64_C(1000000000);
    f->is_calm = w->is_calm;
    va_start(ap, fmt);
    (void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
    tell(w, "BROKEN: %s: %s", rule_words(r), f->text);
    (void)fflush(stdout);
    _exit(1);
}

/* ---- A world ---- */

static void must(struct world *w, enum err rc, const struct errinfo *err)
{
    if (rc != OK)
        broken(w, RULE_refusals, "the beginning is refused: %s", err->msg);
}

/* Definitions, as an event-sourced application brings them. */
static void define(struct world *w, struct event_list *l)
{
    struct id stream_id = id_next(&w->ids);
    event_list_add(l, EVENT_CREATE_TYPE, &w->ids)->create_type =
        (struct create_type){id_next(&w->ids), STR("Click"), STR("[]")};
    event_list_add(l, EVENT_CREATE_GATEWAY, &w->ids)->create_gateway =
        (struct create_gateway){id_next(&w->ids), STR("pager"), STR("{}")};
    event_list_add(l, EVENT_CREATE_STREAM, &w->ids)->create_stream = (struct create_stream){
        .stream_id = stream_id, .name = STR("clicks"), .version = STR("1"), .event_store = STR("files;path=clicks")};
    event_list_add(l, EVENT_CREATE_EVENT_LOG, &w->ids)->create_event_log = (struct create_event_log){
        .stream_id = stream_id, .log_id = id_next(&w->ids), .partition_range = STR("*"), .start = {0, 0}};
}

static void begin_log(struct world *w)
{
    struct errinfo err;
    struct id id;
    struct event_list l = {.arena = &w->arena};
    struct decide d = {w->oracle, &w->settings, w->now_ms, &w->ids};
    must(w, decide_create_region(&d, STR("local"), &l, &id, &err), &err);
    define(w, &l);
    store_append_first(w, &l);
    for (int z = 0; z < 3; z++) {
        l.n = 0;
        struct str name = str_from(arena_printf(&w->arena, "z%d", z));
        must(w, decide_create_zone(&d, STR("local"), name, &l, &id, &err), &err);
        store_append_first(w, &l);
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
        store_append_first(w, &l);
    }
    w->projects_made_n = 1 + (unsigned)roll(w, 2);
    for (size_t i = 0; i < w->projects_made_n; i++) {
        l.n = 0;
        must(w, decide_create_project(&d, i == 0 ? STR("ant") : STR("bee"), &l, &id, &err), &err);
        store_append_first(w, &l);
    }
}

static void settle(struct platform_settings *s)
{
    platform_settings_init(s);
    s->installation = STR("sim");
    s->start_timeout_seconds = 45; /* shorter than in life: a story has some minutes */
    s->builder_linger_seconds = 5;
    s->stop_timeout_seconds = 25;
    s->build_timeout_seconds = 60;
    s->status_repeat_seconds = 60;
    s->replace_delay_seconds_max = 60;
    s->spread_after_seconds = 20;
}

static void begin_people(struct world *w)
{
    for (size_t i = 0; i < w->nodes_n; i++) {
        struct sim_node *n = &w->nodes[i];
        n->id = id_next(&w->ids);
        n->is_control = i == 0 || (i == w->nodes_n - 1 && w->nodes_n >= NODES_MAX - 1);
        (void)snprintf(n->name, sizeof(n->name), "n%zu", i);
    }
    for (size_t i = 0; i < w->replicas_n; i++) {
        struct replica *r = &w->replicas[i];
        (void)snprintf(r->name, sizeof(r->name), "%c", (char)('A' + i));
        r->name_str = str_from(r->name);
        r->unknown_kind = EVENT_KIND_MAX_;
        r->format = EVENT_FORMAT;
        if (roll(w, 5) == 0) { /* the log is younger than its newest format */
            r->format = 1;
            r->new_at_ms = w->now_ms + between(w, 10000, 150000);
        }
    }
    for (size_t i = 0; i < w->edges_n; i++) {
        w->edges[i].is_up = true;
        (void)snprintf(w->edges[i].name, sizeof(w->edges[i].name), "edge-%u", (unsigned)i);
    }
}

static void begin(struct world *w, const struct story *s)
{
    w->story = s;
    w->now_ms = INT64_C(1000000000);
    memcpy(w->ids.seed, &s->seed, sizeof(s->seed));
    chance_for(w, 0);
    settle(&w->settings);
    w->oracle = model_new();
    w->oracle->kept = story_retention(s);
    w->replicas_n = s->replicas_n;
    w->nodes_n = s->nodes_n;
    w->edges_n = s->edges_n;
    begin_people(w);
    w->log_id = id_next(&w->ids);
    begin_log(w);
    for (size_t i = 0; i < w->nodes_n; i++)
        node_boot(w, &w->nodes[i]);
    for (size_t i = 0; i < w->replicas_n; i++)
        replica_start(w, &w->replicas[i]);
}

static void end(struct world *w)
{
    for (size_t i = 0; i < w->nodes_n; i++)
        node_done(&w->nodes[i]);
    for (size_t i = 0; i < w->edges_n; i++)
        edge_forgets(&w->edges[i]);
    for (size_t i = 0; i < w->replicas_n; i++) {
        model_free(w->replicas[i].model);
        plan_state_free(w->replicas[i].plan_state);
        preferred_done(&w->replicas[i].left);
        edges_heard_done(&w->replicas[i].told);
    }
    model_free(w->oracle);
    buf_done(&w->store.bytes);
    arena_done(&w->arena);
}

/* ---- Steps ---- */

static void step(struct world *w)
{
    w->step++;
    w->coverage->steps++;
    chance_for(w, 0);
    w->now_ms += between(w, STEP_MS_MIN, STEP_MS_MAX);
    store_tick(w);
    acts_tick(w);
    chance_for(w, 1);
    deliver(w);
    for (unsigned i = 0; i < w->nodes_n; i++) {
        chance_for(w, 10 + i);
        node_tick(w, &w->nodes[i]);
    }
    for (unsigned i = 0; i < w->edges_n; i++) {
        chance_for(w, 30 + i);
        edge_tick(w, &w->edges[i]);
    }
    chance_for(w, 2);
    replicas_tick(w);
    check_step(w);
    if (w->step % REPLAY_STEPS == 0)
        store_check_replay(w);
}

static void heal(struct world *w)
{
    w->is_calm = true;
    tell(w, "from now on nothing fails");
    memset(w->cut_until_ms, 0, sizeof(w->cut_until_ms));
    w->store.next_loses_power = w->store.next_sync_fails = false;
    for (size_t i = 0; i < w->nodes_n; i++) {
        struct sim_node *n = &w->nodes[i];
        n->up_at_ms = n->paused_until_ms = n->full_until_ms = n->dies_after = 0;
        n->fails_at_start = false;
        for (size_t k = 0; k < n->machines_n; k++)
            n->machines[k].never_ready = false;
    }
    for (size_t i = 0; i < w->replicas_n; i++) {
        struct replica *r = &w->replicas[i];
        r->dies = DIES_NOT;
        r->up_at_ms = r->paused_until_ms = r->resumed_ms = r->still_ms = 0;
        r->new_at_ms = r->new_at_ms == 0 ? 0 : 1; /* the old version is replaced now */
    }
    for (size_t i = 0; i < w->edges_n; i++)
        w->edges[i].up_at_ms = 0;
}

/* What people have stopped or drained by hand, they start again. */
static void start_what_was_stopped(struct world *w)
{
    MODEL_EACH (instance, i, &w->oracle->instances) {
        if (i->wanted != DESIRED_STOPPED)
            continue;
        struct command *c = arena_alloc(&w->arena, sizeof(*c));
        *c = (struct command){.kind = COMMAND_DESIRED, .id = i->id, .text = STR("running")};
        send_command(w, AT_PEOPLE, AT_REPLICAS, c);
    }
    MODEL_EACH (node, n, &w->oracle->nodes) {
        if (n->status != NODE_DRAINING)
            continue;
        struct command *c = arena_alloc(&w->arena, sizeof(*c));
        *c = (struct command){.kind = COMMAND_UNDRAIN, .id = n->id};
        send_command(w, AT_PEOPLE, AT_REPLICAS, c);
    }
}

static void calm_down(struct world *w)
{
    const char *why = "";
    int64_t from_ms = w->now_ms;
    heal(w);
    for (unsigned i = 0; w->now_ms - from_ms < CONVERGE_MS; i++) {
        step(w);
        if (i % 16 == 0)
            start_what_was_stopped(w);
        /* Not before those are suspected who fell silent just before. */
        if (w->now_ms - from_ms > SUSPECT_MS * 3 / 2 && i % 4 == 0 && is_converged(w, &why)) {
            uint64_t took_ms = (uint64_t)(w->now_ms - from_ms);
            checked(w, RULE_converges);
            w->coverage->converge_ms_sum += took_ms;
            if (w->coverage->converge_ms_max < took_ms)
                w->coverage->converge_ms_max = took_ms;
            tell(w, "everything is as wanted, %.1f s after the last fault", (double)took_ms / 1000);
            return;
        }
    }
    broken(w, is_spread(w, &why) ? RULE_converges : RULE_spread, "%.0f s after the last fault: %s",
           (double)CONVERGE_MS / 1000, why);
}

static const struct process *newest(const struct project *p)
{
    const struct process *found = NULL;
    MODEL_EACH (process, d, &p->deployments)
        if (found == NULL || d->created_seq > found->created_seq)
            found = d;
    return found;
}

/* Or waits for room that there is not: people have filled the nodes. */
static bool is_live_since(const struct world *w, const struct project *p, uint64_t after_seq)
{
    const struct process *d = newest(p);
    return d != NULL && d->created_seq > after_seq && (p->live == d || waits_for_room(w, d));
}

static bool all_are_live(const struct world *w, uint64_t after_seq)
{
    MODEL_EACH (project, p, &w->oracle->projects)
        if (!p->is_deleted && !is_live_since(w, p, after_seq))
            return false;
    return true;
}

/* With nothing failing, a good deployment goes live on every project and no request is lost on the way. */
static void last_deployments(struct world *w)
{
    const char *why = "not every project has one yet";
    int64_t from_ms = w->now_ms;
    uint64_t after_seq = w->store.seq;
    w->is_settled = true;
    MODEL_EACH (project, p, &w->oracle->projects)
        if (!p->is_deleted)
            deploy_one(w, p->id, GOOD);
    for (unsigned i = 0; w->now_ms - from_ms < CONVERGE_MS; i++) {
        step(w);
        if (i % 4 == 0 && all_are_live(w, after_seq) && is_converged(w, &why)) {
            store_check_replay(w);
            check_what_if(w);
            return;
        }
    }
    broken(w, RULE_goes_live, "a good deployment is not live after %.0f s: %s", (double)CONVERGE_MS / 1000, why);
}

void run(const struct story *s, bool is_telling, struct coverage *coverage, struct failure *failure)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->is_telling = is_telling;
    w->coverage = coverage;
    w->failure = failure;
    begin(w, s);
    for (unsigned i = 0; i < s->steps; i++)
        step(w);
    calm_down(w);
    last_deployments(w);
    coverage->seeds++;
    if (s->record_folder != NULL)
        record(w, s->record_folder);
    if (coverage->steps_unsafe_min == 0 || s->steps < coverage->steps_unsafe_min)
        coverage->steps_unsafe_min = s->steps;
    end(w);
    free(w);
}
