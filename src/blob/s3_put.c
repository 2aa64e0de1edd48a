/* To the bucket. The bytes are collected in the cache first: their digest is their name, and only a file can be sent
 * again. A blob of one part is one conditional PUT; a bigger one a multipart upload, ended as a whole or aborted. */
#include "base/clock.h"
#include "base/encode.h"
#include "base/mem.h"
#include "base/own.h"
#include "blob/s3.h"

struct s3_put {
    struct blob_put base;
    struct s3 *s;
    struct blob_put *local;
};

enum err s3_put_begin(struct blob_store *store, uint64_t size_max, struct blob_put **ret_put, struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    struct blob_put *local = NULL;
    enum err rc = blob_put_begin(s->cache, size_max < S3_BLOB_SIZE_MAX ? size_max : S3_BLOB_SIZE_MAX, &local, err);
    if (rc != OK)
        return rc;
    struct s3_put *p = mem_alloc(sizeof(*p));
    *p = (struct s3_put){{store->kind}, s, local};
    *ret_put = &p->base;
    return OK;
}

enum err s3_put_write(struct blob_put *put, const void *bytes, size_t n, struct errinfo *err)
{
    return blob_put_write(((struct s3_put *)put)->local, bytes, n, err);
}

void s3_put_abort(struct blob_put *put)
{
    struct s3_put *p = (struct s3_put *)put;
    blob_put_abort(p->local);
    free(p);
}

struct upload {
    struct s3 *s;
    const char *key;
    int fd;
    uint64_t size_bytes, part_size;
    char *id;
    struct buf parts; /* XML of those that are there */
};

static enum err part_hash(const struct upload *u, uint64_t at, uint64_t n, char ret_hex[static 2 * HASH_SIZE + 1],
                          struct errinfo *err)
{
    const size_t chunk_size = (size_t)256 * 1024;
    auto_free char *chunk = mem_alloc(chunk_size);
    struct hash *h = hash_new();
    uint8_t digest[HASH_SIZE];
    ssize_t got = 1;
    while (n > 0 && got > 0) {
        got = pread(u->fd, chunk, n < chunk_size ? (size_t)n : chunk_size, (off_t)at);
        if (got > 0) {
            hash_add(h, chunk, (size_t)got);
            at += (uint64_t)got;
            n -= (uint64_t)got;
        }
    }
    hash_finish(h, digest);
    hex_format(digest, sizeof(digest), ret_hex);
    return n == 0 ? OK : err_set(err, ERR_IO, "read what is to be sent to bucket '%s'", u->s->bucket);
}

static enum err upload_part(struct upload *u, unsigned number, uint64_t at, struct errinfo *err)
{
    uint64_t n = u->size_bytes - at < u->part_size ? u->size_bytes - at : u->part_size;
    char hex[2 * HASH_SIZE + 1], text[16];
    enum err rc = part_hash(u, at, n, hex, err);
    if (rc != OK)
        return rc;
    (void)snprintf(text, sizeof(text), "%u", number);
    const struct sigv4_pair query[] = {{"partNumber", text}, {"uploadId", u->id}};
    AUTO(s3_answer) struct s3_answer answer = {0};
    rc = s3_do(u->s,
               &(struct s3_call){.method = "PUT",
                                 .key = u->key,
                                 .query = query,
                                 .query_n = 2,
                                 .right = "s3:PutObject",
                                 .payload = hex,
                                 .body_fd = u->fd,
                                 .body_at = at,
                                 .body_size = n},
               &answer, err);
    if (rc == OK)
        buf_addf(&u->parts, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number, answer.etag);
    return rc;
}

static enum err upload_begin(struct upload *u, struct errinfo *err)
{
    const struct sigv4_pair query[] = {{"uploads", ""}};
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc = s3_do(
        u->s, &(struct s3_call){.method = "POST", .key = u->key, .query = query, .query_n = 1, .right = "s3:PutObject"},
        &answer, err);
    if (rc != OK)
        return rc;
    struct str rest = buf_str(&answer.body), id;
    if (!s3_xml(&rest, "UploadId", &id) || id.len == 0 || id.len > 1024)
        return err_set(err, ERR_IO, "bucket '%s' at '%s' began an upload without a name", u->s->bucket, u->s->endpoint);
    u->id = mem_strndup(id.ptr, id.len);
    return OK;
}

static enum err abort_upload(struct s3 *s, const char *key, const char *id, struct errinfo *err)
{
    const struct sigv4_pair query[] = {{"uploadId", id}};
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc =
        s3_do(s,
              &(struct s3_call){
                  .method = "DELETE", .key = key, .query = query, .query_n = 1, .right = "s3:AbortMultipartUpload"},
              &answer, err);
    return rc == ERR_NOT_FOUND ? OK : rc;
}

static enum err upload_end(struct upload *u, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    buf_addf(&text, "<CompleteMultipartUpload>%.*s</CompleteMultipartUpload>", STR_ARG(buf_str(&u->parts)));
    uint8_t digest[HASH_SIZE];
    char hex[2 * HASH_SIZE + 1];
    hash_bytes(text.ptr, text.len, digest);
    hex_format(digest, sizeof(digest), hex);
    const struct sigv4_pair query[] = {{"uploadId", u->id}};
    AUTO(s3_answer) struct s3_answer answer = {0};
    return s3_do(u->s,
                 &(struct s3_call){.method = "POST",
                                   .key = u->key,
                                   .query = query,
                                   .query_n = 1,
                                   .right = "s3:PutObject",
                                   .payload = hex,
                                   .body = buf_str(&text)},
                 &answer, err);
}

/* The whole is there, although the answer that said so may have been lost and the repeated request found no upload. */
static enum err whole_is_there(struct upload *u, const char *digest, struct errinfo *err)
{
    struct blob_entry entry;
    enum err rc = s3_stat(&u->s->base, BLOB_STORED, digest, &entry, err);
    if (rc == OK && entry.size_bytes != u->size_bytes)
        return err_set(err, ERR_CORRUPT, "bucket '%s' has %llu bytes of '%s' after an upload of %llu", u->s->bucket,
                       (unsigned long long)entry.size_bytes, digest, (unsigned long long)u->size_bytes);
    return rc;
}

static enum err send_in_parts(struct upload *u, const char *digest, struct errinfo *err)
{
    u->part_size = u->s->part_size;
    while (u->size_bytes / u->part_size >= S3_PARTS_MAX)
        u->part_size *= 2;
    enum err rc = upload_begin(u, err);
    if (rc != OK)
        return rc;
    unsigned number = 1;
    for (uint64_t at = 0; at < u->size_bytes && rc == OK; at += u->part_size)
        rc = upload_part(u, number++, at, err);
    if (rc == OK)
        rc = upload_end(u, err);
    if (rc == OK || rc == ERR_NOT_FOUND)
        rc = whole_is_there(u, digest, err);
    if (rc != OK)
        err_ignore(abort_upload(u->s, u->key, u->id, NULL)); /* else the sweep does */
    if (rc == ERR_NOT_FOUND)
        return err_wrap(err, ERR_UNAVAILABLE, "the upload was ended by somebody else");
    return rc;
}

static enum err send_at_once(const struct upload *u, const char *digest, bool is_new, struct errinfo *err)
{
    AUTO(s3_answer) struct s3_answer answer = {0};
    struct s3_call call = {.method = "PUT",
                           .key = u->key,
                           .header = is_new ? "If-None-Match: *" : NULL,
                           .right = "s3:PutObject",
                           .payload = digest + strlen("sha256:"),
                           .body_fd = u->fd,
                           .body_size = u->size_bytes};
    enum err rc = s3_do(u->s, &call, &answer, err);
    if (rc == ERR_CONFLICT && answer.status == 412)
        return OK; /* somebody stored the same bytes just now */
    if (call.header == NULL || (answer.status != 501 && answer.status != 400))
        return rc;
    call.header = NULL; /* a server that knows no conditions: the same bytes twice do no harm */
    return s3_do(u->s, &call, &answer, err);
}

/* What is there and young is not sent again. What is old is, so that nobody takes it for garbage meanwhile. */
static enum err send_blob(struct s3 *s, const char *digest, int fd, uint64_t size_bytes, struct errinfo *err)
{
    struct blob_entry there;
    enum err rc = s3_stat(&s->base, BLOB_STORED, digest, &there, err);
    int64_t now_s = clock_wall_us() / 1000000;
    if (rc == OK && there.size_bytes == size_bytes && now_s - there.since_s < S3_FRESH_S)
        return OK;
    if (rc != OK && rc != ERR_NOT_FOUND)
        return rc;
    auto_free char *key = s3_key(s, BLOB_STORED, digest);
    struct upload u = {.s = s, .key = key, .fd = fd, .size_bytes = size_bytes};
    rc =
        size_bytes > s->part_size ? send_in_parts(&u, digest, err) : send_at_once(&u, digest, rc == ERR_NOT_FOUND, err);
    buf_done(&u.parts);
    free(u.id);
    return rc;
}

enum err s3_put_finish(struct blob_put *put, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                       uint64_t *ret_size_bytes, struct errinfo *err)
{
    struct s3_put *p = (struct s3_put *)put;
    struct s3 *s = p->s;
    char digest[DIGEST_TEXT_SIZE];
    uint64_t size_bytes = 0;
    auto_close int fd = -1;
    enum err rc = blob_put_finish(p->local, expect, digest, &size_bytes, err);
    free(p);
    if (rc == OK)
        rc = blob_open(s->cache, digest, &fd, NULL, err);
    if (rc != OK)
        return rc;
    rc = send_blob(s, digest, fd, size_bytes, err);
    if (rc != OK) {
        err_ignore(blob_delete(s->cache, digest, NULL)); /* it is not stored: the cache must not say that it is */
        return rc;
    }
    s3_trim_cache(s);
    if (ret_digest != NULL)
        memcpy(ret_digest, digest, sizeof(digest));
    if (ret_size_bytes != NULL)
        *ret_size_bytes = size_bytes;
    return OK;
}

/* ---- what crashed writers began ---- */

static enum err sweep_page(struct s3 *s, struct str page, const char *prefix, int64_t before_s, uint64_t *ret_n,
                           struct errinfo *err)
{
    struct str upload, key, id, begun;
    enum err rc = OK;
    while (rc == OK && s3_xml(&page, "Upload", &upload)) {
        struct str a = upload, b = upload, c = upload;
        if (!s3_xml(&a, "Key", &key) || !s3_xml(&b, "UploadId", &id) || !s3_xml(&c, "Initiated", &begun))
            continue;
        int64_t begun_s = s3_xml_time(begun);
        if (!str_starts(key, str_from(prefix)) || begun_s == 0 || begun_s > before_s)
            continue;
        auto_free char *key_text = mem_strndup(key.ptr, key.len), *id_text = mem_strndup(id.ptr, id.len);
        rc = abort_upload(s, key_text, id_text, err);
        *ret_n += rc == OK;
    }
    return rc;
}

/* Only where blobs are: others may have uploads in the same bucket. The first 1,000: the next sweep sees the others. */
enum err s3_sweep(struct blob_store *store, int64_t older_than_s, uint64_t *ret_n, struct errinfo *err)
{
    struct s3 *s = (struct s3 *)store;
    auto_free char *prefix = mem_printf("%ssha256/", s->prefix);
    const struct sigv4_pair query[] = {{"uploads", ""}, {"prefix", prefix}};
    AUTO(s3_answer) struct s3_answer answer = {0};
    enum err rc = s3_do(
        s, &(struct s3_call){.method = "GET", .query = query, .query_n = 2, .right = "s3:ListBucketMultipartUploads"},
        &answer, err);
    if (rc != OK)
        return rc;
    return sweep_page(s, buf_str(&answer.body), prefix, clock_wall_us() / 1000000 - older_than_s, ret_n, err);
}
