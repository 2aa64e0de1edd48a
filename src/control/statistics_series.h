#pragma once
/* control/statistics_series.h - the log `statistics` as one series of a bulk store, for installations of several hosts.
 * A record is a line: {"seq":…,"time":…,"type":…,"id":…,"payload":{…}}. Its calls answer as those of a log_queue do, so
 * that who records need not know which of the two it is. Layer: control. Thread: loop. */
#include "control/bulk_queue.h"
#include "control/log_queue.h"

#define STATISTICS_SERIES "statistics"

/* Append behind number expect, or ERR_CONFLICT; records are then behind it, or the series ends before it (it was thrown
 * away): *ret_end, which must live until done is called, says where. size_max: as bulk_append. OK | ERR_UNAVAILABLE too
 * much waits: done is not called. */
must_check enum err statistics_series_append(struct bulk_queue *q, uint64_t expect, const struct store_event *events,
                                             size_t n, uint64_t size_max, uint64_t *ret_end, log_append_fn done,
                                             void *ctx, struct errinfo *err);
/* Records behind after_seq, at most n; tail_size > 0: of the newest so many bytes only. */
void statistics_series_read(struct bulk_queue *q, uint64_t after_seq, size_t n, size_t tail_size, log_read_fn done,
                            void *ctx);
