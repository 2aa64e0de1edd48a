#pragma once
/* edge/edge.h - one edge: the route map, Envoy and its configuration server, the follower of the control plane, put
 * together. Layer: edge. Thread: loop.
 *
 * Happy path: the map of an earlier life is read from disk, Envoy is adopted or started and asks by ADS for what its
 * clients need; the control plane's news go into the map, to disk, to Envoy, and their cursor is confirmed once Envoy
 * has acknowledged all of it. With the control plane away everything known goes on being served, also after a restart
 * of ours or of Envoy. */
#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "edge/route_map/resources.h"
#include "edge/xds/delta.h"
#include "net/http_client.h"

struct edge;

/* Texts are borrowed and must outlive the edge. */
struct edge_options {
    uv_loop_t *loop;
    const struct logger *log;
    struct http_client *client;
    struct http_call_options call; /* TLS and the name of the management API */
    const char *const *management_urls;
    size_t management_urls_n;
    const char *ca_file, *cert_file, *key_file; /* role edge: towards the API and, by Envoy, towards node-proxies */
    const char *state_dir;                      /* made when missing: routes.json, certificates/, fallback.* */
    const char *run_dir;                        /* made when missing: Envoy's files and sockets */
    const char *node_id;                        /* as Envoy names itself */
    const char *envoy_binary;
    int64_t envoy_concurrency;
    struct resource_listener https;
    struct resource_listener http; /* port 0: none */
    int64_t https_public_port;     /* in redirects */
    int64_t sticky_seconds;
    void (*on_event)(void *ctx, const struct delta_event *e); /* for metrics */
    void (*on_ready)(void *ctx, bool is_ready);               /* is_ready may have changed */
    void *ctx;
};

must_check enum err edge_open(const struct edge_options *o, struct edge **ret_edge, struct errinfo *err);
/* Envoy is live and has acknowledged its listeners and all that it asked for at least once. */
bool edge_is_ready(const struct edge *e);

/* Somebody says that routes may be others: ask now, unless an answer is under way. */
void edge_hint(struct edge *e);

struct edge_numbers {
    size_t routes, hosts, streams, refused, held[XDS_TYPES_N], certificates_pending;
    uint64_t envoy_restarts;
    bool envoy_is_live, envoy_was_adopted, is_settled;
    int64_t answered_age_us;    /* since the control plane answered last; -1: never */
    int64_t unconfirmed_age_us; /* for how long the newest document has been waiting for Envoy; 0: confirmed */
};
void edge_numbers(const struct edge *e, struct edge_numbers *ret_numbers);

/* Ends Envoy too, gracefully within grace_ms (a crash of ours leaves it). on_stopped once everything is closed. */
void edge_stop(struct edge *e, unsigned grace_ms, void (*on_stopped)(void *ctx), void *ctx);
