#pragma once
/* net/http_range.h - Range and conditional headers (RFC 9110, 13 and 14); private to net/. Layer: net. Pure. */
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum http_range {
    HTTP_RANGE_WHOLE, /* no range, several ranges, another unit, malformed: the whole body, 200 */
    HTTP_RANGE_PART,  /* 206 with [*ret_from, *ret_from + *ret_size) */
    HTTP_RANGE_NONE,  /* 416: nothing of it is in the body */
};

/* header: value of Range, NULL when absent. */
enum http_range http_range_parse(const char *header, uint64_t size, uint64_t *ret_from, uint64_t *ret_size);
/* Whether If-None-Match (NULL: absent) holds the etag (with its quotes), weakly compared, or is `*`. */
bool http_etag_listed(const char *header, const char *etag);
