/* Leases: what every kind has in common, and those of the files store: a small file each, in leases/ beside the log.
 * A lease says only that somebody was there a moment ago; one that is lost or torn is taken again within seconds, so
 * nothing here is synced. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "event/fields.h"
#include "os/file.h"
#include "store/kind.h"
#include "store/lease.h"

bool store_lease_name_is_fine(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n < STORE_LEASE_NAME_SIZE && name[n] == '\0' && name[0] != '.';
}

static bool text_is_fine(const char *text)
{
    size_t n = strnlen(text, STORE_LEASE_TEXT_SIZE), i = 0;
    while (i < n && text[i] >= ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\')
        i++;
    return i == n && n < STORE_LEASE_TEXT_SIZE;
}

static enum err check(const struct store *s, const char *name, struct errinfo *err)
{
    if (!store_lease_name_is_fine(name))
        return err_set(err, ERR_INVALID, "'%s' is no name of a replica: up to 63 letters, digits, '.', '_', '-'", name);
    if (s->kind->lease_put == NULL || s->mode == STORE_READ)
        return err_set(err, ERR_DENIED, "log '%s' keeps no leases, or is open for reading only", s->name);
    return s->impl != NULL ? OK : err_set(err, ERR_IO, "log '%s' is closed after a failure", s->name);
}

enum err store_lease_take(struct store *s, const struct store_lease *mine, int64_t ttl_us, struct errinfo *err)
{
    struct store_lease lease = *mine;
    enum err rc = check(s, mine->name, err);
    if (rc == OK && !text_is_fine(mine->text))
        rc = err_set(err, ERR_INVALID, "the text of the lease of '%s' is not printable, or over %u bytes", mine->name,
                     STORE_LEASE_TEXT_SIZE - 1);
    lease.until_us = store_clock_us(s) + ttl_us;
    return rc == OK ? s->kind->lease_put(s, &lease, err) : rc;
}

enum err store_lease_drop(struct store *s, const char *name, struct errinfo *err)
{
    enum err rc = check(s, name, err);
    return rc == OK ? s->kind->lease_drop(s, name, err) : rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct store_lease *)a)->name, ((const struct store_lease *)b)->name);
}

enum err store_leases(struct store *s, struct store_lease ret[static STORE_LEASES_MAX], size_t *ret_n,
                      struct errinfo *err)
{
    size_t n = 0, kept = 0;
    *ret_n = 0;
    enum err rc = check(s, "any", err);
    if (rc == OK)
        rc = s->kind->lease_list(s, ret, STORE_LEASES_MAX, &n, err);
    if (rc != OK)
        return rc;
    int64_t now_us = store_clock_us(s);
    for (size_t i = 0; i < n; i++)
        if (ret[i].until_us > now_us)
            ret[kept++] = ret[i];
    if (kept > 1)
        qsort(ret, kept, sizeof(ret[0]), by_name);
    *ret_n = kept;
    return OK;
}

/* ---- files ---- */

struct lease_document {
    int64_t until_us, format;
    bool abstains, plans;
    struct str text;
};
static const struct field LEASE_FIELDS[] = {
    FIELD_REQ(I64, lease_document, until_us, "until_us", "microseconds since 1970"),
    FIELD_OPT(I64, lease_document, format, "format", "newest format of events that it reads"),
    FIELD_OPT(BOOL, lease_document, abstains, "abstains", "it does not vote now"),
    FIELD_OPT(BOOL, lease_document, plans, "plans", "it plans now"),
    FIELD_OPT(STR, lease_document, text, "text", "what it tells the others"),
};
static const struct field_table LEASE_WIRE = FIELD_TABLE(lease_document, LEASE_FIELDS);
enum { LEASE_FILE_SIZE_MAX = STORE_LEASE_TEXT_SIZE + 4096 };

enum err files_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    auto_free char *folder = mem_printf("%s/leases", s->name);
    auto_free char *path = mem_printf("%s/%s", folder, lease->name);
    auto_free char *fresh = mem_printf("%s/.%s", folder, lease->name);
    struct lease_document doc = {lease->until_us, lease->format, lease->abstains, lease->plans, str_from(lease->text)};
    fields_encode(&LEASE_WIRE, &doc, &text);
    buf_add_char(&text, '\n');
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_set_os(err, ERR_IO, errno, "make '%s'", folder);
    FILE *f = fopen(fresh, "we");
    bool ok = f != NULL && fwrite(text.ptr, 1, text.len, f) == text.len;
    ok = f != NULL && fclose(f) == 0 && ok;
    if (!ok || rename(fresh, path) != 0) /* whole, or not at all: readers look at any time */
        return err_set_os(err, ERR_IO, errno, "write '%s'", path);
    return OK;
}

enum err files_lease_drop(struct store *s, const char *name, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/leases/%s", s->name, name);
    return unlink(path) == 0 || errno == ENOENT ? OK : err_set_os(err, ERR_IO, errno, "remove '%s'", path);
}

/* False: it went meanwhile, or it is no lease: whoever holds it writes it anew. */
static bool read_lease(const char *folder, const char *name, struct store_lease *ret)
{
    AUTO(buf) struct buf text = {0};
    AUTO(arena) struct arena a = {0};
    struct lease_document doc;
    auto_free char *path = mem_printf("%s/%s", folder, name);
    if (!store_lease_name_is_fine(name) || file_read(path, LEASE_FILE_SIZE_MAX, &text, NULL) != OK ||
        fields_parse(&LEASE_WIRE, buf_str(&text), &a, &doc, NULL) != OK)
        return false;
    *ret = (struct store_lease){
        .until_us = doc.until_us, .abstains = doc.abstains, .plans = doc.plans, .format = doc.format};
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    return str_copy_to(doc.text, ret->text, sizeof(ret->text));
}

enum err files_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n, struct errinfo *err)
{
    char **names = NULL;
    size_t n = 0;
    auto_free char *folder = mem_printf("%s/leases", s->name);
    struct errinfo why;
    *ret_n = 0;
    enum err rc = folder_list(folder, &names, &n, &why);
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc != OK) {
        *err = why;
        return rc;
    }
    for (size_t i = 0; i < n && *ret_n < max; i++)
        *ret_n += read_lease(folder, names[i], &ret[*ret_n]);
    folder_list_free(names);
    return OK;
}
