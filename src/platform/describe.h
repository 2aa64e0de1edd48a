#pragma once
/* platform/describe.h - an event as one line that a person reads: names instead of ids.
 * "InstanceStatusChange hello/2 on w1: running NOMINAL". Layer: platform. Pure. */
#include "platform/model.h"

/* Appends the line, without a newline. m: the model before the event, or after it for those that create something. */
void event_describe(const struct model *m, const struct event *ev, struct buf *out);
/* "hello/2": the project's slug and which of its deployments, in the order in which they were asked for. Another
 * process: its name. NULL: "?". */
void process_describe(const struct process *p, struct buf *out);
