#pragma once
/* node/network/resolver.h - the resolver of a node's microVMs on <prefix>::1, port 53: dnsmasq, supervised.
 * Layer: node (uses os). Thread: loop. It outlives the agent and is adopted. Why dnsmasq: docs/decisions/resolver.md */
#include <uv.h>

#include "base/log.h"
#include "os/netlink.h"

struct resolver;
struct resolver_options {
    uv_loop_t *loop;
    const struct logger *log; /* this and upstreams are borrowed while the resolver lives */
    const char *folder;       /* made; what finds it again */
    struct ip listen;
    const char *const *upstreams; /* addresses; none: those of /etc/resolv.conf */
    size_t upstreams_n;
};
/* Starts or adopts it, and keeps it running (again after 1 s). OK also while it does not come up: the log says so.
 * OK | ERR_IO */
must_check enum err resolver_start(const struct resolver_options *o, struct resolver **ret_resolver,
                                   struct errinfo *err);
/* Only find one of an earlier run, to end it. Returned; NULL when there is none. */
struct resolver *resolver_adopt(const struct resolver_options *o);
/* Stop watching; with `end` it is ended too. Frees itself when the loop has closed its handles. NULL is fine. */
void resolver_stop(struct resolver *r, bool end);
