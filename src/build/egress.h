#pragma once
/* build/egress.h - a build's way out: one IPv4 link with NAT from its own network namespace to the internet, and to
 * nothing of this machine or of private networks. Layer: build. Blocking.
 *
 * Nothing has to be cleaned up: the link ends with the namespace, the namespace with its last process, and the nftables
 * table (flag `owner`) with the process that holds the egress, also when that is killed. Names: link slpb<tag>, table
 * slipform_<installation>_build_<tag>. IPv6 stays closed. Left behind: IPv4 forwarding on the uplink. */
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* Resolvers of a host; glibc asks three, more are ignored (resolv.conf(5), MAXNS). */
#define EGRESS_RESOLVERS_MAX 3

struct egress_options {
    const char *installation;
    /* Destinations ("10.1.2.3", "10.1.0.0/16") that a build may reach though they are private: a mirror, a proxy. */
    const char *const *allowed;
    size_t allowed_n;
};

struct egress {
    char tag[9];
    char link[16];     /* on our side */
    char host_ip[16];  /* of the /30: its gateway */
    char build_ip[16]; /* of the build */
    char uplink[16];   /* "" when this machine has no default route: then there is no way out */
    unsigned mtu;
    char resolvers[EGRESS_RESOLVERS_MAX][16]; /* IPv4 */
    size_t resolvers_n;
    struct nft_ctx *nft; /* holds the table */
};

/* Choose names and addresses, read the machine's resolvers and uplink, make the table. In the machine's network
 * namespace. OK: egress_close | ERR_INVALID an option | ERR_IO. */
must_check enum err egress_open(const struct egress_options *o, struct egress *ret_egress, struct errinfo *err);
/* Make the link with its other end in the network namespace of `pid`. */
must_check enum err egress_connect(const struct egress *e, int pid, struct errinfo *err);
/* Inside that namespace: loopback, address and route, and this mount namespace's resolv.conf, written to
 * `resolv_conf_file` and mounted over /etc/resolv.conf. */
must_check enum err egress_enter(const struct egress *e, const char *resolv_conf_file, struct errinfo *err);
void egress_close(struct egress *e);

/* The rules of the table, as nft reads them. */
void egress_format_rules(const struct egress *e, const struct egress_options *o, struct buf *out);
/* IPv4 resolvers of a resolv.conf that can be reached from elsewhere than this machine. */
size_t egress_parse_resolvers(struct str resolv_conf, char ret_resolvers[EGRESS_RESOLVERS_MAX][16]);
