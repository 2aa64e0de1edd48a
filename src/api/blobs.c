#include "api/blobs.h"

#include <unistd.h>

#include "api/parts.h"
#include "base/own.h"

void call_reply_blob_error(struct call *c, const struct errinfo *err)
{
    const struct logger *log = control_logger(c->api->o.control);
    if (err->code == ERR_UNAVAILABLE || err->code == ERR_CANCELLED) {
        log_warn(log, "%s %s: %s", c->route->method, c->route->pattern, err->msg);
        http_respond_header(c->r, "Retry-After", "5");
        call_reply_problem(c, 503, err_name(ERR_UNAVAILABLE),
                           "where contexts and images are does not answer now: try again");
    } else if (err->code == ERR_DENIED || err->code == ERR_INVALID) { /* of the platform, not of who asks */
        log_err(log, err, "%s %s", c->route->method, c->route->pattern);
        call_reply_problem(c, 503, err_name(ERR_UNAVAILABLE),
                           "the platform may not use the place where contexts and images are: its log says why");
    } else {
        call_reply_error(c, err);
    }
}

/* ---- is it there ---- */

struct look {
    struct blob_job job;
    struct call *call;
    const char *digest;
    void (*done)(struct call *c, void *ctx);
    void *ctx;
};

static enum err look_in_pool(struct blob_store *store, struct blob_job *job, struct errinfo *err)
{
    const struct look *l = (struct look *)job;
    return blob_stat(store, l->digest, NULL, err);
}

static void looked(struct blob_job *job)
{
    const struct look *l = (struct look *)job;
    if (job->err.code == OK)
        l->done(l->call, l->ctx);
    else if (job->err.code == ERR_NOT_FOUND)
        call_reply_problem(l->call, 400, err_name(ERR_INVALID),
                           "context '%s' is not stored here: send it as application/x-tar instead", l->digest);
    else
        call_reply_blob_error(l->call, &job->err);
}

void call_check_context(struct call *c, struct str digest, void (*done)(struct call *c, void *ctx), void *ctx)
{
    struct look *l = arena_alloc(&c->arena, sizeof(*l));
    struct errinfo err = {0};
    uint8_t bytes[HASH_SIZE];
    *l = (struct look){.job = {.work = look_in_pool, .done = looked}, .call = c, .done = done, .ctx = ctx};
    l->digest = arena_str(&c->arena, digest).ptr;
    if (!hash_digest_parse(digest, bytes))
        call_reply_problem(c, 400, err_name(ERR_INVALID), "'context_digest' must be 'sha256:' and 64 hex digits");
    else if (blob_jobs_add(c->api->blob_jobs, &l->job, &err) != OK)
        call_reply_blob_error(c, &err);
}

/* ---- the bytes, or where they are ---- */

struct fetch {
    struct blob_job job;
    struct call *call;
    const char *digest;
    int fd;
    struct buf url; /* a secret: to the caller only */
};

static enum err fetch_in_pool(struct blob_store *store, struct blob_job *job, struct errinfo *err)
{
    struct fetch *f = (struct fetch *)job;
    uint64_t size_bytes;
    enum err rc = blob_stat(store, f->digest, NULL, err); /* brings back what is set aside */
    if (rc != OK)
        return rc;
    rc = blob_presign(store, f->digest, BLOB_URL_GOOD_S, &f->url, err);
    return rc == ERR_NOT_FOUND ? blob_open(store, f->digest, &f->fd, &size_bytes, err) : rc;
}

static void fetched(struct blob_job *job)
{
    struct fetch *f = (struct fetch *)job;
    struct call *c = f->call;
    AUTO(buf) struct buf url = f->url;
    if (job->err.code != OK) {
        call_reply_blob_error(c, &job->err);
        return;
    }
    c->is_answered = true;
    if (url.len > 0) {
        http_respond_header(c->r, "Location", url.ptr);
        http_respond_header(c->r, "Cache-Control", "no-store");
        http_respond_empty(c->r, 307);
        return;
    }
    char etag[DIGEST_TEXT_SIZE + 2];
    (void)snprintf(etag, sizeof(etag), "\"%s\"", f->digest);
    http_respond_fd(c->r, f->fd, "application/octet-stream", etag);
}

void call_reply_blob(struct call *c, const char *digest)
{
    struct fetch *f = arena_alloc(&c->arena, sizeof(*f));
    struct errinfo err = {0};
    *f = (struct fetch){.job = {.work = fetch_in_pool, .done = fetched}, .call = c, .fd = -1};
    f->digest = arena_strdup(&c->arena, digest);
    if (blob_jobs_add(c->api->blob_jobs, &f->job, &err) != OK)
        call_reply_blob_error(c, &err);
}
