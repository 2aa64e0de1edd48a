#pragma once
/* edge/node_proxy.h - the proxy of one worker: an Envoy with a static configuration, in the worker's network namespace.
 * It takes what the node's rules lead to it (TPROXY), checks that the peer is an edge of this installation, and goes on
 * to the original destination. It has no table of microVMs, so nothing has to be told to it. Layer: edge. Thread: loop.
 * Needs CAP_NET_ADMIN (transparent sockets), which Envoy inherits. */
#include <uv.h>

#include "base/err.h"
#include "base/log.h"

struct node_proxy;

/* Texts are borrowed and must outlive it. */
struct node_proxy_options {
    uv_loop_t *loop;
    const struct logger *log;
    const char *installation;
    const char *ca_file, *cert_file, *key_file; /* role node-proxy, with the DNS name <node>.node.<installation> */
    const char *run_dir;                        /* made when missing */
    const char *node_id;
    int64_t port; /* on ::1 */
    const char *envoy_binary;
    int64_t envoy_concurrency;
    void (*on_ready)(void *ctx, bool is_ready);
    void *ctx;
};

must_check enum err node_proxy_open(const struct node_proxy_options *o, struct node_proxy **ret_proxy,
                                    struct errinfo *err);
uint64_t node_proxy_envoy_restarts(const struct node_proxy *p);
bool node_proxy_is_live(const struct node_proxy *p);
/* Ends Envoy too, gracefully (a crash of ours leaves it). on_stopped once everything is closed. */
void node_proxy_stop(struct node_proxy *p, unsigned grace_ms, void (*on_stopped)(void *ctx), void *ctx);
