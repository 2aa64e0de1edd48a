/* The platform room: what follows from which event, told as stories in virtual time. */
#include "platform_world.h"

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

static void an_edge_that_comes_back(void **state)
{
    (void)state;
    struct world *w = world_new();
    (void)go_live(w);
    wait_s(w, 100);
    w->edges[0] = (struct edge_observed){STR("edge-1"), 0, w->now_ms - 16 * SECOND};
    w->seen.edges_n = 1;
    struct id two = deploy(w);
    build(w, two);
    all_observe(w, two, "running", "NOMINAL");
    const struct process *old = model_deployment(w->model, two)->project->deployments.items[0];
    assert_true(old->edges_confirmed); /* it was silent */
    w->now_ms += 299 * SECOND;
    w->edges[0].seen_ms = w->now_ms; /* and polls again, with the routes of before */
    wait_s(w, 1);
    assert_int_equal(process_healthy_n(old), 3);
    w->edges[0] = (struct edge_observed){STR("edge-1"), w->model->seq, w->now_ms};
    plan(w);
    assert_int_equal(process_healthy_n(old), 0);
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
    struct image_observed o = {.image_id = image->id,
                               .builder_instance_id = image->builder_instance_id,
                               .status = STR("failed"),
                               .cause = STR("RUN false: exit status 1")};
    story_clear(w);
    DO(w, decide_image_observed(&d, &o, &out, &err));
    plan(w);
    story_is(w, "ImageStatusChange hello/2: failed (RUN false: exit status 1)\n"
                "DeploymentStatusChange hello/2: failed (the build failed: RUN false: exit status 1)\n");
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

/* Stopped and started again by a person; that it had stopped was never heard. */
static void an_instance_whose_end_nobody_heard_of(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct instance *i = on(w, one, "w1");
    DO(w, decide_instance_desired(&d, i->id, STR("stopped"), &out, &err));
    observe(w, i, "stopped", "", "");
    DO(w, decide_instance_desired(&d, i->id, STR("running"), &out, &err));
    observe(w, i, "draining", "", ""); /* its node was away and has not heard of that yet */
    assert_int_equal(i->status, INSTANCE_DRAINING);
    story_clear(w);
    observe(w, i, "running", "NOMINAL", "");
    assert_true(instance_is_healthy(i));
    world_free(w);
}

/* A short boot was heard of after the one that followed it: the newer one is not taken for over. */
static void a_late_report_of_a_boot_never_heard_of(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    int64_t short_seq = ++w->report_seq;
    node_reports(w, 1, "boot-3/home");
    plan(w);
    story_clear(w);
    const struct instance *i = on(w, one, "w1");
    struct instance_observed late = {.instance_id = i->id,
                                     .reporter_node_id = i->node->id,
                                     .observed = STR("running"),
                                     .health = STR("NOMINAL"),
                                     .boot_id = STR("boot-2/home"),
                                     .report_seq = short_seq};
    DO(w, decide_instance_observed(&d, &late, &out, &err));
    story_is(w, "");
    int64_t now_seq = w->report_seq;
    w->report_seq = short_seq - 1;
    struct event_list out = {.arena = &w->arena};
    struct errinfo err;
    struct decide d = {w->model, &w->settings, w->now_ms, &w->ids};
    struct node_reported r = {.node_id = i->node->id,
                              .replica = STR("a"),
                              .boot_id = STR("boot-2/home"),
                              .status = STR("ready"),
                              .report_seq = short_seq};
    assert_int_equal(decide_node_reported(&d, &r, &out, &err), ERR_CONFLICT);
    w->report_seq = now_seq;
    node_reports(w, 1, "boot-4/home");
    assert_string_equal(i->node->boot_id, "boot-4/home");
    w->report_seq = 0; /* numbers of another home say nothing */
    node_reports(w, 1, "boot-4/other");
    assert_string_equal(i->node->boot_id, "boot-4/other");
    world_free(w);
}

/* ---- Settling, certificates, capacity, votes ---- */

static void a_program_that_answers_once(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->settings.settle_seconds = 2;
    struct id id = deploy(w);
    build(w, id);
    all_observe(w, id, "running", "NOMINAL");
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_STARTING);
    assert_int_equal(w->deadline_ms, w->now_ms + 2 * SECOND);
    w->now_ms += SECOND;
    observe(w, on(w, id, "w1"), "starting", "EXIT", "exit status 1");
    wait_s(w, 5);
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_STARTING);
    observe(w, on(w, id, "w1"), "running", "NOMINAL", "");
    wait_s(w, 2);
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_LIVE);
    world_free(w);
}

static void a_host_without_a_certificate(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->settings.needs_certificate = 1;
    struct id id = deploy(w), certificate = ID_NONE;
    struct str host = {0};
    build(w, id);
    all_observe(w, id, "running", "NOMINAL");
    assert_string_equal(model_deployment(w->model, id)->cause, "waits for a certificate for 'hello.localhost'");
    assert_true(model_host_without_certificate(w->model, STR("localhost"), &w->arena, &host));
    assert_true(str_eq(host, STR("hello.localhost")));
    DO(w, decide_issue_certificate(&d, host, STR("2036-01-01T00:00:00Z"), &out, &certificate, &err));
    REFUSED(w, decide_issue_certificate(&d, host, STR("2036-01-01T00:00:00Z"), &out, &certificate, &err), ERR_CONFLICT,
            "just now");
    plan(w);
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_LIVE);
    assert_false(model_host_without_certificate(w->model, STR("localhost"), &w->arena, &host));
    /* A renewal takes the place of the one before, and edges hear of it. */
    uint64_t before = w->model->seq;
    w->now_ms += 3600 * SECOND;
    DO(w, decide_issue_certificate(&d, host, STR("2037-01-01T00:00:00Z"), &out, &certificate, &err));
    assert_int_equal(w->model->certificates.n, 1);
    assert_true(model_project(w->model, w->project)->route_seq > before);
    world_free(w);
}

static void no_room(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct deployment_create c = {.project_id = w->project,
                                  .context_digest = DIGEST,
                                  .drain_seconds = -1,
                                  .resources = {.vcpus = 1, .memory_bytes = INT64_C(3) << 30}};
    struct id id = ID_NONE;
    DO(w, decide_create_deployment(&d, &c, &out, &id, &err));
    plan(w);
    build(w, id);
    assert_string_equal(model_deployment(w->model, id)->cause,
                        "waits for capacity: needs room for 3 x (1 vcpus, 3072 MiB) on ready nodes labelled 'worker'; "
                        "free on 3: 'w1' 32 vcpus, 2047 MiB; 'w2' 32 vcpus, 2047 MiB; 'w3' 32 vcpus, 2047 MiB; add a "
                        "node, ask for less, or stop something");
    size_t n = w->log_n;
    wait_s(w, 3600);
    wait_s(w, 3600);
    wait_s(w, 3600);
    assert_int_equal(w->log_n, n + 2); /* only the builder's end: a waiting deployment does not fill the log */
    world_free(w);
}

static void a_newer_deployment(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w), two = deploy(w);
    const struct process *first = model_deployment(w->model, one);
    assert_int_equal(first->status, DEPLOYMENT_CANCELLED);
    assert_non_null(strstr(first->cause, "is newer"));
    assert_int_equal(model_deployment(w->model, two)->status, DEPLOYMENT_BUILDING);
    world_free(w);
}

/* Only those who are there have a say: a vote that a dead replica left behind makes no majority. */
static void the_vote_of_the_dead_does_not_count(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct str there[] = {STR("b"), STR("c")};
    w->seen.replicas_n = PLAN_REPLICAS_UNKNOWN; /* nobody can tell */
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent for 10 s"), &out, &err));
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_READY);
    w->seen.replicas = (struct strs){there, 1};
    w->seen.replicas_n = 1;
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_READY);
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("b"), STR("silent for 10 s"), &out, &err));
    w->seen.replicas = (struct strs){there, 2};
    w->seen.replicas_n = 2;
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_READY);
    w->seen.replicas = (struct strs){there, 1};
    w->seen.replicas_n = 1;
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_LOST);
    world_free(w);
}

static void a_replica_more_is_no_cure(void **state)
{
    (void)state;
    struct world *w = world_new();
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent for 10 s"), &out, &err));
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_LOST);
    w->seen.replicas_n = 3; /* one vote of three: no majority, but nobody has heard it either */
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_LOST);
    node_reports(w, 1, "boot-1");
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_READY);
    world_free(w);
}

static void a_person_stops_and_deletes(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct id id = on(w, one, "w1")->id;
    DO(w, decide_instance_desired(&d, id, STR("stopped"), &out, &err));
    observe(w, model_instance(w->model, id), "stopped", "", "");
    plan(w);
    assert_int_equal(model_deployment(w->model, one)->instances.n, 3); /* it keeps its place */
    DO(w, decide_instance_desired(&d, id, STR("running"), &out, &err));
    assert_int_equal(model_instance(w->model, id)->status, INSTANCE_PENDING);
    observe(w, model_instance(w->model, id), "running", "NOMINAL", "");
    DO(w, decide_delete_instance(&d, id, &out, &err));
    DO(w, decide_delete_instance(&d, id, &out, &err)); /* said twice */
    REFUSED(w, decide_instance_desired(&d, id, STR("running"), &out, &err), ERR_CONFLICT, "being deleted");
    plan(w);
    assert_int_equal(model_deployment(w->model, one)->instances.n, 4); /* its successor is on the way */
    observe(w, model_instance(w->model, id), "stopped", "", "");
    plan(w);
    assert_null(model_instance(w->model, id));
    DO(w, decide_stop_deployment(&d, one, &out, &err));
    plan(w);
    assert_null(model_project(w->model, w->project)->live);
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_DRAINING);
    DO(w, decide_delete_project(&d, w->project, &out, &err));
    REFUSED(w, decide_delete_project(&d, w->project, &out, &err), ERR_NOT_FOUND, "there is no project");
    assert_null(model_project_by_slug(w->model, STR("hello")));
    world_free(w);
}

static void the_project_goes(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w), two = deploy(w);
    uint64_t before = w->model->seq;
    DO(w, decide_delete_project(&d, w->project, &out, &err));
    struct id gone = ID_NONE;
    assert_int_equal(model_removed(w->model, OBJECT_ROUTE, ID_NONE, before, &gone, 1), 1);
    assert_true(id_eq(gone, w->project));
    wait_s(w, 15);
    assert_int_equal(model_deployment(w->model, two)->status, DEPLOYMENT_CANCELLED);
    all_observe(w, one, "stopped", "");
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_STOPPED); /* without the drain time */
    world_free(w);
}

static void crash_loops_do_not_fill_the_log(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct instance *i = on(w, one, "w1");
    struct id id = i->id;
    size_t n = w->log_n;
    for (int k = 0; k < 40; k++) {
        w->now_ms += SECOND;
        observe(w, i, "starting", "EXIT", "exit status 1");
        observe(w, i, "running", "NOMINAL", "");
    }
    assert_int_equal(i->history_n, 12);
    assert_in_range(w->log_n - n, 8, 12);
    assert_int_equal(i->health, HEALTH_ERROR);
    assert_non_null(strstr(i->cause, "12 status changes within an hour"));
    w->now_ms += 301 * SECOND; /* what has recovered serves again */
    observe(w, i, "running", "NOMINAL", "");
    assert_true(instance_is_healthy(model_instance(w->model, id)));
    observe(w, i, "failed", "EXIT", "given up"); /* an end passes always */
    assert_int_equal(i->status, INSTANCE_FAILED);
    world_free(w);
}

/* Who stops and raises an installation twenty times an hour finds its applications serving each time. */
static void a_node_that_is_stopped_on_purpose_has_no_crash_loop(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct instance *i = on(w, one, "w1");
    for (int k = 0; k < 20; k++) {
        w->now_ms += 60 * SECOND;
        observe(w, i, "starting", "", INSTANCE_CAUSE_NODE_STOPPED);
        assert_int_equal(i->status, INSTANCE_STARTING);
        w->now_ms += 3 * SECOND;
        observe(w, i, "running", "NOMINAL", "");
        assert_true(instance_is_healthy(i));
    }
    world_free(w);
}

/* ---- Refusals ---- */

static void decisions_that_are_refused(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w), id = ID_NONE;
    const struct instance *i = on(w, one, "w1");
    struct instance_observed o = {.instance_id = i->id,
                                  .reporter_node_id = w->nodes[2],
                                  .observed = STR("running"),
                                  .boot_id = STR("boot-1"),
                                  .report_seq = 1};
    REFUSED(w, decide_instance_observed(&d, &o, &out, &err), ERR_DENIED, "only node 'w1' may report");
    o.observed = STR("dancing");
    REFUSED(w, decide_instance_observed(&d, &o, &out, &err), ERR_INVALID, "'dancing'");
    o.observed = STR("running");
    o.instance_id = w->project;
    REFUSED(w, decide_instance_observed(&d, &o, &out, &err), ERR_NOT_FOUND, "there is no instance");
    REFUSED(w, decide_create_project(&d, STR("hello!"), &out, &id, &err), ERR_CONFLICT, "deploy to it, or choose");
    assert_true(id_eq(id, w->project));
    REFUSED(w, decide_create_project(&d, STR("-- --"), &out, &id, &err), ERR_INVALID, "no letter or digit");
    REFUSED(w, decide_create_project(&d, STR("a\nb"), &out, &id, &err), ERR_INVALID, "control character");
    REFUSED(w, decide_create_project(&d, STR("a\xff"), &out, &id, &err), ERR_INVALID, "UTF-8");
    REFUSED(w, decide_create_project(&d, STR("  "), &out, &id, &err), ERR_INVALID, "empty");

    struct deployment_create good = {.project_id = w->project, .context_digest = DIGEST, .drain_seconds = -1}, c = good;
    c.instances = 2;
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_INVALID, "'instances' must be 3 to 100");
    c = good;
    c.drain_seconds = -2;
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_INVALID, "'drain_seconds'");
    c = good;
    c.runtime = STR("host");
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_DENIED, "isolates nothing");
    c = good;
    c.context_digest = STR("sha256:12");
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_INVALID, "64 hex digits");
    c = good;
    c.image_id = model_deployment(w->model, one)->image_id;
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_INVALID, "say either");
    c = good;
    c.port = 70000;
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_INVALID, "'port'");
    c = good;
    c.health.path = STR("healthz");
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_INVALID, "must begin with '/'");
    REFUSED(w, decide_cancel_deployment(&d, one, &out, &err), ERR_CONFLICT, "deploy another version, or stop it");

    struct image_observed image = {.image_id = model_deployment(w->model, one)->image_id,
                                   .builder_instance_id = w->project,
                                   .status = STR("ready"),
                                   .digest = DIGEST,
                                   .size_bytes = 1};
    REFUSED(w, decide_image_observed(&d, &image, &out, &err), ERR_DENIED, "only the builder");
    struct node_joining j = {.node_id = w->project, .name = STR("w1"), .region = STR("local"), .zone = STR("z0")};
    REFUSED(w, decide_join_node(&d, &j, &out, &err), ERR_CONFLICT, "choose another name");
    j.name = STR("w9");
    j.prefix = STR("fd00:0:0:1::/64");
    REFUSED(w, decide_join_node(&d, &j, &out, &err), ERR_CONFLICT, "belongs to node 'w1'");
    j.prefix = STR("fd00::/48");
    REFUSED(w, decide_join_node(&d, &j, &out, &err), ERR_INVALID, "must be an IPv6 /64");
    j.zone = STR("z7");
    REFUSED(w, decide_join_node(&d, &j, &out, &err), ERR_NOT_FOUND, "has no zone 'z7'");
    world_free(w);
}

static void again(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w), two = ID_NONE;
    DO(w, decide_repeat_deployment(&d, one, STR("me"), &out, &two, &err));
    story_clear(w);
    plan(w);
    story_has(w, "CreateProcess hello\nCreateInstance hello/2 on "); /* nothing is built */
    assert_true(id_eq(model_deployment(w->model, two)->image_id, model_deployment(w->model, one)->image_id));
    world_free(w);
}

/* ---- Events that cannot follow ---- */

/* Applies ev: refused with this in the text, and the model is as before. */

static void deployments_that_cannot_follow(struct world *w, struct id one)
{
    struct event e = event_of(EVENT_DEPLOYMENT_STATUS_CHANGE);
    e.deployment_status_change.deployment_id = one;
    static const char *const FROM_LIVE[] = {"queued", "building", "starting", "stopped", "failed", "cancelled"};
    for (size_t i = 0; i < sizeof(FROM_LIVE) / sizeof(FROM_LIVE[0]); i++) {
        e.deployment_status_change.status = str_from(FROM_LIVE[i]);
        cannot_follow(w, e, "is live and cannot become");
    }
    e.deployment_status_change.status = STR("flying");
    cannot_follow(w, e, "'flying' is not a status");
    e.deployment_status_change.deployment_id = w->project;
    cannot_follow(w, e, "deployment '");
    e = event_of(EVENT_ROUTE_DEPLOYMENT);
    e.route_deployment = (struct route_deployment){.deployment_id = one, .project_id = w->nodes[0]};
    cannot_follow(w, e, "project '");
    e = event_of(EVENT_CREATE_DEPLOYMENT);
    e.create_deployment = (struct create_deployment){.deployment_id = one, .project_id = w->project};
    cannot_follow(w, e, "exists already");
    e.create_deployment = (struct create_deployment){.deployment_id = w->nodes[0], .project_id = w->project};
    cannot_follow(w, e, "image '");
    e = event_of(EVENT_CREATE_PROCESS);
    e.create_process = (struct create_process){.process_id = one, .project_id = w->project, .name = STR("x")};
    cannot_follow(w, e, "is live already");
    e.create_process = (struct create_process){.process_id = w->nodes[0], .project_id = w->project, .name = STR("x")};
    cannot_follow(w, e, "does not exist");
    e = event_of(EVENT_DELETE_PROCESS);
    e.delete_process.process_id = one;
    cannot_follow(w, e, "still has 3 instances");
    e = event_of(EVENT_IMAGE_STATUS_CHANGE);
    e.image_status_change = (struct image_status_change){
        .image_id = model_deployment(w->model, one)->image_id, .status = STR("ready"), .digest = DIGEST};
    cannot_follow(w, e, "the image is ready and cannot become ready");
    e = event_of(EVENT_CREATE_PROJECT);
    e.create_project = (struct create_project){.project_id = one, .name = STR("x"), .slug = STR("hello")};
    cannot_follow(w, e, "slug 'hello' belongs to another project");
}

static void instances_that_cannot_follow(struct world *w, struct id one)
{
    const struct instance *i = on(w, one, "w1");
    struct event e = event_of(EVENT_CREATE_INSTANCE);
    e.create_instance = (struct create_instance){.instance_id = i->id, .process_id = one, .node_id = w->nodes[1]};
    cannot_follow(w, e, "exists already");
    e.create_instance.instance_id = w->project;
    e.create_instance.address = str_from(i->address);
    cannot_follow(w, e, "has an owner already");
    e.create_instance.address = STR("fd00:0:0:2::99");
    cannot_follow(w, e, "is outside of node 'w1'");
    e.create_instance.address = STR("10.0.0.1");
    cannot_follow(w, e, "is not an IPv6 address");
    e.create_instance.address = STR("");
    e.create_instance.node_id = w->project;
    cannot_follow(w, e, "node '");
    e.create_instance.process_id = w->project;
    cannot_follow(w, e, "process '");
    e = event_of(EVENT_INSTANCE_STATUS_CHANGE);
    e.instance_status_change =
        (struct instance_status_change){.instance_id = i->id, .status = STR("running"), .node_id = w->nodes[2]};
    cannot_follow(w, e, "is not the one that the instance is placed on");
    e.instance_status_change.node_id = ID_NONE;
    e.instance_status_change.desired = STR("elsewhere");
    cannot_follow(w, e, "'elsewhere' is not a desired state");
    e.instance_status_change.instance_id = w->project;
    cannot_follow(w, e, "instance '");
    e = event_of(EVENT_DELETE_INSTANCE);
    e.delete_instance.instance_id = w->project;
    cannot_follow(w, e, "does not exist");
}

static void events_that_cannot_follow(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    deployments_that_cannot_follow(w, one);
    instances_that_cannot_follow(w, one);
    struct event e = event_of(EVENT_CREATE_ZONE);
    e.create_zone = (struct create_zone){w->project, w->project, STR("z")};
    cannot_follow(w, e, "region '");
    e = event_of(EVENT_CREATE_EVENT_LOG);
    e.create_event_log = (struct create_event_log){.stream_id = w->project, .log_id = one};
    cannot_follow(w, e, "stream '");
    e = event_of(EVENT_NODE_STATUS_CHANGE);
    e.node_status_change = (struct node_status_change){.node_id = w->project, .status = STR("ready")};
    cannot_follow(w, e, "node '");
    /* Time must rise. */
    struct errinfo err;
    struct event late = w->log[0];
    assert_int_equal(model_apply(w->model, &late, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "is not after"));
    /* A deleted id is not used again. */
    struct id gone = on(w, one, "w1")->id;
    struct event_list out = {.arena = &w->arena};
    event_list_add(&out, EVENT_DELETE_INSTANCE, &w->ids)->delete_instance.instance_id = gone;
    append(w, &out);
    e = event_of(EVENT_CREATE_INSTANCE);
    e.create_instance = (struct create_instance){.instance_id = gone, .process_id = one, .node_id = w->nodes[1]};
    cannot_follow(w, e, "an id is not used twice");
    /* An older id than one that was deleted is good, until it is deleted itself. */
    e.create_instance.instance_id = (struct id){{1}};
    out = (struct event_list){.arena = &w->arena};
    event_list_add(&out, EVENT_CREATE_INSTANCE, &w->ids)->create_instance = e.create_instance;
    event_list_add(&out, EVENT_DELETE_INSTANCE, &w->ids)->delete_instance.instance_id = e.create_instance.instance_id;
    append(w, &out);
    cannot_follow(w, e, "an id is not used twice");
    world_free(w);
}

static void old_reports_are_ignored_by_the_fold(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct instance *i = on(w, one, "w1");
    struct event e = event_of(EVENT_INSTANCE_STATUS_CHANGE);
    e.time = event_time_next(w->model->time, w->now_ms * 1000000);
    e.instance_status_change = (struct instance_status_change){.instance_id = i->id,
                                                               .status = STR("failed"),
                                                               .node_id = w->nodes[1],
                                                               .boot_id = STR("boot-1"),
                                                               .report_seq = i->report_seq};
    uint64_t seq = w->model->seq;
    assert_int_equal(model_apply(w->model, &e, NULL), OK);
    assert_int_equal(i->status, INSTANCE_RUNNING);
    assert_int_equal(w->model->seq, seq + 1);
    world_free(w);
}

/* ---- Bootstrap logs, replay, size ---- */

static void a_bootstrap_log(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct model *m = model_new();
    static const char *const LINES[][2] = {
        {"CreateType", "{\"typeId\":\"00000000-0000-4000-8000-000000000001\",\"name\":\"Route\",\"fieldTypeTags\":[]}"},
        {"CreateStream",
         "{\"streamId\":\"00000000-0000-4000-8000-000000000002\",\"name\":\"platform\",\"version\":\"1\","
         "\"eventTypes\":[\"CreateNode\"],\"eventStore\":\"files;dir=logs\"}"},
        {"CreateEventLog", "{\"streamId\":\"00000000-0000-4000-8000-000000000002\",\"logId\":"
                           "\"00000000-0000-4000-8000-000000000003\",\"partitionRange\":\"*\",\"start\":\"-inf#-1\"}"},
        {"CreateProcess",
         "{\"processId\":\"00000000-0000-4000-8000-000000000004\",\"name\":\"platform\",\"version\":\"1\","
         "\"artifactUrl\":\"file:platform\",\"availabilityZones\":[\"a\"],\"inputStreamIds\":"
         "[\"00000000-0000-4000-8000-000000000002\"],\"outputStreamId\":"
         "\"00000000-0000-4000-8000-000000000002\"}"},
        {"CreateInstance", "{\"instanceId\":\"00000000-0000-4000-8000-000000000005\",\"processId\":"
                           "\"00000000-0000-4000-8000-000000000004\",\"logIds\":["
                           "\"00000000-0000-4000-8000-000000000003\"],\"partitionRanges\":[\"*\"],\"runnerUrl\":"
                           "\"node:op\",\"workloads\":[\"*\"]}"},
        {"InstanceStatusChange", "{\"instanceId\":\"00000000-0000-4000-8000-000000000005\",\"status\":\"NOMINAL\"}"},
    };
    for (size_t i = 0; i < sizeof(LINES) / sizeof(LINES[0]); i++) {
        struct envelope env = {
            .time = {(int64_t)i, 0}, .type = str_from(LINES[i][0]), .payload = str_from(LINES[i][1])};
        struct event ev;
        struct errinfo err = {0};
        if (event_decode(&env, &a, &ev, &err) != OK || model_apply(m, &ev, &err) != OK)
            fail_msg("line %zu: %s", i + 1, err.msg);
    }
    const struct instance *i = m->instances.items[0];
    assert_string_equal(i->runner_url, "node:op");
    assert_null(i->node);
    assert_int_equal(i->log_ids.n, 1);
    assert_true(instance_is_healthy(i));
    assert_string_equal(i->process->artifact_url, "file:platform");
    model_free(m);
}

static void a_replay(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    wait_s(w, 100);
    struct id two = go_live(w);
    wait_s(w, 400);
    all_observe(w, one, "stopped", "");
    (void)two;
    assert_replays(w);
    world_free(w);
}

/* A changed hash of this log means that two versions side by side would call each other wrong: it changes when an
 * object has another member (platform/members.c), knowingly. */
#define STABLE_HASH "sha256:d8a7076d771387bcdd433628d2cf2e4b272eda66ec7de0d901f23f3835b5d09f"
static void a_stable_hash(void **state)
{
    (void)state;
    struct model *m = model_new();
    uint8_t hash[HASH_SIZE];
    char text[DIGEST_TEXT_SIZE];
    struct event e = event_of(EVENT_CREATE_REGION);
    e.time = (struct event_time){1000, 0};
    e.create_region = (struct create_region){{{1}}, STR("eu-central-1")};
    assert_int_equal(model_apply(m, &e, NULL), OK);
    model_hash(m, hash);
    hash_digest_format(hash, text);
    assert_string_equal(text, STABLE_HASH);
    model_free(m);
}

/* The catalogue: what is encoded decodes to the same, for every kind and every member. */
static void fill(const struct field_table *t, char *value, struct arena *a, int *n)
{
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        void *at = value + f->offset;
        ++*n;
        if (f->type == FIELD_STR)
            *(struct str *)at = str_from(arena_printf(a, "text %d \"\\\n\xc3\xa4", *n));
        else if (f->type == FIELD_ID)
            memset(at, *n, sizeof(struct id));
        else if (f->type == FIELD_I64)
            *(int64_t *)at = *n;
        else if (f->type == FIELD_BOOL)
            *(bool *)at = true;
        else if (f->type == FIELD_TIME)
            *(struct event_time *)at = (struct event_time){*n * INT64_C(1000001), *n};
        else if (f->type == FIELD_JSON)
            *(struct str *)at = str_from(arena_printf(a, "{\"a\":[%d,null],\"b\":\"x\"}", *n));
        else if (f->type == FIELD_OBJECT)
            fill(f->table, at, a, n);
        else if (f->type == FIELD_STRS) {
            struct strs *s = at;
            *s = (struct strs){arena_alloc(a, 2 * sizeof(struct str)), 2};
            s->items[0] = STR("one");
            s->items[1] = STR("");
        } else if (f->type == FIELD_IDS) {
            struct ids *s = at;
            *s = (struct ids){arena_alloc(a, sizeof(struct id)), 1};
            memset(s->items, *n, sizeof(struct id));
        } else
            fail_msg("member '%s' has a type that this test does not know", f->name);
    }
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++) {
        const struct event_kind_row *row = event_kind_row((enum event_kind)k);
        struct event full = event_of(row->kind), bare = full, back;
        int n = 0;
        struct errinfo err = {0};
        fill(row->fields, (char *)&full.create_region, &a, &n);
        AUTO(buf) struct buf once = {0}, twice = {0}, empty = {0};
        event_encode_payload(&full, &once);
        struct envelope env = {.type = str_from(row->name), .payload = buf_str(&once)};
        if (event_decode(&env, &a, &back, &err) != OK)
            fail_msg("%s: %s", row->name, err.msg);
        event_encode_payload(&back, &twice);
        assert_string_equal(once.ptr, twice.ptr);
        for (size_t i = 0; i < row->fields->fields_n; i++)
            assert_non_null(strstr(once.ptr, row->fields->fields[i].name));
        event_encode_payload(&bare, &empty); /* without any optional member */
        env.payload = buf_str(&empty);
        assert_int_equal(event_decode(&env, &a, &back, &err), OK);
    }
}

/* The way things are followed: by position, per node, with tombstones. */
static void changes_are_followed(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct node *w1 = model_node(w->model, w->nodes[1]), *w2 = model_node(w->model, w->nodes[2]);
    uint64_t seq = w->model->seq, route = model_project(w->model, w->project)->route_seq;
    struct id id = on(w, one, "w1")->id, gone = ID_NONE;
    uint64_t asked = w1->instances_seq, asked_n = model_asked_n(w->model);
    observe(w, on(w, one, "w1"), "running", "ERROR", "slow");
    assert_int_equal(on(w, one, "w1")->changed_seq, seq + 1);
    assert_int_equal(w1->instances_seq, asked); /* its agent said so: nothing new for it */
    assert_int_equal(model_asked_n(w->model), asked_n);
    assert_int_equal(model_project(w->model, w->project)->route_seq, seq + 1); /* its endpoints changed */
    assert_true(route <= seq);
    assert_int_equal(project_endpoints(model_project(w->model, w->project), NULL, 0), 2);
    DO(w, decide_delete_instance(&d, id, &out, &err));
    assert_true(w1->instances_seq > seq);
    assert_true(w2->instances_seq <= seq);
    assert_true(model_asked_has(w->model, asked_n));
    assert_true(model_asked_n(w->model) > asked_n);
    assert_true(id_eq(model_asked_at(w->model, asked_n), w1->id));
    observe(w, model_instance(w->model, id), "stopped", "", "");
    asked = w1->instances_seq;
    plan(w);
    assert_true(w1->instances_seq > asked); /* it is gone */
    assert_int_equal(model_removed(w->model, OBJECT_INSTANCE, w1->id, seq, &gone, 1), 1);
    assert_true(id_eq(gone, id));
    assert_int_equal(model_removed(w->model, OBJECT_INSTANCE, w2->id, seq, &gone, 1), 0);
    assert_int_equal(model_removed(w->model, OBJECT_INSTANCE, w1->id, w->model->seq, &gone, 1), 0);
    assert_true(model_can_follow(w->model, 0));
    assert_false(model_can_follow(w->model, w->model->seq + 1)); /* of another log, or of a replica ahead */
    world_free(w);
}

static void tombstones_are_bounded(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    uint64_t before = w->model->seq;
    struct errinfo err;
    for (unsigned i = 0; i < MODEL_TOMBSTONES_MAX + 10; i++) {
        struct event e = event_of(EVENT_CREATE_INSTANCE);
        e.create_instance =
            (struct create_instance){.instance_id = id_next(&w->ids), .process_id = one, .node_id = w->nodes[1]};
        e.time = event_time_next(w->model->time, w->now_ms * 1000000);
        assert_int_equal(model_apply(w->model, &e, &err), OK);
        struct event gone = event_of(EVENT_DELETE_INSTANCE);
        gone.delete_instance.instance_id = e.create_instance.instance_id;
        gone.time = event_time_next(w->model->time, w->now_ms * 1000000);
        assert_int_equal(model_apply(w->model, &gone, &err), OK);
    }
    assert_false(model_can_follow(w->model, before)); /* full, please */
    assert_true(model_can_follow(w->model, w->model->seq - 2));
    assert_int_equal(model_removed(w->model, OBJECT_INSTANCE, w->nodes[1], w->model->seq - 4, NULL, 0), 2);
    world_free(w);
}

/* The goal: under 1 KiB an instance. 3,000 instances with the history of a start. */
static void an_instance_is_small(void **state)
{
    (void)state;
    enum { N = 3000 };
    struct world *w = world_new();
    struct id one = go_live(w);
    size_t before = model_size_bytes(w->model);
    struct str because = STR("{\"freeAfterwards\":{\"memoryBytes\":1879048000,\"vcpus\":31},\"hereOfThisDeployment\":1,"
                             "\"needs\":{\"memoryBytes\":268435456,\"vcpus\":1},\"node\":\"w1\",\"rule\":\"start\"}");
    struct errinfo err;
    for (int i = 0; i < N; i++) {
        struct event e = event_of(EVENT_CREATE_INSTANCE);
        struct id id = id_next(&w->ids);
        e.create_instance =
            (struct create_instance){.instance_id = id,
                                     .process_id = one,
                                     .node_id = w->nodes[1],
                                     .owner = STR("dev-0"),
                                     .runtime = STR("qemu"),
                                     .address = str_from(arena_printf(&w->arena, "fd00:0:0:1::%x", i + 4096)),
                                     .because = because};
        e.time = event_time_next(w->model->time, w->now_ms * 1000000);
        assert_int_equal(model_apply(w->model, &e, &err), OK);
        for (int k = 0; k < 2; k++) {
            struct event up = event_of(EVENT_INSTANCE_STATUS_CHANGE);
            up.instance_status_change = (struct instance_status_change){
                .instance_id = id, .status = k == 0 ? STR("starting") : STR("running"), .node_id = w->nodes[1]};
            up.time = event_time_next(w->model->time, w->now_ms * 1000000);
            assert_int_equal(model_apply(w->model, &up, &err), OK);
        }
    }
    size_t each = (model_size_bytes(w->model) - before) / N;
    print_message("%zu bytes an instance\n", each);
    assert_in_range(each, 200, 1024);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deployment),
        cmocka_unit_test(a_redeployment),
        cmocka_unit_test(an_edge_that_is_gone),
        cmocka_unit_test(an_edge_that_comes_back),
        cmocka_unit_test(a_replica_that_has_just_begun),
        cmocka_unit_test(a_build_that_fails),
        cmocka_unit_test(a_program_that_never_listens),
        cmocka_unit_test(an_instance_that_crash_loops),
        cmocka_unit_test(a_node_that_is_lost),
        cmocka_unit_test(a_node_that_boots_anew),
        cmocka_unit_test(a_late_report_of_a_boot_never_heard_of),
        cmocka_unit_test(an_instance_whose_end_nobody_heard_of),
        cmocka_unit_test(a_program_that_answers_once),
        cmocka_unit_test(a_host_without_a_certificate),
        cmocka_unit_test(no_room),
        cmocka_unit_test(a_newer_deployment),
        cmocka_unit_test(the_vote_of_the_dead_does_not_count),
        cmocka_unit_test(a_replica_more_is_no_cure),
        cmocka_unit_test(a_person_stops_and_deletes),
        cmocka_unit_test(the_project_goes),
        cmocka_unit_test(crash_loops_do_not_fill_the_log),
        cmocka_unit_test(a_node_that_is_stopped_on_purpose_has_no_crash_loop),
        cmocka_unit_test(decisions_that_are_refused),
        cmocka_unit_test(again),
        cmocka_unit_test(events_that_cannot_follow),
        cmocka_unit_test(old_reports_are_ignored_by_the_fold),
        cmocka_unit_test(a_bootstrap_log),
        cmocka_unit_test(a_replay),
        cmocka_unit_test(a_stable_hash),
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(changes_are_followed),
        cmocka_unit_test(tombstones_are_bounded),
        cmocka_unit_test(an_instance_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
