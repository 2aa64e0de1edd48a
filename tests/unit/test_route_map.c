/* edge/route_map: documents in, routes out; each resource in a form that encodes. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "edge/route_map/resources.h"
#include "edge/route_map/route_map.h"
#include "edge/xds/proto_json.h"

#define A "018f0000-0000-7000-8000-00000000000a"
#define B "018f0000-0000-7000-8000-00000000000b"
#define D "018f0000-0000-7000-8000-0000000000d1"
#define I1 "018f0000-0000-7000-8000-000000000011"
#define I2 "018f0000-0000-7000-8000-000000000012"

#define ENDPOINT(id, healthy)                                                                                          \
    "{\"instance_id\":\"" id "\",\"address\":\"fd00::11\",\"port\":8080,\"node\":\"w1\","                              \
    "\"node_dns\":\"w1.node.test\",\"healthy\":" healthy "}"
#define ROUTE(id, hosts, endpoints)                                                                                    \
    "{\"route_id\":\"" id "\",\"project\":\"p\",\"deployment_id\":\"" D "\",\"hosts\":[" hosts                         \
    "],\"endpoints\":[" endpoints "]}"
#define HOST(name) "{\"host\":\"" name "\"}"
#define DOC(items, removed, cursor, full)                                                                              \
    "{\"items\":[" items "],\"removed\":[" removed "],\"cursor\":\"" cursor "\",\"full\":" full "}"

static enum err apply(struct route_map *m, const char *text, struct route_changes *ret_changes, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    assert_int_equal(json_parse(str_from(text), &doc, err), OK);
    return route_map_apply(m, doc, ret_changes, err);
}

static void apply_ok(struct route_map *m, const char *text, size_t routes_n, size_t hosts_n)
{
    AUTO(route_changes) struct route_changes c = {0};
    struct errinfo err = {0};
    if (apply(m, text, &c, &err) != OK)
        fail_msg("%s", err.msg);
    assert_int_equal(c.routes_n, routes_n);
    assert_int_equal(c.hosts_n, hosts_n);
}

static void assert_host(const struct route_map *m, const char *host, const char *route_id)
{
    const struct route *r = route_map_find_host(m, str_from(host));
    if (route_id == NULL) {
        assert_null(r);
        return;
    }
    char text[ID_TEXT_SIZE];
    assert_non_null(r);
    id_format(r->route_id, text);
    assert_string_equal(text, route_id);
}

static void documents(void **state)
{
    (void)state;
    struct route_map *m = route_map_new();
    assert_string_equal(route_map_cursor(m), "");
    apply_ok(m, DOC(ROUTE(A, HOST("a.test"), ENDPOINT(I1, "true")), "", "1", "true"), 1, 1);
    assert_host(m, "a.test", A);
    assert_string_equal(route_map_cursor(m), "1");
    apply_ok(m, DOC(ROUTE(A, HOST("a.test"), ENDPOINT(I1, "true")), "", "2", "false"), 0, 0); /* nothing new */
    apply_ok(m, DOC(ROUTE(A, HOST("a.test"), ENDPOINT(I2, "true")), "", "3", "false"), 1, 1); /* a switch */
    apply_ok(m, DOC(ROUTE(B, HOST("b.test") "," HOST("c.test"), ""), "", "4", "false"), 1, 2);
    assert_int_equal(route_map_count(m), 2);
    assert_int_equal(route_map_hosts_count(m), 3);
    apply_ok(m, DOC(ROUTE(B, HOST("b.test"), ""), "", "5", "false"), 1, 2); /* c.test went */
    assert_host(m, "c.test", NULL);
    apply_ok(m, DOC("", "\"" A "\"", "6", "false"), 1, 1);
    assert_host(m, "a.test", NULL);
    apply_ok(m, DOC("", "", "7", "true"), 1, 1); /* full and empty: B went too */
    assert_int_equal(route_map_count(m), 0);
    assert_int_equal(route_map_hosts_count(m), 0);
    route_map_free(m);
}

/* A name that moves from one project to another, in either order of documents. */
static void host_moves(void **state)
{
    (void)state;
    struct route_map *m = route_map_new();
    apply_ok(m, DOC(ROUTE(A, HOST("x.test"), ""), "", "1", "true"), 1, 1);
    apply_ok(m, DOC(ROUTE(B, HOST("x.test"), ""), "", "2", "false"), 1, 1);
    assert_host(m, "x.test", B); /* the last one has it */
    apply_ok(m, DOC(ROUTE(A, "", ""), "", "3", "false"), 1, 1);
    assert_host(m, "x.test", B);
    apply_ok(m, DOC(ROUTE(A, HOST("x.test"), ""), "", "4", "false"), 1, 1);
    assert_host(m, "x.test", A);
    apply_ok(m, DOC("", "\"" A "\"", "5", "false"), 1, 1);
    assert_host(m, "x.test", B); /* still claims it */
    route_map_free(m);
}

static void bad_documents_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } CASES[] = {
        {"{\"items\":[]}", "'cursor'"},
        {"{\"items\":{},\"cursor\":\"1\"}", "'items'"},
        {DOC("{}", "", "9", "false"), "items[0]"},
        {DOC(ROUTE(B, HOST("UPPER.test"), ""), "", "9", "false"), "UPPER.test"},
        {DOC(ROUTE(B, HOST(""), ""), "", "9", "false"), "host name"},
        {DOC(ROUTE("00000000-0000-0000-0000-000000000000", "", ""), "", "9", "false"), "id"},
        {DOC("", "\"x\"", "9", "false"), "removed[0]"},
        {"{\"items\":[],\"removed\":3,\"cursor\":\"1\"}", "removed"},
    };
    struct route_map *m = route_map_new();
    apply_ok(m, DOC(ROUTE(A, HOST("a.test"), ""), "", "1", "true"), 1, 1);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        AUTO(route_changes) struct route_changes c = {0};
        struct errinfo err = {0};
        assert_int_equal(apply(m, CASES[i].text, &c, &err), ERR_INVALID);
        if (strstr(err.msg, CASES[i].says) == NULL)
            fail_msg("case %zu says '%s'", i, err.msg);
        assert_string_equal(route_map_cursor(m), "1");
        assert_host(m, "a.test", A);
    }
    route_map_free(m);
}

static void encode_then_apply(void **state)
{
    (void)state;
    AUTO(buf) struct buf text = {0}, again = {0};
    struct route_map *m = route_map_new(), *copy = route_map_new();
    apply_ok(m,
             DOC(ROUTE(A, HOST("a.test"), ENDPOINT(I1, "true")) "," ROUTE(B, HOST("b.test"), ""), "", "c\\\"1", "true"),
             2, 2);
    route_map_encode(m, &text);
    apply_ok(copy, text.ptr, 2, 2);
    route_map_encode(copy, &again);
    assert_string_equal(text.ptr, again.ptr);
    assert_string_equal(route_map_cursor(copy), "c\"1");
    route_map_free(m);
    route_map_free(copy);
}

/* Returned: the JSON text; asserts that the resource encodes as that type. */
static char *encoded(enum xds_type type, json_t *doc)
{
    AUTO(buf) struct buf bytes = {0};
    struct errinfo err = {0};
    if (proto_json_encode(str_from(xds_type_url(type)), doc, &bytes, &err) != OK)
        fail_msg("%s", err.msg);
    assert_true(bytes.len > 0);
    char *text = json_format(doc);
    json_decref(doc);
    return text;
}

static void resources(void **state)
{
    (void)state;
    struct route_map *m = route_map_new();
    const struct resource_shape shape = {.sticky_seconds = 60};
    const struct resource_listener listener = {"::1", 8443, true};
    struct id id;
    apply_ok(m, DOC(ROUTE(A, HOST("a.test"), ENDPOINT(I1, "true") "," ENDPOINT(I2, "false")), "", "1", "true"), 1, 1);
    assert_true(id_parse(STR(A), &id));
    const struct route *r = route_map_find(m, id);
    auto_free char *cluster = encoded(XDS_CLUSTER, resource_cluster(r));
    assert_non_null(strstr(cluster, "\"name\":\"" A "\""));
    auto_free char *endpoints = encoded(XDS_ENDPOINTS, resource_endpoints(r));
    assert_non_null(strstr(endpoints, "w1.node.test"));
    assert_null(strstr(strstr(endpoints, "fd00::11") + 1, "fd00::11")); /* the unhealthy one is left out */
    auto_free char *host = encoded(XDS_VIRTUAL_HOST, resource_virtual_host(&shape, r, STR("a.test")));
    assert_non_null(strstr(host, "\"edge/a.test\""));
    assert_non_null(strstr(host, "[fd00::11]:8080"));
    char sticky[STICKY_NAME_SIZE];
    assert_true(id_parse(STR(I1), &id));
    resource_sticky_name(id, sticky);
    assert_non_null(strstr(host, sticky));
    const struct resource_shape none = {0};
    auto_free char *plain = encoded(XDS_VIRTUAL_HOST, resource_virtual_host(&none, r, STR("a.test")));
    assert_null(strstr(plain, "fd00::11"));
    free(encoded(XDS_VIRTUAL_HOST, resource_gone_host(STR("gone.test"))));
    free(encoded(XDS_ROUTES, resource_routes()));
    free(encoded(XDS_LISTENER, resource_listener_https(&listener)));
    free(encoded(XDS_LISTENER, resource_listener_http(&listener, 443)));
    free(encoded(XDS_SECRET, resource_secret_certificate(STR("a.test"), STR("chain"), STR("key"))));
    free(encoded(XDS_SECRET, resource_secret_trust(STR("trust"), STR("ca"))));
    route_map_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),
        cmocka_unit_test(host_moves),
        cmocka_unit_test(bad_documents_change_nothing),
        cmocka_unit_test(encode_then_apply),
        cmocka_unit_test(resources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
