#pragma once
/* app/inside.h - what the files of this room share. Layer: app.
 *   app.c     life: open, tick, close            input.c     reading the logs, whose event is next
 *   fold.c    one event into the model           batch.c     deciding and appending what is queued
 *   emit.c    commands and their answers         ids.c       the newest ids, to know a command by
 *   due.c     consequences not in the log yet    timers.c    durable timers
 *   effects.c what gateways carry out            schedule.c  scheduled reads
 *   snapshot.c checkpoint files                  wait.c      waiting for a position, cursors
 *   tell.c    gateways and workloads             partition.c ranges
 *   progress.c counts of windows, errors    set_aside.c refused records that are passed over */
#include <uv.h>

#include "app/app.h"
#include "app/checkpoint.h"
#include "app/effects.h"
#include "app/progress.h"
#include "base/map.h"
#include "base/queue.h"

struct app_events {
    struct store_event *items;
    size_t n, size;
    size_t base; /* those before are another command's */
    struct arena texts;
};
void events_clear(struct app_events *e);
void events_done(struct app_events *e);

/* --- commands --- */

struct app_command {
    TAILQ_ENTRY(app_command) link;
    UT_hash_handle hh;    /* by `once`, while a batch is put together */
    app_decide_fn decide; /* NULL: `given` as it is, whatever the model says */
    app_if_fn holds;      /* `given` if it holds */
    struct app_events given;
    struct id once;  /* ID_NONE: not known by an id */
    struct id timer; /* to be cancelled */
    app_done_fn done;
    void *ctx;
    unsigned attempts;
    bool is_searched; /* the log holds no event `once` up to searched_seq */
    uint64_t searched_seq;
    /* What became of it, told when the model has folded `answer_at`. */
    enum err rc;
    struct errinfo err;
    struct store_pos answer_at;
    struct store_pos found; /* its event was there before: answered with this place */
};
TAILQ_HEAD(app_commands, app_command);

/* What one append is made of, decided on the model at one place. */
struct app_batch {
    struct app_events events;
    struct app_group {
        size_t from, n;         /* events of one command, all or none; or one that is due */
        struct app_command *of; /* NULL: it is due */
    } *groups;
    size_t groups_n, groups_size;
    struct store_group *parts; /* the groups, as the store wants them */
    size_t taken;              /* groups that were written */
    size_t size_bytes;         /* of the events as lines, at least */
    size_t commands_n;         /* the first of app.commands. Their answer_at.seq counts events of the batch */
};

struct app_wait {
    TAILQ_ENTRY(app_wait) link;
    struct app *app;
    struct app_waits *list; /* that it is in */
    uint64_t seq, until_ms;
    app_reached_fn reached;
    void *ctx;
    enum err rc; /* once settled */
};
TAILQ_HEAD(app_waits, app_wait);

/* --- what the runtime folds --- */

struct app_ids {
    struct app_known {
        struct id id;
        struct store_pos pos;
        int64_t instant_us;
    } *ring;         /* APP_REMEMBERED_N; NULL until the first */
    uint32_t *slots; /* indices into ring + 1; 0: free */
    size_t n, next;
    uint64_t since_seq; /* every event behind it is known */
    int64_t since_us;   /* instant of the event since_seq; INT64_MIN: the log's beginning */
};
enum ids_answer { IDS_FOUND, IDS_ABSENT, IDS_UNKNOWN };
void ids_add(struct app_ids *ids, const struct store_record *r);
/* IDS_UNKNOWN: not among the newest, and it may be older. */
enum ids_answer ids_find(const struct app_ids *ids, struct id id, struct store_pos *ret);
/* Nothing is known up to here. */
void ids_restart(struct app_ids *ids, uint64_t seq, int64_t instant_us);
void ids_done(struct app_ids *ids);

struct app_due {
    UT_hash_handle hh; /* by id */
    TAILQ_ENTRY(app_due) link;
    struct id id;
    struct str type, payload; /* owned */
    uint64_t not_before_ms;   /* of the loop's clock; 0: not looked at yet */
    bool is_refused;
};
TAILQ_HEAD(app_due_list, app_due);

struct app_timer {
    UT_hash_handle hh; /* by id */
    struct id id;
    int64_t at_us, due_us;    /* due_us: at_us, or later where another replica is preferred */
    struct str type, payload; /* owned */
    size_t place;             /* in the heap */
    bool was_left;            /* to the preferred one */
};

struct app_object; /* of effects.c */
struct app_item;
TAILQ_HEAD(app_objects, app_object);
TAILQ_HEAD(app_items, app_item);

struct app_gateway {
    const struct gateway *g; /* NULL: removed, swept later */
    bool is_told_live;
    struct app_object *objects; /* by name */
    struct app_objects ready, later;
    struct app_items parked, finished;
    size_t items_n, running_n, parked_n;
};

struct app_workload {
    struct workload w;
    bool is_started, is_running;
    struct errinfo trouble;
};

struct app_scheduled {
    struct app_schedule s;
    int64_t next_us; /* INT64_MIN: no event yet */
};

/* --- inputs --- */

struct app_input {
    struct app *app;
    struct store *store;
    struct store_watch *watch;
    struct id log;
    struct store_pos at;      /* folded up to */
    struct store_pos read;    /* read up to: the end of the queue */
    uint64_t end_seq;         /* of the log as last seen */
    struct store_batch queue; /* read; folded up to `next` */
    size_t next;
    int64_t seen_us;  /* the store's clock before the last read that came to the end; INT64_MIN: none did */
    bool has_news;    /* perhaps: look */
    bool must_reopen; /* in the pool, before the next read */
    bool is_trouble_noted;
    /* In the pool's hands while app.work is WORK_READ and is_reading. */
    bool is_reading;
    int64_t clock_us, began_us;
    struct store_batch fresh;
    enum err rc;
    struct errinfo err;
};

/* One call of the store at a time, in uv's pool. The loop does not touch what it uses until it is back. */
enum app_work { WORK_NONE, WORK_LOAD, WORK_READ, WORK_APPEND, WORK_FIND, WORK_LOOK };

/* The record that apply refused; it is still the first of its input's queue. */
struct app_refused {
    uint64_t seq; /* 0: none */
    size_t input;
    uint64_t after; /* behind it: so far no SetAside names it */
    bool is_looked; /* for one */
    bool is_aside;  /* there is one: it is passed over */
};

struct app {
    const char *name;
    struct uv_loop_s *loop;
    struct app_options opt;
    struct app_input *inputs;
    size_t inputs_n;
    enum app_state state;
    struct errinfo stall, trouble, append_trouble;
    uint64_t append_failures;
    int64_t append_took_us; /* of the append that is under way; written in the pool */
    struct app_refused refused;
    bool is_troubled;
    bool is_fresh;   /* the model is at the end of all that was read, and no append found out otherwise */
    bool is_changed; /* something was folded and not told yet */
    bool is_paused;  /* on_step was called, app_step_done not yet */
    bool is_ticking;

    enum app_work work;
    uv_work_t work_req;
    bool must_hold; /* in the pool, before the next read of the output log: too many conflicts */
    bool is_held;   /* the output log, until the next append */
    enum err work_rc;
    struct errinfo work_err;
    uint64_t found_seq; /* where the last event was found after its answer was lost; or what WORK_FIND found */

    struct app_batch batch;
    struct store_record *records; /* of the batch, as they were written */
    struct app_commands commands; /* the first batch.commands_n are being worked on when an append is under way */
    struct app_commands written;  /* durable or refused, answered when the model is there */
    size_t commands_n;            /* of both */

    struct event_time last_time; /* of the last event folded */
    size_t last_input;
    struct app_ids ids;
    struct app_due *dues; /* by id */
    struct app_due_list due_list;
    unsigned conflicts_of_dues; /* in a row */
    uint64_t dues_rest_ms;      /* of the loop's clock: the store did not take them, not before then again */
    struct errinfo due_why;     /* why one was refused */
    uint64_t written_seq;       /* the output log holds what we wrote up to here, perhaps not yet read back */
    struct app_timer *timers;   /* by id */
    struct app_timer **heap;
    size_t heap_n, heap_size;
    struct app_item *items; /* effects, by id */
    struct app_scheduled *schedules;
    size_t schedules_n;
    int64_t read_us;   /* the last scheduled instant that was read; INT64_MIN: none */
    char *ranges_text; /* "*", or the ranges with blanks between them */

    struct app_waits waits, settled;
    struct app_gateway **gateways;
    size_t gateways_n;
    struct app_workload *workloads;
    size_t workloads_n;
    int64_t wake_us;
    int64_t looked_us;   /* monotonic; before the last read or append that came to the end of the output log */
    int64_t end_seen_us; /* that, once all of it was folded; INT64_MIN: never */
    struct app_counts counts;
    struct app_errors errors;

    uv_work_t snapshot_req;
    bool is_saving, must_save, must_load;
    struct buf snapshot_bytes;
    struct checkpoint snapshot_loaded;
    json_t *snapshot_state; /* the runtime's part of it; NULL: none */
    uint64_t snapshot_due;  /* events_in at which the next is written */
    struct checkpoint snapshot_saved;
    enum err snapshot_rc;
    struct errinfo snapshot_err, snapshot_trouble;

    uv_idle_t soon;
    uv_timer_t poll_timer, wake_timer, wait_timer, event_timer, settle_timer, due_timer, effects_timer;
    int handles_open;
    bool is_finishing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* app_tick in the next turn of the loop: what callbacks of others call. */
void app_soon(struct app *a);
/* The next step, if none is under way. Only from the loop's own callbacks. */
void app_tick(struct app *a);
/* Run `work` in the pool, then `after` in the loop. */
void app_work_start(struct app *a, enum app_work kind, uv_work_cb work, uv_after_work_cb after);
void app_stall(struct app *a, const struct errinfo *cause);
/* No append follows what the log is held for. */
void app_drop_hold(struct app *a);
static inline struct app_input *app_output(const struct app *a)
{
    return &a->inputs[0];
}

/* --- input.c --- */

enum err inputs_open(struct app *a, struct errinfo *err);
void inputs_close(struct app *a);
void inputs_done(struct app *a);
/* All of them are to be looked at. */
void inputs_hint(struct app *a);
bool inputs_have_news(const struct app *a);
/* Read those that have news and nothing queued. False: there are none. */
bool inputs_read(struct app *a);
/* The model holds all of the output log that was there when it was last looked at: remember when that was. */
void inputs_note_end(struct app *a);
/* Every input was read to its end. */
bool inputs_at_end(const struct app *a);
/* Nothing is read and not folded. */
bool inputs_empty(const struct app *a);
/* What is to be folded next. */
enum input_next {
    NEXT_EVENT,  /* of *ret_input */
    NEXT_READ,   /* the scheduled read that is due */
    NEXT_LOOK,   /* an input must be read first: it has news now */
    NEXT_SETTLE, /* wait until the clock of *ret_input's store is past *ret_until_us */
    NEXT_NONE,
};
enum input_next inputs_next(struct app *a, size_t *ret_input, int64_t *ret_until_us);
/* Queue what an append of ours wrote, as if it had been read. Takes the batch's events and a->records. */
void inputs_take_written(struct app *a, size_t n);
/* Everything from the first event on. */
void inputs_rewind(struct app *a);

/* --- fold.c --- */

/* Fold up to APP_READ_RECORDS of what is queued. True: there is more at once. */
bool fold_some(struct app *a);
/* Is the event one of the runtime's own? */
bool fold_is_ours(struct str type);
bool fold_in_range(const struct app *a, const struct store_record *r);
/* An event came that stands before what was folded: begin anew, or stall. */
void fold_late(struct app *a, size_t input, const struct store_record *r);
/* The id that consequences are derived from. */
struct id fold_cause_id(const struct store_record *r);
/* Forget all that was folded. */
void fold_restart(struct app *a);

/* --- emit.c, append.c, batch.c --- */

/* Decide what is queued on the model and start its append. True: something was done, look again. */
bool emit_step(struct app *a);
/* Something could be decided now. */
bool emit_is_due(struct app *a);
/* Answer all with this error. */
void emit_fail_all(struct app *a, const struct errinfo *why);
/* The model moved: answer what waited for it. */
void emit_after_fold(struct app *a);
/* The record was folded: the position of who waits for it is complete. */
void emit_on_folded(struct app *a, const struct store_record *r);
/* Answer the command, which is in *list, and forget it. */
void emit_answer(struct app *a, struct app_commands *list, struct app_command *c);
void emit_answer_err(struct app *a, struct app_commands *list, struct app_command *c, const struct errinfo *err);
/* Answer those whose answer does not depend on an append. True: there were some. */
bool emit_answer_decided(struct app *a);
/* Start the append of the batch. */
void append_start(struct app *a);
/* Fill a->batch from what is queued. *ret_search: a command whose id must be looked for in the log first, or NULL. */
void batch_decide(struct app *a, struct app_command **ret_search);
void batch_clear(struct app *a);
void batch_done(struct app *a);

/* --- due.c, timers.c, schedule.c, effects.c --- */

/* An event that must follow. Copied. */
void due_add(struct app *a, struct id id, struct str type, struct str payload);
/* The log holds the event. */
void due_on_event(struct app *a, struct id id);
/* The first that may be written now, behind `after` (NULL: the first of all). Sets the timer when the next is later. */
struct app_due *due_next(struct app *a, struct app_due *after);
/* It was left to the preferred replica already. */
void due_left(struct app *a, struct id id);
void due_refused(struct app *a, struct app_due *d, const struct errinfo *why);
void due_done(struct app *a);
bool is_preferred(const struct app *a, struct id id);

enum err timers_apply(struct app *a, const struct store_record *r, struct errinfo *err);
void timers_set(struct app *a, struct id id, int64_t at_us, struct str type, struct str payload);
void timers_on_event(struct app *a, struct id id);
bool timers_has(const struct app *a, struct id id);
/* What is over becomes due. */
void timers_fire(struct app *a);
/* The instant of the next; INT64_MAX: none. */
int64_t timers_next_us(const struct app *a);
void timers_done(struct app *a);

/* The earliest instant not yet read; INT64_MAX: none. */
int64_t schedule_next_us(const struct app *a);
/* The first event's instant begins the schedules. */
void schedule_begin(struct app *a, int64_t instant_us);
/* Do the read that is next. */
void schedule_read(struct app *a);

void effects_on_event(struct app *a, size_t input, const struct store_record *r);
/* The log says that it is done, or the app begins anew. */
void effects_settled(struct app *a, struct id id);
void effects_add_item(struct app *a, struct app_gateway *gw, const struct app_effect *e);
/* Carry out what may be. */
void effects_step(struct app *a);
/* Walk over all that are pending: for the checkpoint. */
void effects_each(const struct app *a, void (*f)(void *ctx, const char *gateway, const struct app_effect *e),
                  void *ctx);
void effects_clear(struct app *a);

/* --- set_aside.c --- */

/* apply refused the record. True: it is looked for a SetAside before the process stalls. */
bool aside_refused(struct app *a, size_t input, const struct store_record *r);
/* A record was refused, and nobody has looked yet: no fold, no emit until aside_look's answer. */
bool aside_is_open(const struct app *a);
/* Look, if one has to. When stalled: if the log has news. True: under way. */
bool aside_look(struct app *a);

/* --- tell.c --- */

enum err tell_open(struct app *a, struct errinfo *err);
void tell_live(struct app *a);
void tell_change(struct app *a);
void tell_stalled(struct app *a);
/* It is not any more: on_live is called again. */
void tell_goes_on(struct app *a);
void tell_stop(struct app *a);
void tell_done(struct app *a);

/* --- snapshot.c --- */

/* Start reading the checkpoint. False: there is none to look for. */
bool snapshot_load(struct app *a);
/* Start writing one if it is time. */
void snapshot_step(struct app *a);
/* The last one. True: under way. */
bool snapshot_last(struct app *a);

/* Answer the waits that are over. */
void wait_settle(struct app *a);
