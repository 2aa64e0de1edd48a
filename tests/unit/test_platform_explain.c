/* Why something is where it is, why it waits or failed, what would change it. */
#include "platform_world.h"

#include "platform/explain.h"

static void says(struct str text, const char *part)
{
    if (text.ptr == NULL || strstr(text.ptr, part) == NULL)
        fail_msg("no '%s' in: %s", part, text.ptr == NULL ? "" : text.ptr);
}

static struct explanation of_instance(struct world *w, const struct instance *i)
{
    struct explanation e;
    assert_int_equal(explain_instance(w->model, &w->settings, i->id, &w->arena, &e, NULL), OK);
    return e;
}

static struct explanation of_deployment(struct world *w, struct id id)
{
    struct explanation e;
    assert_int_equal(explain_deployment(w->model, &w->settings, id, &w->arena, &e, NULL), OK);
    return e;
}

static struct explanation of_node(struct world *w, int n)
{
    struct explanation e;
    assert_int_equal(explain_node(w->model, &w->settings, w->nodes[n], &w->arena, &e, NULL), OK);
    return e;
}

static void an_instance_that_runs(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct explanation e = of_instance(w, on(w, one, "w1"));
    says(e.where,
         "on node 'w1' in zone 'z0' of region 'local': it is one of its deployment's first instances; it needs "
         "1 vcpu and 256 MiB, and 31 vcpus and ");
    says(e.where, "with it 1 of the same was there, since 2027-01-15T08:00:00Z");
    says(e.state, "running and NOMINAL since 2027-01-15T08:00:00Z");
    assert_int_equal(e.why.len, 0);
    assert_int_equal(e.change.len, 0);
    e = of_deployment(w, one);
    says(e.where, "1 on 'w1' (zone 'z0'), 1 on 'w2' (zone 'z1'), 1 on 'w3' (zone 'z1')");
    says(e.state, "live since");
    says(e.state, "3 of 3 instances healthy");
    assert_int_equal(e.why.len, 0);
    struct errinfo err;
    assert_int_equal(explain_instance(w->model, &w->settings, one, &w->arena, &e, &err), ERR_NOT_FOUND);
    assert_int_equal(explain_node(w->model, &w->settings, one, &w->arena, &e, &err), ERR_NOT_FOUND);
    assert_int_equal(explain_deployment(w->model, &w->settings, w->project, &w->arena, &e, &err), ERR_NOT_FOUND);
    assert_int_equal(explain_application(w->model, &w->settings, one, &w->arena, &e, &err), ERR_NOT_FOUND);
    world_free(w);
}

static void an_instance_in_trouble(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    const struct instance *i = on(w, one, "w1");
    observe(w, i, "running", "ERROR", "GET / answers 500");
    struct explanation e = of_instance(w, i);
    says(e.why, "it runs but is not healthy (a TCP connect on port 8080): GET / answers 500");
    says(e.change, "no requests are sent to it");
    e = of_deployment(w, one);
    says(e.why, "2 of 3 instances are healthy; instance ");
    says(e.why, "on 'w1' is running and ERROR: GET / answers 500");
    observe(w, i, "failed", "EXIT", "exit status 1");
    e = of_instance(w, i);
    says(e.why, "could not be started: exit status 1");
    says(e.change, "it is replaced at 2027-01-15T08:00:10Z, 10 s after it failed (failure 1 of a series)");
    DO(w, decide_instance_desired(&d, on(w, one, "w2")->id, STR("stopped"), &out, &err));
    e = of_instance(w, on(w, one, "w2"));
    says(e.why, "it was told to go: asked for by a person");
    observe(w, on(w, one, "w2"), "stopped", "EXIT", "");
    e = of_instance(w, on(w, one, "w2"));
    says(e.why, "a person stopped it");
    says(e.change, "{\"desired\":\"running\"}");
    DO(w, decide_delete_instance(&d, on(w, one, "w3")->id, &out, &err));
    e = of_instance(w, on(w, one, "w3"));
    says(e.why, "it was told to go: deleted by a person");
    says(e.change, "at the latest at 2027-01-15T08:01:00Z");
    world_free(w);
}

static void a_deployment_that_begins(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = deploy(w);
    struct explanation e = of_deployment(w, one);
    says(e.why, "its image is being built by its builder on node 'op', which is pending");
    says(e.change, "after 1800 s it counts as failed");
    const struct instance *builder = model_process_by_name(w->model, STR("image-builder"))->instances.items[0];
    e = of_instance(w, builder);
    says(e.where, "on node 'op' in zone 'z0' of region 'local': it builds an image");
    says(e.why, "node 'op' has not reported it yet");
    build(w, one);
    e = of_deployment(w, one);
    says(e.why, "0 of 3 instances are healthy; instance");
    says(e.change, "if they are not by 2027-01-15T08:02:00Z, it fails and what served goes on");
    all_observe(w, one, "running", "ERROR");
    wait_s(w, 121);
    e = of_deployment(w, one);
    says(e.state, "failed since");
    says(e.why, "does the program listen on port 8080");
    says(e.change, "mend it and deploy again");
    world_free(w);
}

/* Too big by a little: who has how much, who cannot, and what to do. */
static void no_room(void **state)
{
    (void)state;
    struct world *w = world_new();
    DO(w, decide_drain_node(&d, w->nodes[3], STR(""), &out, &err));
    struct deployment_create c = {.project_id = w->project,
                                  .context_digest = DIGEST,
                                  .drain_seconds = -1,
                                  .resources = {.memory_bytes = INT64_C(1500) << 20}};
    struct id one;
    DO(w, decide_create_deployment(&d, &c, &out, &one, &err));
    plan(w);
    build(w, one);
    struct explanation e = of_deployment(w, one);
    says(e.why,
         "it needs room for 3 instances of 1 vcpu and 1500 MiB, and there is room for 2: 'w1' has 32 vcpus and ");
    says(e.why, "'w3' is draining");
    says(e.change, "add a worker with 1 vcpu and 1500 MiB free, stop a deployment, or ask for fewer or smaller");
    /* What it says helps: a worker is back. */
    DO(w, decide_undrain_node(&d, w->nodes[3], &out, &err));
    wait_s(w, 1);
    assert_int_equal(model_deployment(w->model, one)->status, DEPLOYMENT_STARTING);
    /* No worker at all. */
    for (int n = 1; n < 4; n++)
        DO(w, decide_drain_node(&d, w->nodes[n], STR(""), &out, &err));
    struct id two = deploy(w);
    build(w, two);
    e = of_deployment(w, two);
    says(e.why, "there is room for 0: 'w1' is draining; 'w2' is draining; 'w3' is draining");
    says(e.change, "add a worker, or make one ready");
    world_free(w);
}

static void nodes(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct id one = go_live(w);
    struct explanation e = of_node(w, 1);
    says(e.where, "in zone 'z0' of region 'local', as it joined; labels: worker");
    says(e.state, "ready since 2027-01-15T08:00:00Z; 1 instances, 31 vcpus and ");
    assert_int_equal(e.why.len, 0);
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent"), &out, &err));
    e = of_node(w, 1);
    says(e.why, "some replicas hear nothing of it: a");
    plan(w);
    e = of_node(w, 1);
    says(e.why, "these replicas hear nothing of it: a: 1 of 1 replicas");
    says(e.change, "as soon as its agent is heard again");
    (void)one;
    DO(w, decide_drain_node(&d, w->nodes[2], STR("new disk"), &out, &err));
    e = of_node(w, 2);
    says(e.why, "it drains: nothing new is placed there: new disk");
    says(e.change, "instances are still there; each goes once another one serves in its place");
    DO(w, decide_drain_node(&d, w->nodes[0], STR(""), &out, &err));
    e = of_node(w, 0);
    says(e.change, "the platform's own programs");
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instance_that_runs),
        cmocka_unit_test(an_instance_in_trouble),
        cmocka_unit_test(a_deployment_that_begins),
        cmocka_unit_test(no_room),
        cmocka_unit_test(nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
