#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/own.h"
#include "net/http_private.h"
#include "net/http_range.h"

/* 128 KiB a read of a file that goes out by TLS: 8 records (248 MB/s on loopback, 768 MB/s plain with sendfile;
 * measured once with curl on two shared cores). */
#define FILE_BLOCK_SIZE (128u * 1024u)

void http_respond_header(struct http_request *r, const char *name, const char *value)
{
    struct http_answer_header *h = mem_alloc(sizeof(*h));
    h->name = mem_strdup(name);
    h->value = mem_strdup(value);
    h->next = r->answer_headers;
    r->answer_headers = h;
}

/* The handler lets go of r. */
static void let_go(struct http_request *r)
{
    r->owned = false;
    http_request_wake(r);
    http_request_release(r);
}

void http_respond_with(struct http_request *r, int status, struct MHD_Response *response)
{
    assert(response != NULL);
    if (r->answered || r->dropped || !r->attached) {
        /* Gone, or answered for it while the server closes; twice by a handler is its bug. */
        assert(r->cancelled || r->dropped || !r->attached);
        MHD_destroy_response(response);
    } else {
        for (const struct http_answer_header *h = r->answer_headers; h != NULL; h = h->next)
            (void)MHD_add_response_header(response, h->name, h->value);
        r->response = response;
        r->status = status;
        r->answered = true;
    }
    if (r->stream == NULL)
        let_go(r);
    else
        http_request_wake(r);
}

static struct MHD_Response *response_of(struct str body, const char *content_type)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, (void *)(uintptr_t)body.ptr, MHD_RESPMEM_MUST_COPY);
    if (content_type != NULL)
        (void)MHD_add_response_header(response, "Content-Type", content_type);
    return response;
}

void http_respond_empty(struct http_request *r, int status)
{
    http_respond_with(r, status, response_of(STR(""), NULL));
}

void http_respond_bytes(struct http_request *r, int status, const char *content_type, struct str body)
{
    http_respond_with(r, status, response_of(body, content_type));
}

void http_respond_json(struct http_request *r, int status, const json_t *doc)
{
    AUTO(buf) struct buf body = {0};
    json_add_to(&body, doc, true);
    http_respond_bytes(r, status, "application/json", buf_str(&body));
}

void http_respond_problem(struct http_request *r, int status, enum err code, const char *detail)
{
    AUTO(buf) struct buf body = {0};
    buf_add_c(&body, "{\"type\":\"about:blank\",\"title\":");
    buf_add_json_string(&body, str_from(MHD_get_reason_phrase_for((unsigned)status)));
    buf_addf(&body, ",\"status\":%d,\"detail\":", status);
    buf_add_json_string(&body, str_from(detail));
    buf_addf(&body, ",\"code\":\"%s\"}\n", err_name(code));
    http_respond_bytes(r, status, "application/problem+json", buf_str(&body));
}

void http_respond_error(struct http_request *r, const struct errinfo *err)
{
    http_respond_problem(r, err_http_status(err->code), err->code, err->msg);
}

void http_request_drop(struct http_request *r)
{
    if (!r->answered)
        r->dropped = true;
    let_go(r);
}

/* ---- files ---- */

struct file_source {
    int fd;
    uint64_t from;
};

static ssize_t file_read(void *cls, uint64_t at, char *out, size_t max)
{
    const struct file_source *f = cls;
    for (;;) {
        ssize_t n = pread(f->fd, out, max, (off_t)(f->from + at));
        if (n > 0)
            return n;
        if (n < 0 && errno == EINTR)
            continue;
        return MHD_CONTENT_READER_END_WITH_ERROR; /* it shrank, or the disk failed: the peer sees a short body */
    }
}

static void file_free(void *cls)
{
    struct file_source *f = cls;
    (void)close(f->fd);
    free(f);
}

static struct MHD_Response *file_response(const struct http_request *r, int fd, uint64_t from, uint64_t size)
{
    bool is_plain = !r->attached || r->listener->server->o.cert_file == NULL;
    if (is_plain)
        return MHD_create_response_from_fd_at_offset64(size, fd, from);
    struct file_source *f = mem_alloc(sizeof(*f));
    *f = (struct file_source){.fd = fd, .from = from};
    return MHD_create_response_from_callback(size, FILE_BLOCK_SIZE, file_read, f, file_free);
}

static void respond_part(struct http_request *r, int fd, const char *content_type, uint64_t from, uint64_t part_size,
                         uint64_t size)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)from,
                   (unsigned long long)(from + part_size - 1), (unsigned long long)size);
    struct MHD_Response *response = file_response(r, fd, from, part_size);
    (void)MHD_add_response_header(response, "Content-Range", text);
    (void)MHD_add_response_header(response, "Content-Type", content_type);
    http_respond_with(r, 206, response);
}

static void respond_no_range(struct http_request *r, uint64_t size)
{
    char text[48];
    (void)snprintf(text, sizeof(text), "bytes */%llu", (unsigned long long)size);
    http_respond_header(r, "Content-Range", text);
    http_respond_problem(r, 416, ERR_INVALID, "the range begins behind the end");
}

/* A part of another version must not be sent as if it were of the one that the peer has. */
static const char *range_wanted(const struct http_request *r, const char *etag)
{
    const char *if_range = http_request_header(r, "If-Range");
    if (if_range != NULL && (etag == NULL || strcmp(if_range, etag) != 0))
        return NULL;
    return http_request_header(r, "Range");
}

void http_respond_fd(struct http_request *r, int fd, const char *content_type, const char *etag)
{
    auto_close int file = fd;
    struct stat st;
    if (fstat(file, &st) != 0 || !S_ISREG(st.st_mode)) {
        http_respond_problem(r, 500, ERR_IO, "the file cannot be read");
        return;
    }
    uint64_t size = (uint64_t)st.st_size, from = 0, part_size = 0;
    if (etag != NULL)
        http_respond_header(r, "ETag", etag);
    http_respond_header(r, "Accept-Ranges", "bytes");
    if (http_etag_listed(http_request_header(r, "If-None-Match"), etag)) {
        http_respond_empty(r, 304);
        return;
    }
    switch (http_range_parse(range_wanted(r, etag), size, &from, &part_size)) {
    case HTTP_RANGE_NONE: respond_no_range(r, size); return;
    case HTTP_RANGE_PART: respond_part(r, TAKE_FD(file), content_type, from, part_size, size); return;
    case HTTP_RANGE_WHOLE: break;
    }
    struct MHD_Response *response = file_response(r, TAKE_FD(file), 0, size);
    (void)MHD_add_response_header(response, "Content-Type", content_type);
    http_respond_with(r, 200, response);
}
