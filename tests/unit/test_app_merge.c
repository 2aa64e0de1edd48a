/* Several inputs in the order of event time, partition ranges, scheduled reads. */
#include "app_fixture.h"

enum { LOGS = 3 };
static const char *const NAMES[LOGS] = {"a", "b", "c"};

/* --- a ledger over several logs --- */

struct read_at {
    int64_t instant_us, total;
    uint64_t n;
};
struct reader {
    struct ledger ledger;
    struct read_at reads[4000];
    size_t reads_n;
};

static void on_read(void *ctx, const void *model, int64_t instant_us, struct app_events *ret_events)
{
    struct reader *r = ctx;
    const struct ledger *l = model;
    assert_true(r->reads_n < sizeof(r->reads) / sizeof(r->reads[0]));
    if (r->reads_n == 0 || instant_us > r->reads[r->reads_n - 1].instant_us)
        r->reads[r->reads_n++] = (struct read_at){instant_us, l->total, l->n};
    if (instant_us % 4000000 == 0)
        app_events_add(ret_events, STR("Noted"), ID_NONE, STR("{}"));
}

static void reader_reset(void *model)
{
    struct reader *r = model;
    ledger_reset(model);
    r->reads_n = 0;
}

static void reader_start(struct world *w, struct reader *r, size_t inputs_n, int64_t every_us, bool has_reset)
{
    struct store *logs[LOGS];
    for (size_t i = 0; i < inputs_n; i++)
        logs[i] = world_log(w, NAMES[i]);
    struct app_options o = ledger_options(&r->ledger);
    o.reset = has_reset ? reader_reset : NULL;
    o.inputs = logs;
    o.inputs_n = inputs_n;
    o.schedules = &(struct app_schedule){.name = "every", .ctx = r, .every_us = every_us, .read = on_read};
    o.schedules_n = every_us > 0 ? 1 : 0;
    ledger_start(w, &r->ledger, &o);
}

static void reader_stop(struct world *w, struct reader *r)
{
    if (r->ledger.app != NULL)
        ledger_stop(w, &r->ledger);
    buf_done(&r->ledger.trace);
    free(r);
}

/* Others append: an instant of up to `slow_us` ago, or a little ahead of the clock, never before the log's last. */
struct writer {
    struct store *store;
    struct event_time last;
};

static struct event_time write_one(struct world *w, struct writer *t, int64_t slow_us, const char *type)
{
    int64_t at_us = w->now_us - slow_us + chance_below(&w->chance, (uint32_t)slow_us + 100000);
    at_us = at_us / 1000 * 1000; /* ties do happen */
    struct store_event e = {
        .type = str_from(type), .id = chance_id(&w->chance), .payload = STR("{\"by\":1}"), .has_time = true};
    struct store_pos end;
    AUTO(store_batch) struct store_batch last = {0};
    assert_ok(store_end(t->store, &end, &why));
    if (end.seq > 0) { /* others append to it as well */
        assert_ok(store_read(t->store, end.seq - 1, 1, 0, &last, &why));
        t->last = last.items[0].e.time;
    } else {
        t->last = EVENT_TIME_MIN;
    }
    e.time = event_time_next(t->last, at_us * 1000);
    assert_ok(store_append(t->store, end, &e, 1, NULL, &why));
    return e.time;
}

static void assert_same(uint64_t seed, const struct reader *a, const struct reader *b, const char *what)
{
    if (str_cmp(buf_str(&a->ledger.trace), buf_str(&b->ledger.trace)) != 0)
        fail_msg("SEED=%llu: %s: other orders:\n%.*s\n---\n%.*s", (unsigned long long)seed, what,
                 STR_ARG(buf_str(&a->ledger.trace)), STR_ARG(buf_str(&b->ledger.trace)));
    if (a->reads_n != b->reads_n || memcmp(a->reads, b->reads, a->reads_n * sizeof(a->reads[0])) != 0)
        fail_msg("SEED=%llu: %s: scheduled reads saw other models (%zu and %zu of them)", (unsigned long long)seed,
                 what, a->reads_n, b->reads_n);
}

/* Live, replayed, on another replica that lags and emits too: one order, whatever the delays. */
static void one_order(void **state)
{
    (void)state;
    uint64_t merged = 0, resets = 0, emitted = 0;
    EACH_SEED(seed, 80)
    {
        struct world w;
        world_open(&w, seed);
        struct writer t[LOGS] = {0};
        for (size_t i = 0; i < LOGS; i++)
            t[i].store = world_log(&w, NAMES[i]);
        struct reader *live = mem_alloc(sizeof(*live)), *late = mem_alloc(sizeof(*late)),
                      *replay = mem_alloc(sizeof(*replay));
        bool has_reads = seed % 2 == 0;
        reader_start(&w, live, LOGS, has_reads ? 1000000 : 0, false);
        for (int step = 0; step < 120; step++) {
            if (step == 50)
                reader_start(&w, late, LOGS, has_reads ? 1000000 : 0, false);
            for (uint32_t n = chance_below(&w.chance, 4); n > 0; n--)
                (void)write_one(&w, &t[chance_below(&w.chance, LOGS)], 400000,
                                chance_below(&w.chance, 8) == 0 ? "Asked" : "Added");
            struct ledger *l = step >= 50 && chance_below(&w.chance, 2) == 0 ? &late->ledger : &live->ledger;
            if (chance_below(&w.chance, 6) == 0)
                app_emit_event(l->app, &(struct app_event){STR("Noted"), chance_id(&w.chance), STR("{}")}, NULL, NULL);
            /* Look at once, or not for a while, one of them or both. */
            int64_t us =
                chance_below(&w.chance, 4) == 0 ? chance_below(&w.chance, 900000) : chance_below(&w.chance, 60000);
            if (chance_below(&w.chance, 3) == 0) {
                w.now_us += us;
                store_world_set_now_us(w.stores, w.now_us);
                app_hint(l->app);
                world_rest(&w);
            } else {
                world_step(&w, us);
            }
        }
        for (int step = 0; step < 12; step++)
            world_step(&w, 600000);
        reader_start(&w, replay, LOGS, has_reads ? 1000000 : 0, false);
        world_step(&w, 0);
        for (size_t i = 0; i < 2; i++) {
            const struct ledger *l = i == 0 ? &live->ledger : &late->ledger;
            if (!app_is_live(l->app))
                fail_msg("SEED=%llu: %s", (unsigned long long)seed, app_stall_cause(l->app)->msg);
        }
        assert_same(seed, live, replay, "live and replay");
        assert_same(seed, late, replay, "the late replica and replay");
        AUTO(store_batch) struct store_batch log = {0};
        read_all(&w, "a", &log);
        merged += replay->ledger.n;
        emitted += app_counts(live->ledger.app).events_out + app_counts(late->ledger.app).events_out;
        for (size_t i = 0; i < LOGS; i++) {
            assert_int_equal(app_position_of(live->ledger.app, i).seq, app_position_of(replay->ledger.app, i).seq);
            store_close(t[i].store);
        }
        reader_stop(&w, live);
        reader_stop(&w, late);
        reader_stop(&w, replay);
        world_close(&w);
    }
    if (getenv("SEED") == NULL)
        (void)printf("%llu events merged, %llu of them emitted\n", (unsigned long long)merged,
                     (unsigned long long)emitted);
    assert_true(getenv("SEED") != NULL || (merged > 10000 && emitted > 1000 && resets == 0));
}

/* The event at T waits for the others: until they are past T, or their clock is past T + 500 ms. */
static void waits_for_the_others(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct writer a = {.store = world_log(&w, "a")}, b = {.store = world_log(&w, "b")};
    struct reader *r = mem_alloc(sizeof(*r));
    reader_start(&w, r, 2, 0, false);
    world_rest(&w);
    assert_true(app_is_live(r->ledger.app));
    struct store_event e = {.type = STR("Added"), .id = {{1}}, .payload = STR("{\"by\":1}"), .has_time = true};
    e.time = (struct event_time){w.now_us * 1000, 0};
    assert_ok(store_append(a.store, (struct store_pos){0}, &e, 1, NULL, &why));
    world_step(&w, 500000);
    assert_int_equal(r->ledger.n, 0); /* not past it yet */
    world_step(&w, 1);
    assert_int_equal(r->ledger.n, 1);
    /* The other has a later event: at once. On a tie the first of the list goes first. */
    e.id = (struct id){{3}};
    e.time = (struct event_time){w.now_us * 1000, 0};
    assert_ok(store_append(b.store, (struct store_pos){0}, &e, 1, NULL, &why));
    struct store_pos end;
    assert_ok(store_end(a.store, &end, &why));
    e.id = (struct id){{2}};
    assert_ok(store_append(a.store, end, &e, 1, NULL, &why));
    world_step(&w, 0);
    assert_int_equal(r->ledger.n, 2);
    world_step(&w, 500001);
    assert_int_equal(r->ledger.n, 3);
    assert_string_equal(r->ledger.trace.ptr, "Added 01000000-0000-0000-0000-000000000000\n"
                                             "Added 02000000-0000-0000-0000-000000000000\n"
                                             "Added 03000000-0000-0000-0000-000000000000\n");
    store_close(a.store);
    store_close(b.store);
    reader_stop(&w, r);
    world_close(&w);
}

/* What is emitted stands behind what it was decided on, though another store's clock may have been ahead. */
static void emits_stand_behind_what_they_saw(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct writer b = {.store = world_log(&w, "b")};
    struct reader *r = mem_alloc(sizeof(*r));
    reader_start(&w, r, 2, 0, false);
    struct store_event e = {.type = STR("Added"), .id = {{1}}, .payload = STR("{\"by\":5}"), .has_time = true};
    e.time = (struct event_time){(w.now_us + 499000) * 1000, 0}; /* ahead of the clock, as far as stores allow */
    assert_ok(store_append(b.store, (struct store_pos){0}, &e, 1, NULL, &why));
    struct ask ask = {.by = 2, .limit = 6};
    world_rest(&w);
    ask_for(&w, &r->ledger, &ask); /* it is read and not folded: nothing is decided without it */
    world_rest(&w);
    assert_int_equal(ask.decided, 0);
    for (int i = 0; i < 4; i++)
        world_step(&w, 400000);
    assert_true(ask.done == 1 && ask.rc == ERR_DENIED);
    struct ask second = {.by = 1};
    ask_for(&w, &r->ledger, &second);
    world_rest(&w);
    assert_true(second.decided == 1 && second.done == 0); /* durable, not folded: the other log may be behind */
    world_step(&w, 600000);
    assert_true(second.done == 1 && second.rc == OK && r->ledger.total == 6);
    store_close(b.store);
    reader_stop(&w, r);
    world_close(&w);
}

/* An event that becomes visible later than stores promise: never in the wrong place. */
static void too_late(void **state)
{
    (void)state;
    for (int has_reset = 0; has_reset < 2; has_reset++) {
        struct world w;
        world_open(&w, 1);
        struct writer a = {.store = world_log(&w, "a")}, b = {.store = world_log(&w, "b")};
        struct reader *r = mem_alloc(sizeof(*r)), *replay = mem_alloc(sizeof(*replay));
        reader_start(&w, r, 2, 0, has_reset == 1);
        (void)write_one(&w, &a, 1, "Asked");
        struct event_time late = {(w.now_us - 1000) * 1000, 0};
        world_step(&w, 700000);
        world_step(&w, 700000);
        assert_int_equal(r->ledger.n, 3); /* Asked and its two consequences */
        struct store_event e = {
            .type = STR("Noted"), .id = {{1}}, .payload = STR("{}"), .has_time = true, .time = late};
        assert_ok(store_append(b.store, (struct store_pos){0}, &e, 1, NULL, &why));
        world_step(&w, 0);
        world_step(&w, 700000);
        world_step(&w, 700000);
        if (has_reset == 0) {
            assert_int_equal(app_state(r->ledger.app), APP_STALLED);
            assert_non_null(strstr(app_stall_cause(r->ledger.app)->msg, "start again"));
        } else {
            assert_true(app_is_live(r->ledger.app) && r->ledger.lives == 1);
            assert_true(r->ledger.resets == 1 && app_counts(r->ledger.app).replays == 1);
            reader_start(&w, replay, 2, 0, false);
            world_step(&w, 0);
            assert_same(1, r, replay, "after it came too late");
            assert_true(replay->ledger.n == 4 && memcmp(replay->ledger.trace.ptr, "Noted", 5) == 0);
        }
        store_close(a.store);
        store_close(b.store);
        reader_stop(&w, r);
        reader_stop(&w, replay);
        world_close(&w);
    }
}

/* --- scheduled reads --- */

static void reads_see_exactly_that_point(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 3);
    struct writer a = {.store = world_log(&w, "a")};
    struct reader *live = mem_alloc(sizeof(*live)), *replay = mem_alloc(sizeof(*replay));
    reader_start(&w, live, 1, 1000000, false);
    world_step(&w, 5000000);
    assert_int_equal(live->reads_n, 0); /* nothing has happened yet */
    int64_t instants[200];
    for (int i = 0; i < 200; i++) {
        world_step(&w, chance_below(&w.chance, 30) == 0 ? 5000000 : chance_below(&w.chance, 300000));
        instants[i] = write_one(&w, &a, 300000, "Added").instant_ns / 1000;
    }
    for (int i = 0; i < 10; i++)
        world_step(&w, 700000);
    assert_true(live->reads_n > 30);
    for (size_t i = 0; i < live->reads_n; i++) { /* each instant once, and the total of the events up to it */
        int64_t at = live->reads[i].instant_us, total = 0;
        for (int k = 0; k < 200; k++)
            total += instants[k] <= at;
        assert_true(at % 1000000 == 0 && (i == 0 || at == live->reads[i - 1].instant_us + 1000000));
        assert_int_equal(live->reads[i].total, total);
    }
    assert_true(live->reads[0].instant_us >= instants[0] && live->reads[0].instant_us < instants[0] + 1000000);
    /* In quiet times as well: up to the clock less what stores may take. */
    assert_true(live->reads[live->reads_n - 1].instant_us >= w.now_us - 1500000);
    reader_start(&w, replay, 1, 1000000, false);
    world_step(&w, 0);
    assert_same(3, live, replay, "reads of a replay");
    /* What reads emit is there once for each instant. */
    AUTO(store_batch) struct store_batch log = {0};
    read_all(&w, "a", &log);
    size_t noted = 0, wanted = 0;
    for (size_t i = 0; i < log.n; i++)
        noted += str_eq_c(log.items[i].e.type, "Noted");
    for (size_t i = 0; i < live->reads_n; i++)
        wanted += live->reads[i].instant_us % 4000000 == 0;
    assert_true(noted == wanted && noted > 5);
    store_close(a.store);
    reader_stop(&w, live);
    reader_stop(&w, replay);
    world_close(&w);
}

/* --- partition ranges --- */

static struct str key_of(const struct store_record *r)
{
    return r->e.payload;
}

/* Two halves fold every event exactly once together, with whatever key; timers and waits go on for all of them. */
static void disjoint_ranges(void **state)
{
    (void)state;
    for (int by_payload = 0; by_payload < 2; by_payload++) {
        struct world w;
        world_open(&w, 5);
        struct writer a = {.store = world_log(&w, "a")};
        struct ledger l[3] = {0};
        for (uint32_t i = 0; i < 3; i++) { /* the third folds all */
            struct store *log = world_log(&w, "a");
            struct app_options o = ledger_options(&l[i]);
            struct partition half = partition_split(i % 2, 2);
            o.inputs = &log;
            o.inputs_n = 1;
            o.ranges = i < 2 ? &half : NULL;
            o.ranges_n = i < 2 ? 1 : 0;
            o.partition_key = by_payload ? key_of : NULL;
            ledger_start(&w, &l[i], &o);
        }
        for (int i = 0; i < 300; i++)
            (void)write_one(&w, &a, 1, i % 10 == 0 ? "Asked" : "Added");
        world_step(&w, 1000);
        world_step(&w, 1000);
        /* Each consequence belongs to the instance that folds its cause, and stands there once. */
        AUTO(store_batch) struct store_batch log = {0};
        read_all(&w, "a", &log);
        assert_int_equal(log.n, 360);
        assert_true(l[0].n + l[1].n == 360 && l[2].n == 360 && l[0].total + l[1].total == l[2].total);
        if (by_payload == 0)
            assert_true(l[0].n > 100 && l[1].n > 100);
        struct app_counts c = app_counts(l[0].app);
        assert_true(c.events_in == l[0].n && c.events_else == l[1].n && app_position(l[0].app).seq == 360);
        for (size_t i = 0; i < 3; i++) {
            ledger_stop(&w, &l[i]);
            ledger_clear(&l[i]);
        }
        store_close(a.store);
        world_close(&w);
    }
}

int main(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "1", 1); /* one thread for all that use one world */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_for_the_others),
        cmocka_unit_test(one_order),
        cmocka_unit_test(emits_stand_behind_what_they_saw),
        cmocka_unit_test(too_late),
        cmocka_unit_test(reads_see_exactly_that_point),
        cmocka_unit_test(disjoint_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
