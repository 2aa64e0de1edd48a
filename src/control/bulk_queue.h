#pragma once
/* control/bulk_queue.h - calls of one bulk store (store/bulk.h), carried out in uv's pool, one after the other. It has
 * a handle of its own and takes one of the pool's threads at most: the fold never waits for it. What comes faster than
 * it goes is refused. Layer: control. Thread: loop. */
#include <uv.h>

#include "store/bulk.h"

struct bulk_queue;

/* Lines that wait to be written; beyond that nothing is taken (chosen: some seconds of a busy installation). */
#define BULK_QUEUE_SIZE_MAX ((size_t)16 * 1024 * 1024)

/* The spec of the bulk store beside an event log. folder: where it is beside a log in files; NULL: there is none.
 * Returned: free; NULL: none. */
char *bulk_queue_spec(const char *event_store, const char *folder);
/* Opened by the first call, in the pool; an error of opening is that call's answer, and the next one tries again.
 * spec, limits are copied. Returned: bulk_queue_close. */
struct bulk_queue *bulk_queue_new(uv_loop_t *loop, const char *spec, const struct bulk_limits *limits);
/* What is queued is still done and answered; then closed(ctx), from the loop or from inside. */
void bulk_queue_close(struct bulk_queue *q, void (*closed)(void *ctx), void *ctx);

/* As bulk_append; lines are copied. done is called once, never from inside. OK | ERR_UNAVAILABLE too much waits: done
 * is not called. */
typedef void (*bulk_append_fn)(void *ctx, enum err rc, int64_t seq, const struct errinfo *err);
must_check enum err bulk_queue_append(struct bulk_queue *q, const char *series, struct str lines, int64_t expect,
                                      uint64_t size_max, bulk_append_fn done, void *ctx, struct errinfo *err);
/* As bulk_read from `from` on; tail_size > 0: as bulk_tail first. at: where the cursor is then; lines: lent for the
 * call. done is called once, never from inside. */
typedef void (*bulk_read_fn)(void *ctx, enum err rc, const struct bulk_cursor *at, struct str lines,
                             const struct errinfo *err);
void bulk_queue_read(struct bulk_queue *q, const struct bulk_cursor *from, size_t tail_size, size_t size_max,
                     bulk_read_fn done, void *ctx);
/* bulk_sweep; then series that were last written before that instant and are not known (asked in the loop) are dropped.
 * done (may be NULL) is told how many. False: one is under way, this one is left out and done is not called. */
typedef void (*bulk_sweep_fn)(void *ctx, enum err rc, size_t dropped_n, const struct errinfo *err);
bool bulk_queue_sweep(struct bulk_queue *q, int64_t now_us, int64_t before_us,
                      bool (*is_known)(void *ctx, const char *series), bulk_sweep_fn done, void *ctx);
