/* Snapshots: what is encoded goes on as what it was made from; nothing else is decoded; no member is forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "big_model.h"
#include "event/hash.h"
#include "platform/members.h"
#include "platform/snapshot.h"
#include "random_events.h"

/* Fixed, so that a failure comes again; SNAPSHOT_SEED tries another. */
static uint64_t seed = 20261122;

static struct model *decoded(const struct buf *bytes)
{
    struct model *m = NULL;
    struct errinfo err;
    if (snapshot_decode(buf_str(bytes), &m, &err) != OK)
        fail_msg("%s", err.msg);
    assert_true(keys_are_right(m));
    return m;
}

static void assert_same(const struct model *a, const struct model *b)
{
    AUTO(buf) struct buf in_a = {0}, in_b = {0};
    snapshot_encode(a, &in_a);
    snapshot_encode(b, &in_b);
    assert_int_equal(in_a.len, in_b.len);
    assert_memory_equal(in_a.ptr, in_b.ptr, in_a.len);
}

/* ---- Going on ---- */

/* At 40 places in each of 40 histories the model is exchanged for its decoded snapshot; both accept the same. */
static void a_decoded_model_goes_on(void **state)
{
    (void)state;
    size_t accepted[EVENT_KIND_MAX_] = {0};
    for (uint64_t k = 0; k < 40; k++) {
        struct random_events r = random_events(seed + k);
        struct model *whole = model_new(), *exchanged = model_new();
        for (int i = 0; i < 40; i++) {
            AUTO(buf) struct buf bytes = {0};
            snapshot_encode(exchanged, &bytes);
            model_free(exchanged);
            exchanged = decoded(&bytes);
            assert_same(whole, exchanged);
            assert_int_equal(texts_refs(&whole->texts), texts_refs(&exchanged->texts));
            struct random_events again = r;
            random_fold(&r, whole, 50);
            random_fold(&again, exchanged, 50);
            assert_int_equal(r.refused, again.refused);
        }
        assert_same(whole, exchanged);
        uint8_t a[HASH_SIZE], b[HASH_SIZE], c[HASH_SIZE];
        AUTO(buf) struct buf bytes = {0};
        snapshot_encode(whole, &bytes);
        hash_bytes(bytes.ptr, bytes.len, c);
        model_hash(whole, a);
        model_hash(exchanged, b);
        assert_memory_equal(a, b, HASH_SIZE);
        assert_memory_equal(a, c, HASH_SIZE);
        for (int i = 0; i < EVENT_KIND_MAX_; i++)
            accepted[i] += r.accepted[i];
        model_free(whole);
        model_free(exchanged);
    }
    for (int i = 0; i < EVENT_KIND_MAX_; i++)
        if (accepted[i] < 5)
            fail_msg("%s was accepted %zu times only", event_kind_row((enum event_kind)i)->name, accepted[i]);
}

/* The ring of tombstones has gone round. */
static void tombstones_go_on(void **state)
{
    (void)state;
    struct model *m = big_model(10);
    for (size_t i = 0; i < MODEL_TOMBSTONES_MAX + 100; i++) {
        struct event e = big_event(m, EVENT_CREATE_INSTANCE);
        struct id id = {{0xff, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i}};
        e.create_instance.instance_id = id;
        e.create_instance.process_id = ((const struct process *)m->processes.items[0])->id;
        big_model_apply(m, &e);
        e = big_event(m, EVENT_DELETE_INSTANCE);
        e.delete_instance.instance_id = id;
        big_model_apply(m, &e);
    }
    AUTO(buf) struct buf bytes = {0};
    snapshot_encode(m, &bytes);
    struct model *back = decoded(&bytes);
    static struct id in_m[MODEL_TOMBSTONES_MAX], in_back[MODEL_TOMBSTONES_MAX];
    for (uint64_t seq = 0; seq <= m->seq; seq += 7) {
        assert_int_equal(model_can_follow(m, seq), model_can_follow(back, seq));
        size_t n = model_removed(m, OBJECT_INSTANCE, ID_NONE, seq, in_m, MODEL_TOMBSTONES_MAX);
        assert_int_equal(model_removed(back, OBJECT_INSTANCE, ID_NONE, seq, in_back, MODEL_TOMBSTONES_MAX), n);
        assert_memory_equal(in_m, in_back, n * sizeof(struct id));
    }
    model_free(m);
    model_free(back);
}

/* ---- Damage ---- */

/* Bytes that are taken are the only ones of the model that they make. */
static bool is_taken(const struct buf *bytes)
{
    struct model *m = NULL;
    struct errinfo err = {0};
    if (snapshot_decode(buf_str(bytes), &m, &err) != OK) {
        assert_null(m);
        assert_true(strlen(err.msg) > 20);
        return false;
    }
    AUTO(buf) struct buf again = {0};
    snapshot_encode(m, &again);
    assert_int_equal(again.len, bytes->len);
    assert_memory_equal(again.ptr, bytes->ptr, again.len);
    struct random_events r = random_events(seed); /* nor does it fall over what comes next */
    random_fold(&r, m, 5);
    model_free(m);
    return true;
}

static void damage_is_refused(void **state)
{
    (void)state;
    struct random_events r = random_events(seed);
    struct model *m = model_new();
    random_fold(&r, m, 150);
    AUTO(buf) struct buf bytes = {0}, changed = {0};
    snapshot_encode(m, &bytes);
    assert_true(is_taken(&bytes));
    for (size_t n = 0; n < bytes.len; n++) { /* every length but the whole */
        buf_clear(&changed);
        buf_add(&changed, bytes.ptr, n);
        assert_false(is_taken(&changed));
    }
    buf_clear(&changed);
    buf_add(&changed, bytes.ptr, bytes.len);
    buf_add(&changed, "", 1);
    assert_false(is_taken(&changed));
    size_t taken = 0;
    for (size_t i = 0; i < bytes.len; i++) /* every bit: what is taken is another model, never a broken one */
        for (int bit = 0; bit < 8; bit++) {
            buf_clear(&changed);
            buf_add(&changed, bytes.ptr, bytes.len);
            changed.ptr[i] = (char)(changed.ptr[i] ^ 1 << bit);
            bool is_ok = is_taken(&changed);
            assert_false(is_ok && i < 23); /* the head */
            taken += is_ok;
        }
    printf("  %zu bytes, %zu of %zu flipped bits make another model\n", bytes.len, taken, bytes.len * 8);
    model_free(m);
}

/* A count that promises more than there is allocates nothing: it would fail under a sanitizer's limit. */
static void counts_are_bounded(void **state)
{
    (void)state;
    struct model *m = model_new(), *none = NULL;
    struct errinfo err;
    AUTO(buf) struct buf bytes = {0};
    snapshot_encode(m, &bytes);
    static const uint8_t HUGE[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    for (size_t i = 23; i < bytes.len; i++) {
        AUTO(buf) struct buf changed = {0};
        buf_add(&changed, bytes.ptr, i);
        buf_add(&changed, HUGE, sizeof(HUGE));
        buf_add(&changed, bytes.ptr + i, bytes.len - i);
        assert_int_equal(snapshot_decode(buf_str(&changed), &none, &err), ERR_CORRUPT);
    }
    model_free(m);
}

static void another_version_is_refused(void **state)
{
    (void)state;
    struct model *m = model_new(), *none = NULL;
    struct errinfo err;
    AUTO(buf) struct buf bytes = {0};
    snapshot_encode(m, &bytes);
    bytes.ptr[15] = (char)(bytes.ptr[15] ^ 1);
    assert_int_equal(snapshot_decode(buf_str(&bytes), &none, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.msg, "another version"));
    assert_true(snapshot_format() >> 63 == 0);
    model_free(m);
}

/* ---- No member is forgotten ---- */

#if defined(__GNUC__) && !defined(__clang__)
#define HAS_CLEAR_PADDING

static void check_described(const struct members *t, const uint8_t *is_member)
{
    uint8_t *in_table = mem_calloc(t->size, 1);
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->items[i].size; k++) {
            if (in_table[t->items[i].offset + k] != 0)
                fail_msg("member '%s' of struct %s stands twice in its table", t->items[i].name, t->name);
            in_table[t->items[i].offset + k] = 1;
        }
    for (size_t k = 0; k < t->size; k++)
        if (is_member[k] != 0 && in_table[k] == 0)
            fail_msg("byte %zu of struct %s is of a member that its table (platform/members.c) does not have", k,
                     t->name);
    free(in_table);
}

#endif

/* The compiler knows which bytes of a struct are padding: all others must be in its table. */
static void every_byte_is_described(void **state)
{
    (void)state;
#ifdef HAS_CLEAR_PADDING
    size_t types = 0;
#define CHECK(type)                                                                                                    \
    do {                                                                                                               \
        struct type x;                                                                                                 \
        memset(&x, 0xff, sizeof(x));                                                                                   \
        __builtin_clear_padding(&x);                                                                                   \
        uint8_t is_member[sizeof(x)];                                                                                  \
        memcpy(is_member, &x, sizeof(x));                                                                              \
        extern const struct members MEMBERS_##type;                                                                    \
        assert_int_equal(sizeof(x), MEMBERS_##type.size);                                                              \
        check_described(&MEMBERS_##type, is_member);                                                                   \
        types++;                                                                                                       \
    } while (0)
    CHECK(model);
    CHECK(tombstone);
    CHECK(instance_history);
    CHECK(gone_instance);
    size_t not_objects = types;
    CHECK(region);
    CHECK(zone);
    CHECK(node);
    CHECK(definition);
    CHECK(project);
    CHECK(image);
    CHECK(process);
    CHECK(instance);
    CHECK(certificate);
    CHECK(domain);
    CHECK(user);
    CHECK(waiting);
    CHECK(secret);
    CHECK(passed_record);
    size_t all = 0;
    for (size_t i = 0; i < MEMBERS_model.n; i++)
        all += MEMBERS_model.items[i].kind == MEMBER_OBJECTS;
    assert_int_equal(types - not_objects, all); /* a type of object that is not checked here */
#else
    skip(); /* gcc's run says it */
#endif
}

/* Another value of a member; false: there is none without breaking the object. */
static bool change(struct model *m, const struct member *member, void *object)
{
    void *at = member_at(member, object);
    switch (member->kind) {
    case MEMBER_BOOL: *(bool *)at = !*(bool *)at; return true;
    case MEMBER_TEXT: *(const char **)at = texts_ref(&m->texts, STR("changed")); return true;
    case MEMBER_ID:
    case MEMBER_U64:
    case MEMBER_I64:
    case MEMBER_U32:
    case MEMBER_U8:
    case MEMBER_SEQ:
    case MEMBER_ENUM: *(uint8_t *)at ^= 1; return true;
    case MEMBER_TEXTS: return ((struct text_list *)at)->n > 0 && ((struct text_list *)at)->n-- > 0;
    case MEMBER_IDS: return ((struct id_list *)at)->n > 0 && ((struct id_list *)at)->n-- > 0;
    case MEMBER_ARRAY: {
        uint32_t *n = (uint32_t *)(void *)((char *)object + member->count_offset);
        return *n > 0 && (*n)-- > 0;
    }
    case MEMBER_REF: {
        void *none = NULL;
        if (memcmp(at, &none, sizeof(none)) == 0)
            return false;
        memcpy(at, &none, sizeof(none));
        return true;
    }
    case MEMBER_INDEX:
    case MEMBER_OBJECTS:
    case MEMBER_DERIVED:
    case MEMBER_OUTSIDE: return false;
    }
    return false;
}

static void check_flips(struct model *m, const struct members *members, void *object, bool *done)
{
    uint8_t before[HASH_SIZE], after[HASH_SIZE];
    void *image = mem_alloc(members->size);
    memcpy(image, object, members->size);
    for (size_t i = 0; i < members->n; i++) {
        if (done[i])
            continue;
        model_hash(m, before);
        if (change(m, &members->items[i], object)) {
            model_hash(m, after);
            if (memcmp(before, after, HASH_SIZE) == 0)
                fail_msg("struct %s: '%s' is not in the hash", members->name, members->items[i].name);
            done[i] = true;
        }
        memcpy(object, image, members->size);
    }
    free(image);
}

enum { TABLES_MAX = 64, MEMBERS_MAX = 64 };

/* Whatever differs between two models makes their hashes differ: each member of each type is changed once. */
static void every_member_is_hashed(void **state)
{
    (void)state;
    static bool done[TABLES_MAX][MEMBERS_MAX];
    assert_true(MEMBERS_model.n <= TABLES_MAX);
    for (uint64_t k = 0; k < 20; k++) {
        struct random_events r = random_events(seed + k);
        struct model *m = model_new();
        random_fold(&r, m, 1500);
        for (size_t t = 0; t < MEMBERS_model.n; t++) {
            const struct member *all = &MEMBERS_model.items[t];
            assert_true(all->kind != MEMBER_OBJECTS || all->of->n <= MEMBERS_MAX);
            struct id_index *x = member_at(all, m);
            for (size_t i = 0; all->kind == MEMBER_OBJECTS && i < x->n; i++)
                check_flips(m, all->of, x->items[i], done[t]);
        }
        bool of_model[MEMBERS_MAX] = {false};
        check_flips(m, &MEMBERS_model, m, of_model);
        model_free(m);
    }
    for (size_t t = 0; t < MEMBERS_model.n; t++) {
        const struct member *all = &MEMBERS_model.items[t];
        for (size_t i = 0; all->kind == MEMBER_OBJECTS && i < all->of->n; i++)
            if (!done[t][i] && all->of->items[i].kind < MEMBER_INDEX)
                fail_msg("struct %s: no '%s' was there to be changed", all->of->name, all->of->items[i].name);
    }
}

/* ---- Figures ---- */

static void figures(void **state)
{
    (void)state;
    const char *text = getenv("SNAPSHOT_INSTANCES");
    size_t n = text == NULL ? 10000 : (size_t)strtoull(text, NULL, 10);
    struct model *m = big_model(n);
    AUTO(buf) struct buf bytes = {0};
    double from = seconds();
    snapshot_encode(m, &bytes);
    double encoded = seconds();
    struct model *back = decoded(&bytes);
    double read = seconds();
    uint8_t hash[HASH_SIZE];
    model_hash(m, hash);
    double hashed = seconds();
    printf("  %zu instances: %zu bytes each in the model, %zu in a snapshot; encoded in %.1f ms, decoded in %.1f ms, "
           "hashed in %.1f ms\n",
           n, model_size_bytes(m) / n, bytes.len / n, (encoded - from) * 1e3, (read - encoded) * 1e3,
           (hashed - read) * 1e3);
    assert_true(bytes.len / n <= 256);
    assert_true(model_size_bytes(back) <= model_size_bytes(m) + 4096);
    model_free(m);
    model_free(back);
}

int main(void)
{
    const char *text = getenv("SNAPSHOT_SEED");
    if (text != NULL)
        seed = strtoull(text, NULL, 10);
    (void)fprintf(stderr, "SNAPSHOT_SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decoded_model_goes_on),    cmocka_unit_test(tombstones_go_on),
        cmocka_unit_test(damage_is_refused),          cmocka_unit_test(counts_are_bounded),
        cmocka_unit_test(another_version_is_refused), cmocka_unit_test(every_byte_is_described),
        cmocka_unit_test(every_member_is_hashed),     cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
