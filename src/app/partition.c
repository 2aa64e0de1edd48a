#include "app/partition.h"

#include <stdio.h>

#include "event/hash.h"

uint32_t app_partition_hash(const void *key, size_t n)
{
    uint8_t digest[HASH_SIZE];
    hash_bytes(key, n, digest);
    return (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 | digest[3];
}

bool app_range_has(struct app_range r, uint32_t hash)
{
    return r.from <= hash && hash <= r.to;
}

static bool parse_hex(struct str text, uint32_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        *ret = *ret << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return text.len == 8;
}

enum err app_range_parse(struct str text, struct app_range *ret, struct errinfo *err)
{
    struct app_range r = APP_RANGE_ALL;
    if (!str_eq_c(text, "*") &&
        (text.len != APP_RANGE_TEXT_SIZE - 1 || text.ptr[8] != '-' || !parse_hex(str_slice(text, 0, 8), &r.from) ||
         !parse_hex(str_slice(text, 9, 17), &r.to) || r.from > r.to))
        return err_set(err, ERR_INVALID, "'%.*s' is no partition range: use '*' or '00000000-7fffffff'",
                       (int)(text.len < 40 ? text.len : 40), text.ptr == NULL ? "" : text.ptr);
    *ret = r;
    return OK;
}

void app_range_format(struct app_range r, char ret_text[static APP_RANGE_TEXT_SIZE])
{
    if (r.from == 0 && r.to == UINT32_MAX)
        (void)snprintf(ret_text, APP_RANGE_TEXT_SIZE, "*");
    else
        (void)snprintf(ret_text, APP_RANGE_TEXT_SIZE, "%08x-%08x", r.from, r.to);
}

struct app_range app_range_of(uint32_t i, uint32_t n)
{
    uint64_t all = (uint64_t)UINT32_MAX + 1;
    return (struct app_range){(uint32_t)(all * i / n), (uint32_t)(all * (i + 1) / n - 1)};
}
