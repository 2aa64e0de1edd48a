/* Two ways to read an event: the quick one of event/ and the slow one, jansson's tree and the first reader of
 * envelopes. They agree in what they accept, in what they make of it, and in every word of an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/own.h"
#include "event/catalogue.h"
#include "event/fields_read.h"
#include "event/hash.h"
#include "reference_envelope.h"

/* Fixed, so that a failure comes again; DECODE_SEED tries another. */
static uint64_t rng = 20261122;

static uint64_t roll(uint64_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng % n;
}

/* ---- Events of all kinds, by the tables ---- */

static const char *const TEXTS[] = {"",
                                    "running",
                                    "NOMINAL",
                                    "a longer text, over sixteen bytes, as causes are",
                                    "quote \" and backslash \\",
                                    "line\nbreak\ttab\x01",
                                    ("Gr\xc3\xbc\xc3\x9f"
                                     "e \xe2\x80\xa6 \xf0\x9f\x98\x80"),
                                    "/\x7f"};
static const char *const VALUES[] = {"{}",
                                     "[]",
                                     "{\"a\":1,\"b\":[true,false,null,-7],\"c\":{\"d\":\"e\"}}",
                                     "{\"b\":1,\"a\":2}",
                                     "1.5",
                                     "-0",
                                     "\"text\"",
                                     "{\"a\":\"\\u00e9\\n\"}",
                                     "123456789012345678",
                                     "9223372036854775807",
                                     "{ \"a\" : [ 1 , 2 ] }",
                                     "null",
                                     "[[[[[[[[[[[[]]]]]]]]]]]]"};

/* Every other event is as our programs write it; else it would nearly always hold something rare. */
static bool is_usual;

static struct str some_text(void)
{
    return str_from(TEXTS[roll(is_usual ? 4 : sizeof(TEXTS) / sizeof(TEXTS[0]))]);
}

static struct id some_id(void)
{
    struct id id;
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        id.bytes[i] = (uint8_t)roll(256);
    return id;
}

static int64_t some_number(void)
{
    static const int64_t EDGES[] = {0, 1, -1, 999999999999999999, 1000000000000000000, INT64_MAX, INT64_MIN};
    return !is_usual && roll(2) == 0 ? EDGES[roll(sizeof(EDGES) / sizeof(EDGES[0]))] : (int64_t)roll(1000000) - 500000;
}

static void fill(const struct field_table *t, struct arena *a, char *value);

static void fill_list(const struct field *f, struct arena *a, void *member)
{
    size_t n = roll(12), size = f->type == FIELD_STRS  ? sizeof(struct str)
                                : f->type == FIELD_IDS ? sizeof(struct id)
                                                       : f->table->size;
    char *items = arena_alloc(a, n * size);
    for (size_t i = 0; i < n; i++) {
        if (f->type == FIELD_STRS)
            *(struct str *)(void *)(items + i * size) = some_text();
        else if (f->type == FIELD_IDS)
            *(struct id *)(void *)(items + i * size) = some_id();
        else
            fill(f->table, a, items + i * size);
    }
    struct objects list = {items, n};
    memcpy(member, &list, sizeof(list));
}

static void fill(const struct field_table *t, struct arena *a, char *value)
{
    memset(value, 0, t->size);
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        void *member = value + f->offset;
        if (!f->required && roll(3) == 0)
            continue;
        switch (f->type) {
        case FIELD_STR: *(struct str *)member = some_text(); break;
        case FIELD_ID: *(struct id *)member = some_id(); break;
        case FIELD_I64: *(int64_t *)member = some_number(); break;
        case FIELD_BOOL: *(bool *)member = roll(2) == 0; break;
        case FIELD_TIME: *(struct event_time *)member = (struct event_time){some_number() % 1000000000000, 3}; break;
        case FIELD_JSON:
            *(struct str *)member = str_from(VALUES[roll(is_usual ? 3 : sizeof(VALUES) / sizeof(VALUES[0]))]);
            break;
        case FIELD_OBJECT: fill(f->table, a, member); break;
        case FIELD_STRS:
        case FIELD_IDS:
        case FIELD_OBJECTS: fill_list(f, a, member); break;
        }
    }
}

/* ---- Comparing ---- */

static void same(const struct field_table *t, const char *a, const char *b);

static void same_list(const struct field *f, const struct objects *a, const struct objects *b)
{
    assert_int_equal(a->n, b->n);
    size_t size = f->type == FIELD_STRS  ? sizeof(struct str)
                  : f->type == FIELD_IDS ? sizeof(struct id)
                                         : f->table->size;
    for (size_t i = 0; i < a->n; i++) {
        const char *x = (const char *)a->items + i * size, *y = (const char *)b->items + i * size;
        if (f->type == FIELD_STRS)
            assert_true(str_eq(*(const struct str *)(const void *)x, *(const struct str *)(const void *)y));
        else if (f->type == FIELD_IDS)
            assert_memory_equal(x, y, size);
        else
            same(f->table, x, y);
    }
}

static void same(const struct field_table *t, const char *a, const char *b)
{
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        const void *x = a + f->offset, *y = b + f->offset;
        switch (f->type) {
        case FIELD_STR:
        case FIELD_JSON: {
            const struct str *s = x, *o = y;
            assert_int_equal(s->ptr == NULL, o->ptr == NULL);
            assert_true(str_eq(*s, *o));
            assert_true(s->ptr == NULL || s->ptr[s->len] == '\0');
            break;
        }
        case FIELD_ID: assert_memory_equal(x, y, sizeof(struct id)); break;
        case FIELD_I64: assert_int_equal(*(const int64_t *)x, *(const int64_t *)y); break;
        case FIELD_BOOL: assert_int_equal(*(const bool *)x, *(const bool *)y); break;
        case FIELD_TIME: assert_memory_equal(x, y, sizeof(struct event_time)); break;
        case FIELD_OBJECT: same(f->table, x, y); break;
        case FIELD_STRS:
        case FIELD_IDS:
        case FIELD_OBJECTS: same_list(f, x, y); break;
        }
    }
}

struct counts {
    uint64_t lines, good, plain;
};

/* Both ways through one payload. The text is copied to memory of its very size: a byte read behind it is found by
 * sanitizers. */
static void compare_payload(const struct field_table *t, struct str text, struct counts *c)
{
    AUTO(arena) struct arena a = {0};
    char *exact = malloc(text.len == 0 ? 1 : text.len);
    memcpy(exact, text.ptr, text.len);
    struct str copy = {exact, text.len};
    char *quick = arena_alloc(&a, t->size), *slow = arena_alloc(&a, t->size), *way = arena_alloc(&a, t->size);
    struct errinfo quick_err = {0}, slow_err = {0};
    enum err quick_rc = fields_parse(t, copy, &a, quick, &quick_err);
    enum err slow_rc = fields_parse_tree(t, copy, &a, slow, &slow_err);
    bool is_plain = fields_read(t, copy, &a, way);
    free(exact);
    if (quick_rc != slow_rc || strcmp(quick_err.msg, slow_err.msg) != 0)
        fail_msg("%s '%.*s': '%s' and '%s'", t->name, STR_ARG(text), quick_err.msg, slow_err.msg);
    c->lines++;
    c->plain += is_plain;
    if (slow_rc != OK)
        return;
    c->good++;
    same(t, quick, slow);
}

static void compare_envelope(struct str text, uint32_t prev_sum)
{
    char *exact = malloc(text.len == 0 ? 1 : text.len);
    memcpy(exact, text.ptr, text.len);
    struct str copy = {exact, text.len};
    struct envelope a = {0}, b = {0};
    struct errinfo a_err = {0}, b_err = {0};
    enum err a_rc = envelope_decode(copy, prev_sum, &a, &a_err);
    enum err b_rc = reference_envelope_decode(copy, prev_sum, &b, &b_err);
    if (a_rc != b_rc || strcmp(a_err.msg, b_err.msg) != 0)
        fail_msg("'%.*s': '%s' and '%s'", STR_ARG(text), a_err.msg, b_err.msg);
    if (a_rc == OK) {
        assert_int_equal(event_time_cmp(a.time, b.time), 0);
        assert_true(str_eq(a.type, b.type) && a.type.ptr == b.type.ptr && id_eq(a.id, b.id));
        assert_true(str_eq(a.payload, b.payload) && a.payload.ptr == b.payload.ptr);
        assert_true(a.more == b.more && a.has_sum == b.has_sum && a.sum == b.sum);
    }
    free(exact);
}

/* ---- Damage ---- */

/* One small change: a bit, a byte that JSON cares for, a piece left out, doubled or moved. */
static void mutate(struct buf *b)
{
    static const char BYTES[] = "{}[],:\"\\ntf-0.9eE/ \t\n\x7f\xc3\xff#Zx";
    if (b->len == 0)
        return;
    size_t at = roll(b->len), n = 1 + roll(b->len - at < 24 ? b->len - at : 24);
    AUTO(buf) struct buf out = {0};
    switch (roll(6)) {
    case 0: b->ptr[at] = (char)(b->ptr[at] ^ 1 << roll(8)); return;
    case 1: b->ptr[at] = BYTES[roll(sizeof(BYTES) - 1)]; return;
    case 2: /* left out */
        buf_add(&out, b->ptr, at);
        buf_add(&out, b->ptr + at + n, b->len - at - n);
        break;
    case 3: /* doubled */
        buf_add(&out, b->ptr, at + n);
        buf_add(&out, b->ptr + at, b->len - at);
        break;
    case 4: /* something in between */
        buf_add(&out, b->ptr, at);
        buf_add_char(&out, BYTES[roll(sizeof(BYTES) - 1)]);
        buf_add(&out, b->ptr + at, b->len - at);
        break;
    default: b->len = at; return;
    }
    buf_clear(b);
    buf_add_str(b, buf_str(&out));
}

static void one_event(enum event_kind kind, struct buf *ret_payload)
{
    AUTO(arena) struct arena a = {0};
    struct event ev = {.kind = kind};
    is_usual = roll(2) == 0;
    fill(event_kind_row(kind)->fields, &a, (char *)&ev.create_region);
    event_encode_payload(&ev, ret_payload);
}

enum { EVENTS_OF_A_KIND = 60, MUTATIONS = 40 };

static void both_ways_agree(void **state)
{
    (void)state;
    struct counts c = {0};
    for (unsigned kind = 0; kind < EVENT_KIND_MAX_; kind++)
        for (int i = 0; i < EVENTS_OF_A_KIND; i++) {
            const struct field_table *t = event_kind_row((enum event_kind)kind)->fields;
            AUTO(buf) struct buf payload = {0};
            one_event((enum event_kind)kind, &payload);
            compare_payload(t, buf_str(&payload), &c);
            AUTO(buf) struct buf damaged = {0};
            for (int k = 0; k < MUTATIONS; k++) {
                if (k % 4 == 0) { /* up to four changes on top of each other */
                    buf_clear(&damaged);
                    buf_add_str(&damaged, buf_str(&payload));
                }
                mutate(&damaged);
                compare_payload(t, buf_str(&damaged), &c);
            }
        }
    print_message("%llu payloads, %llu good, %llu plain\n", (unsigned long long)c.lines, (unsigned long long)c.good,
                  (unsigned long long)c.plain);
    /* Else it was not a comparison: the quick way has to be gone often, and left often. */
    assert_true(c.plain > c.lines / 50 && c.good > c.plain + c.lines / 50 && c.lines - c.good > c.lines / 3);
}

/* What a log holds is in the plain form: the quick way is the usual one. */
static void our_events_are_plain(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"InstanceStatusChange",
         "{\"instanceId\":\"01900000-0000-7000-8000-000000000011\",\"status\":\"running\",\"health\":\"NOMINAL\","
         "\"bootId\":\"0b5a2f6e\",\"reportSeq\":17,\"because\":{\"a\":[1,{\"b\":\"c\"}],\"d\":-2}}"},
        {"CreateInstance", "{\"instanceId\":\"01900000-0000-7000-8000-000000000011\","
                           "\"processId\":\"01900000-0000-7000-8000-000000000012\",\"logIds\":[],"
                           "\"partitionRanges\":[\"*\"],\"workloads\":[\"*\",\"b\"],\"address\":\"fd00::11\"}"},
        {"CreateEventLog", "{\"streamId\":\"01900000-0000-7000-8000-000000000011\","
                           "\"logId\":\"01900000-0000-7000-8000-000000000012\",\"start\":\"-inf#-1\"}"},
        {"ImageStatusChange", "{\"imageId\":\"01900000-0000-7000-8000-000000000011\",\"status\":\"ready\","
                              "\"sizeBytes\":123456789,\"config\":{\"entrypoint\":[\"/x\"],\"workdir\":null}}"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO(arena) struct arena a = {0};
        const struct field_table *t = event_kind_find(str_from(CASES[i][0]))->fields;
        struct event ev;
        assert_true(fields_read(t, str_from(CASES[i][1]), &a, &ev.create_region));
        struct counts c = {0};
        compare_payload(t, str_from(CASES[i][1]), &c);
    }
}

/* Where a quick reader is tempted. The value stands for fieldTypeTags. */
static void hard_cases(void **state)
{
    (void)state;
    static const char *const TAGS[] = {"{\"a\":1,\"a\":2}",
                                       "{\"a\":{\"b\":1,\"b\":1}}",
                                       "{\"b\":1,\"a\":1}",
                                       "{\"\":1,\"a\":1}",
                                       "01",
                                       "-01",
                                       "-0",
                                       "-",
                                       "0.0",
                                       "1e5",
                                       "1E",
                                       "9223372036854775808",
                                       "-9223372036854775809",
                                       "1e999",
                                       "tru",
                                       "nul",
                                       "truefalse",
                                       "[1,]",
                                       "{\"a\":1,}",
                                       "[,1]",
                                       "{,}",
                                       "\"\\u0000\"",
                                       "\"\\ud800\"",
                                       "\"\xff\"",
                                       "\"\xc0\x80\"",
                                       "\"a",
                                       "[1",
                                       "{\"a\"",
                                       "{\"a\":",
                                       "1}",
                                       "1,\"name\":\"y\"",
                                       "1,\"typeId\":7",
                                       "1,\"other\":{\"x\":1,\"x\":2}",
                                       "1,\"name\":null",
                                       "null,\"fieldTypeTags\":1",
                                       "\t1",
                                       "1 "};
    for (size_t i = 0; i < sizeof(TAGS) / sizeof(TAGS[0]); i++) {
        AUTO(buf) struct buf text = {0};
        struct counts c = {0};
        buf_addf(&text, "{\"typeId\":\"01900000-0000-7000-8000-000000000011\",\"name\":\"x\",\"fieldTypeTags\":%s}",
                 TAGS[i]);
        compare_payload(event_kind_find(STR("CreateType"))->fields, buf_str(&text), &c);
    }
}

static void deep_and_long(void **state)
{
    (void)state;
    const struct field_table *t = event_kind_find(STR("CreateType"))->fields;
    struct counts c = {0};
    for (unsigned depth = JSON_DEPTH_MAX - 3; depth < JSON_DEPTH_MAX + 3; depth++) {
        AUTO(buf) struct buf text = {0};
        buf_add_c(&text, "{\"typeId\":\"01900000-0000-7000-8000-000000000011\",\"name\":\"x\",\"fieldTypeTags\":");
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&text, '[');
        for (unsigned i = 0; i < depth; i++)
            buf_add_char(&text, ']');
        buf_add_char(&text, '}');
        compare_payload(t, buf_str(&text), &c);
    }
    assert_true(c.plain > 0 && c.good < c.lines);
    t = event_kind_find(STR("CreateStream"))->fields;
    for (int n = FIELDS_LIST_MAX - 1; n <= FIELDS_LIST_MAX + 1; n++) {
        AUTO(buf) struct buf text = {0};
        buf_add_c(&text, "{\"streamId\":\"01900000-0000-7000-8000-000000000011\",\"name\":\"x\",\"eventTypes\":[\"\"");
        for (int i = 1; i < n; i++)
            buf_add_c(&text, ",\"\"");
        buf_add_c(&text, "]}");
        compare_payload(t, buf_str(&text), &c);
    }
}

static void envelopes_agree(void **state)
{
    (void)state;
    for (int i = 0; i < 2000; i++) {
        AUTO(buf) struct buf payload = {0}, line = {0}, damaged = {0};
        enum event_kind kind = (enum event_kind)roll(EVENT_KIND_MAX_);
        one_event(kind, &payload);
        struct envelope e = {.time = {some_number() % 1000000000000000000, (int64_t)roll(20)},
                             .type = str_from(event_kind_row(kind)->name),
                             .id = some_id(),
                             .payload = buf_str(&payload),
                             .more = roll(4) == 0};
        uint32_t prev_sum = (uint32_t)roll(UINT32_MAX);
        (void)envelope_encode(&e, prev_sum, &line);
        line.len--;
        compare_envelope(buf_str(&line), prev_sum);
        for (int k = 0; k < 30; k++) {
            buf_clear(&damaged);
            buf_add_str(&damaged, buf_str(&line));
            mutate(&damaged);
            if (k % 3 == 0)
                mutate(&damaged);
            compare_envelope(buf_str(&damaged), prev_sum);
        }
    }
}

static void sums_agree(void **state)
{
    (void)state;
    uint8_t bytes[600];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)roll(256);
    for (int i = 0; i < 20000; i++) {
        size_t from = roll(40), n = roll(sizeof(bytes) - from);
        uint32_t seed = (uint32_t)roll(UINT32_MAX);
        assert_int_equal(crc32c(seed, bytes + from, n), crc32c_by_table(seed, bytes + from, n));
    }
}

int main(void)
{
    const char *seed = getenv("DECODE_SEED");
    if (seed != NULL)
        rng = strtoull(seed, NULL, 10) | 1;
    print_message("DECODE_SEED=%llu\n", (unsigned long long)rng);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_agree), cmocka_unit_test(our_events_are_plain), cmocka_unit_test(hard_cases),
        cmocka_unit_test(deep_and_long),   cmocka_unit_test(envelopes_agree),      cmocka_unit_test(sums_agree),
    };
    return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
