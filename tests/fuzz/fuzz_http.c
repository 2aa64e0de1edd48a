/* Pieces of a request that are ours to read: path and route, percent-encoding, Range, If-None-Match. */
#include "fuzz.h"
#include "net/http_range.h"
#include "net/http_route.h"

static void nothing(struct http_request *r, void *ctx)
{
    (void)r;
    (void)ctx;
}
static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/v1/instances", .handler = nothing},
    {.method = "GET", .pattern = "/v1/instances/{id}", .handler = nothing},
    {.method = "PUT", .pattern = "/v1/applications/{name}/{version}", .handler = nothing},
    {.method = "POST", .pattern = "/v1/instances/{id}/state", .handler = nothing},
    {.method = "GET", .pattern = "/files/{rest...}", .handler = nothing},
};

static void route(struct str text)
{
    static const char *const METHODS[] = {"GET", "HEAD", "PUT", "DELETE", "POST"};
    AUTO(arena) struct arena a = {0};
    const struct http_route *found = NULL;
    struct http_path_params params = {0};
    const char *allow = NULL;
    for (size_t i = 0; i < sizeof(METHODS) / sizeof(METHODS[0]); i++) {
        enum err rc = http_route_find(ROUTES, sizeof(ROUTES) / sizeof(ROUTES[0]), METHODS[i], text, &a, &found, &params,
                                      &allow, NULL);
        assert(rc == OK || rc == ERR_NOT_FOUND || rc == ERR_CONFLICT || rc == ERR_INVALID);
        if (rc == OK)
            assert(found != NULL && params.n <= HTTP_PATH_PARAMS_MAX);
        if (rc == ERR_CONFLICT)
            assert(allow != NULL && allow[0] != '\0');
    }
}

static void percent(struct str text)
{
    AUTO(arena) struct arena a = {0};
    struct str decoded;
    if (!http_percent_decode(text, &a, &decoded))
        return;
    assert(decoded.len <= text.len && strlen(decoded.ptr) == decoded.len);
}

static void range(struct str text)
{
    static const uint64_t SIZES[] = {0, 1, 1000, UINT64_MAX};
    auto_free char *header = fuzz_text(text);
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        uint64_t from = 0, n = 0;
        if (http_range_parse(header, SIZES[i], &from, &n) == HTTP_RANGE_PART)
            assert(n > 0 && from < SIZES[i] && n <= SIZES[i] - from);
    }
}

static void etag(struct str text)
{
    auto_free char *header = fuzz_text(text);
    (void)http_etag_listed(header, "\"abc\"");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const ALL[])(struct str) = {route, percent, range, etag};
    size_t choice;
    struct str rest;
    if (fuzz_choose(data, size, sizeof(ALL) / sizeof(ALL[0]), &choice, &rest))
        ALL[choice](rest);
    return 0;
}
