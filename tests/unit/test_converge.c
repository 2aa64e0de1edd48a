/* node/converge: stories in virtual time, compared line by line with what it said to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "event/catalogue.h"
#include "node/converge/converge.h"

struct story {
    struct converge *c;
    struct converge_output out;
    struct buf trace;
    int64_t at_ms;
};

static struct id named(char name)
{
    struct id id = {{0}};
    id.bytes[15] = (uint8_t)name;
    return id;
}

/* "<ms> <verb> <name>/<attempt>", and what others see of it behind a report. */
static void tell(struct story *s)
{
    static const char *const VERBS[] = {"prepare", "start", "stop", "kill", "clean", "report", "forget", "unbury"};
    for (size_t i = 0; i < s->out.actions_n; i++) {
        const struct converge_action *a = &s->out.actions[i];
        buf_addf(&s->trace, "%" PRId64 " %s %c", s->at_ms, VERBS[a->type], a->id.bytes[15]);
        const struct converge_view *v = converge_find(s->c, a->id);
        if (a->type == CONVERGE_DO_REPORT && v != NULL)
            buf_addf(&s->trace, " %s %s '%s'", converge_status_name(v->status), converge_health_name(v->health),
                     v->cause);
        if (a->type == CONVERGE_DO_FORGET && a->tombstone)
            buf_add_c(&s->trace, " for ever");
        buf_add_char(&s->trace, '\n');
    }
}

static void give(struct story *s, struct converge_input in)
{
    in.at_ms = s->at_ms;
    converge_step(s->c, &in, &s->out);
    tell(s);
}

static void want_with(struct story *s, char name, struct converge_want want)
{
    if (want.owner[0] == '\0')
        (void)snprintf(want.owner, sizeof(want.owner), "dev-0");
    give(s, (struct converge_input){.type = CONVERGE_WANT, .id = named(name), .want = &want});
}

static void answer(struct story *s, enum converge_input_type type, char name, bool ok, const char *cause)
{
    give(s, (struct converge_input){.type = type, .id = named(name), .ok = ok, .cause = cause});
}

static void wait_ms(struct story *s, int64_t ms)
{
    s->at_ms += ms;
    give(s, (struct converge_input){.type = CONVERGE_TICK});
}

static void raise(struct story *s, char name)
{
    answer(s, CONVERGE_PREPARED, name, true, NULL);
    answer(s, CONVERGE_STARTED, name, true, NULL);
    answer(s, CONVERGE_HEALTH, name, true, NULL);
}

static void expect(struct story *s, const char *trace)
{
    assert_string_equal(s->trace.ptr == NULL ? "" : s->trace.ptr, trace);
    buf_clear(&s->trace);
}

static void forget_trace(struct story *s)
{
    buf_clear(&s->trace);
}

static int begin(void **state)
{
    struct story *s = mem_alloc(sizeof(*s));
    s->c = converge_new();
    *state = s;
    return 0;
}

static int end(void **state)
{
    struct story *s = *state;
    converge_free(s->c);
    converge_output_done(&s->out);
    buf_done(&s->trace);
    free(s);
    return 0;
}

static void life_of_one(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){.grace_ms = 3000});
    s->at_ms = 10;
    answer(s, CONVERGE_PREPARED, 'a', true, NULL);
    answer(s, CONVERGE_STARTED, 'a', true, NULL);
    s->at_ms = 900;
    answer(s, CONVERGE_HEALTH, 'a', true, NULL);
    assert_int_equal(converge_find(s->c, named('a'))->boot_ms, 890);
    want_with(s, 'a', (struct converge_want){.grace_ms = 3000, .desired = CONVERGE_DRAINING});
    wait_ms(s, 100000);
    want_with(s, 'a', (struct converge_want){.grace_ms = 3000, .desired = CONVERGE_STOPPED});
    assert_int_equal(s->out.deadline_ms, s->at_ms + 3000);
    wait_ms(s, 2999);
    wait_ms(s, 1);
    answer(s, CONVERGE_EXITED, 'a', false, "killed by signal 9");
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    assert_int_equal(s->out.deadline_ms, INT64_MAX);
    assert_true(converge_is_quiet(s->c));
    expect(s, "0 report a starting  ''\n0 prepare a\n"
              "10 report a starting  ''\n10 start a\n"
              "900 report a running NOMINAL ''\n"
              "900 report a draining NOMINAL ''\n"
              "100900 stop a\n103900 kill a\n"
              "103900 report a draining  ''\n103900 clean a\n103900 report a stopped  ''\n");
}

static void back_off_doubles(void **state)
{
    struct story *s = *state;
    static const int64_t WAITS[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000};
    want_with(s, 'a', (struct converge_want){.no_crash_limit = true});
    for (size_t i = 0; i < sizeof(WAITS) / sizeof(WAITS[0]); i++) {
        answer(s, CONVERGE_PREPARED, 'a', true, NULL);
        answer(s, CONVERGE_STARTED, 'a', true, NULL);
        answer(s, CONVERGE_EXITED, 'a', false, "exit status 1");
        answer(s, CONVERGE_CLEANED, 'a', true, NULL);
        assert_int_equal(s->out.deadline_ms, s->at_ms + WAITS[i]);
        forget_trace(s);
        wait_ms(s, WAITS[i] - 1);
        expect(s, "");
        wait_ms(s, 1);
        assert_int_equal(converge_find(s->c, named('a'))->phase, CONVERGE_PHASE_PREPARING);
        assert_int_equal(converge_find(s->c, named('a'))->restarts, i + 1);
    }
}

static void healthy_resets(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    for (int i = 0; i < 20; i++) { /* far over the crash-loop limit, but never in a row */
        raise(s, 'a');
        s->at_ms += CONVERGE_HEALTHY_MS_RESET;
        answer(s, CONVERGE_EXITED, 'a', false, "killed by signal 9");
        answer(s, CONVERGE_CLEANED, 'a', true, NULL);
        assert_int_equal(s->out.deadline_ms, s->at_ms + CONVERGE_BACK_OFF_MS_MIN);
        wait_ms(s, CONVERGE_BACK_OFF_MS_MIN);
    }
    assert_false(converge_find(s->c, named('a'))->is_failed);
}

static void crash_loop_fails(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    int starts = 0;
    while (s->out.deadline_ms != INT64_MAX || converge_find(s->c, named('a'))->phase != CONVERGE_PHASE_WAITING) {
        raise(s, 'a');
        starts++;
        answer(s, CONVERGE_EXITED, 'a', false, "exit status 3");
        answer(s, CONVERGE_CLEANED, 'a', true, NULL);
        if (s->out.deadline_ms != INT64_MAX)
            wait_ms(s, s->out.deadline_ms - s->at_ms);
        assert_true(starts < 100);
    }
    assert_int_equal(starts, CONVERGE_FAILURES_MAX);
    const struct converge_view *v = converge_find(s->c, named('a'));
    assert_int_equal(v->status, CONVERGE_STATUS_FAILED);
    assert_string_equal(v->cause, "exit status 3");
    wait_ms(s, 3600000);
    assert_int_equal(v->phase, CONVERGE_PHASE_WAITING);
    want_with(s, 'a', (struct converge_want){.desired = CONVERGE_STOPPED});
    want_with(s, 'a', (struct converge_want){0}); /* somebody asked again */
    assert_int_equal(v->phase, CONVERGE_PHASE_PREPARING);
}

static void start_timeout_fails(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    for (int i = 0; i < CONVERGE_FAILURES_MAX / CONVERGE_START_TIMEOUT_WEIGHT; i++) {
        answer(s, CONVERGE_PREPARED, 'a', true, NULL);
        answer(s, CONVERGE_STARTED, 'a', true, NULL);
        answer(s, CONVERGE_HEALTH, 'a', false, "program never listened on port 8080");
        assert_int_equal(s->out.deadline_ms, s->at_ms + 60000);
        forget_trace(s);
        wait_ms(s, 60000);
        answer(s, CONVERGE_EXITED, 'a', false, "killed by signal 15");
        answer(s, CONVERGE_CLEANED, 'a', true, NULL);
        if (s->out.deadline_ms != INT64_MAX)
            wait_ms(s, s->out.deadline_ms - s->at_ms);
    }
    expect(s, "121000 report a failed TIMEOUT 'program never listened on port 8080 within 60 s'\n121000 stop a\n"
              "121000 clean a\n");
}

static void unhealthy_restarts(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    raise(s, 'a');
    forget_trace(s);
    for (int i = 0; i < CONVERGE_CHECKS_ERROR; i++)
        answer(s, CONVERGE_HEALTH, 'a', false, "answered 500");
    answer(s, CONVERGE_HEALTH, 'a', true, NULL);
    expect(s, "0 report a running ERROR 'answered 500'\n0 report a running NOMINAL ''\n");
    for (int i = 0; i < CONVERGE_CHECKS_RESTART; i++)
        answer(s, CONVERGE_HEALTH, 'a', false, "answered 500");
    answer(s, CONVERGE_EXITED, 'a', true, NULL);
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    wait_ms(s, 1000);
    expect(s, "0 report a running ERROR 'answered 500'\n0 report a starting ERROR 'answered 500'\n0 stop a\n0 clean a\n"
              "1000 report a starting ERROR 'answered 500'\n1000 prepare a\n");
}

static void never_means_once(void **state)
{
    struct story *s = *state;
    struct converge_want once = {.restart_never = true};
    want_with(s, 'a', once);
    raise(s, 'a');
    answer(s, CONVERGE_EXITED, 'a', true, NULL);
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    want_with(s, 'b', once);
    raise(s, 'b');
    answer(s, CONVERGE_EXITED, 'b', false, "exit status 2");
    answer(s, CONVERGE_CLEANED, 'b', true, NULL);
    assert_int_equal(converge_find(s->c, named('a'))->status, CONVERGE_STATUS_STOPPED);
    assert_int_equal(converge_find(s->c, named('b'))->status, CONVERGE_STATUS_FAILED);
    forget_trace(s);
    once.desired = CONVERGE_STOPPED;
    want_with(s, 'a', once);
    once.desired = CONVERGE_RUNNING;
    want_with(s, 'a', once);
    want_with(s, 'b', once);
    wait_ms(s, 1000000);
    expect(s, "");
}

static void never_and_the_node_went_down(void **state)
{
    struct story *s = *state;
    struct converge_want once = {.owner = "dev-0", .restart_never = true};
    give(s, (struct converge_input){
                .type = CONVERGE_KEPT, .id = named('a'), .want = &once, .kept = {.was_started = true}});
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    expect(s, "0 report a failed EXIT 'it ran when the node went down, and it is not started twice'\n0 clean a\n");
    give(s, (struct converge_input){.type = CONVERGE_KEPT, .id = named('b'), .want = &once}); /* never begun: it may */
    answer(s, CONVERGE_CLEANED, 'b', true, NULL);
    assert_int_equal(converge_find(s->c, named('b'))->phase, CONVERGE_PHASE_PREPARING);
}

static void adopts(void **state)
{
    struct story *s = *state;
    struct converge_want want = {.owner = "dev-0"};
    struct converge_kept kept = {.is_up = true, .was_started = true, .was_healthy = true, .restarts = 4};
    give(s, (struct converge_input){.type = CONVERGE_KEPT, .id = named('a'), .want = &want, .kept = kept});
    expect(s, "0 report a running NOMINAL ''\n"); /* and neither stop nor start */
    kept.is_up = false;
    give(s, (struct converge_input){.type = CONVERGE_KEPT, .id = named('b'), .want = &want, .kept = kept});
    answer(s, CONVERGE_CLEANED, 'b', true, NULL);
    expect(s, "0 report b starting  ''\n0 clean b\n0 report b starting  ''\n0 prepare b\n");
    assert_int_equal(converge_find(s->c, named('b'))->restarts, 5);
    answer(s, CONVERGE_EXITED, 'a', false, "gone");
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    wait_ms(s, 1000);
    assert_int_equal(converge_find(s->c, named('a'))->phase, CONVERGE_PHASE_PREPARING);
    forget_trace(s);
    give(s, (struct converge_input){.type = CONVERGE_KEPT, /* a start on purpose is no restart */
                                    .id = named('c'),
                                    .want = &want,
                                    .cause = INSTANCE_CAUSE_NODE_STOPPED,
                                    .kept = kept});
    answer(s, CONVERGE_CLEANED, 'c', true, NULL);
    assert_int_equal(converge_find(s->c, named('c'))->restarts, 4);
    expect(s, "1000 report c starting  'it was stopped with its node'\n1000 clean c\n1000 prepare c\n");
}

static void owners_are_apart(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){.owner = "bootstrap"});
    want_with(s, 'b', (struct converge_want){.owner = "dev-0"});
    want_with(s, 'c', (struct converge_want){.owner = "dev-0"});
    raise(s, 'a');
    raise(s, 'b');
    raise(s, 'c');
    forget_trace(s);
    struct id only_b = named('b');
    give(s, (struct converge_input){.type = CONVERGE_SYNC, .owner = "dev-0", .ids = &only_b, .ids_n = 1});
    answer(s, CONVERGE_EXITED, 'c', true, NULL);
    answer(s, CONVERGE_CLEANED, 'c', true, NULL);
    expect(s, "0 report c draining NOMINAL ''\n0 stop c\n0 report c draining  ''\n0 clean c\n0 forget c\n");
    want_with(s, 'c', (struct converge_want){.owner = "dev-0"}); /* no tombstone: it may come again */
    assert_non_null(converge_find(s->c, named('c')));
    forget_trace(s);
    give(s, (struct converge_input){.type = CONVERGE_WIPE, .owner = "bootstrap"});
    answer(s, CONVERGE_EXITED, 'a', true, NULL);
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    expect(s, "0 report a draining NOMINAL ''\n0 stop a\n0 report a draining  ''\n0 clean a\n0 forget a\n");
    assert_int_equal(converge_find(s->c, named('b'))->status, CONVERGE_STATUS_RUNNING);
}

static void deleted_stays_deleted(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){.owner = "bootstrap"});
    raise(s, 'a');
    give(s, (struct converge_input){.type = CONVERGE_REMOVE, .id = named('a'), .tombstone = true});
    assert_true(converge_is_deleted(s->c, named('a')));
    want_with(s, 'a', (struct converge_want){.owner = "bootstrap"});
    answer(s, CONVERGE_EXITED, 'a', true, NULL);
    forget_trace(s);
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    expect(s, "0 forget a for ever\n");
    want_with(s, 'a', (struct converge_want){.owner = "bootstrap"});
    assert_null(converge_find(s->c, named('a')));
    give(s, (struct converge_input){.type = CONVERGE_WIPE, .owner = "dev-0"});
    assert_true(converge_is_deleted(s->c, named('a')));
    give(s, (struct converge_input){.type = CONVERGE_WIPE, .owner = "bootstrap"});
    expect(s, "0 unbury a\n");
    want_with(s, 'a', (struct converge_want){.owner = "bootstrap"});
    assert_non_null(converge_find(s->c, named('a')));
}

static void wiped_and_asked_for_again(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    raise(s, 'a');
    give(s, (struct converge_input){.type = CONVERGE_WIPE, .owner = "dev-0"});
    want_with(s, 'a', (struct converge_want){0});
    answer(s, CONVERGE_EXITED, 'a', true, NULL);
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    raise(s, 'a');
    assert_int_equal(converge_find(s->c, named('a'))->status, CONVERGE_STATUS_RUNNING);
    assert_int_equal(converge_find(s->c, named('a'))->attempt, 2);
}

static void another_revision_restarts(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){.revision = 1});
    raise(s, 'a');
    forget_trace(s);
    want_with(s, 'a', (struct converge_want){.revision = 1});
    expect(s, "");
    want_with(s, 'a', (struct converge_want){.revision = 2});
    answer(s, CONVERGE_EXITED, 'a', true, NULL);
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    expect(s, "0 stop a\n0 report a running  ''\n0 clean a\n0 report a starting  ''\n0 prepare a\n");
}

static void halts_by_rank(void **state)
{
    struct story *s = *state;
    want_with(s, 'v', (struct converge_want){.halt_rank = 1});
    want_with(s, 'p', (struct converge_want){.halt_rank = 0});
    raise(s, 'v');
    raise(s, 'p');
    forget_trace(s);
    give(s, (struct converge_input){.type = CONVERGE_HALT});
    answer(s, CONVERGE_EXITED, 'p', true, NULL);
    assert_false(converge_is_quiet(s->c));
    answer(s, CONVERGE_CLEANED, 'p', true, NULL);
    answer(s, CONVERGE_EXITED, 'v', true, NULL);
    answer(s, CONVERGE_CLEANED, 'v', true, NULL);
    assert_true(converge_is_quiet(s->c));
    wait_ms(s, 100000);
    assert_true(converge_is_quiet(s->c));
    expect(
        s,
        "0 report p draining NOMINAL ''\n0 stop p\n0 report p draining  'it was stopped with its node'\n0 clean p\n"
        "0 report v draining NOMINAL ''\n0 stop v\n0 report v draining  'it was stopped with its node'\n0 clean v\n");
    assert_int_equal(converge_find(s->c, named('v'))->want.desired, CONVERGE_RUNNING);
}

static void late_answers_do_no_harm(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    want_with(s, 'a', (struct converge_want){.desired = CONVERGE_STOPPED}); /* while it prepares */
    forget_trace(s);
    answer(s, CONVERGE_PREPARED, 'a', true, NULL);
    expect(s, "");
    want_with(s, 'a', (struct converge_want){0});
    answer(s, CONVERGE_CLEANED, 'a', true, NULL);
    forget_trace(s);
    give(s, (struct converge_input){.type = CONVERGE_PREPARED, .id = named('a'), .attempt = 1, .ok = true});
    expect(s, "");
    give(s, (struct converge_input){.type = CONVERGE_PREPARED, .id = named('a'), .attempt = 2, .ok = true});
    expect(s, "0 report a starting  ''\n0 start a\n");
    give(s, (struct converge_input){.type = CONVERGE_EXITED, .id = named('z'), .attempt = 1});
    expect(s, "");
}

static void images_are_waited_for(void **state)
{
    struct story *s = *state;
    want_with(s, 'a', (struct converge_want){0});
    for (int i = 0; i < 50; i++) { /* the control plane is away: no limit */
        answer(s, CONVERGE_PREPARED, 'a', false, "cannot fetch image");
        answer(s, CONVERGE_CLEANED, 'a', true, NULL);
        wait_ms(s, s->out.deadline_ms - s->at_ms);
    }
    const struct converge_view *v = converge_find(s->c, named('a'));
    assert_int_equal(v->phase, CONVERGE_PHASE_PREPARING);
    assert_string_equal(v->cause, "cannot fetch image");
    assert_int_equal(v->restarts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(life_of_one, begin, end),
        cmocka_unit_test_setup_teardown(back_off_doubles, begin, end),
        cmocka_unit_test_setup_teardown(healthy_resets, begin, end),
        cmocka_unit_test_setup_teardown(crash_loop_fails, begin, end),
        cmocka_unit_test_setup_teardown(start_timeout_fails, begin, end),
        cmocka_unit_test_setup_teardown(unhealthy_restarts, begin, end),
        cmocka_unit_test_setup_teardown(never_means_once, begin, end),
        cmocka_unit_test_setup_teardown(never_and_the_node_went_down, begin, end),
        cmocka_unit_test_setup_teardown(adopts, begin, end),
        cmocka_unit_test_setup_teardown(owners_are_apart, begin, end),
        cmocka_unit_test_setup_teardown(deleted_stays_deleted, begin, end),
        cmocka_unit_test_setup_teardown(wiped_and_asked_for_again, begin, end),
        cmocka_unit_test_setup_teardown(another_revision_restarts, begin, end),
        cmocka_unit_test_setup_teardown(halts_by_rank, begin, end),
        cmocka_unit_test_setup_teardown(late_answers_do_no_harm, begin, end),
        cmocka_unit_test_setup_teardown(images_are_waited_for, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
