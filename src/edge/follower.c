#include "edge/follower.h"

#include <ctype.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"

enum {
    WAIT_S = 5,              /* long poll: below the 15 s after which an edge is not live, twice over */
    CALL_TIMEOUT_MS = 12000, /* WAIT_S, 2 s for a replica that is behind, and some */
    HEARTBEAT_MS = 5000,     /* while a document is not confirmed */
    QUIET_MS = 500,          /* after an answer without news that came at once: the server does not wait */
    RETRY_MIN_MS = 200,
    RETRY_MAX_MS = 5000,
};

struct follower {
    struct follower_options options;
    char *confirmed;        /* what is sent */
    char *seen;             /* cursor of the last document taken */
    struct http_call *call; /* under way */
    uv_timer_t timer;
    unsigned retry_ms;
    size_t tries_n;
    bool is_kicked; /* while a call was under way that may have missed it */
    int64_t sent_us, answered_us;
    bool is_closing;
};

static bool is_all_confirmed(const struct follower *f)
{
    return strcmp(f->confirmed, f->seen) == 0;
}

static void add_escaped(struct buf *b, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if (isalnum(*c) || strchr("-._~", *c) != NULL)
            buf_add_char(b, (char)*c);
        else
            buf_addf(b, "%%%02X", *c);
}

static void on_timer(uv_timer_t *timer);
static void on_answer(struct http_result *result, void *ctx);

static void ask(struct follower *f)
{
    AUTO(buf) struct buf url = {0};
    if (f->call != NULL || f->is_closing)
        return;
    uv_timer_stop(&f->timer);
    buf_addf(&url, "%s/v1/routes?wait=%d&cursor=", f->options.urls[f->tries_n % f->options.urls_n],
             is_all_confirmed(f) ? WAIT_S : 0);
    add_escaped(&url, f->confirmed);
    struct http_call_options call = f->options.call;
    call.url = url.ptr;
    call.total_timeout_ms = CALL_TIMEOUT_MS;
    f->sent_us = clock_mono_us();
    f->is_kicked = false;
    f->call = http_client_send(f->options.client, &call, on_answer, f);
}

static void ask_after(struct follower *f, unsigned ms)
{
    uv_timer_start(&f->timer, on_timer, ms, 0);
}

static void on_timer(uv_timer_t *timer)
{
    ask(timer->data);
}

static void set_text(char **text, const char *value)
{
    char *copy = mem_strdup(value);
    free(*text);
    *text = copy;
}

/* Take one document. *ret_is_news: its cursor is another than before. */
static enum err take(struct follower *f, struct str text, bool *ret_is_news, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(text, &doc, err);
    if (rc != OK)
        return rc;
    const char *cursor = json_string_value(json_object_get(doc, "cursor"));
    if (cursor == NULL)
        return err_set(err, ERR_INVALID, "a document of routes without a cursor");
    *ret_is_news = strcmp(cursor, f->seen) != 0;
    char *old = TAKE(f->seen); /* on_document may confirm at once */
    f->seen = mem_strdup(cursor);
    rc = f->options.on_document(f->options.ctx, doc, err);
    if (rc != OK)
        set_text(&f->seen, old);
    free(old);
    return rc;
}

static void on_failure(struct follower *f, const struct http_result *result, struct errinfo *err)
{
    f->options.on_problem(f->options.ctx, err);
    f->tries_n++;
    if (result->status == 410 || (result->status == 400 && f->confirmed[0] != '\0')) {
        set_text(&f->confirmed, ""); /* the cursor means nothing there any more */
        set_text(&f->seen, "");
    }
    ask_after(f, f->retry_ms);
    f->retry_ms = f->retry_ms * 2 < RETRY_MAX_MS ? f->retry_ms * 2 : RETRY_MAX_MS;
}

static void on_answer(struct http_result *result, void *ctx)
{
    struct follower *f = ctx;
    struct errinfo err = result->err;
    bool is_news = false;
    f->call = NULL;
    enum err rc = result->code;
    if (rc == OK)
        rc = take(f, buf_str(&result->body), &is_news, &err);
    if (f->is_closing)
        return;
    if (rc != OK) {
        on_failure(f, result, &err);
        return;
    }
    f->retry_ms = RETRY_MIN_MS;
    f->answered_us = clock_mono_us();
    if (!is_all_confirmed(f))
        ask_after(f, HEARTBEAT_MS);
    else if (!is_news && f->answered_us - f->sent_us < QUIET_MS * 1000)
        ask_after(f, f->is_kicked ? RETRY_MIN_MS : QUIET_MS);
    else
        ask(f);
}

void follower_confirm(struct follower *f, const char *cursor)
{
    if (strcmp(cursor, f->confirmed) == 0)
        return;
    set_text(&f->confirmed, cursor);
    if (f->answered_us != 0)
        ask(f); /* not while one is under way: that one's answer is followed by the next */
}

void follower_kick(struct follower *f)
{
    int64_t since_ms = (clock_mono_us() - f->sent_us) / 1000;
    if (f->is_closing || !is_all_confirmed(f))
        return;
    if (f->call != NULL)
        f->is_kicked = true;
    else
        ask_after(f, since_ms < RETRY_MIN_MS ? (unsigned)(RETRY_MIN_MS - since_ms) : 0);
}

const char *follower_confirmed(const struct follower *f)
{
    return f->confirmed;
}

int64_t follower_answered_us(const struct follower *f)
{
    return f->answered_us;
}

struct follower *follower_open(const struct follower_options *o)
{
    struct follower *f = mem_alloc(sizeof(*f));
    f->options = *o;
    f->confirmed = mem_strdup(o->confirmed);
    f->seen = mem_strdup(o->confirmed);
    f->retry_ms = RETRY_MIN_MS;
    uv_timer_init(o->loop, &f->timer);
    f->timer.data = f;
    ask(f);
    return f;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct follower *f = handle->data;
    free(f->confirmed);
    free(f->seen);
    free(f);
}

void follower_close(struct follower *f)
{
    if (f == NULL || f->is_closing)
        return;
    f->is_closing = true;
    if (f->call != NULL)
        http_call_cancel(TAKE(f->call));
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}
