#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/own.h"
#include "net/http_private.h"

struct host_port {
    char host[PEER_IP_SIZE];
    char port[8];
};

/* "1.2.3.4:80" or "[::1]:80" */
static bool split(const char *address, struct host_port *ret)
{
    struct str s = str_from(address);
    size_t colon = str_rfind(s, ':');
    uint64_t port = 0;
    if (colon == s.len || !str_parse_u64(str_slice(s, colon + 1, s.len), 65535, &port))
        return false;
    struct str host = str_slice(s, 0, colon);
    if (str_starts(host, STR("[")) && str_ends(host, STR("]")))
        host = str_slice(host, 1, host.len - 1);
    else if (str_find(host, ':') < host.len)
        return false;
    return host.len > 0 && str_copy_to(host, ret->host, sizeof(ret->host)) &&
           str_copy_to(str_slice(s, colon + 1, s.len), ret->port, sizeof(ret->port));
}

static enum err resolve(const char *address, struct addrinfo **ret, struct errinfo *err)
{
    struct host_port hp;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    if (!split(address, &hp) || getaddrinfo(hp.host, hp.port, &hints, ret) != 0)
        return err_set(err, ERR_INVALID, "listen address '%s' is not like 127.0.0.1:7000 or [fd00::1]:7000", address);
    return OK;
}

static enum err bind_err(const char *address, int number, struct errinfo *err)
{
    enum err code = number == EADDRINUSE      ? ERR_CONFLICT
                    : number == EACCES        ? ERR_DENIED
                    : number == EADDRNOTAVAIL ? ERR_UNAVAILABLE
                                              : ERR_IO;
    return err_set_os(err, code, number, "listen on '%s'", address);
}

void http_address_format(const struct sockaddr *address, char ret_ip[static PEER_IP_SIZE], int *ret_port)
{
    ret_ip[0] = '\0';
    *ret_port = 0;
    if (address != NULL && address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, ret_ip, PEER_IP_SIZE);
        *ret_port = ntohs(in->sin_port);
    } else if (address != NULL && address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            (void)inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], ret_ip, PEER_IP_SIZE);
        else
            (void)inet_ntop(AF_INET6, &in6->sin6_addr, ret_ip, PEER_IP_SIZE);
        *ret_port = ntohs(in6->sin6_port);
    }
}

static void text_of(int fd, char *ret_text, size_t text_size, int *ret_port)
{
    struct sockaddr_storage bound = {0};
    socklen_t n = sizeof(bound);
    char ip[PEER_IP_SIZE];
    (void)getsockname(fd, (struct sockaddr *)&bound, &n);
    http_address_format((struct sockaddr *)&bound, ip, ret_port);
    (void)snprintf(ret_text, text_size, bound.ss_family == AF_INET6 ? "[%s]:%d" : "%s:%d", ip, *ret_port);
}

enum err http_listen(const char *address, int *ret_fd, char *ret_text, size_t text_size, int *ret_port,
                     struct errinfo *err)
{
    struct addrinfo *info = NULL;
    enum err rc = resolve(address, &info, err);
    if (rc != OK)
        return rc;
    const int on = 1;
    auto_close int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
              (info->ai_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
              bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
    int number = errno;
    freeaddrinfo(info);
    if (!ok)
        return bind_err(address, number, err);
    text_of(fd, ret_text, text_size, ret_port);
    *ret_fd = TAKE_FD(fd);
    return OK;
}
