/* Happy path: the answer's headers go out, libmicrohttpd asks stream_read for bytes; with none queued the connection is
 * suspended (and watched) until a push wakes it. Failure: the peer leaves -> on_cancel, later pushes say so; the peer
 * reads too slowly -> the queue reaches its limit and push refuses. */
#include "base/own.h"
#include "net/http_private.h"

/* A chunk of the answer at most (chosen). */
#define STREAM_BLOCK_SIZE (16u * 1024u)

static bool stream_is_gone(const struct http_stream *s)
{
    return !s->request->attached || s->request->dropped;
}

size_t http_stream_queued_bytes(const struct http_stream *s)
{
    return s->queue.len - s->queue_at;
}

static void queue_take(struct http_stream *s, char *out, size_t n)
{
    memcpy(out, s->queue.ptr + s->queue_at, n);
    s->queue_at += n;
    if (s->queue_at == s->queue.len) {
        buf_clear(&s->queue);
        s->queue_at = 0;
    } else if (s->queue_at > s->queue.len / 2) {
        buf_consume(&s->queue, s->queue_at);
        s->queue_at = 0;
    }
}

static ssize_t stream_read(void *cls, uint64_t at, char *out, size_t max)
{
    (void)at;
    struct http_stream *s = cls;
    size_t queued = http_stream_queued_bytes(s), n = queued < max ? queued : max;
    if (s->request->dropped)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (n == 0 && s->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (n == 0) {
        http_request_suspend(s->request);
        return 0;
    }
    queue_take(s, out, n);
    if (n == queued && !s->ended && s->on_drained != NULL)
        s->on_drained(s, s->on_drained_ctx);
    return (ssize_t)n;
}

struct http_stream *http_respond_stream(struct http_request *r, int status, const char *content_type)
{
    struct http_stream *s = mem_alloc(sizeof(*s));
    s->request = r;
    r->stream = s;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_SIZE, stream_read, s, NULL);
    (void)MHD_add_response_header(response, "Content-Type", content_type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    http_respond_with(r, status, response);
    return s;
}

enum err http_stream_push(struct http_stream *s, struct str bytes)
{
    if (stream_is_gone(s))
        return ERR_CANCELLED;
    if (bytes.len > HTTP_STREAM_QUEUE_MAX - http_stream_queued_bytes(s))
        return ERR_LIMIT;
    buf_add_str(&s->queue, bytes);
    http_request_wake(s->request);
    return OK;
}

void http_stream_on_drained(struct http_stream *s, void (*on_drained)(struct http_stream *s, void *ctx), void *ctx)
{
    s->on_drained = on_drained;
    s->on_drained_ctx = ctx;
}

void http_stream_end(struct http_stream *s)
{
    struct http_request *r = s->request;
    s->ended = true;
    r->owned = false;
    http_request_wake(r);
    http_request_release(r);
}

void http_stream_free(struct http_stream *s)
{
    if (s == NULL)
        return;
    buf_done(&s->queue);
    free(s);
}
