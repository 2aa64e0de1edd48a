/* Live deployments are spread when nodes come: one instance at a time, never fewer that serve than wanted, only where
 * it makes them stand better, and not for a node that comes and goes. */
#include "platform/explain.h"
#include "platform_world.h"

enum { W1 = 1, W2 = 2, W3 = 3 }; /* w1 is in zone z0, the others in z1 */

static void leaves(struct world *w, int node)
{
    DO(w, decide_drain_node(&d, w->nodes[node], STR(""), &out, &err));
    plan(w);
}

static void comes(struct world *w, int node)
{
    DO(w, decide_undrain_node(&d, w->nodes[node], &out, &err));
    plan(w);
}

/* Live, and its builder has gone. */
static struct id live_and_quiet(struct world *w, int64_t instances, int64_t mib)
{
    struct id id = deploy_of(w, w->project, instances, mib);
    for (int i = 0; i < 5; i++)
        a_turn(w);
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_LIVE);
    wait_s(w, w->settings.builder_linger_seconds);
    a_turn(w);
    assert_int_equal(w->model->instances.n, instances);
    return id;
}

/* Live with all on one node; the others are away. Edges follow in a_turn only. */
static struct id all_on_w1(struct world *w, int64_t instances, int64_t mib)
{
    w->settings.instances_min = 1;
    w->seen.edges_n = 1;
    w->edges[0] = (struct edge_observed){STR("e"), 0, w->now_ms};
    leaves(w, W2);
    leaves(w, W3);
    wait_s(w, 60);
    struct id id = live_and_quiet(w, instances, mib);
    story_clear(w);
    return id;
}

static unsigned here(struct world *w, struct id id, int node)
{
    unsigned n = 0;
    MODEL_EACH (instance, i, &model_deployment(w->model, id)->instances)
        n += id_eq(i->node->id, w->nodes[node]) && i->wanted == DESIRED_RUNNING;
    return n;
}

static void stands(struct world *w, struct id id, unsigned w1, unsigned w2, unsigned w3)
{
    if (here(w, id, W1) != w1 || here(w, id, W2) != w2 || here(w, id, W3) != w3)
        fail_msg("%u, %u, %u on w1, w2, w3:\n%s", here(w, id, W1), here(w, id, W2), here(w, id, W3), w->story.ptr);
}

/* Turns, in each of which as many as wanted serve, and at most one more is there. */
static void turns(struct world *w, struct id id, int n)
{
    const struct process *d = model_deployment(w->model, id);
    for (int i = 0; i < n; i++) {
        a_turn(w);
        if ((int64_t)serving(w, w->project) < d->instances_wanted)
            fail_msg("%zu serve:\n%s", serving(w, w->project), w->story.ptr);
        assert_true(process_present_n(d) <= d->instances_wanted + 1);
    }
}

/* Time in which nothing is decided, though agents do what they are asked for. */
static void nothing_for(struct world *w, int64_t seconds)
{
    for (size_t before = w->log_n; seconds > 0; seconds -= 10) {
        wait_s(w, seconds < 10 ? seconds : 10);
        if (w->log_n != before)
            fail_msg("something was decided:\n%s", w->story.ptr);
    }
}

static const struct instance *heir_of(struct world *w, struct id id)
{
    MODEL_EACH (instance, i, &model_deployment(w->model, id)->instances)
        if (i->status == INSTANCE_PENDING && strstr(i->because, "\"rule\":\"spread\"") != NULL)
            return i;
    fail_msg("nothing moves:\n%s", w->story.ptr);
    return NULL;
}

static const char *arena_id(struct world *w, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return arena_strdup(&w->arena, text);
}

static const struct instance *a_move_begins(struct world *w, struct id id)
{
    comes(w, W2);
    wait_s(w, w->settings.spread_after_seconds);
    return heir_of(w, id);
}

static void nodes_come(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    stands(w, id, 3, 0, 0);
    comes(w, W2);
    comes(w, W3);
    story_clear(w);
    nothing_for(w, w->settings.spread_after_seconds - 1);
    wait_s(w, 1);
    stands(w, id, 3, 1, 0);
    turns(w, id, 12);
    stands(w, id, 1, 1, 1);
    assert_int_equal(model_deployment(w->model, id)->instances.n, 3);
    story_has(w, "spread over more nodes: instance");
    nothing_for(w, 3600);
    assert_replays(w);
    world_free(w);
}

/* The old one goes when the heir has been healthy for a while and every edge knows it. */
static void edges_know_first(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->settings.settle_seconds = 2;
    struct id id = all_on_w1(w, 3, 256);
    const struct instance *heir = a_move_begins(w, id);
    observe(w, heir, "running", "NOMINAL", "");
    uint64_t before = w->edges[0].confirmed_seq;
    wait_s(w, 1);
    w->edges[0].confirmed_seq = w->model->seq; /* it knows all, and the heir has only just become healthy */
    plan(w);
    stands(w, id, 3, 1, 0);
    w->edges[0].confirmed_seq = before;
    for (int i = 0; i < 30; i++)
        wait_s(w, 1);
    stands(w, id, 3, 1, 0);
    w->edges[0].confirmed_seq = w->model->seq;
    plan(w);
    stands(w, id, 2, 1, 0);
    assert_int_equal(serving(w, w->project), 3);
    MODEL_EACH (instance, i, &model_deployment(w->model, id)->instances)
        assert_true(i->wanted == DESIRED_RUNNING || instance_told(i) == DESIRED_DRAINING); /* withdrawn first */
    world_free(w);
}

/* Two on one node and one on the other is the best that two nodes allow. */
static void only_for_the_better(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    comes(w, W2);
    wait_s(w, w->settings.spread_after_seconds);
    turns(w, id, 12);
    stands(w, id, 2, 1, 0);
    nothing_for(w, 3600);
    comes(w, W3);
    nothing_for(w, w->settings.spread_after_seconds - 1);
    wait_s(w, 1);
    turns(w, id, 12);
    stands(w, id, 1, 1, 1);
    nothing_for(w, 3600);
    world_free(w);
}

/* All on one node is one zone; on two of one zone is better, on two of two is best. */
static void another_zone(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->settings.instances_min = 1;
    leaves(w, W1);
    wait_s(w, 60);
    struct id id = live_and_quiet(w, 2, 256);
    stands(w, id, 0, 1, 1);
    nothing_for(w, 3600);
    comes(w, W1);
    wait_s(w, w->settings.spread_after_seconds);
    turns(w, id, 12);
    assert_int_equal(here(w, id, W1), 1);
    assert_int_equal(here(w, id, W2) + here(w, id, W3), 1);
    nothing_for(w, 3600);
    world_free(w);
}

/* One alone is in one zone wherever it is. */
static void one_alone(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 1, 256);
    comes(w, W2);
    comes(w, W3);
    nothing_for(w, 3600);
    stands(w, id, 1, 0, 0);
    world_free(w);
}

static void no_room(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 2, 900);
    capacity_is(w, model_node(w->model, w->nodes[W2]), 899);
    comes(w, W2);
    nothing_for(w, 3600);
    stands(w, id, 2, 0, 0);
    capacity_is(w, model_node(w->model, w->nodes[W2]), 2048);
    plan(w);
    (void)heir_of(w, id);
    turns(w, id, 10);
    stands(w, id, 1, 1, 0);
    world_free(w);
}

/* It is back before long each time, and gone again. */
static void a_node_that_comes_and_goes(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    for (int i = 0; i < 20; i++) {
        comes(w, W2);
        nothing_for(w, w->settings.spread_after_seconds - 1);
        leaves(w, W2);
        nothing_for(w, 300);
    }
    stands(w, id, 3, 0, 0);
    world_free(w);
}

/* Another one that is ready for longer is not passed over for one that has more room. */
static void the_newest_is_passed_over(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    capacity_is(w, model_node(w->model, w->nodes[W2]), 1024);
    comes(w, W2);
    wait_s(w, w->settings.spread_after_seconds - 1);
    comes(w, W3);
    wait_s(w, 1);
    stands(w, id, 3, 1, 0);
    turns(w, id, 6);
    stands(w, id, 2, 1, 0);
    wait_s(w, w->settings.spread_after_seconds);
    turns(w, id, 6);
    stands(w, id, 1, 1, 1);
    world_free(w);
}

/* What does not get healthy there goes; what was there stays, and it is not tried again at once. */
static void an_heir_that_fails(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    const struct instance *heir = a_move_begins(w, id);
    observe(w, heir, "failed", "EXIT", "it ended 8 times");
    size_t before = w->log_n;
    wait_s(w, w->settings.replace_delay_seconds);
    assert_int_equal(w->log_n, before + 1); /* its DeleteInstance: it is not replaced */
    stands(w, id, 3, 0, 0);
    assert_int_equal(model_deployment(w->model, id)->instances.n, 3);
    nothing_for(w, MODEL_CALM_SECONDS - w->settings.replace_delay_seconds - 1);
    wait_s(w, 1);
    (void)heir_of(w, id);
    world_free(w);
}

/* The one whose place it is to take fails meanwhile: that is the move. */
static void an_old_one_that_fails(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256), old_id;
    const struct instance *heir = a_move_begins(w, id);
    const char *named = strstr(heir->because, "\"insteadOf\":\"");
    assert_non_null(named);
    assert_true(id_parse((struct str){named + 13, ID_TEXT_SIZE - 1}, &old_id));
    observe(w, heir, "running", "NOMINAL", "");
    observe(w, model_instance(w->model, old_id), "failed", "EXIT", "");
    wait_s(w, w->settings.replace_delay_seconds);
    assert_null(model_instance(w->model, old_id));
    stands(w, id, 2, 1, 0);
    assert_int_equal(model_deployment(w->model, id)->instances.n, 3);
    nothing_for(w, 3600);
    world_free(w);
}

/* Its node is lost before it serves: the heir goes with it, the others never knew. */
static void an_heir_that_is_lost(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    (void)a_move_begins(w, id);
    DO(w, decide_suspect_node(&d, w->nodes[W2], STR("a"), STR("silent"), &out, &err));
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[W2])->status, NODE_LOST);
    stands(w, id, 3, 0, 0);
    assert_int_equal(model_deployment(w->model, id)->instances.n, 3);
    nothing_for(w, 3600);
    world_free(w);
}

/* The node drains again while the heir is on its way, and when it is there. */
static void a_node_that_drains_again(void **state)
{
    (void)state;
    for (int is_healthy = 0; is_healthy < 2; is_healthy++) {
        struct world *w = world_new();
        struct id id = all_on_w1(w, 3, 256);
        const struct instance *heir = a_move_begins(w, id);
        if (is_healthy)
            observe(w, heir, "running", "NOMINAL", "");
        leaves(w, W2);
        turns(w, id, 6);
        stands(w, id, 3, 0, 0);
        assert_int_equal(model_deployment(w->model, id)->instances.n, 3);
        nothing_for(w, 3600);
        world_free(w);
    }
}

/* In a scaled deployment the one more is no surplus; when fewer are wanted meanwhile, it ends with as many. */
static void scaled(void **state)
{
    (void)state;
    for (int is_less = 0; is_less < 2; is_less++) {
        struct world *w = world_new();
        struct id id = all_on_w1(w, 3, 256);
        DO(w, decide_scale_process(&d, id, 4, STR(""), STR(""), &out, &err));
        turns(w, id, 0);
        for (int i = 0; i < 4; i++)
            a_turn(w);
        stands(w, id, 4, 0, 0);
        (void)a_move_begins(w, id);
        stands(w, id, 4, 1, 0);
        if (is_less)
            DO(w, decide_scale_process(&d, id, 3, STR(""), STR(""), &out, &err));
        for (int i = 0; i < 12; i++) {
            a_turn(w);
            assert_true(serving(w, w->project) >= (is_less ? 3u : 4u));
        }
        assert_int_equal(serving(w, w->project), is_less ? 3 : 4);
        if (is_less) {
            wait_s(w, w->settings.spread_after_seconds);
            turns(w, id, 12);
        }
        assert_int_equal(here(w, id, W2), 1);
        nothing_for(w, 3600);
        world_free(w);
    }
}

/* What a person put there stays there; the others of the deployment may move. */
static void by_hand(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 1, 256), mine;
    struct instance_create c = {.process_id = id, .node_id = w->nodes[W1]};
    DO(w, decide_create_instance(&d, &c, &out, &mine, &err));
    for (int i = 0; i < 3; i++)
        a_turn(w);
    stands(w, id, 2, 0, 0);
    (void)a_move_begins(w, id);
    for (int i = 0; i < 10; i++)
        a_turn(w);
    stands(w, id, 1, 1, 0);
    assert_ptr_equal(on(w, id, "w1"), model_instance(w->model, mine));
    nothing_for(w, 3600);
    world_free(w);
}

/* A person stops the heir: nothing else moves until it is wanted again. */
static void stopped_by_hand(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    struct id heir_id = a_move_begins(w, id)->id;
    comes(w, W3);
    DO(w, decide_instance_desired(&d, heir_id, STR("stopped"), &out, &err));
    plan(w);
    observe(w, model_instance(w->model, heir_id), "stopped", "", "");
    nothing_for(w, 3600);
    stands(w, id, 3, 0, 0);
    DO(w, decide_instance_desired(&d, heir_id, STR("running"), &out, &err));
    turns(w, id, 12);
    stands(w, id, 1, 1, 1);
    world_free(w);
}

/* Another version is on its way in: it will be placed as nodes are then. */
static void not_during_a_deployment(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    comes(w, W2);
    struct id next = deploy_of(w, w->project, 3, 256);
    wait_s(w, w->settings.spread_after_seconds); /* its image is being built */
    assert_int_equal(model_deployment(w->model, next)->status, DEPLOYMENT_BUILDING);
    stands(w, id, 3, 0, 0);
    DO(w, decide_cancel_deployment(&d, next, &out, &err));
    plan(w);
    (void)heir_of(w, id);
    world_free(w);
}

/* The other one of its node goes by a person's hand meanwhile, and its place is taken by one on another node: without
 * the old one there would be a node less. The heir goes. */
static void in_vain(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 2, 256);
    const struct process *p = model_deployment(w->model, id);
    const struct instance *first = p->instances.items[0];
    struct id heir_id = a_move_begins(w, id)->id;
    assert_null(strstr(model_instance(w->model, heir_id)->because, arena_id(w, first->id))); /* the newer one goes */
    struct instance_create c = {.process_id = id, .node_id = w->nodes[W2]};
    struct id mine;
    DO(w, decide_create_instance(&d, &c, &out, &mine, &err));
    DO(w, decide_delete_instance(&d, first->id, &out, &err));
    for (int i = 0; i < 6; i++)
        a_turn(w);
    assert_null(model_instance(w->model, heir_id));
    stands(w, id, 1, 1, 0);
    story_has(w, "spreading is not needed any more");
    world_free(w);
}

/* Nobody looks at deployments that stand well when a node changes, nor at crowded ones when anything else does. */
static void asks_who_could_stand_better(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    (void)id;
    nothing_for(w, 3600);
    struct plan p = {.events = {.arena = &w->arena}};
    plan_next(w->kept, w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
    assert_int_equal(p.asked_n, 0);
    assert_true(p.deadline_ms == PLAN_NEVER);
    DO(w, decide_undrain_node(&d, w->nodes[W2], &out, &err));
    plan_next(w->kept, w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
    assert_int_equal(p.asked_n, 2); /* the node, and the deployment that waits for one */
    assert_int_equal(p.deadline_ms - w->now_ms, w->settings.spread_after_seconds * SECOND);
    wait_s(w, w->settings.spread_after_seconds);
    for (int i = 0; i < 6; i++)
        a_turn(w);
    comes(w, W3);
    wait_s(w, w->settings.spread_after_seconds);
    for (int i = 0; i < 6; i++)
        a_turn(w);
    stands(w, id, 1, 1, 1);
    DO(w, decide_drain_node(&d, w->nodes[0], STR(""), &out, &err)); /* none of it is there */
    plan_next(w->kept, w->model, &w->settings, w->now_ms, &w->seen, &w->ids, &p);
    assert_int_equal(p.asked_n, 1);
    world_free(w);
}

static void says_why(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id id = all_on_w1(w, 3, 256);
    struct explanation e;
    const struct instance *heir = a_move_begins(w, id);
    assert_int_equal(explain_instance(w->model, &w->settings, heir->id, &w->arena, &e, NULL), OK);
    if (strstr(e.where.ptr, "its node had none of its deployment") == NULL)
        fail_msg("%s", e.where.ptr);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_come),
        cmocka_unit_test(edges_know_first),
        cmocka_unit_test(only_for_the_better),
        cmocka_unit_test(another_zone),
        cmocka_unit_test(one_alone),
        cmocka_unit_test(no_room),
        cmocka_unit_test(a_node_that_comes_and_goes),
        cmocka_unit_test(the_newest_is_passed_over),
        cmocka_unit_test(an_heir_that_fails),
        cmocka_unit_test(an_old_one_that_fails),
        cmocka_unit_test(an_heir_that_is_lost),
        cmocka_unit_test(a_node_that_drains_again),
        cmocka_unit_test(scaled),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(stopped_by_hand),
        cmocka_unit_test(not_during_a_deployment),
        cmocka_unit_test(in_vain),
        cmocka_unit_test(asks_who_could_stand_better),
        cmocka_unit_test(says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
