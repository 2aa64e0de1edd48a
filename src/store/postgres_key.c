/* The postgres store: keys, rows of a table. A put is one statement that does nothing when the row is not as expected.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/postgres.h"

/* What a warning says of: a server that cut its wait for a standby short may lose what it acknowledged. */
static enum err check_lasts(const struct store *s, const char *name, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    if (!p->is_warned)
        return OK;
    return err_set(err, ERR_UNAVAILABLE, "log '%s': the server warned that what became of key '%s' may not last",
                   s->name, name);
}

enum err pg_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    char written[24];
    (void)snprintf(written, sizeof(written), "%" PRId64, key->written_us);
    enum err rc = pg_call(s, was == NULL ? PG_KEY_NEW : PG_KEY_REPLACE, was == NULL ? 4 : 5,
                          (const char *const[]){p->log, key->name, key->wrapped, written, was}, &r, err);
    if (rc == OK && PQntuples(r) == 0)
        rc = err_set(err, ERR_CONFLICT, "key '%s' of log '%s' is not as expected", key->name, s->name);
    return rc == OK ? check_lasts(s, key->name, err) : rc;
}

static bool read_row(const PGresult *r, int row, struct store_key *ret)
{
    *ret = (struct store_key){.written_us = pg_i64(r, row, 2)};
    return str_copy_to(str_from(PQgetvalue(r, row, 0)), ret->name, sizeof(ret->name)) &&
           str_copy_to(str_from(PQgetvalue(r, row, 1)), ret->wrapped, sizeof(ret->wrapped));
}

enum err pg_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    enum err rc = pg_call(s, PG_KEY_GET, 2, (const char *const[]){p->log, name}, &r, err);
    if (rc == OK && PQntuples(r) == 0)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no key '%s'", s->name, name);
    if (rc == OK && !read_row(r, 0, ret))
        return err_set(err, ERR_CORRUPT, "key '%s' of log '%s' is damaged", name, s->name);
    return rc;
}

enum err pg_key_drop(struct store *s, const char *name, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    enum err rc = pg_call(s, PG_KEY_DROP, 2, (const char *const[]){p->log, name}, NULL, err);
    return rc == OK ? check_lasts(s, name, err) : rc;
}

enum err pg_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                     struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    char limit[24];
    (void)snprintf(limit, sizeof(limit), "%zu", max);
    *ret_n = 0;
    enum err rc = pg_call(s, PG_KEY_LIST, 3, (const char *const[]){p->log, after, limit}, &r, err);
    for (int i = 0; rc == OK && i < PQntuples(r) && *ret_n < max; i++, (*ret_n)++)
        if (!read_row(r, i, &ret[*ret_n]))
            rc = err_set(err, ERR_CORRUPT, "a key of log '%s' is damaged", s->name);
    return rc;
}
