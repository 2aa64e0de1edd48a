#pragma once
/* app/app.h - the runtime of an event-sourced process: its model is a fold of logs, its workloads emit by conditional
 * append, its gateways act when it is live.
 * Layer: app (may use store, net, base, event). Pure: no. Thread: all of it in the loop; store calls run in uv's pool.
 *
 *   app_open -> replay (gateways muted) -> live: on_live, workloads, on_change -> ... -> app_close
 *   a request -> app_emit(decide) -> decide on the model at its end -> append -> apply -> done(position)
 *
 * Everything that a process gives (apply, decide, consequences, ...) is called in the loop, one at a time, in an order
 * that only the logs determine: docs/internals/runtime.md. The model is the caller's and is changed by `apply` only;
 * between two callbacks it does not change.
 * An event that apply refuses stops the fold, not the program: the state is APP_STALLED with the cause, reads may go on
 * from the last good position, emits answer ERR_UNAVAILABLE.
 *
 * app/emit.h       commands, timers               event/partition.h ranges of a process
 * app/effects.h    effects of gateways            app/checkpoint.h  checkpoint files
 * app/replay.h     is the fold deterministic? */
#include "app/emit.h"
#include "event/catalogue.h"
#include "event/hash.h"
#include "event/partition.h"
#include "store/store.h"

struct uv_loop_s;
struct app;

/* Chosen: each is one open log and at most two reads of APP_READ_BYTES in memory (test_app: options_that_are_refused).
 */
#define APP_INPUTS_MAX 64u
/* With several inputs an event is handled once every other input is past its time, or its store's clock is past it by
 * this much: the contract's 500 ms. An append becomes visible at most this long after the instant that it carries. */
#define APP_SETTLE_US 500000
/* A conflict means that somebody else got on, so there is no pause between attempts. 100: chosen, never measured
 * (test_app: two_processes meets at most a few). */
#define APP_ATTEMPTS_MAX 100u
/* After this many conflicts in a row the log is held (store_hold) for reading and deciding once more: who appends all
 * the time has a head start, as it needs not read its own news (test_app: no_starvation failed after 100 attempts
 * without). */
#define APP_HOLD_AFTER 3u
/* A replica behind its reader's position waits this long before it says so (2 s, chosen). */
#define APP_BEHIND_MS 2000u
/* Look for news this often though no hint came: a lost hint costs a delay only (chosen). */
#define APP_POLL_MS 1000u
/* Records folded in one turn of the loop, and their bytes: a replay leaves the loop free for others in between.
 * 1000 records: about 1 ms of a plain fold (chosen; measured by bench). */
#define APP_READ_RECORDS 1000u
#define APP_READ_BYTES 1048576u
/* Ids of the newest events that are kept to know a command by (app_emit_once); behind them the log is searched.
 * 40 bytes each (chosen; test_app_emit: known_by_its_id). */
#define APP_REMEMBERED_N 16384u
/* What a replica that is not preferred leaves to the one that is (chosen). */
#define APP_NOT_PREFERRED_MS 1000u

enum app_state { APP_REPLAYING, APP_LIVE, APP_STALLED, APP_CLOSING };

/* Where a process is in one of its inputs, the output log if nothing else is said. `log` is the log's incarnation. */
struct app_position {
    struct id log;
    uint64_t seq;
    uint32_t sum;
};

struct app_effects;
struct app_effect;
struct app_effect_run;

/* One that is told. Each function may be NULL; muted means: not called while the process replays or is stalled. */
struct gateway {
    const char *name;
    void *ctx;
    void (*on_live)(void *ctx);                                  /* the log's end was reached; again after a stall */
    void (*on_change)(void *ctx, const struct app_position *at); /* live, after news were folded */
    void (*on_stalled)(void *ctx, const struct errinfo *cause);  /* once a stall */
    /* app/effects.h. Gateways with effects are there from the start (app_options.gateways). `effects` is called after
     * each event folded, in a replay too, and is a function of its arguments only. carry_out: muted. */
    void (*effects)(void *ctx, const void *model, const struct store_record *record, struct app_effects *ret_effects);
    void (*carry_out)(void *ctx, const struct app_effect *effect, struct app_effect_run *run);
};

/* A part of a process that looks at the model and emits: an API, a planner. Which run is chosen for each instance. */
struct workload {
    const char *name;
    void *ctx;
    /* Once live. An error stops nothing but this workload: app_workload_trouble has it. */
    enum err (*start)(void *ctx, struct app *a, struct errinfo *err);
    /* At app_close, before anything else ends; not called when start failed or was not called. May be NULL. */
    void (*stop)(void *ctx);
};

/* A scheduled read: at every instant that is a multiple of every_us since 1970, the model holds exactly the events of
 * that instant and before. Called for each of them, in a replay too, from the first event on; what it sees and emits
 * is a function of the log. */
struct app_schedule {
    const char *name; /* ids of its events follow from it */
    void *ctx;
    int64_t every_us; /* > 0 */
    /* Events are consequences of that instant: each is in the log exactly once, their ids are the runtime's. */
    void (*read)(void *ctx, const void *model, int64_t instant_us, struct app_events *ret_events);
};

/* How the model is kept in a checkpoint file (app/checkpoint.h). path NULL: it is not. */
struct app_snapshot {
    const char *path;      /* borrowed for the app's life */
    uint64_t format;       /* of the bytes: raised when the model changes its shape */
    uint64_t every_events; /* written after so many, and at app_close; 0: at app_close only */
    void (*encode)(const void *model, struct buf *out);
    /* Into an empty model. An error: it is thrown away, the model is reset. */
    enum err (*decode)(void *model, struct str bytes, struct errinfo *err);
    /* May be NULL: not compared. */
    void (*hash)(const void *model, uint8_t ret_hash[static HASH_SIZE]);
};

struct app_options {
    const char *name; /* borrowed for the app's life; in texts */
    void *model;
    /* Fold one event into the model; the only writer. *record is lent for the call (event_decode(&record->e, …) types
     * it). ERR_CORRUPT or ERR_INVALID: it cannot follow this state; ERR_NOT_FOUND: its kind is not known. Any error
     * stalls. */
    enum err (*apply)(void *model, const struct store_record *record, struct errinfo *err);
    /* *record was refused, and a SetAside behind it says that every fold passes over it (app/set_aside.h): move the
     * model's position, change nothing else. A process that has stalled goes on by itself once there is one. NULL: no
     * record is passed over. */
    void (*pass_over)(void *model, const struct store_record *record);
    /* Both or neither. Between them `apply` is tentative: trial_end undoes all of it, so nobody sees what is not
     * durable. With them queued commands share an append. trial_end leaves the model exactly as trial_begin found it,
     * also when an apply in between failed. */
    void (*trial_begin)(void *model);
    void (*trial_end)(void *model);
    /* Empty the model, to fold again from the first event. Needed for `snapshot`; with several inputs or schedules also
     * what happens when an event comes later than the contract allows (without it: stalled, a restart replays). */
    void (*reset)(void *model);
    /* What must follow from an event: called after each one folded, in a replay too; a function of model and record
     * only. What it adds is in the output log exactly once for each cause, whatever crashes and however many replicas
     * there are; ids are the runtime's (app_follow_id), those given are ignored. May be NULL. */
    void (*consequences)(const void *model, const struct store_record *cause, struct app_events *ret_events);
    /* Not NULL: events are folded one by one, without a replay: after each, on_step(model, its position) is called and
     * the process pauses until app_step_done. For prod-bootstrap, which carries out the effects of an event before the
     * next. */
    void (*on_step)(void *model, const struct app_position *at);
    /* Called at the instant of app_wake_at, when live. May be NULL. */
    void (*on_wake)(void *model);
    /* Opened; handed over when app_open returns OK. inputs[0] is the output log: emits go there. They are folded in
     * the order of (time, index in this list), which is the same on every replica that lists them alike. */
    struct store **inputs;
    size_t inputs_n;
    /* The model already holds inputs[0]'s events up to here: start behind it. {0}: from the first event. Not together
     * with `snapshot`, which keeps this itself, nor with what else is kept there: timers, consequences, effects. */
    struct store_pos from;
    struct app_snapshot snapshot;
    /* Fold these ranges only; none: all. Copied. */
    const struct partition *ranges;
    size_t ranges_n;
    /* The partition key of an event, lent; NULL: its id. A function of the record only. */
    struct str (*partition_key)(const struct store_record *record);
    const struct app_schedule *schedules; /* copied; names are borrowed for the app's life */
    size_t schedules_n;
    const struct gateway *const *gateways; /* as by app_add_gateway */
    size_t gateways_n;
    const struct workload *workloads; /* copied; names are borrowed for the app's life */
    size_t workloads_n;
    const char *const *chosen; /* names of those that run here, or "*". None: none. Borrowed for the call */
    size_t chosen_n;
    /* Of effects (app/effects.h). 0: APP_EFFECT_BACK_OFF_MS, APP_EFFECT_PARKED_MS. */
    uint64_t effect_back_off_ms, effect_parked_ms;
    /* Is this replica the preferred one for what has this id (rendezvous hash over the live ones)? The others leave it
     * APP_NOT_PREFERRED_MS. NULL: it is. */
    bool (*is_preferred)(void *model, struct id id);
};

/* Start the process in the loop. Returns at once; replay goes on in the loop.
 * OK | ERR_INVALID | ERR_NOT_FOUND a chosen workload that there is not | ERR_IO no watch could be set up. On an error
 * the stores stay the caller's. */
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
/* When the model was last known to stand at the end of the output log: the monotonic instant (clock_mono_us) before the
 * read or append that showed it. It is looked at every APP_POLL_MS at least. INT64_MIN: never. */
int64_t app_end_seen_us(const struct app *a);
/* Why the last append failed (not: a conflict, a refused event), until one succeeds, or app_append_proved. NULL: it did
 * not. */
const struct errinfo *app_append_trouble(const struct app *a);
/* Appends that failed so. */
uint64_t app_append_failures(const struct app *a);
/* The store has shown otherwise (store_prove) that it takes appends: that was begun when app_append_failures was
 * `failures`. The trouble is over, unless another append has failed since. */
void app_append_proved(struct app *a, uint64_t failures);
/* In the output log, and in any input. */
struct app_position app_position(const struct app *a);
struct app_position app_position_of(const struct app *a, size_t input);
/* End of the output log as last seen: what is left of a replay. */
uint64_t app_end_seq(const struct app *a);
/* Somebody says that a log grew: look. */
void app_hint(struct app *a);
/* Why the checkpoint at hand was not used, or the last one was not written. NULL: nothing is wrong. */
const struct errinfo *app_snapshot_trouble(const struct app *a);
/* Why a chosen workload does not run. NULL: it runs, or is not chosen, or waits for live. */
const struct errinfo *app_workload_trouble(const struct app *a, const char *name);
bool app_workload_runs(const struct app *a, const char *name);

/* What a process did since it was opened. */
struct app_counts {
    uint64_t events_in;   /* folded by this instance, of all inputs */
    uint64_t events_else; /* read, but of other instances' ranges */
    uint64_t events_out;  /* appended by this instance */
    uint64_t appends, conflicts;
    uint64_t commands, commands_failed; /* answered */
    uint64_t replays;                   /* begun anew because an event came too late */
    int64_t input_us;                   /* instant of the last event folded; INT64_MIN: none */
    int64_t append_took_us;             /* the last append, at the store, there and back */
    int64_t appended_us;                /* when it ended, monotonic; 0: none yet */
    uint64_t snapshot_seq;              /* of the last checkpoint read or written */
};
struct app_counts app_counts(const struct app *a);
/* The event of the last on_step is dealt with: go on. Also from inside on_step. */
void app_step_done(struct app *a);
/* The store's clock. */
int64_t app_clock_us(struct app *a);

/* *g is borrowed until it is removed or the app is closed. Added when live: on_live is called in the next turn.
 * Without `effects`: those come with app_options.gateways. */
void app_add_gateway(struct app *a, const struct gateway *g);
void app_remove_gateway(struct app *a, const struct gateway *g); /* also from inside a callback */

/* on_wake once, when the store's clock reaches the instant; replaces what was set before. INT64_MAX: never. */
void app_wake_at(struct app *a, int64_t instant_us);

/* The id of the n-th consequence of an event: the same on every replica. */
struct id app_follow_id(struct id cause, uint64_t n);

/* --- waiting for a position of the output log --- */

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
