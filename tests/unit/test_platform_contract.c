/* Every kind of event that the contract names beside deployments and applications: what is decided, what is refused,
 * what happens when it is said twice, and that a replay gives the same model. */
#include "platform_world.h"

#include "platform/decide_owned.h"

#define SEALED STR("{\"sealed\":\"k1:AAAA\"}")
#define SEALED_2 STR("{\"sealed\":\"k2:BBBB\"}")

/* The decision gives n events now. */
#define GIVES(w, n_, call)                                                                                             \
    do {                                                                                                               \
        size_t before_ = (w)->log_n;                                                                                   \
        DO(w, call);                                                                                                   \
        assert_int_equal((w)->log_n - before_, n_);                                                                    \
    } while (0)

static const struct project *project(struct world *w)
{
    return model_project(w->model, w->project);
}

static void done(struct world *w)
{
    assert_replays(w);
    world_free(w);
}

static void new_kinds_wait_for_the_format(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->is_beside_its_log = true;
    assert_int_equal(w->model->format, EVENT_FORMAT); /* the planner raised it: every replica reads it */
    w->model->format = 1;                             /* as in a log that an older replica still reads */
    w->seen.format_min = 1;
    struct id id;
    REFUSED(w, decide_create_user(&d, STR("h"), SEALED, SEALED, &out, &id, &err), ERR_UNAVAILABLE,
            "'CreateUser' is written from format 2 on, and the log has 1");
    REFUSED(w, decide_drain_node(&d, w->nodes[1], STR(""), &out, &err), ERR_UNAVAILABLE, "DrainNode");
    struct project_update u = {.project_id = w->project, .port = 1};
    REFUSED(w, decide_update_project(&d, &u, &out, &err), ERR_UNAVAILABLE, "UpdateProject");
    plan(w);
    assert_int_equal(w->model->format, 1);
    w->seen.format_min = EVENT_FORMAT;
    story_clear(w);
    plan(w);
    story_is(w, "RaiseFormat to 3\n");
    struct event e = event_of(EVENT_RAISE_FORMAT);
    e.raise_format.format = EVENT_FORMAT;
    cannot_follow(w, e, "it only rises");
    e.raise_format.format = EVENT_FORMAT + 1;
    cannot_follow(w, e, "install a newer one");
    world_free(w);
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++)
        assert_in_range(event_kind_format((enum event_kind)k), 1, EVENT_FORMAT);
    assert_int_equal(event_kind_format(EVENT_ISSUE_CERTIFICATE), 1);
}

static void a_record_is_set_aside(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->is_beside_its_log = true;
    uint64_t seq = w->model->seq + 1;
    struct event_time at = event_time_next(w->model->time, w->now_ms * 1000000);
    model_pass_over(w->model, at);
    assert_int_equal(w->model->seq, seq);
    struct event_list said = {.arena = &w->arena};
    event_list_add(&said, EVENT_SET_ASIDE, &w->ids)->set_aside =
        (struct set_aside){.seq = (int64_t)seq, .reason = STR("written by a broken version")};
    append(w, &said);
    const struct passed_record *r = w->model->passed.items[0];
    assert_string_equal(r->reason, "written by a broken version");
    assert_int_equal(r->seq, seq);
    struct event e = event_of(EVENT_SET_ASIDE);
    e.set_aside = (struct set_aside){.seq = (int64_t)seq, .reason = STR("x")};
    cannot_follow(w, e, "set aside twice");
    e.set_aside.seq = 1;
    cannot_follow(w, e, "was folded, but is set aside"); /* a replica that folded it must not go on */
    /* A record that could not be read has no time: only the position moves. */
    struct event_time before = w->model->time;
    model_pass_over(w->model, EVENT_TIME_MIN);
    assert_int_equal(event_time_cmp(w->model->time, before), 0);
    world_free(w);
}

/* ---- Nodes ---- */

static void a_node_drains_and_leaves(void **state)
{
    (void)state;
    struct world *w = world_new();
    const struct node *n = model_node(w->model, w->nodes[3]);
    REFUSED(w, decide_drain_node(&d, w->project, STR(""), &out, &err), ERR_NOT_FOUND, "no node");
    REFUSED(w, decide_leave_node(&d, n->id, STR(""), &out, &err), ERR_CONFLICT, "is ready: drain it first");
    GIVES(w, 0, decide_undrain_node(&d, n->id, &out, &err));
    GIVES(w, 1, decide_drain_node(&d, n->id, STR("new disk"), &out, &err));
    assert_int_equal(n->status, NODE_DRAINING);
    assert_string_equal(n->cause, "new disk");
    GIVES(w, 0, decide_drain_node(&d, n->id, STR("new disk"), &out, &err));
    struct event e = event_of(EVENT_DRAIN_NODE);
    e.drain_node.node_id = n->id;
    cannot_follow(w, e, "cannot drain");
    /* Reports, boots and losses do not end a drain. */
    node_reports(w, 3, "boot-2");
    assert_int_equal(n->status, NODE_DRAINING);
    DO(w, decide_suspect_node(&d, n->id, STR("a"), STR("silent"), &out, &err));
    plan(w);
    assert_int_equal(n->status, NODE_LOST);
    node_reports(w, 3, "boot-2");
    plan(w);
    assert_int_equal(n->status, NODE_DRAINING);
    GIVES(w, 1, decide_undrain_node(&d, n->id, &out, &err));
    assert_int_equal(n->status, NODE_READY);
    node_reports(w, 3, "boot-2");
    assert_int_equal(n->status, NODE_READY);
    /* It leaves, is not heard any more, and may come back. */
    GIVES(w, 1, decide_drain_node(&d, n->id, STR(""), &out, &err));
    GIVES(w, 1, decide_leave_node(&d, n->id, STR("sold"), &out, &err));
    assert_int_equal(n->status, NODE_GONE);
    GIVES(w, 0, decide_leave_node(&d, n->id, STR("sold"), &out, &err));
    REFUSED(w, decide_drain_node(&d, n->id, STR(""), &out, &err), ERR_CONFLICT, "has left");
    e = event_of(EVENT_LEAVE_NODE);
    e.leave_node.node_id = n->id;
    cannot_follow(w, e, "has left already");
    struct node_reported r = {
        .node_id = n->id, .replica = STR("a"), .boot_id = STR("boot-3"), .status = STR("ready"), .report_seq = 1};
    REFUSED(w, decide_node_reported(&d, &r, &out, &err), ERR_CONFLICT, "join again first");
    GIVES(w, 0, decide_suspect_node(&d, n->id, STR("a"), STR("silent"), &out, &err));
    struct str label = STR("worker");
    struct node_joining j = {.node_id = n->id,
                             .name = STR("w3"),
                             .region = STR("local"),
                             .zone = STR("z1"),
                             .labels = {&label, 1},
                             .prefix = STR("fd00:0:0:3::/64")};
    GIVES(w, 1, decide_join_node(&d, &j, &out, &err));
    assert_int_equal(n->status, NODE_JOINING);
    node_reports(w, 3, "boot-3");
    assert_int_equal(n->status, NODE_READY);
    done(w);
}

static void a_node_with_instances_does_not_leave(void **state)
{
    (void)state;
    struct world *w = world_new();
    (void)go_live(w);
    DO(w, decide_drain_node(&d, w->nodes[1], STR(""), &out, &err));
    REFUSED(w, decide_leave_node(&d, w->nodes[1], STR(""), &out, &err), ERR_CONFLICT, "still has 1 instances");
    struct event e = event_of(EVENT_LEAVE_NODE);
    e.leave_node.node_id = w->nodes[1];
    cannot_follow(w, e, "still has 1 instances");
    done(w);
}

/* ---- Projects, images, scale ---- */

static void a_project_is_updated(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct project_update c = {.project_id = w->project,
                               .name = STR("Hello, world"),
                               .repository = STR("https://github.com/x/hello"),
                               .branch = STR("main"),
                               .instances = 4,
                               .drain_seconds = 7,
                               .port = 9000,
                               .resources = {.vcpus = 2}};
    GIVES(w, 1, decide_update_project(&d, &c, &out, &err));
    GIVES(w, 0, decide_update_project(&d, &c, &out, &err));
    assert_string_equal(project(w)->name, "Hello, world");
    assert_string_equal(project(w)->slug, "hello");
    struct project_update one = {.project_id = w->project, .branch = STR("live")};
    GIVES(w, 1, decide_update_project(&d, &one, &out, &err));
    assert_string_equal(project(w)->repository, "https://github.com/x/hello");
    assert_string_equal(project(w)->branch, "live");
    /* A deployment that does not say gets it. */
    const struct process *p = model_deployment(w->model, deploy(w));
    assert_int_equal(p->instances_wanted, 4);
    assert_int_equal(p->drain_seconds, 7);
    assert_int_equal(p->port, 9000);
    assert_int_equal(p->resources.vcpus, 2);
    assert_int_equal(p->resources.memory_bytes, w->settings.instance_memory_bytes);
    struct str keys[] = {STR("port"),         STR("instancesWanted"), STR("repository"),
                         STR("drainSeconds"), STR("resources"),       STR("branch")};
    struct project_update back = {.project_id = w->project, .cleared = {keys, 6}};
    GIVES(w, 1, decide_update_project(&d, &back, &out, &err));
    assert_string_equal(project(w)->repository, "");
    assert_int_equal(model_deployment(w->model, deploy(w))->port, 8080);
    keys[0] = STR("slug");
    REFUSED(w, decide_update_project(&d, &back, &out, &err), ERR_INVALID, "'slug' has no default");
    struct project_update bad = {.project_id = w->project, .instances = 2};
    REFUSED(w, decide_update_project(&d, &bad, &out, &err), ERR_INVALID, "'instances' must be 3");
    bad = (struct project_update){.project_id = w->project, .port = 70000};
    REFUSED(w, decide_update_project(&d, &bad, &out, &err), ERR_INVALID, "'port'");
    bad = (struct project_update){.project_id = w->project, .name = STR("a\nb")};
    REFUSED(w, decide_update_project(&d, &bad, &out, &err), ERR_INVALID, "control character");
    bad = (struct project_update){.project_id = w->nodes[0], .port = 1};
    REFUSED(w, decide_update_project(&d, &bad, &out, &err), ERR_NOT_FOUND, "no project");
    struct event e = event_of(EVENT_UPDATE_PROJECT);
    e.update_project = (struct update_project){.project_id = w->project, .cleared = {keys, 1}};
    cannot_follow(w, e, "no default to go back to");
    e.update_project = (struct update_project){.project_id = w->project, .port = -1};
    cannot_follow(w, e, "out of its range");
    done(w);
}

static void an_image_is_deleted(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    struct id image = model_deployment(w->model, one)->image_id;
    REFUSED(w, decide_delete_image(&d, image, &out, &err), ERR_CONFLICT, "used by a deployment of 'hello'");
    build(w, one);
    all_observe(w, one, "running", "NOMINAL");
    REFUSED(w, decide_delete_image(&d, image, &out, &err), ERR_CONFLICT, "stop that first");
    struct event e = event_of(EVENT_DELETE_IMAGE);
    e.delete_image.image_id = image;
    cannot_follow(w, e, "is used by process 'hello'");
    DO(w, decide_stop_deployment(&d, one, &out, &err));
    plan(w);
    wait_s(w, 16);
    wait_s(w, 301);
    all_observe(w, one, "stopped", "");
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_STOPPED);
    GIVES(w, 1, decide_delete_image(&d, image, &out, &err));
    assert_null(model_image(w->model, image));
    assert_int_equal(model_removed(w->model, OBJECT_IMAGE, ID_NONE, 0, NULL, 0), 1);
    REFUSED(w, decide_delete_image(&d, image, &out, &err), ERR_NOT_FOUND, "no image");
    struct id again;
    REFUSED(w, decide_repeat_deployment(&d, one, STR("x"), &out, &again, &err), ERR_CONFLICT, "no image to run again");
    cannot_follow(w, e, "does not exist");
    done(w);
}

static void a_deployment_is_scaled(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct process *p = model_deployment(w->model, one);
    struct str window = STR("{\"load\": {\"from\": 1, \"to\": 2, \"percent\": 91}}");
    GIVES(w, 1, decide_scale_process(&d, one, 5, STR("91 % for 60 s"), window, &out, &err));
    GIVES(w, 0, decide_scale_process(&d, one, 5, STR("91 % for 60 s"), window, &out, &err));
    story_clear(w);
    plan(w);
    assert_int_equal(p->instances.n, 5);
    all_observe(w, one, "running", "NOMINAL");
    assert_int_equal(project_endpoints(project(w), NULL, 0), 5);
    /* Down: one instance a node stays. */
    observe(w, on(w, one, "w1"), "running", "ERROR", "slow");
    story_clear(w);
    GIVES(w, 1, decide_scale_process(&d, one, 3, STR(""), STR(""), &out, &err));
    plan(w);
    assert_int_equal(process_healthy_n(p), 3);
    plan(w);
    size_t going = 0;
    MODEL_EACH (instance, i, &p->instances)
        going += i->wanted == DESIRED_DELETED;
    assert_int_equal(going, 2);
    story_has(w, "to be deleted once edges have withdrawn it (fewer instances are wanted)");
    REFUSED(w, decide_scale_process(&d, one, 2, STR(""), STR(""), &out, &err), ERR_INVALID, "'instances' must be 3");
    REFUSED(w, decide_scale_process(&d, one, 4, STR(""), STR("{"), &out, &err), ERR_INVALID, "'because'");
    REFUSED(w, decide_scale_process(&d, one, 99, STR(""), STR(""), &out, &err), ERR_CONFLICT,
            "no room for 99 instances of 'hello'");
    REFUSED(w, decide_scale_process(&d, w->project, 4, STR(""), STR(""), &out, &err), ERR_NOT_FOUND, "no deployment");
    REFUSED(w,
            decide_scale_process(&d, model_process_by_name(w->model, STR("image-builder"))->id, 4, STR(""), STR(""),
                                 &out, &err),
            ERR_DENIED, "program of the platform");
    struct event e = event_of(EVENT_SCALE_PROCESS);
    e.scale_process = (struct scale_process){.process_id = one};
    cannot_follow(w, e, "cannot have 0 instances");
    done(w);
}

static void a_scaling_rule(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct scaling_set c = {.project_id = w->project,
                            .metric = STR("cpu"),
                            .instances_min = 3,
                            .instances_max = 6,
                            .target_percent = 70,
                            .cool_down_seconds = 60};
    GIVES(w, 1, decide_set_scaling_rule(&d, &c, &out, &err));
    GIVES(w, 0, decide_set_scaling_rule(&d, &c, &out, &err));
    assert_int_equal(project(w)->scaling.max, 6);
    REFUSED(w, decide_scale_process(&d, one, 7, STR(""), STR(""), &out, &err), ERR_CONFLICT, "says 3 to 6 instances");
    DO(w, decide_scale_process(&d, one, 6, STR(""), STR(""), &out, &err));
    /* The next deployment begins with as many as were needed. */
    assert_int_equal(model_deployment(w->model, deploy(w))->instances_wanted, 6);
    c.metric = STR("mood");
    REFUSED(w, decide_set_scaling_rule(&d, &c, &out, &err), ERR_INVALID, "'metric' must be");
    c.metric = STR("cpu");
    c.instances_min = 7;
    REFUSED(w, decide_set_scaling_rule(&d, &c, &out, &err), ERR_INVALID, "'instances_min'");
    c.process_id = one;
    REFUSED(w, decide_set_scaling_rule(&d, &c, &out, &err), ERR_INVALID, "either 'project_id' or");
    c.project_id = ID_NONE;
    REFUSED(w, decide_set_scaling_rule(&d, &c, &out, &err), ERR_NOT_FOUND, "no application");
    struct event e = event_of(EVENT_SET_SCALING_RULE);
    e.set_scaling_rule = (struct set_scaling_rule){.project_id = w->project, .instances_min = 4, .instances_max = 3};
    cannot_follow(w, e, "from 4 to 3");
    e.set_scaling_rule = (struct set_scaling_rule){.instances_min = 1, .instances_max = 3};
    cannot_follow(w, e, "of a project or of a process");
    struct scaling_set none = {.project_id = w->project};
    GIVES(w, 1, decide_set_scaling_rule(&d, &none, &out, &err));
    GIVES(w, 0, decide_set_scaling_rule(&d, &none, &out, &err));
    assert_int_equal(project(w)->scaling.max, 0);
    done(w);
}

/* ---- Domains ---- */

static void certify(struct world *w, struct str host)
{
    struct id id;
    DO(w, decide_issue_certificate(&d, host, STR("2030-01-01T00:00:00Z"), &out, &id, &err));
}

static void a_domain_comes_to_serve(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = ID_NONE, same = ID_NONE;
    w->settings.needs_certificate = 1;
    certify(w, STR("hello.localhost"));
    (void)go_live(w);
    GIVES(w, 1, decide_attach_domain(&d, w->project, STR("app.example.org"), &out, &id, &err));
    GIVES(w, 0, decide_attach_domain(&d, w->project, STR("app.example.org"), &out, &same, &err));
    assert_true(id_eq(id, same));
    const struct domain *dom = model_domain_by_host(w->model, STR("app.example.org"));
    assert_int_equal(dom->status, DOMAIN_PENDING);
    assert_true(str_starts(str_from(dom->challenge), STR("slipform-verify=")));
    plan(w);
    GIVES(w, 1, decide_domain_observed(&d, id, false, STR("no TXT record"), &out, &err));
    GIVES(w, 0, decide_domain_observed(&d, id, false, STR("no TXT record"), &out, &err));
    assert_int_equal(dom->status, DOMAIN_FAILED);
    assert_string_equal(dom->cause, "no TXT record");
    GIVES(w, 1, decide_domain_observed(&d, id, true, STR(""), &out, &err));
    GIVES(w, 0, decide_domain_observed(&d, id, true, STR(""), &out, &err));
    /* It needs a certificate first. */
    struct str host;
    assert_true(model_host_without_certificate(w->model, w->settings.app_domain, &w->arena, &host));
    assert_true(str_eq(host, STR("app.example.org")));
    plan(w);
    assert_int_equal(dom->status, DOMAIN_VERIFIED);
    certify(w, host);
    story_clear(w);
    plan(w);
    story_is(w, "RouteDeployment hello/1 hello.localhost app.example.org\n"
                "VerifyDomain app.example.org: serving\n");
    assert_int_equal(project(w)->hosts.n, 2);
    /* The next deployment serves it at once. */
    struct id two = deploy(w);
    build(w, two);
    all_observe(w, two, "running", "NOMINAL");
    assert_int_equal(project(w)->hosts.n, 2);
    assert_true(id_eq(project(w)->live->id, two));
    GIVES(w, 1, decide_detach_domain(&d, id, &out, &err));
    story_clear(w);
    plan(w);
    story_has(w, "RouteDeployment hello/2 hello.localhost\n");
    assert_int_equal(project(w)->hosts.n, 1);
    REFUSED(w, decide_detach_domain(&d, id, &out, &err), ERR_NOT_FOUND, "no domain");
    done(w);
}

static void domains_that_are_refused(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id, other = ID_NONE;
    static const char *const BAD[] = {"",        "example", "a..b", "-a.b", "a-.b", "A.example.org",
                                      "a_b.org", "a.b/c",   "a b.c"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        REFUSED(w, decide_attach_domain(&d, w->project, str_from(BAD[i]), &out, &id, &err), ERR_INVALID, "'host' must");
    REFUSED(w, decide_attach_domain(&d, w->project, STR("x.localhost"), &out, &id, &err), ERR_DENIED, "own domain");
    DO(w, decide_attach_domain(&d, w->project, STR("notlocalhost.org"), &out, &id, &err));
    DO(w, decide_create_project(&d, STR("Other"), &out, &other, &err));
    REFUSED(w, decide_attach_domain(&d, other, STR("notlocalhost.org"), &out, &id, &err), ERR_CONFLICT,
            "attached to another project");
    struct event e = event_of(EVENT_ATTACH_DOMAIN);
    e.attach_domain = (struct attach_domain){id_next(&w->ids), other, STR("notlocalhost.org"), STR("")};
    cannot_follow(w, e, "is attached already");
    e.attach_domain = (struct attach_domain){id, other, STR("x.org"), STR("")};
    cannot_follow(w, e, "exists already");
    e = event_of(EVENT_VERIFY_DOMAIN);
    e.verify_domain = (struct verify_domain){.domain_id = id, .status = STR("serving")};
    cannot_follow(w, e, "is pending and cannot become serving");
    e.verify_domain.status = STR("fine");
    cannot_follow(w, e, "'fine' is not a status");
    /* They go with their project. */
    DO(w, decide_delete_project(&d, w->project, &out, &err));
    assert_null(model_domain_by_host(w->model, STR("notlocalhost.org")));
    assert_int_equal(model_removed(w->model, OBJECT_DOMAIN, w->project, 0, NULL, 0), 1);
    done(w);
}

/* ---- Secrets, people ---- */

static void secrets(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = ID_NONE, same = ID_NONE;
    GIVES(w, 1, decide_set_secret(&d, w->project, STR("TOKEN"), SEALED, &out, &id, &err));
    GIVES(w, 0, decide_set_secret(&d, w->project, STR("TOKEN"), SEALED, &out, &same, &err));
    assert_true(id_eq(id, same));
    GIVES(w, 1, decide_set_secret(&d, w->project, STR("TOKEN"), SEALED_2, &out, &same, &err));
    assert_true(id_eq(id, same));
    assert_string_equal(model_secret_by_name(w->model, project(w), STR("TOKEN"))->value, "{\"sealed\":\"k2:BBBB\"}");
    GIVES(w, 1, decide_set_secret(&d, ID_NONE, STR("TOKEN"), SEALED, &out, &same, &err)); /* of applications: another */
    assert_false(id_eq(id, same));
    REFUSED(w, decide_set_secret(&d, w->project, STR("TOKEN"), STR("{\"open\":\"x\"}"), &out, &id, &err), ERR_INVALID,
            "'value' must be sealed");
    REFUSED(w, decide_set_secret(&d, w->project, STR("1X"), SEALED, &out, &id, &err), ERR_INVALID, "'name' must be");
    REFUSED(w, decide_set_secret(&d, w->project, STR("PORT"), SEALED, &out, &id, &err), ERR_DENIED,
            "set by the platform");
    REFUSED(w, decide_set_secret(&d, w->nodes[0], STR("X"), SEALED, &out, &id, &err), ERR_NOT_FOUND, "no project");
    GIVES(w, 1, decide_unset_secret(&d, w->project, STR("TOKEN"), &out, &err));
    REFUSED(w, decide_unset_secret(&d, w->project, STR("TOKEN"), &out, &err), ERR_NOT_FOUND, "no secret 'TOKEN'");
    struct event e = event_of(EVENT_SET_SECRET);
    e.set_secret = (struct set_secret){id_next(&w->ids), w->project, STR("A"), STR("\"open\"")};
    cannot_follow(w, e, "is not sealed");
    e.set_secret = (struct set_secret){id_next(&w->ids), ID_NONE, STR("TOKEN"), SEALED};
    cannot_follow(w, e, "has another id");
    e = event_of(EVENT_UNSET_SECRET);
    e.unset_secret.secret_id = w->project;
    cannot_follow(w, e, "does not exist");
    DO(w, decide_set_secret(&d, w->project, STR("A"), SEALED, &out, &id, &err));
    DO(w, decide_set_secret(&d, w->project, STR("B"), SEALED, &out, &id, &err));
    struct id one = go_live(w); /* with those that there are now */
    DO(w, decide_set_secret(&d, w->project, STR("C"), SEALED, &out, &id, &err));
    const char *refs = model_deployment(w->model, one)->secret_refs; /* in the order of their ids */
    assert_true(strcmp(refs, "[\"A\",\"B\"]") == 0 || strcmp(refs, "[\"B\",\"A\"]") == 0);
    DO(w, decide_delete_project(&d, w->project, &out, &err));
    assert_int_equal(w->model->secrets.n, 1);
    done(w);
}

static void people(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id user = ID_NONE, same = ID_NONE, place = ID_NONE;
    GIVES(w, 1, decide_create_user(&d, STR("hmac:1"), SEALED, SEALED, &out, &user, &err));
    GIVES(w, 0, decide_create_user(&d, STR("hmac:1"), SEALED_2, SEALED, &out, &same, &err));
    assert_true(id_eq(user, same));
    REFUSED(w, decide_create_user(&d, STR("hmac:2"), STR("Ada"), SEALED, &out, &same, &err), ERR_INVALID,
            "'name' must be sealed");
    REFUSED(w, decide_create_user(&d, STR(""), SEALED, SEALED, &out, &same, &err), ERR_INVALID, "'identity' is empty");
    GIVES(w, 1, decide_join_waitlist(&d, STR("hmac:3"), SEALED, &out, &place, &err));
    GIVES(w, 0, decide_join_waitlist(&d, STR("hmac:3"), SEALED_2, &out, &same, &err));
    assert_true(id_eq(place, same));
    REFUSED(w, decide_join_waitlist(&d, STR("hmac:4"), STR(""), &out, &same, &err), ERR_INVALID, "'email' is missing");
    struct event e = event_of(EVENT_CREATE_USER);
    e.create_user = (struct create_user){id_next(&w->ids), STR("hmac:1"), SEALED, SEALED};
    cannot_follow(w, e, "exists already");
    e.create_user = (struct create_user){place, STR("hmac:9"), SEALED, SEALED};
    cannot_follow(w, e, "exists already");
    e.create_user = (struct create_user){id_next(&w->ids), STR("hmac:9"), STR("\"Ada\""), SEALED};
    cannot_follow(w, e, "is not sealed");
    e = event_of(EVENT_JOIN_WAITLIST);
    e.join_waitlist = (struct join_waitlist){id_next(&w->ids), STR("hmac:3"), SEALED};
    cannot_follow(w, e, "waits already");
    /* Erased: the id stays, nothing else does. */
    GIVES(w, 1, decide_erase_subject(&d, user, &out, &err));
    GIVES(w, 0, decide_erase_subject(&d, user, &out, &err));
    const struct user *u = w->model->users.items[0];
    assert_true(u->is_erased);
    assert_string_equal(u->name, "");
    assert_string_equal(u->identity, "");
    GIVES(w, 1, decide_erase_subject(&d, place, &out, &err));
    assert_int_equal(w->model->waitlist.n, 0);
    REFUSED(w, decide_erase_subject(&d, place, &out, &err), ERR_NOT_FOUND, "no user or place");
    struct id gone[2];
    assert_int_equal(model_removed(w->model, OBJECT_WAITING, ID_NONE, 0, gone, 2),
                     1); /* who follows the list is told */
    assert_true(id_eq(gone[0], place));
    e = event_of(EVENT_ERASE_SUBJECT);
    e.erase_subject.subject_id = user;
    cannot_follow(w, e, "erased already");
    /* Who was erased may come again, as somebody new. */
    GIVES(w, 1, decide_create_user(&d, STR("hmac:1"), SEALED, SEALED, &out, &same, &err));
    assert_false(id_eq(user, same));
    done(w);
}

/* Statistics may stand in an imported log; they change nothing but the position. */
static void statistics_change_nothing(void **state)
{
    (void)state;
    struct world *w = world_new();
    uint64_t seq = w->model->seq;
    size_t size = model_size_bytes(w->model);
    struct event_list out = {.arena = &w->arena};
    event_list_add(&out, EVENT_INSTANCE_PROGRESS, &w->ids)->instance_progress.instance_id = w->project;
    event_list_add(&out, EVENT_INSTANCE_IOPW, &w->ids)->instance_iopw.instance_id = w->project;
    append(w, &out);
    assert_int_equal(w->model->seq, seq + 2);
    assert_int_equal(model_size_bytes(w->model), size);
    for (unsigned k = 0; k < EVENT_KIND_MAX_; k++)
        assert_int_equal(event_kind_is_statistic((enum event_kind)k),
                         k == EVENT_INSTANCE_PROGRESS || k == EVENT_INSTANCE_IOPW);
    done(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_kinds_wait_for_the_format),
        cmocka_unit_test(a_record_is_set_aside),
        cmocka_unit_test(a_node_drains_and_leaves),
        cmocka_unit_test(a_node_with_instances_does_not_leave),
        cmocka_unit_test(a_project_is_updated),
        cmocka_unit_test(an_image_is_deleted),
        cmocka_unit_test(a_deployment_is_scaled),
        cmocka_unit_test(a_scaling_rule),
        cmocka_unit_test(a_domain_comes_to_serve),
        cmocka_unit_test(domains_that_are_refused),
        cmocka_unit_test(secrets),
        cmocka_unit_test(people),
        cmocka_unit_test(statistics_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
