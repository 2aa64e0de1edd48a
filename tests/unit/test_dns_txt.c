/* Questions and answers of DNS, as bytes; who is asked. Asking is in test_api:
 * test_a_domain_is_proved_by_its_txt_record. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/own.h"
#include "net/dns_txt.h"

static const char QUESTION[] = "\x09_slipform\x01"
                               "a\x03org\x00\x00\x10\x00\x01";

static void questions(void **state)
{
    (void)state;
    uint8_t q[DNS_QUERY_MAX];
    size_t n = 0;
    char label[70], name[300];
    assert_int_equal(dns_txt_encode(0xabcd, STR("_slipform.a.org"), q, &n, NULL), OK);
    assert_int_equal(n, 12 + sizeof(QUESTION) - 1);
    assert_memory_equal(q, "\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
    assert_memory_equal(q + 12, QUESTION, sizeof(QUESTION) - 1);
    memset(label, 'x', sizeof(label));
    assert_int_equal(dns_txt_encode(1, (struct str){label, 63}, q, &n, NULL), OK);
    assert_int_equal(dns_txt_encode(1, (struct str){label, 64}, q, &n, NULL), ERR_INVALID);
    for (size_t i = 0; i < sizeof(name); i++)
        name[i] = i % 2 == 0 ? 'a' : '.';
    assert_int_equal(dns_txt_encode(1, (struct str){name, 253}, q, &n, NULL), OK);
    assert_int_equal(n, DNS_QUERY_MAX);
    assert_int_equal(dns_txt_encode(1, (struct str){name, 255}, q, &n, NULL), ERR_INVALID);
    assert_int_equal(dns_txt_encode(1, STR("a..b"), q, &n, NULL), ERR_INVALID);
    assert_int_equal(dns_txt_encode(1, STR(""), q, &n, NULL), ERR_INVALID);
}

/* An answer to the question: flags, number of records, and what stands behind it. */
static enum err decode(const char *flags, int records, struct str rest, struct arena *a, struct dns_texts *ret)
{
    uint8_t q[DNS_QUERY_MAX];
    size_t n = 0;
    AUTO(buf) struct buf answer = {0};
    assert_int_equal(dns_txt_encode(0xabcd, STR("_slipform.a.org"), q, &n, NULL), OK);
    buf_add(&answer, q, n);
    memcpy(answer.ptr + 2, flags, 2);
    answer.ptr[7] = (char)records;
    buf_add(&answer, rest.ptr, rest.len);
    return dns_txt_decode(buf_str(&answer), (struct str){(const char *)q, n}, a, ret, NULL);
}

#define BYTES(literal) ((struct str){literal, sizeof(literal) - 1})
#define TXT "\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c\x00"

static void answers(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct dns_texts t;
    /* an alias and two records, one of two parts */
    struct str good = BYTES("\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02\xc0\x0c" TXT "\x05\x02"
                            "ab\x01"
                            "c" TXT "\x02\x01"
                            "d");
    assert_int_equal(decode("\x81\x80", 3, good, &a, &t), OK);
    assert_int_equal(t.n, 2);
    assert_true(str_eq(t.items[0], STR("abc")) && str_eq(t.items[1], STR("d")));
    for (size_t cut = 0; cut < good.len; cut++) /* at every byte: never more than there is */
        assert_int_equal(decode("\x81\x80", 3, str_slice(good, 0, cut), &a, &t), ERR_INVALID);
    assert_int_equal(decode("\x81\x83", 0, STR(""), &a, &t), OK); /* no such name */
    assert_int_equal(t.n, 0);
    assert_int_equal(decode("\x81\x82", 0, STR(""), &a, &t), ERR_UNAVAILABLE);
    assert_int_equal(decode("\x83\x80", 0, STR(""), &a, &t), ERR_UNAVAILABLE); /* cut */
    assert_int_equal(decode("\x01\x80", 0, STR(""), &a, &t), ERR_INVALID);     /* a question */
    assert_int_equal(decode("\x81\x80", 1,
                            BYTES(TXT "\x02\x05"
                                      "a"),
                            &a, &t),
                     ERR_INVALID);
}

static void answers_to_somebody_else(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct dns_texts t;
    uint8_t q[DNS_QUERY_MAX], other[DNS_QUERY_MAX];
    size_t n = 0, other_n = 0;
    assert_int_equal(dns_txt_encode(0xabcd, STR("_slipform.a.org"), q, &n, NULL), OK);
    struct str query = {(const char *)q, n};
    assert_int_equal(dns_txt_encode(0xabce, STR("_slipform.a.org"), other, &other_n, NULL), OK);
    other[2] = 0x81;
    assert_int_equal(dns_txt_decode((struct str){(const char *)other, other_n}, query, &a, &t, NULL), ERR_INVALID);
    assert_int_equal(dns_txt_encode(0xabcd, STR("_slipform.b.org"), other, &other_n, NULL), OK);
    other[2] = 0x81;
    assert_int_equal(dns_txt_decode((struct str){(const char *)other, other_n}, query, &a, &t, NULL), ERR_INVALID);
    assert_int_equal(dns_txt_encode(0xabcd, STR("_SLIPFORM.A.org"), other, &other_n, NULL), OK);
    other[2] = 0x81;
    assert_int_equal(dns_txt_decode((struct str){(const char *)other, other_n}, query, &a, &t, NULL), OK);
    assert_int_equal(dns_txt_decode(STR("x"), query, &a, &t, NULL), ERR_INVALID);
}

static void servers(void **state)
{
    (void)state;
    struct sockaddr_storage s;
    assert_int_equal(dns_server_parse(STR("127.0.0.1:5353"), &s, NULL), OK);
    assert_int_equal(ntohs(((struct sockaddr_in *)&s)->sin_port), 5353);
    assert_int_equal(dns_server_parse(STR("[::1]:53"), &s, NULL), OK);
    assert_int_equal(s.ss_family, AF_INET6);
    static const char *const BAD[] = {"",       ":",    "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536",
                                      "dns:53", "[::1]"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_int_equal(dns_server_parse(str_from(BAD[i]), &s, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions),
        cmocka_unit_test(answers),
        cmocka_unit_test(answers_to_somebody_else),
        cmocka_unit_test(servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
