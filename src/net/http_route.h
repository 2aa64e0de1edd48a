#pragma once
/* net/http_route.h - which route a path belongs to; private to net/. Layer: net. Pure. */
#include "base/mem.h"
#include "net/http_server.h"

struct http_path_params {
    struct {
        const char *name;  /* lent by the route's pattern through the arena */
        const char *value; /* decoded, in the arena */
    } items[HTTP_PATH_PARAMS_MAX];
    size_t n;
};

/* Patterns are well formed and no two rows have the same method and shape. OK | ERR_INVALID names the row. */
must_check enum err http_routes_check(const struct http_route *routes, size_t n, struct errinfo *err);
/* The row for method and raw (still encoded) path; "HEAD" finds "GET" rows.
 * OK | ERR_NOT_FOUND | ERR_CONFLICT the path exists for other methods: *ret_allow lists them
 *    | ERR_INVALID percent-encoding is wrong. Texts go to the arena. */
must_check enum err http_route_find(const struct http_route *routes, size_t n, const char *method, struct str path,
                                    struct arena *arena, const struct http_route **ret_route,
                                    struct http_path_params *ret_params, const char **ret_allow, struct errinfo *err);
/* Percent-decoding; false for a broken escape or a NUL. *ret_text has a NUL behind it, in the arena. */
bool http_percent_decode(struct str text, struct arena *arena, struct str *ret_text);
