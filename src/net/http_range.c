#include "net/http_range.h"

static enum http_range suffix(struct str digits, uint64_t size, uint64_t *ret_from, uint64_t *ret_size)
{
    uint64_t n = 0;
    if (!str_parse_u64(digits, UINT64_MAX, &n))
        return HTTP_RANGE_WHOLE;
    if (n == 0 || size == 0)
        return HTTP_RANGE_NONE;
    *ret_size = n < size ? n : size;
    *ret_from = size - *ret_size;
    return HTTP_RANGE_PART;
}

enum http_range http_range_parse(const char *header, uint64_t size, uint64_t *ret_from, uint64_t *ret_size)
{
    struct str s = str_from(header);
    if (header == NULL || !str_starts(s, STR("bytes=")) || str_find(s, ',') < s.len)
        return HTTP_RANGE_WHOLE;
    s = str_trim(str_slice(s, 6, s.len));
    size_t dash = str_find(s, '-');
    uint64_t first = 0, last = UINT64_MAX;
    if (dash == s.len)
        return HTTP_RANGE_WHOLE;
    struct str from = str_slice(s, 0, dash), to = str_slice(s, dash + 1, s.len);
    if (from.len == 0)
        return suffix(to, size, ret_from, ret_size);
    if (!str_parse_u64(from, UINT64_MAX, &first) || (to.len > 0 && !str_parse_u64(to, UINT64_MAX, &last)) ||
        last < first)
        return HTTP_RANGE_WHOLE;
    if (first >= size)
        return HTTP_RANGE_NONE;
    if (last >= size)
        last = size - 1;
    *ret_from = first;
    *ret_size = last - first + 1;
    return HTTP_RANGE_PART;
}

bool http_etag_listed(const char *header, const char *etag)
{
    struct str rest = str_from(header), item;
    if (header == NULL || etag == NULL)
        return false;
    while (str_next(&rest, ',', &item)) {
        item = str_trim(item);
        if (str_starts(item, STR("W/")))
            item = str_slice(item, 2, item.len);
        if (str_eq(item, STR("*")) || str_eq_c(item, etag))
            return true;
    }
    return false;
}
