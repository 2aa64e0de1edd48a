#pragma once
/* edge/xds/server.h - delta ADS over gRPC (HTTP/2 without TLS) on a Unix socket of mode 0600, for the Envoys beside us.
 * Layer: edge. Thread: loop.
 *
 * Happy path: Envoy connects, opens the one stream DeltaAggregatedResources, names what it wants; xds_server_tick sends
 * what the catalogue has for it; Envoy acknowledges; and so on as the catalogue changes. Failures: other methods get
 * grpc-status 12; a message that is too big or not one ends the connection, Envoy comes again; a refusal is reported
 * and the rest goes on; a connection that dies takes its state along, the next one brings initial versions. */
#include <uv.h>

#include "base/err.h"
#include "edge/route_map/catalogue.h"
#include "edge/xds/delta.h"

/* 4 MiB: a reconnect with 10,000 names of 100 bytes and their versions is 1.5 MiB (chosen). */
#define XDS_MESSAGE_SIZE_MAX (4u * 1024u * 1024u)
/* Connections at once: one Envoy and its successor, and some to spare (chosen). */
#define XDS_CONNECTIONS_MAX 16

struct xds_server;

struct xds_server_options {
    uv_loop_t *loop;
    const char *path;            /* of the socket; an old one is removed. Copied */
    struct catalogue *catalogue; /* borrowed */
    /* Put this name into the catalogue, present or absent, now or later (then xds_server_tick). */
    void (*on_wanted)(void *ctx, enum xds_type type, struct str name, bool is_held);
    /* Each acknowledgement and refusal. */
    void (*on_event)(void *ctx, const struct delta_event *e);
    /* Something may have become settled or unsettled. */
    void (*on_change)(void *ctx);
    void *ctx;
};

must_check enum err xds_server_open(const struct xds_server_options *o, struct xds_server **ret_server,
                                    struct errinfo *err);
/* The catalogue changed: send what there is to send. */
void xds_server_tick(struct xds_server *s);
/* At least one stream, and every one of them has acknowledged everything (rollout_is_settled). */
bool xds_server_is_settled(const struct xds_server *s);
/* Streams that are open. */
size_t xds_server_streams(const struct xds_server *s);
/* Resources of a type that the last stream holds; refused ones of all types. */
size_t xds_server_held(const struct xds_server *s, enum xds_type type);
size_t xds_server_refused(const struct xds_server *s);
/* Frees itself once the loop has closed its handles. The socket file goes. NULL is fine. */
void xds_server_close(struct xds_server *s);
