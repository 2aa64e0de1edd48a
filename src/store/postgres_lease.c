/* The postgres store: leases, rows of a table that is not logged. Their ends are on the server's clock. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "store/postgres.h"

enum err pg_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    char until[24], format[24];
    (void)snprintf(until, sizeof(until), "%" PRId64, lease->until_us);
    (void)snprintf(format, sizeof(format), "%" PRId64, lease->format);
    return pg_call(s, PG_LEASE_PUT, 7,
                   (const char *const[]){p->log, lease->name, until, lease->abstains ? "t" : "f",
                                         lease->plans ? "t" : "f", format, lease->text},
                   NULL, err);
}

enum err pg_lease_drop(struct store *s, const char *name, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    return pg_call(s, PG_LEASE_DROP, 2, (const char *const[]){p->log, name}, NULL, err);
}

enum err pg_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n, struct errinfo *err)
{
    const struct postgres *p = s->impl;
    auto_result PGresult *r = NULL;
    char limit[24];
    *ret_n = 0;
    (void)snprintf(limit, sizeof(limit), "%zu", max);
    enum err rc = pg_call(s, PG_LEASE_LIST, 2, (const char *const[]){p->log, limit}, &r, err);
    if (rc != OK)
        return rc;
    if (PQntuples(r) > 0)
        pg_saw_clock(s, pg_i64(r, 0, 6), clock_mono_us());
    for (int i = 0; i < PQntuples(r) && *ret_n < max; i++) {
        struct store_lease *l = &ret[*ret_n];
        *l = (struct store_lease){.until_us = pg_i64(r, i, 1),
                                  .abstains = pg_i64(r, i, 2) != 0,
                                  .plans = pg_i64(r, i, 3) != 0,
                                  .format = pg_i64(r, i, 4)};
        (void)snprintf(l->name, sizeof(l->name), "%s", PQgetvalue(r, i, 0));
        (void)snprintf(l->text, sizeof(l->text), "%s", PQgetvalue(r, i, 5));
        *ret_n += store_lease_name_is_fine(l->name);
    }
    return OK;
}
