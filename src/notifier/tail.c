#include "notifier/tail.h"

#include "base/mem.h"
#include "base/own.h"

struct tail {
    struct tail_options o;
    struct store_watch *watch;
    uv_timer_t timer;
    uv_work_t work;
    struct store_pos at;
    struct store_batch batch;
    struct id log;
    enum err rc;
    struct errinfo why;
    uint64_t retry_at_ms; /* of the loop's clock, with must_reopen */
    bool is_reading, has_news, must_reopen, is_live, is_troubled, is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void look(struct tail *t);

static void read_work(uv_work_t *work)
{
    struct tail *t = work->data;
    t->rc = t->must_reopen ? store_reopen(t->o.store, NULL, &t->why) : OK;
    if (t->rc != OK)
        return;
    t->must_reopen = false;
    t->rc = store_read(t->o.store, t->at.seq, TAIL_READ_RECORDS, TAIL_READ_BYTES, &t->batch, &t->why);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct tail *t = handle->data;
    store_close(t->o.store);
    if (t->closed != NULL)
        t->closed(t->closed_ctx);
    free(t);
}

static void finish(struct tail *t)
{
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}

static void start_again(struct tail *t)
{
    t->at = (struct store_pos){0};
    t->log = store_log_id(t->o.store);
    t->is_live = false;
    t->has_news = true;
    t->o.on_reset(t->o.ctx);
}

static void say(struct tail *t, bool is_troubled)
{
    if (is_troubled != t->is_troubled)
        t->o.on_trouble(t->o.ctx, is_troubled ? &t->why : NULL);
    t->is_troubled = is_troubled;
}

/* Another log stands here, or the same one was rewritten behind what was read. */
static bool is_another(const struct tail *t)
{
    return !id_eq(t->log, store_log_id(t->o.store)) || (t->at.seq > 0 && t->batch.after.sum != t->at.sum);
}

static void take(struct tail *t)
{
    bool has_records = t->batch.n > 0;
    for (size_t i = 0; i < t->batch.n; i++) {
        const struct store_record *r = &t->batch.items[i];
        t->o.on_record(t->o.ctx, r);
        t->at = (struct store_pos){r->seq, r->e.sum};
    }
    if (t->at.seq < t->batch.end.seq) {
        t->has_news = true;
    } else if (has_records || !t->is_live) {
        t->is_live = true;
        t->o.on_end(t->o.ctx);
    }
}

static void on_read(uv_work_t *work, int status)
{
    (void)status;
    struct tail *t = work->data;
    t->is_reading = false;
    if (t->is_closing) {
        store_batch_done(&t->batch);
        finish(t);
        return;
    }
    if (t->rc == ERR_NOT_FOUND || (t->rc == OK && is_another(t))) {
        start_again(t);
    } else if (t->rc == OK) {
        say(t, false);
        take(t);
    } else {
        t->must_reopen = true;
        t->retry_at_ms = uv_now(t->o.loop) + TAIL_RETRY_MS;
        say(t, true);
    }
    store_batch_done(&t->batch);
    if (t->has_news && t->rc == OK && !t->is_closing)
        look(t); /* else at the next poll */
}

static void look(struct tail *t)
{
    t->has_news = true;
    if (t->is_reading || t->is_closing)
        return;
    t->has_news = false;
    t->is_reading = true;
    t->batch = (struct store_batch){0};
    (void)uv_queue_work(t->o.loop, &t->work, read_work, on_read); /* fails only without a work function */
}

static void on_timer(uv_timer_t *timer)
{
    struct tail *t = timer->data;
    if (!t->must_reopen || uv_now(t->o.loop) >= t->retry_at_ms)
        look(t);
}

static void on_growth(void *ctx)
{
    struct tail *t = ctx;
    if (t->must_reopen)
        return; /* at its own pace */
    look(t);
}

enum err tail_open(const struct tail_options *o, struct tail **ret, struct errinfo *err)
{
    struct tail *t = mem_alloc(sizeof(*t));
    t->o = *o;
    t->log = store_log_id(o->store);
    enum err rc = store_watch(o->store, o->loop, on_growth, t, &t->watch, err);
    if (rc != OK) {
        free(t);
        return rc;
    }
    (void)uv_timer_init(o->loop, &t->timer); /* cannot fail */
    t->timer.data = t->work.data = t;
    (void)uv_timer_start(&t->timer, on_timer, 0, o->poll_ms);
    *ret = t;
    return OK;
}

struct store_pos tail_at(const struct tail *t)
{
    return t->at;
}

struct id tail_log_id(const struct tail *t)
{
    return t->log;
}

void tail_close(struct tail *t, void (*closed)(void *ctx), void *ctx)
{
    t->is_closing = true;
    t->closed = closed;
    t->closed_ctx = ctx;
    store_cancel(t->o.store);
    store_unwatch(TAKE(t->watch));
    (void)uv_timer_stop(&t->timer);
    if (!t->is_reading)
        finish(t);
}
