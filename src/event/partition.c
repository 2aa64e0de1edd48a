#include "event/partition.h"

#include <assert.h>

#include "event/hash.h"

/* Not hex_parse: a range has one text, and it is of lower case. */
static bool parse_u32(struct str text, uint32_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        *ret = *ret << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

bool partition_parse(struct str text, struct partition *ret)
{
    struct partition p = PARTITION_ALL;
    if (text.len > 0 && !str_eq(text, STR("*"))) {
        if (text.len != 17 || text.ptr[8] != '-' || !parse_u32(str_slice(text, 0, 8), &p.first) ||
            !parse_u32(str_slice(text, 9, 17), &p.last) || p.first > p.last)
            return false;
    }
    *ret = p;
    return true;
}

void partition_format(struct partition p, char ret_text[static PARTITION_TEXT_SIZE])
{
    if (p.first == 0 && p.last == UINT32_MAX)
        (void)snprintf(ret_text, PARTITION_TEXT_SIZE, "*");
    else
        (void)snprintf(ret_text, PARTITION_TEXT_SIZE, "%08x-%08x", p.first, p.last);
}

struct partition partition_split(uint32_t i, uint32_t n)
{
    assert(i < n);
    uint64_t all = UINT64_C(1) << 32;
    return (struct partition){(uint32_t)(all * i / n), (uint32_t)(all * (i + 1) / n - 1)};
}

uint32_t partition_hash(const void *key, size_t n)
{
    uint8_t digest[HASH_SIZE];
    hash_bytes(key, n, digest);
    return (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 | digest[3];
}

bool partition_has(struct partition p, uint32_t hash)
{
    return p.first <= hash && hash <= p.last;
}

bool partition_intersect(struct partition a, struct partition b, struct partition *ret)
{
    uint32_t first = a.first > b.first ? a.first : b.first, last = a.last < b.last ? a.last : b.last;
    if (first > last)
        return false;
    *ret = (struct partition){first, last};
    return true;
}
