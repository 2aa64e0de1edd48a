/* What a process says about itself: windows, errors, lag, and when it says it. Times are the test's. */
#include "app_fixture.h"

#include "sdk/umbilical.h"

static const int64_t T = WORLD_BEGIN_US; /* a multiple of the window */

static bool at(struct app_windows *w, int64_t us, uint64_t in, uint64_t out, uint64_t errors)
{
    return app_windows_at(w, T + us, (struct app_totals){in, out, errors});
}

static void windows(void **state)
{
    (void)state;
    struct app_windows w = {0};
    assert_int_equal(T % APP_WINDOW_US, 0);
    assert_false(at(&w, 1000000, 7, 0, 0)); /* a replay: it counts into the first one */
    assert_false(at(&w, 4999999, 10, 1, 0));
    assert_int_equal(w.n, 0);
    assert_true(at(&w, 5000000, 12, 2, 1));
    assert_int_equal(w.n, 1);
    assert_int_equal(w.closed[0].start_us, T);
    assert_int_equal(w.closed[0].end_us, T + APP_WINDOW_US);
    assert_int_equal(w.closed[0].in, 12);
    assert_int_equal(w.closed[0].out, 2);
    assert_int_equal(w.closed[0].errors, 1);
    assert_false(at(&w, 10000000, 12, 2, 1)); /* nothing happened: it is not kept */
    assert_int_equal(w.n, 1);
    assert_true(at(&w, 31000000, 20, 2, 1)); /* looked at late: all of it belongs to the one that was open */
    assert_int_equal(w.closed[1].start_us, T + 10000000);
    assert_int_equal(w.closed[1].in, 8);
    assert_int_equal(w.open.start_us, T + 30000000);
    assert_false(at(&w, 2000000, 21, 2, 1)); /* the clock went back: nothing is closed, or opened again */
    assert_int_equal(w.open.start_us, T + 30000000);
    assert_true(at(&w, 35000000, 22, 2, 1));
    assert_int_equal(w.closed[2].in, 2);
}

static void windows_are_bounded(void **state)
{
    (void)state;
    struct app_windows w = {0};
    uint64_t sum = 0;
    for (int64_t k = 0; k <= 20; k++)
        (void)at(&w, k * APP_WINDOW_US, (uint64_t)k * 3, 0, 0);
    assert_int_equal(w.n, APP_WINDOWS_KEPT);
    assert_int_equal(w.closed[0].start_us, T + 14 * APP_WINDOW_US);
    assert_int_equal(w.closed[APP_WINDOWS_KEPT - 1].end_us, T + 20 * APP_WINDOW_US);
    for (size_t i = 0; i < w.n; i++)
        sum += w.closed[i].in;
    assert_int_equal(sum, 3 * APP_WINDOWS_KEPT);
}

static void paced(void **state)
{
    (void)state;
    struct umbilical_state well = {.state = APP_LIVE}, ill = {.state = APP_STALLED, .errors_n = 1};
    struct umbilical_pace p = {0};
    assert_true(umbilical_is_due(&p, 0, &well));
    p = (struct umbilical_pace){.has_sent = true, .sent_ms = 1000, .sent = well, .is_under_way = true};
    assert_false(umbilical_is_due(&p, 90000, &ill)); /* one at a time, whatever happens */
    p.is_under_way = false;
    assert_false(umbilical_is_due(&p, 5999, &well));
    assert_true(umbilical_is_due(&p, 6000, &well));
    assert_false(umbilical_is_due(&p, 1999, &ill)); /* news at once, but not more than one a second */
    assert_true(umbilical_is_due(&p, 2000, &ill));
    struct umbilical_state parked = {.state = APP_LIVE, .parked_n = 1},
                           troubled = {.state = APP_LIVE, .is_troubled = 1};
    assert_true(umbilical_is_due(&p, 2000, &parked));
    assert_true(umbilical_is_due(&p, 2000, &troubled));
}

static void behind(void **state)
{
    (void)state;
    struct umbilical_behind b = {0};
    assert_int_equal(umbilical_behind_ms(&b, 1000, 5, 10), 0);
    assert_int_equal(umbilical_behind_ms(&b, 4000, 5, 10), 3000);
    assert_int_equal(umbilical_behind_ms(&b, 5000, 4, 11), 0); /* it moves */
    assert_int_equal(umbilical_behind_ms(&b, 9000, 7, 11), 4000);
    assert_int_equal(umbilical_behind_ms(&b, 9500, 0, 11), 0); /* and has arrived */
    assert_int_equal(umbilical_behind_ms(&b, 60000, 0, 11), 0);
    assert_int_equal(umbilical_behind_ms(&b, 61000, 1, 11), 1000);
}

/* What goes wrong is counted once each, the first and the last are kept, and what is not folded is seen. */
static void a_refused_event(void **state)
{
    (void)state;
    struct world w;
    struct ledger l = {0};
    struct errinfo note = {0};
    world_open(&w, 1);
    ledger_open(&w, &l, world_log(&w, "a"));
    world_rest(&w);
    assert_true(app_is_live(l.app));
    assert_true(app_errors(l.app)->n == 0 && app_lag(l.app) == 0 && app_inputs_n(l.app) == 1);
    assert_int_equal(event_time_cmp(app_checkpoint(l.app), EVENT_TIME_MIN), 0);
    err_ignore(err_set(&note, ERR_IO, "the printer is on fire"));
    app_note_error(l.app, &note);
    struct store *other = world_log(&w, "a");
    struct store_event e[3] = {{.type = STR("Added"), .id = {{6}}, .payload = STR("{\"by\":2}")},
                               {.type = STR("Added"), .id = {{7}}, .payload = STR("{\"by\":-3}")},
                               {.type = STR("Added"), .id = {{8}}, .payload = STR("{\"by\":50}")}};
    assert_ok(store_append(other, (struct store_pos){0}, e, 3, NULL, &why));
    for (int k = 0; k < 20 && app_state(l.app) != APP_STALLED; k++)
        world_step(&w, 1000000);
    assert_int_equal(app_state(l.app), APP_STALLED);
    assert_int_equal(app_lag(l.app), 2);
    assert_int_not_equal(event_time_cmp(app_checkpoint(l.app), EVENT_TIME_MIN), 0);
    assert_int_equal(app_errors(l.app)->n, 2);
    assert_string_equal(app_errors(l.app)->first.err.msg, "the printer is on fire");
    assert_non_null(strstr(app_errors(l.app)->last.err.msg, "event 2 of log"));
    assert_true(app_errors(l.app)->last.at_us >= T);
    store_close(other);
    ledger_stop(&w, &l);
    ledger_clear(&l);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows), cmocka_unit_test(windows_are_bounded), cmocka_unit_test(paced),
        cmocka_unit_test(behind),  cmocka_unit_test(a_refused_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
