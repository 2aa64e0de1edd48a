/* Commands: decide on the model at its end, append on condition, fold, answer.
 *
 * Happy path: app_emit queues -> emit_decide -> append (pool) -> fold what was written -> done.
 * Failures: a conflict -> read the news, decide again (at most APP_ATTEMPTS_MAX times). The answer was lost (ERR_IO):
 * still in the pool the store is opened anew and searched for the last event's id. Found: done once it was read and
 * folded. Not found: it was not written, ERR_UNAVAILABLE. It is not tried again here: whoever asked knows whether it is
 * still wanted.
 *
 * The append runs in uv's pool although it blocks for 0.1 to 5 ms only: a disk that hangs must not stop health checks
 * and long polls, and the way there and back costs some 20 us. */
#include "app/inside.h"

#include "base/own.h"

void app_events_add(struct app_events *e, struct str type, struct id id, struct str payload)
{
    if (e->n == e->size) {
        e->size = e->size == 0 ? 8 : e->size * 2;
        e->items = mem_realloc(e->items, e->size * sizeof(*e->items));
    }
    e->items[e->n++] =
        (struct store_event){.type = arena_str(&e->texts, type), .id = id, .payload = arena_str(&e->texts, payload)};
}

void app_events_add_event(struct app_events *e, const struct event *event)
{
    AUTO(buf) struct buf payload = {0};
    event_encode_payload(event, &payload);
    app_events_add(e, str_from(event_kind_row(event->kind)->name), event->id, buf_str(&payload));
}

size_t app_events_n(const struct app_events *e)
{
    return e->n;
}

static void events_clear(struct app_events *e)
{
    e->n = 0;
    arena_done(&e->texts);
}

size_t app_queued(const struct app *a)
{
    return a->commands_n;
}

void app_emit(struct app *a, app_decide_fn decide, void *ctx, app_done_fn done)
{
    struct app_command *c = mem_alloc(sizeof(*c));
    *c = (struct app_command){.decide = decide, .done = done, .ctx = ctx};
    TAILQ_INSERT_TAIL(&a->commands, c, link);
    a->commands_n++;
    app_soon(a);
}

/* Answer the command and forget it. */
static void answer(struct app *a, struct app_command *c, enum err rc, const struct errinfo *err)
{
    TAILQ_REMOVE(&a->commands, c, link);
    a->commands_n--;
    if (a->lost == c)
        a->lost = NULL;
    struct app_position at = app_position(a);
    struct app_command taken = *c;
    free(c);
    if (taken.done != NULL)
        taken.done(taken.ctx, rc, &at, err);
}

static void answer_ok(struct app *a, struct app_command *c)
{
    answer(a, c, OK, &(struct errinfo){0});
}

void emit_fail_all(struct app *a, const struct errinfo *why)
{
    struct app_command *last = TAILQ_LAST(&a->commands, app_commands);
    while (!TAILQ_EMPTY(&a->commands)) { /* what callbacks add meanwhile is answered in the next turn */
        struct app_command *c = TAILQ_FIRST(&a->commands);
        bool is_last = c == last;
        answer(a, c, why->code, why);
        if (is_last && a->state != APP_CLOSING)
            break;
    }
}

static void append_work(uv_work_t *req)
{
    struct app *a = req->data;
    a->found_seq = 0;
    struct app_events *e = &a->events;
    a->work_rc = store_append(a->store, a->at, e->items, e->n, a->records, &a->work_err);
    if (a->work_rc != ERR_IO)
        return;
    struct errinfo err = {0}, lost = a->work_err;
    enum err rc = store_reopen(a->store, NULL, &err);
    if (rc == OK)
        rc = store_find_id(a->store, a->at.seq, e->items[e->n - 1].id, &a->found_seq, &err);
    if (rc == ERR_NOT_FOUND)
        a->work_rc = err_set(&a->work_err, ERR_UNAVAILABLE, "nothing was written: %s", lost.msg);
    else if (rc != OK)
        a->must_reopen = true;
}

/* The pool says that it is in the log: fold what was written. */
static void fold_written(struct app *a, struct app_command *c)
{
    for (size_t i = 0; i < a->events.n; i++) {
        if (!app_fold(a, &a->records[i])) {
            answer(a, c, ERR_CORRUPT, &a->stall);
            return;
        }
    }
    answer_ok(a, c);
}

static void on_append(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    struct app_command *c = TAILQ_FIRST(&a->commands);
    a->work = WORK_NONE;
    struct store_pos before = a->at;
    bool is_closing = a->state == APP_CLOSING;
    a->is_fresh = a->work_rc == OK;
    a->is_held = false; /* whatever the append answered */
    a->must_hold = a->work_rc == ERR_CONFLICT && c->attempts >= APP_HOLD_AFTER;
    if (a->work_rc == OK && !is_closing) {
        fold_written(a, c);
    } else if (is_closing && (a->work_rc == OK || a->found_seq > 0)) {
        answer_ok(a, c); /* durable; nobody is told of changes any more */
    } else if (a->found_seq > 0) {
        a->lost = c;
        a->has_news = true;
    } else if (a->work_rc == ERR_CONFLICT && (is_closing || c->attempts < APP_ATTEMPTS_MAX)) {
        a->has_news = true; /* it stays the first */
    } else {
        answer(a, c, a->work_rc, &a->work_err);
        a->has_news = true; /* whatever it was, the log may have moved */
    }
    events_clear(&a->events);
    wait_settle(a);
    if (a->at.seq != before.seq)
        app_tell_change(a);
    app_tick(a);
}

void emit_after_fold(struct app *a)
{
    if (a->lost != NULL && a->at.seq >= a->found_seq)
        answer_ok(a, a->lost);
}

static enum err emit_decide(struct app *a, struct app_command *c, struct errinfo *err)
{
    c->attempts++;
    events_clear(&a->events);
    return c->decide(c->ctx, a->opt.model, &a->events, err);
}

bool emit_is_due(const struct app *a)
{
    return !TAILQ_EMPTY(&a->commands) && a->state == APP_LIVE && a->lost == NULL;
}

bool emit_step(struct app *a)
{
    if (!emit_is_due(a))
        return false;
    struct app_command *c = TAILQ_FIRST(&a->commands);
    struct errinfo err = {0};
    enum err rc = emit_decide(a, c, &err);
    if (rc != OK || a->events.n == 0) {
        events_clear(&a->events);
        app_drop_hold(a);
        answer(a, c, rc, &err);
        return true;
    }
    a->records = mem_realloc(a->records, a->events.n * sizeof(*a->records));
    app_work_start(a, WORK_APPEND, append_work, on_append);
    return true;
}
