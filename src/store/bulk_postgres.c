/* The bulk store in PostgreSQL: functions of migration 0003, by a connection of its own that is opened, checked and
 * kept as one of an event log is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/bulk_kind.h"
#include "store/postgres.h"

static enum err open_tables(struct bulk *b, const char *spec, struct errinfo *err)
{
    return store_open(spec, NULL, &b->log, NULL, err);
}

/* An append is not asked again by pg_call: what becomes of it is seen by the series' end. */
static enum err put(struct bulk *b, struct bulk_known *k, struct str chunk, int64_t last, uint64_t size_max,
                    struct errinfo *err)
{
    char at[24], to[24], max[24];
    (void)snprintf(at, sizeof(at), "%" PRId64, k->last);
    (void)snprintf(to, sizeof(to), "%" PRId64, last);
    (void)snprintf(max, sizeof(max), "%" PRIu64, size_max > INT64_MAX ? (uint64_t)INT64_MAX : size_max);
    const char *values[] = {k->name, at, to, chunk.ptr, max};
    const int sizes[] = {0, 0, 0, (int)chunk.len, 0};
    static const int IS_BINARY[] = {0, 0, 0, 1, 0};
    auto_result PGresult *r = NULL;
    struct errinfo why = {0};
    const struct pg_params params = {5, values, sizes, IS_BINARY};
    enum err rc = pg_ready(b->log, err);
    if (rc != OK)
        return rc;
    if (pg_ask(b->log, PG_BULK_PUT, &params, &r, &why) != PG_ANSWERED)
        return err_set(err, why.code == ERR_CONFLICT ? ERR_UNAVAILABLE : why.code, "series '%s': %s", k->name, why.msg);
    if (PQgetisnull(r, 0, 0)) {
        k->last = last;
        return OK;
    }
    k->last = pg_i64(r, 0, 0);
    return err_set(err, ERR_CONFLICT, "series '%s' ends elsewhere", k->name);
}

static enum err end(struct bulk *b, struct bulk_known *k, struct errinfo *err)
{
    auto_result PGresult *r = NULL;
    enum err rc = pg_call(b->log, PG_BULK_END, 1, (const char *const[]){k->name}, &r, err);
    if (rc == OK)
        k->last = pg_i64(r, 0, 0);
    return rc;
}

static enum err read_chunks(struct bulk *b, struct bulk_cursor *c, size_t size_max, struct buf *ret,
                            struct errinfo *err)
{
    char after[24], size[24];
    auto_result PGresult *r = NULL;
    (void)snprintf(after, sizeof(after), "%" PRId64, c->after);
    (void)snprintf(size, sizeof(size), "%zu", size_max);
    enum err rc = pg_call(b->log, PG_BULK_READ, 3, (const char *const[]){c->series, after, size}, &r, err);
    for (int i = 0; rc == OK && i < PQntuples(r); i++)
        buf_add(ret, PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0));
    return rc;
}

static enum err tail(struct bulk *b, struct bulk_cursor *c, size_t size, struct errinfo *err)
{
    char text[24];
    auto_result PGresult *r = NULL;
    (void)snprintf(text, sizeof(text), "%zu", size);
    enum err rc = pg_call(b->log, PG_BULK_TAIL, 2, (const char *const[]){c->series, text}, &r, err);
    if (rc == OK)
        c->after = pg_i64(r, 0, 0);
    return rc;
}

static enum err drop(struct bulk *b, const char *series, struct errinfo *err)
{
    return pg_call(b->log, PG_BULK_DROP, 1, (const char *const[]){series}, NULL, err);
}

static enum err idle(struct bulk *b, int64_t before_us, const char *after, char ret[static BULK_PAGE][BULK_NAME_SIZE],
                     size_t *ret_n, struct errinfo *err)
{
    char before[24], n[24];
    auto_result PGresult *r = NULL;
    (void)snprintf(before, sizeof(before), "%" PRId64, before_us);
    (void)snprintf(n, sizeof(n), "%u", BULK_PAGE);
    enum err rc = pg_call(b->log, PG_BULK_IDLE, 3, (const char *const[]){before, after, n}, &r, err);
    for (int i = 0; rc == OK && i < PQntuples(r) && *ret_n < BULK_PAGE; i++)
        *ret_n +=
            str_copy_to((struct str){PQgetvalue(r, i, 0), (size_t)PQgetlength(r, i, 0)}, ret[*ret_n], BULK_NAME_SIZE);
    return rc;
}

static enum err sweep(struct bulk *b, int64_t now_us, struct errinfo *err)
{
    int64_t kept_us = b->limits.kept_s * 1000000;
    char texts[5][24];
    (void)snprintf(texts[0], sizeof(texts[0]), "%" PRId64, now_us);
    (void)snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, b->limits.size_bytes);
    (void)snprintf(texts[2], sizeof(texts[2]), "%" PRId64, kept_us);
    (void)snprintf(texts[3], sizeof(texts[3]), "%" PRIu64, b->limits.size_bytes / BULK_SIZE_PARTS);
    (void)snprintf(texts[4], sizeof(texts[4]), "%" PRId64, kept_us / BULK_KEPT_PARTS);
    return pg_call(b->log, PG_BULK_SWEEP, 5, (const char *const[]){texts[0], texts[1], texts[2], texts[3], texts[4]},
                   NULL, err);
}

const struct bulk_kind BULK_POSTGRES = {
    .name = "postgres",
    .open = open_tables,
    .put = put,
    .end = end,
    .read = read_chunks,
    .tail = tail,
    .drop = drop,
    .idle = idle,
    .sweep = sweep,
};
