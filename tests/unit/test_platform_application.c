/* Event-sourced applications: put, placed with their shares of the input, scaled, moved, deleted, told. */
#include "platform_world.h"

#include "event/hash.h"
#include "event/partition.h"
#include "platform/decide_application.h"
#include "platform/explain.h"

/* An image that is ready, and what `examples/clicks` might put. */
static void image(struct world *w)
{
    struct event_list out = {.arena = &w->arena};
    w->ids.wall_ms = w->now_ms;
    struct id id = id_next(&w->ids);
    event_list_add(&out, EVENT_CREATE_IMAGE, &w->ids)->create_image = (struct create_image){.image_id = id};
    event_list_add(&out, EVENT_IMAGE_STATUS_CHANGE, &w->ids)->image_status_change =
        (struct image_status_change){.image_id = id, .status = STR("ready"), .digest = DIGEST, .size_bytes = 1};
    append(w, &out);
    story_clear(w);
}

#define LIT(text) {text, sizeof(text) - 1} /* of a static object */
static struct create_type TYPES[] = {{.name = LIT("Click"), .field_type_tags = LIT("[ \"url\" ]")}};
static struct str CLICK[] = {LIT("Click")};
static struct application_stream STREAMS[] = {
    {.stream = {.name = LIT("clicks"), .version = LIT("1"), .event_types = {CLICK, 1}}},
    {.stream = {.name = LIT("counts"), .version = LIT("1")}}};
static struct create_gateway GATEWAYS[] = {{.name = LIT("pager"), .config = LIT("{\"to\": \"ops\", \"a\": 1}")}};
static struct str INPUTS[] = {LIT("clicks")};

static struct application_put clicks(void)
{
    return (struct application_put){.name = STR("clicks"),
                                    .version = STR("1.0"),
                                    .types = TYPES,
                                    .types_n = 1,
                                    .gateways = GATEWAYS,
                                    .gateways_n = 1,
                                    .streams = STREAMS,
                                    .streams_n = 2,
                                    .process = {.image_digest = DIGEST, .config = STR("{\"b\":2,\"a\":1}")},
                                    .input_streams = {INPUTS, 1},
                                    .output_stream = STR("counts")};
}

static const struct process *put(struct world *w, const struct application_put *c)
{
    struct id id = ID_NONE;
    DO(w, decide_put_application(&d, c, &out, &id, &err));
    plan(w);
    const struct process *p = model_process(w->model, id);
    assert_non_null(p);
    return p;
}

static void all_run(struct world *w, const struct process *p)
{
    for (size_t k = 0; k < p->instances.n; k++)
        observe(w, p->instances.items[k], "running", "NOMINAL", "");
    plan(w);
}

static struct world *world_with_clicks(int64_t instances, const struct process **ret)
{
    struct world *w = world_new();
    image(w);
    struct application_put c = clicks();
    c.process.instances_wanted = instances;
    *ret = put(w, &c);
    return w;
}

static void an_application(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    struct application_put c = clicks();
    const struct process *p = put(w, &c);
    story_is(w, "CreateType Click\n"
                "CreateGateway pager\n"
                "CreateStream clicks\n"
                "CreateEventLog *\n"
                "CreateStream counts\n"
                "CreateEventLog *\n"
                "CreateProcess clicks\n"
                "CreateInstance clicks on w1 at fd00:0:0:1::10\n");
    assert_true(process_is_application(p));
    assert_int_equal(p->instances.n, 1);
    const struct instance *i = p->instances.items[0];
    assert_int_equal(i->log_ids.n, 1);
    const struct definition *log = model_definition(w->model, i->log_ids.items[0]);
    assert_true(id_eq(log->stream_id, p->input_stream_ids.items[0]));
    assert_int_equal(i->partition_ranges.n, 1);
    assert_string_equal(i->partition_ranges.items[0], "*");
    assert_string_equal(i->workloads.items[0], "*");
    assert_string_equal(p->config, "{\"a\":1,\"b\":2}"); /* as it comes back from the log */
    assert_string_equal(i->runtime, "qemu");
    assert_int_equal(p->resources.memory_bytes, w->settings.instance_memory_bytes);
    /* The same again is nothing; the other order of members is the same. */
    c.process.config = STR(" {\"a\" : 1, \"b\" : 2}");
    (void)put(w, &c);
    story_is(w, "");
    /* A new version is a process beside it, and shares the streams. */
    c.version = STR("1.1");
    const struct process *two = put(w, &c);
    story_is(w, "CreateProcess clicks\nCreateInstance clicks on w2 at fd00:0:0:2::10\n");
    assert_false(id_eq(two->id, p->id));
    assert_int_equal(p->instances.n, 1);
    assert_ptr_equal(model_application(w->model, STR("clicks"), STR("1.0")), p);
    assert_int_equal(w->deadline_ms, PLAN_NEVER);
    world_free(w);
}

static void puts_that_are_refused(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(1, &p);
    struct id id = ID_NONE;
    struct application_put c = clicks();
    c.process.port = 9;
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_CONFLICT, "version '1.0' of 'clicks'");
    assert_true(id_eq(id, p->id));
    c = clicks();
    c.version = STR("2");
    struct create_type other[] = {{.name = STR("Click"), .field_type_tags = STR("[]")}};
    c.types = other;
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_CONFLICT, "type 'Click' is there with other");
    c = clicks();
    c.version = STR("2");
    struct create_event_log halves[] = {{.partition_range = STR("00000000-7fffffff")},
                                        {.partition_range = STR("80000000-ffffffff")}};
    struct application_stream split[] = {{.stream = STREAMS[0].stream, .logs = halves, .logs_n = 2}, STREAMS[1]};
    c.streams = split;
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_CONFLICT, "stream 'clicks' is there with other");
    halves[1].partition_range = STR("70000000-ffffffff");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "share a part");
    halves[1].partition_range = STR("80000000-7fffffff");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "'partitionRange' must be");
    c = clicks();
    c.version = STR("2");
    c.process.image_digest = STR("sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_NOT_FOUND, "build or import it first");
    c.process.image_digest = STR("latest");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "'imageDigest' must be");
    c.process.image_digest = DIGEST;
    c.process.artifact_url = STR("file:platform");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_DENIED, "platform's own programs");
    c = clicks();
    c.name = STR("image-builder");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_DENIED, "choose another name");
    c = clicks();
    c.version = STR("a/b");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "'version' must be letters");
    c.version = STR("2");
    struct str nowhere[] = {STR("nowhere")};
    c.input_streams = (struct strs){nowhere, 1};
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_NOT_FOUND, "no stream 'nowhere'");
    c = clicks();
    c.version = STR("2");
    c.process.availability_zones = (struct strs){nowhere, 1};
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_NOT_FOUND, "no zone 'nowhere'");
    c = clicks();
    c.version = STR("2");
    c.process.instances_wanted = 101;
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "'instances' must be 1 to 100");
    c = clicks();
    c.version = STR("2");
    c.process.config = STR("{");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "'process.config'");
    c = clicks();
    c.version = STR("2");
    c.process.runtime = STR("host");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_DENIED, "isolates nothing");
    c.types_n = APPLICATION_LIST_MAX + 1;
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_LIMIT, "at most 64");
    struct instance_create by_hand = {.process_id = p->id};
    REFUSED(w, decide_create_instance(&d, &by_hand, &out, &id, &err), ERR_CONFLICT, "share of the input");
    REFUSED(w, decide_delete_application(&d, STR("clicks"), STR("2"), &out, &err), ERR_NOT_FOUND, "no version '2'");
    world_free(w);
}

/* Every point of the range has exactly one owner among those that may run. */
static void assert_one_owner(const struct process *p)
{
    for (uint64_t at = 0; at < UINT64_C(1) << 32; at += (UINT64_C(1) << 32) / 97) {
        size_t owners = 0;
        MODEL_EACH (instance, i, &p->instances) {
            struct partition r;
            assert_true(partition_parse(str_from(i->partition_ranges.items[0]), &r));
            owners += i->status != INSTANCE_LOST && i->status != INSTANCE_FAILED && i->status != INSTANCE_STOPPED &&
                      r.first <= at && at <= r.last;
        }
        assert_in_range(owners, 0, 1);
    }
}

static size_t with_range(const struct process *p, size_t at, const char *range)
{
    size_t n = 0;
    MODEL_EACH (instance, i, &p->instances)
        n += at < i->partition_ranges.n && strcmp(i->partition_ranges.items[at], range) == 0;
    return n;
}

static void shares_are_even(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(3, &p);
    const char *const RANGES[] = {"00000000-55555554", "55555555-aaaaaaa9", "aaaaaaaa-ffffffff"};
    assert_int_equal(p->instances.n, 3);
    for (size_t k = 0; k < 3; k++)
        assert_int_equal(with_range(p, 0, RANGES[k]), 1);
    assert_one_owner(p);
    all_run(w, p);
    story_clear(w);
    /* Fewer: those whose share is gone drain first, then theirs are owned anew. */
    struct event_list out = {.arena = &w->arena};
    event_list_add(&out, EVENT_SCALE_PROCESS, &w->ids)->scale_process =
        (struct scale_process){p->id, 2, STR(""), STR("")};
    append(w, &out);
    plan(w);
    assert_one_owner(p);
    assert_int_equal(p->instances.n, 3);
    assert_int_equal(process_healthy_n(p), 0);
    for (size_t k = 3; k > 0; k--)
        observe(w, p->instances.items[k - 1], "stopped", "", "");
    plan(w);
    assert_int_equal(p->instances.n, 2);
    assert_one_owner(p);
    assert_int_equal(with_range(p, 0, "00000000-7fffffff"), 1);
    assert_int_equal(p->gone_n, 3);
    /* The same PUT as at first is still the same: it says what was asked for then. */
    struct application_put c = clicks();
    c.process.instances_wanted = 3;
    story_clear(w);
    (void)put(w, &c);
    story_is(w, "");
    world_free(w);
}

static void logs_with_ranges(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    struct create_event_log logs[] = {{.partition_range = STR("00000000-7fffffff")},
                                      {.partition_range = STR("80000000-ffffffff")}};
    struct application_stream streams[] = {{.stream = STREAMS[0].stream, .logs = logs, .logs_n = 2}, STREAMS[1]};
    struct application_put c = clicks();
    c.streams = streams;
    c.process.instances_wanted = 3;
    const struct process *p = put(w, &c);
    size_t logs_n = 0;
    MODEL_EACH (instance, i, &p->instances)
        logs_n += i->log_ids.n;
    assert_int_equal(logs_n, 4); /* the one in the middle has a part of both */
    assert_int_equal(with_range(p, 0, "00000000-55555554"), 1);
    assert_int_equal(with_range(p, 0, "55555555-7fffffff") + with_range(p, 1, "55555555-7fffffff"), 1);
    assert_int_equal(with_range(p, 0, "80000000-aaaaaaa9") + with_range(p, 1, "80000000-aaaaaaa9"), 1);
    assert_int_equal(with_range(p, 0, "aaaaaaaa-ffffffff"), 1);
    world_free(w);
}

static void an_owner_that_fails(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(2, &p);
    all_run(w, p);
    const struct instance *i = p->instances.items[0];
    const char *range = arena_strdup(&w->arena, i->partition_ranges.items[0]);
    observe(w, i, "failed", "EXIT", "exit status 1");
    plan(w);
    assert_int_equal(w->deadline_ms, w->now_ms + 10 * SECOND);
    story_clear(w);
    wait_s(w, 10);
    story_has(w, "CreateInstance clicks on w");
    story_has(w, "DeleteInstance clicks on w");
    assert_int_equal(p->instances.n, 2);
    assert_int_equal(with_range(p, 0, range), 1);
    /* The second time later. */
    observe(w, p->instances.items[1], "failed", "EXIT", "exit status 1");
    plan(w);
    assert_int_equal(w->deadline_ms, w->now_ms + 20 * SECOND);
    assert_int_equal(p->failures_n, 2);
    world_free(w);
}

static void a_lost_node(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(1, &p);
    all_run(w, p);
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent"), &out, &err));
    story_clear(w);
    plan(w);
    story_has(w, "CreateInstance clicks on w");
    assert_int_equal(p->instances.n, 1);
    assert_string_equal(((const struct instance *)p->instances.items[0])->partition_ranges.items[0], "*");
    world_free(w);
}

static void zones_that_it_may_run_in(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    struct str zones[] = {STR("z0")}; /* w1 alone */
    struct application_put c = clicks();
    c.process.availability_zones = (struct strs){zones, 1};
    c.process.instances_wanted = 4;
    const struct process *p = put(w, &c);
    assert_int_equal(p->instances.n, 4);
    MODEL_EACH (instance, i, &p->instances)
        assert_string_equal(i->node->zone->name, "z0");
    /* It rather waits than goes elsewhere, says so, and comes when its zone is back. */
    DO(w, decide_suspect_node(&d, w->nodes[1], STR("a"), STR("silent"), &out, &err));
    plan(w);
    assert_int_equal(process_healthy_n(p), 0);
    struct explanation e;
    assert_int_equal(explain_application(w->model, &w->settings, p->id, &w->arena, &e, NULL), OK);
    assert_non_null(strstr(e.why.ptr, "it needs room for 4 instances"));
    assert_non_null(strstr(e.why.ptr, "'w2' is in zone 'z1', where it may not run"));
    node_reports(w, 1, "boot-1");
    plan(w);
    assert_int_equal(model_node(w->model, w->nodes[1])->status, NODE_READY);
    MODEL_EACH (instance, i, &p->instances)
        assert_string_equal(i->node->zone->name, "z0");
    assert_replays(w);
    world_free(w);
}

/* All shares are on the one node that was ready; others come: each share has one owner, so a move would be a gap. */
static void is_not_spread(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct application_put c = clicks();
    image(w);
    c.process.instances_wanted = 3;
    for (int n = 2; n <= 3; n++)
        DO(w, decide_drain_node(&d, w->nodes[n], STR(""), &out, &err));
    const struct process *p = put(w, &c);
    all_run(w, p);
    for (int n = 2; n <= 3; n++)
        DO(w, decide_undrain_node(&d, w->nodes[n], &out, &err));
    plan(w);
    story_clear(w);
    wait_s(w, 2 * w->settings.spread_after_seconds);
    wait_s(w, 3600);
    story_is(w, "");
    MODEL_EACH (instance, i, &p->instances)
        assert_string_equal(i->node->name, "w1");
    world_free(w);
}

/* One owner at a time: it goes first, its share is given away then; and not at all where there is no room for it. */
static void its_node_drains(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(1, &p);
    all_run(w, p);
    const struct instance *first = p->instances.items[0];
    for (int n = 1; n < 4; n++)
        DO(w, decide_drain_node(&d, w->nodes[n], STR(""), &out, &err));
    plan(w);
    assert_true(instance_is_healthy(first)); /* nowhere to go */
    DO(w, decide_undrain_node(&d, w->nodes[3], &out, &err));
    plan(w);
    assert_int_equal(first->wanted, DESIRED_DELETED);
    assert_int_equal(p->instances.n, 1);
    observe(w, first, "stopped", "", "");
    plan(w);
    assert_int_equal(p->instances.n, 1);
    assert_string_equal(((const struct instance *)p->instances.items[0])->node->name, "w3");
    assert_replays(w);
    world_free(w);
}

static void it_is_deleted(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(2, &p);
    struct id id = p->id;
    all_run(w, p);
    story_clear(w);
    DO(w, decide_delete_application(&d, STR("clicks"), STR("1.0"), &out, &err));
    plan(w);
    assert_true(p->is_deleted);
    assert_null(model_application(w->model, STR("clicks"), STR("1.0")));
    REFUSED(w, decide_delete_application(&d, STR("clicks"), STR("1.0"), &out, &err), ERR_NOT_FOUND, "no version");
    struct event e = event_of(EVENT_CREATE_INSTANCE);
    e.create_instance = (struct create_instance){.instance_id = id_next(&w->ids), .process_id = id};
    cannot_follow(w, e, "being deleted");
    e = event_of(EVENT_DELETE_PROCESS);
    e.delete_process.process_id = id;
    cannot_follow(w, e, "being deleted already");
    while (model_process(w->model, id) != NULL) {
        observe(w, p->instances.items[0], "stopped", "", "");
        plan(w);
    }
    assert_int_equal(model_removed(w->model, OBJECT_PROCESS, ID_NONE, 0, NULL, 0), 1);
    plan(w);
    /* The same version again is a new process over the same streams. */
    story_clear(w);
    struct application_put c = clicks();
    (void)put(w, &c);
    story_has(w, "CreateProcess clicks\n");
    assert_null(strstr(w->story.ptr, "CreateStream"));
    world_free(w);
}

static struct timeline_entry told(struct timeline t, const char *what)
{
    for (size_t i = 0; i < t.n; i++)
        if (strcmp(t.items[i].what, what) == 0)
            return t.items[i];
    fail_msg("nothing '%s' is told", what);
    return (struct timeline_entry){0};
}

static void the_timeline_tells(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(1, &p);
    w->now_ms += SECOND;
    all_run(w, p);
    w->now_ms += SECOND;
    observe(w, p->instances.items[0], "failed", "EXIT", "out of memory");
    wait_s(w, 10);
    struct timeline t = process_timeline(p, &w->arena);
    for (size_t i = 1; i < t.n; i++)
        assert_true(t.items[i - 1].at_ns <= t.items[i].at_ns);
    assert_string_equal(t.items[0].what, "created");
    assert_true(id_is_none(t.items[0].instance_id));
    assert_string_equal(t.items[0].because, "{\"rule\":\"put by a person\"}");
    const struct timeline_entry failed = told(t, "failed"), deleted = told(t, "deleted");
    assert_string_equal(failed.cause, "out of memory");
    assert_string_equal(failed.node_name, "w1");
    assert_string_equal(failed.health, "EXIT");
    assert_non_null(strstr(deleted.because, "replaced"));
    assert_true(failed.at_ns < deleted.at_ns);
    const struct timeline_entry *again = &t.items[t.n - 1];
    assert_string_equal(again->what, "created");
    assert_non_null(strstr(again->because, "freeAfterwards"));
    world_free(w);
}

static void the_timeline_is_bounded(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(1, &p);
    for (unsigned k = 0; k < PROCESS_GONE_MAX + 3; k++) {
        observe(w, p->instances.items[0], "failed", "EXIT", "");
        wait_s(w, 601);
        assert_int_equal(p->instances.n, 1);
    }
    assert_int_equal(p->gone_n, PROCESS_GONE_MAX);
    assert_in_range(process_timeline(p, &w->arena).n, 3 * PROCESS_GONE_MAX, 3 * PROCESS_GONE_MAX + 4);
    world_free(w);
}

/* Folding what was written gives the same model, to the byte. */
static void a_replay(void **state)
{
    (void)state;
    const struct process *p = NULL;
    struct world *w = world_with_clicks(3, &p);
    all_run(w, p);
    observe(w, p->instances.items[0], "failed", "EXIT", "exit status 1");
    wait_s(w, 10);
    DO(w, decide_delete_application(&d, STR("clicks"), STR("1.0"), &out, &err));
    plan(w);
    assert_replays(w);
    world_free(w);
}

/* ---- a route through the edges ---- */

static const struct process *put_version(struct world *w, const char *version, bool is_exposed)
{
    struct application_put c = clicks();
    c.version = str_from(version);
    c.is_exposed = is_exposed;
    c.process.instances_wanted = 2;
    return put(w, &c);
}

static bool is_removed_since(const struct world *w, uint64_t seq, struct id id)
{
    struct id removed[8];
    size_t n = model_removed(w->model, OBJECT_ROUTE, ID_NONE, seq, removed, 8);
    for (size_t i = 0; i < n && i < 8; i++)
        if (id_eq(removed[i], id))
            return true;
    return false;
}

/* It has enough healthy instances to be led to, but of shares that nobody has any more: all are on their way out. */
static void no_route_to_who_leaves(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    w->settings.settle_seconds = 5;
    const struct process *one = put_version(w, "1", true);
    all_run(w, one);
    assert_false(process_is_routed(w->model, one));
    DO(w, decide_scale_process(&d, one->id, 1, STR(""), STR(""), &out, &err));
    w->now_ms += 6000;
    plan(w);
    assert_int_equal(process_present_n(one), 0);
    assert_false(process_is_routed(w->model, one));
    world_free(w);
}

static void a_route(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    const struct process *inside = put_version(w, "0", false);
    all_run(w, inside);
    assert_null(strstr(w->story.ptr, "RouteDeployment")); /* nobody asked for one */
    const struct process *one = put_version(w, "1", true);
    observe(w, one->instances.items[0], "running", "NOMINAL", "");
    plan(w);
    assert_false(process_is_routed(w->model, one)); /* one of two shares has nobody */
    story_clear(w);
    all_run(w, one);
    story_has(w, "RouteDeployment clicks clicks.localhost\n");
    assert_true(process_is_routed(w->model, one));
    assert_int_equal(process_endpoints(one, NULL, 0), 2);
    /* What an edge is sent changes with its instances. */
    uint64_t seq = w->model->seq;
    observe(w, one->instances.items[0], "running", "ERROR", "");
    assert_int_equal(process_endpoints(one, NULL, 0), 1);
    assert_true(one->edges_seq > seq && w->model->routes_seq > seq);
    observe(w, one->instances.items[0], "running", "NOMINAL", "");
    /* The next version takes over once it is healthy, whole; the one before goes on beside it. */
    const struct process *two = put_version(w, "2", true);
    assert_true(process_is_routed(w->model, one));
    seq = w->model->seq;
    all_run(w, two);
    assert_true(process_is_routed(w->model, two) && !process_is_routed(w->model, one));
    assert_true(is_removed_since(w, seq, one->id) && two->edges_seq > seq);
    /* It fails: nothing goes back by itself. It is deleted: the route does. */
    observe(w, two->instances.items[0], "failed", "EXIT", "");
    plan(w);
    assert_true(process_is_routed(w->model, two));
    struct id id = two->id;
    seq = w->model->seq;
    DO(w, decide_delete_application(&d, STR("clicks"), STR("2"), &out, &err));
    assert_true(process_is_routed(w->model, one) && is_removed_since(w, seq, id) && one->edges_seq > seq);
    DO(w, decide_delete_application(&d, STR("clicks"), STR("1"), &out, &err));
    assert_true(is_removed_since(w, seq, one->id));
    assert_replays(w);
    world_free(w);
}

/* A version that was in the way of an older one goes: the older one may serve. */
static void a_route_that_was_overtaken(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    const struct process *one = put_version(w, "1", true), *two = put_version(w, "2", true);
    all_run(w, two);
    all_run(w, one);
    assert_true(process_is_routed(w->model, two));
    assert_int_equal(one->route_seq, 0);
    DO(w, decide_delete_application(&d, STR("clicks"), STR("2"), &out, &err));
    plan(w);
    assert_true(process_is_routed(w->model, one));
    assert_replays(w);
    world_free(w);
}

static void a_route_waits_for_its_certificate(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    w->settings.needs_certificate = 1;
    const struct process *p = put_version(w, "1", true);
    all_run(w, p);
    assert_int_equal(p->route_seq, 0);
    struct str host;
    struct id id;
    while (model_host_without_certificate(w->model, STR("localhost"), &w->arena, &host) &&
           !str_eq_c(host, "clicks.localhost"))
        DO(w, decide_issue_certificate(&d, host, STR("2030-01-01T00:00:00Z"), &out, &id, &err));
    assert_true(model_host_without_certificate(w->model, STR("localhost"), &w->arena, &host));
    assert_true(str_eq_c(host, "clicks.localhost"));
    struct explanation e;
    assert_int_equal(explain_application(w->model, &w->settings, p->id, &w->arena, &e, NULL), OK);
    assert_non_null(strstr(e.why.ptr, "no certificate yet"));
    DO(w, decide_issue_certificate(&d, host, STR("2030-01-01T00:00:00Z"), &out, &id, &err));
    plan(w);
    assert_true(process_is_routed(w->model, p));
    assert_false(model_host_without_certificate(w->model, STR("localhost"), &w->arena, &host));
    world_free(w);
}

/* One label, one owner: whoever comes second is told whose it is. */
static void hosts_that_are_taken(void **state)
{
    (void)state;
    struct world *w = world_new();
    image(w);
    struct id id = ID_NONE;
    struct application_put c = clicks();
    c.is_exposed = true;
    DO(w, decide_create_project(&d, STR("Clicks"), &out, &id, &err));
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_CONFLICT,
            "project 'Clicks' has the host label 'clicks'");
    c.is_exposed = false; /* nobody is led to it: nothing collides */
    DO(w, decide_put_application(&d, &c, &out, &id, &err));
    c.name = STR("CLICKS.2");
    c.version = STR("1");
    c.is_exposed = true;
    DO(w, decide_put_application(&d, &c, &out, &id, &err));
    REFUSED(w, decide_create_project(&d, STR("clicks 2"), &out, &id, &err), ERR_CONFLICT,
            "application 'CLICKS.2' has the host label 'clicks-2'");
    assert_true(id_is_none(id));
    c.name = STR("clicks-2");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_CONFLICT, "application 'CLICKS.2' has the host");
    c.name = STR("__");
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_INVALID, "no letter or digit");
    c.name = STR("CLICKS.2"); /* exposed or not is part of a version */
    c.is_exposed = false;
    REFUSED(w, decide_put_application(&d, &c, &out, &id, &err), ERR_CONFLICT, "put another version");
    struct event e = event_of(EVENT_ROUTE_DEPLOYMENT);
    e.route_deployment.deployment_id = model_application(w->model, STR("clicks"), STR("1.0"))->id;
    cannot_follow(w, e, "has no host");
    e.route_deployment.deployment_id = w->project;
    cannot_follow(w, e, "application");
    world_free(w);
}

static void ranges_of_logs(void **state)
{
    (void)state;
    struct partition p, q, both;
    char text[PARTITION_TEXT_SIZE];
    assert_true(partition_parse(STR("*"), &p) && p.first == 0 && p.last == UINT32_MAX);
    assert_true(partition_parse(STR("00000010-0000001f"), &p) && p.first == 16 && p.last == 31);
    partition_format(p, text);
    assert_string_equal(text, "00000010-0000001f");
    assert_true(partition_has(p, 0x10) && partition_has(p, 0x1f) && !partition_has(p, 0xf) && !partition_has(p, 0x20));
    static const char *const BAD[] = {
        "**",  "00000010",          "00000010-0000000f",  "0000001g-0000001f", "00000010_0000001f",
        "0-1", "00000010-0000001F", "00000010-0000001f ", "00000010-0000001"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_false(partition_parse(str_from(BAD[i]), &p));
    for (uint32_t n = 1; n < 40; n++) {
        uint64_t next = 0;
        for (uint32_t i = 0; i < n; i++) {
            p = partition_split(i, n);
            assert_true(p.first == next);
            next = (uint64_t)p.last + 1;
        }
        assert_true(next == UINT64_C(1) << 32);
    }
    p = (struct partition){0, 10};
    q = (struct partition){11, 20};
    assert_false(partition_intersect(p, q, &both));
    q.first = 10;
    assert_true(partition_intersect(p, q, &both) && both.first == 10 && both.last == 10);
    /* The hash is part of the format: SHA-256 of "abc" begins with ba7816bf. */
    assert_int_equal(partition_hash("abc", 3), 0xba7816bf);
}

/* A single partitionRange, as older logs have it, is one for each log. */
static void an_older_shape(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct envelope env = {.type = STR("CreateInstance"),
                           .payload =
                               STR("{\"instanceId\":\"00000000-0000-4000-8000-000000000005\",\"processId\":"
                                   "\"00000000-0000-4000-8000-000000000004\",\"logIds\":["
                                   "\"00000000-0000-4000-8000-000000000003\",\"00000000-0000-4000-8000-000000000002\"],"
                                   "\"partitionRange\":\"00000000-7fffffff\"}")};
    struct event ev;
    assert_int_equal(event_decode(&env, &a, &ev, NULL), OK);
    assert_int_equal(ev.create_instance.partition_ranges.n, 2);
    assert_true(str_eq(ev.create_instance.partition_ranges.items[1], STR("00000000-7fffffff")));
    assert_int_equal(ev.create_instance.partition_range.len, 0);
}

static void watch(struct world *w, const struct instance *i, enum health health, const char *cause)
{
    struct instance_watched c = {i->id, health, str_from(cause), .silent_ms = 21000};
    DO(w, decide_instance_watched(&d, &c, &out, &err));
}

/* The watchdog's word stands beside the node's, the worse one is shown; it ends with the program that it is about. */
static void it_is_watched(void **state)
{
    (void)state;
    const struct process *p;
    struct world *w = world_with_clicks(1, &p);
    const struct instance *i = p->instances.items[0];
    size_t n = w->log_n;
    struct explanation e;
    watch(w, i, HEALTH_TIMEOUT, "it does not run yet");
    assert_int_equal(w->log_n, n);
    all_run(w, p);
    n = w->log_n;
    watch(w, i, HEALTH_NOMINAL, "all is well");
    assert_int_equal(w->log_n, n);
    watch(w, i, HEALTH_WARNING, "a letter is parked");
    assert_int_equal(i->health, HEALTH_WARNING);
    assert_int_equal(process_endpoints(p, NULL, 0), 1);
    assert_false(instance_is_healthy(i)); /* one poison effect takes nothing out of service */
    assert_int_equal(explain_application(w->model, &w->settings, p->id, &w->arena, &e, NULL), OK);
    assert_non_null(strstr(e.why.ptr, "running and WARNING: a letter is parked"));
    n = w->log_n;
    watch(w, i, HEALTH_WARNING, "two letters are parked");
    assert_int_equal(w->log_n, n); /* a change is news, a figure is not */
    watch(w, i, HEALTH_STALL, "4 events wait");
    assert_int_equal(i->health, HEALTH_STALL);
    assert_int_equal(process_endpoints(p, NULL, 0), 0);
    observe(w, i, "running", "NOMINAL", "");
    assert_int_equal(i->health, HEALTH_STALL); /* the node goes on saying what it sees */
    assert_int_equal(explain_instance(w->model, &w->settings, i->id, &w->arena, &e, NULL), OK);
    assert_non_null(strstr(e.why.ptr, "it does not go on: 4 events wait"));
    n = w->log_n;
    plan(w);
    assert_int_equal(w->log_n, n); /* the planner leaves it: another one would meet the same input */
    observe(w, i, "running", "ERROR", "nothing answers");
    watch(w, i, HEALTH_NOMINAL, "it goes on");
    assert_int_equal(i->health, HEALTH_ERROR);
    watch(w, i, HEALTH_TIMEOUT, "silent");
    assert_int_equal(i->health, HEALTH_TIMEOUT);
    observe(w, i, "starting", "EXIT", "exit status 1");
    assert_int_equal(i->watched, HEALTH_UNKNOWN);
    observe(w, i, "running", "NOMINAL", "");
    assert_true(instance_is_healthy(i));
    world_free(w);
}

/* One that comes and goes does not fill the log. */
static void watching_is_bounded(void **state)
{
    (void)state;
    const struct process *p;
    struct world *w = world_with_clicks(1, &p);
    all_run(w, p);
    const struct instance *i = p->instances.items[0];
    size_t n = w->log_n;
    for (int k = 0; k < 40; k++) {
        w->now_ms += SECOND;
        watch(w, i, k % 2 == 0 ? HEALTH_STALL : HEALTH_NOMINAL, "to and fro");
    }
    assert_in_range(w->log_n - n, 8, 12);
    assert_non_null(strstr(i->cause, "12 status changes within an hour"));
    w->now_ms += 301 * SECOND; /* what has recovered serves again */
    watch(w, i, HEALTH_STALL, "to");
    w->now_ms += 301 * SECOND;
    watch(w, i, HEALTH_NOMINAL, "and fro");
    assert_true(instance_is_healthy(i));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_watched),
        cmocka_unit_test(watching_is_bounded),
        cmocka_unit_test(an_application),
        cmocka_unit_test(puts_that_are_refused),
        cmocka_unit_test(shares_are_even),
        cmocka_unit_test(logs_with_ranges),
        cmocka_unit_test(a_route),
        cmocka_unit_test(no_route_to_who_leaves),
        cmocka_unit_test(a_route_that_was_overtaken),
        cmocka_unit_test(a_route_waits_for_its_certificate),
        cmocka_unit_test(hosts_that_are_taken),
        cmocka_unit_test(an_owner_that_fails),
        cmocka_unit_test(a_lost_node),
        cmocka_unit_test(zones_that_it_may_run_in),
        cmocka_unit_test(is_not_spread),
        cmocka_unit_test(its_node_drains),
        cmocka_unit_test(it_is_deleted),
        cmocka_unit_test(the_timeline_tells),
        cmocka_unit_test(the_timeline_is_bounded),
        cmocka_unit_test(a_replay),
        cmocka_unit_test(ranges_of_logs),
        cmocka_unit_test(an_older_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
