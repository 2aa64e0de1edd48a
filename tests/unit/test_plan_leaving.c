/* How instances leave: withdrawn by every edge before they are told to stop; what a person stopped keeps its room; what
 * is over gives way; what goes is not replaced. */
#include "platform_world.h"

/* ---- Withdrawn first ---- */

enum how { DELETED_BY_HAND, STOPPED_BY_HAND, NODE_DRAINS, SCALED_DOWN, HOWS_N };

static void edge_polls(struct world *w, int64_t seconds, uint64_t confirmed)
{
    w->edges[0].confirmed_seq = confirmed;
    wait_s(w, seconds);
}

/* Four are live on three nodes, an edge knows them; one is told to go. */
static const struct instance *one_goes(struct world *w, enum how how)
{
    struct id one;
    const struct instance *leaves = NULL;
    (void)world_with_room(w, 0, &one);
    DO(w, decide_scale_process(&d, one, 4, STR(""), STR(""), &out, &err));
    for (int i = 0; i < 5; i++)
        a_turn(w);
    assert_int_equal(serving(w, w->project), 4);
    const struct instance *first = model_deployment(w->model, one)->instances.items[0];
    if (how == DELETED_BY_HAND)
        DO(w, decide_delete_instance(&d, first->id, &out, &err));
    else if (how == STOPPED_BY_HAND)
        DO(w, decide_instance_desired(&d, first->id, STR("stopped"), &out, &err));
    else if (how == NODE_DRAINS)
        DO(w, decide_drain_node(&d, first->node->id, STR(""), &out, &err));
    else
        DO(w, decide_scale_process(&d, one, 3, STR(""), STR(""), &out, &err));
    for (int i = 0; i < 10 && leaves == NULL; i++) {
        for (size_t k = 0; k < w->model->instances.n;
             k++) { /* nodes start what is new; the edge confirms what it knew */
            const struct instance *at = w->model->instances.items[k];
            if (at->status == INSTANCE_PENDING && at->wanted == DESIRED_RUNNING)
                observe(w, at, "running", "NOMINAL", "");
        }
        MODEL_EACH (instance, at, &model_deployment(w->model, one)->instances)
            leaves = at->wanted != DESIRED_RUNNING ? at : leaves;
        if (leaves == NULL)
            edge_polls(w, 1, w->model->routes_seq);
    }
    assert_non_null(leaves);
    return leaves;
}

static bool is_told_to_stop(const struct instance *i)
{
    enum desired d = instance_told(i);
    return d == DESIRED_STOPPED || d == DESIRED_DELETED;
}

static bool is_endpoint(struct world *w, const struct instance *i)
{
    const struct instance *to[16];
    size_t n = project_endpoints(model_project(w->model, w->project), to, 16);
    for (size_t k = 0; k < n; k++)
        if (to[k] == i)
            return true;
    return false;
}

static void stops_when_edges_know(void **state)
{
    (void)state;
    for (enum how how = 0; how < HOWS_N; how++) {
        struct world *w = world_new();
        const struct instance *i = one_goes(w, how);
        uint64_t before = w->edges[0].confirmed_seq;
        assert_true(before < i->changed_seq);
        for (int k = 0; k < 5; k++) {
            edge_polls(w, 1, before);
            assert_int_equal(i->status, INSTANCE_DRAINING);
            assert_false(is_endpoint(w, i));
            if (is_told_to_stop(i))
                fail_msg("way %d: told to stop before the edge knows:\n%s", how, w->story.ptr);
        }
        story_clear(w);
        edge_polls(w, 1, w->model->routes_seq);
        assert_true(is_told_to_stop(i));
        int64_t told_ns = i->since_ns;
        assert_int_equal(told_ns / 1000000, w->now_ms); /* its time to stop begins only now */
        struct id id = i->id;
        observe(w, i, "stopped", "EXIT", "");
        plan(w);
        assert_true(how == STOPPED_BY_HAND || model_instance(w->model, id) == NULL);
        assert_replays(w);
        world_free(w);
    }
}

/* One that polls and never confirms, and one that is silent. */
static void no_edge_is_waited_for_for_ever(void **state)
{
    (void)state;
    struct world *w = world_new();
    const struct instance *i = one_goes(w, DELETED_BY_HAND);
    uint64_t before = w->edges[0].confirmed_seq;
    for (int64_t s = 0; s < w->settings.withdraw_timeout_seconds - 1; s++) {
        edge_polls(w, 1, before);
        assert_false(is_told_to_stop(i));
    }
    edge_polls(w, 1, before);
    assert_true(is_told_to_stop(i));
    world_free(w);

    w = world_new();
    i = one_goes(w, STOPPED_BY_HAND);
    w->now_ms += w->settings.edge_live_seconds * SECOND;
    plan(w);
    assert_false(is_told_to_stop(i));
    w->now_ms += SECOND;
    plan(w);
    assert_true(is_told_to_stop(i));
    world_free(w);
}

/* It has drained with its deployment for longer than an edge is waited for: edges have their time all the same. */
static void one_that_drains_already_is_withdrawn_first(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->seen.edges_n = 1;
    w->edges[0] = (struct edge_observed){STR("e"), 0, w->now_ms};
    wait_s(w, 60);
    struct id one = go_live(w);
    w->edges[0].confirmed_seq = w->model->routes_seq;
    (void)go_live(w);
    const struct instance *i = model_deployment(w->model, one)->instances.items[0];
    observe(w, i, "draining", "NOMINAL", "");
    assert_int_equal(i->status, INSTANCE_DRAINING);
    uint64_t before = w->edges[0].confirmed_seq;
    edge_polls(w, 2 * w->settings.withdraw_timeout_seconds, before);
    DO(w, decide_delete_instance(&d, i->id, &out, &err));
    for (int64_t s = 0; s < w->settings.withdraw_timeout_seconds - 1; s++) {
        edge_polls(w, 1, before);
        assert_false(is_told_to_stop(i));
    }
    edge_polls(w, 1, before);
    assert_true(is_told_to_stop(i));
    world_free(w);
}

/* Where no edge can lead, nobody is waited for. */
static void what_was_never_routed_stops_at_once(void **state)
{
    (void)state;
    struct world *w = world_new();
    w->seen.edges_n = 1;
    w->edges[0] = (struct edge_observed){STR("e"), 0, w->now_ms};
    struct id one = deploy(w);
    build(w, one);
    all_observe(w, one, "starting", "");
    const struct instance *i = model_deployment(w->model, one)->instances.items[0];
    DO(w, decide_delete_instance(&d, i->id, &out, &err));
    assert_int_equal(instance_told(i), DESIRED_DELETED);
    world_free(w);
}

static void a_withdrawal_is_of_what_stops(void **state)
{
    (void)state;
    struct world *w = world_new();
    const struct instance *i = model_deployment(w->model, go_live(w))->instances.items[0];
    struct event e = event_of(EVENT_INSTANCE_STATUS_CHANGE);
    e.instance_status_change = (struct instance_status_change){
        .instance_id = i->id, .status = STR("running"), .desired = STR("deleted"), .withdraw = true};
    cannot_follow(w, e, "only an instance that is to stop can be withdrawn");
    e.instance_status_change.status = STR("draining");
    e.instance_status_change.desired = STR("running");
    cannot_follow(w, e, "only an instance that is to stop can be withdrawn");
    world_free(w);
}

/* ---- Stopped by a person ---- */

static void what_is_stopped_keeps_its_room(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, other = world_with_room(w, 2, &one); /* room for 6, 5 are there */
    const struct instance *i = model_deployment(w->model, one)->instances.items[0];
    int64_t used = node_used(i->node).memory_bytes;
    DO(w, decide_instance_desired(&d, i->id, STR("stopped"), &out, &err));
    a_turn(w);
    observe(w, i, "stopped", "EXIT", "");
    plan(w);
    assert_int_equal(i->status, INSTANCE_STOPPED);
    assert_int_equal(node_used(i->node).memory_bytes, used);
    DO(w, decide_scale_process(&d, model_project(w->model, other)->live->id, 3, STR(""), STR(""), &out, &err));
    for (int k = 0; k < 5; k++)
        a_turn(w);
    assert_int_equal(serving(w, other), 3);
    REFUSED(w, decide_scale_process(&d, model_project(w->model, other)->live->id, 4, STR(""), STR(""), &out, &err),
            ERR_CONFLICT, "");
    DO(w, decide_instance_desired(&d, i->id, STR("running"), &out, &err));
    for (int k = 0; k < 5; k++)
        a_turn(w);
    assert_int_equal(serving(w, w->project), 3);
    MODEL_EACH (node, n, &w->model->nodes)
        assert_true(node_used(n).memory_bytes <= n->capacity.memory_bytes);
    world_free(w);
}

/* Its node has less than it had. */
static void is_not_started_where_it_does_not_fit(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one;
    (void)world_with_room(w, 3, &one);
    const struct instance *i = model_deployment(w->model, one)->instances.items[0];
    DO(w, decide_instance_desired(&d, i->id, STR("stopped"), &out, &err));
    a_turn(w);
    observe(w, i, "stopped", "EXIT", "");
    capacity_is(w, i->node, 1000);
    REFUSED(w, decide_instance_desired(&d, i->id, STR("running"), &out, &err), ERR_LIMIT,
            "has no room for it any more: more is reserved there than it has (memory 8");
    assert_int_equal(i->wanted, DESIRED_STOPPED);
    world_free(w);
}

/* Its deployment drains and edges have not confirmed that yet: one of its instances, deleted by hand, waits as well. */
static void waits_also_while_its_deployment_drains(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one;
    (void)world_with_room(w, 0, &one);
    const struct instance *i = model_deployment(w->model, one)->instances.items[0];
    w->edges[0].confirmed_seq = w->model->seq;
    DO(w, decide_stop_deployment(&d, one, &out, &err));
    observe(w, i, "draining", "NOMINAL", "");
    assert_int_equal(i->status, INSTANCE_DRAINING);
    DO(w, decide_delete_instance(&d, i->id, &out, &err));
    assert_int_equal(instance_told(i), DESIRED_DRAINING);
    edge_polls(w, 1, w->model->seq);
    assert_int_equal(instance_told(i), DESIRED_DELETED);
    world_free(w);
}

/* ---- Cancelled while it rolled in ---- */

static void cancelled_gives_way(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, two;
    (void)world_with_room(w, 2, &one);
    two = deploy_of(w, w->project, 3, 900);
    for (int i = 0; i < 40 && model_deployment(w->model, two)->instances.n < 2; i++)
        a_turn(w);
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 2);
    DO(w, decide_cancel_deployment(&d, two, &out, &err));
    /* What the old one has left is gone: only what the new one that serves has is room for it. */
    MODEL_EACH (node, n, &w->model->nodes) {
        int64_t stay_n = 0;
        MODEL_EACH (instance, i, &n->instances)
            stay_n += instance_is_healthy(i);
        if (n->prefix[0] != '\0')
            capacity_is(w, n, stay_n * 900 + 10);
    }
    plan(w);
    size_t least = 3;
    for (int i = 0; i < 200; i++) {
        a_turn(w);
        least = serving(w, w->project) < least ? serving(w, w->project) : least;
    }
    assert_int_equal(model_deployment(w->model, two)->status, DEPLOYMENT_CANCELLED);
    assert_int_equal(model_deployment(w->model, two)->instances.n, 0);
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 3);
    assert_int_equal(least, 2); /* one at a time */
    world_free(w);
}

/* Nobody else serves: better another version than none. */
static void the_last_that_serves_does_not_give_way(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one, two;
    (void)world_with_room(w, 2, &one);
    two = deploy_of(w, w->project, 3, 900);
    for (int i = 0; i < 40 && process_healthy_n(model_deployment(w->model, two)) < 2; i++)
        a_turn(w);
    DO(w, decide_cancel_deployment(&d, two, &out, &err));
    MODEL_EACH (node, n, &w->model->nodes)
        if (n->prefix[0] != '\0')
            capacity_is(w, n, 0);
    MODEL_EACH (instance, i, &model_deployment(w->model, one)->instances)
        if (i->status == INSTANCE_RUNNING)
            observe(w, i, "failed", "EXIT", "its disk is gone");
    for (int i = 0; i < 100; i++)
        a_turn(w);
    assert_int_equal(process_healthy_n(model_deployment(w->model, one)), 0);
    assert_true(process_healthy_n(model_deployment(w->model, two)) >= 1);
    world_free(w);
}

/* ---- Fewer are wanted ---- */

static void what_goes_is_not_replaced(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one;
    (void)world_with_room(w, 0, &one);
    const struct process *p = model_deployment(w->model, one);
    DO(w, decide_scale_process(&d, one, 4, STR(""), STR(""), &out, &err));
    for (int i = 0; i < 5; i++)
        a_turn(w);
    observe(w, p->instances.items[1], "failed", "EXIT", "exit status 1");
    w->now_ms += 60 * SECOND; /* it is to be replaced now */
    w->edges[0].seen_ms = w->now_ms;
    DO(w, decide_scale_process(&d, one, 3, STR(""), STR(""), &out, &err));
    story_clear(w);
    plan(w);
    if (strstr(w->story.ptr, "CreateInstance") != NULL)
        fail_msg("one too many:\n%s", w->story.ptr);
    for (int i = 0; i < 10; i++)
        a_turn(w);
    assert_int_equal(p->instances.n, 3);
    assert_int_equal(serving(w, w->project), 3);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stops_when_edges_know),
        cmocka_unit_test(no_edge_is_waited_for_for_ever),
        cmocka_unit_test(one_that_drains_already_is_withdrawn_first),
        cmocka_unit_test(what_was_never_routed_stops_at_once),
        cmocka_unit_test(a_withdrawal_is_of_what_stops),
        cmocka_unit_test(what_is_stopped_keeps_its_room),
        cmocka_unit_test(is_not_started_where_it_does_not_fit),
        cmocka_unit_test(waits_also_while_its_deployment_drains),
        cmocka_unit_test(cancelled_gives_way),
        cmocka_unit_test(the_last_that_serves_does_not_give_way),
        cmocka_unit_test(what_goes_is_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
