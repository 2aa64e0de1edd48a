/* Life of a process: read, fold, tell.
 *
 * Happy path: app_open -> read (pool) -> fold -> read … -> nothing more: live, on_live -> a hint of growth -> read ->
 * fold -> on_change …; between reads emit.c decides and appends. One call of the store is under way at a time (`work`),
 * everything else happens in app_tick, which is called by the loop only. Failures: a record is refused or damaged, or
 * the log was rewritten -> stalled for good. Reading fails otherwise -> app_trouble, opened anew and tried again at the
 * next poll. */
#include "app/inside.h"

#include <assert.h>

#include "base/own.h"

static void read_work(uv_work_t *req)
{
    struct app *a = req->data;
    a->work_rc = a->must_reopen ? store_reopen(a->store, NULL, &a->work_err) : OK;
    if (a->work_rc != OK)
        return;
    a->must_reopen = false;
    if (a->must_hold)
        a->is_held = store_hold(a->store, NULL) == OK; /* without it: perhaps another conflict */
    a->must_hold = false;
    a->work_rc = store_read(a->store, a->at.seq, a->opt.on_step != NULL ? 1 : APP_READ_RECORDS, APP_READ_BYTES,
                            &a->batch, &a->work_err);
}

static void arm_wake(struct app *a);

static void go_live(struct app *a)
{
    a->state = APP_LIVE;
    arm_wake(a);
}

/* What the pool's read brought, or not. */
static enum err check_read(struct app *a, struct errinfo *err)
{
    if (a->work_rc != OK) {
        *err = a->work_err;
        return a->work_rc;
    }
    if (a->batch.after.sum != a->at.sum)
        return err_set(err, ERR_CORRUPT, "log '%s' was rewritten: seq %llu is not the event that was folded",
                       store_name(a->store), (unsigned long long)a->at.seq);
    return OK;
}

static void on_read(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    struct errinfo err = {0};
    a->work = WORK_NONE;
    enum err rc = check_read(a, &err);
    a->is_troubled = rc != OK;
    a->trouble = err;
    if (rc == ERR_IO || rc == ERR_UNAVAILABLE || rc == ERR_CANCELLED || rc == ERR_DENIED)
        a->must_reopen = true; /* by the next poll */
    else if (rc != OK)
        app_stall(a, &err);
    else
        a->end_seq = a->batch.end.seq;
    if (rc != OK)
        app_drop_hold(a);
    bool is_changed = false;
    for (size_t i = 0; rc == OK && i < a->batch.n && a->state != APP_CLOSING; i++) {
        if (!app_fold(a, &a->batch.items[i]))
            break;
        is_changed = true;
    }
    store_batch_done(&a->batch);
    a->is_fresh = rc == OK && a->at.seq == a->end_seq;
    if (rc == OK && (a->at.seq < a->end_seq || (is_changed && a->opt.on_step != NULL)))
        a->has_news = true;
    else if (rc == OK && a->state == APP_REPLAYING)
        go_live(a);
    emit_after_fold(a);
    wait_settle(a);
    if (is_changed)
        app_tell_change(a);
    if (is_changed && a->opt.on_step != NULL && a->state != APP_STALLED && a->state != APP_CLOSING) {
        a->is_paused = true;
        struct app_position at = app_position(a);
        a->opt.on_step(a->opt.model, &at);
    }
    app_tick(a);
}

void app_work_start(struct app *a, enum app_work kind, uv_work_cb work, uv_after_work_cb after)
{
    assert(a->work == WORK_NONE);
    a->work = kind;
    a->work_req.data = a;
    int rc = uv_queue_work(a->loop, &a->work_req, work, after);
    assert(rc == 0); /* it fails only without a work function */
    (void)rc;
}

bool app_fold(struct app *a, const struct store_record *r)
{
    struct errinfo cause = {0};
    enum err rc = a->opt.apply(a->opt.model, r, &cause);
    if (rc != OK) {
        struct errinfo err;
        char id[ID_TEXT_SIZE];
        id_format(r->e.id, id);
        err_ignore(err_set(&err, ERR_CORRUPT, "%s: event %llu of log '%s' ('%.*s', %s) was refused: %s", a->name,
                           (unsigned long long)r->seq, store_name(a->store), STR_ARG(r->e.type), id, cause.msg));
        app_stall(a, &err);
        return false;
    }
    a->at = (struct store_pos){r->seq, r->e.sum};
    if (a->end_seq < r->seq)
        a->end_seq = r->seq;
    return true;
}

void app_drop_hold(struct app *a)
{
    if (a->is_held)
        store_release(a->store);
    a->is_held = false;
}

static void sweep_gateways(struct app *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->gateways_n; i++)
        if (a->gateways[i].g != NULL)
            a->gateways[n++] = a->gateways[i];
    a->gateways_n = n;
}

void app_stall(struct app *a, const struct errinfo *cause)
{
    if (a->state == APP_STALLED || a->state == APP_CLOSING)
        return;
    a->state = APP_STALLED;
    a->stall = *cause;
    for (size_t i = 0; i < a->gateways_n; i++) {
        const struct gateway *g = a->gateways[i].g;
        if (g != NULL && g->on_stalled != NULL)
            g->on_stalled(g->ctx, &a->stall);
    }
    app_soon(a);
}

void app_tell_change(struct app *a)
{
    struct app_position at = app_position(a);
    for (size_t i = 0; i < a->gateways_n && a->state == APP_LIVE; i++) {
        const struct gateway *g = a->gateways[i].g;
        if (g != NULL && a->gateways[i].is_told_live && g->on_change != NULL)
            g->on_change(g->ctx, &at);
    }
}

static void tell_live(struct app *a)
{
    sweep_gateways(a);
    for (size_t i = 0; i < a->gateways_n && a->state == APP_LIVE; i++) {
        const struct gateway *g = a->gateways[i].g;
        if (g == NULL || a->gateways[i].is_told_live)
            continue;
        a->gateways[i].is_told_live = true;
        if (g->on_live != NULL)
            g->on_live(g->ctx);
    }
}

static void on_wake_timer(uv_timer_t *timer)
{
    struct app *a = timer->data;
    if (a->state != APP_LIVE || a->wake_us > app_clock_us(a)) {
        arm_wake(a);
        return;
    }
    a->wake_us = INT64_MAX;
    a->opt.on_wake(a->opt.model);
}

/* The store's clock may jump, so no sleep is longer than a poll. */
static void arm_wake(struct app *a)
{
    if (a->wake_us == INT64_MAX || a->opt.on_wake == NULL || a->state == APP_CLOSING) {
        (void)uv_timer_stop(&a->wake_timer);
        return;
    }
    int64_t now = app_clock_us(a);
    uint64_t ms = a->wake_us <= now ? 0 : ((uint64_t)a->wake_us - (uint64_t)now + 999) / 1000;
    if (a->state != APP_LIVE || ms > APP_POLL_MS)
        ms = APP_POLL_MS;
    (void)uv_timer_start(&a->wake_timer, on_wake_timer, ms, 0);
}

void app_wake_at(struct app *a, int64_t instant_us)
{
    a->wake_us = instant_us;
    arm_wake(a);
}

static void on_growth(void *ctx)
{
    struct app *a = ctx;
    a->has_news = true;
    app_tick(a);
}

static void on_poll(uv_timer_t *timer)
{
    on_growth(timer->data);
}

static void on_soon(uv_idle_t *idle)
{
    (void)uv_idle_stop(idle);
    app_tick(idle->data);
}

void app_soon(struct app *a)
{
    if (!a->is_finishing)
        (void)uv_idle_start(&a->soon, on_soon);
}

static void fail_rest(struct app *a)
{
    struct errinfo why;
    err_ignore(err_set(&why, ERR_CANCELLED, "%s is closing", a->name));
    emit_fail_all(a, &why);
    wait_settle(a);
}

static void finish(struct app *a)
{
    fail_rest(a); /* what came since the handles began to close */
    void (*closed)(void *) = a->closed;
    void *ctx = a->closed_ctx;
    for (size_t i = 0; i < a->opt.inputs_n; i++)
        store_close(a->opt.inputs[i]);
    arena_done(&a->events.texts);
    free(a->events.items);
    free(a->records);
    free(a->gateways);
    free(a->opt.inputs);
    free(a);
    if (closed != NULL)
        closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct app *a = handle->data;
    if (--a->handles_open == 0)
        finish(a);
}

static void finish_soon(struct app *a)
{
    fail_rest(a);
    if (a->is_finishing)
        return;
    a->is_finishing = true;
    uv_close((uv_handle_t *)&a->soon, on_handle_closed);
    uv_close((uv_handle_t *)&a->poll_timer, on_handle_closed);
    uv_close((uv_handle_t *)&a->wake_timer, on_handle_closed);
    uv_close((uv_handle_t *)&a->wait_timer, on_handle_closed);
}

void app_tick(struct app *a)
{
    while (a->work == WORK_NONE) {
        if (a->state != APP_LIVE)
            app_drop_hold(a);
        if (a->state == APP_CLOSING) {
            finish_soon(a);
            return;
        }
        wait_settle(a);
        if (a->state == APP_STALLED) {
            struct errinfo why;
            err_ignore(err_set(&why, ERR_UNAVAILABLE, "%s", a->stall.msg));
            emit_fail_all(a, &why);
            if (a->state == APP_STALLED)
                return;
        } else if (a->is_paused) {
            return;
        } else if (a->has_news && !(a->is_fresh && emit_is_due(a))) {
            /* On a log that grows all the time there always is a hint of news: commands come first, the append notices.
             */
            a->has_news = false;
            app_work_start(a, WORK_READ, read_work, on_read);
        } else {
            tell_live(a);
            if (!emit_step(a) && !a->has_news && a->state != APP_CLOSING)
                return;
        }
    }
}

static void init_handle(struct app *a, uv_handle_t *handle)
{
    handle->data = a;
    a->handles_open++;
}

enum err app_open(struct uv_loop_s *loop, const struct app_options *opt, struct app **ret_app, struct errinfo *err)
{
    if (opt->inputs_n == 0 || opt->inputs_n > 1)
        return err_set(err, ERR_INVALID, "%s has %zu input logs, this version folds one", opt->name, opt->inputs_n);
    struct app *a = mem_alloc(sizeof(*a));
    *a = (struct app){.name = opt->name,
                      .loop = loop,
                      .opt = *opt,
                      .store = opt->inputs[0],
                      .log = store_log_id(opt->inputs[0]),
                      .at = opt->from,
                      .end_seq = opt->from.seq,
                      .has_news = true,
                      .wake_us = INT64_MAX};
    enum err rc = store_watch(a->store, loop, on_growth, a, &a->watch, err);
    if (rc != OK) {
        free(a);
        return rc;
    }
    a->opt.inputs = mem_calloc(opt->inputs_n, sizeof(*a->opt.inputs));
    memcpy(a->opt.inputs, opt->inputs, opt->inputs_n * sizeof(*a->opt.inputs));
    TAILQ_INIT(&a->commands);
    TAILQ_INIT(&a->waits);
    TAILQ_INIT(&a->settled);
    /* These cannot fail: they only fill the handle. */
    (void)uv_idle_init(loop, &a->soon);
    (void)uv_timer_init(loop, &a->poll_timer);
    (void)uv_timer_init(loop, &a->wake_timer);
    (void)uv_timer_init(loop, &a->wait_timer);
    init_handle(a, (uv_handle_t *)&a->soon);
    init_handle(a, (uv_handle_t *)&a->poll_timer);
    init_handle(a, (uv_handle_t *)&a->wake_timer);
    init_handle(a, (uv_handle_t *)&a->wait_timer);
    (void)uv_timer_start(&a->poll_timer, on_poll, APP_POLL_MS, APP_POLL_MS);
    app_soon(a);
    *ret_app = a;
    return OK;
}

void app_close(struct app *a, void (*closed)(void *ctx), void *ctx)
{
    if (a->state == APP_CLOSING)
        return;
    a->closed = closed;
    a->closed_ctx = ctx;
    a->state = APP_CLOSING;
    store_cancel(a->store);
    store_unwatch(a->watch);
    a->watch = NULL;
    (void)uv_timer_stop(&a->poll_timer);
    (void)uv_timer_stop(&a->wake_timer);
    app_soon(a);
}

enum app_state app_state(const struct app *a)
{
    return a->state;
}

const char *app_state_name(enum app_state s)
{
    static const char *const NAMES[] = {"replaying", "live", "stalled", "closing"};
    return NAMES[s];
}

bool app_is_live(const struct app *a)
{
    return a->state == APP_LIVE;
}

const struct errinfo *app_stall_cause(const struct app *a)
{
    return a->stall.code == OK ? NULL : &a->stall;
}

void app_step_done(struct app *a)
{
    a->is_paused = false;
    app_soon(a);
}

const struct errinfo *app_trouble(const struct app *a)
{
    return a->is_troubled ? &a->trouble : NULL;
}

struct app_position app_position(const struct app *a)
{
    return (struct app_position){.log = a->log, .seq = a->at.seq, .sum = a->at.sum};
}

uint64_t app_end_seq(const struct app *a)
{
    return a->end_seq;
}

int64_t app_clock_us(struct app *a)
{
    return store_clock_us(a->store);
}

void app_add_gateway(struct app *a, const struct gateway *g)
{
    a->gateways = mem_realloc(a->gateways, (a->gateways_n + 1) * sizeof(*a->gateways));
    a->gateways[a->gateways_n++] = (struct app_gateway){.g = g};
    app_soon(a);
}

void app_remove_gateway(struct app *a, const struct gateway *g)
{
    for (size_t i = 0; i < a->gateways_n; i++)
        if (a->gateways[i].g == g)
            a->gateways[i].g = NULL;
}
