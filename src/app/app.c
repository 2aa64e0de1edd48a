/* Life of a process: open, one step after the other, close.
 *
 * Happy path: app_open -> checkpoint (snapshot.c) -> read (input.c) -> fold (fold.c) -> … -> nothing more: live,
 * on_live, workloads (tell.c) -> a hint of growth -> read -> fold -> on_change …; between reads what is queued is
 * decided and appended (emit.c, batch.c, append.c). One call of the stores is under way at a time (`work`), everything
 * else happens in app_tick, which is called by the loop only. Failures: a record is refused -> passed over if a
 * SetAside names it (set_aside.c), else stalled until one does; it is damaged, or a log was rewritten -> stalled for
 * good. Reading fails otherwise -> app_trouble, opened anew and tried again at the next poll.
 */
#include "app/inside.h"

#include <assert.h>

#include "base/own.h"

void app_work_start(struct app *a, enum app_work kind, uv_work_cb work, uv_after_work_cb after)
{
    assert(a->work == WORK_NONE);
    a->work = kind;
    a->work_req.data = a;
    int rc = uv_queue_work(a->loop, &a->work_req, work, after);
    assert(rc == 0); /* it fails only without a work function */
    (void)rc;
}

void app_drop_hold(struct app *a)
{
    if (a->is_held)
        store_release(app_output(a)->store);
    a->is_held = false;
}

void app_stall(struct app *a, const struct errinfo *cause)
{
    if (a->state == APP_STALLED || a->state == APP_CLOSING)
        return;
    a->state = APP_STALLED;
    a->stall = *cause;
    app_note_error(a, cause);
    tell_stalled(a);
    app_soon(a);
}

/* --- waking --- */

static void arm_wake(struct app *a);

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

static void on_timer_event(uv_timer_t *timer)
{
    app_tick(timer->data);
}

/* The same for durable timers. */
static void arm_timer_event(struct app *a)
{
    int64_t at = timers_next_us(a), now = app_clock_us(a);
    if (at == INT64_MAX || a->state != APP_LIVE)
        return;
    uint64_t ms = at <= now ? 1 : ((uint64_t)at - (uint64_t)now + 999) / 1000;
    (void)uv_timer_start(&a->event_timer, on_timer_event, ms > APP_POLL_MS ? APP_POLL_MS : ms, 0);
}

void app_hint(struct app *a)
{
    inputs_hint(a);
    app_soon(a);
}

static void on_poll(uv_timer_t *timer)
{
    struct app *a = timer->data;
    inputs_hint(a);
    app_tick(a);
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

/* --- closing --- */

static void fail_rest(struct app *a)
{
    struct errinfo why;
    err_ignore(err_set(&why, ERR_CANCELLED, "%s is closing", a->name));
    emit_fail_all(a, &why);
    wait_settle(a);
}

static void discard(struct app *a)
{
    inputs_done(a);
    batch_done(a);
    due_done(a);
    timers_done(a);
    effects_clear(a);
    ids_done(&a->ids);
    tell_done(a);
    buf_done(&a->snapshot_bytes);
    free(a->records);
    free(a->schedules);
    free(a->ranges_text);
    free((void *)(uintptr_t)a->opt.ranges);
    free(a->opt.inputs);
    free(a);
}

static void finish(struct app *a)
{
    fail_rest(a); /* what came since the handles began to close */
    void (*closed)(void *) = a->closed;
    void *ctx = a->closed_ctx;
    for (size_t i = 0; i < a->inputs_n; i++)
        store_close(a->inputs[i].store);
    discard(a);
    if (closed != NULL)
        closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct app *a = handle->data;
    if (--a->handles_open == 0)
        finish(a);
}

static void each_timer(struct app *a, void (*f)(struct app *a, uv_timer_t *timer))
{
    uv_timer_t *timers[] = {&a->poll_timer,   &a->wake_timer, &a->wait_timer,   &a->event_timer,
                            &a->settle_timer, &a->due_timer,  &a->effects_timer};
    for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++)
        f(a, timers[i]);
}

static void init_timer(struct app *a, uv_timer_t *timer)
{
    (void)uv_timer_init(a->loop, timer); /* cannot fail: it only fills the handle */
    timer->data = a;
    a->handles_open++;
}

static void close_timer(struct app *a, uv_timer_t *timer)
{
    (void)a;
    uv_close((uv_handle_t *)timer, on_handle_closed);
}

static void finish_soon(struct app *a)
{
    fail_rest(a);
    if (a->is_finishing)
        return;
    a->is_finishing = true;
    uv_close((uv_handle_t *)&a->soon, on_handle_closed);
    each_timer(a, close_timer);
}

void app_close(struct app *a, void (*closed)(void *ctx), void *ctx)
{
    if (a->state == APP_CLOSING)
        return;
    tell_stop(a);
    a->closed = closed;
    a->closed_ctx = ctx;
    a->must_save = a->opt.snapshot.path != NULL && a->state != APP_STALLED && !a->must_load;
    a->state = APP_CLOSING;
    inputs_close(a);
    (void)uv_timer_stop(&a->poll_timer);
    (void)uv_timer_stop(&a->wake_timer);
    app_soon(a);
}

/* --- one step after the other --- */

static void step_stalled(struct app *a)
{
    struct errinfo why;
    err_ignore(err_set(&why, ERR_UNAVAILABLE, "%s", a->stall.msg));
    struct app_command *c = NULL;
    while ((c = TAILQ_FIRST(&a->written)) != NULL) /* it is durable, but this process cannot fold it */
        emit_answer_err(a, &a->written, c, &a->stall);
    emit_fail_all(a, &why);
}

/* False: nothing more to do until something happens. */
static bool step(struct app *a)
{
    if (a->state != APP_LIVE)
        app_drop_hold(a);
    if (a->state == APP_CLOSING) {
        if (!snapshot_last(a))
            finish_soon(a);
        return false;
    }
    wait_settle(a);
    if (a->state == APP_STALLED) {
        step_stalled(a);
        return a->state != APP_STALLED || aside_look(a);
    }
    if (a->is_paused)
        return false;
    if (snapshot_load(a))
        return true;
    if (aside_look(a))
        return true;
    if (fold_some(a)) {
        app_soon(a); /* others in between */
        return false;
    }
    inputs_note_end(a);
    if (a->is_paused || a->state == APP_STALLED || a->state == APP_CLOSING)
        return a->state != APP_LIVE && !a->is_paused;
    if (aside_is_open(a))
        return true;
    snapshot_step(a);
    /* On a log that grows all the time there always is a hint of news: commands come first, the append notices. */
    if (inputs_have_news(a) && !(a->is_fresh && emit_is_due(a)))
        return inputs_read(a);
    tell_live(a);
    effects_step(a);
    return emit_step(a) || (a->state != APP_CLOSING && inputs_have_news(a));
}

void app_tick(struct app *a)
{
    if (a->is_ticking)
        return;
    a->is_ticking = true;
    bool is_more = true;
    while (is_more && a->work == WORK_NONE)
        is_more = step(a);
    a->is_ticking = false;
    if (!a->is_finishing)
        arm_timer_event(a);
}

/* --- opening --- */

static enum err check_options(const struct app_options *o, struct errinfo *err)
{
    if (o->inputs_n == 0 || o->inputs_n > APP_INPUTS_MAX)
        return err_set(err, ERR_INVALID, "%s has %zu input logs: one to %u", o->name, o->inputs_n, APP_INPUTS_MAX);
    if ((o->trial_begin == NULL) != (o->trial_end == NULL))
        return err_set(err, ERR_INVALID, "%s can begin a trial or end it, not both", o->name);
    if (o->snapshot.path != NULL && (o->reset == NULL || o->from.seq > 0))
        return err_set(err, ERR_INVALID, "%s keeps checkpoints: it needs 'reset', and no 'from'", o->name);
    for (size_t i = 0; i < o->schedules_n; i++)
        if (o->schedules[i].every_us <= 0)
            return err_set(err, ERR_INVALID, "%s reads '%s' every %lld us", o->name, o->schedules[i].name,
                           (long long)o->schedules[i].every_us);
    return OK;
}

static char *ranges_text(const struct app_options *opt)
{
    struct buf text = {0};
    for (size_t i = 0; i < opt->ranges_n; i++) {
        char one[PARTITION_TEXT_SIZE];
        partition_format(opt->ranges[i], one);
        buf_addf(&text, "%s%s", i > 0 ? " " : "", one);
    }
    if (opt->ranges_n == 0)
        buf_add_char(&text, '*');
    return buf_take(&text);
}

static void copy_lists(struct app *a, const struct app_options *opt)
{
    a->opt.inputs = mem_calloc(opt->inputs_n, sizeof(*a->opt.inputs));
    memcpy(a->opt.inputs, opt->inputs, opt->inputs_n * sizeof(*a->opt.inputs));
    struct partition *ranges = mem_calloc(opt->ranges_n + 1, sizeof(*ranges));
    if (opt->ranges_n > 0)
        memcpy(ranges, opt->ranges, opt->ranges_n * sizeof(*ranges));
    a->opt.ranges = ranges;
    a->ranges_text = ranges_text(opt);
    a->schedules_n = opt->schedules_n;
    a->schedules = mem_calloc(opt->schedules_n + 1, sizeof(*a->schedules));
    for (size_t i = 0; i < opt->schedules_n; i++)
        a->schedules[i] = (struct app_scheduled){opt->schedules[i], INT64_MIN};
}

enum err app_open(struct uv_loop_s *loop, const struct app_options *opt, struct app **ret_app, struct errinfo *err)
{
    enum err rc = check_options(opt, err);
    if (rc != OK)
        return rc;
    struct app *a = mem_alloc(sizeof(*a));
    *a = (struct app){.name = opt->name,
                      .loop = loop,
                      .opt = *opt,
                      .last_time = EVENT_TIME_MIN,
                      .read_us = INT64_MIN,
                      .wake_us = INT64_MAX,
                      .looked_us = INT64_MIN,
                      .end_seen_us = INT64_MIN,
                      .must_load = opt->snapshot.path != NULL,
                      .counts = {.input_us = INT64_MIN}};
    TAILQ_INIT(&a->commands);
    TAILQ_INIT(&a->written);
    TAILQ_INIT(&a->due_list);
    TAILQ_INIT(&a->waits);
    TAILQ_INIT(&a->settled);
    copy_lists(a, opt);
    if (opt->effect_back_off_ms == 0)
        a->opt.effect_back_off_ms = APP_EFFECT_BACK_OFF_MS;
    if (opt->effect_parked_ms == 0)
        a->opt.effect_parked_ms = APP_EFFECT_PARKED_MS;
    rc = inputs_open(a, err);
    if (rc == OK)
        rc = tell_open(a, err);
    if (rc != OK) {
        discard(a);
        return rc;
    }
    if (opt->from.seq > 0)
        ids_restart(&a->ids, opt->from.seq, INT64_MAX);
    (void)uv_idle_init(loop, &a->soon);
    a->soon.data = a;
    a->handles_open++;
    each_timer(a, init_timer);
    (void)uv_timer_start(&a->poll_timer, on_poll, APP_POLL_MS, APP_POLL_MS);
    app_soon(a);
    *ret_app = a;
    return OK;
}

/* --- looking --- */

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

int64_t app_end_seen_us(const struct app *a)
{
    return a->end_seen_us;
}

const struct errinfo *app_append_trouble(const struct app *a)
{
    return a->append_trouble.code == OK ? NULL : &a->append_trouble;
}

uint64_t app_append_failures(const struct app *a)
{
    return a->append_failures;
}

void app_append_proved(struct app *a, uint64_t failures)
{
    if (failures == a->append_failures)
        a->append_trouble = (struct errinfo){0};
}

struct app_position app_position_of(const struct app *a, size_t input)
{
    const struct app_input *in = &a->inputs[input];
    return (struct app_position){.log = in->log, .seq = in->at.seq, .sum = in->at.sum};
}

struct app_position app_position(const struct app *a)
{
    return app_position_of(a, 0);
}

uint64_t app_end_seq(const struct app *a)
{
    return app_output(a)->end_seq;
}

int64_t app_clock_us(struct app *a)
{
    return store_clock_us(app_output(a)->store);
}

struct app_counts app_counts(const struct app *a)
{
    return a->counts;
}

const struct errinfo *app_snapshot_trouble(const struct app *a)
{
    return a->snapshot_trouble.code == OK ? NULL : &a->snapshot_trouble;
}
