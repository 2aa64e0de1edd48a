#pragma once
/* edge/publish.h - fills the catalogue from the route map, as far as Envoy asks for it, and keeps what is in it
 * current. Layer: edge. No I/O: certificates are asked for by a callback. */
#include "base/err.h"
#include "edge/route_map/catalogue.h"
#include "edge/route_map/resources.h"
#include "edge/route_map/rollout.h"
#include "edge/route_map/route_map.h"

/* Names in the catalogue that nobody has (SNI and hosts that strangers made up): beyond it they get no answer, so that
 * they fill neither our memory nor Envoy's (chosen, never measured). */
#define PUBLISH_UNKNOWN_MAX 20000

/* Names of the secrets that are not certificates of hosts. */
#define SECRET_IDENTITY "slipform-identity"
#define SECRET_TRUST "slipform-trust"
#define SECRET_FALLBACK "slipform-fallback"

struct publish_options {
    struct catalogue *catalogue; /* borrowed */
    struct route_map *map;       /* borrowed */
    struct resource_shape shape;
    /* Get the certificate of a host and call publish_certificate, now or later. */
    void (*on_certificate_wanted)(void *ctx, struct str host, struct id certificate_id);
    /* A resource could not be encoded: a mistake of ours or a text that Envoy's messages cannot carry. */
    void (*on_problem)(void *ctx, const struct errinfo *err);
    void *ctx;
};

struct publish;
struct publish *publish_new(const struct publish_options *o);
void publish_free(struct publish *p);
/* What does not depend on routes. http may be NULL: no redirect. */
void publish_listeners(struct publish *p, const struct resource_listener *https, const struct resource_listener *http,
                       int64_t https_public_port);
void publish_identity(struct publish *p, struct str chain_pem, struct str key_pem, struct str ca_pem);
/* For names that nobody has, and for clients that name none. */
void publish_fallback(struct publish *p, struct str chain_pem, struct str key_pem);
void publish_certificate(struct publish *p, struct str host, struct str chain_pem, struct str key_pem);
/* xds_server's on_wanted. */
void publish_wanted(struct publish *p, enum xds_type type, struct str name, bool is_held);
/* The map changed: what of it is in the catalogue follows. */
void publish_changes(struct publish *p, const struct route_changes *changes);
