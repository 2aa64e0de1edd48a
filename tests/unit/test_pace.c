/* node/agent/pace: a thousand agents that fail, or start, at the same instant do not go on together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "node/agent/pace.h"

enum { AGENTS = 1000 };

static void a_retry_is_doubled_and_spread(void **state)
{
    (void)state;
    static const int64_t MS[] = {500, 1000, 2000, 4000, 8000, 10000, 10000};
    for (unsigned failures_n = 0; failures_n < sizeof(MS) / sizeof(MS[0]); failures_n++) {
        int quarters[4] = {0};
        for (uint64_t seed = 1; seed <= AGENTS; seed++) {
            uint64_t jitter = seed * 0x9e3779b97f4a7c15u;
            int64_t ms = pace_retry_ms(failures_n, &jitter), from = MS[failures_n] / 2;
            assert_true(ms >= from && ms <= from + MS[failures_n]);
            quarters[(ms - from) * 4 / (MS[failures_n] + 1)]++;
        }
        for (int q = 0; q < 4; q++) /* 250 each, more or less: never a crowd */
            assert_in_range(quarters[q], 150, 350);
    }
    uint64_t jitter = 1;
    assert_true(pace_retry_ms(UINT32_MAX, &jitter) <= 15000);
}

/* Started by the same power switch: after two minutes they speak at every time. */
static void heartbeats_part(void **state)
{
    (void)state;
    int of_second[5] = {0};
    for (uint64_t seed = 1; seed <= AGENTS; seed++) {
        uint64_t jitter = seed * 0x9e3779b97f4a7c15u;
        int64_t at_ms = 0;
        while (at_ms < 120000) {
            int64_t ms = pace_heartbeat_ms(&jitter);
            assert_in_range(ms, 4500, 5500);
            at_ms += ms;
        }
        of_second[at_ms / 1000 % 5]++;
    }
    for (int s = 0; s < 5; s++)
        assert_in_range(of_second[s], 100, 450);
}

static void patience_grows(void **state)
{
    (void)state;
    assert_int_equal(pace_patience_ms(0), 3000);
    assert_int_equal(pace_patience_ms(1), 6000);
    assert_int_equal(pace_patience_ms(2), 12000);
    assert_int_equal(pace_patience_ms(UINT32_MAX), 12000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_retry_is_doubled_and_spread),
        cmocka_unit_test(heartbeats_part),
        cmocka_unit_test(patience_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
