#include "sdk/umbilical.h"

#include <stdlib.h>

#include "app/effects.h"
#include "base/clock.h"
#include "base/own.h"
#include "net/http_client.h"
#include "wire/umbilical.h"

struct umbilical_line {
    struct app *app;
    struct http_client *client;
    char *url;
    uv_timer_t timer;
    struct id run;
    int64_t sequence;
    struct umbilical_pace pace;
    struct umbilical_behind behind;
    struct app_windows windows;
    int64_t last_error_ms; /* monotonic, of the error that was counted last */
    uint64_t errors_n;
    int closing_n;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

bool umbilical_is_due(const struct umbilical_pace *p, int64_t now_ms, const struct umbilical_state *now)
{
    if (p->is_under_way)
        return false;
    if (!p->has_sent || now_ms - p->sent_ms >= UMBILICAL_EVERY_MS)
        return true;
    bool is_news = now->state != p->sent.state || now->is_troubled != p->sent.is_troubled ||
                   now->errors_n != p->sent.errors_n || now->parked_n != p->sent.parked_n;
    return is_news && now_ms - p->sent_ms >= UMBILICAL_TICK_MS;
}

int64_t umbilical_behind_ms(struct umbilical_behind *b, int64_t now_ms, uint64_t lag, uint64_t folded)
{
    if (!b->has_begun || lag == 0 || folded != b->folded)
        *b = (struct umbilical_behind){folded, now_ms, true};
    return now_ms - b->since_ms;
}

/* ---- what is said ---- */

struct parked {
    size_t n;
    char cause[UMBILICAL_TEXT_MAX];
};

static void see_parked(void *ctx, const char *gateway, const struct app_effect *e, const struct errinfo *why)
{
    struct parked *p = ctx;
    if (p->n++ == 0)
        (void)snprintf(p->cause, sizeof(p->cause), "%.32s, '%.*s': %.150s", gateway,
                       (int)(e->object.len < 60 ? e->object.len : 60), e->object.ptr, why->msg);
}

static struct event_time time_of(int64_t us)
{
    return (struct event_time){us * 1000, 0};
}

static struct str text_of(struct arena *a, const char *text)
{
    struct str s = str_from(text);
    return arena_str(a, str_slice(s, 0, s.len < UMBILICAL_TEXT_MAX ? s.len : UMBILICAL_TEXT_MAX - 1));
}

static struct umbilical_error error_of(struct arena *a, const struct app_error *e)
{
    return (struct umbilical_error){time_of(e->at_us), text_of(a, e->err.msg)};
}

static struct objects windows_of(const struct app_windows *w, struct arena *a)
{
    struct umbilical_window *rows = arena_alloc(a, (APP_WINDOWS_KEPT + 1) * sizeof(*rows));
    for (size_t i = 0; i < w->n; i++)
        rows[i] = (struct umbilical_window){.start = time_of(w->closed[i].start_us),
                                            .end = time_of(w->closed[i].end_us),
                                            .n_input_events_handled_ok = (int64_t)w->closed[i].in,
                                            .n_output_events = (int64_t)w->closed[i].out,
                                            .n_errors = (int64_t)w->closed[i].errors};
    return (struct objects){rows, w->n};
}

/* The output first, then those that are furthest behind: who reads more logs than are told has the sum. */
static struct objects inputs_of(const struct app *app, struct arena *a)
{
    size_t all = app_inputs_n(app), n = 0;
    struct umbilical_input *rows = arena_alloc(a, (UMBILICAL_INPUTS_MAX + 1) * sizeof(*rows));
    for (size_t i = 0; i < all; i++) {
        struct app_position at = app_position_of(app, i);
        struct umbilical_input row = {at.log, (int64_t)at.seq, (int64_t)(at.seq + app_lag_of(app, i))};
        size_t place = n;
        while (place > 1 && rows[place - 1].end - rows[place - 1].seq < row.end - row.seq)
            place--;
        if (place == UMBILICAL_INPUTS_MAX)
            continue;
        n += n < UMBILICAL_INPUTS_MAX;
        memmove(&rows[place + 1], &rows[place], (n - 1 - place) * sizeof(row));
        rows[place] = row;
    }
    return (struct objects){rows, n};
}

static struct str trouble_of(const struct app *app, struct arena *a)
{
    const struct errinfo *why = app_stall_cause(app);
    if (why == NULL)
        why = app_trouble(app);
    return why == NULL ? (struct str){0} : text_of(a, why->msg);
}

static void fill(struct umbilical_line *u, int64_t now_ms, const struct parked *parked, struct arena *a,
                 struct umbilical_report *ret)
{
    const struct app *app = u->app;
    struct app_counts n = app_counts(app);
    const struct app_errors *errors = app_errors(app);
    struct event_time at = app_checkpoint(app);
    *ret = (struct umbilical_report){.run_id = u->run,
                                     .sequence = ++u->sequence,
                                     .state = str_from(app_state_name(app_state(app))),
                                     .n_input_events_handled = (int64_t)n.events_in,
                                     .n_output_events = (int64_t)n.events_out,
                                     .lag_events = (int64_t)app_lag(app),
                                     .n_errors = (int64_t)errors->n,
                                     .n_effects_parked = (int64_t)parked->n,
                                     .parked_cause = str_from(parked->cause),
                                     .trouble = trouble_of(app, a),
                                     .inputs = inputs_of(app, a),
                                     .windows = windows_of(&u->windows, a)};
    ret->behind_ms = umbilical_behind_ms(&u->behind, now_ms, app_lag(app), n.events_in + n.events_else);
    if (event_time_cmp(at, EVENT_TIME_MIN) != 0)
        ret->checkpoint = at;
    if (errors->n > 0) {
        ret->first_error = error_of(a, &errors->first);
        ret->last_error = error_of(a, &errors->last);
        ret->last_error_ms = now_ms - u->last_error_ms;
    }
}

/* ---- saying it ---- */

static void on_answer(struct http_result *r, void *ctx)
{
    struct umbilical_line *u = ctx;
    (void)r; /* taken or not: the next one says all again */
    u->pace.is_under_way = false;
}

static void say(struct umbilical_line *u, int64_t now_ms, const struct parked *parked)
{
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf body = {0};
    struct umbilical_report report;
    fill(u, now_ms, parked, &a, &report);
    fields_encode(&UMBILICAL_REPORT_WIRE, &report, &body);
    struct http_call_options call = {.method = "POST",
                                     .url = u->url,
                                     .body = buf_str(&body),
                                     .connect_timeout_ms = UMBILICAL_CALL_MS / 2,
                                     .total_timeout_ms = UMBILICAL_CALL_MS};
    u->pace.is_under_way = true;
    (void)http_client_send(u->client, &call, on_answer, u);
}

static void on_tick(uv_timer_t *timer)
{
    struct umbilical_line *u = timer->data;
    int64_t now_ms = clock_mono_us() / 1000;
    struct app_counts n = app_counts(u->app);
    struct parked parked = {0};
    uint64_t errors_n = app_errors(u->app)->n;
    if (errors_n != u->errors_n)
        u->last_error_ms = now_ms;
    u->errors_n = errors_n;
    (void)app_windows_at(&u->windows, app_clock_us(u->app), (struct app_totals){n.events_in, n.events_out, errors_n});
    (void)umbilical_behind_ms(&u->behind, now_ms, app_lag(u->app), n.events_in + n.events_else);
    app_each_parked(u->app, see_parked, &parked);
    struct umbilical_state state = {app_state(u->app), app_trouble(u->app) != NULL, errors_n, parked.n};
    if (!umbilical_is_due(&u->pace, now_ms, &state))
        return;
    u->pace.has_sent = true;
    u->pace.sent_ms = now_ms;
    u->pace.sent = state;
    say(u, now_ms, &parked);
}

struct umbilical_line *umbilical_open(uv_loop_t *loop, struct app *app, const char *events, struct id run)
{
    struct umbilical_line *u = mem_alloc(sizeof(*u));
    *u = (struct umbilical_line){
        .app = app, .client = http_client_new(loop), .url = mem_printf("%s/v1/umbilical", events), .run = run};
    u->timer.data = u;
    (void)uv_timer_init(loop, &u->timer); /* cannot fail: it only fills the handle */
    (void)uv_timer_start(&u->timer, on_tick, UMBILICAL_TICK_MS, UMBILICAL_TICK_MS);
    return u;
}

static void part_closed(void *ctx)
{
    struct umbilical_line *u = ctx;
    if (--u->closing_n > 0)
        return;
    void (*closed)(void *) = u->closed;
    void *closed_ctx = u->closed_ctx;
    free(u->url);
    free(u);
    closed(closed_ctx);
}

static void timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void umbilical_close(struct umbilical_line *u, void (*closed)(void *ctx), void *ctx)
{
    u->closed = closed;
    u->closed_ctx = ctx;
    u->closing_n = 2;
    uv_close((uv_handle_t *)&u->timer, timer_closed);
    http_client_close(u->client, part_closed, u);
}
