#include "api/stream.h"

#include <assert.h>

#include "api/parts.h"
#include "base/own.h"

/* What may wait for a slow reader before the source is left alone (chosen; below HTTP_STREAM_QUEUE_MAX, and a line is
 * at most ENVELOPE_SIZE_MAX). */
#define QUEUE_MAX ((size_t)512 * 1024)

struct stream {
    struct api *api;
    struct http_stream *http; /* NULL once ended */
    struct stream_source source;
    bool is_sse, is_over;
    unsigned holds_n;
    struct stream *next, **at; /* in the api's list while it is not over */
};

struct api *stream_api(const struct stream *s)
{
    return s->api;
}

bool stream_wants_sse(const struct call *c)
{
    const char *accept = http_request_header(c->r, "Accept");
    return accept != NULL && strstr(accept, "text/event-stream") != NULL;
}

bool stream_is_over(const struct stream *s)
{
    return s->is_over;
}

bool stream_has_room(const struct stream *s)
{
    return !s->is_over && http_stream_queued_bytes(s->http) < QUEUE_MAX;
}

static void free_when_idle(struct stream *s)
{
    if (!s->is_over || s->holds_n > 0)
        return;
    if (s->source.free != NULL)
        s->source.free(s->source.ctx);
    free(s);
}

void stream_hold(struct stream *s)
{
    s->holds_n++;
    assert(s->holds_n > 0);
}

void stream_release(struct stream *s)
{
    s->holds_n--;
    free_when_idle(s);
}

void stream_end(struct stream *s)
{
    if (s->is_over)
        return;
    s->is_over = true;
    *s->at = s->next;
    if (s->next != NULL)
        s->next->at = s->at;
    http_stream_end(s->http);
    s->http = NULL;
    free_when_idle(s);
}

void stream_line(struct stream *s, struct str line, const char *id)
{
    if (s->is_over)
        return;
    AUTO(buf) struct buf text = {0};
    if (s->is_sse && id != NULL)
        buf_addf(&text, "id: %s\n", id);
    buf_add_c(&text, s->is_sse ? "data: " : "");
    buf_add_str(&text, line);
    buf_add_c(&text, s->is_sse ? "\n\n" : "\n");
    if (http_stream_push(s->http, buf_str(&text)) != OK)
        stream_end(s);
}

static void pump(struct stream *s, bool is_stopping)
{
    stream_hold(s);
    unsigned holds_n = s->holds_n;
    if (!s->is_over)
        s->source.pump(s, s->source.ctx, is_stopping);
    assert(s->holds_n >= holds_n); /* a source gives back what it took, not ours */
    if (is_stopping)
        stream_end(s);
    stream_release(s); /* NOLINT(clang-analyzer-unix.Malloc): the hold above kept it */
}

static void on_drained(struct http_stream *http, void *ctx)
{
    (void)http;
    pump(ctx, false);
}

static void cancelled(struct http_request *r, void *ctx)
{
    (void)r;
    stream_end(ctx);
}

void stream_begin(struct call *c, const struct stream_source *source)
{
    struct stream *s = mem_alloc(sizeof(*s));
    s->api = c->api;
    s->source = *source;
    s->is_sse = stream_wants_sse(c);
    http_respond_header(c->r, "Cache-Control", "no-store");
    call_position(c);
    c->is_answered = true;
    http_request_on_cancel(c->r, cancelled, s);
    s->http = http_respond_stream(c->r, 200, s->is_sse ? "text/event-stream" : "application/x-ndjson");
    s->next = c->api->streams;
    s->at = &c->api->streams;
    if (s->next != NULL)
        s->next->at = &s->next;
    c->api->streams = s;
    http_stream_on_drained(s->http, on_drained, s);
    api_tick_needed(c->api);
    pump(s, c->api->is_stopping);
}

void stream_look(struct api *api, bool is_stopping)
{
    for (struct stream *s = api->streams, *next = NULL; s != NULL; s = next) {
        stream_hold(s); /* its neighbours may only leave by their own pump */
        pump(s, is_stopping);
        next = s->next;
        stream_release(s);
    }
}
