/* One build from report to report: against a management API of the test's and cores that are shell scripts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "build/run.h"
#include "folder.h"
#include "net/http_server.h"
#include "os/file.h"

#define READY                                                                                                          \
    "{\"status\":\"ready\",\"digest\":\"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\","    \
    "\"size_bytes\":4096,\"config\":{\"cmd\":[\"x\"]}}"

struct world {
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    struct build_run *run;
    struct build_request request;
    struct logger log;
    char folder[64], core[80], url[64];
    const char *urls[2]; /* the first is the server above */
    size_t urls_n;
    struct buf bodies;       /* each report and a newline */
    const int *statuses;     /* answers, in order; 0 ends: 200 from there on */
    bool stop_when_building; /* once the core is running */
    int exit_code;           /* -1 until on_done */
};

static void put_status(struct http_request *r, void *ctx)
{
    struct world *w = ctx;
    assert_string_equal(http_request_param(r, "id"), "0192f0c1-0000-7000-8000-000000000001");
    buf_add_str(&w->bodies, http_request_body(r));
    buf_add_char(&w->bodies, '\n');
    int status = *w->statuses != 0 ? *w->statuses++ : 200;
    http_respond_bytes(r, status, "application/json", STR("{}"));
}

static const struct http_route ROUTES[] = {
    {.method = "PUT", .pattern = "/v1/images/{id}/status", .handler = put_status}};

static void on_done(int exit_code, void *ctx)
{
    struct world *w = ctx;
    w->exit_code = exit_code;
    w->run = NULL;
}

static void world_init(struct world *w, const char *script, const int *statuses)
{
    static const char *const LISTEN[] = {"127.0.0.1:0"};
    *w = (struct world){
        .statuses = statuses, .exit_code = -1, .log = {.program = "test", .level_min = LOG_ERROR, .fd = -1}};
    assert_true(scratch_make("/tmp", w->folder, sizeof(w->folder)));
    (void)snprintf(w->core, sizeof(w->core), "%s/core", w->folder);
    if (script != NULL)
        assert_int_equal(file_replace(w->core, str_from(script), 0755, NULL), OK);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    w->client = http_client_new(&w->loop);
    const struct http_server_options o = {
        .loop = &w->loop, .listen = LISTEN, .listen_n = 1, .routes = ROUTES, .routes_n = 1, .ctx = w};
    assert_int_equal(http_server_open(&o, &w->server, NULL), OK);
    (void)snprintf(w->url, sizeof(w->url), "http://%s", http_server_address(w->server, 0));
    w->urls[0] = w->url;
    w->urls_n = 1;
    assert_true(id_parse(STR("0192f0c1-0000-7000-8000-000000000001"), &w->request.image_id));
    w->request.installation = STR("t");
    w->request.context_digest = STR("sha256:x");
}

static bool has_file(const struct world *w, const char *name)
{
    auto_free char *path = mem_printf("%s/%s", w->folder, name);
    return file_exists(path);
}

/* Until on_done. A build of these tests takes some milliseconds, with a repeated report half a second. */
static void world_run(struct world *w)
{
    const struct build_run_options o = {.loop = &w->loop,
                                        .client = w->client,
                                        .log = &w->log,
                                        .management_urls = w->urls,
                                        .management_urls_n = w->urls_n,
                                        .core = w->core,
                                        .request = &w->request,
                                        .on_done = on_done,
                                        .ctx = w};
    w->run = build_run_start(&o);
    while (w->exit_code < 0 && uv_run(&w->loop, UV_RUN_ONCE) != 0)
        if (w->stop_when_building && w->run != NULL && has_file(w, "running"))
            build_run_stop(w->run);
    assert_true(w->exit_code >= 0);
}

static void world_done(struct world *w)
{
    http_server_close(w->server, 0, NULL, NULL);
    http_client_close(w->client, NULL, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    buf_done(&w->bodies);
    assert_int_equal(folder_remove(w->folder, NULL), OK);
}

static void turn(uv_timer_t *t)
{
    (void)t;
}

static const int ALL_WELL[] = {0};

static void reports_ready(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "#!/bin/sh\n[ \"$1\" = --core ] || exit 2\ncat >\"${0%/*}/request\"\necho '" READY "' >&3\n",
               (const int[]){503, 200, 503, 0});
    world_run(&w);
    assert_int_equal(w.exit_code, 0);
    assert_string_equal(w.bodies.ptr, "{\"status\":\"building\"}\n{\"status\":\"building\"}\n" READY "\n" READY "\n");
    auto_free char *path = mem_printf("%s/request", w.folder);
    AUTO(buf) struct buf request = {0};
    assert_int_equal(file_read(path, 4096, &request, NULL), OK);
    assert_non_null(strstr(request.ptr, "\"context_digest\":\"sha256:x\""));
    world_done(&w);
}

static void reports_failures(void **state)
{
    (void)state;
    static const struct {
        const char *script, *told;
    } CASES[] = {
        {"#!/bin/sh\necho '{\"status\":\"failed\",\"cause\":\"because\"}' >&3; exit 1\n", "because"},
        /* what was killed, or died, says nothing of the build, and neither does its builder */
        {"#!/bin/sh\nexit 1\n", NULL},
        {"#!/bin/sh\nkill -9 $$\n", NULL},
        {"#!/bin/sh\necho '{\"status\":\"building\"}' >&3\n", NULL},
        {NULL, NULL}, /* no such program */
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct world w;
        world_init(&w, CASES[i].script, ALL_WELL);
        world_run(&w);
        auto_free char *failed =
            mem_printf("{\"status\":\"failed\",\"cause\":\"%s\"}\n", CASES[i].told == NULL ? "" : CASES[i].told);
        auto_free char *bodies = mem_printf("{\"status\":\"building\"}\n%s", CASES[i].told == NULL ? "" : failed);
        assert_string_equal(w.bodies.ptr, bodies);
        assert_int_equal(w.exit_code, 1);
        world_done(&w);
    }
}

/* The image was built, or deleted, meanwhile: nothing to do, and nothing is done. */
static void ends_when_the_image_waits_no_more(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "#!/bin/sh\ntouch \"${0%/*}/running\"\n", (const int[]){409, 0});
    world_run(&w);
    assert_int_equal(w.exit_code, 1);
    assert_string_equal(w.bodies.ptr, "{\"status\":\"building\"}\n");
    assert_false(has_file(&w, "running"));
    world_done(&w);
}

/* One replica has not folded the image yet, one is not there: another one is told. */
static void any_replica_will_do(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct world w;
        world_init(&w, "#!/bin/sh\necho '" READY "' >&3\n", i == 1 ? ALL_WELL : (const int[]){i == 0 ? 404 : 403, 0});
        w.urls[1] = w.url;
        w.urls_n = 2;
        if (i == 1)
            w.urls[0] = "http://127.0.0.1:1"; /* nobody listens */
        world_run(&w);
        assert_int_equal(w.exit_code, 0);
        assert_non_null(strstr(w.bodies.ptr, "building\"}\n" READY "\n"));
        world_done(&w);
    }
}

static void stops(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, "#!/bin/sh\ncat >/dev/null\ntouch \"${0%/*}/running\"\nexec sleep 100\n", ALL_WELL);
    w.stop_when_building = true;
    uv_timer_t tick; /* so that the loop turns while the core runs */
    assert_int_equal(uv_timer_init(&w.loop, &tick), 0);
    assert_int_equal(uv_timer_start(&tick, turn, 10, 10), 0);
    world_run(&w);
    assert_int_equal(w.exit_code, 1);
    assert_string_equal(w.bodies.ptr, "{\"status\":\"building\"}\n"); /* it is tried elsewhere */
    uv_close((uv_handle_t *)&tick, NULL);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_ready),
        cmocka_unit_test(reports_failures),
        cmocka_unit_test(ends_when_the_image_waits_no_more),
        cmocka_unit_test(any_replica_will_do),
        cmocka_unit_test(stops),
    };
    return cmocka_run_group_tests_name("build_run", tests, NULL, NULL);
}
