#include "net/http_route.h"

#include <assert.h>

#include "base/buf.h"
#include "base/encode.h"
#include "base/own.h"

/* Longer paths than any of ours; bounds the work of matching (chosen). */
#define SEGMENTS_MAX 32

enum segment_kind { SEGMENT_END, SEGMENT_REST, SEGMENT_PARAM, SEGMENT_LITERAL };

bool http_percent_decode(struct str text, struct arena *arena, struct str *ret_text)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            if (i + 2 >= text.len || !hex_parse(str_slice(text, i + 1, i + 3), &c, 1))
                return false;
            i += 2;
        }
        if (c == '\0')
            return false;
        out[n++] = c;
    }
    *ret_text = (struct str){out, n};
    return true;
}

static enum segment_kind segment_kind(struct str segment)
{
    if (!str_starts(segment, STR("{")))
        return SEGMENT_LITERAL;
    return str_ends(segment, STR("...}")) ? SEGMENT_REST : SEGMENT_PARAM;
}

static struct str segment_name(struct str segment)
{
    size_t tail = segment_kind(segment) == SEGMENT_REST ? 4 : 1;
    return str_slice(segment, 1, segment.len - tail);
}

static bool segment_is_valid(struct str segment)
{
    if (segment_kind(segment) == SEGMENT_LITERAL)
        return str_find(segment, '{') == segment.len && str_find(segment, '%') == segment.len;
    if (!str_ends(segment, STR("}")))
        return false;
    struct str name = segment_name(segment);
    for (size_t i = 0; i < name.len; i++)
        if (!((name.ptr[i] >= 'a' && name.ptr[i] <= 'z') || name.ptr[i] == '_'))
            return false;
    return name.len > 0;
}

static bool pattern_is_valid(const char *pattern)
{
    struct str rest = str_from(pattern), segment;
    size_t params_n = 0, segments_n = 0;
    bool ended = false;
    if (pattern[0] != '/')
        return false;
    rest = str_slice(rest, 1, rest.len);
    while (str_next(&rest, '/', &segment)) {
        if (ended || !segment_is_valid(segment) || ++segments_n > SEGMENTS_MAX)
            return false;
        params_n += segment_kind(segment) != SEGMENT_LITERAL;
        ended = segment_kind(segment) == SEGMENT_REST;
    }
    return params_n <= HTTP_PATH_PARAMS_MAX;
}

static bool same_shape(const char *a, const char *b)
{
    struct str ra = str_from(a), rb = str_from(b), sa, sb;
    for (;;) {
        bool more_a = str_next(&ra, '/', &sa), more_b = str_next(&rb, '/', &sb);
        if (!more_a || !more_b)
            return more_a == more_b;
        if (segment_kind(sa) != segment_kind(sb) || (segment_kind(sa) == SEGMENT_LITERAL && !str_eq(sa, sb)))
            return false;
    }
}

enum err http_routes_check(const struct http_route *routes, size_t n, struct errinfo *err)
{
    for (size_t i = 0; i < n; i++) {
        if (routes[i].handler == NULL || !pattern_is_valid(routes[i].pattern))
            return err_set(err, ERR_INVALID, "route '%s %s' is malformed", routes[i].method, routes[i].pattern);
        for (size_t k = 0; k < i; k++)
            if (strcmp(routes[i].method, routes[k].method) == 0 && same_shape(routes[i].pattern, routes[k].pattern))
                return err_set(err, ERR_INVALID, "route '%s %s' is there twice", routes[i].method, routes[i].pattern);
    }
    return OK;
}

struct path {
    struct str raw; /* without the first slash */
    struct str segments[SEGMENTS_MAX];
    size_t n;
};

/* False when the path cannot belong to any route. */
static bool path_split(struct str raw, struct path *ret)
{
    if (!str_starts(raw, STR("/")))
        return false;
    struct str rest = str_slice(raw, 1, raw.len), segment;
    ret->raw = rest;
    ret->n = 0;
    while (str_next(&rest, '/', &segment)) {
        if (ret->n == SEGMENTS_MAX)
            return false;
        ret->segments[ret->n++] = segment;
    }
    return true;
}

/* Per segment how the pattern takes it, so that patterns can be compared; false when it does not match. */
static bool pattern_match(const char *pattern, const struct path *p, enum segment_kind ret_kinds[SEGMENTS_MAX + 1])
{
    struct str rest = str_from(pattern + 1), segment;
    size_t i = 0;
    while (str_next(&rest, '/', &segment)) {
        if (i >= p->n)
            return false;
        ret_kinds[i] = segment_kind(segment);
        if (ret_kinds[i] == SEGMENT_REST) {
            ret_kinds[i + 1] = SEGMENT_END;
            return p->segments[i].len > 0;
        }
        if (ret_kinds[i] == SEGMENT_LITERAL ? !str_eq(segment, p->segments[i]) : p->segments[i].len == 0)
            return false;
        i++;
    }
    ret_kinds[i] = SEGMENT_END;
    return i == p->n;
}

static int kinds_cmp(const enum segment_kind *a, const enum segment_kind *b)
{
    for (size_t i = 0;; i++) {
        if (a[i] != b[i])
            return a[i] > b[i] ? 1 : -1;
        if (a[i] == SEGMENT_END)
            return 0;
    }
}

static bool method_matches(const char *route, const char *method)
{
    return strcmp(route, method) == 0 || strcmp(route, "*") == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route, "GET") == 0);
}

static enum err param_add(struct str pattern_segment, struct str raw, struct arena *arena,
                          struct http_path_params *params, struct errinfo *err)
{
    struct str value;
    if (!http_percent_decode(raw, arena, &value) || str_eq(value, STR(".")) || str_eq(value, STR("..")))
        return err_set(err, ERR_INVALID, "path segment '%.*s' is malformed", (int)(raw.len > 80 ? 80 : raw.len),
                       raw.ptr);
    params->items[params->n].name = arena_str(arena, segment_name(pattern_segment)).ptr;
    params->items[params->n].value = value.ptr;
    params->n++;
    return OK;
}

static enum err params_read(const char *pattern, const struct path *p, struct arena *arena,
                            struct http_path_params *ret_params, struct errinfo *err)
{
    struct str rest = str_from(pattern + 1), segment;
    ret_params->n = 0;
    for (size_t i = 0; str_next(&rest, '/', &segment); i++) {
        enum segment_kind kind = segment_kind(segment);
        if (kind == SEGMENT_LITERAL)
            continue;
        assert(i < p->n); /* it matched */
        struct str raw = p->segments[i];
        if (kind == SEGMENT_REST)
            raw = (struct str){raw.ptr, (size_t)(p->raw.ptr + p->raw.len - raw.ptr)};
        enum err rc = param_add(segment, raw, arena, ret_params, err);
        if (rc != OK || kind == SEGMENT_REST)
            return rc;
    }
    return OK;
}

enum err http_route_find(const struct http_route *routes, size_t n, const char *method, struct str path,
                         struct arena *arena, const struct http_route **ret_route, struct http_path_params *ret_params,
                         const char **ret_allow, struct errinfo *err)
{
    struct path p;
    const struct http_route *best = NULL;
    enum segment_kind kinds[SEGMENTS_MAX + 1], best_kinds[SEGMENTS_MAX + 1] = {SEGMENT_END};
    AUTO(buf) struct buf allow = {0};
    bool splits = path_split(path, &p);
    for (size_t i = 0; splits && i < n; i++) {
        if (!pattern_match(routes[i].pattern, &p, kinds))
            continue;
        if (!method_matches(routes[i].method, method)) {
            buf_addf(&allow, "%s%s", allow.len > 0 ? ", " : "", routes[i].method);
        } else if (best == NULL || kinds_cmp(kinds, best_kinds) > 0) {
            best = &routes[i];
            memcpy(best_kinds, kinds, sizeof(kinds));
        }
    }
    if (best != NULL) {
        *ret_route = best;
        return params_read(best->pattern, &p, arena, ret_params, err);
    }
    if (allow.len == 0)
        return err_set(err, ERR_NOT_FOUND, "there is nothing at this path");
    *ret_allow = arena_strdup(arena, allow.ptr);
    return err_set(err, ERR_CONFLICT, "method %s is not offered here, but %s", method, allow.ptr);
}
