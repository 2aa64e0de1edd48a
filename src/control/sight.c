#include "control/sight.h"

#include "base/clock.h"
#include "control/parts.h"

#define PULSE_MS 1000

const char *sight_name(enum sight s)
{
    static const char *const NAMES[] = {"replaying", "live", "stalled", "unseen"};
    return NAMES[s];
}

enum sight sight_of(bool is_live, bool is_stalled, int64_t end_seen_us, int64_t now_us)
{
    if (is_stalled)
        return SIGHT_STALLED;
    if (!is_live || end_seen_us == INT64_MIN)
        return SIGHT_REPLAYING;
    return now_us - end_seen_us <= (int64_t)SIGHT_FRESH_MS * 1000 ? SIGHT_LIVE : SIGHT_UNSEEN;
}

bool sight_lets_look(enum sight s)
{
    return s != SIGHT_REPLAYING;
}

enum sight control_sight(const struct control *c, struct errinfo *ret_why)
{
    int64_t now_us = clock_mono_us(), end_us = app_end_seen_us(c->app);
    bool is_stalled = app_state(c->app) == APP_STALLED;
    enum sight s = sight_of(app_is_live(c->app), is_stalled, end_us, now_us);
    struct errinfo why = {0};
    const struct errinfo *trouble = app_trouble(c->app);
    unsigned long long at = app_position(c->app).seq;
    if (s == SIGHT_STALLED)
        err_ignore(err_set(&why, ERR_UNAVAILABLE, "the fold of the log has stopped at %llu: %s", at,
                           app_stall_cause(c->app)->msg));
    else if (s == SIGHT_REPLAYING)
        err_ignore(err_set(&why, ERR_UNAVAILABLE, "still replaying the log (at %llu of %llu): try again in a moment",
                           at, (unsigned long long)app_end_seq(c->app)));
    else if (s == SIGHT_UNSEEN)
        err_ignore(err_set(
            &why, ERR_UNAVAILABLE, "this replica stands at %llu and has not seen the end of the log for %lld s%s%s", at,
            (long long)(now_us - end_us) / 1000000, trouble != NULL ? ": " : "", trouble != NULL ? trouble->msg : ""));
    if (ret_why != NULL)
        *ret_why = why;
    return s;
}

bool control_is_ready(const struct control *c, struct errinfo *ret_why)
{
    const struct errinfo *trouble = app_append_trouble(c->app);
    if (control_sight(c, ret_why) != SIGHT_LIVE)
        return false;
    if (trouble != NULL)
        err_ignore(
            err_set(ret_why, ERR_UNAVAILABLE, "the last append failed, so this replica only reads: %s", trouble->msg));
    return trouble == NULL;
}

/* ---- the pulse ---- */

/* As late as the watchdog lets its own looks be. */
static bool is_late(const struct control *c, int64_t now_us)
{
    return now_us - c->pulse_us > (int64_t)PULSE_MS * 1000 + (int64_t)c->o.node_timeout_ms * 1000 / 3;
}

bool control_was_deaf(struct control *c)
{
    return is_late(c, clock_mono_us());
}

int64_t control_listens_us(struct control *c)
{
    int64_t now_us = clock_mono_us();
    return is_late(c, now_us) ? now_us : c->listens_mono_us;
}

void control_tell_state(struct control *c)
{
    struct errinfo why = {0};
    bool is_ready = control_is_ready(c, &why);
    if (is_ready == c->was_ready && strcmp(why.msg, c->told_why.msg) == 0)
        return;
    if (is_ready != c->was_ready && !is_ready && !c->is_closing)
        log_warn(c->o.log, "%s", why.msg);
    if (is_ready != c->was_ready) /* who plans and who votes depends on it */
        leases_renew(c->leases);
    c->was_ready = is_ready;
    c->told_why = why;
    if (c->o.on_state != NULL)
        c->o.on_state(c->o.ctx, is_ready, is_ready ? NULL : &why);
}

static void on_pulse(uv_timer_t *timer)
{
    struct control *c = timer->data;
    int64_t now_us = clock_mono_us();
    if (is_late(c, now_us))
        c->listens_mono_us = now_us;
    c->pulse_us = now_us;
    write_proof_look(c->write_proof);
    control_tell_state(c);
}

void control_pulse_start(struct control *c)
{
    c->pulse_us = clock_mono_us();
    c->pulse.data = c;
    (void)uv_timer_init(c->o.loop, &c->pulse);
    (void)uv_timer_start(&c->pulse, on_pulse, PULSE_MS, PULSE_MS);
}

static void on_pulse_closed(uv_handle_t *handle)
{
    control_part_closed(handle->data);
}

void control_pulse_stop(struct control *c)
{
    uv_close((uv_handle_t *)&c->pulse, on_pulse_closed);
}
