#pragma once
/* net/follow.h - follow a collection: GET url?cursor=..&wait=.. again and again, as the contract for reading has it.
 * Layer: net. Thread: loop. Answer: {"items":[...],"removed":[ids],"cursor":"...","full":bool}.
 * `full`: the items are everything there is, forget the rest. Errors back off from 0.2 s, doubled, to backoff_max_ms,
 * with jitter; 410 or an ERR_INVALID cursor starts again without one. With wait_s 0 it is a slow timer. */
#include <jansson.h>

#include "net/http_client.h"

struct follow;

struct follow_options {
    uv_loop_t *loop;
    struct http_client *client;    /* borrowed while the follow lives */
    struct http_call_options call; /* url without cursor and wait (other query parameters are kept), TLS, bearer,
                                      headers; copied. Its timeouts: total is set from wait_s */
    const char *const *urls;       /* instead of call.url: replicas of one service, tried in turn after an error */
    size_t urls_n;
    unsigned wait_s;         /* long poll; 0: the answer comes at once, ask every interval_ms */
    unsigned interval_ms;    /* pause after an answer that came at once (0: none with wait_s; 1000 without) */
    unsigned backoff_max_ms; /* 0: 5000 */
    uint64_t seed;           /* for jitter; of the caller, so that tests are repeatable */
    const char *cursor;      /* to begin with; NULL: from the start. Copied */
    /* One document; borrowed. Not OK: the cursor stays, the document comes again after a back-off. */
    enum err (*on_document)(const json_t *document, void *ctx, struct errinfo *err);
    /* A failed round, for the log; failures_n rounds in a row. May be NULL. */
    void (*on_error)(const struct errinfo *err, unsigned failures_n, void *ctx);
    void *ctx;
};

/* Starts at once. Returned: follow_stop. */
struct follow *follow_start(const struct follow_options *o);
/* Ask now, without waiting for the timer (a notification came). Does not disturb a long poll that is under way. */
void follow_kick(struct follow *f);
/* Last cursor whose document was taken; "" at first. Lent until the next document. */
const char *follow_cursor(const struct follow *f);
/* No callback after this; frees itself once the loop has closed its handles. */
void follow_stop(struct follow *f);
