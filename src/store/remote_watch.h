#pragma once
/* store/remote_watch.h - being told that a log which the platform keeps has grown: a call that waits at its events.
 * Layer: store. Thread: loop. Only a hint: who must not miss anything also looks now and then. */
#include <stdatomic.h>
#include <uv.h>

#include "store/store.h"

/* A call waits this long for news: below what the node's channel gives one (node/agent/event_channel.c). */
#define REMOTE_WATCH_WAIT_S 10u
/* After a failure, doubled up to the second (chosen: a restart of the control plane takes seconds). */
#define REMOTE_WATCH_BACK_OFF_MS 100u
#define REMOTE_WATCH_BACK_OFF_MS_MAX 10000u

struct remote_watch;

/* Wait at <events_url> for records behind what `known` says that the handle has met, and call changed(ctx) for each
 * answer that has some. known is lent until remote_watch_free. Returned: remote_watch_free. */
struct remote_watch *remote_watch_new(uv_loop_t *loop, const char *events_url, const _Atomic uint64_t *known,
                                      store_changed_fn changed, void *ctx);
/* No call of `changed` any more; the loop frees it in its next turns. */
void remote_watch_free(struct remote_watch *w);
