#include "install/host_network.h"

#include <stdio.h>
#include <unistd.h>

#include "base/own.h"
#include "os/file.h"
#include "os/run.h"

static enum err ip_batch(const char *netns, struct buf *commands, struct errinfo *err)
{
    static const char *const ARGV[] = {"ip", "-batch", "-", NULL};
    enum err rc = run_program(
        &(struct run_options){.argv = ARGV, .stdin_text = buf_str(commands), .netns = netns, .timeout_ms = 20000}, NULL,
        err);
    return rc == OK ? OK
                    : err_wrap(err, rc, "while setting up the network%s%s", netns != NULL ? " of " : "",
                               netns != NULL ? netns : "");
}

static const char *bridge_name(const struct home *h, char ret[static 32])
{
    (void)snprintf(ret, 32, "slp%.*sbr", STR_ARG(h->inst.os_tag));
    return ret;
}

static bool link_exists(const char *name)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/sys/class/net/%s", name);
    return access(path, F_OK) == 0;
}

static bool namespace_exists(const char *name)
{
    char path[192];
    (void)snprintf(path, sizeof(path), "/run/netns/%s", name);
    return access(path, F_OK) == 0;
}

static enum err write_sysctl(const char *path, const char *value, struct errinfo *err)
{
    FILE *f = fopen(path, "we");
    bool ok = f != NULL && fputs(value, f) >= 0;
    if (f != NULL)
        ok = fclose(f) == 0 && ok;
    return ok ? OK : err_set(err, ERR_IO, "can't write '%s' to '%s'", value, path);
}

static enum err bridge_up(const struct home *h, struct errinfo *err)
{
    char bridge[32], address[64], ipv4[32];
    bridge_name(h, bridge);
    AUTO(buf) struct buf c = {0};
    if (!link_exists(bridge))
        buf_addf(&c, "link add %s type bridge\n", bridge);
    buf_addf(&c, "link set %s up\naddr replace %s/64 dev %s nodad\naddr replace %s/24 dev %s\n", bridge,
             home_fabric_address(h, NULL, address), bridge, home_fabric_ipv4(h, NULL, ipv4), bridge);
    return ip_batch(NULL, &c, err);
}

/* The machine's side of a host that is a namespace: its namespace, a veth pair into it, the route to its microVMs. */
static enum err link_up(const struct home *h, const struct installation_node *n, struct errinfo *err)
{
    char bridge[32], ns[128], link[32], address[64];
    bridge_name(h, bridge);
    home_namespace(h, n, ns);
    (void)snprintf(link, sizeof(link), "slp%.*sf%lld", STR_ARG(h->inst.os_tag), (long long)n->number);
    AUTO(buf) struct buf c = {0};
    if (!namespace_exists(ns))
        buf_addf(&c, "netns add %s\n", ns);
    if (!link_exists(link))
        buf_addf(&c, "link add %s type veth peer name slpfab netns %s\n", link, ns);
    buf_addf(&c, "link set %s master %s up\n", link, bridge);
    if (!home_is_operator(n))
        buf_addf(&c, "route replace %.*s:%llx::/64 via %s dev %s\n", STR_ARG(h->inst.prefix), (long long)n->number,
                 home_fabric_address(h, n, address), bridge);
    return ip_batch(NULL, &c, err);
}

/* An operator leads requests to the microVMs of every worker. */
static void routes_to_workers(const struct home *h, struct buf *commands)
{
    char address[64];
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        if (!home_is_operator(n) && n->has_namespace)
            buf_addf(commands, "route replace %.*s:%llx::/64 via %s dev slpfab\n", STR_ARG(h->inst.prefix),
                     (long long)n->number, home_fabric_address(h, n, address));
    }
}

static enum err inside_up(const struct home *h, const struct installation_node *n, struct errinfo *err)
{
    char ns[128], address[64], ipv4[32], gateway[32];
    AUTO(buf) struct buf c = {0};
    buf_addf(&c,
             "link set lo up\nlink set slpfab up\naddr replace %s/64 dev slpfab nodad\naddr replace %s/24 dev slpfab\n",
             home_fabric_address(h, n, address), home_fabric_ipv4(h, n, ipv4));
    buf_addf(&c, "route replace default via %s dev slpfab\n", home_fabric_ipv4(h, NULL, gateway));
    if (home_is_operator(n))
        routes_to_workers(h, &c);
    return ip_batch(home_namespace(h, n, ns), &c, err);
}

/* The interface of the default route, IPv4 first; empty when there is none (then there is no egress, and nothing to
 * do). */
static void egress_interface(char ret[static 32])
{
    static const char *const ARGV[] = {"ip", "-o", "route", "show", "default", NULL};
    AUTO(buf) struct buf out = {0};
    ret[0] = '\0';
    if (run_program(&(struct run_options){.argv = ARGV}, &out, NULL) != OK)
        return;
    struct str rest = buf_str(&out), word;
    bool is_next = false;
    while (str_next(&rest, ' ', &word)) {
        if (is_next) {
            (void)str_copy_to(str_trim(word), ret, 32);
            return;
        }
        is_next = str_eq(word, STR("dev"));
    }
}

/* IPv4 forwarding between the fabric and the way out, by interface: the machine's global switch stays as it is.
 * What the way out had is remembered, for `down`. */
static enum err forwarding_up(const struct home *h, struct errinfo *err)
{
    char bridge[32], egress[32], path[PATH_SIZE], memory[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/forwarding", bridge_name(h, bridge));
    enum err rc = write_sysctl(path, "1", err);
    egress_interface(egress);
    if (rc != OK || egress[0] == '\0')
        return rc;
    (void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/forwarding", egress);
    AUTO(buf) struct buf was = {0};
    rc = file_read(path, 64, &was, err);
    if (rc != OK)
        return rc;
    if (str_eq(str_trim(buf_str(&was)), STR("1")))
        return OK;
    rc = file_replace(home_path(h, memory, "run/forwarding-enabled-on"), str_from(egress), 0600, err);
    return rc == OK ? write_sysctl(path, "1", err) : rc;
}

static bool other_installations(const struct home *h)
{
    static const char *const ARGV[] = {"ip", "-o", "link", "show", "type", "bridge", NULL};
    AUTO(buf) struct buf out = {0};
    if (run_program(&(struct run_options){.argv = ARGV}, &out, NULL) != OK)
        return true;
    char bridge[32];
    bridge_name(h, bridge);
    struct str rest = buf_str(&out), line;
    while (str_next(&rest, '\n', &line)) {
        size_t at = str_find(line, ' ');
        struct str name = at < line.len ? str_slice(line, at + 1, line.len) : line;
        if (str_starts(name, STR("slp")) && !str_starts(name, str_from(bridge)))
            return true;
    }
    return false;
}

static void forwarding_down(const struct home *h)
{
    char memory[PATH_SIZE], path[PATH_SIZE];
    AUTO(buf) struct buf egress = {0};
    if (file_read(home_path(h, memory, "run/forwarding-enabled-on"), 64, &egress, NULL) != OK)
        return;
    (void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%.*s/forwarding", STR_ARG(str_trim(buf_str(&egress))));
    if (!other_installations(h))
        err_ignore(write_sysctl(path, "0", NULL)); /* the interface may be gone */
    (void)unlink(memory);
}

/* Egress by masquerade; nothing of the machine's own is reachable over the fabric by IPv4 (our programs meet by IPv6),
 * so that a guest, whose packets look like its node's, reaches the world and not the machine. */
static enum err nat_up(const struct home *h, struct errinfo *err)
{
    char table[128], bridge[32];
    home_table(h, table);
    bridge_name(h, bridge);
    long long o = h->inst.fabric_ipv4_octet;
    AUTO(buf) struct buf rules = {0};
    buf_addf(&rules,
             "table inet %s_fabric\ndelete table inet %s_fabric\ntable inet %s_fabric {\n"
             " chain postrouting { type nat hook postrouting priority srcnat; policy accept;\n"
             "  ip saddr 100.127.%lld.0/24 ip daddr != 100.127.%lld.0/24 masquerade\n }\n"
             " chain input { type filter hook input priority filter; policy accept;\n"
             "  iifname \"%s\" meta nfproto ipv4 ct state established,related accept\n"
             "  iifname \"%s\" meta nfproto ipv4 drop\n }\n}\n",
             table, table, table, o, o, bridge, bridge);
    static const char *const ARGV[] = {"nft", "-f", "-", NULL};
    return run_program(&(struct run_options){.argv = ARGV, .stdin_text = buf_str(&rules)}, NULL, err);
}

enum err host_network_up(const struct home *h, struct errinfo *err)
{
    enum err rc = bridge_up(h, err);
    for (size_t i = 0; rc == OK && i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        if (!n->has_namespace)
            continue;
        rc = link_up(h, n, err);
        if (rc == OK)
            rc = inside_up(h, n, err);
    }
    if (rc == OK)
        rc = forwarding_up(h, err);
    return rc == OK ? nat_up(h, err) : rc;
}

enum err host_network_down(const struct home *h, struct errinfo *err)
{
    char bridge[32], table[160], name[128];
    (void)snprintf(table, sizeof(table), "%s_fabric", home_table(h, name));
    AUTO(buf) struct buf rules = {0};
    buf_addf(&rules, "table inet %s\ndelete table inet %s\n", table, table);
    static const char *const NFT[] = {"nft", "-f", "-", NULL};
    enum err rc = run_program(&(struct run_options){.argv = NFT, .stdin_text = buf_str(&rules)}, NULL, err);
    AUTO(buf) struct buf c = {0};
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        char link[32], ns[128];
        (void)snprintf(link, sizeof(link), "slp%.*sf%lld", STR_ARG(h->inst.os_tag), (long long)n->number);
        if (n->has_namespace && link_exists(link))
            buf_addf(&c, "link del %s\n", link);
        if (n->has_namespace && namespace_exists(home_namespace(h, n, ns)))
            buf_addf(&c, "netns del %s\n", ns);
    }
    if (link_exists(bridge_name(h, bridge)))
        buf_addf(&c, "link del %s\n", bridge);
    if (c.len > 0 && rc == OK)
        rc = ip_batch(NULL, &c, err);
    forwarding_down(h);
    return rc;
}

bool host_network_is_up(const struct home *h)
{
    char bridge[32], ns[128];
    if (!link_exists(bridge_name(h, bridge)))
        return false;
    for (size_t i = 0; i < h->inst.nodes.n; i++)
        if (home_node(h, i)->has_namespace && !namespace_exists(home_namespace(h, home_node(h, i), ns)))
            return false;
    return true;
}
