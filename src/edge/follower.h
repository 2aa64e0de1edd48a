#pragma once
/* edge/follower.h - follows GET {api}/v1/routes, and says by its cursor what is in force at this edge.
 * Layer: edge. Thread: loop.
 *
 * The cursor that a request carries is the edge's confirmation: the control plane begins to drain old instances when
 * every live edge has sent it back. So a document's cursor is sent only after its map is on disk and follower_confirm
 * was called (Envoy has acknowledged everything). Until then, and when nothing changes, the old one is sent at least
 * every 5 s, because an edge that has not asked for 15 s does not count as live.
 * Failures: 0.2 s doubled to 5 s, the next API in turn; a cursor that is refused starts again without one. */
#include <jansson.h>

#include "base/err.h"
#include "net/http_client.h"

struct follower;
struct follower_options {
    uv_loop_t *loop;
    struct http_client *client;    /* borrowed */
    struct http_call_options call; /* TLS and peer; url is set per call. Borrowed texts, must outlive it */
    const char *const *urls;       /* of management APIs; borrowed */
    size_t urls_n;
    const char *confirmed; /* cursor confirmed in an earlier life; "" none. Copied */
    /* A document, borrowed. Take it into the map, make that durable. Not OK: it comes again. */
    enum err (*on_document)(void *ctx, const json_t *document, struct errinfo *err);
    void (*on_problem)(void *ctx, const struct errinfo *err);
    void *ctx;
};

/* Starts at once. Returned: follower_close. */
struct follower *follower_open(const struct follower_options *o);
/* This cursor is in force here; the next request, at once when it is news, carries it. Copied. */
void follower_confirm(struct follower *f, const char *cursor);
/* There may be news: ask now rather than when a pause is over, five times a second at most. A call that is under way is
 * waited for; while a document waits for its confirmation nothing is asked. */
void follower_kick(struct follower *f);
const char *follower_confirmed(const struct follower *f); /* lent until the next confirm */
/* When the last answer came (clock_mono_us); 0: none yet. */
int64_t follower_answered_us(const struct follower *f);
/* Frees itself once the loop has closed its handles. */
void follower_close(struct follower *f);
