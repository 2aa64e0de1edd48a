#include "control/instance_watch.h"

#include <stdarg.h>
#include <stdio.h>

static bool says(enum health health, enum health *ret_health, char *ret_cause, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static bool says(enum health health, enum health *ret_health, char *ret_cause, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(ret_cause, WATCH_CAUSE_SIZE, fmt, args);
    va_end(args);
    *ret_health = health;
    return true;
}

static bool has_fresh_error(const struct umbilical *u)
{
    return u->report.n_errors > 0 && u->report.last_error_ms + u->silent_ms < WATCH_ERROR_MS;
}

bool instance_watch(const struct umbilical *u, enum health *ret_health, char ret_cause[static WATCH_CAUSE_SIZE])
{
    const struct umbilical_report *r = &u->report;
    if (id_is_none(r->run_id))
        return false;
    if (u->silent_ms >= WATCH_TIMEOUT_MS) /* no figure that changes: a cause is not news each second */
        return says(HEALTH_TIMEOUT, ret_health, ret_cause,
                    "its program has not reported for more than %d s; its node has", WATCH_TIMEOUT_MS / 1000);
    if (str_eq_c(r->state, "stalled"))
        return says(HEALTH_ERROR, ret_health, ret_cause, "it cannot fold any further: %.*s", STR_ARG(r->trouble));
    if (r->lag_events > 0 && r->behind_ms >= WATCH_STALL_MS)
        return says(HEALTH_STALL, ret_health, ret_cause,
                    "%lld events of its input are not folded, and none was for more than %d s%s%.*s",
                    (long long)r->lag_events, WATCH_STALL_MS / 1000, r->trouble.len > 0 ? ": " : "",
                    STR_ARG(r->trouble));
    if (r->n_effects_parked > 0)
        return says(HEALTH_WARNING, ret_health, ret_cause, "%lld effects are parked, one of them: %.*s",
                    (long long)r->n_effects_parked, STR_ARG(r->parked_cause));
    if (has_fresh_error(u))
        return says(HEALTH_WARNING, ret_health, ret_cause, "%lld errors since it began, the last: %.*s",
                    (long long)r->n_errors, STR_ARG(r->last_error.text));
    return says(HEALTH_NOMINAL, ret_health, ret_cause, "its program reports that all goes well");
}
