#pragma once
/* notifier/tail.h - one log, read to its end and then as it grows. Layer: notifier. Thread: loop; the store's calls run
 * in uv's pool, one after the other.
 *
 * Happy path: a hint of the store, or poll_ms -> read -> each record to on_record -> at the end on_end. Failures: said
 * once by on_trouble, the store is opened anew after TAIL_RETRY_MS, again and again; a log that was rewritten is read
 * from its beginning, after on_reset. */
#include <uv.h>

#include "store/store.h"

/* Records and bytes of one reading (as app/ has them). */
#define TAIL_READ_RECORDS 1000u
#define TAIL_READ_BYTES 1048576u

/* Between attempts to open a store anew (chosen). */
#define TAIL_RETRY_MS 1000u

struct tail;
struct tail_options {
    uv_loop_t *loop;
    struct store *store; /* open; handed over when tail_open returns OK */
    unsigned poll_ms;
    void (*on_record)(void *ctx, const struct store_record *r);
    void (*on_end)(void *ctx); /* after each reading that reached the end and brought something, and the first */
    void (*on_reset)(void *ctx);
    void (*on_trouble)(void *ctx, const struct errinfo *why); /* NULL: over */
    void *ctx;
};

must_check enum err tail_open(const struct tail_options *o, struct tail **ret, struct errinfo *err);
/* Where it has read up to. */
struct store_pos tail_at(const struct tail *t);
struct id tail_log_id(const struct tail *t);
void tail_close(struct tail *t, void (*closed)(void *ctx), void *ctx);
