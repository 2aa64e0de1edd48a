#pragma once
/* app/inside.h - what app.c (reading, folding, life), emit.c (commands) and wait.c (waits) share. Layer: app. */
#include <sys/queue.h>
#include <uv.h>

#include "app/app.h"

struct app_events {
    struct store_event *items;
    size_t n, size;
    struct arena texts;
};

struct app_command {
    TAILQ_ENTRY(app_command) link;
    app_decide_fn decide;
    app_done_fn done;
    void *ctx;
    unsigned attempts;
};
TAILQ_HEAD(app_commands, app_command);

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

struct app_gateway {
    const struct gateway *g; /* NULL: removed, swept later */
    bool is_told_live;
};

/* One call of the store at a time, in uv's pool. The loop does not touch what it uses until it is back. */
enum app_work { WORK_NONE, WORK_READ, WORK_APPEND };

struct app {
    const char *name;
    struct uv_loop_s *loop;
    struct app_options opt;
    struct store *store;
    struct store_watch *watch;
    struct id log;
    enum app_state state;
    struct errinfo stall, trouble;
    bool is_troubled;
    struct store_pos at; /* the model's */
    uint64_t end_seq;
    bool has_news;  /* perhaps: look before anything else */
    bool is_fresh;  /* the model was at the log's end, and no append found out otherwise: decide before reading again */
    bool is_paused; /* on_step was called, app_step_done not yet */

    enum app_work work;
    uv_work_t work_req;
    bool must_reopen; /* in the pool, before the next read */
    bool must_hold;   /* in the pool, before the next read: too many conflicts */
    bool is_held;     /* the log, until the next append */
    enum err work_rc;
    struct errinfo work_err;
    struct store_batch batch;     /* WORK_READ */
    struct app_events events;     /* WORK_APPEND: what was decided … */
    struct store_record *records; /* … as it was written, */
    uint64_t found_seq;           /* … or where its last event was found after its answer was lost */

    struct app_commands commands; /* the first is being worked on when an append is under way */
    size_t commands_n;
    struct app_command *lost; /* written, answer lost, not yet read back: done when the model is at found_seq */
    struct app_waits waits, settled;
    struct app_gateway *gateways;
    size_t gateways_n;
    int64_t wake_us;

    uv_idle_t soon;
    uv_timer_t poll_timer, wake_timer, wait_timer;
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
/* Fold. False: refused, the process is stalled. */
bool app_fold(struct app *a, const struct store_record *r);
void app_stall(struct app *a, const struct errinfo *cause);
/* No append follows what the log is held for. */
void app_drop_hold(struct app *a);
/* Tell the gateways of news. */
void app_tell_change(struct app *a);

/* Decide the first command on the model and start its append. True: something was done, look again. */
bool emit_step(struct app *a);
/* A command could be decided now. */
bool emit_is_due(const struct app *a);
/* Answer all with this error. */
void emit_fail_all(struct app *a, const struct errinfo *why);
/* The model moved: a command whose answer was lost may be done now. */
void emit_after_fold(struct app *a);
void emit_done(struct app *a);

/* Answer the waits that are over. */
void wait_settle(struct app *a);
