/* Happy path: call -> document -> cursor kept -> the next call at once (long poll) or after the interval. Failure: any
 * error waits 0.2 s, doubled up to backoff_max_ms, spread by a half either way so that followers do not march in step,
 * and goes on with the next replica. A server that answers a long poll at once without news is asked once a second. */
#include "net/follow.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"

#define BACKOFF_FIRST_MS 200u
#define BACKOFF_MAX_DEFAULT_MS 5000u
#define INTERVAL_DEFAULT_MS 1000u
/* Above the server's own wait: its 2 s of catching up, and the way there and back (contract for reading). */
#define ANSWER_SLACK_MS 10000u
/* A position and a hash; more is no cursor of ours (chosen). */
#define CURSOR_LEN_MAX 4096u

struct follow {
    struct follow_options o;
    struct arena arena; /* texts of the options */
    uv_timer_t timer;
    struct http_call *call;
    struct buf cursor;
    unsigned failures_n;
    size_t url_at;
    uint64_t jitter;
    int64_t asked_us;
    bool stopping, in_document, kicked;
};

static void ask(struct follow *f);

static void on_timer(uv_timer_t *timer)
{
    ask(timer->data);
}

/* xorshift64: spreading needs no better one. */
static uint64_t jitter_next(struct follow *f)
{
    f->jitter ^= f->jitter << 13;
    f->jitter ^= f->jitter >> 7;
    f->jitter ^= f->jitter << 17;
    return f->jitter;
}

static void wait_about(struct follow *f, uint64_t ms)
{
    uint64_t spread = ms == 0 ? 0 : ms / 2 + jitter_next(f) % (ms + 1);
    (void)uv_timer_start(&f->timer, on_timer, spread, 0);
}

static void add_escaped(struct buf *url, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                        c == '_' || c == '.' || c == '~';
        if (is_plain)
            buf_add_char(url, c);
        else
            buf_addf(url, "%%%02X", (unsigned)(unsigned char)c);
    }
}

static const char *url_format(const struct follow *f, struct buf *url)
{
    const char *base = f->o.urls_n > 0 ? f->o.urls[f->url_at % f->o.urls_n] : f->o.call.url;
    buf_addf(url, "%s%cwait=%u", base, strchr(base, '?') == NULL ? '?' : '&', f->o.wait_s);
    if (f->cursor.len > 0) {
        buf_add_c(url, "&cursor=");
        add_escaped(url, buf_str(&f->cursor));
    }
    return url->ptr;
}

/* ---- what comes back ---- */

static void failed(struct follow *f, const struct errinfo *err)
{
    unsigned max = f->o.backoff_max_ms != 0 ? f->o.backoff_max_ms : BACKOFF_MAX_DEFAULT_MS;
    unsigned shift = f->failures_n < 16 ? f->failures_n : 16;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << shift;
    f->failures_n++;
    f->url_at++;
    wait_about(f, ms < max ? ms : max);
    if (f->o.on_error != NULL)
        f->o.on_error(err, f->failures_n, f->o.ctx);
}

/* *ret_moved: the cursor is another one now. */
static enum err take_document(struct follow *f, const json_t *doc, bool *ret_moved, struct errinfo *err)
{
    struct str cursor = json_member_str(doc, "cursor");
    if (cursor.len == 0 || cursor.len > CURSOR_LEN_MAX)
        return err_set(err, ERR_INVALID, "the answer has no cursor");
    f->in_document = true;
    enum err rc = f->o.on_document(doc, f->o.ctx, err);
    f->in_document = false;
    if (rc != OK)
        return rc;
    *ret_moved = !str_eq(cursor, buf_str(&f->cursor));
    buf_clear(&f->cursor);
    buf_add_str(&f->cursor, cursor);
    return OK;
}

static void done(struct follow *f);

static void took(struct follow *f, bool moved)
{
    int64_t took_ms = (clock_mono_us() - f->asked_us) / 1000;
    bool waited = took_ms >= INTERVAL_DEFAULT_MS;
    f->failures_n = 0;
    if (f->kicked)
        wait_about(f, 0);
    else if (f->o.wait_s == 0)
        wait_about(f, f->o.interval_ms != 0 ? f->o.interval_ms : INTERVAL_DEFAULT_MS);
    else
        wait_about(f, moved || waited ? f->o.interval_ms : INTERVAL_DEFAULT_MS);
    f->kicked = false;
}

static void on_answer(struct http_result *result, void *ctx)
{
    struct follow *f = ctx;
    auto_json json_t *doc = NULL;
    struct errinfo err = result->err;
    bool moved = false;
    f->call = NULL;
    enum err rc = result->code;
    if (rc == OK)
        rc = json_parse(buf_str(&result->body), &doc, &err);
    else if (result->status == 410 || (result->status == 400 && f->cursor.len > 0))
        buf_clear(&f->cursor); /* it means nothing there any more: begin again */
    if (rc == OK)
        rc = take_document(f, doc, &moved, &err);
    if (f->stopping)
        done(f);
    else if (rc == OK)
        took(f, moved);
    else
        failed(f, &err);
}

/* Twice and then four times as long once every replica was tried: where thousands wait for their handshakes, who gives
 * up early only makes work. */
static unsigned patience_doublings(const struct follow *f)
{
    size_t rounds = f->failures_n / (f->o.urls_n > 0 ? f->o.urls_n : 1);
    return rounds < 2 ? (unsigned)rounds : 2;
}

static void ask(struct follow *f)
{
    AUTO(buf) struct buf url = {0};
    struct http_call_options o = f->o.call;
    o.url = url_format(f, &url);
    o.total_timeout_ms = f->o.wait_s * 1000 + ANSWER_SLACK_MS;
    o.connect_timeout_ms <<= patience_doublings(f);
    f->asked_us = clock_mono_us();
    f->call = http_client_send(f->o.client, &o, on_answer, f);
}

/* ---- life ---- */

static const char *copy(struct arena *a, const char *text)
{
    return text == NULL ? NULL : arena_strdup(a, text);
}

static const char **copy_texts(struct arena *a, const char *const *texts, size_t n)
{
    const char **copies = arena_alloc(a, (n + 1) * sizeof(*copies));
    for (size_t i = 0; i < n; i++)
        copies[i] = arena_strdup(a, texts[i]);
    return copies;
}

static void copy_options(struct follow *f, const struct follow_options *o)
{
    struct arena *a = &f->arena;
    struct http_call_options *c = &f->o.call;
    f->o = *o;
    f->o.urls = copy_texts(a, o->urls, o->urls_n);
    c->method = NULL;
    c->url = copy(a, o->call.url);
    c->headers = copy_texts(a, o->call.headers, o->call.headers_n);
    c->bearer = copy(a, o->call.bearer);
    c->ca_file = copy(a, o->call.ca_file);
    c->cert_file = copy(a, o->call.cert_file);
    c->key_file = copy(a, o->call.key_file);
    c->peer_uri = copy(a, o->call.peer_uri);
}

struct follow *follow_start(const struct follow_options *o)
{
    struct follow *f = mem_alloc(sizeof(*f));
    copy_options(f, o);
    f->jitter = o->seed != 0 ? o->seed : 1;
    buf_add_c(&f->cursor, o->cursor == NULL ? "" : o->cursor);
    (void)uv_timer_init(o->loop, &f->timer);
    f->timer.data = f;
    wait_about(f, 0);
    return f;
}

void follow_kick(struct follow *f)
{
    if (f->stopping)
        return;
    if (f->call == NULL && !f->in_document)
        wait_about(f, 0);
    else
        f->kicked = true; /* what is under way may have missed the news */
}

const char *follow_cursor(const struct follow *f)
{
    return f->cursor.len == 0 ? "" : f->cursor.ptr;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct follow *f = handle->data;
    buf_done(&f->cursor);
    arena_done(&f->arena);
    free(f);
}

static void done(struct follow *f)
{
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}

void follow_stop(struct follow *f)
{
    if (f->stopping)
        return;
    f->stopping = true;
    if (f->call != NULL)
        http_call_cancel(TAKE(f->call));
    if (!f->in_document) /* else on_answer is on the stack and finishes it */
        done(f);
}
