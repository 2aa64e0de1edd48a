#include "edge/route_map/resources.h"

#include <assert.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "edge/route_map/template.h"
#include "edge/templates.h"
#include "event/hash.h"

void resource_sticky_name(struct id instance_id, char ret_name[static STICKY_NAME_SIZE])
{
    uint8_t digest[HASH_SIZE];
    AUTO(buf) struct buf text = {0};
    struct hash *h = hash_new();
    hash_add(h, "slipform sticky 1", 17);
    hash_add(h, instance_id.bytes, sizeof(instance_id.bytes));
    hash_finish(h, digest);
    base64url_add(&text, digest, 12);
    bool fits = str_copy_to(buf_str(&text), ret_name, STICKY_NAME_SIZE);
    assert(fits);
}

static json_t *pack_id(struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return json_string(text);
}

json_t *resource_cluster(const struct route *r)
{
    return template_fill(TEMPLATE_CLUSTER_JSON, json_pack("{s:o}", "cluster", pack_id(r->route_id)));
}

static json_t *endpoint(const struct route_endpoint *e)
{
    char sticky[STICKY_NAME_SIZE];
    resource_sticky_name(e->instance_id, sticky);
    return json_pack("{s:{s:{s:{s:o,s:I}},s:o},s:{s:{s:{s:s}}}}", "endpoint", "address", "socket_address", "address",
                     json_from_str(e->address), "port_value", (json_int_t)e->port, "hostname",
                     json_from_str(e->node_dns), "metadata", "filter_metadata", "slipform", "sticky", sticky);
}

json_t *resource_endpoints(const struct route *r)
{
    json_t *list = json_array();
    const struct route_endpoint *endpoints = r->endpoints.items;
    for (size_t i = 0; i < r->endpoints.n; i++)
        if (endpoints[i].healthy)
            json_array_append_new(list, endpoint(&endpoints[i]));
    return json_pack("{s:o,s:[{s:o}]}", "cluster_name", pack_id(r->route_id), "endpoints", "lb_endpoints", list);
}

/* For sticky.lua: opaque name -> address, as Envoy writes addresses. */
static json_t *sticky_metadata(const struct resource_shape *shape, const struct route *r)
{
    json_t *names = json_object();
    const struct route_endpoint *endpoints = r->endpoints.items;
    if (shape->sticky_seconds == 0) {
        json_decref(names);
        return json_object();
    }
    for (size_t i = 0; i < r->endpoints.n; i++) {
        char sticky[STICKY_NAME_SIZE];
        if (!endpoints[i].healthy)
            continue;
        auto_free char *address =
            mem_printf("[%.*s]:%lld", STR_ARG(endpoints[i].address), (long long)endpoints[i].port);
        resource_sticky_name(endpoints[i].instance_id, sticky);
        json_object_set_new(names, sticky, json_string(address));
    }
    auto_free char *seconds = mem_printf("%lld", (long long)shape->sticky_seconds);
    return json_pack("{s:o,s:s}", "endpoints", names, "seconds", seconds);
}

static json_t *host_name(struct str host)
{
    auto_free char *text = mem_printf(RESOURCE_HOST_PREFIX "%.*s", STR_ARG(host));
    return json_string(text);
}

json_t *resource_virtual_host(const struct resource_shape *shape, const struct route *r, struct str host)
{
    return template_fill(TEMPLATE_VIRTUAL_HOST_JSON,
                         json_pack("{s:o,s:o,s:o,s:o}", "name", host_name(host), "host", json_from_str(host), "cluster",
                                   pack_id(r->route_id), "sticky", sticky_metadata(shape, r)));
}

json_t *resource_gone_host(struct str host)
{
    return template_fill(TEMPLATE_GONE_HOST_JSON,
                         json_pack("{s:o,s:o}", "name", host_name(host), "host", json_from_str(host)));
}

json_t *resource_routes(void)
{
    return template_fill(TEMPLATE_ROUTES_JSON, json_object());
}

static json_t *listener_filter(const char *name, const char *type)
{
    auto_free char *url = mem_printf("type.googleapis.com/envoy.extensions.filters.listener.%s", type);
    return json_pack("{s:s,s:{s:s}}", "name", name, "typed_config", "@type", url);
}

static json_t *listener_filters(const struct resource_listener *l, bool is_tls)
{
    json_t *list = json_array();
    if (l->is_proxy_protocol)
        json_array_append_new(
            list, listener_filter("envoy.filters.listener.proxy_protocol", "proxy_protocol.v3.ProxyProtocol"));
    if (is_tls)
        json_array_append_new(list,
                              listener_filter("envoy.filters.listener.tls_inspector", "tls_inspector.v3.TlsInspector"));
    return list;
}

/* The socket of a listener. "::" takes IPv4 clients too. */
static json_t *socket_address(const struct resource_listener *l)
{
    json_t *address = json_pack("{s:s,s:I}", "address", l->address, "port_value", (json_int_t)l->port);
    if (strcmp(l->address, "::") == 0)
        json_object_set_new(address, "ipv4_compat", json_true());
    return address;
}

json_t *resource_listener_https(const struct resource_listener *l)
{
    return template_fill(TEMPLATE_LISTENER_HTTPS_JSON,
                         json_pack("{s:o,s:o,s:s}", "socket_address", socket_address(l), "listener_filters",
                                   listener_filters(l, true), "sticky_lua", TEMPLATE_STICKY_LUA));
}

json_t *resource_listener_http(const struct resource_listener *l, int64_t https_port)
{
    return template_fill(TEMPLATE_LISTENER_HTTP_JSON,
                         json_pack("{s:o,s:o,s:I}", "socket_address", socket_address(l), "listener_filters",
                                   listener_filters(l, false), "https_port", (json_int_t)https_port));
}

json_t *resource_secret_certificate(struct str name, struct str chain_pem, struct str key_pem)
{
    return json_pack("{s:o,s:{s:{s:o},s:{s:o}}}", "name", json_from_str(name), "tls_certificate", "certificate_chain",
                     "inline_string", json_from_str(chain_pem), "private_key", "inline_string", json_from_str(key_pem));
}

json_t *resource_secret_trust(struct str name, struct str ca_pem)
{
    return json_pack("{s:o,s:{s:{s:o}}}", "name", json_from_str(name), "validation_context", "trusted_ca",
                     "inline_string", json_from_str(ca_pem));
}
