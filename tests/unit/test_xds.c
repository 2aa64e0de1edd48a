/* edge/xds: JSON to Envoy's wire bytes, and a delta stream with a client that speaks protobuf. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "edge/xds/delta.h"
#include "edge/xds/proto_json.h"
#include "service_discovery_v3.pb-c.h"

typedef Envoy__Service__Discovery__V3__DeltaDiscoveryRequest request_t;
typedef Envoy__Service__Discovery__V3__DeltaDiscoveryResponse response_t;

#define TLS "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
#define CLUSTER "type.googleapis.com/envoy.config.cluster.v3.Cluster"

/* Bytes by the encoding specification, worked out by hand. */
static void json_to_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *url, *json, *hex;
    } CASES[] = {
        {CLUSTER, "{}", ""},
        {CLUSTER, "{\"name\":\"a\"}", "0a0161"},
        {CLUSTER, "{\"type\":\"EDS\"}", "1003"},
        {CLUSTER, "{\"connect_timeout\":\"0.5s\"}", "22061080cab5ee01"},
        {CLUSTER, "{\"connect_timeout\":\"2s\"}", "22020802"},
        {CLUSTER, "{\"common_lb_config\":{\"healthy_panic_threshold\":{\"value\":1}}}", "da010b0a0909000000000000f03f"},
        {CLUSTER, "{\"circuit_breakers\":{\"thresholds\":[{\"max_retries\":300},{}]}}", "52090a052a0308ac020a00"},
        {TLS "DownstreamTlsContext", "{\"require_client_certificate\":true}", "12020801"},
        {CLUSTER,
         "{\"transport_socket\":{\"name\":\"t\",\"typed_config\":{\"@type\":\"" TLS "Secret\",\"name\":\"s\"}}}",
         "c201500a01741a4b0a44747970652e676f6f676c65617069732e636f6d2f656e766f792e657874656e73696f6e732e7472616e73706f7"
         "274"
         "5f736f636b6574732e746c732e76332e53656372657412030a0173"},
        {"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
         "{\"endpoints\":[{\"lb_endpoints\":[{\"metadata\":{\"filter_metadata\":{\"n\":{\"k\":\"v\"}}}}]}]}",
         "121512131a110a0f0a016e120a0a080a016b12031a0176"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        auto_json json_t *doc = NULL;
        AUTO(buf) struct buf bytes = {0};
        struct errinfo err = {0};
        assert_int_equal(json_parse(str_from(CASES[i].json), &doc, &err), OK);
        if (proto_json_encode(str_from(CASES[i].url), doc, &bytes, &err) != OK)
            fail_msg("case %zu: %s", i, err.msg);
        auto_free char *hex = mem_alloc(2 * bytes.len + 1);
        hex_format(bytes.ptr == NULL ? "" : bytes.ptr, bytes.len, hex);
        assert_string_equal(hex, CASES[i].hex);
    }
}

static void json_that_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *url, *json, *says;
    } CASES[] = {
        {CLUSTER, "{\"nonsense\":1}", "nonsense"},
        {CLUSTER, "{\"type\":\"NOPE\"}", "'type': 'NOPE'"},
        {CLUSTER, "{\"connect_timeout\":5}", "duration"},
        {CLUSTER, "{\"name\":5}", "'name': must be a text"},
        {CLUSTER, "{\"circuit_breakers\":{\"thresholds\":[{\"max_retries\":-1}]}}", "'thresholds': [0]"},
        {CLUSTER, "{\"transport_socket\":{\"typed_config\":{}}}", "@type"},
        {CLUSTER, "[]", "object"},
        {"type.googleapis.com/envoy.Nothing", "{}", "envoy.Nothing"},
        {"x", "{}", "'x'"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        auto_json json_t *doc = NULL;
        AUTO(buf) struct buf bytes = {0};
        struct errinfo err = {0};
        assert_int_equal(json_parse(str_from(CASES[i].json), &doc, &err), OK);
        assert_int_equal(proto_json_encode(str_from(CASES[i].url), doc, &bytes, &err), ERR_INVALID);
        if (strstr(err.msg, CASES[i].says) == NULL)
            fail_msg("case %zu says '%s'", i, err.msg);
    }
}

static struct delta_event tell(struct delta *d, const request_t *m)
{
    AUTO(buf) struct buf bytes = {0};
    struct delta_event event;
    size_t size = envoy__service__discovery__v3__delta_discovery_request__get_packed_size(m);
    buf_reserve(&bytes, size + 1);
    bytes.len = envoy__service__discovery__v3__delta_discovery_request__pack(m, (uint8_t *)bytes.ptr);
    assert_int_equal(delta_receive(d, buf_str(&bytes), &event, NULL), OK);
    return event;
}

/* Returned: free_unpacked. */
static response_t *hear(struct delta *d, const struct catalogue *c)
{
    AUTO(buf) struct buf bytes = {0};
    if (!delta_next(d, c, &bytes))
        return NULL;
    response_t *r =
        envoy__service__discovery__v3__delta_discovery_response__unpack(NULL, bytes.len, (uint8_t *)bytes.ptr);
    assert_non_null(r);
    return r;
}

static void hush(response_t *r)
{
    envoy__service__discovery__v3__delta_discovery_response__free_unpacked(r, NULL);
}

static request_t request_of(enum xds_type type)
{
    request_t m;
    envoy__service__discovery__v3__delta_discovery_request__init(&m);
    m.type_url = (char *)(uintptr_t)xds_type_url(type);
    return m;
}

static void stream(void **state)
{
    (void)state;
    struct catalogue *c = catalogue_new();
    struct delta *d = delta_new();
    char name[] = "edge/a.test", other[] = "edge/x.test";
    char *names[] = {name, other};
    assert_true(catalogue_put(c, XDS_VIRTUAL_HOST, str_from(name), STR("body"), STR("")));
    assert_true(catalogue_put_absent(c, XDS_VIRTUAL_HOST, str_from(other)));
    request_t m = request_of(XDS_VIRTUAL_HOST);
    m.resource_names_subscribe = names;
    m.n_resource_names_subscribe = 2;
    assert_null(hear(d, c));
    assert_false(tell(d, &m).is_ack);
    response_t *r = hear(d, c);
    if (r == NULL) {
        fail_msg("no answer");
        return;
    }
    assert_int_equal(r->n_resources, 2);
    assert_string_equal(r->resources[0]->name, name);
    assert_string_equal(r->resources[0]->aliases[0], name);
    assert_string_equal(r->resources[0]->resource->type_url, xds_type_url(XDS_VIRTUAL_HOST));
    assert_memory_equal(r->resources[0]->resource->value.data, "body", 4);
    assert_string_equal(r->resources[1]->name, other);
    assert_null(r->resources[1]->resource); /* "there is no such host" */
    request_t ack = request_of(XDS_VIRTUAL_HOST);
    ack.response_nonce = r->nonce;
    struct delta_event event = tell(d, &ack);
    assert_true(event.is_ack);
    assert_int_equal(event.resources_n, 2);
    hush(r);
    assert_null(hear(d, c));
    catalogue_free(c);
    delta_free(d);
}

static void refusal_carries_its_reason(void **state)
{
    (void)state;
    struct catalogue *c = catalogue_new();
    struct delta *d = delta_new();
    char star[] = "*", why[] = "no such thing";
    char *names[] = {star};
    assert_true(catalogue_put(c, XDS_CLUSTER, STR("a"), STR("body"), STR("")));
    request_t m = request_of(XDS_CLUSTER);
    m.resource_names_subscribe = names;
    m.n_resource_names_subscribe = 1;
    tell(d, &m);
    response_t *r = hear(d, c);
    if (r == NULL) {
        fail_msg("no answer");
        return;
    }
    Google__Rpc__Status status;
    google__rpc__status__init(&status);
    status.message = why;
    request_t nack = request_of(XDS_CLUSTER);
    nack.response_nonce = r->nonce;
    nack.error_detail = &status;
    struct delta_event event = tell(d, &nack);
    assert_true(event.is_refusal);
    assert_string_equal(event.text, why);
    hush(r);
    assert_null(hear(d, c));
    assert_int_equal(rollout_refused(delta_rollout(d), c), 1);
    catalogue_free(c);
    delta_free(d);
}

static void rubbish_ends_the_stream(void **state)
{
    (void)state;
    struct delta *d = delta_new();
    struct delta_event event;
    assert_int_equal(delta_receive(d, STR("\xff\xff\xff"), &event, NULL), ERR_INVALID);
    request_t m = request_of(XDS_CLUSTER);
    char other[] = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
    m.type_url = other;
    assert_false(tell(d, &m).is_known_type);
    delta_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_to_bytes),
        cmocka_unit_test(json_that_does_not_fit),
        cmocka_unit_test(stream),
        cmocka_unit_test(refusal_carries_its_reason),
        cmocka_unit_test(rubbish_ends_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
