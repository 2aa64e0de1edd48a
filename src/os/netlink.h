#pragma once
/* os/netlink.h - links, addresses, routes, neighbours, rules and sockets of the network namespace that we are in.
 * Layer: os (libnl-route-3). Blocking, but only on the kernel: microseconds. Adding what is there and deleting what is
 * gone are OK, so every caller may simply do it again. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define IP_TEXT_SIZE 46 /* INET6_ADDRSTRLEN */
#define MAC_SIZE 6
#define MAC_TEXT_SIZE 18

/* An address, or a network with len bits. */
struct ip {
    int family; /* AF_INET, AF_INET6; 0: none */
    unsigned len;
    uint8_t bytes[16];
};
/* "fd00::1", "10.0.0.0/8"; without "/" the full length. */
bool ip_parse(struct str text, struct ip *ret_ip);
/* Without the length. */
void ip_format(const struct ip *ip, char ret_text[static IP_TEXT_SIZE]);
bool ip_eq(const struct ip *a, const struct ip *b);
/* Same family, and the first net->len bits are those of net. */
bool ip_in(const struct ip *ip, const struct ip *net);
void mac_format(const uint8_t mac[static MAC_SIZE], char ret_text[static MAC_TEXT_SIZE]);

enum route_type { ROUTE_UNICAST, ROUTE_LOCAL, ROUTE_UNREACHABLE };
struct route {
    struct ip to;
    enum route_type type;
    const char *link;  /* NULL for ROUTE_UNREACHABLE */
    struct ip source;  /* preferred source; family 0: none */
    uint32_t table;    /* 0: main */
    uint32_t priority; /* metric; 0: the kernel's default */
};

struct netlink;
/* *ret_nl is returned: netlink_close. It stays with the namespace it was opened in. OK | ERR_IO */
must_check enum err netlink_open(struct netlink **ret_nl, struct errinfo *err);
void netlink_close(struct netlink *nl);

/* A persistent tap with a vnet header, down. Its owner may be another user (uid 0: root). */
must_check enum err netlink_tap_create(const char *name, uint32_t uid, struct errinfo *err);
/* OK | ERR_NOT_FOUND */
must_check enum err netlink_link_index(struct netlink *nl, const char *name, int *ret_index, struct errinfo *err);
must_check enum err netlink_link_up(struct netlink *nl, const char *name, struct errinfo *err);
must_check enum err netlink_link_set_mac(struct netlink *nl, const char *name, const uint8_t mac[static MAC_SIZE],
                                         struct errinfo *err);
/* No link-local address of its own; has to come before the link is up. */
must_check enum err netlink_link_set_no_link_local(struct netlink *nl, const char *name, struct errinfo *err);
must_check enum err netlink_link_delete(struct netlink *nl, const char *name, struct errinfo *err);
/* Every link whose name starts with prefix. The link may be deleted in fn. */
must_check enum err netlink_links_each(struct netlink *nl, const char *prefix, void (*fn)(const char *name, void *arg),
                                       void *arg, struct errinfo *err);

/* IPv6 addresses are usable at once (nodad). */
must_check enum err netlink_address_add(struct netlink *nl, const char *link, const struct ip *ip, struct errinfo *err);
must_check enum err netlink_address_delete(struct netlink *nl, const char *link, const struct ip *ip,
                                           struct errinfo *err);
must_check enum err netlink_route_add(struct netlink *nl, const struct route *route, struct errinfo *err);
must_check enum err netlink_route_delete(struct netlink *nl, const struct route *route, struct errinfo *err);
/* Permanent: no answer from the link can change it. */
must_check enum err netlink_neighbour_add(struct netlink *nl, const char *link, const struct ip *ip,
                                          const uint8_t mac[static MAC_SIZE], struct errinfo *err);
/* "fwmark <mark> lookup <table>". */
must_check enum err netlink_mark_rule_add(struct netlink *nl, int family, uint32_t mark, uint32_t table,
                                          uint32_t priority, struct errinfo *err);
must_check enum err netlink_mark_rule_delete(struct netlink *nl, int family, uint32_t mark, uint32_t table,
                                             uint32_t priority, struct errinfo *err);

/* Reset every TCP socket of this namespace whose peer is ip (ss -K). OK also where the kernel cannot: *ret_n is 0. */
must_check enum err netlink_sockets_destroy(const struct ip *peer, unsigned *ret_n, struct errinfo *err);
/* net.<key> of this namespace, e.g. "ipv6/conf/all/forwarding". */
must_check enum err netlink_sysctl(const char *key, const char *value, struct errinfo *err);
