#pragma once
/* control/instance_log.h - what instances printed: one bounded NDJSON file each, kept by the control plane until a bulk
 * store exists. Lines are struct log_line (wire/deployment.h). One process appends, any number reads.
 * Layer: control. Thread: loop; writes are small and not synced: a log may lose its last lines with the machine. */
#include "base/buf.h"
#include "base/err.h"
#include "event/id.h"

/* An instance keeps at most two files of this size, 10 MiB in all (chosen, never measured; test_control: log_rotates).
 */
#define INSTANCE_LOG_FILE_SIZE_MAX ((size_t)5 * 1024 * 1024)
/* A longer line is cut (chosen). */
#define INSTANCE_LOG_TEXT_SIZE_MAX ((size_t)16 * 1024)

struct instance_logs;

/* The folder is made when it is missing. *ret_logs is returned: instance_logs_close. OK | ERR_DENIED | ERR_IO. */
must_check enum err instance_logs_open(const char *folder, struct instance_logs **ret_logs, struct errinfo *err);
void instance_logs_close(struct instance_logs *logs); /* NULL is fine */

/* Append the lines of an NDJSON text, all or none. Lines whose seq is not above the last one's are skipped: a batch
 * that is sent again is harmless. A torn last line of an earlier run is cut off first. ret_seq  highest seq that is now
 * kept (0: none) OK | ERR_INVALID names the line | ERR_IO the file is as it was, or holds the lines. */
must_check enum err instance_logs_append(struct instance_logs *logs, struct id instance, struct str ndjson,
                                         int64_t *ret_seq, struct errinfo *err);
/* Delete the files that were last written before that instant (seconds since 1970) and whose instance is not known any
 * more. Returns how many. */
size_t instance_logs_sweep(struct instance_logs *logs, int64_t before_s,
                           bool (*is_known)(void *ctx, struct id instance), void *ctx);

/* Reads one instance's lines in order, across a rotation, and goes on where it stood when more has come. */
struct log_reader;
struct log_reader *log_reader_new(const struct instance_logs *logs, struct id instance); /* log_reader_free */
void log_reader_free(struct log_reader *r);
/* The next line without its newline, lent until log_reader_next. False: nothing more for now. */
bool log_reader_peek(struct log_reader *r, struct str *ret_line);
void log_reader_next(struct log_reader *r); /* only after a peek that was true */
