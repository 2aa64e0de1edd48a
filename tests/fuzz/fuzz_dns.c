/* Answers of a resolver. First byte 'a': any datagram; 'b': flags, code, and the number of records (4 bytes), then what
 * stands behind the question, of an answer to ours. */
#include "fuzz.h"
#include "net/dns_txt.h"

enum { RECORDS_AT = 4, HEADER = 12 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t query[DNS_QUERY_MAX];
    size_t query_size = 0, choice = 0;
    struct str rest;
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf answer = {0};
    struct dns_texts texts;
    enum err rc = dns_txt_encode(0x1234, STR("_slipform.a.example.org"), query, &query_size, NULL);
    assert(rc == OK);
    if (!fuzz_choose(data, size, 2, &choice, &rest))
        return 0;
    if (choice == 1 && rest.len >= RECORDS_AT) {
        buf_add(&answer, query, query_size);
        memcpy(answer.ptr + 2, rest.ptr, 2);
        answer.ptr[2] = (char)((uint8_t)answer.ptr[2] | 0x80u);
        memcpy(answer.ptr + 6, rest.ptr + 2, 2);
        rest = str_slice(rest, RECORDS_AT, rest.len);
    }
    buf_add(&answer, rest.ptr, rest.len);
    rc = dns_txt_decode(buf_str(&answer), (struct str){(const char *)query, query_size}, &a, &texts, NULL);
    size_t bytes = 0;
    for (size_t i = 0; rc == OK && i < texts.n; i++)
        bytes += texts.items[i].len;
    assert(rc != OK || (texts.n <= DNS_TEXTS_MAX && bytes <= answer.len));
    return 0;
}
