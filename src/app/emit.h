#pragma once
/* app/emit.h - what a process adds to its output log: decided commands, plain events, timers, consequences.
 * Layer: app. Thread: loop. Part of app/app.h, which says how a process lives.
 *
 * Everything is a conditional append: it was decided on the model at the end of the output log, and is written only if
 * the log still ends there; on a conflict the news are folded and it is decided again. One append is in flight; what is
 * queued meanwhile becomes the next one, in the order in which it came (docs/internals/runtime.md). */
#include "event/catalogue.h"
#include "event/id.h"

struct app;
struct app_position;

/* --- the events of one decision --- */

struct app_events;
/* type and payload are copied. Emit nothing more than ENVELOPE_BATCH_SIZE_MAX: ERR_LIMIT at the append. */
void app_events_add(struct app_events *e, struct str type, struct id id, struct str payload);
/* A typed event; its time is chosen by the store. */
void app_events_add_event(struct app_events *e, const struct event *event);
size_t app_events_n(const struct app_events *e);

/* One event of an application. Texts are borrowed for the call and copied. */
struct app_event {
    struct str type; /* letters, digits, '_'; names that begin with "Slipform" are the runtime's */
    struct id id;    /* not ID_NONE: it is known by it */
    struct str payload;
};

/* A durable timer: the event stands in the log from instant at_us (the store's clock) on, exactly once, whichever
 * replica lives then. event->id is the timer's id; an id is set once in a log's life. */
void app_events_add_timer(struct app_events *e, int64_t at_us, const struct app_event *event);
/* The timer never fires, unless it has. Unknown ids do nothing. */
void app_events_cancel_timer(struct app_events *e, struct id timer);

/* --- commands --- */

/* Decide on the model as it is now; events go to *ret_events, which is empty. Called again after a conflict, with
 * another model: everything that it keeps in ctx is set anew by each call, and ids may be (they need not). In a batch
 * the model holds what the commands before this one emit, tentatively. An error ends the emit with it. */
typedef enum err (*app_decide_fn)(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err);
/* OK: the events are durable and folded; `at` is the last one's position (no events: the position decided on).
 * ERR_CANCELLED app closed | ERR_UNAVAILABLE stalled; lock or space missing | ERR_CONFLICT APP_ATTEMPTS_MAX conflicts
 * | ERR_INVALID the model would refuse its event (only with trial functions) | ERR_IO it could not be found out
 * whether they were written | what decide returned. err: lent, never NULL. */
typedef void (*app_done_fn)(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err);

/* Queue a command. Emits are decided in the order in which they come, each on a model that holds the events of the one
 * before; while the process replays they wait. done is called exactly once, never from inside app_emit; after
 * ERR_CANCELLED it emits no more. The events of one command are written all or none.
 * With app_options.trial_begin what is queued is decided and appended together, up to ENVELOPE_BATCH_SIZE_MAX. */
void app_emit(struct app *a, app_decide_fn decide, void *ctx, app_done_fn done);
/* The same, known by the id of its first event: if the log holds that event, decide is not called and the answer is
 * OK with the first one's position. decide gives its first event this id. */
void app_emit_once(struct app *a, struct id id, app_decide_fn decide, void *ctx, app_done_fn done);

/* Emit one event whatever the model says; known by its id as in app_emit_once. Such commands share an append also in a
 * process without trial functions. */
void app_emit_event(struct app *a, const struct app_event *event, void *ctx, app_done_fn done);
/* Emit it if `holds` is true of the model, else ERR_CONFLICT. Known by its id. */
typedef bool (*app_if_fn)(void *ctx, const void *model);
void app_emit_if(struct app *a, app_if_fn holds, const struct app_event *event, void *ctx, app_done_fn done);
/* Emit it at the instant (app_events_add_timer). done: the timer is durable. */
void app_emit_at(struct app *a, int64_t at_us, const struct app_event *event, void *ctx, app_done_fn done);
/* OK: it will not fire | ERR_NOT_FOUND it was not set, has fired or was cancelled. */
void app_cancel_at(struct app *a, struct id timer, void *ctx, app_done_fn done);

size_t app_queued(const struct app *a);   /* emits not yet answered */
size_t app_timers_n(const struct app *a); /* set and neither fired nor cancelled */
/* Consequences that are not in the log yet, and why the first of them cannot be written (NULL: nothing is wrong). */
size_t app_due_n(const struct app *a, const struct errinfo **ret_why);
