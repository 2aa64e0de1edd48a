/* The platform room: what follows from which event, told as stories in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/own.h"
#include "event/hash.h"
#include "platform/decide.h"
#include "platform/describe.h"
#include "platform/plan.h"

/* ---- A world with one replica: append is apply. ---- */

#define SECOND INT64_C(1000)
#define START_MS INT64_C(1800000000000)
enum { EDGES_MAX = 2, LOG_MAX = 4096 };

struct world {
    struct arena arena;
    struct model *model;
    struct platform_settings settings;
    struct id_source ids;
    struct edge_observed edges[EDGES_MAX];
    struct observations seen;
    int64_t now_ms, report_seq, deadline_ms;
    struct event log[LOG_MAX];
    size_t log_n;
    struct buf story; /* a line for each event since story_clear */
    struct id nodes[4];
    struct id project;
};

static void append(struct world *w, const struct event_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct event *e = &w->log[w->log_n];
        assert_true(w->log_n < LOG_MAX);
        *e = l->items[i];
        e->time = event_time_next(w->model->time, w->now_ms * 1000000);
        if (e->kind == EVENT_DELETE_INSTANCE) {
            event_describe(w->model, e, &w->story);
            buf_add_char(&w->story, '\n');
        }
        struct errinfo err;
        if (model_apply(w->model, e, &err) != OK)
            fail_msg("event %zu: %s", w->log_n, err.msg);
        if (e->kind != EVENT_DELETE_INSTANCE) {
            event_describe(w->model, e, &w->story);
            buf_add_char(&w->story, '\n');
        }
        w->log_n++;
    }
}

static struct decide decider(struct world *w)
{
    w->ids.wall_ms = w->now_ms;
    return (struct decide){w->model, &w->settings, w->now_ms, &w->ids};
}

/* Plan until there is nothing left to do now. */
static void plan(struct world *w)
{
    for (int i = 0; i < 50; i++) {
        struct plan p = {.events = {.arena = &w->arena}};
        w->ids.wall_ms = w->now_ms;
        model_plan(w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
        w->deadline_ms = p.deadline_ms;
        if (p.events.n == 0)
            return;
        append(w, &p.events);
    }
    fail_msg("the plan never ends:\n%s", w->story.ptr);
}

static void wait_s(struct world *w, int64_t seconds)
{
    w->now_ms += seconds * SECOND;
    for (size_t i = 0; i < w->seen.edges_n; i++)
        w->edges[i].seen_ms = w->now_ms;
    plan(w);
}

static void story_clear(struct world *w)
{
    buf_clear(&w->story);
}

static void story_is(struct world *w, const char *expected)
{
    assert_string_equal(w->story.ptr == NULL ? "" : w->story.ptr, expected);
    story_clear(w);
}

static void story_has(struct world *w, const char *part)
{
    if (w->story.ptr == NULL || strstr(w->story.ptr, part) == NULL)
        fail_msg("no '%s' in:\n%s", part, w->story.ptr);
}

#define DO(w, call)                                                                                                    \
    do {                                                                                                               \
        struct event_list out = {.arena = &(w)->arena};                                                                \
        struct decide d = decider(w);                                                                                  \
        struct errinfo err = {0};                                                                                      \
        if ((call) != OK)                                                                                              \
            fail_msg("%s: %s", #call, err.msg);                                                                        \
        append(w, &out);                                                                                               \
    } while (0)

/* The call is refused with this code and this in its text, and says nothing to the log. */
#define REFUSED(w, call, code_, part)                                                                                  \
    do {                                                                                                               \
        struct event_list out = {.arena = &(w)->arena};                                                                \
        struct decide d = decider(w);                                                                                  \
        struct errinfo err = {0};                                                                                      \
        assert_int_equal(call, code_);                                                                                 \
        if (strstr(err.msg, part) == NULL)                                                                             \
            fail_msg("'%s' is not in '%s'", part, err.msg);                                                            \
        assert_int_equal(out.n, 0);                                                                                    \
    } while (0)

static const char *const NODE_NAMES[] = {"op", "w1", "w2", "w3"};

static void node_reports(struct world *w, int n, const char *boot)
{
    struct str runtimes[] = {STR("qemu"), STR("null")};
    struct node_reported r = {.node_id = w->nodes[n],
                              .replica = STR("a"),
                              .boot_id = str_from(boot),
                              .status = STR("ready"),
                              .report_seq = ++w->report_seq,
                              .capacity = {4, INT64_C(2) << 30, 0},
                              .runtimes = {runtimes, 2}};
    DO(w, decide_node_reported(&d, &r, &out, &err));
}

static void world_init(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->model = model_new();
    w->now_ms = START_MS;
    platform_settings_init(&w->settings);
    w->settings.needs_certificate = w->settings.settle_seconds = 0;
    w->seen = (struct observations){.edges = w->edges, .live_since_ms = START_MS, .replicas_n = 1};
    struct id region, zone;
    DO(w, decide_create_region(&d, STR("local"), &out, &region, &err));
    DO(w, decide_create_zone(&d, STR("local"), STR("z0"), &out, &zone, &err));
    DO(w, decide_create_zone(&d, STR("local"), STR("z1"), &out, &zone, &err));
    for (int i = 0; i < 4; i++) {
        w->nodes[i] = id_next(&w->ids);
        struct str label = i == 0 ? STR("control") : STR("worker");
        struct node_joining j = {.node_id = w->nodes[i],
                                 .name = str_from(NODE_NAMES[i]),
                                 .region = STR("local"),
                                 .zone = i < 2 ? STR("z0") : STR("z1"),
                                 .labels = {&label, 1},
                                 .prefix = i == 0 ? STR("") : str_from(arena_printf(&w->arena, "fd00:0:0:%d::/64", i))};
        DO(w, decide_join_node(&d, &j, &out, &err));
        node_reports(w, i, "boot-1");
    }
    DO(w, decide_create_project(&d, STR("Hello"), &out, &w->project, &err));
    plan(w);
    story_clear(w);
}

static void world_done(struct world *w)
{
    model_free(w->model);
    buf_done(&w->story);
    arena_done(&w->arena);
}

static struct world *world_new(void)
{
    struct world *w = mem_alloc(sizeof(*w));
    world_init(w);
    return w;
}

static void world_free(struct world *w)
{
    world_done(w);
    free(w);
}

#define DIGEST STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

static struct id deploy(struct world *w)
{
    struct deployment_create c = {.project_id = w->project, .context_digest = DIGEST, .drain_seconds = -1};
    struct id id = ID_NONE;
    DO(w, decide_create_deployment(&d, &c, &out, &id, &err));
    plan(w);
    return id;
}

static void observe(struct world *w, const struct instance *i, const char *status, const char *health,
                    const char *cause)
{
    struct instance_observed o = {.instance_id = i->id,
                                  .reporter_node_id = i->node->id,
                                  .observed = str_from(status),
                                  .health = str_from(health),
                                  .cause = str_from(cause),
                                  .boot_id = str_from(i->node->boot_id),
                                  .report_seq = ++w->report_seq,
                                  .restarts = i->restarts};
    DO(w, decide_instance_observed(&d, &o, &out, &err));
}

static void build(struct world *w, struct id deployment)
{
    const struct process *p = model_deployment(w->model, deployment);
    struct image_observed o = {.image_id = p->image_id,
                               .builder_instance_id = model_image(w->model, p->image_id)->builder_instance_id,
                               .status = STR("ready"),
                               .digest = DIGEST,
                               .size_bytes = 4096};
    DO(w, decide_image_observed(&d, &o, &out, &err));
    plan(w);
}

/* Every instance of it says so. */
static void all_observe(struct world *w, struct id deployment, const char *status, const char *health)
{
    const struct process *p = model_deployment(w->model, deployment);
    for (size_t k = 0; k < p->instances.n; k++)
        observe(w, p->instances.items[k], status, health, "");
    plan(w);
}

static struct id go_live(struct world *w)
{
    struct id id = deploy(w);
    build(w, id);
    all_observe(w, id, "starting", "");
    all_observe(w, id, "running", "NOMINAL");
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_LIVE);
    return id;
}

/* Its first instance on that node. */
static struct instance *on(struct world *w, struct id deployment, const char *node)
{
    MODEL_EACH(instance, i, &model_deployment(w->model, deployment)->instances)
    if (strcmp(i->node->name, node) == 0)
        return i;
    fail_msg("nothing runs on %s", node);
    return NULL;
}

/* ---- Stories ---- */

static void a_deployment(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = deploy(w);
    story_is(w, "CreateDeployment hello\n"
                "CreateProcess image-builder\n"
                "CreateInstance image-builder on op\n"
                "CreateImage hello/1\n"
                "DeploymentStatusChange hello/1: building\n");
    build(w, id);
    story_is(w, "ImageStatusChange hello/1: ready\n"
                "CreateProcess hello\n"
                "CreateInstance hello/1 on w1 at fd00:0:0:1::10\n"
                "CreateInstance hello/1 on w2 at fd00:0:0:2::10\n"
                "CreateInstance hello/1 on w3 at fd00:0:0:3::10\n"
                "DeploymentStatusChange hello/1: starting\n");
    observe(w, on(w, id, "w1"), "running", "NOMINAL", "");
    observe(w, on(w, id, "w2"), "running", "NOMINAL", "");
    plan(w);
    assert_null(model_project(w->model, w->project)->live); /* two of three are not enough */
    observe(w, on(w, id, "w3"), "starting", "", "");
    story_clear(w);
    observe(w, on(w, id, "w3"), "running", "NOMINAL", "");
    plan(w);
    story_is(w, "InstanceStatusChange hello/1 on w3: running NOMINAL\n"
                "RouteDeployment hello/1 hello.localhost\n"
                "DeploymentStatusChange hello/1: live\n");
    assert_int_equal(project_endpoints(model_project(w->model, w->project), NULL, 0), 3);
    wait_s(w, 31); /* the builder goes */
    story_is(w, "InstanceStatusChange image-builder on op: draining, to be deleted (its build is over)\n");
    wait_s(w, 61);
    story_is(w, "DeleteInstance image-builder on op\n");
    assert_int_equal(w->deadline_ms, PLAN_NEVER);
    world_free(w);
}

static void a_redeployment(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    wait_s(w, 100);
    w->edges[0] = (struct edge_observed){STR("edge-1"), w->model->seq, w->now_ms};
    w->seen.edges_n = 1;
    struct id two = deploy(w);
    build(w, two);
    story_clear(w);
    all_observe(w, two, "running", "NOMINAL");
    story_has(w, "RouteDeployment hello/2 hello.localhost\n"
                 "DeploymentStatusChange hello/2: live\n"
                 "DeploymentStatusChange hello/1: draining (deployment ");
    const struct process *old = model_deployment(w->model, one);
    story_clear(w);
    wait_s(w, 30); /* the edge has not switched: nothing drains */
    assert_false(old->edges_confirmed);
    assert_int_equal(old->instances.n, 3);
    w->edges[0].confirmed_seq = model_deployment(w->model, two)->route_seq;
    plan(w);
    assert_true(old->edges_confirmed);
    story_clear(w);
    wait_s(w, 299);
    assert_int_equal(w->deadline_ms, w->now_ms + SECOND);
    assert_int_equal(process_healthy_n(old), 3);
    assert_int_equal(instance_desired(on(w, one, "w1")), DESIRED_DRAINING);
    story_clear(w);
    wait_s(w, 1);
    story_has(w, "InstanceStatusChange hello/1 on w1: draining, to be deleted (its deployment has drained)\n");
    story_clear(w);
    all_observe(w, one, "stopped", "");
    story_has(w, "DeleteInstance hello/1 on w1\n");
    story_has(w, "DeploymentStatusChange hello/1: stopped\n");
    assert_int_equal(process_healthy_n(model_deployment(w->model, two)), 3);
    /* An address is not used again. */
    assert_string_equal(on(w, two, "w2")->node->name, "w2");
    assert_string_equal(on(w, two, "w2")->address, "fd00:0:0:2::11");
    world_free(w);
}

static void an_edge_that_is_gone(void **state)
{
    (void)state;
    struct world *w = world_new();
    (void)go_live(w);
    wait_s(w, 100);
    w->edges[0] = (struct edge_observed){STR("edge-1"), 0, w->now_ms};
    w->seen.edges_n = 1;
    struct id two = deploy(w);
    build(w, two);
    all_observe(w, two, "running", "NOMINAL");
    const struct process *old = model_deployment(w->model, two)->project->deployments.items[0];
    w->now_ms += 15 * SECOND;
    plan(w);
    assert_false(old->edges_confirmed); /* 15 s ago is still live */
    assert_int_equal(w->deadline_ms, w->now_ms + 1);
    w->now_ms += 1;
    plan(w);
    assert_true(old->edges_confirmed);
    world_free(w);
}

static void a_replica_that_has_just_begun(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct id two = deploy(w);
    build(w, two);
    w->seen.live_since_ms = w->now_ms;
    all_observe(w, two, "running", "NOMINAL");
    assert_false(model_deployment(w->model, one)->edges_confirmed); /* an edge may be there that it has not heard */
    assert_int_equal(w->deadline_ms, w->now_ms + 15 * SECOND);
    wait_s(w, 15);
    assert_true(model_deployment(w->model, one)->edges_confirmed);
    world_free(w);
}

static void a_build_that_fails(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct id two = deploy(w);
    const struct image *image = model_image(w->model, model_deployment(w->model, two)->image_id);
    const struct instance *builder = model_instance(w->model, image->builder_instance_id);
    observe(w, builder, "starting", "", "");
    story_clear(w);
    observe(w, builder, "failed", "EXIT", "exit status 1");
    plan(w);
    story_is(w,
             "InstanceStatusChange image-builder on op: failed EXIT (exit status 1)\n"
             "ImageStatusChange hello/2: failed (its builder ended without an image: exit status 1; read the build's "
             "log)\n"
             "DeploymentStatusChange hello/2: failed (the build failed: its builder ended without an image: exit "
             "status 1; read the build's log)\n");
    assert_ptr_equal(model_project(w->model, w->project)->live, model_deployment(w->model, one));
    world_free(w);
}

static void a_program_that_never_listens(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct id two = deploy(w);
    build(w, two);
    all_observe(w, two, "running", "TIMEOUT");
    story_clear(w);
    wait_s(w, 119);
    assert_int_equal(w->deadline_ms, w->now_ms + SECOND);
    wait_s(w, 1);
    story_has(w, "DeploymentStatusChange hello/2: failed (0 of 3 instances were healthy after 120 s: does the program "
                 "listen on port 8080 (it is told by PORT)? instance ");
    story_has(w, "InstanceStatusChange hello/2 on w1: draining, to be deleted (its deployment is failed)\n");
    assert_ptr_equal(model_project(w->model, w->project)->live, model_deployment(w->model, one));
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 3);
    world_free(w);
}

static void an_instance_that_crash_loops(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct id two = deploy(w);
    build(w, two);
    story_clear(w);
    observe(w, on(w, two, "w1"), "failed", "EXIT", "exit status 3, 5 times");
    plan(w);
    story_has(w, "DeploymentStatusChange hello/2: failed (instance ");
    story_has(w, "on node 'w1' is failed and EXIT: exit status 3, 5 times)\n");
    assert_ptr_equal(model_project(w->model, w->project)->live, model_deployment(w->model, one));
    story_clear(w);

    /* In a live deployment it is replaced, each time later. */
    observe(w, on(w, one, "w2"), "failed", "EXIT", "exit status 4");
    plan(w);
    assert_int_equal(w->deadline_ms, w->now_ms + 10 * SECOND);
    assert_int_equal(model_deployment(w->model, one)->instances.n, 3);
    story_clear(w);
    wait_s(w, 10);
    story_has(w, "DeleteInstance hello/1 on w2\n");
    observe(w, on(w, one, "w1"), "failed", "EXIT", "exit status 4");
    plan(w);
    wait_s(w, 19);
    story_clear(w);
    wait_s(w, 1);
    story_has(w, "CreateInstance hello/1 on ");
    world_free(w);
}

static void a_node_that_is_lost(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent for 10 s"), &out, &err));
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent for 10 s"), &out, &err)); /* said twice */
    story_clear(w);
    w->seen.replicas_n = 2;
    plan(w);
    story_is(w, ""); /* one of two is no majority */
    w->seen.replicas_n = 1;
    plan(w);
    story_is(w, "NodeStatusChange w1: lost (1 of 1 replicas hear nothing of it)\n"
                "InstanceStatusChange hello/1 on w1: lost (node 'w1' is lost)\n"
                "CreateInstance hello/1 on w2 at fd00:0:0:2::11\n"
                "DeleteInstance hello/1 on w1\n");
    node_reports(w, 1, "boot-1");
    plan(w);
    story_is(w, "TrustNode w1 by a\n"
                "NodeStatusChange w1: ready\n");
    assert_int_equal(model_deployment(w->model, one)->instances.n, 3);
    world_free(w);
}

static void a_node_that_boots_anew(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    story_clear(w);
    node_reports(w, 1, "boot-2");
    plan(w);
    story_is(w, "NodeStatusChange w1: ready\n"
                "InstanceStatusChange hello/1 on w1: starting (node 'w1' booted anew)\n");
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 2);
    /* Reports of the boot before come too late. */
    const struct instance *i = on(w, one, "w1");
    assert_string_equal(i->node->name, "w1");
    struct instance_observed late = {.instance_id = i->id,
                                     .reporter_node_id = i->node->id,
                                     .observed = STR("running"),
                                     .health = STR("NOMINAL"),
                                     .boot_id = STR("boot-1"),
                                     .report_seq = 1000};
    DO(w, decide_instance_observed(&d, &late, &out, &err));
    story_is(w, "");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deployment),
        cmocka_unit_test(a_redeployment),
        cmocka_unit_test(an_edge_that_is_gone),
        cmocka_unit_test(a_replica_that_has_just_begun),
        cmocka_unit_test(a_build_that_fails),
        cmocka_unit_test(a_program_that_never_listens),
        cmocka_unit_test(an_instance_that_crash_loops),
        cmocka_unit_test(a_node_that_is_lost),
        cmocka_unit_test(a_node_that_boots_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
