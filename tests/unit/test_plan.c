/* Plans: what is kept between two of them must not show; what is there is kept whole while it is replaced; several
 * planners over one log place nothing twice. */
#include <stdio.h>

#include "platform_world.h"

#include "base/json.h"
#include "platform/model_trial.h"
#include "platform/plan_state.h"

/* ---- Chance ---- */

struct chance {
    uint64_t state;
};

static uint64_t roll(struct chance *c, uint64_t n)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return (c->state >> 11) % n;
}

static void *any(struct chance *c, const struct id_index *x)
{
    return x->n == 0 ? NULL : x->items[roll(c, x->n)];
}

/* Decides, and appends unless it was refused: people and nodes also ask for what cannot be. */
#define TRY(w, call)                                                                                                   \
    do {                                                                                                               \
        struct event_list out = {.arena = &(w)->arena};                                                                \
        struct decide d = decider(w);                                                                                  \
        struct errinfo err = {0};                                                                                      \
        if ((call) == OK)                                                                                              \
            append(w, &out);                                                                                           \
    } while (0)

/* ---- The same plan, kept and from scratch ---- */

static void plan_text(const struct plan *p, int64_t now_ms, struct buf *out)
{
    for (size_t i = 0; i < p->events.n; i++) {
        buf_add_c(out, event_kind_row(p->events.items[i].kind)->name);
        event_encode_payload(&p->events.items[i], out);
        buf_add_char(out, '\n');
    }
    buf_addf(out, "again in %lld ms", p->deadline_ms == PLAN_NEVER ? -1LL : (long long)(p->deadline_ms - now_ms));
}

static void plan_kept(struct world *w, struct plan_state *ps, uint64_t seed, int step, struct plan *ret)
{
    struct plan scratch = {.events = {.arena = &w->arena}};
    w->ids.wall_ms = w->now_ms;
    struct id_source ids = w->ids;
    *ret = (struct plan){.events = {.arena = &w->arena}};
    model_plan(w->model, &w->settings, w->now_ms, &w->seen, &ids, &scratch);
    plan_next(ps, w->model, &w->settings, w->now_ms, &w->seen, &w->ids, ret);
    assert_true(ret->events.n == 0 || ret->deadline_ms == w->now_ms);
    assert_true(ret->events.n > 0 || ret->deadline_ms > w->now_ms); /* else the shell would spin */
    AUTO(buf) struct buf a = {0}, b = {0};
    plan_text(ret, w->now_ms, &a);
    plan_text(&scratch, w->now_ms, &b);
    if (strcmp(a.ptr, b.ptr) == 0)
        return;
    (void)fprintf(stderr, "the kept state plans\n%s\nfrom scratch it is\n%s\n", a.ptr, b.ptr);
    fail_msg("seed %llu, step %d: another plan", (unsigned long long)seed, step);
}

static void deploy_something(struct world *w, struct chance *c)
{
    const struct project *project = any(c, &w->model->projects);
    assert_non_null(project);
    const struct image *image = any(c, &w->model->images);
    bool has_image = image != NULL && image->status == IMAGE_READY && roll(c, 2) == 0;
    struct deployment_create create = {
        .project_id = project->id,
        .context_digest = has_image ? (struct str){0} : DIGEST,
        .image_id = has_image ? image->id : ID_NONE,
        .instances = 1 + (int64_t)roll(c, 4),
        .drain_seconds = (int64_t)roll(c, 2) * 30,
        .resources = {.vcpus = 1 + (int64_t)roll(c, 6),
                      .memory_bytes = (INT64_C(100) << 20) * (1 + (int64_t)roll(c, 10))}};
    struct id id;
    TRY(w, decide_create_deployment(&d, &create, &out, &id, &err));
}

static void image_reports(struct world *w, struct chance *c)
{
    const struct image *i = any(c, &w->model->images);
    if (i == NULL)
        return;
    struct image_observed o = {.image_id = i->id,
                               .builder_instance_id = i->builder_instance_id,
                               .status = roll(c, 5) == 0 ? STR("failed") : STR("ready"),
                               .digest = DIGEST,
                               .size_bytes = 1};
    TRY(w, decide_image_observed(&d, &o, &out, &err));
}

static void instance_reports(struct world *w, struct chance *c)
{
    static const char *const STATUS[] = {"starting", "running", "running", "running", "running", "failed", "stopped"};
    const struct instance *i = any(c, &w->model->instances);
    if (i == NULL || i->node == NULL)
        return;
    const char *status = i->wanted == DESIRED_RUNNING ? STATUS[roll(c, 7)] : "stopped";
    struct instance_observed o = {.instance_id = i->id,
                                  .reporter_node_id = i->node->id,
                                  .observed = str_from(status),
                                  .health = roll(c, 10) == 0 ? STR("TIMEOUT") : STR("NOMINAL"),
                                  .boot_id = str_from(i->node->boot_id),
                                  .report_seq = ++w->report_seq};
    TRY(w, decide_instance_observed(&d, &o, &out, &err));
}

static void node_does(struct world *w, struct chance *c)
{
    int n = (int)roll(c, 4);
    switch (roll(c, 5)) {
    case 0: TRY(w, decide_suspect_node(&d, w->nodes[n], STR("a"), STR("silent"), &out, &err)); return;
    case 1: TRY(w, decide_suspect_node(&d, w->nodes[n], STR("b"), STR("silent"), &out, &err)); return;
    case 2: TRY(w, decide_drain_node(&d, w->nodes[n], STR("work"), &out, &err)); return;
    case 3: TRY(w, decide_undrain_node(&d, w->nodes[n], &out, &err)); return;
    default: {
        const char *boot = model_node(w->model, w->nodes[n])->boot_id;
        if (roll(c, 5) == 0)
            boot = arena_printf(&w->arena, "boot-%llu", (unsigned long long)w->model->seq);
        node_reports(w, n, arena_strdup(&w->arena, boot));
        return;
    }
    }
}

static void person_does(struct world *w, struct chance *c)
{
    const struct process *p = any(c, &w->model->processes);
    const struct instance *i = any(c, &w->model->instances);
    const struct project *project = any(c, &w->model->projects);
    struct id id;
    switch (roll(c, 9)) {
    case 0:
        TRY(w, decide_create_project(&d, str_from(arena_printf(&w->arena, "p%d", (int)roll(c, 5))), &out, &id, &err));
        return;
    case 1:
        if (project != NULL && roll(c, 6) == 0)
            TRY(w, decide_delete_project(&d, project->id, &out, &err));
        return;
    case 2:
        if (p != NULL && roll(c, 3) == 0)
            TRY(w, decide_stop_deployment(&d, p->id, &out, &err));
        return;
    case 3:
        if (p != NULL)
            TRY(w, decide_cancel_deployment(&d, p->id, &out, &err));
        return;
    case 4:
        if (p != NULL)
            TRY(w, decide_scale_process(&d, p->id, 1 + (int64_t)roll(c, 4), STR(""), STR("{}"), &out, &err));
        return;
    case 5:
        if (i != NULL)
            TRY(w, decide_delete_instance(&d, i->id, &out, &err));
        return;
    case 6:
        if (i != NULL)
            TRY(w, decide_instance_desired(&d, i->id, roll(c, 2) == 0 ? STR("stopped") : STR("running"), &out, &err));
        return;
    case 7:
        if (p != NULL)
            TRY(w, decide_repeat_deployment(&d, p->id, STR("somebody"), &out, &id, &err));
        return;
    default: {
        struct str host;
        if (model_host_without_certificate(w->model, w->settings.app_domain, &w->arena, &host))
            TRY(w, decide_issue_certificate(&d, host, STR("2036-01-01T00:00:00Z"), &out, &id, &err));
        return;
    }
    }
}

static void time_passes(struct world *w, struct chance *c)
{
    static const int64_t SPANS_S[] = {1, 1, 2, 2, 3, 5, 20, 70, 130, 700};
    w->now_ms += SPANS_S[roll(c, 10)] * SECOND;
    for (size_t i = 0; i < EDGES_MAX; i++) {
        if (roll(c, 4) > 0)
            w->edges[i].seen_ms = w->now_ms - (int64_t)roll(c, 5) * SECOND;
        if (roll(c, 3) > 0)
            w->edges[i].confirmed_seq = w->model->seq;
    }
    w->seen.replicas_n = roll(c, 8) == 0 ? 1 + (int64_t)roll(c, 3) : w->seen.replicas_n;
}

/* Every node does what it is asked for. */
static void all_is_well(struct world *w)
{
    struct str host;
    struct id id;
    for (size_t k = 0; k < w->model->instances.n; k++) {
        const struct instance *i = w->model->instances.items[k];
        bool runs = i->wanted == DESIRED_RUNNING;
        if (i->node == NULL || i->node->status == NODE_LOST || i->status == INSTANCE_FAILED)
            continue;
        struct instance_observed o = {.instance_id = i->id,
                                      .reporter_node_id = i->node->id,
                                      .observed = runs ? STR("running") : STR("stopped"),
                                      .health = runs ? STR("NOMINAL") : STR(""),
                                      .boot_id = str_from(i->node->boot_id),
                                      .report_seq = ++w->report_seq};
        TRY(w, decide_instance_observed(&d, &o, &out, &err));
    }
    while (model_host_without_certificate(w->model, w->settings.app_domain, &w->arena, &host))
        DO(w, decide_issue_certificate(&d, host, STR("2036-01-01T00:00:00Z"), &out, &id, &err));
}

static void something_happens(struct world *w, struct chance *c)
{
    uint64_t r = roll(c, 100);
    if (r < 6)
        deploy_something(w, c);
    else if (r < 18)
        image_reports(w, c);
    else if (r < 40)
        instance_reports(w, c);
    else if (r < 65)
        all_is_well(w);
    else if (r < 71)
        node_does(w, c);
    else if (r < 76)
        person_does(w, c);
    else
        time_passes(w, c);
}

/* Look at what may never be, and come back as if nothing had happened. */
static void on_trial(struct world *w, struct chance *c, struct plan_state *ps, uint64_t seed, int step)
{
    struct plan p;
    size_t log_n = w->log_n;
    model_trial_begin(w->model);
    something_happens(w, c);
    plan_kept(w, ps, seed, step, &p);
    model_trial_end(w->model);
    w->log_n = log_n;
}

struct coverage {
    size_t events[EVENT_KIND_MAX_], beside, refused, moved, spread, waits, lost_appends;
};

static struct str because_of(const struct event *e)
{
    switch ((int)e->kind) {
    case EVENT_CREATE_INSTANCE: return e->create_instance.because;
    case EVENT_DELETE_INSTANCE: return e->delete_instance.because;
    case EVENT_INSTANCE_STATUS_CHANGE: return e->instance_status_change.because;
    case EVENT_DEPLOYMENT_STATUS_CHANGE: return e->deployment_status_change.because;
    case EVENT_ROUTE_DEPLOYMENT: return e->route_deployment.because;
    default: return (struct str){0};
    }
}

/* Folded as it is made and as it is read back, it must be the same to the byte. */
static void every_because_is_canonical(const struct plan *p)
{
    for (size_t i = 0; i < p->events.n; i++) {
        struct str because = because_of(&p->events.items[i]);
        auto_json json_t *doc = NULL;
        if (because.len == 0)
            continue;
        assert_int_equal(json_parse(because, &doc, NULL), OK);
        auto_free char *text = json_format(doc);
        assert_int_equal(strlen(text), because.len);
        assert_memory_equal(text, because.ptr, because.len);
    }
}

static void cover(struct coverage *c, const struct plan *p)
{
    for (size_t i = 0; i < p->events.n; i++) {
        const struct event *e = &p->events.items[i];
        c->events[e->kind]++;
        if (e->kind == EVENT_ROUTE_DEPLOYMENT)
            c->beside += e->route_deployment.beside;
        if (e->kind == EVENT_CREATE_INSTANCE)
            c->spread += strstr(e->create_instance.because.ptr, "\"rule\":\"spread\"") != NULL;
        if (e->kind == EVENT_INSTANCE_STATUS_CHANGE)
            c->moved += str_ends(e->instance_status_change.cause, STR("drains"));
        if (e->kind == EVENT_DEPLOYMENT_STATUS_CHANGE) {
            c->refused += str_starts(e->deployment_status_change.cause, STR("refused before building"));
            c->waits += str_starts(e->deployment_status_change.cause, STR("waits for capacity"));
        }
    }
}

static void a_history(uint64_t seed, struct coverage *cov)
{
    struct world *w = world_new();
    struct plan_state *ps = plan_state_new();
    struct chance c = {seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
    w->settings.instances_min = 1;
    w->settings.needs_certificate = (int64_t)roll(&c, 2);
    w->settings.settle_seconds = (int64_t)roll(&c, 3);
    w->settings.spread_after_seconds = (int64_t)roll(&c, 60);
    w->seen.edges_n = roll(&c, EDGES_MAX + 1);
    w->edges[0].name = STR("e0");
    w->edges[1].name = STR("e1");
    for (int step = 0; step < 400 && w->log_n < LOG_MAX - 800; step++) {
        something_happens(w, &c);
        if (roll(&c, 10) == 0)
            on_trial(w, &c, ps, seed, step);
        for (int round = 0; round < 6; round++) {
            struct plan p;
            plan_kept(w, ps, seed, step, &p);
            if (p.events.n == 0)
                break;
            if (roll(&c, 6) == 0) { /* another one was first, or the log is away */
                cov->lost_appends++;
                break;
            }
            cover(cov, &p);
            every_because_is_canonical(&p);
            append(w, &p.events);
        }
    }
    plan_state_free(ps);
    world_free(w);
}

static void incremental_is_from_scratch(void **state)
{
    (void)state;
    struct coverage cov = {0};
    for (uint64_t seed = 1; seed <= 60; seed++)
        a_history(seed, &cov);
    print_message("%zu instances placed, %zu switches, %zu beside, %zu refused, %zu moved, %zu spread, %zu waits, %zu "
                  "lost appends\n",
                  cov.events[EVENT_CREATE_INSTANCE], cov.events[EVENT_ROUTE_DEPLOYMENT], cov.beside, cov.refused,
                  cov.moved, cov.spread, cov.waits, cov.lost_appends);
    assert_true(cov.events[EVENT_CREATE_INSTANCE] > 500 && cov.events[EVENT_ROUTE_DEPLOYMENT] > 50);
    assert_true(cov.beside > 5 && cov.refused > 5 && cov.moved > 5 && cov.spread > 5 && cov.waits > 20 &&
                cov.lost_appends > 100);
}

static void a_reader_that_fell_behind(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct plan_state *ps = plan_state_new();
    struct plan p;
    (void)go_live(w);
    plan_kept(w, ps, 0, 0, &p);
    struct id two = deploy(w);
    uint64_t n = changes_n(w->model->changes);
    for (unsigned i = 0; i < CHANGES_MAX; i++) {
        struct event e = event_of(EVENT_NODE_STATUS_CHANGE);
        e.node_status_change = (struct node_status_change){.node_id = w->nodes[1], .status = STR("ready")};
        e.time = event_time_next(w->model->time, w->now_ms * 1000000);
        assert_int_equal(model_apply(w->model, &e, NULL), OK);
    }
    assert_false(changes_has(w->model->changes, n - 1));
    build(w, two);
    plan_kept(w, ps, 0, 1, &p);
    plan_state_free(ps);
    world_free(w);
}

/* Everything in the model and everything that a planner keeps, for one instance more. */
static void an_instance_is_small_with_its_planner(void **state)
{
    (void)state;
    enum { N = 6000 };
    struct world *w = world_new();
    struct plan_state *ps = plan_state_new();
    struct plan p = {.events = {.arena = &w->arena}};
    struct id one = go_live(w);
    plan_next(ps, w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
    size_t before = model_size_bytes(w->model) - changes_size_bytes(w->model->changes) + plan_state_size_bytes(ps);
    for (int i = 0; i < N; i++) {
        struct event e = event_of(EVENT_CREATE_INSTANCE);
        e.create_instance =
            (struct create_instance){.instance_id = id_next(&w->ids),
                                     .process_id = one,
                                     .node_id = w->nodes[1],
                                     .owner = STR("dev-0"),
                                     .runtime = STR("qemu"),
                                     .address = str_from(arena_printf(&w->arena, "fd00:0:0:1::%x", i + 4096)),
                                     .because = STR("{\"freeAfterwards\":{\"memoryBytes\":1879048000,\"vcpus\":31},"
                                                    "\"hereOfThisDeployment\":1,\"needs\":{\"memoryBytes\":268435456,"
                                                    "\"vcpus\":1},\"node\":\"w1\",\"rule\":\"start\"}")};
        e.time = event_time_next(w->model->time, w->now_ms * 1000000);
        assert_int_equal(model_apply(w->model, &e, NULL), OK);
        for (int k = 0; k < 2; k++) {
            struct event up = event_of(EVENT_INSTANCE_STATUS_CHANGE);
            up.instance_status_change =
                (struct instance_status_change){.instance_id = e.create_instance.instance_id,
                                                .status = k == 0 ? STR("starting") : STR("running"),
                                                .health = STR("NOMINAL"),
                                                .node_id = w->nodes[1]};
            up.time = event_time_next(w->model->time, w->now_ms * 1000000);
            assert_int_equal(model_apply(w->model, &up, NULL), OK);
        }
    }
    plan_next(ps, w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
    size_t after = model_size_bytes(w->model) - changes_size_bytes(w->model->changes) + plan_state_size_bytes(ps);
    print_message("%zu bytes an instance, %zu of them the planner's\n", (after - before) / N,
                  plan_state_size_bytes(ps) / N);
    assert_in_range((after - before) / N, 200, 1024);
    plan_state_free(ps);
    world_free(w);
}

/* ---- Rollouts ---- */

static void rolls_one_at_a_time(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, two;
    (void)world_with_room(w, 2, &one);
    two = deploy_of(w, w->project, 3, 900);
    story_clear(w);
    a_turn(w);
    story_has(
        w, "DeploymentStatusChange hello/2: starting (rolls one at a time: there is room for 1 of 3 beside the 3 that "
           "serve: needs room for 3 x (1 vcpus, 900 MiB)");
    size_t most = 0;
    for (int i = 0; i < 40; i++) {
        a_turn(w);
        size_t now = serving(w, w->project);
        most = now > most ? now : most;
        if (now < 3)
            fail_msg("turn %d: %zu serve:\n%s", i, now, w->story.ptr);
    }
    assert_int_equal(most, 4); /* one more than wanted: both versions served */
    assert_true(id_eq(model_project(w->model, w->project)->live->id, two));
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_STOPPED);
    assert_int_equal(model_deployment(w->model, two)->instances.n, 3);
    story_has(w, "it makes room for deployment ");
    assert_replays(w);
    world_free(w);
}

/* The old one does not go before the edges know the new one. */
static void rolls_when_edges_know(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one;
    (void)world_with_room(w, 2, &one);
    (void)deploy_of(w, w->project, 3, 900);
    for (int i = 0; i < 3; i++)
        a_turn(w);
    w->edges[0].confirmed_seq = 1;
    size_t old_n = model_deployment(w->model, one)->instances.n;
    for (int i = 0; i < 20; i++) {
        for (size_t k = 0; k < w->model->instances.n; k++) {
            const struct instance *at = w->model->instances.items[k];
            if (at->status == INSTANCE_PENDING)
                observe(w, at, "running", "NOMINAL", "");
        }
        wait_s(w, 1);
    }
    assert_true(process_present_n(model_deployment(w->model, one)) + 1 >= old_n);
    for (int i = 0; i < 40; i++)
        a_turn(w);
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_STOPPED);
    world_free(w);
}

/* The room that an old one leaves is gone before a new one has it: nobody else goes. */
static void a_roll_that_loses_its_room_stands_still(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, two;
    const struct instance *leaves = NULL;
    (void)world_with_room(w, 2, &one);
    two = deploy_of(w, w->project, 3, 900);
    for (int i = 0; i < 40 && leaves == NULL; i++) {
        a_turn(w);
        MODEL_EACH (instance, at, &model_deployment(w->model, one)->instances)
            leaves = at->wanted == DESIRED_DELETED ? at : leaves;
    }
    assert_non_null(leaves);
    const struct node *n = leaves->node;
    capacity_is(w, n, 1000);
    for (int i = 0; i < 70; i++) { /* a cause is said anew after 60 s */
        a_turn(w);
        assert_true(serving(w, w->project) >= 3);
    }
    assert_int_equal(process_present_n(model_deployment(w->model, one)), 2);
    assert_non_null(strstr(model_deployment(w->model, two)->cause, "no other may go"));
    capacity_is(w, n, 2048);
    for (int i = 0; i < 100; i++) {
        a_turn(w);
        assert_true(serving(w, w->project) >= 3);
    }
    assert_true(id_eq(model_project(w->model, w->project)->live->id, two));
    world_free(w);
}

static void rolls_back_one_at_a_time(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, two;
    (void)world_with_room(w, 2, &one);
    two = deploy_of(w, w->project, 3, 900);
    for (int i = 0; i < 40 && model_deployment(w->model, two)->instances.n < 2; i++)
        a_turn(w);
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 2);
    const struct instance *bad = NULL;
    MODEL_EACH (instance, i, &model_deployment(w->model, two)->instances)
        bad = i->status == INSTANCE_PENDING ? i : bad;
    assert_non_null(bad);
    observe(w, bad, "failed", "EXIT", "exit status 1");
    plan(w);
    assert_int_equal(model_deployment(w->model, two)->status, DEPLOYMENT_FAILED);
    for (int i = 0; i < 40; i++) {
        if (serving(w, w->project) < 3)
            fail_msg("turn %d: %zu serve:\n%s", i, serving(w, w->project), w->story.ptr);
        a_turn(w);
    }
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 3);
    assert_int_equal(model_deployment(w->model, two)->instances.n, 0);
    world_free(w);
}

static void refused_before_building(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, two;
    (void)world_with_room(w, 3, &one);
    story_clear(w);
    two = deploy_of(w, w->project, 3, 900);
    story_has(
        w, "DeploymentStatusChange hello/2: failed (refused before building: not one instance more fits beside the 3 "
           "that serve: needs room for 1 x (1 vcpus, 900 MiB) on ready nodes labelled 'worker'; free on 3: 'w1' 30 "
           "vcpus, 247 MiB;");
    assert_null(model_image(w->model, model_deployment(w->model, two)->image_id)); /* nothing was built */
    assert_int_equal(serving(w, w->project), 3);
    /* The same at the edge: a MiB less than what is free begins. */
    struct id three = deploy_of(w, w->project, 3, 247);
    assert_int_equal(model_deployment(w->model, three)->status, DEPLOYMENT_BUILDING);
    world_free(w);
}

/* What is on its way out will leave room: wait for that. */
static void not_refused_while_others_leave(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one;
    struct id other = world_with_room(w, 3, &one);
    DO(w, decide_stop_deployment(&d, model_project(w->model, other)->live->id, &out, &err));
    struct id two = deploy_of(w, w->project, 3, 900);
    assert_int_not_equal(model_deployment(w->model, two)->status, DEPLOYMENT_FAILED);
    for (int i = 0; i < 40; i++) {
        a_turn(w);
        assert_true(serving(w, w->project) >= 3);
    }
    assert_true(id_eq(model_project(w->model, w->project)->live->id, two));
    world_free(w);
}

static void a_node_drains(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one;
    (void)world_with_room(w, 0, &one);
    const struct node *gone = model_node(w->model, w->nodes[1]);
    story_clear(w);
    DO(w, decide_drain_node(&d, gone->id, STR("new kernel"), &out, &err));
    plan(w);
    story_has(w, "CreateInstance hello/1 on w");
    for (int i = 0; i < 20; i++) {
        assert_true(serving(w, w->project) >= 3);
        a_turn(w);
    }
    story_has(w, "on w1: draining, to be deleted once edges have withdrawn it (node 'w1' drains)");
    assert_int_equal(gone->instances.n, 0);
    assert_int_equal(serving(w, w->project), 3);
    world_free(w);
}

/* A deployment that rolled in was cancelled and has nothing left, and the live one lacks room: nobody asks edges, kept
 * or from scratch (seed 5031 of the simulator). */
static void who_is_gone_waits_for_no_edge(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct plan_state *ps = plan_state_new(),
                      *sleeper = plan_state_new(); /* who looked while it rolled, and next when it is gone */
    struct id one, two;
    struct plan p;
    int waited = 0;
    (void)world_with_room(w, 2, &one);
    two = deploy_of(w, w->project, 3, 900);
    for (int i = 0; i < 40 && !deployment_is_beside(model_deployment(w->model, two)); i++)
        a_turn(w);
    w->edges[0].confirmed_seq = 1; /* it polls, and takes nothing any more */
    plan_kept(w, sleeper, 0, 0, &p);
    DO(w, decide_cancel_deployment(&d, two, &out, &err));
    MODEL_EACH (node, n, &w->model->nodes)
        capacity_is(w, n, 0);
    observe(w, model_deployment(w->model, one)->instances.items[0], "failed", "EXIT", "its disk is gone");
    for (int i = 0; i < 60 && waited == 0; i++) {
        const struct process *over = model_deployment(w->model, two), *live = model_deployment(w->model, one);
        plan_kept(w, ps, 0, i, &p);
        append(w, &p.events);
        bool lacks_room = str_starts(str_from(live->cause), STR("an instance cannot be replaced: "));
        waited += over->instances.n == 0 && lacks_room;
        MODEL_EACH (instance, gone, &over->instances)
            if (lacks_room && gone->status == INSTANCE_RUNNING)
                observe(w, gone, "failed", "EXIT", "exit status 1");
        w->now_ms += 1000;
        w->edges[0].seen_ms = w->now_ms;
    }
    assert_true(waited > 0);
    w->edges[0].seen_ms = w->now_ms - 14000; /* whoever waits for it looks again in a second */
    plan_kept(w, sleeper, 0, 60, &p);
    plan_state_free(sleeper);
    plan_state_free(ps);
    world_free(w);
}

/* ---- What a plan costs ---- */

/* Of so many projects with three instances each, one instance fails: how many rules are asked. */
static size_t asked_after_a_loss(unsigned projects_n)
{
    struct world *w = world_new();
    struct plan_state *ps = plan_state_new();
    struct plan p;
    w->settings.vcpus_overcommit_percent = 1000000;
    MODEL_EACH (node, n, &w->model->nodes)
        capacity_is(w, n, 1000000);
    for (unsigned k = 0; k < projects_n; k++) {
        struct id project;
        DO(w, decide_create_project(&d, str_from(arena_printf(&w->arena, "p%u", k)), &out, &project, &err));
        (void)deploy_of(w, project, 3, 100);
    }
    for (int i = 0; i < 60; i++) /* builders stay for 30 s */
        a_turn(w);
    assert_int_equal(w->model->instances.n, 3 * projects_n);
    plan_kept(w, ps, 0, 0, &p);
    assert_int_equal(p.events.n, 0);
    observe(w, w->model->instances.items[0], "failed", "EXIT", "exit status 1");
    wait_s(w, 0);
    plan_kept(w, ps, 0, 1, &p);
    size_t asked_n = p.asked_n;
    plan_state_free(ps);
    world_free(w);
    return asked_n;
}

static void a_plan_asks_what_changed(void **state)
{
    (void)state;
    size_t few = asked_after_a_loss(5), many = asked_after_a_loss(60);
    print_message("of 5 projects %zu rules, of 60 projects %zu\n", few, many);
    assert_in_range(few, 1, 5);
    assert_int_equal(many, few);
}

/* ---- Who waits for room ---- */

static void big_ones_are_not_starved(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id small[64], big = ID_NONE, big_id;
    int first = 0, n = 0;
    w->settings.instances_min = 1;
    wait_s(w, 60);
    DO(w, decide_create_project(&d, STR("Big"), &out, &big, &err));
    for (; n < 9; n++) { /* three of 600 MiB on each of 2047 MiB */
        DO(w, decide_create_project(&d, str_from(arena_printf(&w->arena, "s%d", n)), &out, &small[n], &err));
        (void)deploy_of(w, small[n], 1, 600);
        a_turn(w);
    }
    for (int i = 0; i < 5; i++)
        a_turn(w);
    big_id = deploy_of(w, big, 1, 1500);
    for (int i = 0; i < 3; i++)
        a_turn(w);
    assert_non_null(strstr(model_deployment(w->model, big_id)->cause, "waits for capacity"));
    /* A small one goes, a small one comes: there is never room for a big one unless it is held. */
    while (model_deployment(w->model, big_id)->status != DEPLOYMENT_LIVE && n < 40) {
        DO(w, decide_stop_deployment(&d, model_project(w->model, small[first])->live->id, &out, &err));
        first++;
        DO(w, decide_create_project(&d, str_from(arena_printf(&w->arena, "s%d", n)), &out, &small[n], &err));
        (void)deploy_of(w, small[n++], 1, 600);
        for (int i = 0; i < 10; i++)
            a_turn(w);
        while (model_project(w->model, small[first])->live == NULL)
            first++;
    }
    assert_int_equal(model_deployment(w->model, big_id)->status, DEPLOYMENT_LIVE);
    print_message("after %d small ones\n", first);
    world_free(w);
}

/* One that can never fit holds nothing. */
static void who_cannot_fit_holds_nothing(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, project;
    w->settings.instances_min = 1;
    DO(w, decide_create_project(&d, STR("Huge"), &out, &project, &err));
    (void)deploy_of(w, project, 1, 4000);
    for (int i = 0; i < 3; i++)
        a_turn(w);
    wait_s(w, 100);
    one = deploy_of(w, w->project, 3, 1500);
    for (int i = 0; i < 5; i++)
        a_turn(w);
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_LIVE);
    world_free(w);
}

/* More instances on a node than a batch holds: they are lost in several, the node last. */
static void a_crowded_node_is_lost(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->is_beside_its_log = true;
    struct id one = go_live(w);
    for (unsigned i = 0; i < PLAN_EVENTS_MAX + 50; i++) {
        struct event e = event_of(EVENT_CREATE_INSTANCE);
        e.create_instance = (struct create_instance){.instance_id = id_next(&w->ids),
                                                     .process_id = one,
                                                     .node_id = w->nodes[1],
                                                     .owner = STR("dev-0"),
                                                     .runtime = STR("qemu")};
        e.time = event_time_next(w->model->time, w->now_ms * 1000000);
        assert_int_equal(model_apply(w->model, &e, NULL), OK);
    }
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent"), &out, &err));
    struct plan p = {.events = {.arena = &w->arena}};
    model_plan(w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
    assert_int_equal(p.events.n, PLAN_EVENTS_MAX);
    append(w, &p.events);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_READY);
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_LOST);
    world_free(w);
}

/* ---- Two planners, one log ---- */

struct replica {
    struct model *model;
    struct plan_state *planner;
    struct plan plan;
    uint64_t base_seq; /* position that the plan was decided on */
};

static void replica_folds(struct world *w, struct replica *r, uint64_t to)
{
    while (r->model->seq < to)
        assert_int_equal(model_apply(r->model, &w->log[r->model->seq], NULL), OK);
}

/* One more while it takes the place of another. */
static int64_t moving_n(const struct process *d)
{
    MODEL_EACH (instance, i, &d->instances)
        if (strstr(i->because, "\"insteadOf\":") != NULL)
            return 1;
    return 0;
}

static void check_placed_once(const struct model *m, uint64_t seed)
{
    MODEL_EACH (process, d, &m->processes)
        if (d->project != NULL && (int64_t)process_present_n(d) > d->instances_wanted + moving_n(d))
            fail_msg("seed %llu: a deployment of %lld has %u instances", (unsigned long long)seed,
                     (long long)d->instances_wanted, process_present_n(d));
    MODEL_EACH (node, n, &m->nodes)
        if (node_used(n).memory_bytes > n->capacity.memory_bytes)
            fail_msg("seed %llu: more is placed on '%s' than it has", (unsigned long long)seed, n->name);
}

static size_t two_planners(uint64_t seed)
{
    struct world *w = world_new();
    w->is_beside_its_log = true; /* texts of its log are of models that are gone */
    struct chance c = {seed * UINT64_C(0x9e3779b97f4a7c15) + 7};
    struct replica r[2] = {{model_new(), plan_state_new(), {.deadline_ms = 0}, 0},
                           {model_new(), plan_state_new(), {.deadline_ms = 0}, 0}};
    size_t conflicts = 0;
    w->settings.instances_min = 1;
    for (int step = 0; step < 400 && w->log_n < LOG_MAX - 800; step++) {
        struct replica *at = &r[roll(&c, 2)];
        uint64_t what = roll(&c, 10);
        if (what < 2) { /* the world appends, too: no drains, nothing by hand */
            if (roll(&c, 3) == 0)
                deploy_something(w, &c);
            else if (roll(&c, 3) == 0)
                image_reports(w, &c);
            else
                instance_reports(w, &c);
        } else if (at->plan.events.n > 0) { /* conditional: only if the log still ends where it was decided */
            if (at->base_seq == w->model->seq)
                append(w, &at->plan.events);
            else
                conflicts++;
            at->plan.events.n = 0;
        } else {
            w->now_ms += (int64_t)roll(&c, 3000);
            w->ids.wall_ms = w->now_ms;
            replica_folds(w, at, roll(&c, 5) == 0 ? at->model->seq : w->model->seq);
            at->plan = (struct plan){.events = {.arena = &w->arena}};
            plan_next(at->planner, at->model, &w->settings, w->now_ms, &w->seen, &w->ids, &at->plan);
            at->base_seq = at->model->seq;
        }
        check_placed_once(w->model, seed);
    }
    for (int i = 0; i < 2; i++) {
        plan_state_free(r[i].planner);
        model_free(r[i].model);
    }
    world_free(w);
    return conflicts;
}

static void two_planners_place_once(void **state)
{
    (void)state;
    size_t conflicts = 0;
    for (uint64_t seed = 1; seed <= 50; seed++)
        conflicts += two_planners(seed);
    print_message("50 seeds, %zu conflicts\n", conflicts);
    assert_true(conflicts > 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(incremental_is_from_scratch),
        cmocka_unit_test(a_reader_that_fell_behind),
        cmocka_unit_test(an_instance_is_small_with_its_planner),
        cmocka_unit_test(rolls_one_at_a_time),
        cmocka_unit_test(rolls_when_edges_know),
        cmocka_unit_test(a_roll_that_loses_its_room_stands_still),
        cmocka_unit_test(rolls_back_one_at_a_time),
        cmocka_unit_test(refused_before_building),
        cmocka_unit_test(not_refused_while_others_leave),
        cmocka_unit_test(a_node_drains),
        cmocka_unit_test(who_is_gone_waits_for_no_edge),
        cmocka_unit_test(a_plan_asks_what_changed),
        cmocka_unit_test(big_ones_are_not_starved),
        cmocka_unit_test(who_cannot_fit_holds_nothing),
        cmocka_unit_test(a_crowded_node_is_lost),
        cmocka_unit_test(two_planners_place_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
