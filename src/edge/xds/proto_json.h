#pragma once
/* edge/xds/proto_json.h - Envoy's messages from their JSON form (the proto3 JSON mapping as far as Envoy's
 * configuration uses it), by the descriptors that protobuf-c makes of xds/proto. So a resource is written as Envoy's
 * documentation writes it, and a name that is not in our .proto files is an error and not silently left out. Layer:
 * edge. */
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "edge/route_map/catalogue.h"

/* Append the wire bytes of the message of a type URL ("type.googleapis.com/envoy...").
 * OK | ERR_INVALID unknown type, unknown field, or a value that does not fit, with its path. */
must_check enum err proto_json_encode(struct str type_url, const json_t *doc, struct buf *out, struct errinfo *err);
