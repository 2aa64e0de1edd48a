/* The replay check finds the first event after which two folds of a log differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "app/replay.h"
#include "assert_err.h"
#include "base/own.h"
#include "store/simulated.h"

/* A fold that is not one: from event `odd` on it depends on how many models were made before it. */
struct build {
    int made;
    uint64_t odd;     /* 0: never */
    uint64_t refuses; /* 0: none */
    bool heals;       /* only that one event is folded otherwise, what comes later is the same again */
};
struct sum {
    const struct build *build;
    int nth;
    uint64_t total, flaw;
};

static void *make(void *ctx)
{
    struct build *b = ctx;
    struct sum *s = mem_alloc(sizeof(*s));
    *s = (struct sum){.build = b, .nth = ++b->made};
    return s;
}

static enum err apply(void *model, const struct store_record *r, struct errinfo *err)
{
    struct sum *s = model;
    if (s->build->refuses == r->seq)
        return err_set(err, ERR_CORRUPT, "%llu is too much", (unsigned long long)r->seq);
    s->total = s->total * 31 + r->seq;
    if (s->build->odd == r->seq)
        s->flaw = (uint64_t)s->nth;
    else if (s->build->heals)
        s->flaw = 0;
    return OK;
}

static void hash(const void *model, uint8_t ret_hash[static HASH_SIZE])
{
    const struct sum *s = model;
    uint64_t all[2] = {s->total, s->flaw};
    hash_bytes(all, sizeof(all), ret_hash);
}

static struct replay_fold fold_of(struct build *b, const char *name)
{
    return (struct replay_fold){name, b, make, free, apply, hash};
}

enum { EVENTS = 137 };
static struct store *log_of(struct store_world *w)
{
    struct store *s = NULL;
    assert_ok(
        store_open("simulated;name=a", &(struct store_options){.mode = STORE_CREATE, .world = w}, &s, NULL, &why));
    struct store_pos at = {0};
    for (uint64_t i = 1; i <= EVENTS; i++) {
        struct store_event e = {.type = STR("Added"), .id = {{(uint8_t)i, 1}}, .payload = STR("{}")};
        struct store_record r;
        assert_ok(store_append(s, at, &e, 1, &r, &why));
        at = (struct store_pos){r.seq, r.e.sum};
    }
    return s;
}

static void the_same_every_time(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1);
    struct store *s = log_of(w);
    for (uint64_t every = 1; every < 200; every += 33) {
        struct build b = {0};
        struct replay_fold fold = fold_of(&b, "build");
        struct replay_verdict v;
        assert_ok(replay_twice(s, &fold, every, &v, &why));
        assert_true(v.is_same && v.events == EVENTS && v.seq == 0 && b.made == 2);
        assert_memory_equal(v.hash[0], v.hash[1], HASH_SIZE);
    }
    struct build b = {0};
    struct replay_fold fold = fold_of(&b, "build");
    struct replay_verdict v;
    assert_int_equal(replay_twice(s, &fold, 0, &v, &why), ERR_INVALID);
    store_close(s);
    store_world_free(w);
}

/* Wherever it goes wrong, and however seldom it is looked: that very event is named. */
static void the_first_difference(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1);
    struct store *s = log_of(w);
    for (uint64_t every = 1; every < 200; every += 11) {
        for (uint64_t odd = 1; odd <= EVENTS; odd++) {
            struct build b = {.odd = odd};
            struct replay_fold fold = fold_of(&b, "build");
            struct replay_verdict v;
            assert_ok(replay_twice(s, &fold, every, &v, &why));
            if (v.is_same || v.seq != odd || strcmp(v.type, "Added") != 0)
                fail_msg("every %d: %d instead of %d", (int)every, (int)v.seq, (int)odd);
            assert_memory_not_equal(v.hash[0], v.hash[1], HASH_SIZE);
        }
    }
    struct build b = {.odd = 5, .heals = true}; /* seen only by who looks after each */
    struct replay_fold fold = fold_of(&b, "build");
    struct replay_verdict v;
    assert_ok(replay_twice(s, &fold, 1, &v, &why));
    assert_true(!v.is_same && v.seq == 5);
    store_close(s);
    store_world_free(w);
}

static void one_refuses(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1);
    struct store *s = log_of(w);
    struct build old = {0}, new = {.refuses = 40}, newer = {.refuses = 40};
    struct replay_fold a = fold_of(&old, "old"), b = fold_of(&new, "new"), c = fold_of(&newer, "newer");
    struct replay_verdict v;
    assert_ok(replay_compare(s, &a, &b, 10, &v, &why));
    assert_true(!v.is_same && v.seq == 40 && v.events == 39);
    assert_string_equal(v.cause, "new refused what old took: 40 is too much");
    assert_ok(replay_compare(s, &b, &c, 10, &v, &why)); /* a log that stops both alike */
    assert_true(v.is_same && v.seq == 40);
    assert_non_null(strstr(v.cause, "both refused it"));
    store_close(s);
    store_world_free(w);
}

/* Two builds that never meet: by what they wrote. */
static void traces(void **state)
{
    (void)state;
    struct store_world *w = store_world_new(1);
    struct store *s = log_of(w);
    struct build old = {0}, new = {.odd = 100}, bad = {.refuses = 90};
    struct replay_fold a = fold_of(&old, "old"), b = fold_of(&new, "new"), c = fold_of(&bad, "bad");
    AUTO(buf) struct buf of_old = {0}, again = {0}, of_new = {0}, of_bad = {0};
    assert_ok(replay_trace(s, &a, 10, &of_old, &why));
    assert_ok(replay_trace(s, &a, 10, &again, &why));
    assert_ok(replay_trace(s, &b, 10, &of_new, &why));
    assert_ok(replay_trace(s, &c, 10, &of_bad, &why));
    struct replay_verdict v;
    assert_ok(replay_trace_compare(buf_str(&of_old), buf_str(&again), &v, &why));
    assert_true(v.is_same && v.events == EVENTS);
    assert_ok(replay_trace_compare(buf_str(&of_old), buf_str(&of_new), &v, &why));
    assert_true(!v.is_same && v.seq == 100 && v.events == 90);
    assert_ok(replay_trace_compare(buf_str(&of_bad), buf_str(&of_old), &v, &why));
    assert_true(!v.is_same && v.seq == 90 && strstr(v.cause, "90 refused 90 is too much") != NULL);
    struct str shorter = str_slice(buf_str(&of_old), 0, str_find(buf_str(&of_old), '\n') + 1);
    assert_ok(replay_trace_compare(shorter, buf_str(&of_old), &v, &why));
    assert_true(!v.is_same && v.seq == 20);
    static const char *const BAD[] = {"x", "1", "1 ", " sha256:0", "-1 y", "\n"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_int_equal(replay_trace_compare(str_from(BAD[i]), buf_str(&of_old), &v, &why), ERR_INVALID);
        assert_int_equal(replay_trace_compare(STR(""), str_from(BAD[i]), &v, &why), ERR_INVALID);
    }
    store_close(s);
    store_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_every_time),
        cmocka_unit_test(the_first_difference),
        cmocka_unit_test(one_refuses),
        cmocka_unit_test(traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
