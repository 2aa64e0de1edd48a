#include "event/id.h"

#include "base/encode.h"
#include "event/hash.h"

bool id_is_none(struct id a)
{
    return id_eq(a, ID_NONE);
}

bool id_eq(struct id a, struct id b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

int id_cmp(struct id a, struct id b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes));
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

bool id_parse(struct str text, struct id *ret_id)
{
    if (text.len != ID_TEXT_SIZE - 1)
        return false;
    static const uint8_t DIGITS_AT[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    const char *p = text.ptr;
    struct id id;
    int all = 0; /* negative when any is no digit */
    for (size_t i = 0; i < 16; i++) {
        int hi = HEX_DIGITS[(unsigned char)p[DIGITS_AT[i]]], lo = HEX_DIGITS[(unsigned char)p[DIGITS_AT[i] + 1]];
        all |= hi | lo;
        id.bytes[i] = (uint8_t)((unsigned)hi << 4 | (unsigned)lo);
    }
    if (all < 0 || p[8] != '-' || p[13] != '-' || p[18] != '-' || p[23] != '-')
        return false;
    *ret_id = id;
    return true;
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
