/* Straight to wire bytes (protobuf encoding specification): a tag, then a varint, eight bytes, or a length and bytes.
 * Maps are repeated messages {1: key, 2: value}; Any is {1: type URL, 2: bytes}. */
#include "edge/xds/proto_json.h"

#include <math.h>
#include <protobuf-c/protobuf-c.h>

#include "base/own.h"
#include "config_cluster_v3.pb-c.h"
#include "config_endpoint_v3.pb-c.h"
#include "config_listener_v3.pb-c.h"
#include "config_route_v3.pb-c.h"
#include "extensions_filters_http_lua_v3.pb-c.h"
#include "extensions_filters_http_on_demand_v3.pb-c.h"
#include "extensions_filters_http_router_v3.pb-c.h"
#include "extensions_filters_listener_proxy_protocol_v3.pb-c.h"
#include "extensions_filters_listener_tls_inspector_v3.pb-c.h"
#include "extensions_filters_network_http_connection_manager_v3.pb-c.h"
#include "extensions_http_early_header_mutation_header_mutation_v3.pb-c.h"
#include "extensions_retry_host_previous_hosts_v3.pb-c.h"
#include "extensions_transport_sockets_tls_cert_mappers_sni_v3.pb-c.h"
#include "extensions_transport_sockets_tls_cert_selectors_on_demand_secret_v3.pb-c.h"
#include "extensions_transport_sockets_tls_v3.pb-c.h"
#include "extensions_upstreams_http_v3.pb-c.h"

#define URL_PREFIX "type.googleapis.com/"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };

/* Messages that may stand in an Any, or be a resource. */
static const ProtobufCMessageDescriptor *const TYPES[] = {
    &envoy__config__cluster__v3__cluster__descriptor,
    &envoy__config__endpoint__v3__cluster_load_assignment__descriptor,
    &envoy__config__listener__v3__listener__descriptor,
    &envoy__config__route__v3__route_configuration__descriptor,
    &envoy__config__route__v3__virtual_host__descriptor,
    &envoy__extensions__filters__http__lua__v3__lua__descriptor,
    &envoy__extensions__filters__http__on_demand__v3__on_demand__descriptor,
    &envoy__extensions__filters__http__router__v3__router__descriptor,
    &envoy__extensions__filters__listener__proxy_protocol__v3__proxy_protocol__descriptor,
    &envoy__extensions__filters__listener__tls_inspector__v3__tls_inspector__descriptor,
    &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor,
    &envoy__extensions__http__early_header_mutation__header_mutation__v3__header_mutation__descriptor,
    &envoy__extensions__retry__host__previous_hosts__v3__previous_hosts_predicate__descriptor,
    &envoy__extensions__transport_sockets__tls__cert_mappers__sni__v3__sni__descriptor,
    &envoy__extensions__transport_sockets__tls__cert_selectors__on_demand_secret__v3__config__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__downstream_tls_context__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__secret__descriptor,
    &envoy__extensions__transport_sockets__tls__v3__upstream_tls_context__descriptor,
    &envoy__extensions__upstreams__http__v3__http_protocol_options__descriptor,
};

static enum err encode_message(const ProtobufCMessageDescriptor *type, const json_t *doc, struct buf *out,
                               struct errinfo *err);

static void add_varint(struct buf *out, uint64_t value)
{
    while (value >= 0x80) {
        buf_add_char(out, (char)(value | 0x80));
        value >>= 7;
    }
    buf_add_char(out, (char)value);
}

static void add_tag(struct buf *out, uint32_t field, enum wire wire)
{
    add_varint(out, ((uint64_t)field << 3) | wire);
}

static void add_bytes(struct buf *out, uint32_t field, struct str bytes)
{
    add_tag(out, field, WIRE_BYTES);
    add_varint(out, bytes.len);
    buf_add_str(out, bytes);
}

static void add_double(struct buf *out, uint32_t field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    add_tag(out, field, WIRE_FIXED64);
    for (unsigned i = 0; i < 8; i++)
        buf_add_char(out, (char)(bits >> (8 * i)));
}

static struct str text_of(const json_t *value)
{
    return (struct str){json_string_value(value), json_string_length(value)};
}

/* jansson's iterators, which it declares without const though they only read. Members come in order of insertion. */
static void *first_member(const json_t *object)
{
    return json_object_iter((json_t *)(uintptr_t)object);
}

static void *next_member(const json_t *object, void *iter)
{
    return json_object_iter_next((json_t *)(uintptr_t)object, iter);
}

/* ---- well-known types, whose JSON is not an object of their fields ---- */

static enum err encode_duration(const json_t *doc, struct buf *out, struct errinfo *err)
{
    char *end = NULL;
    const char *text = json_string_value(doc);
    double seconds = text == NULL ? NAN : strtod(text, &end);
    if (text == NULL || end == text || strcmp(end, "s") != 0 || !(seconds >= 0 && seconds < 1e9))
        return err_set(err, ERR_INVALID, "a duration is written like '0.5s'");
    uint64_t nanos = (uint64_t)llround(seconds * 1e9);
    if (nanos / 1000000000u != 0) {
        add_tag(out, 1, WIRE_VARINT);
        add_varint(out, nanos / 1000000000u);
    }
    if (nanos % 1000000000u != 0) {
        add_tag(out, 2, WIRE_VARINT);
        add_varint(out, nanos % 1000000000u);
    }
    return OK;
}

static enum err encode_any(const json_t *doc, struct buf *out, struct errinfo *err)
{
    struct str url = text_of(json_object_get(doc, "@type"));
    AUTO(buf) struct buf inner = {0};
    if (url.ptr == NULL)
        return err_set(err, ERR_INVALID, "'@type' is missing");
    enum err rc = proto_json_encode(url, doc, &inner, err);
    if (rc != OK)
        return rc;
    add_bytes(out, 1, url);
    add_bytes(out, 2, buf_str(&inner));
    return OK;
}

static enum err encode_struct(const json_t *doc, struct buf *out, struct errinfo *err);

static enum err encode_struct_value(const json_t *doc, struct buf *out, struct errinfo *err)
{
    AUTO(buf) struct buf inner = {0};
    enum err rc = OK;
    if (json_is_number(doc)) {
        add_double(out, 2, json_number_value(doc));
    } else if (json_is_string(doc)) {
        add_bytes(out, 3, text_of(doc));
    } else if (json_is_boolean(doc)) {
        add_tag(out, 4, WIRE_VARINT);
        add_varint(out, json_is_true(doc));
    } else {
        rc = encode_struct(doc, &inner, err);
        add_bytes(out, 5, buf_str(&inner));
    }
    return rc;
}

/* Struct: map<string, Value> fields = 1. Lists and null are not used here. */
static enum err encode_struct(const json_t *doc, struct buf *out, struct errinfo *err)
{
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "lists and null in a Struct are not supported");
    for (void *iter = first_member(doc); iter != NULL; iter = next_member(doc, iter)) {
        AUTO(buf) struct buf entry = {0}, inner = {0};
        enum err rc = encode_struct_value(json_object_iter_value(iter), &inner, err);
        if (rc != OK)
            return err_wrap(err, rc, "'%s'", json_object_iter_key(iter));
        add_bytes(&entry, 1, str_from(json_object_iter_key(iter)));
        add_bytes(&entry, 2, buf_str(&inner));
        add_bytes(out, 1, buf_str(&entry));
    }
    return OK;
}

/* UInt32Value, BoolValue, DoubleValue: the bare value. */
static bool is_wrapper(const char *name)
{
    return strcmp(name, "google.protobuf.UInt32Value") == 0 || strcmp(name, "google.protobuf.BoolValue") == 0 ||
           strcmp(name, "google.protobuf.DoubleValue") == 0;
}

/* ---- fields ---- */

static enum err encode_integer(const ProtobufCFieldDescriptor *f, const json_t *value, struct buf *out,
                               struct errinfo *err)
{
    bool is_unsigned = f->type == PROTOBUF_C_TYPE_UINT32 || f->type == PROTOBUF_C_TYPE_UINT64;
    if (!json_is_integer(value) || (is_unsigned && json_integer_value(value) < 0) ||
        (f->type == PROTOBUF_C_TYPE_UINT32 && json_integer_value(value) > UINT32_MAX))
        return err_set(err, ERR_INVALID, "must be %s integer", is_unsigned ? "a not negative" : "an");
    add_tag(out, f->id, WIRE_VARINT);
    add_varint(out, (uint64_t)json_integer_value(value));
    return OK;
}

static enum err encode_enum(const ProtobufCFieldDescriptor *f, const json_t *value, struct buf *out,
                            struct errinfo *err)
{
    const char *name = json_string_value(value);
    const ProtobufCEnumValue *v =
        name == NULL ? NULL : protobuf_c_enum_descriptor_get_value_by_name(f->descriptor, name);
    if (v == NULL)
        return err_set(err, ERR_INVALID, "'%s' is not a value that our .proto has", name == NULL ? "" : name);
    add_tag(out, f->id, WIRE_VARINT);
    add_varint(out, (uint64_t)v->value);
    return OK;
}

static enum err encode_scalar(const ProtobufCFieldDescriptor *f, const json_t *value, struct buf *out,
                              struct errinfo *err)
{
    switch ((int)f->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        if (!json_is_string(value))
            return err_set(err, ERR_INVALID, "must be a text");
        add_bytes(out, f->id, text_of(value));
        return OK;
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value))
            return err_set(err, ERR_INVALID, "must be true or false");
        add_tag(out, f->id, WIRE_VARINT);
        add_varint(out, json_is_true(value));
        return OK;
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!json_is_number(value))
            return err_set(err, ERR_INVALID, "must be a number");
        add_double(out, f->id, json_number_value(value));
        return OK;
    case PROTOBUF_C_TYPE_ENUM: return encode_enum(f, value, out, err);
    default: return encode_integer(f, value, out, err);
    }
}

static enum err encode_value(const ProtobufCFieldDescriptor *f, const json_t *value, struct buf *out,
                             struct errinfo *err)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return encode_scalar(f, value, out, err);
    AUTO(buf) struct buf inner = {0};
    enum err rc = encode_message(f->descriptor, value, &inner, err);
    if (rc == OK)
        add_bytes(out, f->id, buf_str(&inner));
    return rc;
}

/* A map is an object in JSON and repeated entries on the wire. */
static enum err encode_map(const ProtobufCFieldDescriptor *f, const json_t *map, struct buf *out, struct errinfo *err)
{
    const ProtobufCMessageDescriptor *entry_type = f->descriptor;
    const ProtobufCFieldDescriptor *value_field = protobuf_c_message_descriptor_get_field(entry_type, 2);
    for (void *iter = first_member(map); iter != NULL; iter = next_member(map, iter)) {
        AUTO(buf) struct buf entry = {0};
        add_bytes(&entry, 1, str_from(json_object_iter_key(iter)));
        enum err rc = encode_value(value_field, json_object_iter_value(iter), &entry, err);
        if (rc != OK)
            return err_wrap(err, rc, "'%s'", json_object_iter_key(iter));
        add_bytes(out, f->id, buf_str(&entry));
    }
    return OK;
}

static enum err encode_field(const ProtobufCFieldDescriptor *f, const json_t *value, struct buf *out,
                             struct errinfo *err)
{
    const json_t *item;
    size_t i;
    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return encode_value(f, value, out, err);
    if (json_is_object(value))
        return encode_map(f, value, out, err);
    if (!json_is_array(value))
        return err_set(err, ERR_INVALID, "must be a list");
    json_array_foreach(value, i, item)
    {
        enum err rc = encode_value(f, item, out, err);
        if (rc != OK)
            return err_wrap(err, rc, "[%zu]", i);
    }
    return OK;
}

static enum err encode_object(const ProtobufCMessageDescriptor *type, const json_t *doc, struct buf *out,
                              struct errinfo *err)
{
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "must be an object (%s)", type->name);
    for (void *iter = first_member(doc); iter != NULL; iter = next_member(doc, iter)) {
        const char *key = json_object_iter_key(iter);
        if (strcmp(key, "@type") == 0)
            continue;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(type, key);
        if (f == NULL)
            return err_set(err, ERR_INVALID, "our .proto of '%s' has no field '%s'", type->name, key);
        enum err rc = encode_field(f, json_object_iter_value(iter), out, err);
        if (rc != OK)
            return err_wrap(err, rc, "'%s'", key);
    }
    return OK;
}

static enum err encode_message(const ProtobufCMessageDescriptor *type, const json_t *doc, struct buf *out,
                               struct errinfo *err)
{
    if (strcmp(type->name, "google.protobuf.Duration") == 0)
        return encode_duration(doc, out, err);
    if (strcmp(type->name, "google.protobuf.Any") == 0)
        return encode_any(doc, out, err);
    if (strcmp(type->name, "google.protobuf.Struct") == 0)
        return encode_struct(doc, out, err);
    if (is_wrapper(type->name))
        return encode_scalar(&type->fields[0], doc, out, err);
    return encode_object(type, doc, out, err);
}

enum err proto_json_encode(struct str type_url, const json_t *doc, struct buf *out, struct errinfo *err)
{
    if (str_starts(type_url, STR(URL_PREFIX)))
        for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++)
            if (str_eq_c(str_slice(type_url, sizeof(URL_PREFIX) - 1, type_url.len), TYPES[i]->name))
                return encode_object(TYPES[i], doc, out, err);
    return err_set(err, ERR_INVALID, "we have no .proto for '%.*s'", STR_ARG(type_url));
}
