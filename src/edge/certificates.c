#include "edge/certificates.h"

#include <stdio.h>

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"
#include "crypto/file.h"
#include "os/file.h"
#include "wire/route.h"

enum { RETRY_MIN_MS = 200, RETRY_MAX_MS = 10000, CALL_TIMEOUT_MS = 10000 };

struct want {
    struct certificates *owner;
    char *host;
    struct id certificate_id;
    struct http_call *call; /* under way; NULL: waiting for the timer */
    uv_timer_t timer;
    unsigned retry_ms, tries_n;
    UT_hash_handle hh;
};

struct certificates {
    struct certificates_options options;
    char *folder;
    struct want *wants;
    size_t handles_n;
    bool is_closing;
};

static void on_retry(uv_timer_t *timer);

static void free_if_done(struct certificates *c)
{
    if (!c->is_closing || c->handles_n > 0)
        return;
    free(c->folder);
    free(c);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct want *w = handle->data;
    struct certificates *c = w->owner;
    free(w->host);
    free(w);
    c->handles_n--;
    free_if_done(c);
}

static void want_end(struct want *w)
{
    HASH_DEL(w->owner->wants, w);
    if (w->call != NULL)
        http_call_cancel(TAKE(w->call));
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

static char *path_of(const struct certificates *c, struct id certificate_id)
{
    char id[ID_TEXT_SIZE];
    id_format(certificate_id, id);
    return mem_printf("%s/%s.json", c->folder, id);
}

/* Check a document and report what is in it. */
static enum err report(struct certificates *c, struct str host, struct id certificate_id, struct str text,
                       struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct certificate_bundle doc;
    enum err rc = fields_parse(&CERTIFICATE_WIRE, text, &arena, &doc, err);
    if (rc != OK)
        return rc;
    if (!id_eq(doc.certificate_id, certificate_id))
        return err_set(err, ERR_INVALID, "the document is of another certificate");
    c->options.on_certificate(c->options.ctx, host, doc.chain_pem, doc.key_pem);
    return OK;
}

static void on_answer(struct http_result *result, void *ctx)
{
    struct want *w = ctx;
    struct certificates *c = w->owner;
    struct errinfo err = result->err;
    w->call = NULL;
    enum err rc = result->code;
    if (rc == OK)
        rc = report(c, str_from(w->host), w->certificate_id, buf_str(&result->body), &err);
    if (rc == OK) {
        auto_free char *path = path_of(c, w->certificate_id);
        if (crypto_file_write(path, buf_str(&result->body), 0600, -1, -1, &err) != OK)
            c->options.on_problem(c->options.ctx, &err);
        want_end(w);
        return;
    }
    err_ignore(err_wrap(&err, rc, "certificate of '%s'", w->host));
    c->options.on_problem(c->options.ctx, &err);
    uv_timer_start(&w->timer, on_retry, w->retry_ms, 0);
    w->retry_ms = w->retry_ms * 2 < RETRY_MAX_MS ? w->retry_ms * 2 : RETRY_MAX_MS;
}

static void want_send(struct want *w)
{
    struct certificates *c = w->owner;
    char id[ID_TEXT_SIZE];
    id_format(w->certificate_id, id);
    auto_free char *url = mem_printf("%s/v1/certificates/%s", c->options.urls[w->tries_n++ % c->options.urls_n], id);
    struct http_call_options call = c->options.call;
    call.url = url;
    call.total_timeout_ms = CALL_TIMEOUT_MS;
    call.answer_limit_bytes = CERTIFICATE_DOCUMENT_SIZE_MAX;
    w->call = http_client_send(c->options.client, &call, on_answer, w);
}

static void on_retry(uv_timer_t *timer)
{
    want_send(timer->data);
}

static bool take_from_folder(struct certificates *c, struct str host, struct id certificate_id)
{
    AUTO(secret) struct buf text = {0};
    struct errinfo err = {0};
    auto_free char *path = path_of(c, certificate_id);
    return file_read(path, CERTIFICATE_DOCUMENT_SIZE_MAX, &text, &err) == OK &&
           report(c, host, certificate_id, buf_str(&text), &err) == OK;
}

void certificates_want(struct certificates *c, struct str host, struct id certificate_id)
{
    struct want *w = NULL;
    HASH_FIND(hh, c->wants, host.ptr, host.len, w);
    if (w != NULL && id_eq(w->certificate_id, certificate_id))
        return;
    if (w != NULL)
        want_end(w);
    if (take_from_folder(c, host, certificate_id))
        return;
    w = mem_alloc(sizeof(*w));
    w->owner = c;
    w->host = mem_strndup(host.ptr, host.len);
    w->certificate_id = certificate_id;
    w->retry_ms = RETRY_MIN_MS;
    uv_timer_init(c->options.loop, &w->timer);
    w->timer.data = w;
    c->handles_n++;
    HASH_ADD_KEYPTR(hh, c->wants, w->host, host.len, w);
    want_send(w);
}

size_t certificates_pending(const struct certificates *c)
{
    return HASH_COUNT(c->wants);
}

enum err certificates_open(const struct certificates_options *o, struct certificates **ret_certificates,
                           struct errinfo *err)
{
    enum err rc = folder_make(o->folder, 0700, err);
    if (rc != OK)
        return rc;
    struct certificates *c = mem_alloc(sizeof(*c));
    c->options = *o;
    c->folder = mem_strdup(o->folder);
    *ret_certificates = c;
    return OK;
}

void certificates_close(struct certificates *c)
{
    struct want *w, *tmp;
    if (c == NULL || c->is_closing)
        return;
    c->is_closing = true;
    HASH_ITER(hh, c->wants, w, tmp)
    want_end(w);
    free_if_done(c);
}
