/* Builders that the machine fails: an image gets another one, somewhere else, a few times; only the last one's word
 * counts; and what a build says of itself is believed at once. */
#include "platform_world.h"

/* Further nodes that build. */
enum { OP2 = 4, OP3, OPS_MAX };
static struct id ops[OPS_MAX];

static void node_is(struct world *w, struct id node, const char *status)
{
    struct str runtimes[] = {STR("qemu"), STR("null")};
    struct node_reported r = {.node_id = node,
                              .replica = STR("a"),
                              .boot_id = STR("boot-1"),
                              .status = str_from(status),
                              .report_seq = ++w->report_seq,
                              .capacity = {4, INT64_C(2) << 30, 0},
                              .runtimes = {runtimes, 2}};
    DO(w, decide_node_reported(&d, &r, &out, &err));
}

static struct id add_builder_node(struct world *w, const char *name)
{
    struct str label = STR("control");
    struct node_joining j = {.node_id = id_next(&w->ids),
                             .name = str_from(name),
                             .region = STR("local"),
                             .zone = STR("z1"),
                             .labels = {&label, 1}};
    DO(w, decide_join_node(&d, &j, &out, &err));
    node_is(w, j.node_id, "ready");
    plan(w);
    return j.node_id;
}

static void lose(struct world *w, struct id node)
{
    DO(w, decide_suspect_node(&d, node, STR("a"), STR("silent for 10 s"), &out, &err));
    plan(w);
}

static const struct image *image_of(struct world *w, struct id deployment)
{
    return model_image(w->model, model_deployment(w->model, deployment)->image_id);
}

static const struct instance *builder_of(struct world *w, struct id deployment)
{
    return model_instance(w->model, image_of(w, deployment)->builder_instance_id);
}

static void dies(struct world *w, struct id deployment)
{
    observe(w, builder_of(w, deployment), "starting", "", "");
    observe(w, builder_of(w, deployment), "failed", "EXIT", "exit status 1");
    plan(w);
}

static enum err says_ready(struct world *w, struct id image, struct id builder, struct errinfo *err)
{
    struct event_list out = {.arena = &w->arena};
    struct decide d = decider(w);
    struct image_observed o = {
        .image_id = image, .builder_instance_id = builder, .status = STR("ready"), .digest = DIGEST, .size_bytes = 1};
    enum err rc = decide_image_observed(&d, &o, &out, err);
    append(w, &out);
    return rc;
}

/* The builder's node is lost: the build goes on elsewhere, and the deployment goes live. Who asked sees why. */
static void on_another_node(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct errinfo err = {0};
    struct id one = deploy(w);
    struct id former = image_of(w, one)->builder_instance_id, image = image_of(w, one)->id;
    ops[OP2] = add_builder_node(w, "op2");
    observe(w, builder_of(w, one), "running", "", "");
    story_clear(w);
    lose(w, w->nodes[0]);
    story_is(w, "SuspectNode op by a\n"
                "NodeStatusChange op: lost (1 of 1 replicas hear nothing of it)\n"
                "InstanceStatusChange image-builder on op: lost (node 'op' is lost)\n"
                "CreateInstance image-builder on op2\n"
                "RebuildImage hello/1 (on 'op': the node is lost)\n"
                "InstanceStatusChange image-builder on op: lost, to be deleted (its image is built elsewhere)\n"
                "DeploymentStatusChange hello/1: building (is built on 'op2', try 2 of 3, after: on 'op': the node is "
                "lost)\n"
                "DeleteInstance image-builder on op\n");
    assert_int_equal(image_of(w, one)->status, IMAGE_BUILDING);
    assert_string_equal(builder_of(w, one)->node->name, "op2");
    assert_true(builder_of(w, one)->restart_never);
    /* It is back with its node, and has an image: nobody waits for it any more. */
    node_is(w, w->nodes[0], "ready");
    plan(w);
    assert_int_equal(says_ready(w, image, former, &err), ERR_DENIED);
    assert_int_equal(image_of(w, one)->status, IMAGE_BUILDING);
    build(w, one);
    all_observe(w, one, "starting", "");
    all_observe(w, one, "running", "NOMINAL");
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_LIVE);
    assert_string_equal(model_deployment(w->model, one)->cause, "");
    world_free(w);
}

/* On each machine something kills it: it ends after so many tries, and says what became of each. */
static void not_for_ever(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    ops[OP2] = add_builder_node(w, "op2");
    ops[OP3] = add_builder_node(w, "op3");
    const char *nodes[3] = {builder_of(w, one)->node->name};
    for (int i = 1; i < 3; i++) {
        dies(w, one);
        nodes[i] = builder_of(w, one)->node->name;
        assert_int_equal(image_of(w, one)->tries_n, i + 1);
        assert_string_not_equal(nodes[i], nodes[i - 1]); /* there is another one */
    }
    dies(w, one);
    assert_int_equal(image_of(w, one)->status, IMAGE_FAILED);
    const char *cause = model_deployment(w->model, one)->cause;
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_FAILED);
    assert_non_null(strstr(cause, "tried 3 times"));
    for (int i = 0; i < 3; i++) {
        auto_free char *part = mem_printf("on '%s': its builder ended without an image: exit status 1", nodes[i]);
        assert_non_null(strstr(cause, part));
    }
    size_t builders = 0;
    for (size_t i = 0; i < w->log_n; i++)
        builders += w->log[i].kind == EVENT_REBUILD_IMAGE;
    assert_int_equal(builders, 2);
    wait_s(w, 31); /* the last one goes as any builder does; nothing is kept of the others */
    MODEL_EACH (instance, i, &model_process_by_name(w->model, STR("image-builder"))->instances)
        assert_int_equal(i->wanted, DESIRED_DELETED);
    world_free(w);
}

/* The only node that builds: the same one, when it is there; it is waited for while it is not. */
static void on_the_only_node(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    dies(w, one);
    assert_string_equal(builder_of(w, one)->node->name, "op");
    assert_int_equal(image_of(w, one)->tries_n, 2);
    lose(w, w->nodes[0]);
    assert_int_equal(image_of(w, one)->status, IMAGE_BUILDING);
    assert_non_null(strstr(model_deployment(w->model, one)->cause, "waits for another node that builds: "));
    ops[OP2] = add_builder_node(w, "op2");
    assert_string_equal(builder_of(w, one)->node->name, "op2");
    assert_int_equal(image_of(w, one)->tries_n, 3);
    build(w, one);
    assert_int_equal(image_of(w, one)->status, IMAGE_READY);
    world_free(w);
}

static void nobody_is_there_for_long(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    lose(w, w->nodes[0]);
    wait_s(w, w->settings.build_timeout_seconds - 1);
    assert_int_equal(image_of(w, one)->status, IMAGE_BUILDING);
    wait_s(w, 2);
    assert_int_equal(image_of(w, one)->status, IMAGE_FAILED);
    assert_non_null(strstr(model_deployment(w->model, one)->cause, "no other node was there to build it: on 'op'"));
    world_free(w);
}

/* Each try has its own time. */
static void a_try_takes_too_long(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    wait_s(w, w->settings.build_timeout_seconds - 1);
    dies(w, one);
    wait_s(w, w->settings.build_timeout_seconds - 1);
    assert_int_equal(image_of(w, one)->status, IMAGE_BUILDING);
    wait_s(w, 2);
    assert_int_equal(image_of(w, one)->status, IMAGE_FAILED);
    assert_non_null(strstr(model_deployment(w->model, one)->cause, "took longer than"));
    world_free(w);
}

/* A build that says itself that it has failed has failed; so has one that nobody waits for. */
static void not_again(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    struct image_observed o = {.image_id = image_of(w, one)->id,
                               .builder_instance_id = image_of(w, one)->builder_instance_id,
                               .status = STR("failed"),
                               .cause = STR("RUN false: exit status 1")};
    DO(w, decide_image_observed(&d, &o, &out, &err));
    plan(w);
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_FAILED);
    assert_int_equal(image_of(w, one)->tries_n, 1);
    struct id two = deploy(w);
    DO(w, decide_cancel_deployment(&d, two, &out, &err));
    plan(w);
    dies(w, two);
    assert_int_equal(image_of(w, two)->status, IMAGE_FAILED);
    assert_non_null(strstr(image_of(w, two)->cause, "nobody waits for it any more"));
    world_free(w);
}

static struct event rebuild(struct id image, struct id builder)
{
    return (struct event){.kind = EVENT_REBUILD_IMAGE,
                          .rebuild_image = {.image_id = image, .builder_instance_id = builder}};
}

static void what_cannot_follow(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    struct id image = image_of(w, one)->id, builder = builder_of(w, one)->id;
    cannot_follow(w, rebuild(w->project, builder), "image '");
    cannot_follow(w, rebuild(image, w->project), "builder instance '");
    cannot_follow(w, rebuild(image, builder), "builds an image already");
    build(w, one);
    cannot_follow(w, rebuild(image, builder), "nobody builds it again");
    world_free(w);
}

/* A replica that cannot read it is there: it fails as it did before there was such an event. */
static void not_before_all_can_read_it(void **state)
{
    (void)state;
    struct world *w = mem_alloc(sizeof(*w));
    world_init(w);
    struct id one = deploy(w);
    w->model->format = 1;
    w->seen.format_min = 1;
    w->is_beside_its_log = true;
    dies(w, one);
    assert_int_equal(image_of(w, one)->status, IMAGE_FAILED);
    assert_non_null(strstr(image_of(w, one)->cause, "exit status 1; deploy again"));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_another_node),      cmocka_unit_test(not_for_ever),
        cmocka_unit_test(on_the_only_node),     cmocka_unit_test(nobody_is_there_for_long),
        cmocka_unit_test(a_try_takes_too_long), cmocka_unit_test(not_again),
        cmocka_unit_test(what_cannot_follow),   cmocka_unit_test(not_before_all_can_read_it),
    };
    return cmocka_run_group_tests_name("plan_build", tests, NULL, NULL);
}
