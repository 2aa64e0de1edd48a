/* Waiting until the model has folded a position, and positions as opaque text. */
#include "app/inside.h"

#include "base/encode.h"
#include "base/own.h"

static void settle(struct app *a, struct app_wait *w, enum err rc)
{
    TAILQ_REMOVE(w->list, w, link);
    w->rc = rc;
    w->list = &a->settled;
    TAILQ_INSERT_TAIL(&a->settled, w, link);
}

static void on_timer(uv_timer_t *timer)
{
    wait_settle(timer->data);
}

/* Move what is over to `settled`; the timer is set for the next that will be. */
static void sort_out(struct app *a)
{
    uint64_t now = uv_now(a->loop), next = UINT64_MAX;
    for (struct app_wait *w = TAILQ_FIRST(&a->waits), *after; w != NULL; w = after) {
        after = TAILQ_NEXT(w, link);
        if (a->state == APP_CLOSING)
            settle(a, w, ERR_CANCELLED);
        else if (app_output(a)->at.seq >= w->seq)
            settle(a, w, OK);
        else if (a->state == APP_STALLED || now >= w->until_ms)
            settle(a, w, ERR_UNAVAILABLE);
        else if (w->until_ms < next)
            next = w->until_ms;
    }
    if (next == UINT64_MAX)
        (void)uv_timer_stop(&a->wait_timer);
    else
        (void)uv_timer_start(&a->wait_timer, on_timer, next - now, 0);
}

static void say_why(const struct app *a, const struct app_wait *w, struct errinfo *err)
{
    if (w->rc == ERR_CANCELLED)
        err_ignore(err_set(err, w->rc, "%s is closing", a->name));
    else if (w->rc != OK && a->state == APP_STALLED)
        err_ignore(err_set(err, w->rc, "%s", a->stall.msg));
    else if (w->rc != OK)
        err_ignore(err_set(err, w->rc, "behind: %s is at %llu, not yet at %llu", a->name,
                           (unsigned long long)app_output(a)->at.seq, (unsigned long long)w->seq));
}

void wait_settle(struct app *a)
{
    if (TAILQ_EMPTY(&a->waits) && TAILQ_EMPTY(&a->settled))
        return;
    sort_out(a);
    while (!TAILQ_EMPTY(&a->settled)) {
        struct app_wait *w = TAILQ_FIRST(&a->settled);
        TAILQ_REMOVE(&a->settled, w, link);
        struct errinfo err = {0};
        say_why(a, w, &err);
        struct app_wait taken = *w;
        free(w);
        taken.reached(taken.ctx, taken.rc, &err);
    }
}

struct app_wait *app_wait(struct app *a, uint64_t seq, uint64_t timeout_ms, app_reached_fn reached, void *ctx)
{
    struct app_wait *w = mem_alloc(sizeof(*w));
    *w = (struct app_wait){.app = a,
                           .list = &a->waits,
                           .seq = seq,
                           .until_ms = uv_now(a->loop) + timeout_ms,
                           .reached = reached,
                           .ctx = ctx};
    TAILQ_INSERT_TAIL(&a->waits, w, link);
    if (seq > app_output(a)->at.seq)
        app_output(a)->has_news = true; /* somebody saw it in the log: look, the hint may be under way */
    app_soon(a);
    return w;
}

void app_wait_cancel(struct app_wait *w)
{
    TAILQ_REMOVE(w->list, w, link);
    free(w);
}

static void put_u64(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(v >> (56 - 8 * i));
}

void app_cursor_format(const struct app_position *at, char ret_text[static APP_CURSOR_TEXT_SIZE])
{
    uint8_t bytes[24];
    memcpy(bytes, at->log.bytes, 16);
    put_u64(bytes + 16, at->seq);
    AUTO(buf) struct buf text = {0};
    base64url_add(&text, bytes, sizeof(bytes));
    memcpy(ret_text, text.ptr, text.len + 1);
}

enum err app_cursor_parse(struct str text, struct app_position *ret, struct errinfo *err)
{
    AUTO(buf) struct buf bytes = {0};
    if (text.len != 32 || !base64url_parse(text, &bytes) || bytes.len != 24)
        return err_set(err, ERR_INVALID, "'%.*s' is not a cursor: start without one",
                       (int)(text.len < 40 ? text.len : 40), text.ptr == NULL ? "" : text.ptr);
    struct app_position at = {0};
    memcpy(at.log.bytes, bytes.ptr, 16);
    for (int i = 16; i < 24; i++)
        at.seq = at.seq << 8 | (uint8_t)bytes.ptr[i];
    *ret = at;
    return OK;
}
