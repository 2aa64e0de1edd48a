#pragma once
/* store/bulk.h - lines that are worth keeping for a while: what instances print, statistics. Beside the event log, and
 * less than it: nothing is decided from them, they age and are thrown away, and what was taken in the last second may
 * be gone after the machine that keeps them went down. Layer: store. docs/decisions/bulk-store.md
 *
 * Lines are kept in *series*, each named, in order. A line is a JSON object that says its number in the series as
 * member "seq", from 1, before any object within it. Numbers rise; whoever writes chooses them, so that a batch which
 * is sent again, or through another host, is kept once. A place in a series is the number of the line before it.
 *
 *   folder;path=DIR      two NDJSON files a series; any number of processes of one machine
 *   postgres;…           the spec of an event log (store/store.h): tables beside it, partitioned by age and size
 *   jetstream;…          likewise: stream <stream>-bulk, a subject each series
 *
 * Thread: every call blocks, with the bounds of the store that is named; one handle is used by one thread at a time. It
 * has a connection of its own: an event log never waits for it. */
#include "base/buf.h"
#include "base/err.h"

/* With its NUL. Letters, digits, '-', '_'. */
#define BULK_NAME_SIZE 64u
/* A line with its newline: 16 KiB of text are at most 96 KiB as JSON (chosen; test_bulk: bad_lines). */
#define BULK_LINE_SIZE_MAX ((size_t)128 * 1024)
/* Of one call (chosen: of the longest report of a node-agent and what its JSON adds). */
#define BULK_APPEND_SIZE_MAX ((size_t)4 * 1024 * 1024)
/* Lines that are kept as one row or message (chosen: below any message limit, small enough to be read in parts). */
#define BULK_CHUNK_SIZE_MAX ((size_t)256 * 1024)
/* Of all series together; of a line's age (chosen; test_bulk: retention_by_size, retention_by_age with other figures).
 */
#define BULK_SIZE_DEFAULT ((uint64_t)2 * 1024 * 1024 * 1024)
#define BULK_KEPT_S_DEFAULT ((int64_t)30 * 86400)
/* What is thrown away goes in parts of this share: a store may hold that much more than the limits say. */
#define BULK_SIZE_PARTS 16u
#define BULK_KEPT_PARTS 30u
/* Names of one call of bulk_idle. */
#define BULK_PAGE 256u

struct bulk;
struct bulk_limits {
    uint64_t size_bytes; /* 0: BULK_SIZE_DEFAULT */
    int64_t kept_s;      /* 0: BULK_KEPT_S_DEFAULT */
};

bool bulk_name_is_fine(const char *series);
/* *ret is returned: bulk_close. What the kind needs is made when it is missing; the tables of a database are not: they
 * come with the event log's. limits may be NULL. OK | ERR_INVALID spec | as store_open */
must_check enum err bulk_open(const char *spec, const struct bulk_limits *limits, struct bulk **ret,
                              struct errinfo *err);
void bulk_close(struct bulk *b); /* NULL is fine */

/* For expect: whatever it is. */
#define BULK_ANY ((int64_t)-1)
/* Append lines, each with its newline, numbers rising. Those that are not above the series' last are skipped.
 *   expect    BULK_ANY, or the number that the last line must have: 0 for a series without lines
 *   size_max  of this series: when it is longer, its older half goes
 *   ret_seq   highest number that is kept now (0: none); set on OK, and on ERR_CONFLICT
 * OK | ERR_CONFLICT the last is not `expect`, nothing was kept | ERR_INVALID names the line | ERR_LIMIT a line or all
 * of it is too long | ERR_UNAVAILABLE, ERR_IO, ERR_DENIED some of it may be kept, from the first line on: send it again
 */
must_check enum err bulk_append(struct bulk *b, const char *series, struct str lines, int64_t expect, uint64_t size_max,
                                int64_t *ret_seq, struct errinfo *err);
/* The last number; 0: no lines. */
must_check enum err bulk_end(struct bulk *b, const char *series, int64_t *ret_seq, struct errinfo *err);

/* A place to read on from; a value that the caller has, nothing to be freed. */
struct bulk_cursor {
    char series[BULK_NAME_SIZE];
    int64_t after; /* lines above it are read */
    uint64_t hint; /* of the kind; 0: none */
};
/* Lines behind the cursor, which moves on: about size_max bytes, whole lines, at least one if there is one. They are
 * added to *ret. What was thrown away is passed over. OK, also with none | ERR_UNAVAILABLE, … */
must_check enum err bulk_read(struct bulk *b, struct bulk_cursor *c, size_t size_max, struct buf *ret,
                              struct errinfo *err);
/* Put the cursor (whose series is set) before the newest lines, at most `size` bytes of them, or one chunk. */
must_check enum err bulk_tail(struct bulk *b, struct bulk_cursor *c, size_t size, struct errinfo *err);

/* Forget a series. Its lines are gone for readers; their room is given back now or when they are old. */
must_check enum err bulk_drop(struct bulk *b, const char *series, struct errinfo *err);
/* Series that were last written before that instant (microseconds since 1970), in the order of their names, behind
 * `after` ("": from the first), at most a page of them. Kind jetstream names none: its lines go by age. */
must_check enum err bulk_idle(struct bulk *b, int64_t before_us, const char *after,
                              char ret[static BULK_PAGE][BULK_NAME_SIZE], size_t *ret_n, struct errinfo *err);
/* Throw away what is older, or more, than the limits say, as of now_us. To be called now and then, by any replica. */
must_check enum err bulk_sweep(struct bulk *b, int64_t now_us, struct errinfo *err);
