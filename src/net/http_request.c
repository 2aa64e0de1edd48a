#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "net/http_private.h"

/* 1 MiB: so much of a refused body is read and thrown away, so that its sender sees the refusal, not a reset. */
#define DISCARD_MAX (1024u * 1024u)
/* Of a request; the connection's memory bounds them too (http_server.c). */
#define HEADERS_MAX 128

/* ---- reading what libmicrohttpd has parsed ---- */

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                  const char *value, size_t value_len)
{
    (void)kind;
    struct http_request *r = cls;
    if (r->headers_n < HEADERS_MAX) {
        struct http_header *h = &r->headers[r->headers_n++];
        h->name = arena_str(&r->arena, (struct str){name, name_len}).ptr;
        h->value = arena_str(&r->arena, (struct str){value, value == NULL ? 0 : value_len}).ptr;
    }
    return MHD_YES;
}

static enum MHD_Result add_query(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_len,
                                 const char *value, size_t value_len)
{
    (void)kind;
    struct http_request *r = cls;
    struct str n, v;
    if (r->query_n == HTTP_QUERY_PARAMS_MAX || !http_percent_decode((struct str){name, name_len}, &r->arena, &n) ||
        !http_percent_decode((struct str){value, value == NULL ? 0 : value_len}, &r->arena, &v))
        return MHD_NO; /* the count tells the caller */
    r->query[r->query_n++] = (struct http_header){n.ptr, v.ptr};
    return MHD_YES;
}

static struct http_request *request_new(struct http_listener *l, struct MHD_Connection *c, const char *url,
                                        const char *method)
{
    struct http_request *r = mem_alloc(sizeof(*r));
    r->listener = l;
    r->mhd = c;
    r->attached = true;
    r->body_fd = -1;
    r->begun_us = clock_mono_us();
    r->method = arena_strdup(&r->arena, method);
    r->path = arena_str(&r->arena, str_from(url));
    r->headers = arena_alloc(&r->arena, HEADERS_MAX * sizeof(*r->headers));
    r->query = arena_alloc(&r->arena, HTTP_QUERY_PARAMS_MAX * sizeof(*r->query));
    struct http_server *s = l->server;
    r->next = s->requests;
    if (r->next != NULL)
        r->next->previous = r;
    s->requests = r;
    s->requests_n++;
    return r;
}

static void request_free(struct http_request *r)
{
    if (r->data_free != NULL)
        r->data_free(r->data);
    if (r->response != NULL)
        MHD_destroy_response(r->response);
    for (struct http_answer_header *h = r->answer_headers; h != NULL;) {
        struct http_answer_header *next = h->next;
        free(h->name);
        free(h->value);
        free(h);
        h = next;
    }
    http_stream_free(r->stream);
    buf_done(&r->body);
    arena_done(&r->arena);
    free(r);
}

void http_request_release(struct http_request *r)
{
    if (!r->attached && !r->owned)
        request_free(r);
}

/* False: the server takes nobody without a certificate, and this is nobody. */
static bool read_peer(struct http_request *r)
{
    struct http_connection *c = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    if (!c->has_peer) {
        const union MHD_ConnectionInfo *address = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
        const union MHD_ConnectionInfo *tls = NULL;
        if (r->listener->server->o.cert_file != NULL)
            tls = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        c->is_trusted =
            peer_read(tls == NULL ? NULL : tls->tls_session, address == NULL ? NULL : address->client_addr, &c->peer);
        c->trusted_until_s = tls == NULL ? INT64_MAX : http_tls_peer_ends_s(tls->tls_session);
        c->has_peer = true;
    }
    r->peer = c->peer;
    r->trusted_until_s = c->trusted_until_s;
    const struct http_server_options *o = &r->listener->server->o;
    return c->is_trusted || o->cert_file == NULL || o->client_cert != HTTP_CLIENT_CERT_REQUIRED;
}

/* ---- the steps of a request ---- */

static void refuse(struct http_request *r, const struct errinfo *err)
{
    if (!r->answered && !r->dropped)
        http_respond_error(r, err);
}

/* A connection may be kept for longer than the certificate that was good at its handshake. The next handshake fails. */
static enum err check_trust_lasts(struct http_request *r, struct errinfo *err)
{
    char end[CLOCK_TEXT_SIZE];
    if (clock_wall_us() / 1000000 <= r->trusted_until_s)
        return OK;
    clock_format_us(r->trusted_until_s * 1000000, end);
    r->closes = true;
    return err_set(err, ERR_DENIED, "your certificate has expired on %s: renew it, and connect again", end);
}

static enum err read_query(struct http_request *r, struct errinfo *err)
{
    int n = MHD_get_connection_values_n(r->mhd, MHD_GET_ARGUMENT_KIND, NULL, NULL);
    if (n < 0 || (size_t)n > HTTP_QUERY_PARAMS_MAX)
        return err_set(err, ERR_INVALID, "more than %d query parameters", HTTP_QUERY_PARAMS_MAX);
    (void)MHD_get_connection_values_n(r->mhd, MHD_GET_ARGUMENT_KIND, add_query, r);
    if (r->query_n != (size_t)n)
        return err_set(err, ERR_INVALID, "the percent-encoding of a query parameter is wrong");
    return OK;
}

static enum err find_route(struct http_request *r, struct errinfo *err)
{
    const struct http_server_options *o = &r->listener->server->o;
    const char *allow = NULL;
    enum err rc =
        http_route_find(o->routes, o->routes_n, r->method, r->path, &r->arena, &r->route, &r->params, &allow, err);
    if (rc == ERR_CONFLICT) {
        http_respond_header(r, "Allow", allow);
        http_respond_problem(r, 405, ERR_INVALID, err->msg);
    }
    return rc;
}

static enum err check_length(struct http_request *r, struct errinfo *err)
{
    r->body_limit_bytes =
        r->route->body_limit_bytes != 0 ? r->route->body_limit_bytes : r->listener->server->o.body_limit_bytes;
    const char *length = http_request_header(r, "Content-Length");
    uint64_t n = 0;
    if (length != NULL && (!str_parse_u64(str_from(length), UINT64_MAX, &n) || n > r->body_limit_bytes))
        return err_set(err, ERR_LIMIT, "the body has %.20s bytes, at most %llu are taken here", length,
                       (unsigned long long)r->body_limit_bytes);
    return OK;
}

static enum err authorize(struct http_request *r, struct errinfo *err)
{
    const struct http_server_options *o = &r->listener->server->o;
    return o->authorize == NULL ? OK : o->authorize(r, r->route, o->ctx, err);
}

/* Headers are here. Afterwards the request may be answered already. */
static void begin(struct http_request *r)
{
    struct errinfo err = {.code = OK};
    (void)MHD_get_connection_values_n(r->mhd, MHD_HEADER_KIND, add_header, r);
    bool is_welcome = read_peer(r);
    enum err rc = check_trust_lasts(r, &err);
    if (rc == OK && !is_welcome) {
        http_request_drop(r);
        return;
    }
    if (rc == OK)
        rc = read_query(r, &err);
    if (rc == OK)
        rc = find_route(r, &err);
    if (rc == OK)
        rc = authorize(r, &err);
    if (rc == OK && !r->answered)
        rc = check_length(r, &err);
    if (rc == OK && !r->answered && r->route->on_headers != NULL)
        r->route->on_headers(r, r->listener->server->o.ctx);
    if (rc != OK)
        refuse(r, &err);
}

static bool wants_continue(const struct http_request *r)
{
    const char *expect = http_request_header(r, "Expect");
    return expect != NULL && strcasecmp(expect, "100-continue") == 0;
}

/* Answer before the body, when its sender waits for our word, or when it is too much to be thrown away. */
static bool must_answer_at_once(const struct http_request *r)
{
    uint64_t n = 0;
    const char *length = http_request_header(r, "Content-Length");
    return wants_continue(r) ||
           (length != NULL && (!str_parse_u64(str_from(length), UINT64_MAX, &n) || n > DISCARD_MAX));
}

static enum err write_all(int fd, struct str bytes, struct errinfo *err)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.ptr, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "store the body");
        bytes = str_slice(bytes, (size_t)n, bytes.len);
    }
    return OK;
}

static enum err take_chunk(struct http_request *r, struct str chunk, struct errinfo *err)
{
    if (chunk.len > r->body_limit_bytes || r->body_bytes > r->body_limit_bytes - chunk.len)
        return err_set(err, ERR_LIMIT, "the body has more than %llu bytes", (unsigned long long)r->body_limit_bytes);
    r->body_bytes += chunk.len;
    if (r->on_chunk != NULL)
        return r->on_chunk(r, chunk, r->on_chunk_ctx, err);
    if (r->body_to_fd)
        return write_all(r->body_fd, chunk, err);
    buf_add_str(&r->body, chunk);
    return OK;
}

/* False: enough was thrown away, cut the connection. */
static bool body_chunk(struct http_request *r, struct str chunk)
{
    struct errinfo err;
    if (!r->answered && !r->dropped) {
        if (take_chunk(r, chunk, &err) != OK)
            refuse(r, &err);
        return !r->dropped;
    }
    r->discarded_bytes += chunk.len;
    uint64_t max = r->body_limit_bytes > DISCARD_MAX ? r->body_limit_bytes : DISCARD_MAX;
    return !r->dropped && r->discarded_bytes <= max;
}

static enum MHD_Result queue_answer(struct http_request *r)
{
    if (r->listener->server->closing || r->closes)
        (void)MHD_add_response_header(r->response, "Connection", "close");
    enum MHD_Result rc = MHD_queue_response(r->mhd, (unsigned)r->status, r->response);
    MHD_destroy_response(TAKE(r->response));
    return rc;
}

static enum MHD_Result access_step(struct http_request *r, struct str chunk, size_t *upload_size, bool is_first)
{
    if (is_first) {
        begin(r);
        if (r->dropped)
            return MHD_NO;
        return r->answered && must_answer_at_once(r) ? queue_answer(r) : MHD_YES;
    }
    if (chunk.len > 0) {
        *upload_size = 0;
        return body_chunk(r, chunk) ? MHD_YES : MHD_NO;
    }
    if (!r->answered && !r->dropped && !r->dispatched) {
        r->dispatched = true;
        r->owned = true;
        r->route->handler(r, r->listener->server->o.ctx);
    }
    if (r->dropped)
        return MHD_NO;
    if (r->answered)
        return queue_answer(r);
    http_request_suspend(r);
    return MHD_YES;
}

enum MHD_Result http_request_access(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                                    const char *version, const char *upload_data, size_t *upload_size, void **con_cls)
{
    (void)version;
    struct http_request *r = *con_cls;
    bool is_first = r == NULL;
    if (is_first)
        *con_cls = r = request_new(cls, c, url, method);
    return access_step(r, (struct str){upload_data, *upload_size}, upload_size, is_first);
}

/* ---- waiting and waking ---- */

static void watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void watch_stop(struct http_request *r)
{
    if (r->watch == NULL)
        return;
    r->watch->request = NULL;
    uv_close((uv_handle_t *)&r->watch->poll, watch_closed);
    r->watch = NULL;
}

static void cancel(struct http_request *r)
{
    r->cancelled = true;
    void (*on_cancel)(struct http_request *r, void *ctx) = TAKE(r->on_cancel);
    if (on_cancel != NULL)
        on_cancel(r, r->on_cancel_ctx);
}

static void resume(struct http_request *r)
{
    watch_stop(r);
    r->suspended = false;
    http_listener_wake(r->listener, r);
}

static void on_peer_gone(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct http_request *r = ((struct http_watch *)poll->data)->request;
    if (r == NULL)
        return;
    r->dropped = true; /* the access callback then closes the connection */
    resume(r);
    if (r->owned && !r->cancelled)
        cancel(r); /* may free r's handler side, not r: it is attached */
}

void http_request_suspend(struct http_request *r)
{
    MHD_suspend_connection(r->mhd);
    r->suspended = true;
    r->listener->server->suspended_n++;
    struct http_watch *w = mem_alloc(sizeof(*w));
    int fd = MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    if (uv_poll_init(r->listener->server->o.loop, &w->poll, fd) != 0) {
        free(w); /* then it is only seen at the answer that it has gone */
        return;
    }
    w->poll.data = w;
    w->request = r;
    r->watch = w;
    (void)uv_poll_start(&w->poll, UV_DISCONNECT, on_peer_gone);
}

void http_request_wake(struct http_request *r)
{
    if (r->attached && r->suspended)
        resume(r);
}

static void unlink_request(struct http_request *r)
{
    struct http_server *s = r->listener->server;
    if (r->previous != NULL)
        r->previous->next = r->next;
    else
        s->requests = r->next;
    if (r->next != NULL)
        r->next->previous = r->previous;
    s->requests_n--;
}

static void report(const struct http_request *r, bool is_complete)
{
    const struct http_server_options *o = &r->listener->server->o;
    if (o->on_done == NULL)
        return;
    struct http_exchange x = {.method = r->method,
                              .route = r->route == NULL ? "" : r->route->pattern,
                              .peer = &r->peer,
                              .status = is_complete ? r->status : 0,
                              .duration_us = (uint64_t)(clock_mono_us() - r->begun_us),
                              .body_bytes = r->body_bytes};
    o->on_done(&x, o->ctx);
}

void http_request_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode why)
{
    (void)cls, (void)c;
    struct http_request *r = *con_cls;
    if (r == NULL)
        return;
    *con_cls = NULL;
    report(r, why == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    watch_stop(r);
    unlink_request(r);
    struct http_server *s = r->listener->server;
    r->attached = false;
    r->mhd = NULL;
    r->listener = NULL;
    http_server_request_gone(s);
    if (r->owned && !r->cancelled) {
        cancel(r);
        return; /* the handler lets go by answering, maybe it has inside cancel */
    }
    http_request_release(r);
}

void http_request_cancel_for_close(struct http_request *r)
{
    if (!r->owned || r->cancelled)
        return;
    bool is_stream = r->stream != NULL;
    cancel(r); /* r stays: it is attached */
    if (is_stream || r->answered || r->dropped)
        return;
    http_respond_problem(r, 503, ERR_UNAVAILABLE, "the server is stopping");
    r->owned = true; /* the handler still holds r; its answer goes nowhere */
}

/* ---- what handlers ask ---- */

const char *http_request_method(const struct http_request *r)
{
    return r->method;
}

struct str http_request_path(const struct http_request *r)
{
    return r->path;
}

const char *http_request_param(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->params.n; i++)
        if (strcmp(r->params.items[i].name, name) == 0)
            return r->params.items[i].value;
    return "";
}

const char *http_request_query(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->query_n; i++)
        if (strcmp(r->query[i].name, name) == 0)
            return r->query[i].value;
    return NULL;
}

enum err http_request_query_u64(const struct http_request *r, const char *name, uint64_t max, uint64_t fallback,
                                uint64_t *ret_value, struct errinfo *err)
{
    const char *text = http_request_query(r, name);
    *ret_value = fallback;
    if (text != NULL && !str_parse_u64(str_from(text), max, ret_value))
        return err_set(err, ERR_INVALID, "query parameter '%s' is not a number from 0 to %llu", name,
                       (unsigned long long)max);
    return OK;
}

bool http_request_query_at(const struct http_request *r, size_t i, const char **ret_name, const char **ret_value)
{
    if (i >= r->query_n)
        return false;
    *ret_name = r->query[i].name;
    *ret_value = r->query[i].value;
    return true;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->headers_n; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return NULL;
}

struct str http_request_bearer(const struct http_request *r)
{
    const char *value = http_request_header(r, "Authorization");
    if (value == NULL || strncasecmp(value, "Bearer ", 7) != 0)
        return (struct str){NULL, 0};
    return str_trim(str_from(value + 7));
}

struct str http_request_body(const struct http_request *r)
{
    return buf_str(&r->body);
}

uint64_t http_request_body_bytes(const struct http_request *r)
{
    return r->body_bytes;
}

enum err http_request_json(const struct http_request *r, json_t **ret_doc, struct errinfo *err)
{
    const char *type = http_request_header(r, "Content-Type");
    if (type != NULL && strncasecmp(type, "application/json", 16) != 0)
        return err_set(err, ERR_INVALID, "Content-Type is '%.80s', not application/json", type);
    enum err rc = json_parse(buf_str(&r->body), ret_doc, err);
    return rc == OK ? OK : err_wrap(err, rc, "the body is not JSON");
}

const struct peer *http_request_peer(const struct http_request *r)
{
    return &r->peer;
}

void http_request_set_data(struct http_request *r, void *data, void (*free_fn)(void *data))
{
    if (r->data_free != NULL)
        r->data_free(r->data);
    r->data = data;
    r->data_free = free_fn;
}

void *http_request_data(const struct http_request *r)
{
    return r->data;
}

void http_request_on_cancel(struct http_request *r, void (*on_cancel)(struct http_request *r, void *ctx), void *ctx)
{
    r->on_cancel = on_cancel;
    r->on_cancel_ctx = ctx;
}

bool http_request_is_cancelled(const struct http_request *r)
{
    return r->cancelled;
}

void http_request_body_to(struct http_request *r,
                          enum err (*on_chunk)(struct http_request *r, struct str chunk, void *ctx,
                                               struct errinfo *err),
                          void *ctx)
{
    assert(r->body_bytes == 0 && !r->dispatched);
    r->on_chunk = on_chunk;
    r->on_chunk_ctx = ctx;
}

void http_request_body_to_fd(struct http_request *r, int fd)
{
    assert(r->body_bytes == 0 && !r->dispatched);
    r->body_to_fd = true;
    r->body_fd = fd;
}
