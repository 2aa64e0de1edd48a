#include "guest/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/encode.h"
#include "base/own.h"

#define INTERFACE "eth0"

struct request {
    struct nlmsghdr header;
    char body[512];
};

struct address {
    int family;
    uint8_t bytes[16];
    size_t size;
};

static void request_init(struct request *r, uint16_t type, const void *body, size_t size)
{
    *r = (struct request){.header = {.nlmsg_type = type,
                                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
                                     .nlmsg_len = (uint32_t)NLMSG_LENGTH(size)}};
    memcpy(NLMSG_DATA(&r->header), body, size);
}

static void request_add(struct request *r, uint16_t type, const void *value, size_t size)
{
    struct rtattr *a = (struct rtattr *)(void *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));
    a->rta_type = type;
    a->rta_len = (uint16_t)RTA_LENGTH(size);
    memcpy(RTA_DATA(a), value, size);
    r->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->header.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static enum err request_send(int fd, const struct request *r, const char *what, struct errinfo *err)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[1024];
    } answer;
    if (send(fd, r, r->header.nlmsg_len, 0) < 0 ||
        recv(fd, &answer, sizeof(answer), 0) < (ssize_t)sizeof(answer.header))
        return err_set_os(err, ERR_IO, errno, "%s", what);
    if (answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error != 0)
        return err_set_os(err, ERR_IO, -answer.error.error, "%s", what);
    return OK;
}

static enum err parse_address(struct str text, int family, struct address *ret, struct errinfo *err)
{
    char copy[INET6_ADDRSTRLEN];
    *ret = (struct address){.family = family, .size = family == AF_INET6 ? 16 : 4};
    if (!str_copy_to(text, copy, sizeof(copy)) || inet_pton(family, copy, ret->bytes) != 1)
        return err_set(err, ERR_INVALID, "'%.*s' is not an address", STR_ARG(text));
    return OK;
}

static enum err add_address(int fd, int index, const struct address *a, struct errinfo *err)
{
    struct request r;
    struct ifaddrmsg m = {.ifa_family = (uint8_t)a->family,
                          .ifa_prefixlen = (uint8_t)(a->size * 8),
                          .ifa_flags = IFA_F_NODAD,
                          .ifa_index = (uint32_t)index};
    request_init(&r, RTM_NEWADDR, &m, sizeof(m));
    request_add(&r, IFA_LOCAL, a->bytes, a->size);
    request_add(&r, IFA_ADDRESS, a->bytes, a->size);
    return request_send(fd, &r, "set an address", err);
}

static enum err add_neighbour(int fd, int index, const struct address *a, const uint8_t mac[6], struct errinfo *err)
{
    struct request r;
    struct ndmsg m = {.ndm_family = (uint8_t)a->family, .ndm_ifindex = index, .ndm_state = NUD_PERMANENT};
    request_init(&r, RTM_NEWNEIGH, &m, sizeof(m));
    request_add(&r, NDA_DST, a->bytes, a->size);
    request_add(&r, NDA_LLADDR, mac, 6);
    return request_send(fd, &r, "set the gateway's neighbour", err);
}

/* To `to` on the link, or by `gateway` to everywhere. */
static enum err add_route(int fd, int index, const struct address *to, const struct address *gateway,
                          struct errinfo *err)
{
    const struct address *any = to != NULL ? to : gateway;
    struct request r;
    struct rtmsg m = {.rtm_family = (uint8_t)any->family,
                      .rtm_dst_len = to != NULL ? (uint8_t)(to->size * 8) : 0,
                      .rtm_table = RT_TABLE_MAIN,
                      .rtm_protocol = RTPROT_BOOT,
                      .rtm_scope = to != NULL && to->family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                      .rtm_type = RTN_UNICAST};
    request_init(&r, RTM_NEWROUTE, &m, sizeof(m));
    if (to != NULL)
        request_add(&r, RTA_DST, to->bytes, to->size);
    else
        request_add(&r, RTA_GATEWAY, gateway->bytes, gateway->size);
    request_add(&r, RTA_OIF, &index, sizeof(index));
    return request_send(fd, &r, "set a route", err);
}

static enum err set_family(int fd, int index, int family, struct str address, struct str gateway, const uint8_t *mac,
                           struct errinfo *err)
{
    struct address own, gw;
    if (str_is_empty(address))
        return OK;
    enum err rc = parse_address(address, family, &own, err);
    if (rc != OK || (rc = add_address(fd, index, &own, err)) != OK || str_is_empty(gateway))
        return rc;
    if ((rc = parse_address(gateway, family, &gw, err)) != OK)
        return rc;
    if (mac != NULL && (rc = add_neighbour(fd, index, &gw, mac, err)) != OK)
        return rc;
    if ((rc = add_route(fd, index, &gw, NULL, err)) != OK)
        return rc;
    return add_route(fd, index, NULL, &gw, err);
}

static enum err set_up(int fd, const char *name, struct errinfo *err)
{
    struct ifreq request = {0};
    (void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return err_set_os(err, ERR_IO, errno, "find interface '%s'", name);
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_set_os(err, ERR_IO, errno, "set interface '%s' up", name);
    return OK;
}

static void write_setting(const char *path, const char *value)
{
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, value, strlen(value)) < 0)
        (void)fprintf(stderr, "guest-init: cannot set '%s'\n", path);
}

/* No address but the given one, nothing learnt from whoever sends. */
static void quiet_ipv6(void)
{
    write_setting("/proc/sys/net/ipv6/conf/" INTERFACE "/accept_ra", "0");
    write_setting("/proc/sys/net/ipv6/conf/" INTERFACE "/autoconf", "0");
    write_setting("/proc/sys/net/ipv6/conf/" INTERFACE "/accept_dad", "0");
    write_setting("/proc/sys/net/ipv6/conf/" INTERFACE "/addr_gen_mode", "1");
    write_setting("/proc/sys/net/ipv4/ip_unprivileged_port_start",
                  "0"); /* as container engines do: users listen on 80 */
}

static bool parse_mac(struct str text, uint8_t ret_mac[6])
{
    for (size_t i = 0; i < 6; i++) {
        struct str digits;
        if (!str_next(&text, ':', &digits) || !hex_parse(digits, &ret_mac[i], 1))
            return false;
    }
    return text.ptr == NULL; /* nothing behind, not even a colon */
}

enum err network_set(const struct guest_config *c, struct errinfo *err)
{
    auto_close int ioctl_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0 || ioctl_fd < 0)
        return err_set_os(err, ERR_IO, errno, "open a netlink socket");
    enum err rc = set_up(ioctl_fd, "lo", err);
    if (rc != OK || (str_is_empty(c->ipv6_address) && str_is_empty(c->ipv4_address)))
        return rc;
    uint8_t mac[6];
    bool has_mac = !str_is_empty(c->gateway_mac);
    if (has_mac && !parse_mac(c->gateway_mac, mac))
        return err_set(err, ERR_INVALID, "'%.*s' is not a MAC address", STR_ARG(c->gateway_mac));
    quiet_ipv6();
    if ((rc = set_up(ioctl_fd, INTERFACE, err)) != OK)
        return rc;
    int index = (int)if_nametoindex(INTERFACE);
    rc = set_family(fd, index, AF_INET6, c->ipv6_address, c->ipv6_gateway, has_mac ? mac : NULL, err);
    if (rc != OK)
        return rc;
    return set_family(fd, index, AF_INET, c->ipv4_address, c->ipv4_gateway, has_mac ? mac : NULL, err);
}
