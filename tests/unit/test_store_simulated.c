/* What the simulated store promises beside the contract: the same story for the same seed, and faults when asked for.
 */
#include "store_help.h"

static struct store *open_in(struct store_world *w, const char *spec)
{
    struct store *s = NULL;
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_CREATE, .world = w}, &s, NULL, &why));
    return s;
}

/* A text of what happened in 300 appends. */
static char *story(uint64_t seed)
{
    struct store_world *w = store_world_new(seed);
    struct store *s = open_in(w, "simulated;name=a");
    AUTO(buf) struct buf out = {0};
    struct store_pos at = {0};
    store_world_set_odds(w, &(struct store_odds){.unavailable = 100,
                                                 .conflict = 100,
                                                 .lost_before = 50,
                                                 .lost_after = 50,
                                                 .slow = 300,
                                                 .delay_us_max = 5000});
    for (uint64_t i = 1; i <= 300; i++) {
        struct store_event e = number_event(0, i);
        store_world_set_now_us(w, 1767225600000000 + (int64_t)i * 1000);
        enum err rc = store_append(s, at, &e, 1, NULL, &why);
        buf_addf(&out, "%s %lld; ", err_name(rc), (long long)store_simulated_took_us(s));
        while (rc == ERR_IO && store_reopen(s, NULL, &why) != OK)
            buf_add_c(&out, "again; ");
        while (store_end(s, &at, &why) != OK)
            buf_add_c(&out, "end; ");
        buf_addf(&out, "%llu %08x\n", (unsigned long long)at.seq, at.sum);
    }
    store_close(s);
    store_world_free(w);
    return buf_take(&out);
}

static void same_seed_same_story(void **state)
{
    (void)state;
    auto_free char *a = story(1), *b = story(1), *c = story(2);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    static const char *const WORDS[] = {"ok ", "conflict ", "unavailable ", "io "};
    for (size_t i = 0; i < 4; i++)
        assert_non_null(strstr(a, WORDS[i]));
}

static void logs_of_a_world(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1), *other = store_world_new(1);
    struct store *a = open_in(w, "simulated;name=a"), *b = open_in(w, "simulated;name=b"),
                 *far = open_in(other, "simulated;name=a"), *none = NULL;
    (void)add(a, 1);
    assert_true(end_of(b).seq == 0 && end_of(far).seq == 0);
    assert_false(id_eq(store_log_id(a), store_log_id(b)));
    assert_err(store_open("simulated;name=a", NULL, &none, NULL, &why), ERR_INVALID); /* in no world */
    assert_err(store_open("simulated", &(struct store_options){.world = w}, &none, NULL, &why), ERR_INVALID);
    store_world_set_unreachable(w, "a", true);
    struct store_pos end;
    struct store_event e = number_event(0, 2);
    assert_err(store_end(a, &end, &why), ERR_UNAVAILABLE);
    assert_err(store_append(a, (struct store_pos){0}, &e, 1, NULL, &why), ERR_UNAVAILABLE);
    (void)add(b, 1);
    store_world_set_unreachable(w, "a", false);
    check_numbers(a, 1);
    store_close(a);
    store_close(b);
    store_close(far);
    store_world_free(w);
    store_world_free(other);
}

/* The clock is the world's, but a handle's does not go back behind what it saw. */
static void time_is_virtual(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1);
    struct store *s = open_in(w, "simulated;name=a");
    int64_t now = store_clock_us(s);
    store_world_set_now_us(w, now + 1000000);
    struct store_record r = add(s, 1);
    assert_true(r.e.time.instant_ns == (now + 1000000) * 1000);
    store_world_set_now_us(w, now);
    assert_true(store_clock_us(s) == now + 1000000);
    r = add(s, 2);
    assert_true(r.e.time.instant_ns == (now + 1000000) * 1000 && r.e.time.tiebreak == 1);
    store_close(s);
    store_world_free(w);
}

static void rewound_and_damaged(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1);
    struct store *s = open_in(w, "simulated;name=a");
    for (uint64_t i = 1; i <= 5; i++)
        (void)add(s, i);
    struct store_pos before = end_of(s);
    store_world_rewind(w, "a", 3);
    assert_int_equal(end_of(s).seq, 3);
    check_numbers(s, 3);
    (void)add(s, 14);
    (void)add(s, 15);
    assert_true(end_of(s).seq == before.seq && end_of(s).sum != before.sum);
    struct store_event e = number_event(0, 16);
    assert_err(store_append(s, before, &e, 1, NULL, &why), ERR_CONFLICT); /* noticed, not continued */
    store_world_damage(w, "a", 4);
    AUTO(store_batch) struct store_batch b = {0}, none = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    assert_int_equal(b.n, 3);
    assert_err(store_read(s, 3, 0, 0, &none, &why), ERR_CORRUPT);
    assert_int_equal(store_damage(s)->seq, 4);
    store_close(s);
    store_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_story),
        cmocka_unit_test(logs_of_a_world),
        cmocka_unit_test(time_is_virtual),
        cmocka_unit_test(rewound_and_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
