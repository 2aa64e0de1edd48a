/* One append of a batch, and what became of it.
 *
 * Happy path: append (pool) -> what was written is queued as if it had been read -> folded -> commands answered.
 * The store may take only the first groups of the batch: the others are decided anew behind them. A conflict -> read
 * the news, decide again (at most APP_ATTEMPTS_MAX times). The answer was lost (ERR_IO): still in the pool the store is
 * opened anew and searched for the last event of each group. Found: read back and answered as if nothing had happened.
 * Not found: it was not written, ERR_UNAVAILABLE. It is not tried again here: whoever asked knows whether it is still
 * wanted. What is due is tried again at the next poll.
 *
 * The append runs in uv's pool although it blocks for 0.1 to 5 ms only: a disk that hangs must not stop health checks
 * and long polls, and the way there and back costs some 20 us. */
#include "app/inside.h"

#include "base/clock.h"
#include "base/own.h"

/* Behind everything that was folded, so that it stands behind what it was decided on in every replay. */
static void set_times(struct app *a)
{
    struct event_time last = a->last_time;
    int64_t now_ns = store_clock_us(app_output(a)->store) * 1000;
    for (size_t i = 0; i < a->batch.events.n; i++) {
        struct store_event *e = &a->batch.events.items[i];
        e->has_time = true;
        e->time = last = event_time_next(last, now_ns);
    }
}

/* After a lost answer: which groups are in the log? */
static void look_back(struct app *a, const struct errinfo *lost)
{
    struct app_batch *b = &a->batch;
    struct store *s = app_output(a)->store;
    uint64_t from = app_output(a)->at.seq;
    struct errinfo err = {0};
    enum err rc = store_reopen(s, NULL, &err);
    b->taken = 0;
    for (; rc == OK && b->taken < b->groups_n; b->taken += rc == OK) {
        const struct app_group *g = &b->groups[b->taken];
        rc = store_find_id(s, from, b->events.items[g->from + g->n - 1].id, &a->found_seq, &err);
        from = rc == OK ? a->found_seq : from;
    }
    if (rc != OK && rc != ERR_NOT_FOUND) { /* perhaps some, perhaps none */
        a->found_seq = 0;
        app_output(a)->must_reopen = true;
    } else if (a->found_seq == 0) {
        a->work_rc = err_set(&a->work_err, ERR_UNAVAILABLE, "nothing was written: %s", lost->msg);
    }
}

static void append_work(uv_work_t *req)
{
    struct app *a = req->data;
    struct app_batch *b = &a->batch;
    a->found_seq = 0;
    app_output(a)->began_us = clock_mono_us();
    if (a->inputs_n > 1)
        set_times(a);
    a->work_rc = store_append_many(app_output(a)->store, app_output(a)->at, b->parts, b->groups_n, a->records,
                                   &b->taken, &a->work_err);
    a->append_took_us = clock_mono_us() - app_output(a)->began_us;
    if (a->work_rc == ERR_IO) {
        struct errinfo lost = a->work_err;
        look_back(a, &lost);
    }
}

/* Events of the groups that were taken. */
static size_t events_taken(const struct app_batch *b)
{
    const struct app_group *last = &b->groups[b->taken - 1];
    return last->from + last->n;
}

/* Commands whose events, and those before them, are in the log: answered when the model is there. Refusals that were
 * decided behind them too. */
static void move_written(struct app *a, size_t events_n)
{
    struct app_batch *b = &a->batch;
    uint64_t base = app_output(a)->at.seq;
    while (b->commands_n > 0 && TAILQ_FIRST(&a->commands)->answer_at.seq <= events_n) {
        struct app_command *c = TAILQ_FIRST(&a->commands);
        b->commands_n--;
        c->answer_at = (struct store_pos){base + c->answer_at.seq, 0};
        TAILQ_REMOVE(&a->commands, c, link);
        TAILQ_INSERT_TAIL(&a->written, c, link);
    }
    a->written_seq = base + events_n;
    a->counts.events_out += events_n;
    a->counts.appends++;
}

/* The first group was refused by the store itself. */
static void refuse_first(struct app *a)
{
    struct app_batch *b = &a->batch;
    struct app_command *c = b->groups[0].of;
    if (c != NULL) {
        emit_answer_err(a, &a->commands, c, &a->work_err);
        return;
    }
    struct app_due *d = NULL;
    HASH_FIND(hh, a->dues, &b->events.items[0].id, sizeof(struct id), d);
    if (d != NULL)
        due_refused(a, d, &a->work_err);
}

static void conflict(struct app *a)
{
    struct app_batch *b = &a->batch;
    a->counts.conflicts++;
    struct app_command *c = TAILQ_FIRST(&a->commands), *next = NULL;
    for (; b->commands_n > 0; b->commands_n--, c = next) {
        next = TAILQ_NEXT(c, link);
        a->must_hold = a->must_hold || c->attempts >= APP_HOLD_AFTER;
        if (c->attempts >= APP_ATTEMPTS_MAX)
            emit_answer_err(a, &a->commands, c, &a->work_err);
    }
    /* What is due counts with the commands: it is held for as well. */
    a->conflicts_of_dues = b->groups[0].of == NULL ? a->conflicts_of_dues + 1 : 0;
    a->must_hold = a->must_hold || a->conflicts_of_dues >= APP_HOLD_AFTER;
    if (a->conflicts_of_dues >= APP_ATTEMPTS_MAX) {
        a->conflicts_of_dues = 0;
        a->dues_rest_ms = uv_now(a->loop) + APP_POLL_MS;
    }
}

static void fail_batch(struct app *a)
{
    struct app_batch *b = &a->batch;
    a->append_trouble = a->work_err;
    a->append_failures++;
    for (; b->commands_n > 0; b->commands_n--)
        emit_answer_err(a, &a->commands, TAILQ_FIRST(&a->commands), &a->work_err);
    a->dues_rest_ms = uv_now(a->loop) + APP_POLL_MS;
}

/* Durable; nobody is told of changes any more. */
static void answer_closing(struct app *a)
{
    while (!TAILQ_EMPTY(&a->written))
        emit_answer(a, &a->written, TAILQ_FIRST(&a->written));
}

static void on_append(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    bool is_closing = a->state == APP_CLOSING;
    enum err rc = a->work_rc;
    a->work = WORK_NONE;
    a->is_fresh = rc == OK && a->inputs_n == 1;
    a->counts.append_took_us = a->append_took_us;
    a->counts.appended_us = clock_mono_us();
    a->is_held = false; /* whatever the append answered */
    if (rc == OK || a->found_seq > 0) {
        size_t n = events_taken(&a->batch);
        a->append_trouble = (struct errinfo){0};
        a->conflicts_of_dues = 0;
        move_written(a, n);
        if (is_closing)
            answer_closing(a);
        else if (rc == OK)
            inputs_take_written(a, n);
        if (rc == OK)
            a->looked_us = app_output(a)->began_us;
    } else if (rc == ERR_CONFLICT) {
        conflict(a);
    } else if (rc == ERR_INVALID || rc == ERR_LIMIT) {
        refuse_first(a);
    } else {
        fail_batch(a);
    }
    if (rc != OK)
        app_output(a)->has_news = true; /* whatever it was, the log may have moved */
    batch_clear(a);
    app_tick(a);
}

void append_start(struct app *a)
{
    struct app_batch *b = &a->batch;
    a->records = mem_realloc(a->records, b->events.n * sizeof(*a->records));
    b->parts = mem_realloc(b->parts, b->groups_n * sizeof(*b->parts));
    for (size_t i = 0; i < b->groups_n; i++)
        b->parts[i] = (struct store_group){&b->events.items[b->groups[i].from], b->groups[i].n};
    app_work_start(a, WORK_APPEND, append_work, on_append);
}
