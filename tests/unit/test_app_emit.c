/* What a process appends: batches, refusals in them, lost answers, ids that are known, timers, consequences. */
#include "app_fixture.h"

#include "event/id.h"

/* --- batches --- */

static void several_are_one_append(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    enum { N = 64 };
    struct ask asks[N] = {0};
    for (size_t i = 0; i < N; i++) {
        asks[i].by = 1;
        asks[i].limit = i % 2 == 0 ? 0 : 20; /* the odd ones up to a total of 20 */
        ask_for(&w, &l, &asks[i]);
    }
    world_rest(&w);
    uint64_t seq = 0;
    for (size_t i = 0; i < N; i++) {
        /* Each was decided on the total that the ones before it made. */
        bool is_refused = i % 2 == 1 && seq + 1 > 20;
        assert_true(asks[i].done == 1 && asks[i].decided == 1);
        assert_string_equal(err_name(asks[i].rc), err_name(is_refused ? ERR_DENIED : OK));
        seq += !is_refused;
        assert_int_equal(asks[i].at.seq, seq); /* its own place, not the batch's */
    }
    struct app_counts counts = app_counts(l.app);
    assert_int_equal(counts.appends, 1);
    assert_true(counts.events_out == seq && l.total == (int64_t)seq && counts.events_in == seq && l.changes == 1);
    AUTO(store_batch) struct store_batch log = {0};
    read_all(&w, "a", &log);
    assert_int_equal(log.n, seq);
    for (size_t i = 0, at = 0; i < N; i++)
        if (asks[i].rc == OK) {
            assert_true(id_eq(log.items[at].e.id, asks[i].id) && log.items[at].e.sum == asks[i].at.sum);
            assert_false(log.items[at].e.more); /* each command by itself is all or none */
            at++;
        }
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

static void without_trials_one_decision_an_append(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    struct store *log = world_log(&w, "a");
    struct app_options o = ledger_options(&l);
    o.trial_begin = NULL;
    o.trial_end = NULL;
    o.inputs = &log;
    o.inputs_n = 1;
    ledger_start(&w, &l, &o);
    world_rest(&w);
    struct ask asks[5] = {0}, plain[20] = {0};
    for (size_t i = 0; i < 5; i++) {
        asks[i].by = 1;
        ask_for(&w, &l, &asks[i]);
    }
    for (size_t i = 0; i < 20; i++) {
        plain[i].id = chance_id(&w.chance);
        app_emit_event(l.app, &(struct app_event){STR("Noted"), plain[i].id, STR("{}")}, &plain[i], ask_done);
    }
    world_rest(&w);
    for (size_t i = 0; i < 20; i++)
        assert_true(plain[i].done == 1 && plain[i].rc == OK && plain[i].at.seq == 6 + i);
    assert_int_equal(app_counts(l.app).appends, 5); /* the last decision takes the plain ones along */
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* One that would stop every fold for ever is not written, and the others of its batch are. */
static void poison_is_not_written(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    struct ask asks[5] = {{.by = 3}, {.by = -9}, {.by = 4}, {.by = -7}, {.by = -1}};
    for (size_t i = 0; i < 5; i++)
        ask_for(&w, &l, &asks[i]);
    world_rest(&w);
    assert_true(asks[0].rc == OK && asks[2].rc == OK && asks[3].rc == OK);
    assert_err(asks[1].rc, ERR_INVALID);
    assert_non_null(strstr(asks[1].err.msg, "a total of 3 cannot go down by 9"));
    assert_err(asks[4].rc, ERR_INVALID); /* after what came before it in the batch */
    assert_true(l.total == 0 && app_is_live(l.app) && app_position(l.app).seq == 3);
    assert_int_equal(app_counts(l.app).appends, 1);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* The store itself refuses what is no event: that command only. */
static void bad_payloads_fail_alone(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    struct ask asks[7] = {0};
    for (size_t i = 0; i < 7; i++) {
        asks[i].id = chance_id(&w.chance);
        struct str payload = i % 3 == 0 ? STR("{\"by\":") : STR("{}");
        app_emit_event(l.app, &(struct app_event){STR("Noted"), asks[i].id, payload}, &asks[i], ask_done);
    }
    world_rest(&w);
    for (size_t i = 0; i < 7; i++)
        assert_true(asks[i].done == 1 && (asks[i].rc == OK) == (i % 3 != 0));
    assert_true(l.n == 4 && app_is_live(l.app));
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* More than one append holds: several appends, all in order. */
static void batches_are_bounded(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    AUTO(buf) struct buf big = {0};
    buf_add_c(&big, "{\"text\":\"");
    for (int i = 0; i < 200000; i++)
        buf_add_char(&big, 'x');
    buf_add_c(&big, "\"}");
    struct ask asks[12] = {0};
    for (size_t i = 0; i < 12; i++) {
        asks[i].id = chance_id(&w.chance);
        app_emit_event(l.app, &(struct app_event){STR("Noted"), asks[i].id, buf_str(&big)}, &asks[i], ask_done);
    }
    world_rest(&w);
    for (size_t i = 0; i < 12; i++)
        assert_true(asks[i].done == 1 && asks[i].rc == OK && asks[i].at.seq == i + 1);
    assert_int_equal(app_counts(l.app).appends, 3); /* 5, 5, 2 */
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* Somebody who appends between a decision and its append, once. */
struct rival {
    struct ask ask;
    struct store *store;
    int64_t by;
    bool is_done;
};
static enum err rival_decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct rival *r = ctx;
    struct store_pos at;
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"by\":%lld}", (long long)r->by);
    struct store_event e = {.type = STR("Added"), .id = {{9, 9}}, .payload = {text, (size_t)n}};
    if (!r->is_done) {
        assert_ok(store_end(r->store, &at, &why));
        assert_ok(store_append(r->store, at, &e, 1, NULL, &why));
    }
    r->is_done = true;
    return ask_decide(&r->ask, model, ret_events, err);
}
static void rival_done(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    ask_done(&((struct rival *)ctx)->ask, rc, at, err);
}

/* A refusal that was decided behind what is not durable counts for nothing: after the conflict all is decided anew. */
static void after_a_conflict_all_is_decided_anew(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    struct rival r = {.ask = {.by = 5, .limit = 8, .id = {{1}}, .of = &l}, .store = world_log(&w, "a"), .by = 6};
    struct ask second = {.by = 2, .limit = 6};
    app_emit(l.app, rival_decide, &r, rival_done); /* alone: 5; behind the rival's 6 it would be 11 */
    ask_for(&w, &l, &second);                      /* behind 5: 7, refused; without it and behind 6: 8, refused */
    struct ask third = {.by = 2, .limit = 8};      /* behind 5: 7; behind the rival only: 8 */
    ask_for(&w, &l, &third);
    world_rest(&w);
    assert_err(r.ask.rc, ERR_DENIED);
    assert_true(r.ask.decided == 2 && second.decided == 2 && third.decided == 2);
    assert_err(second.rc, ERR_DENIED);
    assert_true(third.rc == OK && third.at.seq == 2 && l.total == 8);
    assert_int_equal(app_counts(l.app).conflicts, 1);
    store_close(r.store);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* Faults of all kinds: who was told OK is in the log once, who was told that nothing was written is not in it. */
static void lost_answers(void **state)
{
    (void)state;
    uint64_t ok = 0, failed = 0;
    EACH_SEED(seed, 60)
    {
        struct world w;
        world_open(&w, seed);
        struct ledger l = {0};
        ledger_open(&w, &l, world_log(&w, "a"));
        store_world_set_odds(
            w.stores,
            &(struct store_odds){.unavailable = 30, .conflict = 100, .lost_before = 80, .lost_after = 80, .torn = 80});
        enum { N = 80 };
        struct ask asks[N] = {0};
        for (size_t i = 0; i < N; i++) {
            asks[i].by = 1;
            asks[i].limit = chance_below(&w.chance, 4) == 0 ? 10 + chance_below(&w.chance, 60) : 0;
            ask_for(&w, &l, &asks[i]);
            if (chance_below(&w.chance, 6) == 0)
                world_step(&w, 1000);
        }
        for (int i = 0; i < 50 && app_queued(l.app) > 0; i++)
            world_step(&w, 1000);
        store_world_set_odds(w.stores, &(struct store_odds){0});
        while (app_queued(l.app) > 0) /* after the last fault the log is opened anew by the next poll */
            (void)uv_run(&w.loop, UV_RUN_ONCE);
        world_step(&w, 1000);
        AUTO(store_batch) struct store_batch log = {0};
        read_all(&w, "a", &log);
        for (size_t i = 0; i < N; i++) {
            int times = times_in(&log, asks[i].id);
            if (asks[i].done != 1 || times > 1 || (asks[i].rc == OK && times != 1) ||
                (asks[i].rc != OK && asks[i].rc != ERR_IO && times != 0))
                fail_msg("SEED=%llu: command %zu was answered %d times, last with %s, and stands in the log %d times",
                         (unsigned long long)seed, i, asks[i].done, err_name(asks[i].rc), times);
            if (asks[i].rc == OK && !id_eq(log.items[asks[i].at.seq - 1].e.id, asks[i].id))
                fail_msg("SEED=%llu: command %zu has another's position", (unsigned long long)seed, i);
            ok += asks[i].rc == OK;
            failed += asks[i].rc != OK;
        }
        assert_true(app_is_live(l.app) && l.n == log.n && l.total == (int64_t)log.n);
        ledger_stop(&w, &l);
        ledger_clear(&l);
        world_close(&w);
    }
    assert_true(getenv("SEED") != NULL || (ok > 1000 && failed > 100)); /* the faults did happen */
}

/* --- known by an id --- */

static void known_by_its_id(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    struct id id = chance_id(&w.chance);
    struct app_event event = {STR("Added"), id, STR("{\"by\":7}")};
    struct ask first = {0}, same = {0}, later = {0}, other = {.id = id, .by = 100}, after = {0};
    app_emit_event(l.app, &event, &first, ask_done); /* two in one batch */
    app_emit_event(l.app, &event, &same, ask_done);
    world_rest(&w);
    assert_true(first.rc == OK && same.rc == OK && first.at.seq == 1 && same.at.seq == 1 && l.total == 7);
    struct ask fill = {.by = 1};
    ask_for(&w, &l, &fill);
    app_emit_event(l.app, &event, &later, ask_done);
    app_emit_once(l.app, id, ask_decide, &other, ask_done); /* not decided either */
    world_rest(&w);
    assert_true(later.rc == OK && later.at.seq == 1 && later.at.sum == first.at.sum && l.total == 8);
    assert_true(other.rc == OK && other.at.seq == 1 && other.decided == 0);
    /* So many events later that it is no longer among the newest: the log is searched. */
    struct ask many = {0};
    for (size_t i = 0; i < APP_REMEMBERED_N + 10; i++) {
        struct id each = chance_id(&w.chance);
        app_emit(l.app, ask_decide, &(struct ask){0}, NULL);
        TAILQ_LAST(&l.app->commands, app_commands)->decide = NULL;
        app_events_add(&TAILQ_LAST(&l.app->commands, app_commands)->given, STR("Noted"), each, STR("{}"));
    }
    app_emit_event(l.app, &event, &many, ask_done);
    world_rest(&w);
    assert_true(many.done == 1 && many.rc == OK && many.at.seq == 1 && l.total == 8);
    ledger_stop(&w, &l);

    struct ledger again = {0}; /* and after a restart */
    ledger_open(&w, &again, world_log(&w, "a"));
    app_emit_event(again.app, &event, &after, ask_done);
    world_rest(&w);
    assert_true(after.rc == OK && after.at.seq == 1 && again.total == 8);
    ledger_stop(&w, &again);
    ledger_clear(&l);
    ledger_clear(&again);
    world_close(&w);
}

static bool total_is_7(void *ctx, const void *model)
{
    (void)ctx;
    return ((const struct ledger *)model)->total == 7;
}

static void emit_if_it_holds(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    struct ask early = {0}, add = {.by = 7}, right = {0}, late = {0};
    struct app_event a = {STR("Added"), chance_id(&w.chance), STR("{\"by\":1}")};
    struct app_event b = {STR("Added"), chance_id(&w.chance), STR("{\"by\":1}")};
    app_emit_if(l.app, total_is_7, &a, &early, ask_done);
    ask_for(&w, &l, &add);
    app_emit_if(l.app, total_is_7, &a, &right, ask_done);
    app_emit_if(l.app, total_is_7, &b, &late, ask_done); /* the one before it made it false */
    world_rest(&w);
    assert_err(early.rc, ERR_CONFLICT);
    assert_true(add.rc == OK && right.rc == OK && right.at.seq == 2 && l.total == 8);
    assert_err(late.rc, ERR_CONFLICT);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* --- timers --- */

static void timers(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger a = {0}, b = {0};
    ledger_open(&w, &a, world_log(&w, "a"));
    struct app_event one = {STR("Added"), chance_id(&w.chance), STR("{\"by\":1}")};
    struct app_event two = {STR("Added"), chance_id(&w.chance), STR("{\"by\":20}")};
    struct app_event taken_back = {STR("Added"), chance_id(&w.chance), STR("{\"by\":300}")};
    struct ask set = {0}, set2 = {0}, set3 = {0}, again = {0}, cancel = {0}, cancel2 = {0}, late = {0};
    app_emit_at(a.app, w.now_us + 10000000, &one, &set, ask_done);
    app_emit_at(a.app, w.now_us + 20000000, &two, &set2, ask_done);
    app_emit_at(a.app, w.now_us + 5000000, &taken_back, &set3, ask_done);
    app_emit_at(a.app, w.now_us + 1, &one, &again, ask_done); /* the id is known: it stays as it was set */
    world_rest(&w);
    assert_true(set.rc == OK && set2.rc == OK && set3.rc == OK && again.rc == OK && again.at.seq == set.at.seq);
    assert_true(app_timers_n(a.app) == 3 && a.n == 0);
    world_step(&w, 4000000);
    app_cancel_at(a.app, taken_back.id, &cancel, ask_done);
    world_rest(&w);
    app_cancel_at(a.app, taken_back.id, &cancel2, ask_done);
    world_rest(&w);
    assert_int_equal(cancel.rc, OK);
    assert_err(cancel2.rc, ERR_NOT_FOUND);
    world_step(&w, 5999999);
    assert_int_equal(a.n, 0);
    ledger_stop(&w, &a); /* nobody is there when it is time */
    world_step(&w, 1000000);
    ledger_open(&w, &b, world_log(&w, "a")); /* two replicas are */
    ledger_clear(&a);
    ledger_open(&w, &a, world_log(&w, "a"));
    world_step(&w, 0);
    assert_true(a.total == 1 && b.total == 1 && app_timers_n(a.app) == 1 && app_timers_n(b.app) == 1);
    world_step(&w, 20000000);
    world_step(&w, 0);
    assert_true(a.total == 21 && b.total == 21 && app_timers_n(b.app) == 0);
    app_cancel_at(a.app, one.id, &late, ask_done);
    world_rest(&w);
    assert_err(late.rc, ERR_NOT_FOUND);
    AUTO(store_batch) struct store_batch log = {0};
    read_all(&w, "a", &log);
    assert_true(times_in(&log, one.id) == 1 && times_in(&log, two.id) == 1 && times_in(&log, taken_back.id) == 0);
    ledger_stop(&w, &a);
    ledger_stop(&w, &b);
    ledger_clear(&a);
    ledger_clear(&b);
    world_close(&w);
}

/* A cancel that comes together with the instant: either it fires, or OK was said and it does not. */
static void cancelled_or_fired(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    ledger_open(&w, &l, world_log(&w, "a"));
    struct app_event event = {STR("Added"), chance_id(&w.chance), STR("{\"by\":1}")};
    struct ask set = {0}, cancel = {0};
    app_emit_at(l.app, w.now_us + 1000, &event, &set, ask_done);
    world_rest(&w);
    w.now_us += 1000;
    store_world_set_now_us(w.stores, w.now_us);
    app_cancel_at(l.app, event.id, &cancel, ask_done);
    world_rest(&w);
    assert_int_equal(cancel.done, 1);
    assert_int_equal(l.total, cancel.rc == OK ? 0 : 1);
    assert_err(cancel.rc, ERR_NOT_FOUND); /* what is due goes first */
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

/* --- consequences --- */

static int count_type(const struct store_batch *b, const char *type)
{
    int n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += str_eq_c(b->items[i].e.type, type);
    return n;
}

/* Two replicas that are stopped and started at any time, and a store with all faults. */
static void exactly_once_for_each_cause(void **state)
{
    (void)state;
    uint64_t conflicts = 0;
    EACH_SEED(seed, 60)
    {
        struct world w;
        world_open(&w, seed);
        struct ledger l[2] = {0};
        int asked = 0;
        store_world_set_odds(
            w.stores,
            &(struct store_odds){.unavailable = 20, .conflict = 50, .lost_before = 60, .lost_after = 60, .torn = 60});
        for (int step = 0; step < 60; step++) {
            struct ledger *one = &l[chance_below(&w.chance, 2)];
            if (one->app == NULL) {
                ledger_clear(one);
                struct store *log = NULL;
                if (store_open("simulated;name=a", &(struct store_options){.mode = STORE_CREATE, .world = w.stores},
                               &log, NULL, NULL) != OK)
                    continue;
                struct app_options o = ledger_options(one);
                o.inputs = &log;
                o.inputs_n = 1;
                ledger_start(&w, one, &o);
            } else if (chance_below(&w.chance, 5) == 0) {
                ledger_stop(&w, one); /* in the middle of whatever it does */
            } else {
                app_emit_event(one->app, &(struct app_event){STR("Asked"), chance_id(&w.chance), STR("{}")}, NULL,
                               NULL);
                asked++;
            }
            for (uint32_t turns = chance_below(&w.chance, 6); turns > 0; turns--)
                (void)uv_run(&w.loop, UV_RUN_NOWAIT);
            w.now_us += 1000;
            if (chance_below(&w.chance, 3) == 0)
                world_step(&w, 1000);
        }
        store_world_set_odds(w.stores, &(struct store_odds){0});
        const struct errinfo *due_why = NULL;
        for (size_t i = 0; i < 2; i++) {
            if (l[i].app != NULL) {
                conflicts += app_counts(l[i].app).conflicts;
                ledger_stop(&w, &l[i]);
            }
            ledger_clear(&l[i]);
            ledger_open(&w, &l[i], world_log(&w, "a"));
        }
        world_step(&w, 1000);
        AUTO(store_batch) struct store_batch log = {0};
        read_all(&w, "a", &log);
        int causes = count_type(&log, "Asked");
        if (causes > asked || count_type(&log, "Answered") != 2 * causes)
            fail_msg("SEED=%llu: %d asked, %d answered", (unsigned long long)seed, causes,
                     count_type(&log, "Answered"));
        for (size_t i = 0; i < log.n; i++) {
            if (!str_eq_c(log.items[i].e.type, "Asked"))
                continue;
            for (uint64_t n = 0; n < 2; n++)
                if (times_in(&log, app_follow_id(log.items[i].e.id, n)) != 1)
                    fail_msg("SEED=%llu: consequence %d of event %zu is not there once", (unsigned long long)seed,
                             (int)n, i + 1);
        }
        assert_true(app_due_n(l[0].app, &due_why) == 0 && due_why == NULL && app_due_n(l[1].app, &due_why) == 0);
        assert_int_equal(str_cmp(buf_str(&l[0].trace), buf_str(&l[1].trace)), 0);
        for (size_t i = 0; i < 2; i++) {
            ledger_stop(&w, &l[i]);
            ledger_clear(&l[i]);
        }
        world_close(&w);
    }
    assert_true(getenv("SEED") != NULL || conflicts > 10);
}

static void follow_badly(const void *model, const struct store_record *r, struct app_events *ret_events)
{
    (void)model;
    if (str_eq_c(r->e.type, "Asked"))
        app_events_add(ret_events, STR("Added"), ID_NONE, STR("{\"by\":-1000}"));
}

/* A consequence that the model would refuse is said, kept, and in nobody's way. */
static void a_bad_consequence(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    struct store *log = world_log(&w, "a");
    struct app_options o = ledger_options(&l);
    o.consequences = follow_badly;
    o.inputs = &log;
    o.inputs_n = 1;
    ledger_start(&w, &l, &o);
    struct ask ask = {0}, add = {.by = 1};
    app_emit_event(l.app, &(struct app_event){STR("Asked"), chance_id(&w.chance), STR("{}")}, &ask, ask_done);
    world_rest(&w);
    ask_for(&w, &l, &add);
    world_rest(&w);
    const struct errinfo *due_why = NULL;
    assert_true(ask.rc == OK && add.rc == OK && l.total == 1 && app_is_live(l.app));
    assert_int_equal(app_due_n(l.app, &due_why), 1);
    assert_non_null(strstr(due_why->msg, "cannot go down by 1000"));
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

static bool never_preferred(void *model, struct id id)
{
    (void)model;
    (void)id;
    return false;
}

/* The replica that is not preferred leaves a consequence to the other one, and writes it if that does not. */
static void left_to_the_preferred(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1);
    struct ledger l = {0};
    struct store *log = world_log(&w, "a");
    struct app_options o = ledger_options(&l);
    o.is_preferred = never_preferred;
    o.inputs = &log;
    o.inputs_n = 1;
    ledger_start(&w, &l, &o);
    app_emit_event(l.app, &(struct app_event){STR("Asked"), chance_id(&w.chance), STR("{}")}, NULL, NULL);
    world_rest(&w);
    uint64_t from_ms = uv_now(&w.loop);
    assert_int_equal(l.n, 1);
    while (l.n < 3)
        (void)uv_run(&w.loop, UV_RUN_ONCE);
    assert_true(uv_now(&w.loop) - from_ms >= APP_NOT_PREFERRED_MS / 2);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

int main(void)
{
    (void)setenv("UV_THREADPOOL_SIZE", "1", 1); /* one thread for all that use one world */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_are_one_append), cmocka_unit_test(without_trials_one_decision_an_append),
        cmocka_unit_test(poison_is_not_written),  cmocka_unit_test(bad_payloads_fail_alone),
        cmocka_unit_test(batches_are_bounded),    cmocka_unit_test(after_a_conflict_all_is_decided_anew),
        cmocka_unit_test(lost_answers),           cmocka_unit_test(known_by_its_id),
        cmocka_unit_test(emit_if_it_holds),       cmocka_unit_test(timers),
        cmocka_unit_test(cancelled_or_fired),     cmocka_unit_test(exactly_once_for_each_cause),
        cmocka_unit_test(a_bad_consequence),      cmocka_unit_test(left_to_the_preferred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
