#include "node/network/network.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"
#include "node/network/ruleset.h"
#include "os/nft.h"

/* 100.64.0.0/10 without the first 256: .0.1 is the gateway (RFC 6598 for the range). */
#define IPV4_BASE 0x64400000u
#define IPV4_FIRST 256u
#define IPV4_LAST 0x3ffffeu
/* Below every route to a guest: an address without one is unreachable at once. */
#define UNREACHABLE_METRIC 4096
#define RULE_PRIORITY 6100

struct network {
    struct ruleset rules;
    char table[96], taps[8];
    char *installation, *fabric;
    char **denied;
    struct netlink *nl;
    struct nft *nft;
    struct network_guest *guests;
    size_t guests_n, guests_size;
};

static enum err options_check(const struct network_options *o, struct errinfo *err)
{
    if (o->prefix.family != AF_INET6 || o->prefix.len != 64)
        return err_set(err, ERR_INVALID, "the prefix of a node must be an IPv6 /64");
    if (o->fabric == NULL || o->fabric[0] == '\0')
        return err_set(err, ERR_INVALID, "a node with microVMs needs its fabric interface: set 'fabric_interface'");
    if (strlen(o->tag) != 4)
        return err_set(err, ERR_INVALID, "os_tag '%s' must have four characters", o->tag);
    for (const char *c = o->tag; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c))
            return err_set(err, ERR_INVALID, "os_tag '%s' must be letters and digits", o->tag);
    for (size_t i = 0; i < o->denied_n; i++) {
        struct ip net;
        if (!ip_parse(str_from(o->denied[i]), &net))
            return err_set(err, ERR_INVALID, "'%s' is not a network", o->denied[i]);
    }
    return OK;
}

enum err network_open(const struct network_options *o, struct network **ret_network, struct errinfo *err)
{
    enum err rc = options_check(o, err);
    if (rc != OK)
        return rc;
    struct network *n = mem_alloc(sizeof(*n));
    n->installation = mem_strdup(o->installation);
    n->fabric = mem_strdup(o->fabric);
    (void)snprintf(n->table, sizeof(n->table), "slipform_%.63s_%.4s", o->installation, o->tag);
    (void)snprintf(n->taps, sizeof(n->taps), "slp%.4s", o->tag);
    n->denied = mem_calloc(o->denied_n + 1, sizeof(*n->denied));
    for (size_t i = 0; i < o->denied_n; i++)
        n->denied[i] = mem_strdup(o->denied[i]);
    n->rules = (struct ruleset){.table = n->table, .taps = n->taps, .options = *o, .node = o->prefix};
    struct network_options *own = &n->rules.options;
    own->installation = n->installation;
    own->fabric = n->fabric;
    own->denied = (const char *const *)n->denied;
    own->tag = n->taps + 3;
    own->proxy_port = o->proxy_port == 0 ? NETWORK_PROXY_PORT_DEFAULT : o->proxy_port;
    own->table = o->table == 0 ? NETWORK_TABLE_DEFAULT : o->table;
    n->rules.node.bytes[15] = 1;
    n->rules.node.len = 128;
    rc = netlink_open(&n->nl, err);
    if (rc == OK)
        rc = nft_open(&n->nft, err);
    if (rc != OK) {
        network_close(n);
        return rc;
    }
    *ret_network = n;
    return OK;
}

void network_close(struct network *n)
{
    if (n == NULL)
        return;
    netlink_close(n->nl);
    nft_close(n->nft);
    for (char **d = n->denied; *d != NULL; d++)
        free(*d);
    free(n->denied);
    free(n->installation);
    free(n->fabric);
    free(n->guests);
    free(n);
}

struct ip network_node_ip(const struct network *n)
{
    return n->rules.node;
}

static struct network_guest *guest_find(const struct network *n, struct id id)
{
    for (size_t i = 0; i < n->guests_n; i++)
        if (id_eq(n->guests[i].id, id))
            return &n->guests[i];
    return NULL;
}

static void guest_keep(struct network *n, const struct network_guest *g)
{
    struct network_guest *old = guest_find(n, g->id);
    if (old != NULL) {
        *old = *g;
        return;
    }
    if (n->guests_n == n->guests_size) {
        n->guests_size = n->guests_size == 0 ? 16 : n->guests_size * 2;
        n->guests = mem_realloc(n->guests, n->guests_size * sizeof(*n->guests));
    }
    n->guests[n->guests_n++] = *g;
}

static void guest_drop(struct network *n, struct id id)
{
    struct network_guest *g = guest_find(n, id);
    if (g != NULL)
        *g = n->guests[--n->guests_n];
}

static enum err raise_node(struct network *n, struct errinfo *err)
{
    struct ip all = {.family = AF_INET6};
    struct route unreachable = {
        .to = n->rules.options.prefix, .type = ROUTE_UNREACHABLE, .priority = UNREACHABLE_METRIC};
    struct route proxy = {.to = all, .type = ROUTE_LOCAL, .link = "lo", .table = n->rules.options.table};
    uint32_t table = n->rules.options.table;
    enum err rc = netlink_link_up(n->nl, "lo", err);
    if (rc == OK)
        rc = netlink_sysctl("ipv6/conf/all/forwarding", "1", err);
    if (rc == OK)
        rc = netlink_sysctl("ipv4/ip_forward", "1", err);
    if (rc == OK)
        rc = netlink_address_add(n->nl, "lo", &n->rules.node, err);
    if (rc == OK)
        rc = netlink_route_add(n->nl, &unreachable, err);
    if (rc == OK)
        rc = netlink_route_add(n->nl, &proxy, err);
    if (rc == OK)
        rc = netlink_mark_rule_add(n->nl, AF_INET6, table, table, RULE_PRIORITY, err);
    return rc;
}

enum err network_raise(struct network *n, const struct network_guest *guests, size_t guests_n, struct errinfo *err)
{
    n->guests_n = 0;
    for (size_t i = 0; i < guests_n; i++)
        guest_keep(n, &guests[i]);
    AUTO(buf) struct buf script = {0};
    ruleset_full(&n->rules, guests, guests_n, &script);
    /* The rules first: nothing of a guest's passes a half-built node. */
    enum err rc = nft_run(n->nft, script.ptr, NULL, err);
    if (rc == OK)
        rc = raise_node(n, err);
    for (size_t i = 0; rc == OK && i < guests_n; i++)
        rc = network_guest_add(n, &guests[i], err);
    return rc != OK ? err_wrap(err, rc, "raise the network of the node") : OK;
}

static bool ipv4_is_taken(const struct network *n, const struct ip *ipv4, struct id id)
{
    for (size_t i = 0; i < n->guests_n; i++)
        if (ip_eq(&n->guests[i].ipv4, ipv4) && !id_eq(n->guests[i].id, id))
            return true;
    return false;
}

/* From its id, so that the same guest mostly has the same one; the next free one when that is taken. */
static bool ipv4_choose(const struct network *n, struct id id, uint32_t hash, struct ip *ret_ip)
{
    uint32_t range = IPV4_LAST - IPV4_FIRST + 1;
    for (uint32_t i = 0; i <= n->guests_n; i++) {
        uint32_t host = htonl(IPV4_BASE + IPV4_FIRST + (hash % range + i) % range);
        *ret_ip = (struct ip){.family = AF_INET, .len = 32};
        memcpy(ret_ip->bytes, &host, sizeof(host));
        if (!ipv4_is_taken(n, ret_ip, id))
            return true;
    }
    return false;
}

enum err network_guest_plan(const struct network *n, struct id id, const struct ip *ipv6,
                            struct network_guest *ret_guest, struct errinfo *err)
{
    char text[IP_TEXT_SIZE];
    ip_format(ipv6, text);
    if (ipv6->len != 128 || !ip_in(ipv6, &n->rules.options.prefix) || ip_eq(ipv6, &n->rules.node))
        return err_set(err, ERR_INVALID, "'%s' is not an address for a microVM of this node", text);
    uint8_t digest[HASH_SIZE];
    hash_bytes(id.bytes, sizeof(id.bytes), digest);
    struct network_guest g = {.id = id, .ipv6 = *ipv6, .mac = {0x02}};
    (void)snprintf(g.tap, sizeof(g.tap), "%s%02x%02x%02x%02x", n->taps, digest[0], digest[1], digest[2], digest[3]);
    memcpy(g.mac + 1, digest + 4, MAC_SIZE - 1);
    for (size_t i = 0; i < n->guests_n; i++)
        if (!id_eq(n->guests[i].id, id) && (ip_eq(&n->guests[i].ipv6, ipv6) || strcmp(n->guests[i].tap, g.tap) == 0))
            return err_set(err, ERR_CONFLICT, "another microVM of this node has the address '%s' or tap '%s'", text,
                           g.tap);
    uint32_t hash = 0;
    memcpy(&hash, digest + 12, sizeof(hash));
    if (!ipv4_choose(n, id, hash, &g.ipv4))
        return err_set(err, ERR_LIMIT, "no IPv4 address is left on this node");
    *ret_guest = g;
    return OK;
}

static enum err tap_make(struct network *n, const struct network_guest *g, struct errinfo *err)
{
    static const uint8_t GATEWAY_MAC[MAC_SIZE] = NETWORK_GATEWAY_MAC;
    int index = 0;
    struct errinfo not_there;
    if (netlink_link_index(n->nl, g->tap, &index, &not_there) == OK)
        return OK;
    enum err rc = netlink_tap_create(g->tap, 0, err);
    if (rc == OK)
        rc = netlink_link_set_no_link_local(n->nl, g->tap, err);
    if (rc == OK)
        rc = netlink_link_set_mac(n->nl, g->tap, GATEWAY_MAC, err);
    return rc;
}

static enum err tap_sysctls(const struct network_guest *g, struct errinfo *err)
{
    static const struct {
        const char *key, *value;
    } ROWS[] = {
        {"ipv6/conf/%s/accept_ra", "0"},  {"ipv6/conf/%s/accept_redirects", "0"}, {"ipv6/conf/%s/forwarding", "1"},
        {"ipv4/conf/%s/forwarding", "1"}, {"ipv4/conf/%s/send_redirects", "0"},   {"ipv4/conf/%s/rp_filter", "0"},
    };
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        char key[96];
        const char *s = strstr(ROWS[i].key, "%s");
        (void)snprintf(key, sizeof(key), "%.*s%s%s", (int)(s - ROWS[i].key), ROWS[i].key, g->tap, s + 2);
        rc = netlink_sysctl(key, ROWS[i].value, err);
    }
    return rc;
}

static enum err guest_allow(struct network *n, const struct network_guest *g, struct errinfo *err)
{
    AUTO(buf) struct buf script = {0};
    ruleset_add_guest(&n->rules, g, &script);
    return nft_run(n->nft, script.ptr, NULL, err);
}

enum err network_guest_add(struct network *n, const struct network_guest *g, struct errinfo *err)
{
    struct ip gateway;
    (void)ip_parse(STR("fe80::1/64"), &gateway);
    struct route to6 = {.to = g->ipv6, .link = g->tap, .source = n->rules.node};
    struct route to4 = {.to = g->ipv4, .link = g->tap};
    enum err rc = tap_make(n, g, err);
    if (rc == OK)
        rc = tap_sysctls(g, err);
    if (rc == OK)
        rc = guest_allow(n, g, err);
    if (rc == OK)
        rc = netlink_link_up(n->nl, g->tap, err);
    if (rc == OK)
        rc = netlink_address_add(n->nl, g->tap, &gateway, err);
    if (rc == OK)
        rc = netlink_neighbour_add(n->nl, g->tap, &g->ipv6, g->mac, err);
    if (rc == OK)
        rc = netlink_neighbour_add(n->nl, g->tap, &g->ipv4, g->mac, err);
    if (rc == OK)
        rc = netlink_route_add(n->nl, &to4, err);
    if (rc == OK) /* last: from here on connections are taken */
        rc = netlink_route_add(n->nl, &to6, err);
    if (rc != OK)
        return err_wrap(err, rc, "connect the microVM at '%s'", g->tap);
    guest_keep(n, g);
    return OK;
}

enum err network_guest_remove(struct network *n, const struct network_guest *g, struct errinfo *err)
{
    struct route to6 = {.to = g->ipv6, .link = g->tap};
    unsigned reset_n = 0;
    AUTO(buf) struct buf script = {0};
    ruleset_delete_guest(&n->rules, g, &script);
    /* Each step whatever became of the one before; the first failure is told. */
    enum err rc = netlink_route_delete(n->nl, &to6, err);
    struct errinfo later;
    enum err rc2 = netlink_sockets_destroy(&g->ipv6, &reset_n, rc == OK ? err : &later);
    rc = rc == OK ? rc2 : rc;
    rc2 = nft_run(n->nft, script.ptr, NULL, rc == OK ? err : &later);
    rc = rc == OK && rc2 != ERR_NOT_FOUND ? rc2 : rc; /* without a table nothing is allowed */
    rc2 = netlink_link_delete(n->nl, g->tap, rc == OK ? err : &later);
    rc = rc == OK ? rc2 : rc;
    guest_drop(n, g->id);
    return rc != OK ? err_wrap(err, rc, "disconnect the microVM at '%s'", g->tap) : OK;
}

struct lower {
    struct network *network;
    struct errinfo *err;
    enum err rc;
};

static void lower_link(const char *name, void *arg)
{
    struct lower *l = arg;
    struct errinfo ignored;
    enum err rc = netlink_link_delete(l->network->nl, name, l->rc == OK ? l->err : &ignored);
    l->rc = l->rc == OK ? rc : l->rc;
}

/* Another installation of this namespace may use the same mark and table. */
static bool table_is_shared(struct network *n)
{
    AUTO(buf) struct buf tables = {0};
    struct errinfo ignored;
    if (nft_run(n->nft, "list tables inet", &tables, &ignored) != OK)
        return false;
    return tables.len > 0 && strstr(tables.ptr, "table inet slipform_") != NULL;
}

enum err network_lower(struct network *n, struct errinfo *err)
{
    struct ip all = {.family = AF_INET6};
    struct route unreachable = {
        .to = n->rules.options.prefix, .type = ROUTE_UNREACHABLE, .priority = UNREACHABLE_METRIC};
    struct route proxy = {.to = all, .type = ROUTE_LOCAL, .link = "lo", .table = n->rules.options.table};
    uint32_t table = n->rules.options.table;
    struct lower l = {.network = n, .err = err};
    enum err rc = netlink_links_each(n->nl, n->taps, lower_link, &l, err);
    rc = rc == OK ? l.rc : rc;
    AUTO(buf) struct buf script = {0};
    ruleset_delete(&n->rules, &script);
    if (rc == OK)
        rc = nft_run(n->nft, script.ptr, NULL, err);
    if (rc == OK)
        rc = netlink_route_delete(n->nl, &unreachable, err);
    if (rc == OK)
        rc = netlink_address_delete(n->nl, "lo", &n->rules.node, err);
    if (rc == OK && !table_is_shared(n)) {
        rc = netlink_mark_rule_delete(n->nl, AF_INET6, table, table, RULE_PRIORITY, err);
        if (rc == OK)
            rc = netlink_route_delete(n->nl, &proxy, err);
    }
    n->guests_n = 0;
    return rc != OK ? err_wrap(err, rc, "lower the network of the node") : OK;
}
