#pragma once
/* control/stream_logs.h - the event logs of applications' streams. They are not folded here: this process keeps them
 * and gives them to whoever may read or append. They are where the platform's log is, one log each, named by its id and
 * made when it is first used; beside a log in files each is a folder of its own. Layer: control. Thread: loop. */
#include "control/log_queue.h"

struct stream_logs;

/* Logs that are open at once; a queue that is idle gives its place to another (chosen: a handle of files has five
 * files, one of a server has a connection, of which PostgreSQL has 100 by default, for all replicas). */
#define STREAM_LOGS_OPEN_MAX 128u
#define STREAM_LOGS_OPEN_SHARED_MAX 8u

/* event_store: of the platform's log; folder: where the logs are if that one is in files. Both are copied. Returned:
 * stream_logs_close. NULL: such a store keeps none, or there is no folder for them. */
struct stream_logs *stream_logs_new(uv_loop_t *loop, const char *event_store, const char *folder);
void stream_logs_close(struct stream_logs *s, void (*closed)(void *ctx), void *ctx);
/* Whether other hosts may append as well: who waits for news looks more often. */
bool stream_logs_are_shared(const struct stream_logs *s);
/* The queue of a log; lent until the next turn of the loop. Whether there is such a log is the model's to say. */
struct log_queue *stream_logs_of(struct stream_logs *s, struct id log_id);
