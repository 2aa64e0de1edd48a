#pragma once
/* A ledger in a simulated world: an event-sourced process whose logs, clock and faults are a seed's. The loop is real,
 * time is not: it moves by world_step only, after everybody has come to rest.
 *
 * Events, whose times rise: Added {"by":n} changes the total, which never falls below 0; Noted is only noted; Asked
 * must be followed by Answered twice. The trace holds all that was folded, in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "app/effects.h"
#include "app/inside.h"
#include "assert_err.h"
#include "base/json.h"
#include "base/own.h"
#include "folder.h"
#include "store/simulated.h"

/* --- chance --- */

struct chance {
    uint64_t state;
};
static inline uint32_t chance_next(struct chance *c)
{
    c->state = c->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(c->state >> 33);
}
static inline uint32_t chance_below(struct chance *c, uint32_t n)
{
    return chance_next(c) % n;
}
/* A UUID that is no version 7: nothing is known of its age. */
static inline struct id chance_id(struct chance *c)
{
    struct id id;
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        id.bytes[i] = (uint8_t)chance_next(c);
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    return id;
}
/* Seeds that a test runs through: all up to `n`, or only the one of the environment. */
#define EACH_SEED(seed, n)                                                                                             \
    for (uint64_t seed = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : 1,                              \
                  last_##seed = getenv("SEED") != NULL ? seed : (n);                                                   \
         seed <= last_##seed; seed++)

/* --- the world --- */

enum { PROCS_MAX = 8 };
struct world {
    uv_loop_t loop;
    uv_timer_t bound;
    struct store_world *stores;
    int64_t now_us;
    struct chance chance;
    struct ledger *procs[PROCS_MAX];
    char dir[64];
};

#define WORLD_BEGIN_US 1767225600000000 /* 2026-01-01 */

static inline void world_too_late(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static inline void world_open(struct world *w, uint64_t seed)
{
    *w = (struct world){.now_us = WORLD_BEGIN_US, .chance = {seed * 7919}};
    assert_true(scratch_make("/tmp", w->dir, sizeof(w->dir)));
    w->stores = store_world_new(seed);
    store_world_set_now_us(w->stores, w->now_us);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->bound), 0);
    assert_int_equal(uv_timer_start(&w->bound, world_too_late, 90000, 0), 0);
}

static inline void world_close(struct world *w)
{
    uv_close((uv_handle_t *)&w->bound, NULL);
    for (int turn = 0; turn < 10 && uv_run(&w->loop, UV_RUN_NOWAIT) != 0; turn++)
        continue;
    assert_int_equal(uv_loop_close(&w->loop), 0); /* nothing of an app was left in it */
    store_world_free(w->stores);
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/checkpoint", w->dir);
    (void)remove(path);
    (void)rmdir(w->dir);
}

static inline struct store *world_log(struct world *w, const char *name)
{
    struct store *s = NULL;
    auto_free char *spec = mem_printf("simulated;name=%s", name);
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_CREATE, .world = w->stores}, &s, NULL, &why));
    return s;
}

/* --- the process --- */

struct ledger {
    struct world *world;
    struct app *app;
    int64_t total;
    uint64_t n;
    struct event_time last;
    struct buf trace;
    struct {
        int64_t total;
        uint64_t n;
        struct event_time last;
        size_t trace_len;
        bool is_on;
    } trial;
    int lives, changes, stalls, resets;
    bool is_quiet; /* nothing follows from Asked */
    struct gateway gateway;
};

static inline int64_t payload_by(const struct store_record *r)
{
    auto_json json_t *doc = NULL;
    return json_parse(r->e.payload, &doc, NULL) == OK ? json_integer_value(json_object_get(doc, "by")) : 0;
}

static inline enum err ledger_apply(void *model, const struct store_record *r, struct errinfo *err)
{
    struct ledger *l = model;
    char id[ID_TEXT_SIZE];
    if (l->n > 0 && event_time_cmp(r->e.time, l->last) < (l->app->inputs_n == 1))
        return err_set(err, ERR_CORRUPT, "its time is not behind that of the event before");
    if (str_eq_c(r->e.type, "Added")) {
        int64_t by = payload_by(r);
        l->total += by; /* before the check: who refuses need not put it back in a trial */
        if (l->total < 0)
            return err_set(err, ERR_CORRUPT, "a total of %lld cannot go down by %lld", (long long)(l->total - by),
                           (long long)-by);
    } else if (!str_eq_c(r->e.type, "Noted") && !str_eq_c(r->e.type, "Asked") && !str_eq_c(r->e.type, "Answered")) {
        return err_set(err, ERR_NOT_FOUND, "kind '%.*s' is not known", STR_ARG(r->e.type));
    }
    l->n++;
    l->last = r->e.time;
    id_format(r->e.id, id);
    buf_addf(&l->trace, "%.*s %s\n", STR_ARG(r->e.type), id);
    return OK;
}

static inline void ledger_trial_begin(void *model)
{
    struct ledger *l = model;
    assert_false(l->trial.is_on);
    l->trial.is_on = true;
    l->trial.total = l->total;
    l->trial.n = l->n;
    l->trial.last = l->last;
    l->trial.trace_len = l->trace.len;
}

static inline void ledger_trial_end(void *model)
{
    struct ledger *l = model;
    assert_true(l->trial.is_on);
    l->trial.is_on = false;
    l->total = l->trial.total;
    l->n = l->trial.n;
    l->last = l->trial.last;
    l->trace.len = l->trial.trace_len;
}

static inline void ledger_reset(void *model)
{
    struct ledger *l = model;
    l->total = 0;
    l->n = 0;
    l->resets++;
    buf_clear(&l->trace);
}

static inline void ledger_follow(const void *model, const struct store_record *r, struct app_events *ret_events)
{
    const struct ledger *l = model;
    if (l->is_quiet || !str_eq_c(r->e.type, "Asked"))
        return;
    app_events_add(ret_events, STR("Answered"), ID_NONE, STR("{\"by\":1}"));
    app_events_add(ret_events, STR("Answered"), ID_NONE, STR("{\"by\":2}"));
}

static inline void ledger_on_live(void *ctx)
{
    ((struct ledger *)ctx)->lives++;
}
static inline void ledger_on_change(void *ctx, const struct app_position *at)
{
    struct ledger *l = ctx;
    (void)at;
    assert_false(l->trial.is_on);
    l->changes++;
}
static inline void ledger_on_stalled(void *ctx, const struct errinfo *cause)
{
    (void)cause;
    ((struct ledger *)ctx)->stalls++;
}

/* With trials, consequences, reset; log is what the process appends to. The caller may change it before ledger_start.
 */
static inline struct app_options ledger_options(struct ledger *l)
{
    return (struct app_options){.name = "ledger",
                                .model = l,
                                .apply = ledger_apply,
                                .trial_begin = ledger_trial_begin,
                                .trial_end = ledger_trial_end,
                                .reset = ledger_reset,
                                .consequences = ledger_follow};
}

static inline void ledger_start(struct world *w, struct ledger *l, const struct app_options *o)
{
    l->world = w;
    assert_ok(app_open(&w->loop, o, &l->app, &why));
    l->gateway = (struct gateway){.name = "test",
                                  .ctx = l,
                                  .on_live = ledger_on_live,
                                  .on_change = ledger_on_change,
                                  .on_stalled = ledger_on_stalled};
    app_add_gateway(l->app, &l->gateway);
    for (size_t i = 0; i < PROCS_MAX; i++) {
        if (w->procs[i] == NULL) {
            w->procs[i] = l;
            return;
        }
    }
    fail_msg("too many processes");
}

static inline bool ledger_rests(const struct ledger *l)
{
    const struct app *a = l->app;
    return a->work == WORK_NONE && !a->is_saving && !uv_is_active((const uv_handle_t *)&a->soon);
}

/* Until nobody does anything, as long as the clock stands still. */
static inline void world_rest(struct world *w)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        for (size_t i = 0; i < PROCS_MAX; i++)
            if (w->procs[i] != NULL && !ledger_rests(w->procs[i])) {
                (void)uv_run(&w->loop, w->procs[i]->app->work != WORK_NONE ? UV_RUN_ONCE : UV_RUN_NOWAIT);
                quiet = 0;
            }
    }
}

static inline void world_step(struct world *w, int64_t us)
{
    world_rest(w);
    w->now_us += us;
    store_world_set_now_us(w->stores, w->now_us);
    for (size_t i = 0; i < PROCS_MAX; i++)
        if (w->procs[i] != NULL)
            app_hint(w->procs[i]->app);
    world_rest(w);
}

static inline void world_on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static inline void ledger_stop(struct world *w, struct ledger *l)
{
    bool is_closed = false;
    app_close(l->app, world_on_closed, &is_closed);
    while (!is_closed)
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    for (size_t i = 0; i < PROCS_MAX; i++)
        if (w->procs[i] == l)
            w->procs[i] = NULL;
    l->app = NULL;
}

static inline void ledger_open(struct world *w, struct ledger *l, struct store *log)
{
    struct app_options o = ledger_options(l);
    o.inputs = &log;
    o.inputs_n = 1;
    ledger_start(w, l, &o);
    world_rest(w);
}

/* Forget what was folded, for the next start. */
static inline void ledger_clear(struct ledger *l)
{
    buf_done(&l->trace);
    *l = (struct ledger){0};
}

/* --- commands --- */

struct ask {
    int64_t by, limit; /* refuse to go over; 0: none */
    struct id id;
    int decided, done;
    enum err rc;
    struct app_position at;
    struct errinfo err;
    struct ledger *of;
};

static inline enum err ask_decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct ask *ask = ctx;
    const struct ledger *l = model;
    ask->decided++;
    assert_int_equal(app_events_n(ret_events), 0);
    if (ask->limit > 0 && l->total + ask->by > ask->limit)
        return err_set(err, ERR_DENIED, "the total would go over %lld", (long long)ask->limit);
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"by\":%lld}", (long long)ask->by);
    app_events_add(ret_events, STR("Added"), ask->id, (struct str){text, (size_t)n});
    return OK;
}

static inline void ask_done(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    struct ask *ask = ctx;
    if (ask->of != NULL)
        assert_false(ask->of->trial.is_on);
    ask->done++;
    ask->rc = rc;
    ask->at = *at;
    ask->err = *err;
}

static inline void ask_for(struct world *w, struct ledger *l, struct ask *ask)
{
    if (id_is_none(ask->id))
        ask->id = chance_id(&w->chance);
    ask->of = l;
    app_emit(l->app, ask_decide, ask, ask_done);
}

/* What the log holds. *ret: store_batch_done. */
static inline void read_all(struct world *w, const char *name, struct store_batch *ret)
{
    struct store *s = world_log(w, name);
    assert_ok(store_read(s, 0, 0, 0, ret, &why));
    store_close(s);
}

static inline int times_in(const struct store_batch *b, struct id id)
{
    int n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += id_eq(b->items[i].e.id, id);
    return n;
}
