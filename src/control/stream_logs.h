#pragma once
/* control/stream_logs.h - the event logs of applications' streams. They are not folded here: this process keeps them
 * and gives them to whoever may read or append. A log is a folder of its own, named by its id, made when it is first
 * used. Layer: control. Thread: loop. */
#include "control/log_queue.h"

struct stream_logs;

/* folder: where the logs are; copied. Returned: stream_logs_close. */
struct stream_logs *stream_logs_new(uv_loop_t *loop, const char *folder);
void stream_logs_close(struct stream_logs *s, void (*closed)(void *ctx), void *ctx);
/* The queue of a log; lent until the next turn of the loop. Whether there is such a log is the model's to say. */
struct log_queue *stream_logs_of(struct stream_logs *s, struct id log_id);
