#include "os/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/route/rule.h>
#include <sys/ioctl.h>

#include "base/mem.h"
#include "base/own.h"

struct netlink {
    struct nl_sock *sock;
};

static void addr_put(struct nl_addr **a)
{
    nl_addr_put(*a);
}
#define auto_addr __attribute__((cleanup(addr_put)))

static void link_put(struct rtnl_link **l)
{
    rtnl_link_put(*l);
}
#define auto_link __attribute__((cleanup(link_put)))

static enum err nl_fail(struct errinfo *err, int rc, const char *what, const char *name)
{
    int code = -rc;
    enum err kind = code == NLE_NODEV || code == NLE_OBJ_NOTFOUND ? ERR_NOT_FOUND
                    : code == NLE_PERM                            ? ERR_DENIED
                    : code == NLE_EXIST                           ? ERR_CONFLICT
                                                                  : ERR_IO;
    return err_set(err, kind, "%s '%s': %s", what, name, nl_geterror(rc));
}

bool ip_parse(struct str text, struct ip *ret_ip)
{
    char copy[IP_TEXT_SIZE + 4];
    uint64_t len = 0;
    size_t slash = str_find(text, '/');
    struct ip ip = {0};
    if (!str_copy_to(str_slice(text, 0, slash), copy, sizeof(copy)))
        return false;
    ip.family = strchr(copy, ':') != NULL ? AF_INET6 : AF_INET;
    unsigned full = ip.family == AF_INET6 ? 128 : 32;
    if (inet_pton(ip.family, copy, ip.bytes) != 1)
        return false;
    ip.len = full;
    if (slash < text.len) {
        if (!str_parse_u64(str_slice(text, slash + 1, text.len), full, &len))
            return false;
        ip.len = (unsigned)len;
    }
    *ret_ip = ip;
    return true;
}

void ip_format(const struct ip *ip, char ret_text[static IP_TEXT_SIZE])
{
    ret_text[0] = '\0';
    if (ip->family != 0)
        (void)inet_ntop(ip->family, ip->bytes, ret_text, IP_TEXT_SIZE);
}

static size_t ip_size(const struct ip *ip)
{
    return ip->family == AF_INET6 ? 16 : 4;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && a->len == b->len && memcmp(a->bytes, b->bytes, ip_size(a)) == 0;
}

bool ip_in(const struct ip *ip, const struct ip *net)
{
    if (ip->family != net->family)
        return false;
    for (unsigned i = 0; i < net->len; i++)
        if (((ip->bytes[i / 8] ^ net->bytes[i / 8]) >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

void mac_format(const uint8_t mac[static MAC_SIZE], char ret_text[static MAC_TEXT_SIZE])
{
    (void)snprintf(ret_text, MAC_TEXT_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                   mac[5]);
}

static struct nl_addr *addr_of(const struct ip *ip)
{
    struct nl_addr *a = nl_addr_build(ip->family, ip->bytes, ip_size(ip));
    if (a != NULL)
        nl_addr_set_prefixlen(a, (int)ip->len);
    return a;
}

enum err netlink_open(struct netlink **ret_nl, struct errinfo *err)
{
    struct nl_sock *sock = nl_socket_alloc();
    int rc = sock == NULL ? -NLE_NOMEM : nl_connect(sock, NETLINK_ROUTE);
    if (rc < 0) {
        nl_socket_free(sock);
        return nl_fail(err, rc, "open", "rtnetlink");
    }
    struct netlink *nl = mem_alloc(sizeof(*nl));
    nl->sock = sock;
    *ret_nl = nl;
    return OK;
}

void netlink_close(struct netlink *nl)
{
    if (nl == NULL)
        return;
    nl_socket_free(nl->sock);
    free(nl);
}

enum err netlink_tap_create(const char *name, uint32_t uid, struct errinfo *err)
{
    auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, ERR_IO, errno, "open '/dev/net/tun'");
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (!str_copy_to(str_from(name), req.ifr_name, sizeof(req.ifr_name)))
        return err_set(err, ERR_INVALID, "interface name '%s' is too long", name);
    if (ioctl(fd, TUNSETIFF, &req) != 0 || ioctl(fd, TUNSETPERSIST, 1UL) != 0 ||
        (uid != 0 && ioctl(fd, TUNSETOWNER, (unsigned long)uid) != 0))
        return err_set_os(err, ERR_IO, errno, "make tap '%s'", name);
    return OK;
}

static enum err link_get(struct netlink *nl, const char *name, struct rtnl_link **ret_link, struct errinfo *err)
{
    int rc = rtnl_link_get_kernel(nl->sock, 0, name, ret_link);
    return rc < 0 ? nl_fail(err, rc, "find link", name) : OK;
}

enum err netlink_link_index(struct netlink *nl, const char *name, int *ret_index, struct errinfo *err)
{
    auto_link struct rtnl_link *link = NULL;
    enum err rc = link_get(nl, name, &link, err);
    if (rc == OK)
        *ret_index = rtnl_link_get_ifindex(link);
    return rc;
}

static enum err link_change(struct netlink *nl, const char *name, struct rtnl_link *change, struct errinfo *err)
{
    auto_link struct rtnl_link *link = NULL;
    enum err rc = link_get(nl, name, &link, err);
    if (rc != OK)
        return rc;
    int nl_rc = rtnl_link_change(nl->sock, link, change, 0);
    return nl_rc < 0 ? nl_fail(err, nl_rc, "change link", name) : OK;
}

enum err netlink_link_up(struct netlink *nl, const char *name, struct errinfo *err)
{
    auto_link struct rtnl_link *change = rtnl_link_alloc();
    rtnl_link_set_flags(change, IFF_UP);
    return link_change(nl, name, change, err);
}

enum err netlink_link_set_mac(struct netlink *nl, const char *name, const uint8_t mac[static MAC_SIZE],
                              struct errinfo *err)
{
    auto_link struct rtnl_link *change = rtnl_link_alloc();
    auto_addr struct nl_addr *addr = nl_addr_build(AF_LLC, mac, MAC_SIZE);
    rtnl_link_set_addr(change, addr);
    return link_change(nl, name, change, err);
}

enum err netlink_link_set_no_link_local(struct netlink *nl, const char *name, struct errinfo *err)
{
    (void)nl;
    auto_free char *key = mem_printf("ipv6/conf/%s/addr_gen_mode", name);
    return netlink_sysctl(key, "1", err); /* IN6_ADDR_GEN_MODE_NONE */
}

enum err netlink_link_delete(struct netlink *nl, const char *name, struct errinfo *err)
{
    auto_link struct rtnl_link *link = rtnl_link_alloc();
    rtnl_link_set_name(link, name);
    int rc = rtnl_link_delete(nl->sock, link);
    return rc < 0 && rc != -NLE_NODEV && rc != -NLE_OBJ_NOTFOUND ? nl_fail(err, rc, "delete link", name) : OK;
}

enum err netlink_links_each(struct netlink *nl, const char *prefix, void (*fn)(const char *name, void *arg), void *arg,
                            struct errinfo *err)
{
    struct nl_cache *cache = NULL;
    int rc = rtnl_link_alloc_cache(nl->sock, AF_UNSPEC, &cache);
    if (rc < 0)
        return nl_fail(err, rc, "list", "links");
    for (struct nl_object *o = nl_cache_get_first(cache); o != NULL; o = nl_cache_get_next(o)) {
        const char *name = rtnl_link_get_name((struct rtnl_link *)o);
        if (name != NULL && str_starts(str_from(name), str_from(prefix)))
            fn(name, arg);
    }
    nl_cache_free(cache);
    return OK;
}

static enum err address_make(struct netlink *nl, const char *link, const struct ip *ip, struct rtnl_addr **ret_addr,
                             struct errinfo *err)
{
    int index = 0;
    enum err rc = netlink_link_index(nl, link, &index, err);
    if (rc != OK)
        return rc;
    auto_addr struct nl_addr *local = addr_of(ip);
    struct rtnl_addr *a = rtnl_addr_alloc();
    rtnl_addr_set_ifindex(a, index);
    if (ip->family == AF_INET6)
        rtnl_addr_set_flags(a, IFA_F_NODAD);
    (void)rtnl_addr_set_local(a, local);
    *ret_addr = a;
    return OK;
}

enum err netlink_address_add(struct netlink *nl, const char *link, const struct ip *ip, struct errinfo *err)
{
    struct rtnl_addr *a = NULL;
    enum err rc = address_make(nl, link, ip, &a, err);
    if (rc != OK)
        return rc;
    int nl_rc = rtnl_addr_add(nl->sock, a, NLM_F_REPLACE);
    rtnl_addr_put(a);
    return nl_rc < 0 && nl_rc != -NLE_EXIST ? nl_fail(err, nl_rc, "add an address to", link) : OK;
}

enum err netlink_address_delete(struct netlink *nl, const char *link, const struct ip *ip, struct errinfo *err)
{
    struct rtnl_addr *a = NULL;
    enum err rc = address_make(nl, link, ip, &a, err);
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc != OK)
        return rc;
    int nl_rc = rtnl_addr_delete(nl->sock, a, 0);
    rtnl_addr_put(a);
    bool gone = nl_rc == -NLE_NOADDR || nl_rc == -NLE_OBJ_NOTFOUND || nl_rc == -NLE_NODEV;
    return nl_rc < 0 && !gone ? nl_fail(err, nl_rc, "delete an address of", link) : OK;
}

static enum err route_make(struct netlink *nl, const struct route *r, struct rtnl_route **ret_route,
                           struct errinfo *err)
{
    static const uint8_t TYPES[] = {RTN_UNICAST, RTN_LOCAL, RTN_UNREACHABLE};
    int index = 0;
    enum err rc = r->link == NULL ? OK : netlink_link_index(nl, r->link, &index, err);
    if (rc != OK)
        return rc;
    struct rtnl_route *route = rtnl_route_alloc();
    auto_addr struct nl_addr *to = addr_of(&r->to);
    (void)rtnl_route_set_dst(route, to);
    rtnl_route_set_table(route, r->table == 0 ? RT_TABLE_MAIN : r->table);
    rtnl_route_set_scope(route, r->type == ROUTE_LOCAL                                ? RT_SCOPE_HOST
                                : r->to.family == AF_INET && r->type == ROUTE_UNICAST ? RT_SCOPE_LINK
                                                                                      : RT_SCOPE_UNIVERSE);
    rtnl_route_set_protocol(route, RTPROT_STATIC);
    (void)rtnl_route_set_type(route, TYPES[r->type]);
    if (r->priority != 0)
        rtnl_route_set_priority(route, r->priority);
    if (r->source.family != 0) {
        auto_addr struct nl_addr *source = addr_of(&r->source);
        (void)rtnl_route_set_pref_src(route, source);
    }
    if (r->link != NULL) {
        struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
        rtnl_route_nh_set_ifindex(hop, index);
        rtnl_route_add_nexthop(route, hop);
    }
    *ret_route = route;
    return OK;
}

enum err netlink_route_add(struct netlink *nl, const struct route *r, struct errinfo *err)
{
    struct rtnl_route *route = NULL;
    enum err rc = route_make(nl, r, &route, err);
    if (rc != OK)
        return rc;
    int nl_rc = rtnl_route_add(nl->sock, route, NLM_F_REPLACE);
    rtnl_route_put(route);
    char text[IP_TEXT_SIZE];
    ip_format(&r->to, text);
    return nl_rc < 0 && nl_rc != -NLE_EXIST ? nl_fail(err, nl_rc, "add a route to", text) : OK;
}

enum err netlink_route_delete(struct netlink *nl, const struct route *r, struct errinfo *err)
{
    struct rtnl_route *route = NULL;
    enum err rc = route_make(nl, r, &route, err);
    if (rc == ERR_NOT_FOUND)
        return OK; /* went with its link */
    if (rc != OK)
        return rc;
    int nl_rc = rtnl_route_delete(nl->sock, route, 0);
    rtnl_route_put(route);
    char text[IP_TEXT_SIZE];
    ip_format(&r->to, text);
    bool gone = nl_rc == -NLE_OBJ_NOTFOUND || nl_rc == -NLE_NODEV;
    return nl_rc < 0 && !gone ? nl_fail(err, nl_rc, "delete the route to", text) : OK;
}

enum err netlink_neighbour_add(struct netlink *nl, const char *link, const struct ip *ip,
                               const uint8_t mac[static MAC_SIZE], struct errinfo *err)
{
    int index = 0;
    enum err rc = netlink_link_index(nl, link, &index, err);
    if (rc != OK)
        return rc;
    auto_addr struct nl_addr *dst = addr_of(ip);
    auto_addr struct nl_addr *lladdr = nl_addr_build(AF_LLC, mac, MAC_SIZE);
    struct rtnl_neigh *n = rtnl_neigh_alloc();
    rtnl_neigh_set_ifindex(n, index);
    (void)rtnl_neigh_set_dst(n, dst);
    rtnl_neigh_set_lladdr(n, lladdr);
    rtnl_neigh_set_state(n, NUD_PERMANENT);
    int nl_rc = rtnl_neigh_add(nl->sock, n, NLM_F_CREATE | NLM_F_REPLACE);
    rtnl_neigh_put(n);
    return nl_rc < 0 ? nl_fail(err, nl_rc, "add a neighbour to", link) : OK;
}

static struct rtnl_rule *mark_rule(int family, uint32_t mark, uint32_t table, uint32_t priority)
{
    struct rtnl_rule *r = rtnl_rule_alloc();
    rtnl_rule_set_family(r, family);
    rtnl_rule_set_mark(r, mark);
    rtnl_rule_set_mask(r, UINT32_MAX);
    rtnl_rule_set_table(r, table);
    rtnl_rule_set_prio(r, priority);
    rtnl_rule_set_action(r, FR_ACT_TO_TBL);
    return r;
}

enum err netlink_mark_rule_add(struct netlink *nl, int family, uint32_t mark, uint32_t table, uint32_t priority,
                               struct errinfo *err)
{
    struct rtnl_rule *r = mark_rule(family, mark, table, priority);
    int rc = rtnl_rule_add(nl->sock, r, NLM_F_EXCL);
    rtnl_rule_put(r);
    return rc < 0 && rc != -NLE_EXIST ? nl_fail(err, rc, "add", "ip rule") : OK;
}

enum err netlink_mark_rule_delete(struct netlink *nl, int family, uint32_t mark, uint32_t table, uint32_t priority,
                                  struct errinfo *err)
{
    struct rtnl_rule *r = mark_rule(family, mark, table, priority);
    int rc = rtnl_rule_delete(nl->sock, r, 0);
    rtnl_rule_put(r);
    return rc < 0 && rc != -NLE_OBJ_NOTFOUND ? nl_fail(err, rc, "delete", "ip rule") : OK;
}

struct found_sockets {
    const struct ip *peer;
    struct inet_diag_sockid *items;
    size_t n, size;
};

static int on_socket(struct nl_msg *msg, void *arg)
{
    struct found_sockets *f = arg;
    const struct nlmsghdr *h = nlmsg_hdr(msg);
    if (nlmsg_datalen(h) < (int)sizeof(struct inet_diag_msg))
        return NL_SKIP;
    const struct inet_diag_msg *m = nlmsg_data(h);
    if (memcmp(m->id.idiag_dst, f->peer->bytes, ip_size(f->peer)) != 0)
        return NL_OK;
    if (f->n == f->size) {
        f->size = f->size == 0 ? 16 : f->size * 2;
        f->items = mem_realloc(f->items, f->size * sizeof(*f->items));
    }
    f->items[f->n++] = m->id;
    return NL_OK;
}

static struct inet_diag_req_v2 diag_request(const struct ip *peer)
{
    return (struct inet_diag_req_v2){
        .sdiag_family = (uint8_t)peer->family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = UINT32_MAX};
}

/* The ones that could be destroyed; a kernel without INET_DIAG_DESTROY answers EOPNOTSUPP. */
static unsigned destroy_found(struct nl_sock *sock, const struct found_sockets *f)
{
    unsigned n = 0;
    for (size_t i = 0; i < f->n; i++) {
        struct inet_diag_req_v2 req = diag_request(f->peer);
        req.id = f->items[i];
        if (nl_send_simple(sock, SOCK_DESTROY, NLM_F_ACK, &req, sizeof(req)) >= 0 && nl_wait_for_ack(sock) == 0)
            n++;
    }
    return n;
}

enum err netlink_sockets_destroy(const struct ip *peer, unsigned *ret_n, struct errinfo *err)
{
    *ret_n = 0;
    struct nl_sock *sock = nl_socket_alloc();
    struct found_sockets found = {.peer = peer};
    struct inet_diag_req_v2 req = diag_request(peer);
    int rc = sock == NULL ? -NLE_NOMEM : nl_connect(sock, NETLINK_SOCK_DIAG);
    if (rc >= 0)
        rc = nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, on_socket, &found);
    if (rc >= 0)
        rc = nl_send_simple(sock, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &req, sizeof(req));
    if (rc >= 0)
        rc = nl_recvmsgs_default(sock);
    if (rc >= 0)
        *ret_n = destroy_found(sock, &found);
    free(found.items);
    nl_socket_free(sock);
    return rc < 0 ? nl_fail(err, rc, "list", "sockets") : OK;
}

enum err netlink_sysctl(const char *key, const char *value, struct errinfo *err)
{
    auto_free char *path = mem_printf("/proc/sys/net/%s", key);
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, errno, "open '%s'", path);
    if (write(fd, value, strlen(value)) < 0)
        return err_set_os(err, ERR_IO, errno, "write '%s' to '%s'", value, path);
    return OK;
}
