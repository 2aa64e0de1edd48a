#include "api/upload.h"

#include "api/parts.h"
#include "base/own.h"

struct upload {
    struct blob_put *put;
    char digest[DIGEST_TEXT_SIZE];
    struct errinfo err;
    uv_work_t work;
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

/* Syncing up to 512 MiB may take seconds. */
static void finish_in_pool(uv_work_t *work)
{
    struct upload *u = work->data;
    err_ignore(blob_put_finish(TAKE(u->put), NULL, u->digest, NULL, &u->err)); /* the code is in u->err */
}

static void finished(uv_work_t *work, int status)
{
    struct upload *u = work->data;
    (void)status;
    if (u->err.code != OK)
        call_reply_error(u->call, &u->err);
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
    u->work.data = u;
    uv_queue_work(control_loop(c->api->o.control), &u->work, finish_in_pool, finished);
    return true;
}
