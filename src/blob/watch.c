#include "blob/watch.h"

#include <stdlib.h>

#include "base/mem.h"

struct blob_watch {
    struct blob_store *store;
    void (*told)(void *ctx, const struct errinfo *err);
    void *ctx;
    uv_timer_t timer;
    uv_work_t work;
    struct errinfo err;
    enum err known;
    bool is_known, is_busy, is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void check_work(uv_work_t *work)
{
    struct blob_watch *w = work->data;
    if (blob_check(w->store, &w->err) == OK)
        w->err = (struct errinfo){0};
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct blob_watch *w = handle->data;
    if (w->closed != NULL)
        w->closed(w->closed_ctx);
    free(w);
}

static void on_checked(uv_work_t *work, int status)
{
    struct blob_watch *w = work->data;
    (void)status; /* never cancelled */
    w->is_busy = false;
    if (w->is_closing) {
        uv_close((uv_handle_t *)&w->timer, on_timer_closed);
        return;
    }
    bool is_news = !w->is_known || w->known != w->err.code;
    w->is_known = true;
    w->known = w->err.code;
    if (is_news)
        w->told(w->ctx, &w->err);
}

static void on_timer(uv_timer_t *timer)
{
    struct blob_watch *w = timer->data;
    if (w->is_busy)
        return;
    w->is_busy = true;
    w->err = (struct errinfo){0};
    (void)uv_queue_work(timer->loop, &w->work, check_work, on_checked); /* fails only without a work function */
}

struct blob_watch *blob_watch_new(uv_loop_t *loop, struct blob_store *store,
                                  void (*told)(void *ctx, const struct errinfo *err), void *ctx)
{
    struct blob_watch *w = mem_alloc(sizeof(*w));
    *w = (struct blob_watch){.store = store, .told = told, .ctx = ctx};
    w->timer.data = w->work.data = w;
    (void)uv_timer_init(loop, &w->timer);
    (void)uv_timer_start(&w->timer, on_timer, 0, BLOB_WATCH_EVERY_MS);
    return w;
}

void blob_watch_close(struct blob_watch *w, void (*closed)(void *ctx), void *ctx)
{
    if (w == NULL) {
        closed(ctx);
        return;
    }
    w->is_closing = true;
    w->closed = closed;
    w->closed_ctx = ctx;
    (void)uv_timer_stop(&w->timer);
    if (!w->is_busy)
        uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}
