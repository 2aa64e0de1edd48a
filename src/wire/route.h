#pragma once
/* wire/route.h - routes: what an edge follows at GET /v1/routes
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md */
#include "event/fields.h"

/* A host name and the certificate for it. */
struct route_host {
    struct str host;          /* lower case */
    struct id certificate_id; /* GET /v1/certificates/{id}; none: not issued yet */
};
extern const struct field_table ROUTE_HOST_WIRE;

/* One instance that may be sent requests. */
struct route_endpoint {
    struct id instance_id; /* instance */
    struct str address;    /* its IPv6 */
    int64_t port;          /* that it listens on */
    struct str node;       /* name of its node */
    struct str node_dns;   /* name in the certificate of its node-proxy: <node>.node.<installation> */
    bool healthy;          /* running and NOMINAL */
};
extern const struct field_table ROUTE_ENDPOINT_WIRE;

/* One project that is live. removed[] of the document has route_ids. */
struct route {
    struct id route_id;       /* = project id, or that of an application's process */
    struct str project;       /* slug */
    struct id deployment_id;  /* that serves */
    struct objects hosts;     /* of struct route_host: names */
    struct objects endpoints; /* of struct route_endpoint: instances */
};
extern const struct field_table ROUTE_WIRE;

/* GET /v1/certificates/{id}: chain and key of one host, for role edge only. */
struct certificate_bundle {
    struct id certificate_id; /* certificate */
    struct str host;          /* host */
    struct str chain_pem;     /* leaf first */
    struct str key_pem;       /* private key */
    struct str not_after;     /* RFC 3339 */
};
extern const struct field_table CERTIFICATE_WIRE;
