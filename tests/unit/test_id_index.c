/* The sorted array of objects: against flags, with ids that are alike in all that the search looks at first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "platform/id_index.h"

enum { OBJECTS_N = 300, STEPS = 30000 };

struct entry {
    struct id id; /* first */
    bool is_in;
};

/* In order: some heads have one id, some two, some a hundred; bytes above 127 in them. */
static struct id id_at(size_t i)
{
    struct id id = {{0}};
    id.bytes[0] = i < 100 ? (uint8_t)(i + 60) : i < 200 ? 200 : (uint8_t)(200 + (i - 198) / 2);
    id.bytes[7] = i < 200 ? 0xff : 1;
    id.bytes[15] = (uint8_t)i;
    id.bytes[14] = (uint8_t)(i >> 8);
    return id;
}

static void check_all(const struct id_index *x, const struct entry *entries)
{
    size_t n = 0;
    for (size_t i = 0; i < OBJECTS_N; i++) {
        const struct entry *found = id_index_find(x, entries[i].id);
        assert_ptr_equal(found, entries[i].is_in ? &entries[i] : NULL);
        if (entries[i].is_in)
            assert_ptr_equal(x->items[n++], &entries[i]);
    }
    assert_int_equal(n, x->n);
}

static void in_order(void **state)
{
    (void)state;
    struct entry entries[OBJECTS_N] = {0};
    struct id_index x = {0};
    uint64_t chance = 1;
    for (size_t i = 0; i < OBJECTS_N; i++) {
        entries[i].id = id_at(i);
        assert_true(i == 0 || id_cmp(entries[i - 1].id, entries[i].id) < 0);
    }
    check_all(&x, entries);
    for (size_t step = 0; step < STEPS; step++) {
        chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        struct entry *e = &entries[(chance >> 33) % OBJECTS_N];
        if (e->is_in)
            id_index_remove(&x, e->id);
        else
            id_index_add(&x, e);
        e->is_in = !e->is_in;
        id_index_remove(&x, (struct id){{9}}); /* nobody's */
        if (step % 97 == 0)
            check_all(&x, entries);
    }
    for (size_t i = 0; i < OBJECTS_N; i++) {
        id_index_remove(&x, entries[i].id);
        entries[i].is_in = false;
        check_all(&x, entries);
    }
    id_index_done(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
