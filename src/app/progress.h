#pragma once
/* app/progress.h - how far a process is and what went wrong in it: for people, metrics and the umbilical.
 * Layer: app. Thread: loop. Counting costs two additions an event; nothing here waits for anybody. */
#include "app/app.h"

/* Counts are kept for windows of this width, which begin at multiples of it since 1970, so that those of several
 * instances can be added (chosen; test_app_progress: windows). */
#define APP_WINDOW_US ((int64_t)5000000)
/* Closed windows in which anything happened that are remembered (chosen). */
#define APP_WINDOWS_KEPT 6u

struct app_window {
    int64_t start_us, end_us;
    uint64_t in, out, errors;
};
struct app_totals {
    uint64_t in, out, errors;
};
/* Zero at first. */
struct app_windows {
    struct app_window closed[APP_WINDOWS_KEPT]; /* oldest first; one in which nothing happened is not among them */
    size_t n;
    struct app_window open;  /* its counts are set when it is closed */
    struct app_totals begin; /* what had been counted when it was opened */
};
/* The clock stands at now_us, and so much was counted since the process began: close the open window if its end is
 * past. What was counted since the last look before that end belongs to it; so look more often than a window is wide.
 * A clock that goes back closes nothing. True: one was closed that holds anything. Pure. */
bool app_windows_at(struct app_windows *w, int64_t now_us, struct app_totals totals);

struct app_error {
    int64_t at_us; /* the store's clock */
    struct errinfo err;
};
struct app_errors {
    uint64_t n;
    struct app_error first, last; /* of no account while n is 0 */
};
/* Refused events, logs that cannot be read, effects and workloads that fail; and what handlers add. */
const struct app_errors *app_errors(const struct app *a);
/* A handler of yours failed in a way that somebody should look at. Copied. */
void app_note_error(struct app *a, const struct errinfo *err);

/* Of one input: what is not folded yet, as far as is known here. */
uint64_t app_lag_of(const struct app *a, size_t input);
uint64_t app_lag(const struct app *a); /* of all */
size_t app_inputs_n(const struct app *a);
/* Time of the last event that was folded; EVENT_TIME_MIN: none was. */
struct event_time app_checkpoint(const struct app *a);
