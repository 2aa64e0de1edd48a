/* What is over leaves the model but for the newest (platform/apply_retain.c). That none goes that is needed, in stories
 * with every fault, is the rule `kept` of the simulator; here is what it looks like from outside, and what that does
 * not meet: images of applications, nodes that leave, certificates, old logs. */
#include "platform_world.h"

#include "control/collector.h"
#include "platform/decide_application.h"
#include "platform/explain.h"
#include "platform/snapshot.h"

#define DAY_NS (INT64_C(86400) * 1000000000)

static struct world *world_that_keeps(uint32_t deployments, uint32_t others)
{
    struct world *w = world_new();
    w->is_beside_its_log = true; /* a planner that makes the plans again would keep more */
    w->model->kept = (struct retention){deployments, others, others, others};
    return w;
}

static struct id try_deploy(struct world *w, struct str digest)
{
    struct deployment_create c = {.project_id = w->project, .context_digest = digest, .drain_seconds = 0};
    struct id id = ID_NONE;
    DO(w, decide_create_deployment(&d, &c, &out, &id, &err));
    plan(w);
    return id;
}

static struct str digest_of(struct world *w, unsigned n)
{
    return str_from(arena_printf(&w->arena, "sha256:%064u", n));
}

/* Built as the nth, live, and what was before it and every builder gone. */
static struct id serve(struct world *w, unsigned n)
{
    struct id id = try_deploy(w, digest_of(w, n));
    const struct process *p = model_deployment(w->model, id);
    struct image_observed o = {
        .image_id = p->image_id, .status = STR("ready"), .digest = digest_of(w, 1000 + n), .size_bytes = 4096};
    DO(w, decide_image_observed(&d, &o, &out, &err));
    for (int i = 0; i < 100; i++)
        a_turn(w);
    assert_int_equal(model_deployment(w->model, id)->status, DEPLOYMENT_LIVE);
    return id;
}

/* Its build fails. */
static struct id fail_to_build(struct world *w, unsigned n)
{
    struct id id = try_deploy(w, digest_of(w, n));
    const struct process *p = model_deployment(w->model, id);
    struct image_observed o = {.image_id = p->image_id, .status = STR("failed"), .cause = STR("no Dockerfile")};
    DO(w, decide_image_observed(&d, &o, &out, &err));
    for (int i = 0; i < 100; i++)
        a_turn(w);
    return id;
}

static bool is_there(struct world *w, struct id id)
{
    return model_deployment(w->model, id) != NULL;
}

static bool has_blob(struct world *w, unsigned n)
{
    return blob_is_named(w->model, digest_of(w, 1000 + n).ptr);
}

static void the_newest_stay(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(2, 2);
    struct id ids[6];
    for (unsigned i = 0; i < 6; i++)
        ids[i] = serve(w, i);
    assert_int_equal(w->model->processes.n, 1 + 3); /* the builder's; the live one and two that can be gone back to */
    assert_int_equal(w->model->images.n, 3);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(is_there(w, ids[i]), i >= 3);
        assert_int_equal(has_blob(w, i), i >= 3); /* what left is garbage, what may serve again is not */
    }
    assert_true(keys_are_right(w->model));
    AUTO(buf) struct buf name = {0};
    process_describe(model_deployment(w->model, ids[5]), &name);
    buf_add_char(&name, '\0');
    assert_string_equal(name.ptr, "hello/6"); /* counted, not looked up */
    world_free(w);
}

/* A row of failures does not push out what one would go back to. */
static void failures_do_not_push_out_what_served(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(2, 2);
    struct id one = serve(w, 1), two = serve(w, 2), failed[5];
    for (unsigned i = 0; i < 5; i++)
        failed[i] = fail_to_build(w, 10 + i);
    assert_true(is_there(w, one) && is_there(w, two));
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(is_there(w, failed[i]), i >= 3);
    struct id again;
    DO(w, decide_repeat_deployment(&d, one, STR("somebody"), &out, &again, &err));
    for (int i = 0; i < 100; i++)
        a_turn(w);
    assert_ptr_equal(model_project(w->model, w->project)->live, model_deployment(w->model, again));
    world_free(w);
}

/* The image of one that left stays while another one runs it. */
static void an_image_stays_for_whoever_names_it(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(1, 1);
    struct id one = serve(w, 1), again;
    DO(w, decide_repeat_deployment(&d, one, STR("somebody"), &out, &again, &err));
    for (int i = 0; i < 100; i++)
        a_turn(w);
    (void)fail_to_build(w, 7);
    struct id image_id = model_deployment(w->model, again)->image_id;
    for (unsigned i = 0; i < 2; i++) { /* each ends after the first */
        struct id more;
        DO(w, decide_repeat_deployment(&d, again, STR("somebody"), &out, &more, &err));
        for (int k = 0; k < 100; k++)
            a_turn(w);
    }
    assert_false(is_there(w, one));
    assert_non_null(model_image(w->model, image_id));
    assert_true(has_blob(w, 1));
    (void)serve(w, 2);
    (void)serve(w, 3);
    assert_null(model_image(w->model, image_id));
    assert_false(has_blob(w, 1));
    world_free(w);
}

static void errors_say_where_to_look(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(1, 1);
    struct id one = serve(w, 1), image_id = model_deployment(w->model, one)->image_id, id;
    (void)serve(w, 2);
    (void)serve(w, 3);
    char text[ID_TEXT_SIZE];
    id_format(one, text);
    const char *part = arena_printf(
        &w->arena, "the deployment '%s' is over and no longer kept: 'slipform events --of %s'", text, text);
    REFUSED(w, decide_repeat_deployment(&d, one, STR("me"), &out, &id, &err), ERR_NOT_FOUND, part);
    REFUSED(w, decide_cancel_deployment(&d, one, &out, &err), ERR_NOT_FOUND, part);
    REFUSED(w, decide_stop_deployment(&d, one, &out, &err), ERR_NOT_FOUND, part);
    struct deployment_create c = {.project_id = w->project, .image_id = image_id};
    REFUSED(w, decide_create_deployment(&d, &c, &out, &id, &err), ERR_NOT_FOUND, "is over and no longer kept");
    struct errinfo err = {0};
    assert_int_equal(model_missing(w->model, OBJECT_PROCESS, w->project, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "there is no deployment"));
    assert_non_null(strstr(err.msg, "slipform events --of"));
    world_free(w);
}

/* Nothing of it was over when it was deleted: it goes when the last of it has ended and enough others were deleted. */
static void deleted_projects_go(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(3, 1);
    struct id first = w->project, deployment = serve(w, 1);
    DO(w, decide_delete_project(&d, first, &out, &err));
    for (unsigned i = 0; i < 2; i++) {
        DO(w, decide_create_project(&d, STR("Hello"), &out, &w->project, &err));
        struct id other = w->project;
        DO(w, decide_delete_project(&d, other, &out, &err));
    }
    assert_non_null(model_project(w->model, first)); /* its instances are still there */
    assert_int_equal(w->model->projects.n, 2);
    for (int i = 0; i < 100; i++)
        a_turn(w);
    assert_int_equal(w->model->projects.n, 1);
    assert_non_null(model_project(w->model, first)); /* it ended last */
    DO(w, decide_create_project(&d, STR("Hello"), &out, &w->project, &err));
    DO(w, decide_delete_project(&d, w->project, &out, &err));
    assert_null(model_project(w->model, first));
    assert_false(is_there(w, deployment));
    assert_int_equal(w->model->images.n, 0);
    assert_true(keys_are_right(w->model));
    world_free(w);
}

/* Built for an application that was never put. */
static void images_that_nothing_runs_go(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(2, 1);
    struct id ids[3];
    (void)serve(w, 9); /* there is a builder's process */
    for (unsigned i = 0; i < 3; i++) {
        DO(w, decide_create_image(&d, digest_of(w, i), &out, &ids[i], &err));
        struct image_observed o = {
            .image_id = ids[i], .status = STR("ready"), .digest = digest_of(w, 50 + i), .size_bytes = 1};
        DO(w, decide_image_observed(&d, &o, &out, &err));
        assert_non_null(model_image(w->model, ids[i])); /* its builder is still there */
        for (int k = 0; k < 100; k++)
            a_turn(w);
    }
    assert_null(model_image(w->model, ids[0]));
    assert_null(model_image(w->model, ids[1]));
    assert_non_null(model_image(w->model, ids[2]));
    assert_false(blob_is_named(w->model, digest_of(w, 51).ptr));
    assert_true(blob_is_named(w->model, digest_of(w, 52).ptr));
    assert_int_equal(w->model->images.n, 2); /* and that of the project */
    assert_true(keys_are_right(w->model));
    world_free(w);
}

/* Of those that left, as many as are kept; one that left longer ago joins as a new one. */
static void nodes_that_left_go(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(2, 1);
    for (int n = 1; n <= 2; n++) {
        DO(w, decide_drain_node(&d, w->nodes[n], STR(""), &out, &err));
        wait_s(w, 1);
        DO(w, decide_leave_node(&d, w->nodes[n], STR("sold"), &out, &err));
    }
    assert_null(model_node(w->model, w->nodes[1]));
    assert_int_equal(model_node(w->model, w->nodes[2])->status, NODE_GONE);
    plan(w);
    struct str label = STR("worker");
    struct node_joining j = {.node_id = w->nodes[1],
                             .name = STR("w1"),
                             .region = STR("local"),
                             .zone = STR("z1"),
                             .labels = {&label, 1},
                             .prefix = STR("fd00:0:0:1::/64")};
    DO(w, decide_join_node(&d, &j, &out, &err));
    assert_true(keys_are_right(w->model));
    world_free(w);
}

static void certificate(struct world *w, const char *host, const char *not_after, int64_t at_ns)
{
    struct event e = event_of(EVENT_ISSUE_CERTIFICATE);
    e.time = event_time_next(w->model->time, at_ns);
    e.issue_certificate = (struct issue_certificate){id_next(&w->ids), str_from(host), str_from(not_after)};
    struct errinfo err;
    if (model_apply(w->model, &e, &err) != OK)
        fail_msg("%s", err.msg);
}

static void certificates_go_long_after_they_expired(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(2, 1);
    int64_t now_ns = w->now_ms * 1000000; /* 2027-01-15 */
    certificate(w, "old.example", "2027-04-15T00:00:00Z", now_ns);
    certificate(w, "ca.example", "2037-01-15T00:00:00Z", now_ns);
    certificate(w, "a.example", "2028-01-15T00:00:00Z", now_ns + 399 * DAY_NS);
    assert_non_null(model_certificate_by_host(w->model, STR("old.example")));
    certificate(w, "b.example", "2029-01-15T00:00:00Z", now_ns + 401 * DAY_NS);
    assert_null(model_certificate_by_host(w->model, STR("old.example")));
    assert_non_null(model_certificate_by_host(w->model, STR("ca.example")));
    assert_non_null(model_certificate_by_host(w->model, STR("a.example")));
    assert_true(keys_are_right(w->model));
    world_free(w);
}

/* A log of an older version may use what was over for ever: nothing is forgotten before its format rises, all at once
 * then; whoever begins with a snapshot of the model has forgotten the same. */
static void an_older_log_forgets_when_its_format_rises(void **state)
{
    (void)state;
    struct world *w = world_that_keeps(2, 1);
    w->model->format = w->seen.format_min = EVENT_FORMAT_FORGETS - 1;
    struct id ids[6];
    for (unsigned i = 0; i < 6; i++)
        ids[i] = serve(w, i);
    assert_int_equal(model_project(w->model, w->project)->deployments.n, 6);
    AUTO(buf) struct buf bytes = {0};
    struct model *other = NULL;
    snapshot_encode(w->model, &bytes);
    assert_int_equal(snapshot_decode(buf_str(&bytes), &other, NULL), OK);
    size_t n = w->log_n;
    w->seen.format_min = EVENT_FORMAT;
    plan(w);
    for (; n < w->log_n; n++)
        assert_int_equal(model_apply(other, &w->log[n], NULL), OK);
    assert_int_equal(model_project(w->model, w->project)->deployments.n, 3);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(is_there(w, ids[i]), i >= 3);
    uint8_t one[HASH_SIZE], two[HASH_SIZE];
    model_hash(w->model, one);
    model_hash(other, two);
    assert_memory_equal(one, two, HASH_SIZE);
    model_free(other);
    world_free(w);
}

/* With as many as are kept in life, and the log as it is read back. */
static void a_long_history_is_bounded(void **state)
{
    (void)state;
    struct world *w = world_new();
    size_t size = 0;
    for (unsigned i = 0; i < 60; i++) {
        (void)fail_to_build(w, i);
        if (i == 29)
            size = model_size_bytes(w->model);
    }
    assert_int_equal(model_project(w->model, w->project)->deployments.n, MODEL_RETENTION.deployments);
    assert_int_equal(w->model->images.n, MODEL_RETENTION.deployments);
    assert_in_range(model_size_bytes(w->model), size / 2, size + 64 * 1024); /* its change list and texts have grown */
    assert_replays(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_stay),
        cmocka_unit_test(failures_do_not_push_out_what_served),
        cmocka_unit_test(an_image_stays_for_whoever_names_it),
        cmocka_unit_test(errors_say_where_to_look),
        cmocka_unit_test(deleted_projects_go),
        cmocka_unit_test(images_that_nothing_runs_go),
        cmocka_unit_test(nodes_that_left_go),
        cmocka_unit_test(certificates_go_long_after_they_expired),
        cmocka_unit_test(an_older_log_forgets_when_its_format_rises),
        cmocka_unit_test(a_long_history_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
