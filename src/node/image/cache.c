/* The happy path: get -> download to <hex>.part (from where it broke off) -> hash in the loop's pool -> rename ->
 * every waiter. What goes wrong: no answer -> the waiters are told, the part stays for the next try; other bytes than
 * the digest says -> the part goes, so that the next try begins anew. */
#include "node/image/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"
#include "os/file.h"

struct image_wait {
    struct download *download;
    image_done_fn *done;
    void *arg;
    struct image_wait *next;
};
struct download {
    struct image_cache *cache; /* NULL: the cache is gone */
    struct image_ref ref;
    char *path, *part;
    struct image_wait *waits;
    struct http_call *call;
    bool is_hashing;
    bool is_elsewhere; /* the call goes to the bucket, by an address that is a secret */
    int fd;
    uv_work_t work;
    uv_timer_t soon;    /* so that done is never called from inside get */
    enum err hash_rc;   /* set in the pool */
    struct errinfo err; /* likewise */
    struct download *next;
};
struct image_cache {
    struct image_cache_options o;
    char *folder; /* owned */
    struct download *downloads;
    size_t api; /* that answered last */
};

static char *path_of(const struct image_cache *c, const char *digest, const char *ending)
{
    uint8_t bytes[HASH_SIZE];
    if (!hash_digest_parse(str_from(digest), bytes))
        return NULL;
    return mem_printf("%s/%s.%s", c->folder, digest + strlen("sha256:"), ending);
}

enum err image_cache_open(const struct image_cache_options *o, struct image_cache **ret_cache, struct errinfo *err)
{
    enum err rc = folder_make(o->folder, 0755, err);
    if (rc != OK)
        return rc;
    struct image_cache *c = mem_alloc(sizeof(*c));
    c->o = *o;
    c->folder = mem_strdup(o->folder);
    *ret_cache = c;
    return OK;
}

char *image_cache_find(struct image_cache *c, const char *digest)
{
    char *path = path_of(c, digest, "erofs");
    if (path == NULL || utimensat(AT_FDCWD, path, NULL, 0) != 0) { /* used now */
        free(path);
        return NULL;
    }
    return path;
}

static void download_unlink(struct download *d)
{
    if (d->cache == NULL)
        return;
    for (struct download **p = &d->cache->downloads; *p != NULL; p = &(*p)->next)
        if (*p == d) {
            *p = d->next;
            break;
        }
    d->cache = NULL;
}

static void on_soon_closed(uv_handle_t *h)
{
    struct download *d = h->data;
    free(d->path);
    free(d->part);
    free(d);
}

static void download_free(struct download *d)
{
    download_unlink(d);
    if (d->fd >= 0)
        (void)close(TAKE_FD(d->fd));
    uv_close((uv_handle_t *)&d->soon, on_soon_closed);
}

/* Tell everybody who waits. They may ask again from inside: this download is out of the list before. */
static void finish(struct download *d, const struct errinfo *err)
{
    download_unlink(d);
    struct image_wait *w = TAKE(d->waits);
    while (w != NULL) {
        struct image_wait *next = w->next;
        w->download = NULL;
        w->done(w->arg, err == NULL ? d->path : NULL, err);
        free(w);
        w = next;
    }
    download_free(d);
}

static enum err hash_file(const char *path, const char *digest, struct errinfo *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open '%s'", path);
    enum { PIECE = 1 << 20 };
    auto_free char *bytes = mem_alloc(PIECE);
    struct hash *h = hash_new();
    ssize_t n = 0;
    while ((n = read(fd, bytes, PIECE)) > 0)
        hash_add(h, bytes, (size_t)n);
    uint8_t sum[HASH_SIZE];
    hash_finish(h, sum);
    char text[DIGEST_TEXT_SIZE];
    hash_digest_format(sum, text);
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read '%s'", path);
    if (strcmp(text, digest) != 0)
        return err_set(err, ERR_CORRUPT, "the image that came is '%s', not '%s'", text, digest);
    if (fsync(fd) != 0)
        return err_set_os(err, ERR_IO, errno, "sync '%s'", path);
    return OK;
}

static void hash_work(uv_work_t *work)
{
    struct download *d = work->data;
    d->hash_rc = hash_file(d->part, d->ref.digest, &d->err);
}

static void on_hashed(uv_work_t *work, int status)
{
    (void)status;
    struct download *d = work->data;
    d->is_hashing = false;
    if (d->cache == NULL) {
        download_free(d);
        return;
    }
    if (d->hash_rc == OK && rename(d->part, d->path) != 0)
        d->hash_rc = err_set_os(&d->err, ERR_IO, errno, "rename '%s'", d->part);
    if (d->hash_rc == ERR_CORRUPT)
        (void)unlink(d->part);
    finish(d, d->hash_rc == OK ? NULL : &d->err);
}

static void verify(struct download *d)
{
    if (d->fd >= 0)
        (void)close(TAKE_FD(d->fd));
    d->is_hashing = true;
    d->work.data = d;
    int rc = uv_queue_work(d->cache->o.loop, &d->work, hash_work, on_hashed);
    if (rc == 0)
        return;
    d->is_hashing = false;
    err_ignore(err_set(&d->err, ERR_IO, "start hashing: %s", uv_strerror(rc)));
    finish(d, &d->err);
}

static void on_downloaded(struct http_result *r, void *ctx);

static void fetch(struct download *d, const char *url, bool is_ours)
{
    struct image_cache *c = d->cache;
    off_t have = lseek(d->fd, 0, SEEK_END);
    auto_free char *range = mem_printf("Range: bytes=%lld-", (long long)have);
    const char *headers[] = {range};
    struct http_call_options call = {.url = url,
                                     .headers = headers,
                                     .headers_n = have > 0 ? 1 : 0,
                                     .save = true,
                                     .save_fd = d->fd,
                                     .answer_limit_bytes =
                                         d->ref.size_bytes > 0 ? (uint64_t)d->ref.size_bytes : UINT64_MAX / 2,
                                     .stall_timeout_s = 20};
    d->is_elsewhere = !is_ours;
    if (is_ours) {
        call.ca_file = c->o.ca_file;
        call.cert_file = c->o.cert_file;
        call.key_file = c->o.key_file;
        call.peer_uri = c->o.peer_uri;
    }
    d->call = http_client_send(c->o.client, &call, on_downloaded, d);
}

static void on_downloaded(struct http_result *r, void *ctx)
{
    struct download *d = ctx;
    d->call = NULL;
    if (r->status == 307 && r->location != NULL && !d->is_elsewhere) { /* blobs are in S3: a presigned URL */
        fetch(d, r->location, false);
        return;
    }
    if (r->code == OK && r->status < 300) {
        verify(d);
        return;
    }
    if (r->status == 416) { /* all of it is there already */
        verify(d);
        return;
    }
    d->cache->api++;
    struct errinfo err = r->err;
    if (r->code == OK)
        err_ignore(err_set(&err, ERR_IO, "unexpected answer %d", r->status));
    err_ignore(err_wrap(&err, err.code, "fetch the image '%s'", d->ref.digest));
    finish(d, &err);
}

static void begin(uv_timer_t *timer)
{
    struct download *d = timer->data;
    struct image_cache *c = d->cache;
    auto_free char *there = image_cache_find(c, d->ref.digest);
    if (there != NULL) {
        finish(d, NULL);
        return;
    }
    if (c->o.apis_n == 0) {
        err_ignore(err_set(&d->err, ERR_UNAVAILABLE, "no management API is known to fetch images from"));
        finish(d, &d->err);
        return;
    }
    d->fd = open(d->part, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (d->fd < 0) {
        err_ignore(err_set_os(&d->err, ERR_IO, errno, "open '%s'", d->part));
        finish(d, &d->err);
        return;
    }
    struct stat st;
    if (d->ref.size_bytes > 0 && fstat(d->fd, &st) == 0 && st.st_size == d->ref.size_bytes) {
        verify(d); /* it was whole when we were stopped */
        return;
    }
    char id[ID_TEXT_SIZE];
    id_format(d->ref.image_id, id);
    auto_free char *url = mem_printf("%s/v1/images/%s/download", c->o.apis[c->api % c->o.apis_n], id);
    fetch(d, url, true);
}

static struct download *download_find(const struct image_cache *c, const char *digest)
{
    for (struct download *d = c->downloads; d != NULL; d = d->next)
        if (strcmp(d->ref.digest, digest) == 0)
            return d;
    return NULL;
}

static struct download *download_new(struct image_cache *c, const struct image_ref *ref)
{
    struct download *d = mem_alloc(sizeof(*d));
    d->cache = c;
    d->ref = *ref;
    d->fd = -1;
    d->path = path_of(c, ref->digest, "erofs");
    d->part = path_of(c, ref->digest, "part");
    d->next = c->downloads;
    c->downloads = d;
    (void)uv_timer_init(c->o.loop, &d->soon);
    d->soon.data = d;
    (void)uv_timer_start(&d->soon, begin, 0, 0);
    return d;
}

static void on_bad_digest(uv_timer_t *timer)
{
    struct download *d = timer->data;
    err_ignore(err_set(&d->err, ERR_INVALID, "'%s' is not a digest", d->ref.digest));
    finish(d, &d->err);
}

struct image_wait *image_cache_get(struct image_cache *c, const struct image_ref *ref, image_done_fn *done, void *arg)
{
    struct download *d = download_find(c, ref->digest);
    if (d == NULL)
        d = download_new(c, ref);
    if (d->path == NULL)
        (void)uv_timer_start(&d->soon, on_bad_digest, 0, 0);
    struct image_wait *w = mem_alloc(sizeof(*w));
    *w = (struct image_wait){.download = d, .done = done, .arg = arg, .next = d->waits};
    d->waits = w;
    return w;
}

void image_wait_cancel(struct image_wait *w)
{
    if (w == NULL || w->download == NULL)
        return;
    for (struct image_wait **p = &w->download->waits; *p != NULL; p = &(*p)->next)
        if (*p == w) {
            *p = w->next;
            break;
        }
    free(w); /* the download goes on: somebody else will want it */
}

void image_cache_free(struct image_cache *c)
{
    if (c == NULL)
        return;
    while (c->downloads != NULL) {
        struct download *d = c->downloads;
        for (struct image_wait *w = TAKE(d->waits), *next; w != NULL; w = next) {
            next = w->next;
            free(w);
        }
        if (d->call != NULL)
            http_call_cancel(TAKE(d->call));
        if (d->is_hashing)
            download_unlink(d); /* on_hashed frees it */
        else
            download_free(d);
    }
    free(c->folder);
    free(c);
}

static bool disk_is_low(const char *folder)
{
    struct statvfs v;
    return statvfs(folder, &v) == 0 && v.f_bavail < v.f_blocks / 10;
}

/* The unused image that was used longest ago. Returned. */
static char *oldest_unused(struct image_cache *c, bool (*is_used)(void *arg, const char *digest), void *arg)
{
    char **names = NULL, *oldest = NULL;
    size_t n = 0;
    struct timespec oldest_at = {0};
    struct errinfo ignored;
    if (folder_list(c->folder, &names, &n, &ignored) != OK)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        char digest[DIGEST_TEXT_SIZE];
        struct stat st;
        auto_free char *path = mem_printf("%s/%s", c->folder, names[i]);
        (void)snprintf(digest, sizeof(digest), "sha256:%.64s", names[i]);
        if (download_find(c, digest) != NULL || is_used(arg, digest) || stat(path, &st) != 0)
            continue;
        if (oldest != NULL && (st.st_mtim.tv_sec > oldest_at.tv_sec ||
                               (st.st_mtim.tv_sec == oldest_at.tv_sec && st.st_mtim.tv_nsec >= oldest_at.tv_nsec)))
            continue;
        oldest_at = st.st_mtim;
        free(oldest);
        oldest = TAKE(path);
    }
    folder_list_free(names);
    return oldest;
}

void image_cache_collect(struct image_cache *c, bool (*is_used)(void *arg, const char *digest), void *arg)
{
    while (disk_is_low(c->folder)) {
        auto_free char *path = oldest_unused(c, is_used, arg);
        if (path == NULL || unlink(path) != 0)
            return;
    }
}
