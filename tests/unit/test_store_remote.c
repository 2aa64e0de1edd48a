/* A log that the platform keeps, over HTTP: being told of what others append. The server is a double that answers a
 * call that waits when the test says so; nothing here polls. */
#include <string.h>

#include "net_fixture.h"
#include "store/remote_watch.h"
#include "store/store.h"

#define LOG "00000000-0000-4000-8000-000000000001"

enum answers { HOLDS, EMPTY_AT_ONCE, UNAVAILABLE, GONE };

struct platform {
    struct net *net;
    enum answers answers;
    uint64_t end;                 /* of the log */
    struct http_request *waiting; /* NULL: none */
    uint64_t waits_after;
    size_t calls_n, waits_n, told_n, wanted_n;
    struct store *store;
    struct store_watch *watch;
};

static void answer(struct http_request *r, uint64_t end)
{
    auto_free char *text =
        mem_printf("{\"items\":[],\"after\":{\"seq\":0,\"sum\":\"crc32c:00000000\"},\"end\":{\"seq\":%llu,\"sum\":"
                   "\"crc32c:00000000\"},\"clock_us\":1}",
                   (unsigned long long)end);
    http_respond_bytes(r, 200, "application/json", str_from(text));
}

static void hung_up(struct http_request *r, void *ctx)
{
    ((struct platform *)ctx)->waiting = NULL;
    http_request_drop(r);
}

static void events(struct http_request *r, void *ctx)
{
    struct platform *p = ctx;
    struct errinfo err;
    uint64_t wait_s = 0;
    assert_string_equal(http_request_param(r, "id"), LOG);
    assert_int_equal(http_request_query_u64(r, "wait", 60, 0, &wait_s, &err), OK);
    assert_int_equal(http_request_query_u64(r, "after", INT64_MAX, 0, &p->waits_after, &err), OK);
    p->calls_n++;
    if (p->answers == UNAVAILABLE) {
        http_respond_problem(r, 503, ERR_UNAVAILABLE, "not now");
    } else if (p->answers == GONE && p->waits_after > p->end) {
        http_respond_problem(r, 404, ERR_NOT_FOUND, "the log ends before");
    } else if (wait_s == 0 || p->answers == EMPTY_AT_ONCE || p->end > p->waits_after) {
        answer(r, p->end);
    } else {
        p->waits_n++;
        p->waiting = r;
        http_request_on_cancel(r, hung_up, p);
    }
}

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/v1/logs/{id}/events", .handler = events, .doc = "records"},
};

static void on_changed(void *ctx)
{
    ((struct platform *)ctx)->told_n++;
}

static void serve(struct platform *p, struct net *net, uint64_t end)
{
    struct http_server_options o = {.routes = ROUTES, .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0]), .ctx = p};
    *p = (struct platform){.net = net, .end = end};
    net_open(net, &o);
}

static void platform_start(struct platform *p, struct net *net, uint64_t end)
{
    struct store_repair repair = {0};
    struct errinfo err;
    serve(p, net, end);
    auto_free char *spec = mem_printf("remote;url=%s;log=" LOG, net->url);
    assert_int_equal(store_open(spec, NULL, &p->store, &repair, &err), OK);
    assert_int_equal(store_watch(p->store, &net->loop, on_changed, p, &p->watch, &err), OK);
    assert_non_null(p->watch);
}

/* With a call under way, mostly. */
static void platform_stop(struct platform *p)
{
    store_unwatch(p->watch);
    store_close(p->store);
    net_close_server(p->net, 0);
}

static bool is_waiting(void *ctx)
{
    return ((struct platform *)ctx)->waiting != NULL;
}

static bool is_told(void *ctx)
{
    const struct platform *p = ctx;
    return p->told_n >= p->wanted_n;
}

static bool was_called(void *ctx)
{
    const struct platform *p = ctx;
    return p->calls_n >= p->wanted_n;
}

static void append_one(struct platform *p)
{
    struct http_request *r = p->waiting;
    p->waiting = NULL;
    http_request_on_cancel(r, NULL, NULL);
    answer(r, ++p->end);
}

static void told_at_once(void **state)
{
    struct platform p;
    platform_start(&p, *state, 7);
    net_run_until(p.net, is_waiting, &p);
    assert_int_equal(p.waits_after, 7);
    assert_int_equal(p.told_n, 1); /* nobody has read what is there */
    for (p.wanted_n = 2; p.wanted_n <= 5; p.wanted_n++) {
        append_one(&p);
        net_run_until(p.net, is_told, &p);
        net_run_until(p.net, is_waiting, &p);
        assert_int_equal(p.waits_after, p.end);
    }
    assert_int_equal(p.waits_n, 5);
    platform_stop(&p);
}

/* What the handle has met by itself, by a read or its own append, is no news. */
static void own_events_are_no_news(void **state)
{
    struct platform p;
    serve(&p, *state, 3);
    _Atomic uint64_t known = 3;
    auto_free char *url = mem_printf("%s/v1/logs/" LOG "/events", p.net->url);
    struct remote_watch *w = remote_watch_new(&p.net->loop, url, &known, on_changed, &p);
    net_run_until(p.net, is_waiting, &p);
    assert_int_equal(p.told_n, 0);
    known = 4;
    append_one(&p);
    net_run_until(p.net, is_waiting, &p);
    assert_int_equal(p.waits_after, 4);
    assert_int_equal(p.told_n, 0);
    p.wanted_n = 1;
    append_one(&p);
    net_run_until(p.net, is_told, &p);
    remote_watch_free(w);
    net_close_server(p.net, 0);
}

/* It asks again after failures, later each time, and goes on where it was. */
static void after_failures(void **state)
{
    struct platform p;
    platform_start(&p, *state, 7);
    net_run_until(p.net, is_waiting, &p);
    p.answers = UNAVAILABLE;
    append_one(&p);
    uint64_t from_ms = uv_now(&p.net->loop);
    size_t before = p.calls_n;
    p.wanted_n = before + 4; /* at once, then after 100, 200, 400 ms */
    net_run_until(p.net, was_called, &p);
    assert_true(uv_now(&p.net->loop) - from_ms >= 600);
    p.answers = HOLDS;
    net_run_until(p.net, is_waiting, &p);
    assert_int_equal(p.waits_after, 8);
    platform_stop(&p);
}

/* A node-agent that does not know `wait` answers at once: it is not asked all the time. */
static void who_does_not_wait(void **state)
{
    struct platform p;
    platform_start(&p, *state, 7);
    p.answers = EMPTY_AT_ONCE;
    p.wanted_n = 5; /* where it ends, at once, then after 100, 200, 400 ms */
    uint64_t from_ms = uv_now(&p.net->loop);
    net_run_until(p.net, was_called, &p);
    assert_true(uv_now(&p.net->loop) - from_ms >= 600);
    platform_stop(&p);
}

/* Another log under the same name: it begins anew. */
static void a_log_that_was_replaced(void **state)
{
    struct platform p;
    platform_start(&p, *state, 7);
    net_run_until(p.net, is_waiting, &p);
    p.answers = GONE;
    append_one(&p);
    p.end = 2;
    net_run_until(p.net, is_waiting, &p);
    assert_int_equal(p.waits_after, 2);
    platform_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(test) cmocka_unit_test_setup_teardown(test, net_setup_plain, net_teardown)
        TEST(told_at_once),      TEST(own_events_are_no_news),  TEST(after_failures),
        TEST(who_does_not_wait), TEST(a_log_that_was_replaced),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
