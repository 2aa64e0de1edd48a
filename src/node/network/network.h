#pragma once
/* node/network/network.h - the network of a node's microVMs: a routed tap each, an allow-list, egress, interception.
 * Layer: node (uses os). Blocking, on the kernel only. Everything is done in the network namespace of the agent.
 *
 * A guest has an IPv6 out of the node's /64, routed to its tap, and an IPv4 out of 100.64/10 that only exists on this
 * node. It reaches the node's resolver and the internet; nothing of the platform's, of other guests' or of private
 * ranges. TCP from the fabric to a guest is taken by node-proxy; where no live guest is, it is reset.
 * Names carry the installation and its tag, so that two installations can share one namespace.
 * What is kept where: docs/formats/node-agent.md. */
#include "event/id.h"
#include "os/netlink.h"

/* Our end of every tap: fe80::1 has this MAC, and so has the IPv4 gateway. Local, never on another wire. */
#define NETWORK_GATEWAY_MAC {0x02, 0x73, 0x6c, 0x70, 0x00, 0x01}
#define NETWORK_GATEWAY_IPV4 "100.64.0.1"
#define NETWORK_TAP_SIZE 16
/* Node-proxy listens there; the mark, the rule and the table carry TPROXYed packets to it (table 6100). */
#define NETWORK_PROXY_PORT_DEFAULT 6101
#define NETWORK_TABLE_DEFAULT 6100

struct network_options {
    const char *installation;  /* borrowed for the call, as everything here */
    const char *tag;           /* four characters in the names of links */
    struct ip prefix;          /* the /64 */
    const char *fabric;        /* link to the other hosts and to the internet */
    const char *const *denied; /* networks that guests must not reach beside the private ones */
    size_t denied_n;
    uint16_t proxy_port; /* 0: default */
    uint32_t table;      /* also the mark; 0: default */
};

struct network_guest {
    struct id id;
    char tap[NETWORK_TAP_SIZE];
    uint8_t mac[MAC_SIZE]; /* of the guest's end */
    struct ip ipv6, ipv4;
};

/* Where a node answers its microVMs that read and append events, on <prefix>::1 (chosen). */
#define NETWORK_EVENTS_PORT 7620

struct network;
/* *ret_network is returned: network_close. Nothing is changed yet. OK | ERR_INVALID options | ERR_UNAVAILABLE */
must_check enum err network_open(const struct network_options *o, struct network **ret_network, struct errinfo *err);
void network_close(struct network *n);
/* <prefix>::1: what guests see as the node and ask for names. */
struct ip network_node_ip(const struct network *n);

/* Raise, or raise again: addresses, routes, the rule, and the table in one transaction with the guests that are up
 * already (adopted ones: their taps are not touched). */
must_check enum err network_raise(struct network *n, const struct network_guest *guests, size_t guests_n,
                                  struct errinfo *err);
/* Choose tap, MAC and a free IPv4 for an instance. OK | ERR_INVALID not an address of this node
 * | ERR_CONFLICT another instance has that address | ERR_LIMIT no IPv4 left */
must_check enum err network_guest_plan(const struct network *n, struct id id, const struct ip *ipv6,
                                       struct network_guest *ret_guest, struct errinfo *err);
/* Make its tap with neighbours and routes and let it through. Doing it again mends what is missing. */
must_check enum err network_guest_add(struct network *n, const struct network_guest *g, struct errinfo *err);
/* Route first, so that new connections are reset; then its sockets, its rights, its tap. OK also when it is gone. */
must_check enum err network_guest_remove(struct network *n, const struct network_guest *g, struct errinfo *err);
/* Everything of this installation in this namespace goes: taps, table, rule, routes, address. */
must_check enum err network_lower(struct network *n, struct errinfo *err);
