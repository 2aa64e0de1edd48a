/* The net room: server and client against each other in one loop, plain and by TLS with identities. */
#include "net/http_private.h"
#include "net_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "net/follow.h"
#include "net/http_range.h"
#include "net/http_route.h"

#define BIG_SIZE (3u * 1024u * 1024u + 17u)

/* ---- the server under test ---- */

struct app {
    struct net *net;
    char *folder;
    int file_fd;       /* served by /file */
    char *upload_path; /* written by /upload */
    size_t chunks_n;
    uint64_t chunk_bytes;
    struct http_request *parked; /* long poll that waits */
    bool has_parked, was_cancelled, drop_when_cancelled;
    struct http_stream *stream;
    bool has_stream, stream_cancelled;
    size_t exchanges_n;
    struct http_exchange last;
    char last_route[64];
    size_t freed_n;
};

static void h_hello(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_respond_header(r, "Slipform-Position", "log:7");
    http_respond_bytes(r, 200, "text/plain", STR("hello"));
}

static void h_echo(struct http_request *r, void *ctx)
{
    (void)ctx;
    const struct peer *p = http_request_peer(r);
    auto_json json_t *doc = json_object();
    struct str body = http_request_body(r);
    json_object_set_new(doc, "method", json_string(http_request_method(r)));
    json_object_set_new(doc, "id", json_string(http_request_param(r, "id")));
    json_object_set_new(doc, "state", json_string(http_request_param(r, "state")));
    json_object_set_new(doc, "q", json_string(http_request_query(r, "q")));
    json_object_set_new(doc, "body_size", json_integer((json_int_t)body.len));
    json_object_set_new(doc, "body_end",
                        json_stringn(body.len > 3 ? body.ptr + body.len - 3 : "", body.len > 3 ? 3 : 0));
    json_object_set_new(doc, "peer", json_sprintf("%s/%s/%s", p->installation, p->role, p->id));
    json_object_set_new(doc, "authenticated", json_boolean(p->authenticated));
    json_object_set_new(doc, "ip", json_string(p->ip));
    json_object_set_new(doc, "bearer", json_from_str(http_request_bearer(r)));
    http_respond_json(r, 200, doc);
}

static void h_json(struct http_request *r, void *ctx)
{
    (void)ctx;
    auto_json json_t *doc = NULL;
    struct errinfo err;
    uint64_t wait_s = 0;
    if (http_request_json(r, &doc, &err) != OK || http_request_query_u64(r, "wait", 60, 5, &wait_s, &err) != OK) {
        http_respond_error(r, &err);
        return;
    }
    http_respond_json(r, 201, doc);
}

static void h_secret(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_respond_empty(r, 204);
}

static void h_file(struct http_request *r, void *ctx)
{
    const struct app *app = ctx;
    http_respond_fd(r, fcntl(app->file_fd, F_DUPFD_CLOEXEC, 0), "application/octet-stream", "\"v1\"");
}

struct upload {
    struct app *app;
    int fd;
};

static void upload_free(void *data)
{
    struct upload *u = data;
    (void)close(u->fd);
    u->app->freed_n++;
    free(u);
}

static void h_upload_headers(struct http_request *r, void *ctx)
{
    struct app *app = ctx;
    struct upload *u = mem_alloc(sizeof(*u));
    u->app = app;
    u->fd = open(app->upload_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    http_request_set_data(r, u, upload_free);
    http_request_body_to_fd(r, u->fd);
}

static void h_upload(struct http_request *r, void *ctx)
{
    (void)ctx;
    auto_json json_t *doc = json_object();
    json_object_set_new(doc, "bytes", json_integer((json_int_t)http_request_body_bytes(r)));
    http_respond_json(r, 201, doc);
}

static enum err on_chunk(struct http_request *r, struct str chunk, void *ctx, struct errinfo *err)
{
    (void)r;
    struct app *app = ctx;
    app->chunks_n++;
    app->chunk_bytes += chunk.len;
    if (app->chunk_bytes > 100000)
        return err_set(err, ERR_CORRUPT, "the archive is damaged");
    return OK;
}

static void h_chunks_headers(struct http_request *r, void *ctx)
{
    http_request_body_to(r, on_chunk, ctx);
}

static void on_parked_cancel(struct http_request *r, void *ctx)
{
    struct app *app = ctx;
    app->was_cancelled = true;
    assert_true(http_request_is_cancelled(r));
    if (app->drop_when_cancelled) {
        app->parked = NULL;
        http_request_drop(r);
    }
}

static void h_park(struct http_request *r, void *ctx)
{
    struct app *app = ctx;
    app->parked = r;
    app->has_parked = true;
    http_request_on_cancel(r, on_parked_cancel, app);
}

static void on_stream_cancel(struct http_request *r, void *ctx)
{
    (void)r;
    struct app *app = ctx;
    app->stream_cancelled = true;
    http_stream_end(TAKE(app->stream));
}

static void h_stream(struct http_request *r, void *ctx)
{
    struct app *app = ctx;
    http_request_on_cancel(r, on_stream_cancel, app);
    app->stream = http_respond_stream(r, 200, "application/x-ndjson");
    app->has_stream = true;
}

enum { AUTH_NONE, AUTH_NODE };

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/hello", .handler = h_hello},
    {.method = "GET", .pattern = "/v1/instances/{id}/{state}", .handler = h_echo},
    {.method = "PUT", .pattern = "/v1/instances/{id}/{state}", .handler = h_echo},
    {.method = "DELETE", .pattern = "/v1/instances/{id}", .handler = h_echo},
    {.method = "GET", .pattern = "/v1/instances/{id}/fixed", .handler = h_hello},
    {.method = "POST", .pattern = "/json", .handler = h_json},
    {.method = "POST", .pattern = "/small", .handler = h_echo, .body_limit_bytes = 10},
    {.method = "POST", .pattern = "/echo", .handler = h_echo},
    {.method = "GET", .pattern = "/secret", .handler = h_secret, .auth = AUTH_NODE},
    {.method = "GET", .pattern = "/file", .handler = h_file},
    {.method = "PUT",
     .pattern = "/upload",
     .handler = h_upload,
     .on_headers = h_upload_headers,
     .body_limit_bytes = BIG_SIZE},
    {.method = "POST",
     .pattern = "/chunks",
     .handler = h_upload,
     .on_headers = h_chunks_headers,
     .body_limit_bytes = BIG_SIZE},
    {.method = "GET", .pattern = "/park", .handler = h_park},
    {.method = "GET", .pattern = "/stream", .handler = h_stream},
    {.method = "GET", .pattern = "/rest/{path...}", .handler = h_echo},
};

static enum err authorize(struct http_request *r, const struct http_route *route, void *ctx, struct errinfo *err)
{
    (void)ctx;
    if (route->auth == AUTH_NODE && !peer_is(http_request_peer(r), "test", "node", "n1"))
        return err_set(err, ERR_DENIED, "only node n1 may");
    return OK;
}

static void on_done(const struct http_exchange *x, void *ctx)
{
    struct app *app = ctx;
    app->exchanges_n++;
    app->last = *x;
    (void)snprintf(app->last_route, sizeof(app->last_route), "%s", x->route);
}

static void app_open(struct app *app, struct net *n, enum http_client_cert client_cert)
{
    app->net = n;
    app->drop_when_cancelled = true;
    app->upload_path = net_path(n, "upload");
    auto_free char *file = net_path(n, "file");
    app->file_fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    AUTO(buf) struct buf bytes = {0};
    for (uint32_t i = 0; i < BIG_SIZE; i++)
        buf_add_char(&bytes, (char)(i * 2654435761u >> 24));
    assert_int_equal(write(app->file_fd, bytes.ptr, bytes.len), BIG_SIZE);
    struct http_server_options o = {.routes = ROUTES,
                                    .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0]),
                                    .ctx = app,
                                    .authorize = authorize,
                                    .on_done = on_done,
                                    .client_cert = n->is_tls ? client_cert : HTTP_CLIENT_CERT_NONE};
    net_open(n, &o);
}

static void app_done(struct app *app)
{
    if (app->net->server != NULL)
        net_close_server(app->net, 1000);
    (void)close(app->file_fd);
    free(app->upload_path);
}

static const char *text_member(const struct net_answer *a, const char *key, char *out, size_t size)
{
    auto_json json_t *doc = NULL;
    assert_int_equal(json_parse(buf_str(&a->result.body), &doc, NULL), OK);
    const json_t *v = json_object_get(doc, key);
    if (json_is_integer(v))
        (void)snprintf(out, size, "%lld", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        (void)snprintf(out, size, "%s", json_is_true(v) ? "true" : "false");
    else
        assert_true(str_copy_to(json_member_str(doc, key), out, size));
    return out;
}

#define assert_member(a, key, want)                                                                                    \
    do {                                                                                                               \
        char text_[256];                                                                                               \
        assert_string_equal(text_member((a), (key), text_, sizeof(text_)), (want));                                    \
    } while (0)

/* ---- tests, each run plain and by TLS ---- */

static void routes(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);

    struct http_call_options o = net_call(n, &arena, "/hello");
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, OK);
    assert_int_equal(a.result.status, 200);
    assert_string_equal(a.result.position, "log:7");
    assert_true(str_eq(buf_str(&a.result.body), STR("hello")));

    o = net_call(n, &arena, "/v1/instances/a%20b%2Fc/x?q=1%2B1+2&other=");
    o.bearer = "slip_x";
    net_fetch(n, &o, &a);
    assert_member(&a, "id", "a b/c");
    assert_member(&a, "state", "x");
    assert_member(&a, "q", "1+1 2");
    assert_member(&a, "ip", "127.0.0.1");
    assert_member(&a, "bearer", "slip_x");
    assert_member(&a, "authenticated", n->is_tls ? "true" : "false");
    assert_member(&a, "peer", n->is_tls ? "test/node/n1" : "//");

    o = net_call(n, &arena, "/v1/instances/a/fixed");
    net_fetch(n, &o, &a);
    assert_true(str_eq(buf_str(&a.result.body), STR("hello"))); /* the literal segment wins */

    o = net_call(n, &arena, "/hello");
    o.method = "HEAD";
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 200);
    assert_int_equal(a.result.body.len, 0);

    o = net_call(n, &arena, "/v1/instances/a");
    o.method = "DELETE";
    net_fetch(n, &o, &a);
    assert_member(&a, "method", "DELETE");
    assert_string_equal(app.last_route, "/v1/instances/{id}");
    assert_int_equal(app.exchanges_n, 5);
    app_done(&app);
}

static void problems(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    const struct {
        const char *method, *path, *body, *content_type;
        int status;
        enum err code;
        const char *text;
    } cases[] = {
        {"GET", "/nothing", NULL, NULL, 404, ERR_NOT_FOUND, "nothing at this path"},
        {"GET", "/hello/", NULL, NULL, 404, ERR_NOT_FOUND, ""},
        {"GET", "//hello", NULL, NULL, 404, ERR_NOT_FOUND, ""},
        {"POST", "/v1/instances/a/b", "{}", NULL, 405, ERR_INVALID, "GET, PUT"},
        {"GET", "/v1/instances/a%zz/b", NULL, NULL, 400, ERR_INVALID, "segment"},
        {"GET", "/v1/instances/a%00/b", NULL, NULL, 400, ERR_INVALID, "segment"},
        {"GET", "/v1/instances/%2e%2e/b", NULL, NULL, 400, ERR_INVALID, "segment"},
        {"GET", "/hello?q=%f", NULL, NULL, 400, ERR_INVALID, "percent"},
        {"POST", "/json", "{", NULL, 400, ERR_INVALID, "not JSON"},
        {"POST", "/json", "{}", "text/plain", 400, ERR_INVALID, "text/plain"},
        {"POST", "/json?wait=61", "{}", NULL, 400, ERR_INVALID, "'wait'"},
        {"POST", "/json?wait=60", "{}", NULL, 201, OK, ""},
        {"POST", "/small", "12345678901", NULL, 413, ERR_LIMIT, "at most 10"},
        {"POST", "/small", "1234567890", NULL, 200, OK, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_call_options o = net_call(n, &arena, cases[i].path);
        o.method = cases[i].method;
        o.body = str_from(cases[i].body);
        o.content_type = cases[i].content_type;
        net_fetch(n, &o, &a);
        assert_int_equal(a.result.status, cases[i].status);
        assert_int_equal(a.result.code, cases[i].code);
        if (a.result.code == OK)
            continue;
        assert_string_equal(a.result.content_type, "application/problem+json");
        assert_string_equal(a.result.problem_code, err_name(cases[i].code));
        assert_non_null(strstr(a.result.err.msg, cases[i].text));
        assert_non_null(strstr(a.result.err.msg, n->url));
        assert_null(strstr(a.result.err.msg, "?"));
    }
    app_done(&app);
}

static void bodies(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    AUTO(buf) struct buf big = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    for (size_t i = 0; i < HTTP_BODY_LIMIT_DEFAULT + 1; i++)
        buf_add_char(&big, 'x');

    struct http_call_options o = net_call(n, &arena, "/echo");
    o.method = "POST";
    o.body = (struct str){big.ptr, HTTP_BODY_LIMIT_DEFAULT};
    net_fetch(n, &o, &a);
    assert_member(&a, "body_size", "1048576");
    assert_member(&a, "body_end", "xxx");

    o.body = buf_str(&big); /* beyond: with Expect, so refused before it is sent */
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 413);

    static const char *const no_expect[] = {"Expect:"};
    o.headers = no_expect; /* sent at once: thrown away, and the refusal still arrives */
    o.headers_n = 1;
    o.url = arena_printf(&arena, "%s/small", n->url);
    o.body = (struct str){big.ptr, HTTP_BODY_LIMIT_DEFAULT};
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 413);
    assert_int_equal(a.result.code, ERR_LIMIT);

    static const char *const chunked[] = {"Transfer-Encoding: chunked"}; /* no length to refuse by */
    o.headers = chunked;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 413);
    app_done(&app);
}

static void uploads(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    struct http_call_options o = net_call(n, &arena, "/upload");
    o.method = "PUT";
    o.upload_fd = app.file_fd;
    o.upload_size_bytes = BIG_SIZE;
    o.content_type = "application/x-tar";
    assert_int_equal(lseek(app.file_fd, 0, SEEK_SET), 0);
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 201);
    assert_member(&a, "bytes", "3145745");
    struct stat st;
    assert_int_equal(stat(app.upload_path, &st), 0);
    assert_int_equal(st.st_size, BIG_SIZE);
    auto_close int sent = open(app.upload_path, O_RDONLY | O_CLOEXEC);
    static char x[65536], y[65536];
    for (off_t at = 0; at < BIG_SIZE; at += (off_t)sizeof(x)) {
        ssize_t got = pread(sent, x, sizeof(x), at);
        assert_int_equal(pread(app.file_fd, y, sizeof(y), at), got);
        assert_memory_equal(x, y, (size_t)got);
    }
    assert_int_equal(app.freed_n, 1);

    o.url = arena_printf(&arena, "%s/chunks", n->url);
    o.method = "POST"; /* fails in the middle; the reason arrives */
    assert_int_equal(lseek(app.file_fd, 0, SEEK_SET), 0);
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 500);
    assert_int_equal(a.result.code, ERR_CORRUPT);
    assert_non_null(strstr(a.result.err.msg, "the archive is damaged"));

    o.upload_size_bytes = BIG_SIZE + 1; /* over the route's limit, refused by its length */
    assert_int_equal(lseek(app.file_fd, 0, SEEK_SET), 0);
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 413);

    o.upload_size_bytes = BIG_SIZE; /* the file is shorter than promised */
    assert_int_equal(lseek(app.file_fd, 100, SEEK_SET), 100);
    o.url = arena_printf(&arena, "%s/upload", n->url);
    o.method = "PUT";
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_IO);
    assert_non_null(strstr(a.result.err.msg, "shorter"));
    app_done(&app);
    assert_int_equal(app.freed_n, 2);
}

static void ranges(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    static char file[BIG_SIZE];
    assert_int_equal(pread(app.file_fd, file, BIG_SIZE, 0), BIG_SIZE);
    const struct {
        const char *header, *second;
        int status;
        size_t from, size;
    } cases[] = {{"Accept: */*", NULL, 200, 0, BIG_SIZE},
                 {"Range: bytes=0-0", NULL, 206, 0, 1},
                 {"Range: bytes=1000000-1999999", NULL, 206, 1000000, 1000000},
                 {"Range: bytes=3145740-", NULL, 206, 3145740, 5},
                 {"Range: bytes=-5", NULL, 206, BIG_SIZE - 5, 5},
                 {"Range: bytes=3145740-99999999", NULL, 206, 3145740, 5},
                 {"Range: bytes=3145745-", NULL, 416, 0, 0},
                 {"Range: bytes=5-4", NULL, 200, 0, BIG_SIZE},
                 {"Range: bytes=0-1,5-6", NULL, 200, 0, BIG_SIZE},
                 {"If-None-Match: \"v0\", W/\"v1\"", NULL, 304, 0, 0},
                 {"If-None-Match: \"v0\"", NULL, 200, 0, BIG_SIZE},
                 {"Range: bytes=0-0", "If-Range: \"v1\"", 206, 0, 1},
                 {"Range: bytes=0-0", "If-Range: \"v0\"", 200, 0, BIG_SIZE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *const headers[] = {cases[i].header, cases[i].second};
        struct http_call_options o = net_call(n, &arena, "/file");
        o.headers = headers;
        o.headers_n = cases[i].second == NULL ? 1 : 2;
        net_fetch(n, &o, &a);
        assert_int_equal(a.result.status, cases[i].status);
        assert_string_equal(a.result.etag, "\"v1\"");
        if (cases[i].status / 100 == 2) {
            assert_int_equal(a.result.body.len, cases[i].size);
            assert_memory_equal(a.result.body.ptr, file + cases[i].from, cases[i].size);
        }
    }
    auto_free char *path = net_path(n, "downloaded"); /* into a descriptor, and too much for its limit */
    auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct http_call_options o = net_call(n, &arena, "/file");
    o.save = true;
    o.save_fd = fd;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, OK);
    assert_int_equal(a.result.body_bytes, BIG_SIZE);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), BIG_SIZE);
    o.answer_limit_bytes = BIG_SIZE - 1;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_LIMIT);
    app_done(&app);
}

static void long_poll(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0}, other = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    struct http_call_options o = net_call(n, &arena, "/park");
    for (int round = 0; round < 3; round++) { /* also on a kept connection */
        app.has_parked = false;
        a.done = false;
        (void)http_client_send(n->client, &o, net_on_done, &a);
        net_run_until(n, net_is_true, &app.has_parked);
        assert_false(a.done);
        struct http_call_options quick = net_call(n, &arena, "/hello"); /* others are served meanwhile */
        net_fetch(n, &quick, &other);
        assert_false(a.done);
        http_respond_bytes(TAKE(app.parked), 200, "text/plain", STR("later"));
        net_run_until(n, net_is_true, &a.done);
        assert_true(str_eq(buf_str(&a.result.body), STR("later")));
        http_result_done(&a.result);
        a.result = (struct http_result){0};
    }
    assert_false(app.was_cancelled);
    app_done(&app);
}

static void long_poll_cancelled(void **state)
{
    struct net *n = *state;
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    for (int late = 0; late < 2; late++) { /* answered inside on_cancel, and long after it */
        struct app app = {0};
        app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
        app.drop_when_cancelled = late == 0;
        struct http_call_options o = net_call(n, &arena, "/park");
        struct http_call *call = http_client_send(n->client, &o, net_on_done, &a);
        net_run_until(n, net_is_true, &app.has_parked);
        http_call_cancel(call);
        net_run_until(n, net_is_true, &app.was_cancelled);
        o = net_call(n, &arena, "/hello");
        net_fetch(n, &o, &a);
        assert_int_equal(a.result.status, 200);
        if (late == 1)
            http_respond_bytes(TAKE(app.parked), 200, "text/plain", STR("nobody"));
        net_fetch(n, &o, &a);
        assert_int_equal(a.result.status, 200);
        app_done(&app);
    }
}

static void stopping_answers_those_who_wait(void **state)
{
    struct net *n = *state;
    AUTO(arena) struct arena arena = {0};
    for (int late = 0; late < 2; late++) {
        struct app app = {0};
        AUTO(net_answer) struct net_answer a = {0};
        app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
        app.drop_when_cancelled = false;
        struct http_call_options o = net_call(n, &arena, "/park");
        (void)http_client_send(n->client, &o, net_on_done, &a);
        net_run_until(n, net_is_true, &app.has_parked);
        net_close_server(n, 5000);
        net_run_until(n, net_is_true, &a.done);
        assert_true(app.was_cancelled);
        assert_int_equal(a.result.status, 503);
        assert_int_equal(a.result.code, ERR_UNAVAILABLE);
        http_respond_empty(app.parked, 200); /* the handler lets go after all */
        app_done(&app);
        n->server_closed = false;
    }
}

static struct buf *received;

static enum err on_data(struct str bytes, void *ctx, struct errinfo *err)
{
    (void)ctx, (void)err;
    buf_add_str(received, bytes);
    return OK;
}

struct wait_text {
    const struct buf *in;
    const char *text;
};

static bool has_text(void *ctx)
{
    const struct wait_text *w = ctx;
    return w->in->ptr != NULL && strstr(w->in->ptr, w->text) != NULL;
}

static void stream(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    AUTO(buf) struct buf got = {0};
    received = &got;
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    struct http_call_options o = net_call(n, &arena, "/stream");
    o.on_data = on_data;
    (void)http_client_send(n->client, &o, net_on_done, &a);
    net_run_until(n, net_is_true, &app.has_stream);
    assert_int_equal(http_stream_push(app.stream, STR("one\n")), OK);
    net_run_until(n, has_text, &(struct wait_text){&got, "one\n"});
    assert_false(a.done);
    AUTO(buf) struct buf big = {0};
    for (int i = 0; i < 100000; i++)
        buf_add_c(&big, "0123456789\n");
    assert_int_equal(http_stream_push(app.stream, buf_str(&big)), OK);
    assert_int_equal(http_stream_push(app.stream, STR("end\n")), OK);
    http_stream_end(TAKE(app.stream));
    net_run_until(n, net_is_true, &a.done);
    assert_int_equal(a.result.code, OK);
    assert_int_equal(got.len, 4 + 1100000 + 4);
    assert_false(app.stream_cancelled);
    app_done(&app);
}

static void stream_limits(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    AUTO(buf) struct buf got = {0}, big = {0};
    received = &got;
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    struct http_call_options o = net_call(n, &arena, "/stream");
    o.on_data = on_data;
    struct http_call *call = http_client_send(n->client, &o, net_on_done, &a);
    net_run_until(n, net_is_true, &app.has_stream);
    for (size_t i = 0; i < HTTP_STREAM_QUEUE_MAX; i++)
        buf_add_char(&big, 'x');
    assert_int_equal(http_stream_push(app.stream, buf_str(&big)), OK);
    assert_int_equal(http_stream_push(app.stream, STR("x")), ERR_LIMIT);
    http_call_cancel(call);
    net_run_until(n, net_is_true, &app.stream_cancelled);
    app_done(&app);
}

/* ---- TLS only ---- */

static void identities_are_checked(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    struct http_call_options o = net_call(n, &arena, "/secret"), good = o;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 204);

    o.peer_uri =
        "slipform://test/node/*"; /* the CA is right, the name is not - also where a checked connection is kept */
    for (int i = 0; i < 2; i++) {
        net_fetch(n, &o, &a);
        assert_int_equal(a.result.status, 0);
        assert_int_equal(a.result.code, ERR_DENIED);
        assert_non_null(strstr(a.result.err.msg, "slipform://test/platform/p1"));
        net_fetch(n, &good, &a);
        assert_int_equal(a.result.status, 204);
    }
    o = good; /* a server of another CA */
    o.ca_file = n->other_ca;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_DENIED);
    o = good; /* a client of another CA, that claims the same name */
    o.cert_file = n->other_cert, o.key_file = n->other_key;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 0);
    assert_int_equal(a.result.code, ERR_DENIED);
    o = good; /* no certificate */
    o.cert_file = o.key_file = NULL;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 0);
    assert_int_equal(a.result.code, ERR_DENIED);
    o = good; /* by host name: 127.0.0.1 is among the names, localhost is not */
    o.peer_uri = NULL;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 204);
    o.url = arena_printf(&arena, "https://localhost:%d/secret", http_server_port(n->server, 0));
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_DENIED);
    assert_int_equal(app.exchanges_n, 4);
    app_done(&app);
}

/* It was good at the handshake: a connection that is kept lets nobody in for longer than its certificate. */
static void an_identity_that_ends_meanwhile(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    auto_ca struct ca *ca = NULL;
    auto_free char *ca_key = net_path(n, "ca.key");
    const char *const uris[] = {"slipform://test/node/n1"};
    struct leaf_options leaf = {.uris = uris, .uris_n = 1, .client = true, .days = 1};
    int64_t ends_s = 0;
    assert_int_equal(ca_load(n->ca, ca_key, &ca, NULL), OK);
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    struct http_call_options o = net_call(n, &arena, "/secret");
    for (int i = 0; i < 10 && a.result.status != 204; i++) { /* a busy machine may need longer than one lasts */
        ends_s = clock_wall_us() / 1000000 + 2;
        leaf.now_s = ends_s - 86400;
        assert_int_equal(ca_issue_files(ca, &leaf, n->client_cert, n->client_key, -1, -1, NULL), OK);
        net_fetch(n, &o, &a);
    }
    assert_int_equal(a.result.status, 204);
    while (a.result.status == 204 && clock_wall_us() / 1000000 < ends_s + 30)
        net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 403);
    assert_int_equal(a.result.code, ERR_DENIED);
    assert_non_null(strstr(a.result.err.msg, "your certificate has expired on 2"));
    while (a.result.status == 403 && clock_wall_us() / 1000000 < ends_s + 30)
        net_fetch(n, &o, &a); /* that connection was closed; of a new one TLS says so, by a clock some ms behind ours */
    assert_int_equal(a.result.status, 0);
    assert_int_equal(a.result.code, ERR_DENIED);
    assert_true(clock_wall_us() / 1000000 >= ends_s);
    app_done(&app);
}

static void optional_certificates(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_OPTIONAL);
    struct http_call_options o = net_call(n, &arena, "/secret");
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 204);
    o.cert_file = o.key_file = NULL;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 403);
    assert_int_equal(a.result.code, ERR_DENIED);
    o.cert_file = n->other_cert, o.key_file = n->other_key;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 0);
    assert_int_equal(a.result.code, ERR_DENIED);
    app_done(&app);
}

/* ---- the client's own errors, and pure parts ---- */

static void client_errors(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_NONE);
    int port = http_server_port(n->server, 0);
    struct http_call_options o = {.url = "ftp://127.0.0.1/"};
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_INVALID);
    o.url = arena_printf(&arena, "http://user:secret@127.0.0.1:%d/hello", port);
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_INVALID);
    o.url = arena_printf(&arena, "http://127.0.0.1:%d/park?token=secret", port);
    o.total_timeout_ms = 100;
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_UNAVAILABLE);
    assert_true(a.result.was_sent); /* it may have been done: nobody else may be asked to do it */
    assert_null(strstr(a.result.err.msg, "secret"));
    net_run_until(n, net_is_true, &app.was_cancelled);
    o = (struct http_call_options){.url = arena_printf(&arena, "http://127.0.0.1:%d/hello", port),
                                   .peer_uri = "slipform://test/node/*"};
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_INVALID); /* an identity without TLS */
    app_done(&app);
    o.peer_uri = NULL; /* nobody listens any more */
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.code, ERR_UNAVAILABLE);
    assert_false(a.result.was_sent);
    struct http_result blocking;
    assert_int_equal(http_fetch(&o, NULL, &blocking), ERR_UNAVAILABLE);
    assert_false(blocking.was_sent);
    http_result_done(&blocking);
}

static void listen_errors(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    struct errinfo err;
    app_open(&app, n, HTTP_CLIENT_CERT_NONE);
    const struct {
        const char *address;
        enum err code;
    } cases[] = {{"localhost:0", ERR_INVALID},
                 {"127.0.0.1", ERR_INVALID},
                 {"::1:80", ERR_INVALID},
                 {"127.0.0.1:65536", ERR_INVALID},
                 {"192.0.2.1:0", ERR_UNAVAILABLE},
                 {http_server_address(n->server, 0), ERR_CONFLICT},
                 {http_server_address(n->server, 1), ERR_CONFLICT}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_server *s = NULL;
        struct http_server_options o = {.loop = &n->loop, .listen = &cases[i].address, .listen_n = 1};
        assert_int_equal(http_server_open(&o, &s, &err), cases[i].code);
        assert_non_null(strstr(err.msg, cases[i].address));
        assert_null(s);
    }
    const char *any[] = {"127.0.0.1:0"};
    const struct http_route twice[] = {{.method = "GET", .pattern = "/a/{x}", .handler = h_hello},
                                       {.method = "GET", .pattern = "/a/{y}", .handler = h_hello}};
    struct http_server_options o = {.loop = &n->loop, .listen = any, .listen_n = 1, .routes = twice, .routes_n = 2};
    struct http_server *s = NULL;
    assert_int_equal(http_server_open(&o, &s, &err), ERR_INVALID);
    o.routes_n = 1;
    o.cert_file = n->server_cert;
    o.key_file = n->client_key; /* of another certificate */
    assert_int_equal(http_server_open(&o, &s, &err), ERR_INVALID);
    o.cert_file = "/nonexistent";
    assert_int_equal(http_server_open(&o, &s, &err), ERR_NOT_FOUND);
    app_done(&app);
}

static int raw_connect(const struct net *n)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(n->server, 0))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

struct raw {
    int fd;
    struct buf got;
    bool is_closed;
    const char *until;
};

static bool raw_done(void *ctx)
{
    struct raw *r = ctx;
    char bytes[1024];
    ssize_t n = read(r->fd, bytes, sizeof(bytes));
    if (n > 0)
        buf_add(&r->got, bytes, (size_t)n);
    r->is_closed = n == 0 || (n < 0 && errno != EAGAIN);
    return r->is_closed || (r->got.ptr != NULL && strstr(r->got.ptr, r->until) != NULL);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* The answer's head goes out before there is a first byte of the stream: an SSE client is told that it is connected. */
static void stream_head_comes_first(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_NONE);
    static const char request[] = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
    auto_close int fd = raw_connect(n);
    assert_int_equal(write(fd, request, sizeof(request) - 1), (ssize_t)sizeof(request) - 1);
    struct raw raw = {.fd = fd, .until = "\r\n\r\n"};
    uv_timer_t tick; /* the loop has nothing of this socket: look again every millisecond */
    (void)uv_timer_init(&n->loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 1, 1);
    net_run_until(n, raw_done, &raw);
    uv_close((uv_handle_t *)&tick, NULL);
    assert_false(raw.is_closed);
    assert_non_null(strstr(raw.got.ptr, "200 OK"));
    buf_done(&raw.got);
    (void)close(TAKE_FD(fd));
    net_run_until(n, net_is_true, &app.stream_cancelled);
    app_done(&app);
}

/* ---- follow ---- */

struct collection {
    struct net *net;
    unsigned asked_n, documents_n, errors_n, errors_in_a_row, refuse_n;
    char last_cursor[64], last_wait[8];
    struct http_request *parked;
    bool has_parked, is_enough;
    unsigned fail_with, fail_n; /* status of the next fail_n answers */
};

static void h_collection(struct http_request *r, void *ctx)
{
    struct collection *c = ctx;
    const char *cursor = http_request_query(r, "cursor"), *wait = http_request_query(r, "wait");
    c->asked_n++;
    (void)snprintf(c->last_cursor, sizeof(c->last_cursor), "%s", cursor == NULL ? "" : cursor);
    (void)snprintf(c->last_wait, sizeof(c->last_wait), "%s", wait);
    assert_string_equal(http_request_query(r, "node"), "n1");
    if (c->fail_n > 0) {
        c->fail_n--;
        http_respond_problem(r, (int)c->fail_with, ERR_UNAVAILABLE, "behind");
        return;
    }
    if (c->last_cursor[0] != '\0') {
        c->parked = r;
        c->has_parked = true;
        return;
    }
    http_respond_bytes(r, 200, "application/json",
                       STR("{\"items\":[1,2],\"removed\":[],\"cursor\":\"a 1&\",\"full\":true}"));
}

static const struct http_route COLLECTION_ROUTES[] = {{.method = "GET", .pattern = "/things", .handler = h_collection}};

static enum err on_document(const json_t *document, void *ctx, struct errinfo *err)
{
    struct collection *c = ctx;
    if (c->refuse_n > 0) {
        c->refuse_n--;
        return err_set(err, ERR_CONFLICT, "not now");
    }
    c->documents_n++;
    c->errors_in_a_row = 0;
    c->is_enough = !json_is_true(json_object_get(document, "full"));
    return OK;
}

static void on_follow_error(const struct errinfo *err, unsigned failures_n, void *ctx)
{
    struct collection *c = ctx;
    assert_true(err->code != OK && err->msg[0] != '\0');
    c->errors_n++;
    c->errors_in_a_row++;
    assert_int_equal(failures_n, c->errors_in_a_row);
}

static void followed_collection(void **state)
{
    struct net *n = *state;
    struct collection c = {.net = n, .refuse_n = 1, .fail_n = 2, .fail_with = 503};
    AUTO(arena) struct arena arena = {0};
    struct http_server_options o = {.routes = COLLECTION_ROUTES, .routes_n = 1, .ctx = &c};
    net_open(n, &o);
    const char *const urls[] = {"http://127.0.0.1:1/things?node=n1", arena_printf(&arena, "%s/things?node=n1", n->url)};
    struct follow *f = follow_start(&(struct follow_options){.loop = &n->loop,
                                                             .client = n->client,
                                                             .urls = urls,
                                                             .urls_n = 2,
                                                             .wait_s = 20,
                                                             .backoff_max_ms = 2,
                                                             .seed = 7,
                                                             .on_document = on_document,
                                                             .on_error = on_follow_error,
                                                             .ctx = &c});
    net_run_until(n, net_is_true, &c.has_parked); /* a dead replica, 503 twice, a document refused, then taken */
    assert_int_equal(c.documents_n, 1);
    assert_int_equal(c.asked_n, 5);
    assert_true(c.errors_n >= 4);
    assert_string_equal(c.last_cursor, "a 1&");
    assert_string_equal(c.last_wait, "20");
    assert_string_equal(follow_cursor(f), "a 1&");
    c.has_parked = false;
    http_respond_bytes(TAKE(c.parked), 200, "application/json", STR("{\"items\":[3],\"cursor\":\"b\",\"full\":false}"));
    net_run_until(n, net_is_true, &c.is_enough);
    net_run_until(n, net_is_true, &c.has_parked);
    assert_string_equal(c.last_cursor, "b");
    c.has_parked = false;
    http_respond_problem(TAKE(c.parked), 410, ERR_NOT_FOUND, "that log was rewritten"); /* begin again */
    net_run_until(n, net_is_true, &c.has_parked);
    assert_int_equal(c.documents_n, 3);
    assert_string_equal(c.last_cursor, "a 1&");
    follow_stop(f);
    http_respond_empty(TAKE(c.parked), 200);
    net_close_server(n, 1000);
}

/* ---- a peer that stops in the middle ---- */

static void on_rounds(uv_check_t *check)
{
    (*(unsigned *)check->data)++;
}

static void on_second(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Where thousands wait, those that are woken are resumed together a little later; nobody is forgotten, also not by a
 * server that closes meanwhile. */
enum { CROWD = 1200 };

struct crowd {
    struct http_request *waiting[CROWD];
    size_t n, cancelled_n;
};

static void crowd_cancelled(struct http_request *r, void *ctx)
{
    ((struct crowd *)ctx)->cancelled_n++;
    http_request_drop(r);
}

static void h_crowd(struct http_request *r, void *ctx)
{
    struct crowd *c = ctx;
    c->waiting[c->n++] = r;
    http_request_on_cancel(r, crowd_cancelled, c);
}

static bool crowd_is_there(void *ctx)
{
    return ((struct crowd *)ctx)->n == CROWD;
}

static bool has_bytes(void *ctx)
{
    char byte;
    return recv(*(int *)ctx, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static void a_crowd_that_waits(void **state)
{
    static const struct http_route CROWD_ROUTES[] = {{.method = "GET", .pattern = "/crowd", .handler = h_crowd}};
    static const char request[] = "GET /crowd HTTP/1.1\r\nHost: x\r\n\r\n";
    struct net *n = *state;
    struct crowd c = {0};
    net_open(n, &(struct http_server_options){.routes = CROWD_ROUTES, .routes_n = 1, .ctx = &c});
    int fds[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = raw_connect(n);
        assert_int_equal(write(fds[i], request, sizeof(request) - 1), (ssize_t)sizeof(request) - 1);
    }
    net_run_until(n, crowd_is_there, &c);
    for (size_t i = 0; i < CROWD / 2; i++)
        http_respond_empty(c.waiting[i], 204);
    size_t answered_n = 0;
    for (size_t i = 0; i < CROWD && answered_n < CROWD / 2; i++) {
        bool is_first_half = i < CROWD / 2; /* accepted in the order of their connects */
        if (is_first_half)
            net_run_until(n, has_bytes, &fds[i]);
        answered_n += has_bytes(&fds[i]);
    }
    assert_int_equal(answered_n, CROWD / 2);
    for (size_t i = CROWD / 2; i < CROWD - 1; i++)
        http_respond_empty(c.waiting[i], 204); /* and the server closes before they are resumed */
    net_close_server(n, 1000);
    assert_int_equal(c.cancelled_n, 1);
    for (size_t i = 0; i < CROWD; i++)
        (void)close(fds[i]);
}

static void those_that_wait_are_woken_together(void **state)
{
    (void)state;
    assert_int_equal(http_wakes_after_ms(499), 0); /* at once, as ever */
    assert_int_equal(http_wakes_after_ms(2000), 4);
    assert_int_equal(http_wakes_after_ms(10000), 20);
    assert_int_equal(http_wakes_after_ms(SIZE_MAX), 20);
}

static void half_a_handshake_costs_nothing(void **state)
{
    struct net *n = *state;
    struct app app = {0};
    AUTO(arena) struct arena arena = {0};
    AUTO(net_answer) struct net_answer a = {0};
    app_open(&app, n, HTTP_CLIENT_CERT_REQUIRED);
    static const char record[] = {0x16, 3, 1, 2, 0, 1, 0}; /* begins a ClientHello of 512 bytes */
    auto_close int fd = raw_connect(n);
    assert_int_equal(write(fd, record, sizeof(record)), (ssize_t)sizeof(record));
    unsigned rounds_n = 0;
    bool is_over = false;
    uv_check_t check;
    uv_timer_t second;
    (void)uv_check_init(&n->loop, &check);
    (void)uv_timer_init(&n->loop, &second);
    check.data = &rounds_n;
    second.data = &is_over;
    (void)uv_check_start(&check, on_rounds);
    (void)uv_timer_start(&second, on_second, 500, 0); /* the time that is measured, not waited for */
    net_run_until(n, net_is_true, &is_over);
    assert_in_range(rounds_n, 1, 100);
    uv_close((uv_handle_t *)&check, NULL);
    uv_close((uv_handle_t *)&second, NULL);
    struct http_call_options o = net_call(n, &arena, "/hello");
    net_fetch(n, &o, &a);
    assert_int_equal(a.result.status, 200);
    app_done(&app);
}

static void range_parsing(void **state)
{
    (void)state;
    const struct {
        const char *text;
        uint64_t size;
        enum http_range want;
        uint64_t from, n;
    } cases[] = {{"bytes=0-4", 10, HTTP_RANGE_PART, 0, 5},
                 {"bytes=9-9", 10, HTTP_RANGE_PART, 9, 1},
                 {"bytes=10-", 10, HTTP_RANGE_NONE, 0, 0},
                 {"bytes=-0", 10, HTTP_RANGE_NONE, 0, 0},
                 {"bytes=-20", 10, HTTP_RANGE_PART, 0, 10},
                 {"bytes=-1", 0, HTTP_RANGE_NONE, 0, 0},
                 {"bytes=0-", 0, HTTP_RANGE_NONE, 0, 0},
                 {"bytes=0-18446744073709551615", 10, HTTP_RANGE_PART, 0, 10},
                 {"bytes=0-18446744073709551616", 10, HTTP_RANGE_WHOLE, 0, 0},
                 {"bytes=a-b", 10, HTTP_RANGE_WHOLE, 0, 0},
                 {"bytes=", 10, HTTP_RANGE_WHOLE, 0, 0},
                 {"bytes=-", 10, HTTP_RANGE_WHOLE, 0, 0},
                 {"lines=0-1", 10, HTTP_RANGE_WHOLE, 0, 0},
                 {NULL, 10, HTTP_RANGE_WHOLE, 0, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t from = 0, n = 0;
        assert_int_equal(http_range_parse(cases[i].text, cases[i].size, &from, &n), cases[i].want);
        if (cases[i].want == HTTP_RANGE_PART)
            assert_true(from == cases[i].from && n == cases[i].n);
    }
}

#define BOTH(test)                                                                                                     \
    {#test " plain", test, net_setup_plain, net_teardown, NULL},                                                       \
    {                                                                                                                  \
        #test " tls", test, net_setup_tls, net_teardown, NULL                                                          \
    }
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, net_setup_plain, net_teardown)
#define TLS(test) cmocka_unit_test_setup_teardown(test, net_setup_tls, net_teardown)

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        BOTH(routes),
        BOTH(problems),
        BOTH(bodies),
        BOTH(uploads),
        BOTH(ranges),
        BOTH(long_poll),
        BOTH(long_poll_cancelled),
        BOTH(stopping_answers_those_who_wait),
        BOTH(stream),
        BOTH(stream_limits),
        TLS(identities_are_checked),
        TLS(an_identity_that_ends_meanwhile),
        TLS(optional_certificates),
        PLAIN(client_errors),
        PLAIN(listen_errors),
        PLAIN(stream_head_comes_first),
        PLAIN(followed_collection),
        TLS(half_a_handshake_costs_nothing),
        PLAIN(a_crowd_that_waits),
        cmocka_unit_test(those_that_wait_are_woken_together),
        cmocka_unit_test(range_parsing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
