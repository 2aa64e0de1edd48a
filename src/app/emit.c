/* Commands: queued, decided as one batch (batch.c), appended (append.c), answered in their order when the model has
 * folded what they wrote. */
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
    return e->n - e->base;
}

size_t app_queued(const struct app *a)
{
    return a->commands_n;
}

/* --- queueing --- */

static struct app_command *queue(struct app *a, app_decide_fn decide, void *ctx, app_done_fn done)
{
    struct app_command *c = mem_alloc(sizeof(*c));
    *c = (struct app_command){.decide = decide, .done = done, .ctx = ctx};
    TAILQ_INSERT_TAIL(&a->commands, c, link);
    a->commands_n++;
    app_soon(a);
    return c;
}

void app_emit(struct app *a, app_decide_fn decide, void *ctx, app_done_fn done)
{
    (void)queue(a, decide, ctx, done);
}

void app_emit_once(struct app *a, struct id id, app_decide_fn decide, void *ctx, app_done_fn done)
{
    queue(a, decide, ctx, done)->once = id;
}

void app_emit_if(struct app *a, app_if_fn holds, const struct app_event *event, void *ctx, app_done_fn done)
{
    struct app_command *c = queue(a, NULL, ctx, done);
    c->holds = holds;
    c->once = event->id;
    app_events_add(&c->given, event->type, event->id, event->payload);
}

void app_emit_event(struct app *a, const struct app_event *event, void *ctx, app_done_fn done)
{
    app_emit_if(a, NULL, event, ctx, done);
}

void app_emit_at(struct app *a, int64_t at_us, const struct app_event *event, void *ctx, app_done_fn done)
{
    struct app_command *c = queue(a, NULL, ctx, done);
    app_events_add_timer(&c->given, at_us, event);
    c->once = c->given.items[0].id;
}

void app_cancel_at(struct app *a, struct id timer, void *ctx, app_done_fn done)
{
    struct app_command *c = queue(a, NULL, ctx, done);
    c->timer = timer;
    app_events_cancel_timer(&c->given, timer);
}

/* --- answering --- */

void emit_answer(struct app *a, struct app_commands *list, struct app_command *c)
{
    TAILQ_REMOVE(list, c, link);
    a->commands_n--;
    a->counts.commands++;
    a->counts.commands_failed += c->rc != OK;
    struct store_pos pos = c->found.seq > 0 ? c->found : c->answer_at;
    struct app_position at = {app_output(a)->log, pos.seq, pos.sum};
    struct app_command taken = *c;
    events_done(&c->given);
    free(c);
    if (taken.done != NULL)
        taken.done(taken.ctx, taken.rc, &at, &taken.err);
}

void emit_answer_err(struct app *a, struct app_commands *list, struct app_command *c, const struct errinfo *err)
{
    c->rc = err->code;
    c->err = *err;
    c->found = (struct store_pos){0};
    c->answer_at = app_output(a)->at;
    emit_answer(a, list, c);
}

static void fail_list(struct app *a, struct app_commands *list, const struct errinfo *why)
{
    struct app_command *last = TAILQ_LAST(list, app_commands);
    while (!TAILQ_EMPTY(list)) { /* what callbacks add meanwhile is answered in the next turn */
        struct app_command *c = TAILQ_FIRST(list);
        bool is_last = c == last;
        emit_answer_err(a, list, c, why);
        if (is_last && a->state != APP_CLOSING)
            break;
    }
}

void emit_fail_all(struct app *a, const struct errinfo *why)
{
    fail_list(a, &a->written, why);
    fail_list(a, &a->commands, why);
}

bool emit_answer_decided(struct app *a)
{
    bool is_any = false;
    struct app_command *c = NULL;
    /* A callback may add to the end of the list, never to what is in the batch. */
    while (a->batch.commands_n > 0 && (c = TAILQ_FIRST(&a->commands))->answer_at.seq == 0) {
        a->batch.commands_n--;
        c->answer_at = app_output(a)->at;
        emit_answer(a, &a->commands, c);
        is_any = true;
    }
    return is_any;
}

void emit_on_folded(struct app *a, const struct store_record *r)
{
    struct app_command *c = NULL;
    TAILQ_FOREACH(c, &a->written, link)
    {
        if (c->answer_at.seq > r->seq)
            break;
        if (c->answer_at.seq == r->seq)
            c->answer_at.sum = r->e.sum;
    }
}

void emit_after_fold(struct app *a)
{
    struct app_command *c = NULL;
    while ((c = TAILQ_FIRST(&a->written)) != NULL && app_output(a)->at.seq >= c->answer_at.seq)
        emit_answer(a, &a->written, c);
}

/* --- deciding --- */

bool emit_is_due(struct app *a)
{
    if (a->state != APP_LIVE || app_output(a)->at.seq < a->written_seq || !inputs_empty(a))
        return false;
    /* Behind what was folded the store must take an event: another store's clock may be ahead of it. */
    if (a->inputs_n > 1 && a->last_time.instant_ns / 1000 > app_clock_us(a) + APP_SETTLE_US / 2)
        return false;
    return !TAILQ_EMPTY(&a->commands) || timers_next_us(a) <= app_clock_us(a) || due_next(a, NULL) != NULL;
}

static void find_work(uv_work_t *req)
{
    struct app *a = req->data;
    const struct app_command *c = TAILQ_FIRST(&a->commands);
    a->found_seq = 0;
    a->work_rc = store_find_id(app_output(a)->store, 0, c->once, &a->found_seq, &a->work_err);
}

static void on_found(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    a->work = WORK_NONE;
    struct app_command *c = TAILQ_FIRST(&a->commands);
    if (a->work_rc == ERR_NOT_FOUND) {
        c->is_searched = true;
        c->searched_seq = app_output(a)->at.seq;
    } else if (a->work_rc != OK) {
        emit_answer_err(a, &a->commands, c, &a->work_err);
    } else if (a->found_seq <= app_output(a)->at.seq) { /* else the fold meets it soon */
        c->rc = OK;
        c->found = (struct store_pos){a->found_seq, 0};
        emit_answer(a, &a->commands, c);
    } else {
        inputs_hint(a);
        a->is_fresh = false;
    }
    app_tick(a);
}

bool emit_step(struct app *a)
{
    if (!emit_is_due(a))
        return false;
    if (!a->is_fresh && !a->is_troubled) { /* others may have written: look before deciding */
        app_output(a)->has_news = true;
        if (a->inputs_n > 1)
            inputs_hint(a);
        return true;
    }
    struct app_command *search = NULL;
    batch_decide(a, &search);
    bool has_events = a->batch.events.n > 0;
    size_t due_n = a->batch.commands_n;
    if (has_events)
        append_start(a);
    else if (search != NULL)
        app_work_start(a, WORK_FIND, find_work, on_found);
    else
        app_drop_hold(a);
    bool is_answered = search == NULL && emit_answer_decided(a);
    return has_events || search != NULL || is_answered || due_n > 0;
}
