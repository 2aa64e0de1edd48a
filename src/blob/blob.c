/* What all kinds of blob stores share; the rest is handed on. */
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "blob/kind.h"

/* 1 MiB: a copy is bound by the disk and SHA-256 long before (chosen, never measured). */
#define BLOB_CHUNK_SIZE ((size_t)1024 * 1024)

struct str blob_spec_get(const char *spec, const char *key)
{
    struct str rest = str_from(spec), part, name;
    while (str_next(&rest, ';', &part)) {
        struct str value = part;
        if (str_next(&value, '=', &name) && str_eq_c(name, key) && name.len < part.len)
            return value;
    }
    return (struct str){NULL, 0};
}

static struct str kind_of(const char *spec)
{
    struct str rest = str_from(spec), kind = {NULL, 0};
    (void)str_next(&rest, ';', &kind);
    return kind;
}

struct str blob_spec_folder(const char *spec)
{
    return blob_spec_get(spec, str_eq_c(kind_of(spec), "s3") ? "cache" : "path");
}

enum err blob_spec_of(const char *blobs, const char *blob_folder, char **ret_spec, struct errinfo *err)
{
    if ((blobs == NULL) == (blob_folder == NULL))
        return err_set(err, ERR_INVALID,
                       blobs == NULL
                           ? "setting 'blobs' is missing: 'folder;path=DIR' or 's3;endpoint=URL;bucket=NAME;...'"
                           : "settings 'blobs' and 'blob_folder' say the same: leave out 'blob_folder'");
    if (blob_folder != NULL && strchr(blob_folder, ';') != NULL)
        return err_set(err, ERR_INVALID, "setting 'blob_folder': a path with ';' can't be used");
    if (blobs != NULL && blob_spec_folder(blobs).len == 0)
        return err_set(err, ERR_INVALID,
                       "setting 'blobs': use 'folder;path=DIR' or 's3;endpoint=URL;bucket=NAME;region=NAME;cache=DIR'");
    *ret_spec = blobs != NULL ? mem_strdup(blobs) : mem_printf("folder;path=%s", blob_folder);
    return OK;
}

enum err blob_store_open(const char *spec, struct blob_store **ret_store, struct errinfo *err)
{
    struct str kind = kind_of(spec), path = blob_spec_get(spec, "path");
    if (str_eq_c(kind, "s3"))
        return blob_store_open_s3(spec, ret_store, err);
    if (!str_eq_c(kind, "folder") || path.len == 0)
        return err_set(err, ERR_INVALID, "blob store: use 'folder;path=DIR' or 's3;endpoint=URL;bucket=NAME;...'");
    auto_free char *folder = mem_strndup(path.ptr, path.len);
    return blob_store_open_folder(folder, ret_store, err);
}

void blob_store_close(struct blob_store *s)
{
    if (s != NULL)
        s->kind->close(s);
}

void blob_store_cancel(struct blob_store *s)
{
    if (s->kind->cancel != NULL)
        s->kind->cancel(s);
}

enum err blob_check(struct blob_store *s, struct errinfo *err)
{
    return s->kind->check(s, err);
}

enum err blob_put_begin(struct blob_store *s, uint64_t size_max, struct blob_put **ret_put, struct errinfo *err)
{
    return s->kind->put_begin(s, size_max, ret_put, err);
}

enum err blob_put_write(struct blob_put *p, const void *bytes, size_t n, struct errinfo *err)
{
    return p->kind->put_write(p, bytes, n, err);
}

enum err blob_put_finish(struct blob_put *p, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                         uint64_t *ret_size_bytes, struct errinfo *err)
{
    return p->kind->put_finish(p, expect, ret_digest, ret_size_bytes, err);
}

void blob_put_abort(struct blob_put *p)
{
    if (p != NULL)
        p->kind->put_abort(p);
}

static void blob_put_cleanup(struct blob_put *const *p)
{
    blob_put_abort(*p);
}

static enum err check_digest(const char *digest, struct errinfo *err)
{
    uint8_t bytes[HASH_SIZE];
    if (digest == NULL || !hash_digest_parse(str_from(digest), bytes))
        return err_set(err, ERR_INVALID, "'%.80s' is not a digest (sha256: and 64 hex digits)",
                       digest == NULL ? "" : digest);
    return OK;
}

enum err blob_put_fd(struct blob_store *s, int fd, uint64_t size_max, const char *expect,
                     char ret_digest[DIGEST_TEXT_SIZE], uint64_t *ret_size_bytes, struct errinfo *err)
{
    __attribute__((cleanup(blob_put_cleanup))) struct blob_put *p = NULL;
    enum err rc = blob_put_begin(s, size_max, &p, err);
    auto_free char *chunk = mem_alloc(BLOB_CHUNK_SIZE);
    while (rc == OK) {
        ssize_t n = read(fd, chunk, BLOB_CHUNK_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "read the content of a blob");
        if (n == 0)
            return blob_put_finish(TAKE(p), expect, ret_digest, ret_size_bytes, err);
        rc = blob_put_write(p, chunk, (size_t)n, err);
    }
    return rc;
}

enum err blob_put_bytes(struct blob_store *s, struct str bytes, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                        struct errinfo *err)
{
    __attribute__((cleanup(blob_put_cleanup))) struct blob_put *p = NULL;
    enum err rc = blob_put_begin(s, bytes.len, &p, err);
    if (rc == OK)
        rc = blob_put_write(p, bytes.ptr, bytes.len, err);
    return rc == OK ? blob_put_finish(TAKE(p), expect, ret_digest, NULL, err) : rc;
}

/* What was set aside as garbage and is wanted after all comes back. When two do that at once, one finds nothing to
 * bring back: both look again. */
static void bring_back_wanted(struct blob_store *s, const char *digest)
{
    err_ignore(s->kind->move(s, BLOB_ASIDE, digest, NULL)); /* the look that follows tells */
}

enum err blob_open(struct blob_store *s, const char *digest, int *ret_fd, uint64_t *ret_size_bytes, struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    if (rc == OK)
        rc = s->kind->open(s, digest, ret_fd, ret_size_bytes, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    bring_back_wanted(s, digest);
    return s->kind->open(s, digest, ret_fd, ret_size_bytes, err);
}

enum err blob_stat(struct blob_store *s, const char *digest, uint64_t *ret_size_bytes, struct errinfo *err)
{
    struct blob_entry entry;
    enum err rc = blob_stat_place(s, BLOB_STORED, digest, &entry, err);
    if (rc == ERR_NOT_FOUND) {
        bring_back_wanted(s, digest);
        rc = blob_stat_place(s, BLOB_STORED, digest, &entry, err);
    }
    if (rc == OK && ret_size_bytes != NULL)
        *ret_size_bytes = entry.size_bytes;
    return rc;
}

enum err blob_verify(struct blob_store *s, const char *digest, struct errinfo *err)
{
    auto_close int fd = -1;
    enum err rc = blob_open(s, digest, &fd, NULL, err);
    if (rc != OK)
        return rc;
    auto_free char *chunk = mem_alloc(BLOB_CHUNK_SIZE);
    struct hash *h = hash_new();
    ssize_t n;
    while ((n = read(fd, chunk, BLOB_CHUNK_SIZE)) > 0 || (n < 0 && errno == EINTR))
        hash_add(h, chunk, n > 0 ? (size_t)n : 0);
    int os_errno = errno;
    uint8_t bytes[HASH_SIZE];
    char text[DIGEST_TEXT_SIZE];
    hash_finish(h, bytes);
    hash_digest_format(bytes, text);
    if (n < 0)
        return err_set_os(err, ERR_IO, os_errno, "read blob '%s'", digest);
    if (strcmp(text, digest) != 0)
        return err_set(err, ERR_CORRUPT, "the bytes of blob '%s' have digest '%s'", digest, text);
    return OK;
}

/* Aside first: else a reader in between brings it back. */
enum err blob_delete(struct blob_store *s, const char *digest, struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    if (rc == OK)
        rc = s->kind->remove(s, BLOB_ASIDE, digest, err);
    return rc == OK ? s->kind->remove(s, BLOB_STORED, digest, err) : rc;
}

struct listing {
    enum err (*each)(const char *digest, uint64_t size_bytes, void *ctx, struct errinfo *err);
    void *ctx;
};

static enum err list_one(const struct blob_entry *entry, void *ctx, struct errinfo *err)
{
    const struct listing *l = ctx;
    return l->each(entry->digest, entry->size_bytes, l->ctx, err);
}

enum err blob_list(struct blob_store *s,
                   enum err (*each)(const char *digest, uint64_t size_bytes, void *ctx, struct errinfo *err), void *ctx,
                   struct errinfo *err)
{
    struct listing l = {each, ctx};
    return s->kind->list(s, BLOB_STORED, list_one, &l, err);
}

enum err blob_presign(struct blob_store *s, const char *digest, unsigned seconds, struct buf *ret_url,
                      struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    if (rc != OK)
        return rc;
    if (s->kind->presign == NULL)
        return err_set(err, ERR_NOT_FOUND, "this blob store has no addresses: serve the bytes");
    return s->kind->presign(s, digest, seconds, ret_url, err);
}

enum err blob_list_place(struct blob_store *s, enum blob_place place, blob_entry_fn *each, void *ctx,
                         struct errinfo *err)
{
    return s->kind->list(s, place, each, ctx, err);
}

enum err blob_stat_place(struct blob_store *s, enum blob_place place, const char *digest, struct blob_entry *ret,
                         struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    return rc == OK ? s->kind->stat(s, place, digest, ret, err) : rc;
}

enum err blob_set_aside(struct blob_store *s, const char *digest, struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    return rc == OK ? s->kind->move(s, BLOB_STORED, digest, err) : rc;
}

enum err blob_bring_back(struct blob_store *s, const char *digest, struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    return rc == OK ? s->kind->move(s, BLOB_ASIDE, digest, err) : rc;
}

enum err blob_remove_aside(struct blob_store *s, const char *digest, struct errinfo *err)
{
    enum err rc = check_digest(digest, err);
    return rc == OK ? s->kind->remove(s, BLOB_ASIDE, digest, err) : rc;
}

enum err blob_sweep(struct blob_store *s, int64_t older_than_s, uint64_t *ret_n, struct errinfo *err)
{
    uint64_t n = 0;
    enum err rc = s->kind->sweep(s, older_than_s, &n, err);
    if (rc == OK && ret_n != NULL)
        *ret_n = n;
    return rc;
}
