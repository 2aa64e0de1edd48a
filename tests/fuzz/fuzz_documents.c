/* Documents that programs exchange and files that a node-agent keeps. Each line is a table (its first byte) and a
 * document. */
#include "base/json.h"
#include "build/builder.h"
#include "event/fields.h"
#include "fuzz.h"
#include "node/agent/keep.h"
#include "wire/deployment.h"
#include "wire/explanation.h"
#include "wire/guest.h"
#include "wire/image.h"
#include "wire/instance.h"
#include "wire/node.h"
#include "wire/notification.h"
#include "wire/owned.h"
#include "wire/replica.h"
#include "wire/route.h"
#include "wire/umbilical.h"

static const struct field_table *const TABLES[] = {
    &NODE_JOIN_WIRE,
    &PREFLIGHT_CHECK_WIRE,
    &INSTANCE_REPORT_WIRE,
    &NODE_REPORT_WIRE,
    &NODE_RESOURCE_WIRE,
    &PROJECT_CREATE_WIRE,
    &PROJECT_RESOURCE_WIRE,
    &DEPLOYMENT_CREATE_WIRE,
    &LOG_LINE_WIRE,
    &DEPLOYMENT_RESOURCE_WIRE,
    &PROBLEM_WIRE,
    &IMAGE_STATE_WIRE,
    &IMAGE_RESOURCE_WIRE,
    &GUEST_CONFIG_WIRE,
    &GUEST_HELLO_WIRE,
    &GUEST_STOP_WIRE,
    &GUEST_DROPPED_WIRE,
    &GUEST_EXIT_WIRE,
    &RESOURCES_WIRE,
    &HEALTH_CHECK_WIRE,
    &IMAGE_CONFIG_WIRE,
    &INSTANCE_SPEC_WIRE,
    &INSTANCE_STATISTICS_WIRE,
    &INSTANCE_STATE_WIRE,
    &INSTANCE_EVENT_WIRE,
    &INSTANCE_RESOURCE_WIRE,
    &ROUTE_HOST_WIRE,
    &ROUTE_ENDPOINT_WIRE,
    &ROUTE_WIRE,
    &CERTIFICATE_WIRE,
    &KEPT_STATE_TABLE,
    &KEPT_AGENT_TABLE,
    &BUILD_REQUEST_TABLE,
    &DOMAIN_CREATE_WIRE,
    &DOMAIN_RESOURCE_WIRE,
    &EXPLANATION_WIRE,
    &REPLICA_WIRE,
    &REPLICA_LEASE_WIRE,
    &REPLICA_VOTE_WIRE,
    &REPLICA_EDGE_WIRE,
    &REPLICA_STORE_WIRE,
    &REPLICA_NOTIFIER_WIRE,
    &NOTIFICATION_WIRE,
    &PROJECT_PATCH_WIRE,
    &SCALING_WIRE,
    &SECRET_RESOURCE_WIRE,
    &SECRET_VALUE_WIRE,
    &UMBILICAL_REPORT_WIRE,
    &UMBILICAL_WIRE,
    &WAITLIST_JOIN_WIRE,
    &WAITLIST_PLACE_WIRE,
};

static void document(const struct field_table *t, struct str json)
{
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf text = {0}, again = {0};
    struct errinfo err;
    void *value = arena_alloc(&a, t->size), *back = arena_alloc(&a, t->size);
    if (fields_parse(t, json, &a, value, &err) != OK) {
        assert(err.msg[0] != '\0');
        return;
    }
    fields_encode(t, value, &text);
    assert(fields_parse(t, buf_str(&text), &a, back, &err) == OK);
    fields_encode(t, back, &again);
    assert(str_eq(buf_str(&text), buf_str(&again)));
    auto_json json_t *tree = fields_to_json(t, value);
    assert(json_is_object(tree));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size}, line, json;
    size_t table;
    while (str_next(&text, '\n', &line))
        if (fuzz_choose((const uint8_t *)line.ptr, line.len, sizeof(TABLES) / sizeof(TABLES[0]), &table, &json))
            document(TABLES[table], json);
    return 0;
}
