#pragma once
/* api/stream.h - an answer that goes on: lines as NDJSON, or as events of text/event-stream (SSE).
 * Layer: api. A stream has a source that is asked to push what it has: at its begin, on news, every API_TICK_MS, and
 * when a slow reader has taken what was queued. It outlives its call's handler and frees itself. */
#include "api/call.h"

struct stream;

struct stream_source {
    void *ctx;
    /* Push lines (stream_line) while stream_has_room; call stream_end when there will be no more. */
    void (*pump)(struct stream *s, void *ctx, bool is_stopping);
    void (*free)(void *ctx); /* after the stream's end */
};

/* Begin the answer: 200, SSE when the caller accepts text/event-stream, else NDJSON. Pumps at once. */
void stream_begin(struct call *c, const struct stream_source *source);
bool stream_wants_sse(const struct call *c);
bool stream_has_room(const struct stream *s);
/* One line without its newline; id: position for Last-Event-ID, NULL: none. */
void stream_line(struct stream *s, struct str line, const char *id);
/* Between hold and release the stream stays allocated though it ends: for answers that are on their way. */
void stream_hold(struct stream *s);
void stream_release(struct stream *s);
bool stream_is_over(const struct stream *s); /* the peer went, or it was ended: push nothing more */
void stream_end(struct stream *s);
struct api *stream_api(const struct stream *s);
