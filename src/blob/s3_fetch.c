/* From the bucket to a descriptor: the cache, or a fetch whose digest is checked before anybody sees a byte of it. */
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "blob/s3.h"

enum err s3_stat(struct blob_store *store, enum blob_place place, const char *digest, struct blob_entry *ret,
                 struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    auto_free char *key = s3_key(s, place, digest);
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc = s3_do(s, &(struct s3_call){.method = "HEAD", .key = key, .right = "s3:GetObject (and s3:ListBucket)"},
                        &answer, err);
    if (rc != OK)
        return rc;
    (void)snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
    ret->size_bytes = answer.length;
    ret->since_s = answer.modified_s;
    return OK;
}

static enum err fetched(struct str bytes, void *ctx, struct errinfo *err)
{
    return blob_put_write(ctx, bytes.ptr, bytes.len, err);
}

static enum err fetch(struct s3 *s, const char *digest, struct errinfo *err)
{
    auto_free char *key = s3_key(s, BLOB_STORED, digest);
    struct blob_put *put = NULL;
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc = blob_put_begin(s->cache, S3_BLOB_SIZE_MAX, &put, err);
    if (rc != OK)
        return rc;
    rc = s3_do(s,
               &(struct s3_call){.method = "GET", .key = key, .right = "s3:GetObject", .on_body = fetched, .ctx = put},
               &answer, err);
    if (rc != OK) {
        blob_put_abort(put);
        return rc;
    }
    return blob_put_finish(put, digest, NULL, NULL, err);
}

enum err s3_open(struct blob_store *store, const char *digest, int *ret_fd, uint64_t *ret_size_bytes,
                 struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    int fd = -1;
    enum err rc = blob_open(s->cache, digest, &fd, ret_size_bytes, NULL);
    if (rc == OK) {
        (void)futimens(fd, NULL); /* used now */
        *ret_fd = fd;
        return OK;
    }
    rc = fetch(s, digest, err);
    if (rc == ERR_CORRUPT) /* on the way, or in the bucket: once more tells */
        rc = fetch(s, digest, err);
    if (rc == ERR_CORRUPT)
        return err_wrap(err, rc, "bucket '%s' at '%s'", s->bucket, s->endpoint);
    if (rc == OK)
        rc = blob_open(s->cache, digest, ret_fd, ret_size_bytes, err);
    if (rc == OK)
        s3_trim_cache(s);
    return rc;
}

struct trim {
    struct blob_entry *items;
    size_t n;
    uint64_t size_bytes;
};

static enum err collect(const struct blob_entry *entry, void *ctx, struct errinfo *err)
{
    struct trim *t = ctx;
    (void)err;
    t->items = mem_realloc(t->items, (t->n + 1) * sizeof(*t->items));
    t->items[t->n++] = *entry;
    t->size_bytes += entry->size_bytes;
    return OK;
}

static int older_first(const void *a, const void *b)
{
    const struct blob_entry *x = a, *y = b;
    return (x->since_s > y->since_s) - (x->since_s < y->since_s);
}

void s3_trim_cache(struct s3 *s)
{
    struct trim t = {0};
    err_ignore(blob_list_place(s->cache, BLOB_STORED, collect, &t, NULL)); /* what was seen is trimmed */
    if (t.size_bytes > s->cache_size)
        qsort(t.items, t.n, sizeof(*t.items), older_first);
    for (size_t i = 0; i < t.n && t.size_bytes > s->cache_size; i++) {
        t.size_bytes -= t.items[i].size_bytes;
        err_ignore(blob_delete(s->cache, t.items[i].digest, NULL)); /* the next trim tries again */
    }
    free(t.items);
}
