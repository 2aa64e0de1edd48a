/* store_copy_keys: the table of keys beside a log becomes that of another, row by row; again after any failure. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/store.h"

typedef enum err (*row_fn)(struct store *from, struct store *to, const struct store_key *row, uint64_t *ret_changed,
                           struct errinfo *err);

static enum err each_row(struct store *of, struct store *from, struct store *to, row_fn fn, uint64_t *ret_rows,
                         uint64_t *ret_changed, struct errinfo *err)
{
    struct store_key *page = mem_alloc(STORE_KEYS_PAGE * sizeof(*page));
    char after[STORE_KEY_NAME_SIZE] = "";
    enum err rc = OK;
    for (size_t n = STORE_KEYS_PAGE; rc == OK && n == STORE_KEYS_PAGE;) {
        rc = store_keys(of, after, page, &n, err);
        for (size_t i = 0; rc == OK && i < n; i++)
            rc = fn(from, to, &page[i], ret_changed, err);
        *ret_rows += rc == OK ? n : 0;
        if (rc == OK && n > 0)
            memcpy(after, page[n - 1].name, sizeof(after));
    }
    free(page);
    return rc;
}

static enum err put_row(struct store *from, struct store *to, const struct store_key *row, uint64_t *ret_changed,
                        struct errinfo *err)
{
    struct store_key there;
    (void)from;
    enum err rc = store_key_get(to, row->name, &there, err);
    if (rc == OK && strcmp(there.wrapped, row->wrapped) == 0)
        return OK;
    if (rc != OK && rc != ERR_NOT_FOUND)
        return rc;
    ++*ret_changed;
    return store_key_put(to, row->name, rc == OK ? there.wrapped : NULL, row->wrapped, err);
}

/* A list may be behind: what is to go is asked for. */
static enum err drop_row(struct store *from, struct store *to, const struct store_key *row, uint64_t *ret_changed,
                         struct errinfo *err)
{
    struct store_key there;
    enum err rc = store_key_get(from, row->name, &there, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    ++*ret_changed;
    return store_key_drop(to, row->name, err);
}

static enum err count_row(struct store *from, struct store *to, const struct store_key *row, uint64_t *ret_changed,
                          struct errinfo *err)
{
    (void)from, (void)to, (void)row, (void)ret_changed, (void)err;
    return OK;
}

static enum err check_not_in_use(struct store *to, struct errinfo *err)
{
    struct store_lease *leases = mem_alloc(STORE_LEASES_MAX * sizeof(*leases));
    struct errinfo why = {0};
    size_t n = 0;
    enum err rc = store_leases(to, leases, &n, &why);
    if (rc == OK && n > 0)
        rc = err_set(err, ERR_CONFLICT, "replica '%s' works on log '%s': its keys are not replaced", leases[0].name,
                     store_name(to));
    else if (rc == ERR_DENIED) /* a kind without leases */
        rc = OK;
    else if (rc != OK)
        rc = err_set(err, rc, "%s", why.msg);
    free(leases);
    return rc;
}

enum err store_copy_keys(struct store *from, struct store *to, uint64_t *ret_rows, struct errinfo *err)
{
    uint64_t there_n = 0, changed = 0;
    *ret_rows = 0;
    enum err rc = check_not_in_use(to, err);
    if (rc == OK)
        rc = each_row(from, from, to, put_row, ret_rows, &changed, err);
    if (rc == OK && *ret_rows == 0)
        rc = each_row(to, from, to, count_row, &there_n, &changed, err);
    if (rc == OK && there_n > 0)
        return err_set(err, ERR_CONFLICT, "log '%s' has no keys at all and '%s' has some: it was copied without them",
                       store_name(from), store_name(to));
    return rc == OK ? each_row(to, from, to, drop_row, &there_n, &changed, err) : rc;
}
