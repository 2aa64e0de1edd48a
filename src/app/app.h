#pragma once
/* app/app.h - the runtime of an event-sourced process: its model is a fold of a log, its workloads emit by conditional
 * append, its gateways act when it is live.
 * Layer: app (may use store, net, base, event). Pure: no. Thread: all of it in the loop; store calls run in uv's pool.
 *
 *   app_open -> replay (gateways muted) -> live: on_live, on_change -> ... -> app_close
 *   a request -> app_emit(decide) -> decide on the model at its end -> append -> apply -> done(position)
 *
 * The model is the caller's and is changed by `apply` only; between two callbacks it does not change.
 * An event that apply refuses stops the fold, not the program: the state is APP_STALLED with the cause, reads may go on
 * from the last good position, emits answer ERR_UNAVAILABLE. */
#include "event/catalogue.h"
#include "store/store.h"

struct uv_loop_s;
struct app;

/* A list from the start, because a process merges any number of inputs; more than one is not merged yet: ERR_INVALID.
 */
#define APP_INPUTS_MAX 1u
/* A conflict means that somebody else got on, so there is no pause between attempts. 100: chosen, never measured
 * (test_app: two_processes meets at most a few). */
#define APP_ATTEMPTS_MAX 100u
/* After this many conflicts in a row the log is held (store_hold) for reading and deciding once more: who appends all
 * the time has a head start, as it needs not read its own news (test_app: no_starvation failed after 100 attempts
 * without). */
#define APP_HOLD_AFTER 3u
/* A replica behind its reader's position waits this long before it says so (contract: 2 s). */
#define APP_BEHIND_MS 2000u
/* Look for news this often though no hint came: a lost hint costs a delay only (chosen). */
#define APP_POLL_MS 1000u
/* Records folded in one turn of the loop, and their bytes: a replay leaves the loop free for others in between.
 * 1000 records: about 1 ms of a plain fold (chosen; measured by bench). */
#define APP_READ_RECORDS 1000u
#define APP_READ_BYTES 1048576u

enum app_state { APP_REPLAYING, APP_LIVE, APP_STALLED, APP_CLOSING };

/* Where a process is in its input. `log` is the log's incarnation. */
struct app_position {
    struct id log;
    uint64_t seq;
    uint32_t sum;
};

/* One that is told. Each function may be NULL; muted means: not called while the process replays or is stalled. */
struct gateway {
    const char *name;
    void *ctx;
    void (*on_live)(void *ctx);                                  /* once, when the log's end was reached */
    void (*on_change)(void *ctx, const struct app_position *at); /* live, after news were folded */
    void (*on_stalled)(void *ctx, const struct errinfo *cause);  /* once */
};

struct app_options {
    const char *name; /* borrowed for the app's life; in texts */
    void *model;
    /* Fold one event into the model; the only writer. *record is lent for the call (event_decode(&record->e, …) types
     * it). ERR_CORRUPT or ERR_INVALID: it cannot follow this state; ERR_NOT_FOUND: its kind is not known. Any error
     * stalls. */
    enum err (*apply)(void *model, const struct store_record *record, struct errinfo *err);
    /* Not NULL: events are folded one by one, without a replay: after each, on_step(model, its position) is called and
     * the process pauses until app_step_done. For prod-bootstrap, which carries out the effects of an event before the
     * next. */
    void (*on_step)(void *model, const struct app_position *at);
    /* Called at the instant of app_wake_at, when live. May be NULL. */
    void (*on_wake)(void *model);
    struct store **inputs; /* opened; handed over when app_open returns OK. Emits go to inputs[0] */
    size_t inputs_n;
    /* The model already holds the events up to here (a checkpoint): start behind it. {0}: from the first event. */
    struct store_pos from;
};

/* Start the process in the loop. Returns at once; replay goes on in the loop.
 * OK | ERR_INVALID | ERR_IO no watch could be set up. On an error the stores stay the caller's. */
must_check enum err app_open(struct uv_loop_s *loop, const struct app_options *opt, struct app **ret_app,
                             struct errinfo *err);
/* Stop: queued emits and waits get ERR_CANCELLED, the append in flight is waited for and answered, stores are closed,
 * then closed(ctx) (may be NULL). No other callback comes after it. */
void app_close(struct app *a, void (*closed)(void *ctx), void *ctx);

enum app_state app_state(const struct app *a);
const char *app_state_name(enum app_state s); /* "replaying", "live", "stalled", "closing" */
bool app_is_live(const struct app *a);
/* Why it is stalled, with log, seq, cause. NULL when it is not. */
const struct errinfo *app_stall_cause(const struct app *a);
/* Why the log could not be read the last time (it is tried again every APP_POLL_MS). NULL: it could. */
const struct errinfo *app_trouble(const struct app *a);
struct app_position app_position(const struct app *a);
/* End of the log as last seen: what is left of a replay. */
uint64_t app_end_seq(const struct app *a);
/* The event of the last on_step is dealt with: go on. Also from inside on_step. */
void app_step_done(struct app *a);
/* The store's clock. */
int64_t app_clock_us(struct app *a);

/* *g is borrowed until it is removed or the app is closed. Added when live: on_live is called in the next turn. */
void app_add_gateway(struct app *a, const struct gateway *g);
void app_remove_gateway(struct app *a, const struct gateway *g); /* also from inside a callback */

/* on_wake once, when the store's clock reaches the instant; replaces what was set before. INT64_MAX: never. */
void app_wake_at(struct app *a, int64_t instant_us);

/* --- emitting --- */

/* Events that a decision returns. */
struct app_events;
/* type and payload are copied. Emit nothing more than ENVELOPE_BATCH_SIZE_MAX: ERR_LIMIT at the append. */
void app_events_add(struct app_events *e, struct str type, struct id id, struct str payload);
/* A typed event; its time is chosen by the store. */
void app_events_add_event(struct app_events *e, const struct event *event);
size_t app_events_n(const struct app_events *e);

/* Decide on the model as it is now; events go to *ret_events, which is empty. Called again after a conflict, with
 * another model: everything that it keeps in ctx is set anew by each call, and ids may be (they need not). An error
 * ends the emit with it. */
typedef enum err (*app_decide_fn)(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err);
/* OK: the events are durable and folded; `at` is the last one's position (no events: the position decided on).
 * ERR_CANCELLED app closed | ERR_UNAVAILABLE stalled; lock or space missing | ERR_CONFLICT APP_ATTEMPTS_MAX conflicts
 * | ERR_IO it could not be found out whether they were written | what decide returned. err: lent, never NULL. */
typedef void (*app_done_fn)(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err);

/* Queue a command. Emits are decided in the order in which they come, each after the one before it was folded; while
 * the process replays they wait. done is called exactly once, never from inside app_emit;
 * after ERR_CANCELLED it emits no more.
 *
 * One command is one append (its events one batch). The next step, when one fdatasync a command is too slow: decide
 * several queued commands against the model and append them as one batch; each must see the ones before it, so either
 * the model learns to be applied tentatively on a copy, or commands say which objects they read. It goes into
 * app/emit.c: emit_decide. */
void app_emit(struct app *a, app_decide_fn decide, void *ctx, app_done_fn done);
size_t app_queued(const struct app *a); /* emits not yet answered */

/* --- waiting for a position --- */

struct app_wait;
/* OK: the model has folded seq. ERR_UNAVAILABLE "behind": not within the time. ERR_CANCELLED: app closed. */
typedef void (*app_reached_fn)(void *ctx, enum err rc, const struct errinfo *err);
/* Wait until the model has folded `seq`, at most timeout_ms. reached is called exactly once, never from inside
 * app_wait. Returned: for app_wait_cancel, valid until reached was called. */
struct app_wait *app_wait(struct app *a, uint64_t seq, uint64_t timeout_ms, app_reached_fn reached, void *ctx);
/* reached is not called any more. */
void app_wait_cancel(struct app_wait *w);

/* --- cursors: a position as opaque text, for readers --- */

#define APP_CURSOR_TEXT_SIZE 40
void app_cursor_format(const struct app_position *at, char ret_text[static APP_CURSOR_TEXT_SIZE]);
/* ret->sum is 0. OK | ERR_INVALID not one of ours */
must_check enum err app_cursor_parse(struct str text, struct app_position *ret, struct errinfo *err);
