#include "event/id.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/encode.h"
#include "event/hash.h"

bool id_is_none(struct id a)
{
    return id_eq(a, ID_NONE);
}

/* Where the five groups of the text form start, in bytes. */
static const size_t GROUPS[] = {0, 4, 6, 8, 10, 16};

void id_format(struct id a, char ret_text[static ID_TEXT_SIZE])
{
    char *p = ret_text;
    for (size_t g = 0; g < 5; g++) {
        size_t n = GROUPS[g + 1] - GROUPS[g];
        hex_format(a.bytes + GROUPS[g], n, p);
        p += 2 * n;
        *p++ = g < 4 ? '-' : '\0';
    }
}

#ifdef __SSE2__
/* The values of 16 hex digits, lower or upper case; *good is ANDed with which of them are digits. */
static __m128i hex_values(__m128i text, __m128i *good)
{
    __m128i lower = _mm_or_si128(text, _mm_set1_epi8(0x20)); /* moves no other byte into 'a' to 'f' but 'A' to 'F' */
    __m128i digit =
        _mm_and_si128(_mm_cmpgt_epi8(text, _mm_set1_epi8('0' - 1)), _mm_cmplt_epi8(text, _mm_set1_epi8('9' + 1)));
    __m128i letter =
        _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)), _mm_cmplt_epi8(lower, _mm_set1_epi8('f' + 1)));
    *good = _mm_and_si128(*good, _mm_or_si128(digit, letter));
    return _mm_or_si128(_mm_and_si128(digit, _mm_sub_epi8(text, _mm_set1_epi8('0'))),
                        _mm_and_si128(letter, _mm_sub_epi8(lower, _mm_set1_epi8('a' - 10))));
}

/* 16 digits become 8 bytes: the first of each pair is the high half. */
static __m128i pairs(__m128i values)
{
    return _mm_and_si128(_mm_or_si128(_mm_slli_epi16(values, 4), _mm_srli_epi16(values, 8)), _mm_set1_epi16(0x00ff));
}

/* The digits of a text whose dashes were seen, 16 at a time: a record has three to six ids. */
static bool parse_digits(const char *p, struct id *ret_id)
{
    char digits[32];
    memcpy(digits, p, 8);
    memcpy(digits + 8, p + 9, 4);
    memcpy(digits + 12, p + 14, 4);
    memcpy(digits + 16, p + 19, 4);
    memcpy(digits + 20, p + 24, 12);
    __m128i good = _mm_set1_epi8(-1);
    __m128i first = hex_values(_mm_loadu_si128((const __m128i_u *)(const void *)digits), &good);
    __m128i second = hex_values(_mm_loadu_si128((const __m128i_u *)(const void *)(digits + 16)), &good);
    if (_mm_movemask_epi8(good) != 0xffff)
        return false;
    _mm_storeu_si128((__m128i_u *)(void *)ret_id->bytes, _mm_packus_epi16(pairs(first), pairs(second)));
    return true;
}
#endif

bool id_parse(struct str text, struct id *ret_id)
{
    if (text.len != ID_TEXT_SIZE - 1)
        return false;
    if (text.ptr[8] != '-' || text.ptr[13] != '-' || text.ptr[18] != '-' || text.ptr[23] != '-')
        return false;
#ifdef __SSE2__
    return parse_digits(text.ptr, ret_id);
#else
    static const uint8_t DIGITS_AT[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    const char *p = text.ptr;
    struct id id;
    int all = 0; /* negative when any is no digit */
    for (size_t i = 0; i < 16; i++) {
        int hi = HEX_DIGITS[(unsigned char)p[DIGITS_AT[i]]], lo = HEX_DIGITS[(unsigned char)p[DIGITS_AT[i] + 1]];
        all |= hi | lo;
        id.bytes[i] = (uint8_t)((unsigned)hi << 4 | (unsigned)lo);
    }
    if (all < 0)
        return false;
    *ret_id = id;
    return true;
#endif
}

struct id id_make(int64_t wall_ms, const uint8_t random[static 10])
{
    struct id id;
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)((uint64_t)wall_ms >> (40 - 8 * i));
    memcpy(id.bytes + 6, random, 10);
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x70);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}

struct id id_next(struct id_source *s)
{
    uint8_t input[24], digest[HASH_SIZE];
    memcpy(input, s->seed, 16);
    uint64_t n = s->counter++;
    for (int i = 0; i < 8; i++)
        input[16 + i] = (uint8_t)(n >> (8 * i));
    hash_bytes(input, sizeof(input), digest);
    return id_make(s->wall_ms, digest);
}

struct id id_derive(struct id from, const char *name)
{
    struct hash *h = hash_new();
    hash_add(h, from.bytes, sizeof(from.bytes));
    hash_add(h, name, strlen(name));
    uint8_t digest[HASH_SIZE];
    hash_finish(h, digest);
    struct id id;
    memcpy(id.bytes, digest, sizeof(id.bytes));
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x80);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}
