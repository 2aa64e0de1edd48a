#pragma once
/* edge/route_map/resources.h - a route as the resources that an Envoy takes, in the JSON form of Envoy's messages.
 * Layer: edge. Pure. Names: cluster and endpoints = route id; virtual host = "edge/<host>". */
#include <jansson.h>

#include "event/id.h"
#include "wire/route.h"

/* Name of the route configuration; before the slash in names of virtual hosts. */
#define RESOURCE_ROUTES "edge"
#define RESOURCE_HOST_PREFIX RESOURCE_ROUTES "/"

struct resource_shape {
    int64_t sticky_seconds; /* life of the sticky cookie; 0: none */
};

/* 16 characters of base64url: 96 bits of a SHA-256 of the instance's id, which is not an address and from which none
 * can be had. */
#define STICKY_NAME_SIZE 17
void resource_sticky_name(struct id instance_id, char ret_name[static STICKY_NAME_SIZE]);

/* All returned: json_decref. */
json_t *resource_cluster(const struct route *r);
/* Healthy instances only: the others are not sent requests. */
json_t *resource_endpoints(const struct route *r);
/* `host` is one name of the route's. */
json_t *resource_virtual_host(const struct resource_shape *shape, const struct route *r, struct str host);
/* For a name that some Envoy has held and that belongs to nobody any more; also the placeholder. */
json_t *resource_gone_host(struct str host);
/* The route configuration: all hosts come on demand. */
json_t *resource_routes(void);

struct resource_listener {
    const char *address; /* of the socket */
    int64_t port;
    bool is_proxy_protocol; /* a load balancer in front says who the client is */
};
json_t *resource_listener_https(const struct resource_listener *l);
/* https_port: where a redirect leads to. */
json_t *resource_listener_http(const struct resource_listener *l, int64_t https_port);

/* A certificate with its key, as PEM texts. */
json_t *resource_secret_certificate(struct str name, struct str chain_pem, struct str key_pem);
/* What peers' certificates must chain to. */
json_t *resource_secret_trust(struct str name, struct str ca_pem);
