#include "edge/envoy/admin.h"

#include "base/buf.h"
#include "base/mem.h"

/* One second (chosen): it answers within a millisecond or hangs. */
#define ADMIN_TIMEOUT_MS 1000

struct call {
    uv_pipe_t pipe;
    uv_timer_t timer;
    uv_connect_t connect;
    uv_write_t write;
    struct buf request, answer;
    admin_done_fn *on_done;
    void *ctx;
    bool is_closing, is_whole;
    int handles_n;
    char read_bytes[8192];
};

static int status_of(struct str answer)
{
    uint64_t status;
    if (answer.len < 12 || !str_starts(answer, STR("HTTP/1.")) ||
        !str_parse_u64(str_slice(answer, 9, 12), 999, &status))
        return 0;
    return (int)status;
}

static struct str body_of(struct str answer)
{
    const char *end = memmem(answer.ptr, answer.len, "\r\n\r\n", 4);
    return end == NULL ? (struct str){0} : str_slice(answer, (size_t)(end - answer.ptr) + 4, answer.len);
}

static void on_closed(uv_handle_t *handle)
{
    struct call *c = handle->data;
    if (--c->handles_n > 0)
        return;
    struct str answer = buf_str(&c->answer);
    int status = c->is_whole ? status_of(answer) : 0;
    c->on_done(c->ctx, status, status == 0 ? (struct str){0} : body_of(answer));
    buf_done(&c->request);
    buf_done(&c->answer);
    free(c);
}

static void finish(struct call *c)
{
    if (c->is_closing)
        return;
    c->is_closing = true;
    uv_close((uv_handle_t *)&c->pipe, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_timeout(uv_timer_t *timer)
{
    finish(timer->data);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *b)
{
    (void)size;
    struct call *c = handle->data;
    *b = uv_buf_init(c->read_bytes, sizeof(c->read_bytes));
}

/* "Connection: close" makes the end of the stream the end of the answer; chunks of a big one are not decoded, which its
 * readers here (lines, a status) don't mind. */
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct call *c = stream->data;
    if (n > 0 && c->answer.len + (size_t)n <= ADMIN_ANSWER_SIZE_MAX) {
        buf_add(&c->answer, b->base, (size_t)n);
        return;
    }
    if (n == 0)
        return;
    c->is_whole = n == UV_EOF;
    finish(c);
}

static void on_written(uv_write_t *request, int status)
{
    struct call *c = request->data;
    if (status < 0)
        finish(c);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct call *c = request->data;
    if (status < 0 || c->is_closing) {
        finish(c);
        return;
    }
    uv_buf_t b = uv_buf_init(c->request.ptr, (unsigned)c->request.len);
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &b, 1, on_written) != 0 ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0)
        finish(c);
}

void admin_send(uv_loop_t *loop, const char *socket_path, const char *method, const char *target,
                admin_done_fn *on_done, void *ctx)
{
    struct call *c = mem_alloc(sizeof(*c));
    c->on_done = on_done;
    c->ctx = ctx;
    c->handles_n = 2;
    c->pipe.data = c->timer.data = c->connect.data = c->write.data = c;
    buf_addf(&c->request, "%s %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method,
             target);
    uv_pipe_init(loop, &c->pipe, 0);
    uv_timer_init(loop, &c->timer);
    uv_timer_start(&c->timer, on_timeout, ADMIN_TIMEOUT_MS, 0);
    uv_pipe_connect(&c->connect, &c->pipe, socket_path, on_connected);
}
