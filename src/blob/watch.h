#pragma once
/* blob/watch.h - whether a blob store can be used: asked at the start and every minute (blob_check), in uv's pool.
 * Layer: blob. Thread: loop. */
#include <uv.h>

#include "blob/blob.h"

/* Chosen. */
#define BLOB_WATCH_EVERY_MS 60000u

struct blob_watch;
/* told: the first answer, and each one with another code; err->code is OK when it can be used. Lent; never from inside
 * new. store is borrowed. Returned: blob_watch_close. */
struct blob_watch *blob_watch_new(uv_loop_t *loop, struct blob_store *store,
                                  void (*told)(void *ctx, const struct errinfo *err), void *ctx);
/* told is not called any more; cancel the store first. closed(ctx), may be NULL, when it is gone. watch may be NULL:
 * then it is called at once. */
void blob_watch_close(struct blob_watch *watch, void (*closed)(void *ctx), void *ctx);
