#pragma once
/* store/lines.h - the lines of an append, for the kinds of stores that keep records as text.
 * Layer: store. No I/O. */
#include "store/store.h"

/* The end of a log, to which lines are added. */
struct lines_end {
    uint64_t seq;
    uint32_t sum;
    struct event_time time;
};

/* Encode groups behind *end, which moves on; each line is checked as a reader will. *ret_text begins empty.
 *   ret_records, ret_taken  as in store_append_many, whose texts are those of the events
 * OK | ERR_INVALID, ERR_LIMIT the first group; *end and text are as before */
must_check enum err lines_build(const struct store *s, const struct store_group *groups, size_t groups_n,
                                int64_t now_us, struct lines_end *end, struct buf *ret_text,
                                struct store_record *ret_records, size_t *ret_taken, struct errinfo *err);
