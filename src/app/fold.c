/* One event after the other into the model, in the order that inputs_next gives.
 *
 * For each: the runtime's own part (ids, what is no longer due, timers), then, if it is in this instance's ranges,
 * apply, then what follows from it. All of that depends on the logs only. */
#include "app/inside.h"

#include "base/own.h"

bool fold_is_ours(struct str type)
{
    return str_starts(type, STR("Slipform"));
}

bool fold_in_range(const struct app *a, const struct store_record *r)
{
    if (a->opt.ranges_n == 0)
        return true;
    struct str key = a->opt.partition_key != NULL ? a->opt.partition_key(r)
                                                  : (struct str){(const char *)r->e.id.bytes, sizeof(r->e.id.bytes)};
    uint32_t hash = partition_hash(key.ptr, key.len);
    for (size_t i = 0; i < a->opt.ranges_n; i++)
        if (partition_has(a->opt.ranges[i], hash))
            return true;
    return false;
}

struct id fold_cause_id(const struct store_record *r)
{
    if (!id_is_none(r->e.id))
        return r->e.id;
    char time[EVENT_TIME_TEXT_SIZE]; /* a log of others: times rise strictly, so they tell its events apart */
    event_time_format(r->e.time, time);
    return id_derive(ID_NONE, time);
}

struct id app_follow_id(struct id cause, uint64_t n)
{
    char name[40];
    (void)snprintf(name, sizeof(name), "follow/%llu", (unsigned long long)n);
    return id_derive(cause, name);
}

static void add_consequences(struct app *a, const struct store_record *r)
{
    if (a->opt.consequences == NULL)
        return;
    struct app_events follow = {0};
    a->opt.consequences(a->opt.model, r, &follow);
    struct id cause = fold_cause_id(r);
    for (size_t i = 0; i < follow.n; i++)
        due_add(a, app_follow_id(cause, i), follow.items[i].type, follow.items[i].payload);
    events_done(&follow);
}

/* The runtime's own part, and whether the record is not the model's: ours or of other ranges. */
static enum err take_ours(struct app *a, size_t input, const struct store_record *r, bool *ret_is_models,
                          struct errinfo *err)
{
    *ret_is_models = false;
    if (input == 0) {
        due_on_event(a, r->e.id);
        timers_on_event(a, r->e.id);
        if (r->seq + APP_REMEMBERED_N > app_output(a)->end_seq)
            ids_add(&a->ids, r);
        else
            ids_restart(&a->ids, r->seq, r->e.time.instant_ns / 1000);
        effects_settled(a, r->e.id);
        if (fold_is_ours(r->e.type))
            return timers_apply(a, r, err);
    }
    if (!fold_in_range(a, r)) {
        a->counts.events_else++;
        return OK;
    }
    *ret_is_models = true;
    return OK;
}

static enum err apply_one(struct app *a, size_t input, const struct store_record *r, struct errinfo *err)
{
    bool is_again = a->refused.seq == r->seq && a->refused.input == input, is_models = true;
    if (is_again && a->refused.is_aside) {
        if (!fold_is_ours(r->e.type))
            a->opt.pass_over(a->opt.model, r);
        return OK;
    }
    enum err rc = is_again && !fold_is_ours(r->e.type) ? OK : take_ours(a, input, r, &is_models, err);
    if (rc != OK || !is_models)
        return rc;
    rc = a->opt.apply(a->opt.model, r, err);
    if (rc != OK)
        return rc;
    a->counts.events_in++;
    add_consequences(a, r);
    effects_on_event(a, input, r);
    return OK;
}

/* False: refused, the process is stalled, or looks for a SetAside first. */
static bool fold_one(struct app *a, size_t input, const struct store_record *r)
{
    struct app_input *in = &a->inputs[input];
    struct errinfo cause = {0};
    if (apply_one(a, input, r, &cause) != OK) {
        if (aside_refused(a, input, r))
            return false;
        struct errinfo err;
        char id[ID_TEXT_SIZE];
        id_format(r->e.id, id);
        err_ignore(err_set(&err, ERR_CORRUPT, "%s: event %llu of log '%s' ('%.*s', %s) was refused: %s", a->name,
                           (unsigned long long)r->seq, store_name(in->store), STR_ARG(r->e.type), id, cause.msg));
        app_stall(a, &err);
        return false;
    }
    a->refused = (struct app_refused){0};
    in->at = (struct store_pos){r->seq, r->e.sum};
    a->last_time = r->e.time;
    a->last_input = input;
    a->counts.input_us = r->e.time.instant_ns / 1000;
    schedule_begin(a, a->counts.input_us);
    a->is_changed = true;
    if (input == 0)
        emit_on_folded(a, r);
    return true;
}

static void on_settle_timer(uv_timer_t *timer)
{
    struct app *a = timer->data;
    inputs_hint(a);
    app_tick(a);
}

static void wait_for_clock(struct app *a, size_t input, int64_t until_us)
{
    int64_t now_us = store_clock_us(a->inputs[input].store);
    uint64_t ms = now_us > until_us ? 0 : (uint64_t)(until_us - now_us) / 1000 + 1;
    (void)uv_timer_start(&a->settle_timer, on_settle_timer, ms > APP_POLL_MS ? APP_POLL_MS : ms, 0);
}

static void step_paused(struct app *a)
{
    a->is_paused = true;
    a->is_changed = false;
    struct app_position at = app_position(a);
    a->opt.on_step(a->opt.model, &at);
}

static void go_live_at_end(struct app *a)
{
    if (a->state != APP_REPLAYING || !inputs_at_end(a))
        return;
    a->state = APP_LIVE;
    app_wake_at(a, a->wake_us);
}

/* Fold until there is nothing more, or enough for one turn (true). */
static bool fold_queued(struct app *a)
{
    for (unsigned n = 0; n < APP_READ_RECORDS && a->state != APP_STALLED && a->state != APP_CLOSING; n++) {
        size_t input = 0;
        int64_t until_us = 0;
        enum input_next next = inputs_next(a, &input, &until_us);
        if (next == NEXT_SETTLE)
            wait_for_clock(a, input, until_us);
        if (next == NEXT_SETTLE || next == NEXT_NONE)
            go_live_at_end(a);
        if (next == NEXT_READ) {
            schedule_read(a);
        } else if (next == NEXT_EVENT) {
            struct app_input *in = &a->inputs[input];
            if (!fold_one(a, input, &in->queue.items[in->next]))
                return false;
            in->next++;
            if (a->opt.on_step != NULL)
                return false;
        } else {
            return false;
        }
    }
    return true;
}

bool fold_some(struct app *a)
{
    bool is_more = fold_queued(a);
    emit_after_fold(a);
    wait_settle(a);
    if (a->is_changed && a->opt.on_step != NULL && a->state != APP_STALLED && a->state != APP_CLOSING)
        step_paused(a);
    else if (a->is_changed)
        tell_change(a);
    a->is_changed = false;
    return is_more && a->state != APP_STALLED && a->state != APP_CLOSING;
}

void fold_restart(struct app *a)
{
    inputs_rewind(a);
    due_done(a);
    timers_done(a);
    effects_clear(a);
    ids_done(&a->ids);
    for (size_t i = 0; i < a->schedules_n; i++)
        a->schedules[i].next_us = INT64_MIN;
    a->read_us = INT64_MIN;
    a->last_time = EVENT_TIME_MIN;
    a->last_input = 0;
    a->is_fresh = false;
    a->refused = (struct app_refused){0};
    a->opt.reset(a->opt.model);
}

void fold_late(struct app *a, size_t input, const struct store_record *r)
{
    if (a->opt.reset != NULL) {
        a->counts.replays++;
        a->state = a->state == APP_LIVE ? APP_REPLAYING : a->state;
        fold_restart(a);
        return;
    }
    struct errinfo err;
    char late[EVENT_TIME_TEXT_SIZE];
    event_time_format(r->e.time, late);
    err_ignore(
        err_set(&err, ERR_CORRUPT,
                "%s: event %llu of log '%s' came after later ones were folded (its time is %s): start again, the "
                "replay puts it in its place",
                a->name, (unsigned long long)r->seq, store_name(a->inputs[input].store), late));
    app_stall(a, &err);
}
