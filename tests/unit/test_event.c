/* The event room: time, ids, the line format, tables of fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/own.h"
#include "event/envelope.h"
#include "event/fields.h"
#include "event/hash.h"

static void crc_known(void **state)
{
    (void)state;
    /* RFC 3720, B.4: 32 bytes of zeros, and the check value of "123456789". */
    static const char ZEROS[32];
    assert_int_equal(crc32c(0, ZEROS, sizeof(ZEROS)), 0x8a9136aa);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    uint32_t sum = 0;
    assert_true(crc32c_parse(STR("crc32c:e3069283"), &sum) && sum == 0xe3069283);
    assert_false(crc32c_parse(STR("crc32c:e306928"), &sum) || crc32c_parse(STR("crc32c:e30692833"), &sum) ||
                 crc32c_parse(STR("crc32c:e306928g"), &sum) || crc32c_parse(STR("CRC32C:e3069283"), &sum) ||
                 crc32c_parse(STR("crc32c:"), &sum) || crc32c_parse(STR(""), &sum));
}

static void time_order(void **state)
{
    (void)state;
    static const char *const RISING[] = {"-inf#-1", "2026-11-22T12:00:00.000001Z#0", "2026-11-22T12:00:00.000001Z#2",
                                         "2026-11-22T12:00:00.000001Z#10", "2026-11-22T12:00:00.000001001Z#0"};
    struct event_time last = EVENT_TIME_MIN;
    for (size_t i = 0; i < sizeof(RISING) / sizeof(RISING[0]); i++) {
        struct event_time t;
        assert_true(event_time_parse(str_from(RISING[i]), &t));
        char text[EVENT_TIME_TEXT_SIZE];
        event_time_format(t, text);
        assert_string_equal(text, RISING[i]);
        assert_true(i == 0 || event_time_cmp(last, t) < 0);
        last = t;
    }
    struct event_time next = event_time_next(last, last.instant_ns - 5);
    assert_true(event_time_cmp(last, next) < 0 && next.instant_ns == last.instant_ns && next.tiebreak == 1);
}

static void ids(void **state)
{
    (void)state;
    struct id_source s = {.wall_ms = 0x0123456789ab, .seed = {1}};
    struct id a = id_next(&s), b = id_next(&s), back;
    assert_false(id_eq(a, b));
    char text[ID_TEXT_SIZE];
    id_format(a, text);
    assert_memory_equal(text, "01234567-89ab-7", 15);
    assert_true(id_parse(str_from(text), &back) && id_eq(a, back));
    assert_false(id_parse(STR("01234567-89ab-7000-8000-00000000000"), &back));
    assert_false(id_parse(STR("01234567x89ab-7000-8000-000000000000"), &back));
    assert_true(id_eq(id_derive(a, "x"), id_derive(a, "x")) && !id_eq(id_derive(a, "x"), id_derive(a, "y")));
}

/* Each byte at each place of an id: digits and dashes where they belong, in both cases, and nothing else. */
static void ids_strictly(void **state)
{
    (void)state;
    static const char GOOD[] = "01234567-89ab-cdef-ABCD-EF0123456789";
    for (size_t at = 0; at < sizeof(GOOD) - 1; at++)
        for (int byte = 0; byte < 256; byte++) {
            char text[sizeof(GOOD)], back[ID_TEXT_SIZE];
            memcpy(text, GOOD, sizeof(GOOD));
            text[at] = (char)byte;
            bool is_digit = memchr("0123456789abcdefABCDEF", byte, 22) != NULL;
            struct id id;
            assert_int_equal(id_parse((struct str){text, sizeof(GOOD) - 1}, &id),
                             GOOD[at] == '-' ? byte == '-' : is_digit);
            if (!is_digit || GOOD[at] == '-')
                continue;
            id_format(id, back);
            for (size_t i = 0; i < sizeof(GOOD) - 1; i++)
                assert_int_equal(back[i], text[i] >= 'A' && text[i] <= 'F' ? text[i] - 'A' + 'a' : text[i]);
        }
}

static void line_of_a_batch(void **state)
{
    (void)state;
    struct envelope e = {.type = STR("A"), .payload = STR("{}"), .more = true}, back;
    AUTO(buf) struct buf line = {0};
    (void)envelope_encode(&e, 0, &line);
    assert_int_equal(envelope_decode(str_slice(buf_str(&line), 0, line.len - 1), 0, &back, NULL), OK);
    assert_true(back.more);
    struct str bad = STR("{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"more\":1,\"payload\":{}}");
    assert_int_equal(envelope_decode(bad, 0, &back, NULL), ERR_INVALID);
}

static void line_round_trip(void **state)
{
    (void)state;
    struct envelope e = {.time = {1795348800000001000, 3},
                         .type = STR("CreateInstance"),
                         .payload = STR("{\"a\":[1,-2.5e3,\"\\\"}\"]}")};
    e.id.bytes[0] = 1;
    AUTO(buf) struct buf line = {0};
    uint32_t sum = envelope_encode(&e, 77, &line);
    struct envelope back;
    struct errinfo err;
    struct str text = str_slice(buf_str(&line), 0, line.len - 1);
    assert_int_equal(envelope_decode(text, 77, &back, &err), OK);
    assert_true(str_eq(back.type, e.type) && str_eq(back.payload, e.payload) && id_eq(back.id, e.id));
    assert_true(event_time_cmp(back.time, e.time) == 0 && back.sum == sum && back.has_sum);
    assert_false(back.more);
    /* A flipped bit anywhere is found: malformed or a wrong sum, never a good line. */
    for (size_t i = 0; i < text.len * 8; i++) {
        line.ptr[i / 8] = (char)(line.ptr[i / 8] ^ 1 << i % 8);
        enum err rc = envelope_decode(text, 77, &back, &err);
        if (rc == OK) /* the sum's own name (a store demands a sum), or the case of its hex digits */
            assert_true(i / 8 > text.len - 24 && (!back.has_sum || back.sum == sum));
        line.ptr[i / 8] = (char)(line.ptr[i / 8] ^ 1 << i % 8);
    }
    assert_int_equal(envelope_decode(text, 78, &back, &err), ERR_CORRUPT);
}

static void foreign_lines(void **state)
{
    (void)state;
    struct envelope e;
    struct errinfo err;
    assert_int_equal(envelope_decode(STR("{\"payload\":{},\"type\":\"pojo:io.ulzha.spive.app.events.CreateInstance\", "
                                         "\"time\":\"2026-11-22T12:00:00Z#0\"}"),
                                     0, &e, &err),
                     OK);
    assert_true(str_eq(e.type, STR("CreateInstance")) && id_is_none(e.id) && !e.has_sum);
    static const char *const BAD[] = {
        "",
        "[]",
        "{}",
        "{\"time\":\"x\"}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":[]}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A:\",\"payload\":{}}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{},\"payload\":{}}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{}} x",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{\"a\":tru}}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{\"a\":\"\\x\"}}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{\"a\":\"\\u12g4\"}}",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{\"a\":\"\\u123",
        "{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{},\"id\":7}"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_int_equal(envelope_decode(str_from(BAD[i]), 0, &e, &err), ERR_INVALID);
    struct str escaped_nul = STR("{\"time\":\"2026-11-22T12:00:00Z#0\",\"type\":\"A\",\"payload\":{\"a\":\"\\\0\"}}");
    assert_int_equal(envelope_decode(escaped_nul, 0, &e, &err), ERR_INVALID);
}

static void envelope_limits(void **state)
{
    (void)state;
    AUTO(buf) struct buf line = {0};
    buf_reserve(&line, ENVELOPE_SIZE_MAX + 1);
    memset(line.ptr, ' ', ENVELOPE_SIZE_MAX + 1);
    line.len = ENVELOPE_SIZE_MAX + 1;
    struct envelope e;
    assert_int_equal(envelope_decode(buf_str(&line), 0, &e, NULL), ERR_LIMIT);
}

struct inner {
    int64_t n;
    struct str s;
};
static const struct field INNER_FIELDS[] = {FIELD_REQ(I64, inner, n, "n", ""), FIELD_OPT(STR, inner, s, "s", "")};
static const struct field_table INNER_TABLE = FIELD_TABLE(inner, INNER_FIELDS);
struct outer {
    struct id id;
    bool flag;
    struct strs names;
    struct inner one;
    struct objects many;
    struct str raw;
};
static const struct field OUTER_FIELDS[] = {FIELD_REQ(ID, outer, id, "id", ""),
                                            FIELD_OPT(BOOL, outer, flag, "flag", ""),
                                            FIELD_OPT(STRS, outer, names, "names", ""),
                                            FIELD_SUB(OBJECT, outer, one, "one", INNER_TABLE, ""),
                                            FIELD_SUB(OBJECTS, outer, many, "many", INNER_TABLE, ""),
                                            FIELD_OPT(JSON, outer, raw, "raw", "")};
static const struct field_table OUTER_TABLE = FIELD_TABLE(outer, OUTER_FIELDS);

static void fields_round_trip(void **state)
{
    (void)state;
    static const char TEXT[] = "{\"id\":\"01234567-89ab-7000-8000-000000000000\",\"flag\":true,\"names\":[\"a\",\"\"],"
                               "\"one\":{\"n\":-1,\"s\":\"x\"},\"many\":[{\"n\":1},{\"n\":2}],\"raw\":{\"z\":[1]}}";
    AUTO(arena) struct arena a = {0};
    struct outer o;
    struct errinfo err;
    assert_int_equal(fields_parse(&OUTER_TABLE, str_from(TEXT), &a, &o, &err), OK);
    assert_int_equal(((struct inner *)o.many.items)[1].n, 2);
    AUTO(buf) struct buf out = {0};
    fields_encode(&OUTER_TABLE, &o, &out);
    assert_string_equal(out.ptr, TEXT);
}

static void fields_name_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } CASES[] = {
        {"{}", "field 'id' is missing"},
        {"{\"id\":\"x\"}", "field 'id' must be an id (UUID)"},
        {"{\"id\":\"01234567-89ab-7000-8000-000000000000\",\"many\":[{\"n\":1},{}]}", "field 'many[1].n' is missing"},
        {"{\"id\":\"01234567-89ab-7000-8000-000000000000\",\"one\":{\"n\":\"1\"}}", "field 'one.n' must be an integer"},
        {"{\"id\":\"01234567-89ab-7000-8000-000000000000\",\"names\":[1]}", "field 'names[0]' must be a string"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO(arena) struct arena a = {0};
        struct outer o;
        struct errinfo err;
        assert_int_equal(fields_parse(&OUTER_TABLE, str_from(CASES[i].text), &a, &o, &err), ERR_INVALID);
        assert_string_equal(err.msg, CASES[i].message);
    }
}

static void list_too_long(void **state)
{
    (void)state;
    AUTO(buf) struct buf text = {0};
    buf_add_c(&text, "{\"id\":\"01234567-89ab-7000-8000-000000000000\",\"names\":[\"\"");
    for (int i = 0; i < FIELDS_LIST_MAX; i++)
        buf_add_c(&text, ",\"\"");
    buf_add_c(&text, "]}");
    AUTO(arena) struct arena a = {0};
    struct outer o;
    assert_int_equal(fields_parse(&OUTER_TABLE, buf_str(&text), &a, &o, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_known),
        cmocka_unit_test(time_order),
        cmocka_unit_test(ids),
        cmocka_unit_test(ids_strictly),
        cmocka_unit_test(line_round_trip),
        cmocka_unit_test(line_of_a_batch),
        cmocka_unit_test(foreign_lines),
        cmocka_unit_test(envelope_limits),
        cmocka_unit_test(fields_round_trip),
        cmocka_unit_test(fields_name_what_is_wrong),
        cmocka_unit_test(list_too_long),
    };
    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
