/* An event-sourced process that counts: replay, live, emit, conflicts between two of them, refusals, waits,
 * checkpoints. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <uv.h>

#include "app/app.h"
#include "app/checkpoint.h"
#include "assert_err.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "base/random.h"
#include "event/hash.h"
#include "folder.h"

/* --- the process under test --- */

struct counter {
    struct app *app;
    int64_t total, events_n;
    uint8_t hash[HASH_SIZE];           /* of all that was folded, in order */
    int lives, changes, stalls, wakes; /* what its gateway was told */
    int64_t total_when_live;
    struct gateway gateway;
    bool step;
};
static void on_step(void *model, const struct app_position *at);

static enum err counter_apply(void *model, const struct store_record *r, struct errinfo *err)
{
    struct counter *c = model;
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(r->e.payload, &doc, err);
    if (rc != OK)
        return rc;
    if (!str_eq_c(r->e.type, "Added"))
        return err_set(err, ERR_NOT_FOUND, "kind '%.*s' is not known", STR_ARG(r->e.type));
    int64_t by = json_integer_value(json_object_get(doc, "by"));
    if (c->total + by < 0)
        return err_set(err, ERR_CORRUPT, "a count of %lld cannot go down by %lld", (long long)c->total, (long long)-by);
    c->total += by;
    c->events_n++;
    struct hash *h = hash_new();
    hash_add(h, c->hash, HASH_SIZE);
    hash_add(h, r->e.id.bytes, sizeof(r->e.id.bytes));
    hash_finish(h, c->hash);
    return OK;
}

static void on_live(void *ctx)
{
    struct counter *c = ctx;
    c->lives++;
    c->total_when_live = c->total;
}
static void on_change(void *ctx, const struct app_position *at)
{
    struct counter *c = ctx;
    assert_true(c->lives == 1 && at->seq == (uint64_t)c->events_n);
    c->changes++;
}
static void on_stalled(void *ctx, const struct errinfo *cause)
{
    (void)cause;
    ((struct counter *)ctx)->stalls++;
}
static void on_wake(void *model)
{
    ((struct counter *)model)->wakes++;
}

/* --- a test's loop and folder --- */

struct fixture {
    char dir[64], spec[128];
    uv_loop_t loop;
    uv_timer_t bound;
};

static void too_late(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static int setup(void **state)
{
    struct fixture *x = mem_alloc(sizeof(*x));
    assert_true(scratch_make("/tmp", x->dir, sizeof(x->dir)));
    (void)snprintf(x->spec, sizeof(x->spec), "files;path=%s/log", x->dir);
    assert_int_equal(uv_loop_init(&x->loop), 0);
    assert_int_equal(uv_timer_init(&x->loop, &x->bound), 0);
    assert_int_equal(uv_timer_start(&x->bound, too_late, 90000, 0), 0);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    uv_close((uv_handle_t *)&x->bound, NULL);
    for (int turn = 0; turn < 10 && uv_run(&x->loop, UV_RUN_NOWAIT) != 0; turn++)
        continue;                                 /* not until it is empty: after a failed assertion it never is */
    assert_int_equal(uv_loop_close(&x->loop), 0); /* nothing of an app was left in it */
    (void)scratch_remove(x->dir);
    free(x);
    return 0;
}

#define RUN_UNTIL(x, condition)                                                                                        \
    while (!(condition))                                                                                               \
    (void)uv_run(&(x)->loop, UV_RUN_ONCE)

static struct store *open_store(const struct fixture *x, const struct store_disk *disk)
{
    struct store *s = NULL;
    assert_ok(store_open(x->spec, &(struct store_options){.mode = STORE_CREATE, .disk = disk}, &s, NULL, &why));
    return s;
}

static void counter_start(struct fixture *x, struct counter *c, struct store *s, struct store_pos from)
{
    c->gateway = (struct gateway){"test", c, on_live, on_change, on_stalled};
    assert_ok(app_open(&x->loop,
                       &(struct app_options){.name = "counter",
                                             .model = c,
                                             .apply = counter_apply,
                                             .on_wake = on_wake,
                                             .on_step = c->step ? on_step : NULL,
                                             .inputs = &s,
                                             .inputs_n = 1,
                                             .from = from},
                       &c->app, &why));
    app_add_gateway(c->app, &c->gateway);
}

static void counter_open(struct fixture *x, struct counter *c)
{
    counter_start(x, c, open_store(x, NULL), (struct store_pos){0});
    assert_int_equal(app_state(c->app), APP_REPLAYING);
    RUN_UNTIL(x, c->lives > 0);
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void counter_close(struct fixture *x, struct counter *c)
{
    bool is_closed = false;
    app_close(c->app, on_closed, &is_closed);
    RUN_UNTIL(x, is_closed);
}

/* --- commands --- */

struct add {
    int64_t by, times; /* that many events in one batch */
    int64_t limit;     /* refuse to go over; 0: none */
    int decided, done, failed;
    enum err rc;
    struct app_position at;
    struct errinfo err;
    struct counter *next_on; /* emit `next_left` more from done */
    int next_left;
};

static enum err add_decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct add *add = ctx;
    const struct counter *c = model;
    add->decided++;
    if (add->limit > 0 && c->total + add->by > add->limit)
        return err_set(err, ERR_DENIED, "the count would go over %lld", (long long)add->limit);
    for (int64_t i = 0; i < add->times; i++) {
        struct id id;
        random_bytes(id.bytes, sizeof(id.bytes));
        char text[64];
        int n = snprintf(text, sizeof(text), "{\"by\":%lld}", (long long)add->by);
        app_events_add(ret_events, STR("Added"), id, (struct str){text, (size_t)n});
    }
    assert_int_equal(app_events_n(ret_events), add->times);
    return OK;
}

static void add_done(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    struct add *add = ctx;
    add->done++;
    add->failed += rc != OK;
    add->rc = rc;
    add->at = *at;
    add->err = *err;
    if (add->next_left > 0 && rc == OK) {
        add->next_left--;
        app_emit(add->next_on->app, add_decide, add, add_done);
    }
}

static struct add emit(struct fixture *x, struct counter *c, int64_t by)
{
    struct add add = {.by = by, .times = 1};
    app_emit(c->app, add_decide, &add, add_done);
    assert_int_equal(add.done, 0);
    RUN_UNTIL(x, add.done > 0);
    return add;
}

/* --- tests --- */

static void live_emit_restart(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0};
    counter_open(x, &a);
    assert_true(a.changes == 0 && app_is_live(a.app));
    struct add add = emit(x, &a, 5);
    assert_true(add.rc == OK && add.at.seq == 1 && a.total == 5 && add.decided == 1);
    struct add three = {.by = 2, .times = 3};
    app_emit(a.app, add_decide, &three, add_done);
    RUN_UNTIL(x, three.done > 0);
    assert_true(three.rc == OK && three.at.seq == 4 && a.total == 11);
    assert_int_equal(a.changes, 2);
    struct add none = {.times = 0};
    app_emit(a.app, add_decide, &none, add_done);
    RUN_UNTIL(x, none.done > 0);
    assert_true(none.rc == OK && none.at.seq == 4);
    struct add refused = {.by = 1, .times = 1, .limit = 11};
    app_emit(a.app, add_decide, &refused, add_done);
    RUN_UNTIL(x, refused.done > 0);
    assert_true(refused.rc == ERR_DENIED && strstr(refused.err.msg, "over 11") != NULL);
    assert_int_equal(app_queued(a.app), 0);
    counter_close(x, &a);

    struct counter b = {0}; /* gateways hear nothing of the replay but that it is over */
    counter_open(x, &b);
    assert_true(b.total_when_live == 11 && b.changes == 0 && b.lives == 1);
    assert_memory_equal(a.hash, b.hash, HASH_SIZE);
    counter_close(x, &b);
}

static void long_replay(void **state)
{
    struct fixture *x = *state;
    struct store *s = open_store(x, NULL);
    struct store_pos at = {0};
    struct store_event e[100];
    struct store_record r[100];
    for (uint64_t i = 0; i < 35; i++) { /* several reads long */
        for (size_t k = 0; k < 100; k++) {
            e[k] = (struct store_event){.type = STR("Added"), .payload = STR("{\"by\":1}")};
            random_bytes(e[k].id.bytes, sizeof(e[k].id.bytes));
        }
        assert_ok(store_append(s, at, e, 100, r, &why));
        at = (struct store_pos){r[99].seq, r[99].e.sum};
    }
    store_close(s);
    struct counter a = {0};
    counter_open(x, &a);
    assert_true(a.total_when_live == 3500 && a.lives == 1 && a.changes == 0 && app_end_seq(a.app) == 3500);
    counter_close(x, &a);
}

static void emits_wait_for_live(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0};
    counter_open(x, &a);
    (void)emit(x, &a, 1);
    counter_close(x, &a);
    struct counter b = {0};
    counter_start(x, &b, open_store(x, NULL), (struct store_pos){0});
    struct add add = {.by = 1, .times = 1, .limit = 1}; /* decided on the end of the log, not on the empty model */
    app_emit(b.app, add_decide, &add, add_done);
    RUN_UNTIL(x, add.done > 0);
    assert_true(add.rc == ERR_DENIED && add.decided == 1);
    counter_close(x, &b);
}

static void two_processes(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0}, b = {0};
    counter_open(x, &a);
    counter_open(x, &b);
    enum { EACH = 60 };
    struct add from_a = {.by = 1, .times = 2, .next_on = &a, .next_left = EACH - 1};
    struct add from_b = {.by = 3, .times = 1, .next_on = &b, .next_left = EACH - 1};
    app_emit(a.app, add_decide, &from_a, add_done);
    app_emit(b.app, add_decide, &from_b, add_done);
    RUN_UNTIL(x, from_a.done == EACH && from_b.done == EACH);
    assert_true(from_a.failed == 0 && from_b.failed == 0);
    RUN_UNTIL(x, a.events_n == EACH * 3 && b.events_n == EACH * 3);
    assert_true(a.total == EACH * 5 && b.total == a.total);
    assert_memory_equal(a.hash, b.hash, HASH_SIZE);
    /* They met: without a conflict each would have decided only once for each command. */
    assert_true(from_a.decided + from_b.decided > 2 * EACH);
    counter_close(x, &a);
    counter_close(x, &b);
}

/* Somebody who overtakes each decision: appends between it and its append, unless the log is held. */
struct overtaken {
    struct add add;
    struct store *rival;
    struct store_pos rival_at;
    int overtook, was_held_off;
};

static enum err overtaken_decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct overtaken *o = ctx;
    struct store_event e = {.type = STR("Added"), .payload = STR("{\"by\":0}")};
    random_bytes(e.id.bytes, sizeof(e.id.bytes));
    assert_ok(store_end(o->rival, &o->rival_at, &why));
    enum err rc = store_append(o->rival, o->rival_at, &e, 1, NULL, &why);
    if (rc != OK)
        assert_err(rc, ERR_UNAVAILABLE);
    o->overtook += rc == OK;
    o->was_held_off += rc != OK;
    return add_decide(&o->add, model, ret_events, err);
}

/* Whoever appends all the time is held off after some conflicts: each of our commands gets through. */
static void no_starvation(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0};
    counter_open(x, &a);
    struct fixture in_a_hurry = {0}; /* the rival gives up where it would have to wait for us */
    (void)snprintf(in_a_hurry.spec, sizeof(in_a_hurry.spec), "files;path=%s/log;lock_wait_ms=1", x->dir);
    struct store *rival = open_store(&in_a_hurry, NULL);
    for (int i = 1; i <= 5; i++) {
        struct overtaken o = {.add = {.by = 1, .times = 1}, .rival = rival};
        app_emit(a.app, overtaken_decide, &o, add_done);
        RUN_UNTIL(x, o.add.done > 0);
        assert_string_equal(err_name(o.add.rc), err_name(OK));
        assert_int_equal(o.overtook, APP_HOLD_AFTER);
        assert_int_equal(o.was_held_off, 1);
        assert_int_equal(o.add.decided, APP_HOLD_AFTER + 1);
        assert_true(a.total == i && a.events_n == i * (int)(APP_HOLD_AFTER + 1));
    }
    store_close(rival);
    counter_close(x, &a);
}

static void refused_event_stalls(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0};
    counter_open(x, &a);
    (void)emit(x, &a, 2);
    struct store *other = open_store(x, NULL);
    struct store_pos end;
    assert_ok(store_end(other, &end, &why));
    struct store_event e[2] = {{.type = STR("Added"), .id = {{7}}, .payload = STR("{\"by\":-3}")},
                               {.type = STR("Added"), .id = {{8}}, .payload = STR("{\"by\":50}")}};
    assert_ok(store_append(other, end, e, 2, NULL, &why));
    RUN_UNTIL(x, a.stalls > 0);
    assert_true(app_state(a.app) == APP_STALLED && !app_is_live(a.app) && a.stalls == 1);
    assert_true(a.total == 2 && app_position(a.app).seq == 1); /* nothing behind it is folded */
    const char *cause = app_stall_cause(a.app)->msg;
    assert_non_null(strstr(cause, "event 2 of log"));
    assert_non_null(strstr(cause, "cannot go down by 3"));
    struct add add = emit(x, &a, 1);
    assert_true(add.rc == ERR_UNAVAILABLE && add.decided == 0 && strstr(add.err.msg, "cannot go down") != NULL);
    assert_int_equal(a.changes, 1);
    store_close(other);
    counter_close(x, &a);
}

struct waiting {
    int done;
    enum err rc;
    struct errinfo err;
};
static void on_reached(void *ctx, enum err rc, const struct errinfo *err)
{
    struct waiting *w = ctx;
    w->done++;
    w->rc = rc;
    w->err = *err;
}

static void waiting_for_a_position(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0}, b = {0};
    counter_open(x, &a);
    counter_open(x, &b);
    struct waiting now = {0}, soon = {0}, never = {0}, cancelled = {0}, closing = {0};
    (void)app_wait(b.app, 0, APP_BEHIND_MS, on_reached, &now);
    assert_int_equal(now.done, 0);
    (void)app_wait(b.app, 2, 20000, on_reached, &soon);
    (void)app_wait(b.app, 99, 30, on_reached, &never);
    struct app_wait *w = app_wait(b.app, 2, 20000, on_reached, &cancelled);
    (void)app_wait(b.app, 100, 20000, on_reached, &closing);
    RUN_UNTIL(x, now.done > 0);
    app_wait_cancel(w);
    (void)emit(x, &a, 1);
    (void)emit(x, &a, 1);
    RUN_UNTIL(x, soon.done > 0 && never.done > 0);
    assert_true(now.rc == OK && soon.rc == OK && b.total == 2);
    assert_true(never.rc == ERR_UNAVAILABLE && strstr(never.err.msg, "behind") != NULL);
    counter_close(x, &a);
    counter_close(x, &b);
    assert_true(closing.done == 1 && closing.rc == ERR_CANCELLED);
    assert_true(cancelled.done == 0 && now.done == 1 && soon.done == 1 && never.done == 1);
}

static void closing_answers_all(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0}, b = {0};
    counter_open(x, &a);
    struct add adds[10];
    for (size_t i = 0; i < 10; i++) {
        adds[i] = (struct add){.by = 1, .times = 1};
        app_emit(a.app, add_decide, &adds[i], add_done);
    }
    RUN_UNTIL(x, adds[2].done > 0);
    counter_close(x, &a);
    int64_t ok = 0;
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(adds[i].done, 1);
        assert_true(adds[i].rc == OK || adds[i].rc == ERR_CANCELLED);
        ok += adds[i].rc == OK;
    }
    counter_open(x, &b);
    assert_int_equal(b.total, ok); /* OK means durable, cancelled means not written */
    counter_close(x, &b);
}

static void waking(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0};
    counter_start(x, &a, open_store(x, NULL), (struct store_pos){0});
    int64_t from = app_clock_us(a.app);
    app_wake_at(a.app, from + 15000);
    RUN_UNTIL(x, a.wakes > 0);
    assert_true(a.wakes == 1 && a.lives == 1 && app_clock_us(a.app) >= from + 15000);
    app_wake_at(a.app, from);
    app_wake_at(a.app, INT64_MAX);
    (void)emit(x, &a, 1);
    assert_int_equal(a.wakes, 1);
    app_wake_at(a.app, from); /* past: at once */
    RUN_UNTIL(x, a.wakes == 2);
    counter_close(x, &a);
}

/* --- answers that get lost --- */

struct flaky {
    struct store_disk disk;
    bool cannot_read;
    int fail_sync, fail_head, lose_head; /* count down to the call that fails, or is done and says that it failed */
};
static ssize_t flaky_pwrite(void *ctx, int fd, const void *bytes, size_t n, off_t at)
{
    struct flaky *d = ctx;
    bool is_head = n == 512;
    if (is_head && d->fail_head > 0 && --d->fail_head == 0) {
        errno = EIO;
        return -1;
    }
    if (is_head && d->lose_head > 0 && --d->lose_head == 0) {
        (void)!pwrite(fd, bytes, n, at);
        errno = EIO;
        return -1;
    }
    return pwrite(fd, bytes, n, at);
}
static ssize_t flaky_pread(void *ctx, int fd, void *bytes, size_t n, off_t at)
{
    struct flaky *d = ctx;
    if (d->cannot_read) {
        errno = EIO;
        return -1;
    }
    return pread(fd, bytes, n, at);
}
static int flaky_fdatasync(void *ctx, int fd)
{
    struct flaky *d = ctx;
    if (d->fail_sync > 0 && --d->fail_sync == 0) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

static void append_that_fails(void **state)
{
    struct fixture *x = *state;
    struct flaky d = {0};
    d.disk = (struct store_disk){.ctx = &d, .pwrite = flaky_pwrite, .fdatasync = flaky_fdatasync};
    struct counter a = {0};
    counter_start(x, &a, open_store(x, &d.disk), (struct store_pos){0});
    (void)emit(x, &a, 1);
    d.fail_sync = 1;
    struct add add = emit(x, &a, 10);
    assert_true(add.rc == ERR_UNAVAILABLE && strstr(add.err.msg, "nothing was written") != NULL);
    d.fail_head = 1;
    add = emit(x, &a, 10);
    assert_int_equal(add.rc, ERR_UNAVAILABLE);
    add = emit(x, &a, 100); /* the process goes on */
    assert_true(add.rc == OK && a.total == 101 && a.stalls == 0 && app_trouble(a.app) == NULL);
    d.lose_head = 1; /* written, but the answer was lost: it is found by its id, and not decided twice */
    add = emit(x, &a, 1000);
    assert_true(add.rc == OK && add.decided == 1 && add.at.seq == 3 && a.total == 1101);
    counter_close(x, &a);
    struct counter b = {0};
    counter_open(x, &b);
    assert_int_equal(b.total, 1101);
    counter_close(x, &b);
}

/* Who asks how old the model is: the end of a quiet log is seen again and again, of one that cannot be read not. */
static void the_end_of_the_log_is_seen(void **state)
{
    struct fixture *x = *state;
    struct flaky d = {0};
    d.disk = (struct store_disk){.ctx = &d, .pread = flaky_pread, .pwrite = flaky_pwrite, .fdatasync = flaky_fdatasync};
    struct counter a = {0};
    counter_start(x, &a, open_store(x, &d.disk), (struct store_pos){0});
    assert_true(app_end_seen_us(a.app) == INT64_MIN);
    int64_t from_us = clock_mono_us();
    RUN_UNTIL(x, app_is_live(a.app));
    int64_t seen_us = app_end_seen_us(a.app);
    assert_true(seen_us >= from_us && seen_us <= clock_mono_us());
    (void)emit(x, &a, 1); /* an append that succeeds has seen it too */
    assert_true(app_end_seen_us(a.app) > seen_us);
    seen_us = app_end_seen_us(a.app);
    RUN_UNTIL(x, app_end_seen_us(a.app) > seen_us); /* the test hangs if nobody looks */
    d.cannot_read = true;
    RUN_UNTIL(x, app_trouble(a.app) != NULL);
    seen_us = app_end_seen_us(a.app);
    from_us = clock_mono_us();
    RUN_UNTIL(x, clock_mono_us() - from_us > 2 * APP_POLL_MS * 1000);
    assert_true(app_end_seen_us(a.app) == seen_us && app_is_live(a.app) && a.total == 1);
    d.cannot_read = false;
    RUN_UNTIL(x, app_end_seen_us(a.app) > seen_us);
    assert_true(app_trouble(a.app) == NULL && app_append_trouble(a.app) == NULL);
    d.fail_sync = 1;
    (void)emit(x, &a, 10);
    assert_true(app_append_trouble(a.app) != NULL && a.total == 1 && app_append_failures(a.app) == 1);
    (void)emit(x, &a, 100);
    assert_true(app_append_trouble(a.app) == NULL && a.total == 101);
    d.fail_sync = 1; /* or somebody proves that it is over: what was begun before the last failure proves nothing */
    (void)emit(x, &a, 1000);
    app_append_proved(a.app, 1);
    assert_true(app_append_trouble(a.app) != NULL && app_append_failures(a.app) == 2);
    app_append_proved(a.app, 2);
    assert_true(app_append_trouble(a.app) == NULL && a.total == 101);
    counter_close(x, &a);
}

static void on_step(void *model, const struct app_position *at)
{
    struct counter *c = model;
    assert_true(at->seq == (uint64_t)c->events_n && c->lives == 0);
    c->wakes++;
}

/* As prod-bootstrap reads a hardcoded log: one event, its effects, a checkpoint, the next event; then the end. */
static void step_by_step(void **state)
{
    struct fixture *x = *state;
    char path[128], spec[160];
    (void)snprintf(path, sizeof(path), "%s/bootstrap.jsonl", x->dir);
    (void)snprintf(spec, sizeof(spec), "jsonl;path=%s", path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 1; i <= 3; i++)
        (void)fprintf(f, "{\"time\":\"2026-01-01T00:00:00Z#%d\",\"type\":\"slipform:Added\",\"payload\":{\"by\":%d}}\n",
                      i, i);
    (void)fclose(f);
    struct store *s = NULL;
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &why));
    struct counter c = {.step = true};
    counter_start(x, &c, s, (struct store_pos){0});
    for (int i = 1; i <= 3; i++) {
        RUN_UNTIL(x, c.wakes == i);
        for (int turn = 0; turn < 5; turn++)
            (void)uv_run(&x->loop, UV_RUN_NOWAIT);
        assert_true(c.wakes == i && c.events_n == i && c.lives == 0); /* it waits for the effects */
        app_step_done(c.app);
    }
    RUN_UNTIL(x, c.lives > 0);
    assert_int_equal(c.total, 6);
    struct add add = emit(x, &c, 1);
    assert_int_equal(add.rc, ERR_DENIED);
    counter_close(x, &c);
}

static void gateways_come_and_go(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0}, late = {.lives = 0};
    counter_open(x, &a);
    (void)emit(x, &a, 1);
    struct gateway g = {"late", &late, on_live, NULL, NULL};
    app_add_gateway(a.app, &g);
    RUN_UNTIL(x, late.lives > 0);
    app_remove_gateway(a.app, &a.gateway);
    (void)emit(x, &a, 1);
    assert_true(a.changes == 1 && late.lives == 1 && a.lives == 1);
    app_remove_gateway(a.app, &g);
    counter_close(x, &a);
}

static void cursors(void **state)
{
    (void)state;
    struct app_position at = {.log = {{1, 2, 3, 0xff}}, .seq = 0x0123456789abcdef}, back;
    char text[APP_CURSOR_TEXT_SIZE];
    app_cursor_format(&at, text);
    assert_ok(app_cursor_parse(str_from(text), &back, &why));
    assert_true(id_eq(at.log, back.log) && at.seq == back.seq);
    static const char *const BAD[] = {"",
                                      "x",
                                      "AQID_wAAAAAAAAAAAAAAAAEjRWeJq83",
                                      "AQID/wAAAAAAAAAAAAAAAAEjRWeJq83v",
                                      "AQID_wAAAAAAAAAAAAAAAAEjRWeJq83vA",
                                      "AQID_wAAAAAAAAAAAAAAAAEjRWeJq83="};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_err(app_cursor_parse(str_from(BAD[i]), &back, &why), ERR_INVALID);
}

/* --- checkpoints --- */

static void restart_from_checkpoint(void **state)
{
    struct fixture *x = *state;
    struct counter a = {0};
    counter_open(x, &a);
    for (int i = 0; i < 4; i++)
        (void)emit(x, &a, 10);
    struct app_position at = app_position(a.app);
    struct checkpoint c = {
        .log = at.log, .pos = {at.seq, at.sum}, .format = 3, .bytes = {(const char *)&a.total, sizeof(a.total)}};
    memcpy(c.model_hash, a.hash, HASH_SIZE);
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/checkpoint", x->dir);
    assert_ok(checkpoint_save(path, &c, &why));
    (void)emit(x, &a, 1);
    counter_close(x, &a);

    struct store *s = open_store(x, NULL);
    AUTO(buf) struct buf bytes = {0};
    struct checkpoint back;
    assert_ok(checkpoint_load(path, s, 3, &bytes, &back, &why));
    assert_true(back.bytes.len == sizeof(a.total) && back.pos.seq == 4);
    struct counter b = {.events_n = 4};
    memcpy(&b.total, back.bytes.ptr, sizeof(b.total));
    memcpy(b.hash, back.model_hash, HASH_SIZE);
    counter_start(x, &b, s, back.pos);
    RUN_UNTIL(x, b.lives > 0);
    assert_true(b.total == 41 && b.events_n == 5);
    assert_memory_equal(a.hash, b.hash, HASH_SIZE);
    counter_close(x, &b);

    /* From a place that is not in this log: it was rewritten. */
    struct counter wrong = {0};
    back.pos.sum ^= 1;
    counter_start(x, &wrong, open_store(x, NULL), back.pos);
    RUN_UNTIL(x, wrong.stalls > 0);
    assert_non_null(strstr(app_stall_cause(wrong.app)->msg, "rewritten"));
    counter_close(x, &wrong);
}

static void checkpoint_that_does_not_fit(void **state)
{
    struct fixture *x = *state;
    struct store *s = open_store(x, NULL);
    struct store_event e = {.type = STR("Added"), .id = {{7}}, .payload = STR("{\"by\":3}")};
    struct store_record r;
    assert_ok(store_append(s, (struct store_pos){0, 0}, &e, 1, &r, &why));
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/checkpoint", x->dir);
    struct checkpoint good = {.log = store_log_id(s), .pos = {1, r.e.sum}, .format = 1, .bytes = STR("abc")}, c, back;
    AUTO(buf) struct buf bytes = {0};
    assert_err(checkpoint_load(path, s, 1, &bytes, &back, &why), ERR_NOT_FOUND);
    assert_ok(checkpoint_save(path, &good, &why));
    assert_ok(checkpoint_load(path, s, 1, &bytes, &back, &why));
    assert_true(str_eq_c(back.bytes, "abc"));
    assert_err(checkpoint_load(path, s, 2, &bytes, &back, &why), ERR_NOT_FOUND);
    c = good;
    c.log.bytes[0] ^= 1;
    assert_ok(checkpoint_save(path, &c, &why));
    assert_err(checkpoint_load(path, s, 1, &bytes, &back, &why), ERR_NOT_FOUND);
    c = good;
    c.pos.sum ^= 1;
    assert_ok(checkpoint_save(path, &c, &why));
    assert_err(checkpoint_load(path, s, 1, &bytes, &back, &why), ERR_NOT_FOUND);
    c = good;
    c.pos.seq = 2;
    assert_ok(checkpoint_save(path, &c, &why));
    assert_err(checkpoint_load(path, s, 1, &bytes, &back, &why), ERR_NOT_FOUND);
    c = good; /* "event n done", and nothing else */
    c.bytes = (struct str){NULL, 0};
    assert_ok(checkpoint_save(path, &c, &why));
    assert_ok(checkpoint_load(path, s, 1, &bytes, &back, &why));
    assert_true(back.bytes.len == 0 && back.pos.seq == 1);
    /* A changed byte anywhere, or a byte less: no checkpoint, or none the less the same one. */
    assert_ok(checkpoint_save(path, &good, &why));
    for (long at = 0;; at++) {
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        int byte = fgetc(f);
        if (byte == EOF) {
            (void)fclose(f);
            break;
        }
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        (void)fputc(byte ^ 1, f);
        (void)fclose(f);
        if (checkpoint_load(path, s, 1, &bytes, &back, &why) == OK)
            assert_true(str_eq_c(back.bytes, "abc") && back.pos.seq == 1);
        f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        (void)fputc(byte, f);
        (void)fclose(f);
    }
    assert_ok(checkpoint_load(path, s, 1, &bytes, &back, &why));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    assert_err(checkpoint_load(path, s, 1, &bytes, &back, &why), ERR_NOT_FOUND);
    store_close(s);
}

static void checkpoint_limits(void **state)
{
    (void)state;
    struct checkpoint c = {.bytes = {"", (size_t)CHECKPOINT_SIZE_MAX + 1}};
    assert_err(checkpoint_save("/nonexistent/x", &c, &why), ERR_LIMIT);
}

static void options_that_are_refused(void **state)
{
    struct fixture *x = *state;
    struct store *s[APP_INPUTS_MAX + 1] = {open_store(x, NULL)};
    struct app *a = NULL;
    struct app_options good = {.name = "counter", .apply = counter_apply, .inputs = s, .inputs_n = 1}, o = good;
    o.inputs_n = 0;
    assert_err(app_open(&x->loop, &o, &a, &why), ERR_INVALID);
    o.inputs_n = APP_INPUTS_MAX + 1;
    assert_err(app_open(&x->loop, &o, &a, &why), ERR_INVALID);
    o = good;
    o.snapshot.path = "/nonexistent/checkpoint"; /* without reset */
    assert_err(app_open(&x->loop, &o, &a, &why), ERR_INVALID);
    o = good;
    o.trial_begin = on_wake;
    assert_err(app_open(&x->loop, &o, &a, &why), ERR_INVALID);
    o = good;
    o.schedules = &(struct app_schedule){.name = "never"};
    o.schedules_n = 1;
    assert_err(app_open(&x->loop, &o, &a, &why), ERR_INVALID);
    store_close(s[0]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(live_emit_restart),
        TEST(long_replay),
        TEST(emits_wait_for_live),
        TEST(two_processes),
        TEST(no_starvation),
        TEST(refused_event_stalls),
        TEST(waiting_for_a_position),
        TEST(closing_answers_all),
        TEST(waking),
        TEST(append_that_fails),
        TEST(the_end_of_the_log_is_seen),
        TEST(step_by_step),
        TEST(gateways_come_and_go),
        cmocka_unit_test(cursors),
        TEST(restart_from_checkpoint),
        TEST(checkpoint_that_does_not_fit),
        cmocka_unit_test(checkpoint_limits),
        TEST(options_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
