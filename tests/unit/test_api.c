/* The api room without a server: its one table, and who a caller is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "api/parts.h"
#include "base/json.h"
#include "base/own.h"

static void table_rows_are_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < API_TABLE_N; i++) {
        const struct api_route *r = &API_TABLE[i].route;
        assert_non_null(r->method);
        assert_non_null(r->handle);
        assert_non_null(r->doc);
        assert_in_range(r->status, 200, 599);
        assert_true(r->pattern[0] == '/');
        assert_true((r->flags & ROUTE_LIST) == 0 || r->answer != NULL);
        for (size_t j = 0; j < i; j++) /* no two rows for one method and path */
            assert_false(strcmp(API_TABLE[j].route.pattern, r->pattern) == 0 &&
                         strcmp(API_TABLE[j].route.method, r->method) == 0);
    }
}

/* Only what says nothing about the installation is open to anybody: the waitlist answers 202 whatever it knows. */
static void table_open_routes(void **state)
{
    (void)state;
    static const char *const OPEN[] = {
        "/healthz", "/readyz", "/openapi.json", "/v1/waitlist", "/v1/auth/github", "/v1/webhook/github", "/v1/images"};
    for (size_t i = 0; i < API_TABLE_N; i++) {
        const struct api_route *r = &API_TABLE[i].route;
        bool is_open = false;
        for (size_t o = 0; o < sizeof(OPEN) / sizeof(OPEN[0]); o++)
            is_open = is_open || strcmp(OPEN[o], r->pattern) == 0;
        if (r->callers == CALLER_ANYBODY)
            assert_true(is_open);
        if (r->callers == CALLER_ANYBODY && strncmp(r->pattern, "/v1/", 4) == 0)
            assert_int_equal(r->status, strcmp(r->pattern, "/v1/waitlist") == 0 ? 202 : 501);
    }
}

static void openapi_is_json(void **state)
{
    (void)state;
    struct api_route rows[128];
    struct api api = {.o = {.management = true, .is_public = true}, .rows = rows};
    assert_in_range(API_TABLE_N, 1, 128);
    for (size_t i = 0; i < API_TABLE_N; i++)
        rows[api.rows_n++] = API_TABLE[i].route;
    AUTO(buf) struct buf text = {0};
    api_openapi(&api, &text);
    struct errinfo err = {0};
    auto_json json_t *doc = NULL;
    assert_int_equal(json_parse(buf_str(&text), &doc, &err), OK);
    const json_t *paths = json_object_get(doc, "paths");
    const json_t *instance = json_object_get(paths, "/v1/instances/{id}");
    assert_non_null(json_object_get(instance, "get"));
    assert_non_null(json_object_get(instance, "delete"));
    const json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
    assert_non_null(json_object_get(schemas, "instance_spec")); /* named only by another schema */
    assert_non_null(json_object_get(schemas, "problem"));
}

static struct peer peer_of(const char *installation, const char *role, const char *id)
{
    struct peer p = {.authenticated = true};
    assert_true(str_copy_to(str_from(installation), p.installation, sizeof(p.installation)));
    assert_true(str_copy_to(str_from(role), p.role, sizeof(p.role)));
    assert_true(str_copy_to(str_from(id), p.id, sizeof(p.id)));
    return p;
}

static void callers_by_certificate(void **state)
{
    (void)state;
    struct operator_tokens none = {0};
    struct caller who;
    struct errinfo err;
    struct peer node = peer_of("dev-0", "node", "worker-1");
    assert_int_equal(caller_read(&node, (struct str){NULL, 0}, &none, "dev-0", &who, NULL), OK);
    assert_int_equal(who.role, CALLER_NODE);
    assert_string_equal(who.id, "worker-1");
    assert_int_equal(caller_read(&node, (struct str){NULL, 0}, &none, "dev-1", &who, &err), ERR_DENIED);
    assert_non_null(strstr(err.msg, "'dev-1'"));
    struct peer proxy = peer_of("dev-0", "node-proxy", "worker-1");
    assert_int_equal(caller_read(&proxy, (struct str){NULL, 0}, &none, "dev-0", &who, NULL), ERR_DENIED);
    struct peer nobody = {0};
    assert_int_equal(caller_read(&nobody, (struct str){NULL, 0}, &none, "dev-0", &who, NULL), OK);
    assert_int_equal(who.role, CALLER_ANYBODY);
    /* a token that is wrong is refused, although the certificate would be good */
    assert_int_equal(caller_read(&node, STR("slip_wrong"), &none, "dev-0", &who, NULL), ERR_DENIED);
}

static void masks_in_words(void **state)
{
    (void)state;
    char text[96];
    caller_mask_describe(CALLER_OPERATOR | CALLER_NODE, text, sizeof(text));
    assert_string_equal(text, "operator or node");
    caller_mask_describe(CALLER_ANYBODY, text, sizeof(text));
    assert_string_equal(text, "anybody");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_rows_are_whole), cmocka_unit_test(table_open_routes),
        cmocka_unit_test(openapi_is_json),      cmocka_unit_test(callers_by_certificate),
        cmocka_unit_test(masks_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
