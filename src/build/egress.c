#include "build/egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "build/command.h"

/* A /30 for each build out of the end of the shared address space (RFC 6598), which no network of the internet uses;
 * microVMs have its beginning. */
#define EGRESS_NET "100.127.255."
#define EGRESS_SLOTS_N 64u
#define RESOLV_CONF_SIZE_MAX ((size_t)64 * 1024)
/* Each of these commands takes milliseconds (chosen). */
#define COMMAND_TIMEOUT_US 20000000

/* What a build must not reach: RFC 6890's special-purpose networks, but for those that documentation uses. */
static const char BLOCKED[] = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, "
                              "192.168.0.0/16, 224.0.0.0/3";

static enum err run(const char *const *argv, struct errinfo *err)
{
    static const char *const ENV[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    return command_run(&(struct command){.argv = argv, .env = ENV, .deadline_us = clock_mono_us() + COMMAND_TIMEOUT_US},
                       err);
}
#define RUN(err, ...) run((const char *const[]){__VA_ARGS__, NULL}, err)

/* A whole small file; empty when it can't be read. */
static void read_small(const char *path, struct buf *out)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    char chunk[4096];
    ssize_t n;
    while (fd >= 0 && out->len < RESOLV_CONF_SIZE_MAX && (n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(out, chunk, (size_t)n);
}

static enum err write_small(const char *path, const char *text, struct errinfo *err)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        return err_set_os(err, ERR_IO, errno, "write '%s'", path);
    return OK;
}

size_t egress_parse_resolvers(struct str resolv_conf, char ret_resolvers[EGRESS_RESOLVERS_MAX][16])
{
    size_t n = 0;
    struct str line, word;
    while (n < EGRESS_RESOLVERS_MAX && str_next(&resolv_conf, '\n', &line)) {
        if (!str_starts(line, STR("nameserver")))
            continue;
        word = str_trim(str_slice(line, strlen("nameserver"), line.len));
        struct in_addr a;
        char ip[16];
        if (!str_copy_to(word, ip, sizeof(ip)) || inet_pton(AF_INET, ip, &a) != 1)
            continue;
        if ((ntohl(a.s_addr) >> 24) == 127)
            continue;
        (void)memcpy(ret_resolvers[n++], ip, sizeof(ip));
    }
    return n;
}

/* systemd-resolved listens on loopback and keeps the real resolvers in a file of its own. */
static void find_resolvers(struct egress *e)
{
    static const char *const FILES[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};
    for (size_t i = 0; i < 2 && e->resolvers_n == 0; i++) {
        AUTO(buf) struct buf text = {0};
        read_small(FILES[i], &text);
        e->resolvers_n = egress_parse_resolvers(buf_str(&text), e->resolvers);
    }
}

/* The device of the IPv4 default route, by /proc/net/route (proc(5)). */
static void find_uplink(struct egress *e)
{
    AUTO(buf) struct buf text = {0};
    read_small("/proc/net/route", &text);
    struct str rest = buf_str(&text), line, name, destination;
    while (e->uplink[0] == '\0' && str_next(&rest, '\n', &line))
        if (str_next(&line, '\t', &name) && str_next(&line, '\t', &destination) && str_eq(destination, STR("00000000")))
            (void)str_copy_to(name, e->uplink, sizeof(e->uplink));
    e->mtu = 1500;
    auto_free char *path = mem_printf("/sys/class/net/%s/mtu", e->uplink);
    AUTO(buf) struct buf mtu_text = {0};
    read_small(path, &mtu_text);
    uint64_t mtu;
    if (str_parse_u64(str_trim(buf_str(&mtu_text)), 65535, &mtu) && mtu >= 576)
        e->mtu = mtu < 1500 ? (unsigned)mtu : 1500;
}

static bool is_taken(const struct ifaddrs *all, const char *ip)
{
    struct in_addr wanted;
    (void)inet_pton(AF_INET, ip, &wanted);
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        struct sockaddr_in a;
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&a, i->ifa_addr, sizeof(a));
        if (a.sin_addr.s_addr == wanted.s_addr)
            return true;
    }
    return false;
}

static enum err choose_names(struct egress *e, struct errinfo *err)
{
    unsigned char random[5];
    random_bytes(random, sizeof(random));
    hex_format(random, 4, e->tag);
    (void)snprintf(e->link, sizeof(e->link), "slpb%s", e->tag);
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return err_set_os(err, ERR_IO, errno, "read the machine's addresses");
    unsigned slot = EGRESS_SLOTS_N;
    for (unsigned i = 0; i < EGRESS_SLOTS_N && slot == EGRESS_SLOTS_N; i++) {
        unsigned candidate = (random[4] + i) % EGRESS_SLOTS_N;
        (void)snprintf(e->host_ip, sizeof(e->host_ip), EGRESS_NET "%u", candidate * 4 + 1);
        (void)snprintf(e->build_ip, sizeof(e->build_ip), EGRESS_NET "%u", candidate * 4 + 2);
        if (!is_taken(all, e->host_ip))
            slot = candidate;
    }
    freeifaddrs(all);
    return slot < EGRESS_SLOTS_N ? OK
                                 : err_set(err, ERR_LIMIT, "%u builds run on this machine already", EGRESS_SLOTS_N);
}

/* These texts become nft rules: nothing but addresses may get in. */
static enum err check_options(const struct egress_options *o, struct errinfo *err)
{
    for (const char *c = o->installation; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-'))
            return err_set(err, ERR_INVALID, "installation '%s' is no name (a-z, 0-9, -)", o->installation);
    for (size_t i = 0; i < o->allowed_n; i++) {
        struct str all = str_from(o->allowed[i]);
        size_t slash = str_find(all, '/');
        char ip[16];
        struct in_addr a;
        uint64_t bits;
        bool ok = str_copy_to(str_slice(all, 0, slash), ip, sizeof(ip)) && inet_pton(AF_INET, ip, &a) == 1 &&
                  (slash == all.len || str_parse_u64(str_slice(all, slash + 1, all.len), 32, &bits));
        if (!ok)
            return err_set(err, ERR_INVALID, "'%s' is not an IPv4 address or network", o->allowed[i]);
    }
    return OK;
}

void egress_format_rules(const struct egress *e, const struct egress_options *o, struct buf *out)
{
    buf_addf(out, "table inet slipform_%s_build_%s {\n flags owner;\n", o->installation, e->tag);
    buf_addf(out, " chain forward {\n  type filter hook forward priority filter; policy accept;\n");
    buf_addf(out, "  oifname \"%s\" ct state established,related accept\n  oifname \"%s\" drop\n", e->link, e->link);
    buf_addf(out, "  iifname != \"%s\" accept\n  meta nfproto ipv6 drop\n", e->link);
    for (size_t i = 0; i < e->resolvers_n; i++)
        buf_addf(out, "  ip daddr %s meta l4proto { tcp, udp } th dport 53 accept\n", e->resolvers[i]);
    for (size_t i = 0; i < o->allowed_n; i++)
        buf_addf(out, "  ip daddr %s accept\n", o->allowed[i]);
    buf_addf(out, "  ip daddr { %s } reject with icmp admin-prohibited\n", BLOCKED);
    buf_addf(out, "  ip saddr != %s drop\n }\n", e->build_ip);
    buf_addf(out, " chain input {\n  type filter hook input priority filter; policy accept;\n");
    buf_addf(out, "  iifname \"%s\" meta l4proto tcp reject with tcp reset\n  iifname \"%s\" drop\n }\n", e->link,
             e->link);
    buf_addf(out, " chain postrouting {\n  type nat hook postrouting priority srcnat; policy accept;\n");
    buf_addf(out, "  ip saddr %s masquerade\n }\n}\n", e->build_ip);
}

enum err egress_open(const struct egress_options *o, struct egress *ret_egress, struct errinfo *err)
{
    struct egress e = {0};
    enum err rc = check_options(o, err);
    if (rc == OK)
        rc = choose_names(&e, err);
    if (rc != OK)
        return rc;
    find_resolvers(&e);
    find_uplink(&e);
    AUTO(buf) struct buf rules = {0};
    egress_format_rules(&e, o, &rules);
    e.nft = nft_ctx_new(NFT_CTX_DEFAULT);
    (void)nft_ctx_buffer_error(e.nft);
    if (nft_run_cmd_from_buffer(e.nft, rules.ptr) != 0) {
        rc = err_set(err, ERR_IO, "make the nftables rules of the build: %.200s", nft_ctx_get_error_buffer(e.nft));
        egress_close(&e);
        return rc;
    }
    *ret_egress = e;
    return OK;
}

static enum err allow_forwarding(const char *link, struct errinfo *err)
{
    auto_free char *path = mem_printf("/proc/sys/net/ipv4/conf/%s/forwarding", link);
    AUTO(buf) struct buf now = {0};
    read_small(path, &now);
    return now.len > 0 && now.ptr[0] == '1' ? OK : write_small(path, "1", err);
}

enum err egress_connect(const struct egress *e, int pid, struct errinfo *err)
{
    auto_free char *pid_text = mem_printf("%d", pid), *mtu = mem_printf("%u", e->mtu),
                   *address = mem_printf("%s/30", e->host_ip);
    enum err rc = RUN(err, "ip", "link", "add", e->link, "mtu", mtu, "type", "veth", "peer", "name", "eth0", "mtu", mtu,
                      "netns", pid_text);
    if (rc == OK)
        rc = RUN(err, "ip", "link", "set", e->link, "addrgenmode", "none");
    if (rc == OK)
        rc = RUN(err, "ip", "addr", "add", address, "dev", e->link);
    if (rc == OK)
        rc = RUN(err, "ip", "link", "set", e->link, "up");
    if (rc == OK && e->uplink[0] != '\0')
        rc = allow_forwarding(e->link, err);
    if (rc == OK && e->uplink[0] != '\0')
        rc = allow_forwarding(e->uplink, err);
    return rc;
}

static enum err set_resolvers(const struct egress *e, const char *file, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    buf_add_c(&text, "# of the build\n");
    for (size_t i = 0; i < e->resolvers_n; i++)
        buf_addf(&text, "nameserver %s\n", e->resolvers[i]);
    enum err rc = write_small(file, text.ptr, err);
    /* Through a symbolic link the mount lands on what it points to: that file is seen by this namespace only. */
    if (rc == OK && mount(file, "/etc/resolv.conf", NULL, MS_BIND, NULL) != 0)
        return err_set_os(err, ERR_IO, errno, "mount the build's resolv.conf");
    return rc;
}

enum err egress_enter(const struct egress *e, const char *resolv_conf_file, struct errinfo *err)
{
    auto_free char *address = mem_printf("%s/30", e->build_ip);
    enum err rc = RUN(err, "ip", "link", "set", "lo", "up");
    if (rc == OK)
        rc = RUN(err, "ip", "addr", "add", address, "dev", "eth0");
    if (rc == OK)
        rc = RUN(err, "ip", "link", "set", "eth0", "addrgenmode", "none", "up");
    if (rc == OK)
        rc = RUN(err, "ip", "route", "add", "default", "via", e->host_ip);
    return rc == OK ? set_resolvers(e, resolv_conf_file, err) : rc;
}

void egress_close(struct egress *e)
{
    if (e->nft != NULL)
        nft_ctx_free(e->nft);
    e->nft = NULL;
}
