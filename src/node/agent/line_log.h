#pragma once
/* node/agent/line_log.h - what an instance wrote, on disk: two files of NDJSON, and how far it was shipped.
 * Layer: node. Lines carry a number that rises; what was not acknowledged is read again. When nobody takes them the
 * oldest go: at most LINE_LOG_SIZE_MAX bytes an instance. */
#include "base/buf.h"
#include "base/err.h"
#include "event/id.h"

/* 10 MiB an instance, in two files (chosen, never measured). */
#define LINE_LOG_SIZE_MAX (10u * 1024u * 1024u)
/* One batch to the control plane, below the body limit of net/http_server.h. */
#define LINE_LOG_BATCH_MAX (512u * 1024u)

struct line_log;
/* Folder is made. *ret_log is returned: line_log_close. size_max 0: LINE_LOG_SIZE_MAX. */
must_check enum err line_log_open(const char *folder, struct id instance, size_t size_max, struct line_log **ret_log,
                                  struct errinfo *err);
void line_log_close(struct line_log *l);
/* One line. A disk that is full loses it: what runs is not stopped by that. */
void line_log_add(struct line_log *l, const char *stream, struct str text, int64_t wall_us);
/* Whole lines behind the last acknowledged one, at most LINE_LOG_BATCH_MAX bytes; *ret_seq is the last one's. False
 * when there is none. */
bool line_log_batch(struct line_log *l, struct buf *out, int64_t *ret_seq);
void line_log_ack(struct line_log *l, int64_t seq);
/* Whether line_log_batch would give something. */
bool line_log_has_news(const struct line_log *l);
/* The newest lines, oldest first, at most size bytes. */
void line_log_tail(struct line_log *l, size_t size, struct buf *out);
/* The text of the newest line of the program, of the console when it has said nothing; "" when there is none. Lent
 * until the next one. */
const char *line_log_last(const struct line_log *l);
