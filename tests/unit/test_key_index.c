/* The hash table by which objects are found: against a list, with keys that collide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "platform/key_index.h"

enum { OBJECTS_N = 200, STEPS = 20000 };

struct entry {
    uint64_t key;
    bool is_in;
};

/* Few keys, whose low bits are alike: many objects under one key, and many keys in one place. */
static uint64_t key_at(uint64_t x)
{
    return (x % 23) << (x % 2 == 0 ? 0 : 32);
}

static size_t found_under(const struct key_index *x, uint64_t key, const struct entry *entries)
{
    size_t at = 0, n = 0;
    for (const struct entry *e; (e = key_index_next(x, key, &at)) != NULL; n++) {
        assert_true(e >= entries && e < entries + OBJECTS_N);
        assert_true(e->is_in && e->key == key);
    }
    return n;
}

static void as_a_list(void **state)
{
    (void)state;
    struct entry entries[OBJECTS_N] = {{0}};
    struct key_index x = {0};
    uint64_t chance = 1;
    assert_int_equal(found_under(&x, 0, entries), 0);
    for (int i = 0; i < STEPS; i++) {
        chance = chance * UINT64_C(6364136223846793005) + 1442695040888963407;
        struct entry *e = &entries[(chance >> 33) % OBJECTS_N];
        if (e->is_in) {
            key_index_remove(&x, e->key + 1, e); /* under another key it is not there */
            key_index_remove(&x, e->key, e);
            key_index_remove(&x, e->key, e);
        } else {
            e->key = key_at(chance >> 40);
            key_index_add(&x, e->key, e);
        }
        e->is_in = !e->is_in;
        assert_int_equal(key_index_has(&x, e->key, e), e->is_in);
        size_t n = 0, in_n = 0;
        for (size_t k = 0; k < OBJECTS_N; k++) {
            n += entries[k].is_in && entries[k].key == e->key;
            in_n += entries[k].is_in;
        }
        assert_int_equal(found_under(&x, e->key, entries), n);
        assert_int_equal(x.n, in_n);
    }
    key_index_done(&x);
}

/* As deployments of one image: taking one away costs no more than their number, or this does not end. */
static void many_of_one_key(void **state)
{
    enum { MANY = 6000 };
    (void)state;
    static char objects[MANY];
    struct key_index x = {0};
    for (size_t i = 0; i < MANY; i++)
        key_index_add(&x, 7, &objects[i]);
    for (size_t i = 0; i < MANY; i++) {
        key_index_remove(&x, 7, &objects[i]);
        key_index_add(&x, 7, &objects[i]);
    }
    assert_int_equal(x.n, MANY);
    for (size_t i = MANY; i > 0; i--) {
        key_index_remove(&x, 7, &objects[i - 1]);
        assert_false(key_index_has(&x, 7, &objects[i - 1]));
    }
    assert_int_equal(x.n, 0);
    key_index_done(&x);
}

/* Ids of one millisecond, as a plan makes them, do not pile up. */
static void ids_are_spread(void **state)
{
    (void)state;
    size_t in_slot[1024] = {0}, most = 0;
    for (unsigned i = 0; i < 1024; i++) {
        struct id id = {{1, 2, 3, 4, 5, 6, 0x70, 0, 0x80}};
        id.bytes[14] = (uint8_t)(i >> 8);
        id.bytes[15] = (uint8_t)i;
        size_t *slot = &in_slot[key_of_id(id) & 1023];
        *slot += 1;
        most = *slot > most ? *slot : most;
    }
    assert_in_range(most, 1, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_a_list), cmocka_unit_test(many_of_one_key),
                                       cmocka_unit_test(ids_are_spread)};
    return cmocka_run_group_tests_name("key_index", tests, NULL, NULL);
}
