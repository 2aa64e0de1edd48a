#pragma once
/* control/instance_log.h - what instances printed: a bounded series of lines each, in the bulk store. Lines are struct
 * log_line (wire/deployment.h) as NDJSON. Any replica is told lines, the same ones twice too, and any replica reads
 * them. Layer: control. Thread: loop. */
#include "control/bulk_queue.h"
#include "event/id.h"

/* An instance keeps at most that much; when it has more, the older half goes (chosen, never measured; test_bulk:
 * series_is_bounded with another figure). */
#define INSTANCE_LOG_SIZE_MAX ((uint64_t)10 * 1024 * 1024)
/* A longer line is cut (chosen; test_control: log_cuts_long_lines). */
#define INSTANCE_LOG_TEXT_SIZE_MAX ((size_t)16 * 1024)
/* Who follows looks for news that often (chosen: what one replica was told is shown by another within a second). */
#define INSTANCE_LOG_LOOK_MS 400

/* Bring an NDJSON text that a node sent into the form that is kept, added to *out. Lines whose seq is not above the one
 * before are left out. OK | ERR_INVALID names the line; *out may hold some. Pure. */
must_check enum err instance_log_lines(struct str ndjson, struct id instance, struct buf *out, struct errinfo *err);

/* Append lines, all or none of a text that is not good. done: seq is the highest that is now kept (0: none); called
 * once, never from inside. OK | ERR_INVALID names the line, ERR_UNAVAILABLE: done is not called. */
must_check enum err instance_logs_append(struct bulk_queue *q, struct id instance, struct str ndjson,
                                         bulk_append_fn done, void *ctx, struct errinfo *err);
/* Throw away what is too old or too much, and the lines of instances that are not known and were last written before
 * that instant (microseconds since 1970). done is told how many instances these were. */
void instance_logs_sweep(struct bulk_queue *q, int64_t now_us, int64_t before_us,
                         bool (*is_known)(void *ctx, struct id instance), bulk_sweep_fn done, void *ctx);

/* Reads one instance's lines in order, and goes on where it stood when more has come. */
struct log_reader;
enum log_have {
    LOG_LINE,   /* *ret_line is the next one */
    LOG_NONE,   /* nothing more for now; it looks again by itself when it is asked again */
    LOG_WAIT,   /* it is being asked for */
    LOG_FAILED, /* it could not be read: log_reader_error. Asked again, it is tried again */
};
/* tail_size: the newest so many bytes; 0: from its first line on. changed(ctx), in the loop, not from inside: what
 * LOG_WAIT waited for is there. Returned: log_reader_free. */
struct log_reader *log_reader_new(struct bulk_queue *q, struct id instance, size_t tail_size,
                                  void (*changed)(void *ctx), void *ctx);
void log_reader_free(struct log_reader *r); /* NULL is fine; changed is not called any more */
/* The next line without its newline, lent until log_reader_next. */
enum log_have log_reader_peek(struct log_reader *r, struct str *ret_line);
void log_reader_next(struct log_reader *r); /* only after a peek that was LOG_LINE */
const struct errinfo *log_reader_error(const struct log_reader *r);
