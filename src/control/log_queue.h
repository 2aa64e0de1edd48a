#pragma once
/* control/log_queue.h - reads and appends of one event log, carried out in uv's pool, one after the other, in order:
 * for those who want records themselves and not a fold of them (people, tools, applications that run elsewhere). Layer:
 * control. Thread: loop. Its own handle of the store, so the fold is not disturbed. */
#include <uv.h>

#include "store/store.h"

struct log_queue;

/* Opened by the first job, in the pool: an error of opening is the answer of that job, and the next one tries again.
 *   spec is copied; log: as store_options.log. Returned: log_queue_close. */
struct log_queue *log_queue_new(uv_loop_t *loop, const char *spec, enum store_mode mode, struct id log);
/* What is queued is still done and answered; then closed(ctx), from the loop or from inside. */
void log_queue_close(struct log_queue *q, void (*closed)(void *ctx), void *ctx);
size_t log_queue_waiting(const struct log_queue *q); /* jobs not answered yet */

/* Records behind after_seq, at most n and (but for the first) ENVELOPE_BATCH_SIZE_MAX bytes. batch is lent for the
 * call. done is called exactly once, never from inside. Errors: of store_open and store_read. */
typedef void (*log_read_fn)(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err);
void log_queue_read(struct log_queue *q, uint64_t after_seq, size_t n, log_read_fn done, void *ctx);

/* Append, all or none; events are copied. records: what was written, lent for the call, texts included; log: the
 * incarnation. Errors: of store_open and store_append; ERR_UNAVAILABLE also when an append failed and was found not to
 * have been written. ERR_IO: it could not be found out. */
typedef void (*log_append_fn)(void *ctx, enum err rc, struct id log, const struct store_record *records, size_t n,
                              const struct errinfo *err);
void log_queue_append(struct log_queue *q, struct store_pos expect, const struct store_event *events, size_t n,
                      log_append_fn done, void *ctx);
