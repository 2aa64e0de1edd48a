#include "node/network/ruleset.h"

#include <arpa/inet.h>

/* Where a guest never goes. IPv4: "this network", private, shared (other guests' too), loopback, link-local (metadata
 * services), multicast, reserved. IPv6: ULA (the platform itself), link-local, multicast, loopback, and the ranges
 * that carry an IPv4 address inside (mapped, NAT64, 6to4). */
static const char PRIVATE4[] = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, "
                               "192.168.0.0/16, 224.0.0.0/4, 240.0.0.0/4";
static const char PRIVATE6[] = "::/96, ::ffff:0:0/96, 64:ff9b::/96, 2002::/16, fc00::/7, fe80::/10, ff00::/8";
/* Marks packets of guests on their way out, for masquerading. Lives only within this host. */
static const unsigned EGRESS_MARK = 0x736c7001;

static void add_guest_element(struct buf *out, const struct network_guest *g, const struct ip *ip)
{
    char mac[MAC_TEXT_SIZE], text[IP_TEXT_SIZE];
    mac_format(g->mac, mac);
    ip_format(ip, text);
    buf_addf(out, "\"%s\" . %s . %s", g->tap, mac, text);
}

static void add_set(struct buf *out, const char *name, bool six, const struct network_guest *guests, size_t guests_n)
{
    buf_addf(out, " set %s { type ifname . ether_addr . %s;", name, six ? "ipv6_addr" : "ipv4_addr");
    for (size_t i = 0; i < guests_n; i++) {
        buf_add_c(out, i == 0 ? " elements = { " : ", ");
        add_guest_element(out, &guests[i], six ? &guests[i].ipv6 : &guests[i].ipv4);
    }
    buf_addf(out, "%s }\n", guests_n == 0 ? "" : " }");
}

static void add_denied(struct buf *out, const struct ruleset *r, bool six)
{
    buf_addf(out, " set private%c { type %s; flags interval; auto-merge; elements = { %s", six ? '6' : '4',
             six ? "ipv6_addr" : "ipv4_addr", six ? PRIVATE6 : PRIVATE4);
    for (size_t i = 0; i < r->options.denied_n; i++)
        if ((strchr(r->options.denied[i], ':') != NULL) == six)
            buf_addf(out, ", %s", r->options.denied[i]);
    buf_add_c(out, " } }\n");
}

/* From a guest: only from its own tap with its own MAC and its own address; no ARP, no neighbour discovery, no VLANs:
 * both ends have permanent neighbours. Before connection tracking, so that a flood of forged sources fills nothing. */
static void add_origin(struct buf *out, const struct ruleset *r)
{
    buf_addf(out,
             " chain origin {\n"
             "  type filter hook prerouting priority raw; policy accept;\n"
             "  iifname != \"%s*\" accept\n"
             "  meta nfproto ipv6 iifname . ether saddr . ip6 saddr @guests6 accept\n"
             "  meta nfproto ipv4 iifname . ether saddr . ip saddr @guests4 accept\n"
             "  counter drop\n }\n",
             r->taps);
}

/* From the fabric to a guest's address. The order matters: what is a connection of node-proxy's stays with it; an
 * address without a live guest is reset, so that the edge sees a true connect failure; everything else is offered to
 * node-proxy; when that is down, tproxy falls through and the connection is reset. */
static void add_intercept(struct buf *out, const struct ruleset *r)
{
    char prefix[IP_TEXT_SIZE], node[IP_TEXT_SIZE];
    ip_format(&r->options.prefix, prefix);
    ip_format(&r->node, node);
    buf_addf(out,
             " chain intercept {\n"
             "  type filter hook prerouting priority mangle; policy accept;\n"
             "  iifname != \"%s\" accept\n"
             "  meta nfproto != ipv6 accept\n"
             "  ip6 daddr != %s/%u accept\n"
             "  ip6 daddr %s counter drop\n"
             "  ct direction reply ct state established,related accept\n"
             "  meta l4proto tcp socket transparent 1 meta mark set %u accept\n"
             "  meta l4proto tcp fib daddr type { unreachable, prohibit, blackhole } counter reject with tcp reset\n"
             "  meta l4proto tcp meta mark set %u tproxy ip6 to [::1]:%u accept\n"
             "  meta l4proto tcp counter reject with tcp reset\n"
             "  counter drop\n }\n",
             r->options.fabric, prefix, r->options.prefix.len, node, r->options.table, r->options.table,
             r->options.proxy_port);
}

static void add_filters(struct buf *out, const struct ruleset *r)
{
    char node[IP_TEXT_SIZE];
    ip_format(&r->node, node);
    buf_addf(out,
             " chain to_host {\n"
             "  type filter hook input priority filter; policy accept;\n"
             "  iifname != \"%s*\" accept\n"
             "  ct state established,related accept\n"
             "  ip6 daddr %s meta l4proto { tcp, udp } th dport 53 accept\n"
             "  ip6 daddr %s tcp dport %d accept\n"
             "  counter drop\n }\n",
             r->taps, node, node, NETWORK_EVENTS_PORT);
    buf_addf(out,
             " chain through {\n"
             "  type filter hook forward priority filter; policy accept;\n"
             "  oifname \"%s*\" ct direction reply ct state established,related accept\n"
             "  oifname \"slp*\" oifname != \"%s\" counter drop\n"
             "  iifname != \"%s*\" accept\n"
             "  ct direction reply ct state established,related accept\n"
             "  ip daddr @private4 counter drop\n"
             "  ip6 daddr @private6 counter drop\n"
             "  oifname != \"%s\" counter drop\n"
             "  meta mark set %u accept\n }\n",
             r->taps, r->options.fabric, r->taps, r->options.fabric, EGRESS_MARK);
    buf_addf(out,
             " chain egress {\n"
             "  type nat hook postrouting priority srcnat; policy accept;\n"
             "  meta mark %u oifname \"%s\" masquerade\n }\n",
             EGRESS_MARK, r->options.fabric);
}

void ruleset_full(const struct ruleset *r, const struct network_guest *guests, size_t guests_n, struct buf *out)
{
    buf_addf(out, "add table inet %s\ndelete table inet %s\nadd table arp %s\ndelete table arp %s\n", r->table,
             r->table, r->table, r->table);
    buf_addf(out,
             "table arp %s {\n chain to_host {\n  type filter hook input priority filter; policy accept;\n"
             "  iifname \"%s*\" counter drop\n }\n}\n",
             r->table, r->taps);
    buf_addf(out, "table inet %s {\n", r->table);
    add_set(out, "guests6", true, guests, guests_n);
    add_set(out, "guests4", false, guests, guests_n);
    add_denied(out, r, false);
    add_denied(out, r, true);
    add_origin(out, r);
    add_intercept(out, r);
    add_filters(out, r);
    buf_add_c(out, "}\n");
}

static void add_change(const struct ruleset *r, const char *verb, const struct network_guest *g, struct buf *out)
{
    buf_addf(out, "%s element inet %s guests6 { ", verb, r->table);
    add_guest_element(out, g, &g->ipv6);
    buf_addf(out, " }\n%s element inet %s guests4 { ", verb, r->table);
    add_guest_element(out, g, &g->ipv4);
    buf_add_c(out, " }\n");
}

void ruleset_add_guest(const struct ruleset *r, const struct network_guest *g, struct buf *out)
{
    add_change(r, "add", g, out);
}

void ruleset_delete_guest(const struct ruleset *r, const struct network_guest *g, struct buf *out)
{
    add_change(r, "add", g, out); /* deleting what is not there is an error; adding what is there is none */
    add_change(r, "delete", g, out);
}

void ruleset_delete(const struct ruleset *r, struct buf *out)
{
    buf_addf(out, "add table inet %s\ndelete table inet %s\nadd table arp %s\ndelete table arp %s\n", r->table,
             r->table, r->table, r->table);
}
