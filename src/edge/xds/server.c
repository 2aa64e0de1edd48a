#include "edge/xds/server.h"

#include <assert.h>
#include <nghttp2/nghttp2.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"

#define ADS_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
/* A gRPC message is preceded by a byte "compressed" and four bytes of length. */
#define GRPC_PREFIX_SIZE 5

struct connection {
    struct xds_server *server;
    struct connection *prev, *next;
    uv_pipe_t pipe;
    nghttp2_session *session;
    struct delta *delta; /* of the ADS stream; NULL: none open */
    int32_t stream_id;
    struct buf in, out; /* out: framed messages that nghttp2 has not taken yet */
    size_t out_taken;
    bool is_other_method; /* the last request asked for something else */
    bool is_closing;
    char read_bytes[16384];
};

struct xds_server {
    struct xds_server_options options;
    char *path;
    uv_pipe_t listener;
    struct connection *connections; /* newest first */
    size_t connections_n;
    bool is_closing, is_listener_closed, is_ticking, is_dirty;
};

/* ---- closing ---- */

static void server_free_if_done(struct xds_server *s)
{
    if (!s->is_closing || !s->is_listener_closed || s->connections != NULL)
        return;
    free(s->path);
    free(s);
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    struct xds_server *s = c->server;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    s->connections_n--;
    nghttp2_session_del(c->session);
    delta_free(c->delta);
    buf_done(&c->in);
    buf_done(&c->out);
    free(c);
    server_free_if_done(s);
}

static void connection_close(struct connection *c)
{
    if (c->is_closing)
        return;
    c->is_closing = true;
    uv_close((uv_handle_t *)&c->pipe, on_connection_closed);
    if (!c->server->is_closing)
        c->server->options.on_change(c->server->options.ctx);
}

/* ---- sending ---- */

struct write {
    uv_write_t request;
    struct connection *connection;
    char bytes[];
};

static void on_written(uv_write_t *request, int status)
{
    struct write *w = (struct write *)(void *)request;
    if (status < 0)
        connection_close(w->connection);
    free(w);
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *bytes, size_t n, int flags, void *user)
{
    (void)session;
    (void)flags;
    struct connection *c = user;
    struct write *w = mem_alloc(sizeof(*w) + n);
    w->connection = c;
    memcpy(w->bytes, bytes, n);
    uv_buf_t b = uv_buf_init(w->bytes, (unsigned)n);
    if (uv_write(&w->request, (uv_stream_t *)&c->pipe, &b, 1, on_written) != 0) {
        free(w);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

static ssize_t on_take_body(nghttp2_session *session, int32_t stream_id, uint8_t *bytes, size_t size, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream_id;
    (void)flags;
    (void)source;
    struct connection *c = user;
    size_t n = c->out.len - c->out_taken;
    if (n == 0) {
        buf_clear(&c->out);
        c->out_taken = 0;
        return NGHTTP2_ERR_DEFERRED;
    }
    n = n < size ? n : size;
    memcpy(bytes, c->out.ptr + c->out_taken, n);
    c->out_taken += n;
    return (ssize_t)n;
}

static void flush(struct connection *c)
{
    if (!c->is_closing && nghttp2_session_send(c->session) != 0)
        connection_close(c);
}

/* All messages that can be sent now. True when there was one. */
static bool connection_fill(struct connection *c)
{
    bool any = false;
    while (c->delta != NULL && !c->is_closing) {
        AUTO(buf) struct buf message = {0};
        if (!delta_next(c->delta, c->server->options.catalogue, &message))
            break;
        char prefix[GRPC_PREFIX_SIZE] = {0, (char)(message.len >> 24), (char)(message.len >> 16),
                                         (char)(message.len >> 8), (char)message.len};
        buf_add(&c->out, prefix, sizeof(prefix));
        buf_add_str(&c->out, buf_str(&message));
        any = true;
    }
    if (any)
        (void)nghttp2_session_resume_data(c->session, c->stream_id);
    return any;
}

struct asking {
    struct xds_server *server;
};

static void ask_wanted(void *ctx, enum xds_type type, struct str name, bool is_held)
{
    const struct asking *a = ctx;
    a->server->options.on_wanted(a->server->options.ctx, type, name, is_held);
}

static void tick_once(struct xds_server *s)
{
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->is_closing || c->delta == NULL)
            continue;
        rollout_wanted(delta_rollout(c->delta), s->options.catalogue, ask_wanted, &(struct asking){s});
        connection_fill(c);
        flush(c);
    }
}

void xds_server_tick(struct xds_server *s)
{
    s->is_dirty = true;
    if (s->is_ticking || s->is_closing)
        return;
    s->is_ticking = true;
    while (s->is_dirty) { /* on_wanted may put names and tick again */
        s->is_dirty = false;
        tick_once(s);
    }
    s->is_ticking = false;
    s->options.on_change(s->options.ctx);
}

/* ---- receiving ---- */

/* Take complete gRPC messages out of c->in. False: what came is no such message. */
static bool take_messages(struct connection *c)
{
    struct xds_server *s = c->server;
    while (c->in.len >= GRPC_PREFIX_SIZE) {
        const uint8_t *p = (const uint8_t *)c->in.ptr;
        size_t size = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
        if (p[0] != 0 || size > XDS_MESSAGE_SIZE_MAX)
            return false;
        if (c->in.len < GRPC_PREFIX_SIZE + size)
            return true;
        struct delta_event event;
        struct str bytes = {c->in.ptr + GRPC_PREFIX_SIZE, size};
        if (delta_receive(c->delta, bytes, &event, NULL) != OK)
            return false;
        buf_consume(&c->in, GRPC_PREFIX_SIZE + size);
        if (event.is_ack || event.is_refusal)
            s->options.on_event(s->options.ctx, &event);
    }
    return true;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *bytes, size_t n,
                   void *user)
{
    (void)session;
    (void)flags;
    struct connection *c = user;
    if (c->delta == NULL || stream_id != c->stream_id)
        return 0;
    buf_add(&c->in, bytes, n);
    if (!take_messages(c))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    c->server->is_dirty = true;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    (void)flags;
    struct connection *c = user;
    struct str n = {(const char *)name, name_len}, v = {(const char *)value, value_len};
    if (str_eq(n, STR(":path")))
        c->is_other_method = !str_eq(v, STR(ADS_PATH));
    return 0;
}

#define HEADER(name_, value_)                                                                                          \
    {(uint8_t *)(uintptr_t)(name_), (uint8_t *)(uintptr_t)(value_), sizeof(name_) - 1, sizeof(value_) - 1,             \
     NGHTTP2_NV_FLAG_NONE}

static int answer_unimplemented(struct connection *c, int32_t stream_id)
{
    const nghttp2_nv headers[] = {HEADER(":status", "200"), HEADER("content-type", "application/grpc"),
                                  HEADER("grpc-status", "12"), HEADER("grpc-message", "only delta ADS is served")};
    return nghttp2_submit_response(c->session, stream_id, headers, 4, NULL);
}

static int open_stream(struct connection *c, int32_t stream_id)
{
    const nghttp2_nv headers[] = {HEADER(":status", "200"), HEADER("content-type", "application/grpc")};
    const nghttp2_data_provider body = {.read_callback = on_take_body};
    if (c->delta != NULL || c->is_other_method)
        return answer_unimplemented(c, stream_id);
    c->delta = delta_new();
    c->stream_id = stream_id;
    buf_clear(&c->in);
    buf_clear(&c->out);
    c->out_taken = 0;
    return nghttp2_submit_response(c->session, stream_id, headers, 2, &body);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct connection *c = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    return open_stream(c, frame->hd.stream_id) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *user)
{
    (void)session;
    (void)error;
    struct connection *c = user;
    if (c->delta == NULL || stream_id != c->stream_id)
        return 0;
    delta_free(TAKE(c->delta));
    c->server->is_dirty = true;
    return 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct connection *c = stream->data;
    if (n == 0)
        return;
    if (n < 0 || nghttp2_session_mem_recv(c->session, (const uint8_t *)b->base, (size_t)n) < 0) {
        connection_close(c);
        return;
    }
    flush(c);
    if (c->server->is_dirty && !c->server->is_closing)
        xds_server_tick(c->server);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *b)
{
    (void)size;
    struct connection *c = handle->data;
    *b = uv_buf_init(c->read_bytes, sizeof(c->read_bytes));
}

/* ---- connections ---- */

static void session_open(struct connection *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    int rc = nghttp2_session_server_new(&c->session, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    assert(rc == 0 && "out of memory aborts");
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 8},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1u << 20}};
    rc = nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2);
    assert(rc == 0);
    rc = nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, 1 << 20);
    assert(rc == 0);
    (void)rc;
}

static void on_connect(uv_stream_t *listener, int status)
{
    struct xds_server *s = listener->data;
    if (status < 0 || s->is_closing)
        return;
    struct connection *c = mem_alloc(sizeof(*c));
    c->server = s;
    uv_pipe_init(s->options.loop, &c->pipe, 0);
    c->pipe.data = c;
    c->next = s->connections;
    if (c->next != NULL)
        c->next->prev = c;
    s->connections = c;
    s->connections_n++;
    session_open(c);
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) != 0 || s->connections_n > XDS_CONNECTIONS_MAX ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
        connection_close(c);
        return;
    }
    flush(c);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct xds_server *s = handle->data;
    s->is_listener_closed = true;
    server_free_if_done(s);
}

void xds_server_close(struct xds_server *s)
{
    if (s == NULL || s->is_closing)
        return;
    s->is_closing = true;
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        connection_close(c);
    uv_close((uv_handle_t *)&s->listener, on_listener_closed); /* libuv unlinks what it has bound */
}

enum err xds_server_open(const struct xds_server_options *o, struct xds_server **ret_server, struct errinfo *err)
{
    struct xds_server *s = mem_alloc(sizeof(*s));
    s->options = *o;
    s->path = mem_strdup(o->path);
    uv_pipe_init(o->loop, &s->listener, 0);
    s->listener.data = s;
    (void)unlink(o->path); /* left by a predecessor; two of us at once are kept apart by the state folder's lock */
    mode_t old_mask = umask(0077);
    int rc = uv_pipe_bind(&s->listener, o->path);
    umask(old_mask);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&s->listener, XDS_CONNECTIONS_MAX, on_connect);
    if (rc != 0) {
        xds_server_close(s);
        return err_set(err, ERR_IO, "listen on '%s': %s", o->path, uv_strerror(rc));
    }
    *ret_server = s;
    return OK;
}

/* ---- what is known ---- */

bool xds_server_is_settled(const struct xds_server *s)
{
    size_t n = 0;
    for (const struct connection *c = s->connections; c != NULL; c = c->next) {
        if (c->is_closing || c->delta == NULL)
            continue;
        n++;
        if (!rollout_is_settled(delta_rollout(c->delta), s->options.catalogue))
            return false;
    }
    return n > 0;
}

size_t xds_server_streams(const struct xds_server *s)
{
    size_t n = 0;
    for (const struct connection *c = s->connections; c != NULL; c = c->next)
        n += !c->is_closing && c->delta != NULL;
    return n;
}

size_t xds_server_held(const struct xds_server *s, enum xds_type type)
{
    for (const struct connection *c = s->connections; c != NULL; c = c->next)
        if (!c->is_closing && c->delta != NULL)
            return rollout_held(delta_rollout(c->delta), type);
    return 0;
}

size_t xds_server_refused(const struct xds_server *s)
{
    size_t n = 0;
    for (const struct connection *c = s->connections; c != NULL; c = c->next)
        if (!c->is_closing && c->delta != NULL)
            n += rollout_refused(delta_rollout(c->delta), s->options.catalogue);
    return n;
}
