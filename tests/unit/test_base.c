/* The base room: strings, buffers, arenas, JSON, clocks, errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/encode.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"

static void str_parse(void **state)
{
    (void)state;
    uint64_t u = 7;
    assert_true(str_parse_u64(STR("18446744073709551615"), UINT64_MAX, &u) && u == UINT64_MAX);
    assert_false(str_parse_u64(STR("18446744073709551616"), UINT64_MAX, &u));
    assert_false(str_parse_u64(STR(""), 9, &u) || str_parse_u64(STR("-1"), 9, &u) || str_parse_u64(STR("10"), 9, &u));
    int64_t i = 0;
    assert_true(str_parse_i64(STR("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_false(str_parse_i64(STR("9223372036854775808"), &i));
}

static void str_parts(void **state)
{
    (void)state;
    struct str rest = STR("a,,b"), part;
    assert_true(str_next(&rest, ',', &part) && str_eq(part, STR("a")));
    assert_true(str_next(&rest, ',', &part) && part.len == 0);
    assert_true(str_next(&rest, ',', &part) && str_eq(part, STR("b")));
    assert_false(str_next(&rest, ',', &part));
    assert_true(str_cmp(STR("ab"), STR("abc")) < 0 && str_cmp(STR("b"), STR("abc")) > 0);
}

static void json_strings(void **state)
{
    (void)state;
    AUTO(buf) struct buf b = {0};
    buf_add_json_string(&b, STR("a\"\\\n\x01\xff\xc3\xa4"));
    assert_string_equal(b.ptr, "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa4\"");
    auto_json json_t *doc = NULL;
    assert_int_equal(json_parse(buf_str(&b), &doc, NULL), OK);
}

/* What a guest prints: neither UTF-8 nor text. */
static void json_of_any_bytes(void **state)
{
    (void)state;
    auto_json json_t *v = json_from_str((struct str){"\0\x01\xff", 3});
    assert_non_null(v);
    assert_int_equal(json_string_length(v), 5);
    assert_memory_equal(json_string_value(v), "\0\x01\xef\xbf\xbd", 5);
}

static void json_depth(void **state)
{
    (void)state;
    AUTO(buf) struct buf b = {0};
    for (int i = 0; i <= JSON_DEPTH_MAX; i++)
        buf_add_char(&b, '[');
    json_t *doc = NULL;
    struct errinfo err;
    assert_int_equal(json_parse(buf_str(&b), &doc, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "deeper"));
    assert_int_equal(json_parse(STR("{\"a\":1,\"a\":2}"), &doc, &err), ERR_INVALID);
    assert_int_equal(json_parse(STR("{} x"), &doc, &err), ERR_INVALID);
}

static void arena_again(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    arena_reset(&a);
    size_t size = 0;
    for (int round = 0; round < 100; round++) {
        for (size_t n = 1; n < 3000; n += 7) {
            char *p = arena_alloc(&a, n);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(p[i], 0);
            memset(p, 0xaa, n);
        }
        arena_reset(&a);
        assert_true(round == 0 || arena_size_bytes(&a) <= size);
        size = arena_size_bytes(&a);
    }
    assert_true(size <= 128 * 1024); /* one block */
}

static void arena_many(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    char *first = arena_strdup(&a, "first");
    for (size_t i = 1; i < 9000; i += 37)
        memset(arena_alloc(&a, i), 0xaa, i);
    assert_string_equal(first, "first");
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
}

static void clock_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } CASES[] = {{"1970-01-01T00:00:00.000000Z", 0},
                 {"2026-11-22T12:00:00.000001Z", 1795348800000001},
                 {"2024-02-29T23:59:59.999999Z", 1709251199999999},
                 {"1969-12-31T23:59:59.999999Z", -1}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        char text[CLOCK_TEXT_SIZE];
        clock_format_us(CASES[i].us, text);
        assert_string_equal(text, CASES[i].text);
        int64_t ns = 0;
        assert_true(clock_parse_ns(str_from(text), &ns));
        assert_int_equal(ns, CASES[i].us * 1000);
    }
    int64_t ns = 0;
    static const char *const BAD[] = {"",
                                      "2026-02-29T00:00:00Z",
                                      "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:00:00",
                                      "2026-01-01T00:00:00.Z",
                                      "2026-01-01T00:00:00.1234567890Z",
                                      "2026-1-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_false(clock_parse_ns(str_from(BAD[i]), &ns));
}

static void encodings(void **state)
{
    (void)state;
    for (size_t n = 0; n < 20; n++) {
        unsigned char bytes[20] = {0};
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(i * 37 + n);
        AUTO(buf) struct buf text = {0}, back = {0};
        base64url_add(&text, bytes, n);
        assert_true(base64url_parse(buf_str(&text), &back));
        assert_int_equal(back.len, n);
        if (n > 0)
            assert_memory_equal(back.ptr, bytes, n);
    }
    unsigned char two[2];
    assert_true(hex_parse(STR("fF01"), two, 2) && two[0] == 255 && two[1] == 1);
    assert_false(hex_parse(STR("fg01"), two, 2));
}

static void error_text(void **state)
{
    (void)state;
    struct errinfo err = {0};
    assert_int_equal(err_set_os(&err, ERR_IO, 2, "open '%s'", "/x"), ERR_IO);
    assert_string_equal(err.msg, "open '/x': No such file or directory");
    assert_int_equal(err_wrap(&err, ERR_IO, "while starting"), ERR_IO);
    assert_string_equal(err.msg, "while starting: open '/x': No such file or directory");
    char big[1000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    err_ignore(err_set(&err, ERR_INVALID, "%s", big));
    assert_string_equal(err.msg + sizeof(err.msg) - 4, "...");
    for (unsigned i = 0; i < ERR_MAX_; i++)
        assert_int_equal(err_from_name(err_name((enum err)i)), i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(str_parse),         cmocka_unit_test(str_parts),  cmocka_unit_test(json_strings),
        cmocka_unit_test(json_of_any_bytes), cmocka_unit_test(json_depth), cmocka_unit_test(arena_many),
        cmocka_unit_test(arena_again),       cmocka_unit_test(clock_text), cmocka_unit_test(encodings),
        cmocka_unit_test(error_text),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
