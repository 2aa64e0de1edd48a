/* Reading the input logs, and whose event is next.
 *
 * Happy path: a hint -> inputs_read: one call in the pool reads each input that has news and nothing queued, its clock
 * looked at before -> queued -> inputs_next: the earliest event by (time, index), once no other input can bring an
 * earlier one. Failures: a log that was rewritten, damaged, replaced -> stalled for good; others -> app_trouble, opened
 * anew and tried again at the next poll. An event that stands before what was folded is late: fold_late. */
#include "app/inside.h"

#include "base/clock.h"
#include "base/own.h"

static void on_growth(void *ctx)
{
    struct app_input *in = ctx;
    in->has_news = true;
    app_tick(in->app);
}

void inputs_hint(struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++)
        a->inputs[i].has_news = true;
}

enum err inputs_open(struct app *a, struct errinfo *err)
{
    a->inputs_n = a->opt.inputs_n;
    a->inputs = mem_calloc(a->inputs_n, sizeof(*a->inputs));
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct store *store = a->opt.inputs[i];
        a->inputs[i] = (struct app_input){
            .app = a, .store = store, .log = store_log_id(store), .seen_us = INT64_MIN, .has_news = true};
    }
    a->inputs[0].at = a->inputs[0].read = a->opt.from;
    a->inputs[0].end_seq = a->opt.from.seq;
    enum err rc = OK;
    for (size_t i = 0; i < a->inputs_n && rc == OK; i++)
        rc = store_watch(a->inputs[i].store, a->loop, on_growth, &a->inputs[i], &a->inputs[i].watch, err);
    return rc;
}

void inputs_close(struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++) {
        store_cancel(a->inputs[i].store);
        store_unwatch(a->inputs[i].watch);
        a->inputs[i].watch = NULL;
    }
}

void inputs_done(struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++) {
        store_unwatch(a->inputs[i].watch);
        store_batch_done(&a->inputs[i].queue);
    }
    free(a->inputs);
}

bool inputs_have_news(const struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++)
        if (a->inputs[i].has_news && a->inputs[i].next == a->inputs[i].queue.n)
            return true;
    return false;
}

static bool is_at_end(const struct app_input *in)
{
    return in->seen_us != INT64_MIN && in->read.seq == in->end_seq;
}

void inputs_note_end(struct app *a)
{
    const struct app_input *out = app_output(a);
    if (is_at_end(out) && out->next == out->queue.n)
        a->end_seen_us = a->looked_us;
}

bool inputs_at_end(const struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++)
        if (!is_at_end(&a->inputs[i]))
            return false;
    return true;
}

bool inputs_empty(const struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++)
        if (a->inputs[i].next < a->inputs[i].queue.n)
            return false;
    return true;
}

/* --- reading --- */

static void read_one(struct app *a, struct app_input *in)
{
    in->rc = in->must_reopen ? store_reopen(in->store, NULL, &in->err) : OK;
    if (in->rc != OK)
        return;
    in->must_reopen = false;
    if (in == app_output(a) && a->must_hold) {
        a->must_hold = false;
        a->is_held = store_hold(in->store, NULL) == OK; /* without it: perhaps another conflict */
    }
    in->began_us = clock_mono_us();
    in->clock_us = store_clock_us(in->store); /* before: what was visible then is read now */
    in->rc = store_read(in->store, in->read.seq, a->opt.on_step != NULL ? 1 : APP_READ_RECORDS, APP_READ_BYTES,
                        &in->fresh, &in->err);
}

static void read_work(uv_work_t *req)
{
    struct app *a = req->data;
    for (size_t i = 0; i < a->inputs_n; i++)
        if (a->inputs[i].is_reading)
            read_one(a, &a->inputs[i]);
}

/* Does r stand before what was folded? */
static bool is_late(const struct app *a, const struct app_input *in, const struct store_record *r)
{
    if (a->read_us != INT64_MIN && r->e.time.instant_ns <= a->read_us * 1000)
        return true;
    if (a->inputs_n == 1)
        return false;
    int cmp = event_time_cmp(r->e.time, a->last_time);
    return cmp < 0 || (cmp == 0 && (size_t)(in - a->inputs) < a->last_input);
}

static void queue_fresh(struct app *a, struct app_input *in)
{
    in->end_seq = in->fresh.end.seq;
    store_batch_done(&in->queue);
    in->queue = in->fresh;
    in->fresh = (struct store_batch){0};
    in->next = 0;
    if (in->queue.n > 0) {
        const struct store_record *last = &in->queue.items[in->queue.n - 1];
        in->read = (struct store_pos){last->seq, last->e.sum};
    }
    in->seen_us = in->read.seq == in->end_seq ? in->clock_us : INT64_MIN;
    if (in == app_output(a) && in->seen_us != INT64_MIN)
        a->looked_us = in->began_us;
    in->has_news = in->has_news || in->read.seq < in->end_seq;
    if (in->queue.n > 0 && is_late(a, in, &in->queue.items[0]))
        fold_late(a, (size_t)(in - a->inputs), &in->queue.items[0]);
}

/* What the pool's read brought, or not. */
static enum err check_read(const struct app_input *in, struct errinfo *err)
{
    if (in->rc != OK) {
        *err = in->err;
        return in->rc;
    }
    if (in->fresh.after.sum != in->read.sum)
        return err_set(err, ERR_CORRUPT, "log '%s' was rewritten: seq %llu is not the event that was folded",
                       store_name(in->store), (unsigned long long)in->read.seq);
    return OK;
}

static enum err take_read(struct app *a, struct app_input *in)
{
    struct errinfo err = {0};
    enum err rc = check_read(in, &err);
    if (rc == OK) {
        in->is_trouble_noted = false;
        queue_fresh(a, in);
        return OK;
    }
    store_batch_done(&in->fresh);
    a->is_troubled = true;
    a->trouble = err;
    if (rc == ERR_IO || rc == ERR_UNAVAILABLE || rc == ERR_CANCELLED || rc == ERR_DENIED) {
        in->must_reopen = true; /* by the next poll */
        if (!in->is_trouble_noted && rc != ERR_CANCELLED)
            app_note_error(a, &err);
        in->is_trouble_noted = true; /* once, however long it lasts */
    } else
        app_stall(a, &err);
    return rc;
}

static void on_read(uv_work_t *req, int status)
{
    (void)status;
    struct app *a = req->data;
    a->work = WORK_NONE;
    a->is_troubled = false;
    enum err rc = OK;
    uint64_t replays = a->counts.replays;
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct app_input *in = &a->inputs[i];
        bool was_reading = in->is_reading;
        in->is_reading = false;
        if (!was_reading)
            continue;
        if (a->counts.replays != replays) { /* rewound by the one before */
            store_batch_done(&in->fresh);
            continue;
        }
        enum err one = take_read(a, in);
        rc = rc == OK ? one : rc;
    }
    if (rc != OK)
        app_drop_hold(a);
    a->is_fresh = rc == OK && inputs_at_end(a);
    app_tick(a);
}

bool inputs_read(struct app *a)
{
    bool is_any = false;
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct app_input *in = &a->inputs[i];
        in->is_reading = in->has_news && in->next == in->queue.n;
        in->has_news = in->has_news && !in->is_reading;
        is_any = is_any || in->is_reading;
    }
    if (is_any)
        app_work_start(a, WORK_READ, read_work, on_read);
    return is_any;
}

void inputs_take_written(struct app *a, size_t n)
{
    struct app_input *out = app_output(a);
    store_batch_done(&out->queue);
    out->queue = (struct store_batch){.items = a->records, .n = n, .arena = a->batch.events.texts};
    out->next = 0;
    a->records = NULL;
    a->batch.events.texts = (struct arena){0};
    const struct store_record *last = &out->queue.items[n - 1];
    out->read = (struct store_pos){last->seq, last->e.sum};
    if (out->end_seq < last->seq)
        out->end_seq = last->seq;
}

void inputs_rewind(struct app *a)
{
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct app_input *in = &a->inputs[i];
        store_batch_done(&in->queue);
        in->next = 0;
        in->at = in->read = (struct store_pos){0};
        in->seen_us = INT64_MIN;
        in->has_news = true;
    }
}

/* --- whose event is next --- */

static const struct store_record *head_of(const struct app_input *in)
{
    return in->next < in->queue.n ? &in->queue.items[in->next] : NULL;
}

static const struct store_record *earliest(const struct app *a, size_t *ret_input)
{
    const struct store_record *first = NULL;
    for (size_t i = 0; i < a->inputs_n; i++) {
        const struct store_record *r = head_of(&a->inputs[i]);
        if (r == NULL || (first != NULL && event_time_cmp(r->e.time, first->e.time) >= 0))
            continue; /* on a tie the lower index goes first */
        first = r;
        *ret_input = i;
    }
    return first;
}

/* Can no input bring an event of this instant or before that is not queued? NEXT_EVENT: none can. */
static enum input_next is_settled(struct app *a, int64_t instant_ns, size_t *ret_input, int64_t *ret_until_us)
{
    enum input_next rc = NEXT_EVENT;
    int64_t until_us = instant_ns / 1000 + APP_SETTLE_US;
    for (size_t i = 0; i < a->inputs_n; i++) {
        struct app_input *in = &a->inputs[i];
        if (head_of(in) != NULL)
            continue; /* times rise within a log */
        if (!is_at_end(in)) {
            in->has_news = true;
            return NEXT_LOOK;
        }
        if (in->seen_us > until_us)
            continue;
        if (in->has_news || store_clock_us(in->store) > until_us) {
            in->has_news = true;
            return NEXT_LOOK;
        }
        *ret_input = i;
        *ret_until_us = until_us;
        rc = NEXT_SETTLE;
    }
    return rc;
}

/* The scheduled read goes first when every event up to its instant was folded. */
static enum input_next next_of_schedule(struct app *a, const struct store_record *first, int64_t read_us,
                                        size_t *ret_input, int64_t *ret_until_us)
{
    if (read_us == INT64_MAX || (first != NULL && first->e.time.instant_ns <= read_us * 1000))
        return NEXT_NONE;
    if (first != NULL && a->inputs_n == 1)
        return NEXT_READ;
    enum input_next next = is_settled(a, read_us * 1000, ret_input, ret_until_us);
    return next == NEXT_EVENT ? NEXT_READ : next;
}

enum input_next inputs_next(struct app *a, size_t *ret_input, int64_t *ret_until_us)
{
    size_t index = 0;
    const struct store_record *first = earliest(a, &index);
    enum input_next next = next_of_schedule(a, first, schedule_next_us(a), ret_input, ret_until_us);
    if (next != NEXT_NONE)
        return next;
    if (first == NULL)
        return NEXT_NONE;
    next = a->inputs_n == 1 ? NEXT_EVENT : is_settled(a, first->e.time.instant_ns, ret_input, ret_until_us);
    if (next == NEXT_EVENT)
        *ret_input = index;
    return next;
}
