#include "api/upload.h"

#include "api/blobs.h"
#include "api/parts.h"
#include "base/own.h"

struct upload {
    struct blob_job job;
    struct blob_put *put;
    char digest[DIGEST_TEXT_SIZE];
    struct call *call;
    void (*done)(struct call *c, struct str digest, void *ctx);
    void *ctx;
};

static void upload_free(void *data)
{
    struct upload *u = data;
    blob_put_abort(u->put);
    free(u);
}

static enum err on_chunk(struct http_request *r, struct str chunk, void *ctx, struct errinfo *err)
{
    struct upload *u = ctx;
    (void)r;
    return blob_put_write(u->put, chunk.ptr, chunk.len, err);
}

bool upload_is_tar(const struct call *c)
{
    const char *type = http_request_header(c->r, "Content-Type");
    return type != NULL && str_starts(str_from(type), STR("application/x-tar"));
}

/* The route's limit is that of a context; the JSON form is collected in memory and stays small. */
static void check_small(struct call *c)
{
    const char *length = http_request_header(c->r, "Content-Length");
    uint64_t n = 0;
    if (length == NULL || !str_parse_u64(str_from(length), UPLOAD_JSON_SIZE_MAX, &n))
        call_reply_problem(c, 413, err_name(ERR_LIMIT),
                           "a JSON body needs a Content-Length of at most %u; a context is sent as application/x-tar",
                           UPLOAD_JSON_SIZE_MAX);
}

void upload_begin(struct call *c)
{
    struct errinfo err = {0};
    if (!upload_is_tar(c)) {
        check_small(c);
        return;
    }
    struct upload *u = mem_alloc(sizeof(*u));
    c->data = u;
    c->data_free = upload_free;
    u->call = c;
    if (blob_put_begin(c->api->o.blobs, CONTEXT_SIZE_MAX, &u->put, &err) != OK)
        call_reply_error(c, &err);
    else
        http_request_body_to(c->r, on_chunk, u);
}

/* Syncing up to 512 MiB may take seconds, sending it to a bucket longer. */
static enum err finish_in_pool(struct blob_store *store, struct blob_job *job, struct errinfo *err)
{
    struct upload *u = (struct upload *)job;
    (void)store;
    return blob_put_finish(TAKE(u->put), NULL, u->digest, NULL, err);
}

static void finished(struct blob_job *job)
{
    struct upload *u = (struct upload *)job;
    if (job->err.code != OK)
        call_reply_blob_error(u->call, &job->err);
    else
        u->done(u->call, str_from(u->digest), u->ctx);
}

bool upload_finish(struct call *c, void (*done)(struct call *c, struct str digest, void *ctx), void *ctx)
{
    struct upload *u = c->data;
    if (u == NULL)
        return false;
    u->done = done;
    u->ctx = ctx;
    u->job.work = finish_in_pool;
    u->job.done = finished;
    struct errinfo err = {0};
    if (blob_jobs_add(c->api->blob_jobs, &u->job, &err) != OK)
        call_reply_blob_error(c, &err);
    return true;
}
