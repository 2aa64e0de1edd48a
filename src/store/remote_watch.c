/* Waiting for news of a remote log.
 *
 * Happy path: ask -> one call that waits behind what is known -> an answer with records -> changed, and ask again; an
 * answer without any (its wait is over) -> ask again. What the handle's own appends and reads have met is not told.
 * The first call does not wait: it only learns where the log ends. Failures (no answer, refused for too many waits):
 * ask again later and later; a log that ends before what is known was replaced: begin anew. */
#include "store/remote_watch.h"

#include "base/json.h"
#include "base/own.h"
#include "net/http_client.h"

struct remote_watch {
    struct http_client *client;
    uv_timer_t timer;
    char *url;
    const _Atomic uint64_t *known;
    uint64_t end; /* of the log, as last answered or known */
    uint64_t asked_ms;
    bool has_end;
    unsigned back_off_ms, open_handles;
    store_changed_fn changed;
    void *ctx;
};

/* Records are not needed, only that there are some. */
enum { ANSWER_LIMIT = 2 * 1024 * 1024, CONNECT_MS = 3000, ROOM_MS = 10000 };
/* Who answers sooner, and has nothing, does not wait: a node-agent of an older version, a platform that stops. */
enum { WAITED_MS_MIN = 1000 };

static void ask(struct remote_watch *w);

static void on_timer(uv_timer_t *timer)
{
    ask(timer->data);
}

static void ask_later(struct remote_watch *w)
{
    (void)uv_timer_start(&w->timer, on_timer, w->back_off_ms, 0);
    w->back_off_ms =
        w->back_off_ms * 2 > REMOTE_WATCH_BACK_OFF_MS_MAX ? REMOTE_WATCH_BACK_OFF_MS_MAX : w->back_off_ms * 2;
}

static bool end_of(struct str body, uint64_t *ret_end)
{
    auto_json json_t *doc = NULL;
    if (json_parse(body, &doc, NULL) != OK)
        return false;
    const json_t *seq = json_object_get(json_object_get(doc, "end"), "seq");
    if (!json_is_integer(seq) || json_integer_value(seq) < 0)
        return false;
    *ret_end = (uint64_t)json_integer_value(seq);
    return true;
}

static void on_answer(struct http_result *result, void *ctx)
{
    struct remote_watch *w = ctx;
    uint64_t end = 0;
    if (result->status == 404)
        w->has_end = false;
    if (result->code != OK || !end_of(buf_str(&result->body), &end)) {
        ask_later(w);
        return;
    }
    bool is_news = end > atomic_load(w->known), was_waiting = w->has_end, has_grown = end != w->end;
    w->end = end;
    w->has_end = true;
    if (was_waiting && !has_grown && uv_now(w->timer.loop) - w->asked_ms < WAITED_MS_MIN) {
        ask_later(w);
        return;
    }
    w->back_off_ms = REMOTE_WATCH_BACK_OFF_MS;
    ask(w); /* first: `changed` may free it */
    if (is_news)
        w->changed(w->ctx);
}

static void ask(struct remote_watch *w)
{
    uint64_t known = atomic_load(w->known);
    if (known > w->end)
        w->end = known;
    auto_free char *url = w->has_end ? mem_printf("%s?after=%llu&limit=1&wait=%u", w->url, (unsigned long long)w->end,
                                                  REMOTE_WATCH_WAIT_S)
                                     : mem_printf("%s?after=0&limit=1", w->url);
    struct http_call_options call = {.url = url,
                                     .connect_timeout_ms = CONNECT_MS,
                                     .total_timeout_ms = REMOTE_WATCH_WAIT_S * 1000 + ROOM_MS,
                                     .answer_limit_bytes = ANSWER_LIMIT};
    w->asked_ms = uv_now(w->timer.loop);
    (void)http_client_send(w->client, &call, on_answer, w);
}

struct remote_watch *remote_watch_new(uv_loop_t *loop, const char *events_url, const _Atomic uint64_t *known,
                                      store_changed_fn changed, void *ctx)
{
    struct remote_watch *w = mem_alloc(sizeof(*w));
    *w = (struct remote_watch){.client = http_client_new(loop),
                               .url = mem_strdup(events_url),
                               .known = known,
                               .back_off_ms = REMOTE_WATCH_BACK_OFF_MS,
                               .open_handles = 2, /* the client, the timer */
                               .changed = changed,
                               .ctx = ctx};
    (void)uv_timer_init(loop, &w->timer);
    w->timer.data = w;
    ask(w);
    return w;
}

static void handle_closed(struct remote_watch *w)
{
    if (--w->open_handles > 0)
        return;
    free(w->url);
    free(w);
}

static void client_closed(void *ctx)
{
    handle_closed(ctx);
}

static void timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void remote_watch_free(struct remote_watch *w)
{
    http_client_close(w->client, client_closed, w);
    uv_close((uv_handle_t *)&w->timer, timer_closed);
}
