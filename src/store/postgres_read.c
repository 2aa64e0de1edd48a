/* The postgres store: reading. A record is a row with its line, checked against the one before as in every store; a
 * row that is missing, or an end that is not the last record's, is damage. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/postgres.h"

void pg_saw_end(struct store *s, const struct lines_end *end)
{
    struct postgres *p = s->impl;
    p->end = *end;
    p->knows_end = true;
    store_clock_saw(s, end->time);
}

static enum err gone(struct store *s, struct errinfo *err)
{
    ((struct postgres *)s->impl)->is_failed = true;
    return err_set(err, ERR_IO, "log '%s' was removed while it was open", s->name);
}

static enum err damage(struct store *s, uint64_t seq, const char *cause, struct errinfo *err)
{
    struct store_damage d = {.seq = seq, .file = "slipform.events"};
    (void)snprintf(d.cause, sizeof(d.cause), "%.255s", cause);
    return store_set_damage(s, &d, err);
}

enum err pg_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    enum err rc = pg_call(s, PG_END, 1, (const char *const[]){p->log}, &r, err);
    if (rc != OK)
        return rc;
    if (PQntuples(r) == 0)
        return gone(s, err);
    struct lines_end end = {(uint64_t)pg_i64(r, 0, 0), (uint32_t)pg_i64(r, 0, 1), {pg_i64(r, 0, 2), pg_i64(r, 0, 3)}};
    pg_saw_clock(s, pg_i64(r, 0, 4), clock_mono_us());
    pg_saw_end(s, &end);
    *ret_end = (struct store_pos){end.seq, end.sum};
    return OK;
}

enum err pg_find(struct store *s, uint64_t after_seq, struct id id, uint64_t *ret_seq, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    char after[24], text[ID_TEXT_SIZE];
    (void)snprintf(after, sizeof(after), "%" PRIu64, after_seq);
    id_format(id, text);
    enum err rc = pg_call(s, PG_FIND, 3, (const char *const[]){p->log, text, after}, &r, err);
    if (rc != OK)
        return rc;
    if (PQntuples(r) == 0)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no such event behind %" PRIu64, s->name, after_seq);
    *ret_seq = (uint64_t)pg_i64(r, 0, 0);
    return OK;
}

/* The record of one row, behind *at, which moves on. */
static enum err take_row(struct store *s, const PGresult *r, int row, struct store_pos *at, struct store_pos end,
                         struct envelope *ret, struct errinfo *err)
{
    struct errinfo why = {0};
    uint64_t seq = at->seq + 1;
    struct str line = {PQgetvalue(r, row, 2), (size_t)PQgetlength(r, row, 2)};
    if ((uint64_t)pg_i64(r, row, 0) != seq)
        return damage(s, seq, "the record is missing", err);
    if (envelope_decode(line, at->sum, ret, &why) != OK)
        return damage(s, seq, why.msg, err);
    if (!ret->has_sum || ret->sum != (uint64_t)pg_i64(r, row, 1))
        return damage(s, seq, "its sum is not that of its row", err);
    if (seq == end.seq && ret->sum != end.sum)
        return damage(s, seq, "the log does not end as its head says", err);
    *at = (struct store_pos){seq, ret->sum};
    return OK;
}

static enum err take_rows(struct store *s, const PGresult *r, struct store_batch *ret, struct errinfo *err)
{
    struct store_pos at = ret->after;
    size_t room = 0;
    for (int row = 1; row < PQntuples(r); row++) {
        struct envelope e = {0};
        enum err rc = take_row(s, r, row, &at, ret->end, &e, err);
        if (rc != OK && ret->n > 0) { /* what is good first; the next read meets it again */
            s->is_damaged = false;
            return OK;
        }
        if (rc != OK)
            return rc;
        store_batch_add(ret, &room, at.seq, &e);
    }
    if (PQntuples(r) == 1 && at.seq < ret->end.seq)
        return damage(s, at.seq + 1, "the record is missing", err);
    return OK;
}

enum err pg_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max, struct store_batch *ret,
                 struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    char after[24], records[24], size[24];
    if (after_seq > INT64_MAX)
        return err_set(err, ERR_NOT_FOUND, "log '%s' ends before %" PRIu64, s->name, after_seq);
    (void)snprintf(after, sizeof(after), "%" PRIu64, after_seq);
    (void)snprintf(records, sizeof(records), "%" PRIu64, (uint64_t)records_max);
    (void)snprintf(size, sizeof(size), "%" PRIu64, size_max == 0 ? (uint64_t)INT64_MAX : (uint64_t)size_max);
    enum err rc =
        pg_call(s, PG_READ, 4, (const char *const[]){p->log, after, records_max == 0 ? NULL : records, size}, &r, err);
    if (rc != OK)
        return rc;
    if (PQntuples(r) == 0)
        return gone(s, err);
    struct lines_end end = {(uint64_t)pg_i64(r, 0, 0), (uint32_t)pg_i64(r, 0, 1), {pg_i64(r, 0, 3), pg_i64(r, 0, 4)}};
    pg_saw_clock(s, pg_i64(r, 0, 5), clock_mono_us());
    pg_saw_end(s, &end);
    ret->end = (struct store_pos){end.seq, end.sum};
    if (after_seq > end.seq)
        return err_set(err, ERR_NOT_FOUND, "log '%s' ends at %" PRIu64 ", before %" PRIu64, s->name, end.seq,
                       after_seq);
    if (PQgetisnull(r, 0, 6))
        return damage(s, after_seq, "the record is missing", err);
    ret->after = (struct store_pos){after_seq, (uint32_t)pg_i64(r, 0, 6)};
    return take_rows(s, r, ret, err);
}
