/* The postgres store: appending, and holding others off meanwhile.
 *
 * Appending: lines are built here, behind the end as this handle last met it, and go with the expected end in one call
 * of slipform.append, which is one transaction. What can go wrong: the log ends elsewhere (ERR_CONFLICT); the server
 * refuses, or somebody holds the log for too long (nothing was written); no answer comes, or a warning with it
 * (ERR_IO: the handle is failed, and opening it anew ends what may still be under way). */
#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "store/postgres.h"

enum { OID_INT8 = 20, OID_TEXT = 25, OID_UUID = 2950 };

static void add_u32(struct buf *b, uint32_t v)
{
    v = htobe32(v);
    buf_add(b, &v, sizeof(v));
}

static void add_element(struct buf *b, const void *bytes, size_t n)
{
    add_u32(b, (uint32_t)n);
    buf_add(b, bytes, n);
}

/* An array as the binary protocol has it: one dimension, no nulls, kind of elements, how many, numbered from 1. */
static void begin_array(struct buf *b, uint32_t oid, size_t n)
{
    const uint32_t head[] = {1, 0, oid, (uint32_t)n, 1};
    for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
        add_u32(b, head[i]);
}

struct arrays {
    struct buf ids, sums, lines;
};

static void arrays_fill(struct arrays *a, const struct store_record *records, size_t n, const struct buf *text)
{
    struct str rest = buf_str(text), line = {NULL, 0};
    begin_array(&a->ids, OID_UUID, n);
    begin_array(&a->sums, OID_INT8, n);
    begin_array(&a->lines, OID_TEXT, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t sum = htobe64(records[i].e.sum);
        bool is_there = str_next(&rest, '\n', &line);
        assert(is_there);
        add_element(&a->ids, records[i].e.id.bytes, sizeof(records[i].e.id.bytes));
        add_element(&a->sums, &sum, sizeof(sum));
        add_element(&a->lines, line.ptr, line.len);
    }
}

static enum err unknown(struct store *s, struct postgres *p, const struct errinfo *why, struct errinfo *err)
{
    p->is_failed = true;
    p->knows_end = false;
    s->unsettled_pid = p->pid;
    s->unsettled_since_us = p->since_us;
    return err_set(err, ERR_IO, "the answer to an append was lost: %s", why->msg);
}

static enum err conflict(struct store *s, struct postgres *p, struct store_pos expect, struct errinfo *err)
{
    p->knows_end = false;
    return err_set(err, ERR_CONFLICT, "log '%s' does not end at the expected %" PRIu64, s->name, expect.seq);
}

/* One call; *ret_clock_us: the server's. */
static enum err call_append(struct store *s, struct postgres *p, struct store_pos expect, const struct arrays *a,
                            const struct lines_end *end, struct errinfo *err)
{
    char seq[24], sum[24], instant[24], tiebreak[24];
    (void)snprintf(seq, sizeof(seq), "%" PRIu64, expect.seq);
    (void)snprintf(sum, sizeof(sum), "%" PRIu32, expect.sum);
    (void)snprintf(instant, sizeof(instant), "%" PRId64, end->time.instant_ns);
    (void)snprintf(tiebreak, sizeof(tiebreak), "%" PRId64, end->time.tiebreak);
    const char *values[] = {p->log, seq, sum, a->ids.ptr, a->sums.ptr, a->lines.ptr, instant, tiebreak};
    const int sizes[] = {0, 0, 0, (int)a->ids.len, (int)a->sums.len, (int)a->lines.len, 0, 0};
    static const int IS_BINARY[] = {0, 0, 0, 1, 1, 1, 0, 0};
    auto_result PGresult *r = NULL;
    struct errinfo why = {0};
    const struct pg_params params = {8, values, sizes, IS_BINARY};
    enum pg_outcome o = pg_ask(s, PG_APPEND, &params, &r, &why);
    int64_t answered_us = clock_mono_us();
    if (o == PG_LOST)
        return unknown(s, p, &why, err);
    if (o == PG_REFUSED)
        return err_set(err, why.code, "%s", why.msg);
    if (PQgetisnull(r, 0, 0))
        return conflict(s, p, expect, err);
    int64_t clock_us = pg_i64(r, 0, 0);
    if (p->is_held && pg_ask_sql(s, p, "COMMIT", NULL, &why) != PG_ANSWERED)
        return unknown(s, p, &why, err);
    p->is_held = false;
    if (p->is_warned)
        return unknown(s, p, &(struct errinfo){.msg = "the server warned that it may not last"}, err);
    pg_saw_clock(s, clock_us, answered_us);
    pg_saw_end(s, end);
    return OK;
}

/* Behind which time it goes on: known, when the end that is expected was met by this handle. */
static enum err meet_end(struct store *s, struct postgres *p, struct store_pos expect, struct errinfo *err)
{
    struct store_pos end = {p->end.seq, p->end.sum};
    bool is_it = p->knows_end && end.seq == expect.seq && end.sum == expect.sum;
    enum err rc = is_it ? OK : pg_end(s, &end, err);
    if (rc == OK && (end.seq != expect.seq || end.sum != expect.sum))
        rc = err_set(err, ERR_CONFLICT, "log '%s' ends at %" PRIu64 ", not at the expected %" PRIu64, s->name, end.seq,
                     expect.seq);
    return rc;
}

static size_t records_of(const struct store_group *groups, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += groups[i].n;
    return sum;
}

enum err pg_append(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                   struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    struct postgres *p = s->impl;
    enum err rc = pg_ready(s, err);
    if (rc == OK)
        rc = meet_end(s, p, expect, err);
    if (rc != OK)
        return rc;
    auto_free struct store_record *own = NULL;
    if (ret_records == NULL) {
        own = mem_calloc(records_of(groups, groups_n), sizeof(*own));
        ret_records = own;
    }
    struct lines_end end = p->end;
    rc = lines_build(s, groups, groups_n, store_clock_us(s), &end, &p->text, ret_records, ret_taken, err);
    if (rc != OK)
        return rc;
    struct arrays a = {0};
    arrays_fill(&a, ret_records, records_of(groups, *ret_taken), &p->text);
    rc = call_append(s, p, expect, &a, &end, err);
    buf_done(&a.ids);
    buf_done(&a.sums);
    buf_done(&a.lines);
    return rc;
}

enum err pg_hold(struct store *s, struct errinfo *err)
{
    struct postgres *p = s->impl;
    enum err rc = pg_ready(s, err);
    if (rc != OK || p->is_held)
        return rc;
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "BEGIN; SELECT slipform.hold(%s)", p->log);
    struct errinfo why = {0};
    enum pg_outcome o = pg_ask_sql(s, p, sql, NULL, &why);
    p->is_held = p->conn != NULL; /* in a transaction, which may have failed */
    if (o == PG_ANSWERED)
        return OK;
    pg_release(s);
    return err_set(err, why.code, "%s", why.msg);
}

void pg_release(struct store *s)
{
    struct postgres *p = s->impl;
    if (p->is_held && p->conn != NULL)
        (void)pg_ask_sql(s, p, "ROLLBACK", NULL, NULL); /* else the connection is gone, and the hold with it */
    p->is_held = false;
}

/* One transaction: the head's row is locked, a record is appended and taken back, and what is left, the lock, is
 * committed: that is on disk, and at the standby that a commit waits for, before the server answers. */
enum err pg_prove(struct store *s, struct errinfo *err)
{
    struct postgres *p = s->impl;
    enum err rc = pg_ready(s, err);
    if (rc != OK)
        return rc;
    auto_free char *sql =
        mem_printf("BEGIN; SELECT slipform.hold(%s); SAVEPOINT tried; "
                   "SELECT slipform.append(log, seq, sum, ARRAY[gen_random_uuid()], ARRAY[0::int8], "
                   "ARRAY[repeat('0', %u)], 9223372036854775807, 0) FROM slipform.heads WHERE log = %s; "
                   "ROLLBACK TO SAVEPOINT tried; COMMIT",
                   p->log, POSTGRES_PROOF_SIZE, p->log);
    struct errinfo why = {0};
    enum pg_outcome o = pg_ask_sql(s, p, sql, NULL, &why);
    if (o == PG_ANSWERED && !p->is_warned)
        return OK;
    pg_disconnect(p); /* a transaction may be open */
    if (o == PG_ANSWERED)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': the server warned that what it takes may not last", s->name);
    return err_set(err, why.code, "%s", why.msg);
}
