#include "app/inside.h"

static int64_t window_start(int64_t us)
{
    int64_t over = us % APP_WINDOW_US;
    return us - (over < 0 ? over + APP_WINDOW_US : over);
}

static bool keep(struct app_windows *w, const struct app_window *closed)
{
    if (closed->in == 0 && closed->out == 0 && closed->errors == 0)
        return false;
    if (w->n == APP_WINDOWS_KEPT)
        memmove(&w->closed[0], &w->closed[1], --w->n * sizeof(w->closed[0]));
    w->closed[w->n++] = *closed;
    return true;
}

bool app_windows_at(struct app_windows *w, int64_t now_us, struct app_totals totals)
{
    bool is_first = w->open.end_us == 0;
    if (!is_first && now_us < w->open.end_us)
        return false;
    struct app_window closed = w->open;
    closed.in = totals.in - w->begin.in;
    closed.out = totals.out - w->begin.out;
    closed.errors = totals.errors - w->begin.errors;
    int64_t start_us = window_start(now_us);
    w->open = (struct app_window){.start_us = start_us, .end_us = start_us + APP_WINDOW_US};
    if (is_first)
        return false; /* what came before counts into the first one */
    w->begin = totals;
    return keep(w, &closed);
}

const struct app_errors *app_errors(const struct app *a)
{
    return &a->errors;
}

void app_note_error(struct app *a, const struct errinfo *err)
{
    struct app_error e = {app_clock_us(a), *err};
    if (a->errors.n++ == 0)
        a->errors.first = e;
    a->errors.last = e;
}

uint64_t app_lag_of(const struct app *a, size_t input)
{
    const struct app_input *in = &a->inputs[input];
    uint64_t known = in->end_seq > in->read.seq ? in->end_seq : in->read.seq;
    return known > in->at.seq ? known - in->at.seq : 0;
}

uint64_t app_lag(const struct app *a)
{
    uint64_t lag = 0;
    for (size_t i = 0; i < a->inputs_n; i++)
        lag += app_lag_of(a, i);
    return lag;
}

size_t app_inputs_n(const struct app *a)
{
    return a->inputs_n;
}

struct event_time app_checkpoint(const struct app *a)
{
    return a->last_time;
}
