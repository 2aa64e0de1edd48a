#include "wire/route.h"

#include <stddef.h>

static const struct field ROUTE_HOST_FIELDS[] = {
    FIELD_REQ(STR, route_host, host, "host", "lower case"),
    FIELD_OPT(ID, route_host, certificate_id, "certificate_id", "GET /v1/certificates/{id}; none: not issued yet"),
};
const struct field_table ROUTE_HOST_WIRE = FIELD_TABLE(route_host, ROUTE_HOST_FIELDS);

static const struct field ROUTE_ENDPOINT_FIELDS[] = {
    FIELD_REQ(ID, route_endpoint, instance_id, "instance_id", "instance"),
    FIELD_REQ(STR, route_endpoint, address, "address", "its IPv6"),
    FIELD_REQ(I64, route_endpoint, port, "port", "that it listens on"),
    FIELD_REQ(STR, route_endpoint, node, "node", "name of its node"),
    FIELD_REQ(STR, route_endpoint, node_dns, "node_dns",
              "name in the certificate of its node-proxy: <node>.node.<installation>"),
    FIELD_OPT(BOOL, route_endpoint, healthy, "healthy", "running and NOMINAL"),
};
const struct field_table ROUTE_ENDPOINT_WIRE = FIELD_TABLE(route_endpoint, ROUTE_ENDPOINT_FIELDS);

static const struct field ROUTE_FIELDS[] = {
    FIELD_REQ(ID, route, route_id, "route_id", "project, or process of an application"),
    FIELD_REQ(STR, route, project, "project", "slug"),
    FIELD_REQ(ID, route, deployment_id, "deployment_id", "that serves; of an application: its process"),
    FIELD_SUB(OBJECTS, route, hosts, "hosts", ROUTE_HOST_WIRE, "names"),
    FIELD_SUB(OBJECTS, route, endpoints, "endpoints", ROUTE_ENDPOINT_WIRE, "instances"),
};
const struct field_table ROUTE_WIRE = FIELD_TABLE(route, ROUTE_FIELDS);

static const struct field CERTIFICATE_FIELDS[] = {
    FIELD_REQ(ID, certificate_bundle, certificate_id, "certificate_id", "certificate"),
    FIELD_REQ(STR, certificate_bundle, host, "host", "host"),
    FIELD_REQ(STR, certificate_bundle, chain_pem, "chain_pem", "leaf first"),
    FIELD_REQ(STR, certificate_bundle, key_pem, "key_pem", "private key"),
    FIELD_OPT(STR, certificate_bundle, not_after, "not_after", "RFC 3339"),
};
const struct field_table CERTIFICATE_WIRE = FIELD_TABLE(certificate_bundle, CERTIFICATE_FIELDS);
