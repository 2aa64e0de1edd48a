/* The network of a node, for real, in a network namespace of the test's own (root). The test is both guests and the
 * fabric: it holds the far ends of the taps, writes raw frames into them and reads what comes out. That something is
 * dropped is shown without waiting: after it an allowed packet is sent, and that one must be the first to arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "node/network/network.h"
#include "os/nft.h"

enum { VNET = 10, FRAME_MAX = 2048, PATIENCE_MS = 5000 };
static const uint8_t GATEWAY_MAC[MAC_SIZE] = NETWORK_GATEWAY_MAC;
static const uint8_t PEER_MAC[MAC_SIZE] = {0x02, 9, 9, 9, 9, 9}; /* of the hosts on the fabric */
static const uint8_t FABRIC_MAC[MAC_SIZE] = {0x02, 8, 8, 8, 8, 8};

struct world {
    struct network *network;
    struct netlink *nl;
    struct nft *nft;
    struct network_guest a, b;
    int tap_a, tap_b, fabric; /* far ends */
    uint16_t marker;          /* port of the next packet that has to arrive */
};

/* A packet, as far as the tests care. */
struct packet {
    struct ip from, to;
    uint8_t protocol; /* IPPROTO_UDP, IPPROTO_TCP, IPPROTO_ICMPV6 */
    uint16_t from_port, to_port;
    uint8_t tcp_flags; /* of <netinet/tcp.h>: TH_SYN … */
    uint32_t tcp_seq, tcp_ack;
};

static struct ip ip_of(const char *text)
{
    struct ip ip;
    assert_true(ip_parse(str_from(text), &ip));
    return ip;
}

static uint32_t sum16(uint32_t sum, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
    return sum;
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t fold(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* Layer 4 at `at`; returns its size. */
static size_t put_l4(uint8_t *at, const struct packet *p)
{
    size_t addr = p->from.family == AF_INET6 ? 16 : 4, size = p->protocol == IPPROTO_UDP ? 12 : 20, check = 6;
    memset(at, 0, size);
    put16(at, p->from_port);
    put16(at + 2, p->to_port);
    if (p->protocol == IPPROTO_UDP) {
        put16(at + 4, (uint32_t)size);
        memcpy(at + 8, "ping", 4);
    } else if (p->protocol == IPPROTO_TCP) {
        uint32_t seq = htonl(p->tcp_seq), ack = htonl(p->tcp_ack);
        memcpy(at + 4, &seq, 4);
        memcpy(at + 8, &ack, 4);
        at[12] = 5 << 4;
        at[13] = p->tcp_flags;
        put16(at + 14, 65535);
        check = 16;
    } else { /* ICMPv6: type and code are in from_port */
        check = 2;
        put16(at + 2, 0);
    }
    uint32_t sum = sum16(0, p->from.bytes, addr) + sum16(0, p->to.bytes, addr) + p->protocol + (uint32_t)size;
    put16(at + check, fold(sum16(sum, at, size)));
    return size;
}

static void send_packet(int fd, const uint8_t to[MAC_SIZE], const uint8_t from[MAC_SIZE], const struct packet *p)
{
    uint8_t frame[FRAME_MAX] = {0}, *eth = frame + VNET, *l3 = eth + ETH_HLEN;
    memcpy(eth, to, MAC_SIZE);
    memcpy(eth + MAC_SIZE, from, MAC_SIZE);
    bool six = p->from.family == AF_INET6;
    put16(eth + 12, six ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
    size_t l3_size = six ? 40 : 20, l4_size = put_l4(l3 + l3_size, p);
    if (six) {
        l3[0] = 0x60;
        put16(l3 + 4, (uint32_t)l4_size);
        l3[6] = p->protocol;
        l3[7] = p->protocol == IPPROTO_ICMPV6 ? 255 : 64;
        memcpy(l3 + 8, p->from.bytes, 16);
        memcpy(l3 + 24, p->to.bytes, 16);
    } else {
        l3[0] = 0x45;
        put16(l3 + 2, (uint32_t)(l3_size + l4_size));
        l3[8] = 64;
        l3[9] = p->protocol;
        memcpy(l3 + 12, p->from.bytes, 4);
        memcpy(l3 + 16, p->to.bytes, 4);
        put16(l3 + 10, fold(sum16(0, l3, 20)));
    }
    size_t size = VNET + ETH_HLEN + l3_size + l4_size;
    assert_int_equal(write(fd, frame, size), size);
}

static bool parse(const uint8_t *eth, struct packet *ret_packet)
{
    struct packet p = {0};
    const uint8_t *l3 = eth + ETH_HLEN, *l4 = l3 + 40;
    unsigned type = (unsigned)eth[12] << 8 | eth[13];
    if (type == ETHERTYPE_IPV6) {
        p.from = p.to = (struct ip){.family = AF_INET6, .len = 128};
        memcpy(p.from.bytes, l3 + 8, 16);
        memcpy(p.to.bytes, l3 + 24, 16);
        p.protocol = l3[6];
    } else if (type == ETHERTYPE_IP) {
        p.from = p.to = (struct ip){.family = AF_INET, .len = 32};
        memcpy(p.from.bytes, l3 + 12, 4);
        memcpy(p.to.bytes, l3 + 16, 4);
        p.protocol = l3[9];
        l4 = l3 + (l3[0] & 15) * 4;
    } else {
        return false;
    }
    p.from_port = (uint16_t)(l4[0] << 8 | l4[1]);
    p.to_port = (uint16_t)(l4[2] << 8 | l4[3]);
    if (p.protocol == IPPROTO_TCP) {
        p.tcp_flags = l4[13];
        memcpy(&p.tcp_seq, l4 + 4, 4);
        p.tcp_seq = ntohl(p.tcp_seq);
    }
    *ret_packet = p;
    return p.protocol == IPPROTO_TCP || p.protocol == IPPROTO_UDP;
}

/* The next TCP or UDP packet that comes out of fd; the kernel's own multicast is not looked at. */
static struct packet receive(int fd)
{
    for (;;) {
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        if (poll(&pfd, 1, PATIENCE_MS) != 1)
            fail_msg("nothing arrived within %d ms", PATIENCE_MS);
        uint8_t frame[FRAME_MAX] = {0};
        struct packet p;
        if (read(fd, frame, sizeof(frame)) > VNET + ETH_HLEN && parse(frame + VNET, &p))
            return p;
    }
}

static bool is_silent(int fd)
{
    uint8_t frame[FRAME_MAX] = {0};
    struct packet p;
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    while (poll(&pfd, 1, 0) == 1 && read(fd, frame, sizeof(frame)) > 0)
        if (parse(frame + VNET, &p))
            return false;
    return true;
}

static void from_a(const struct world *w, const struct packet *p)
{
    send_packet(w->tap_a, GATEWAY_MAC, w->a.mac, p);
}

/* Everything that a guest sent before this was dropped: its next allowed packet is the first that gets out. */
static void expect_dropped(struct world *w)
{
    struct packet p = {.from = w->a.ipv4,
                       .to = ip_of("198.51.100.7"),
                       .protocol = IPPROTO_UDP,
                       .from_port = 4000,
                       .to_port = ++w->marker};
    from_a(w, &p);
    struct packet got = receive(w->fabric);
    assert_true(ip_eq(&got.to, &p.to));
    assert_int_equal(got.to_port, w->marker);
    assert_true(is_silent(w->tap_a));
    assert_true(is_silent(w->tap_b));
}

static void udp_is_dropped(struct world *w, const char *to)
{
    struct ip ip = ip_of(to);
    struct errinfo ignored;
    /* If it got out, it would be seen: not only asked for by ARP. Multicast and the like have no neighbours. */
    err_ignore(netlink_neighbour_add(w->nl, "fab0", &ip, PEER_MAC, &ignored));
    struct packet p = {.from = ip.family == AF_INET6 ? w->a.ipv6 : w->a.ipv4,
                       .to = ip,
                       .protocol = IPPROTO_UDP,
                       .from_port = 4000,
                       .to_port = 80};
    from_a(w, &p);
    p.protocol = IPPROTO_TCP;
    p.tcp_flags = TH_SYN;
    from_a(w, &p);
    expect_dropped(w);
}

/* Its carrier is up, and the kernel has taken note (it does so a little later, and drops what goes out before). */
static void await_running(const char *name)
{
    auto_close int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {0};
    (void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
    for (int ms = 0; ms < PATIENCE_MS; ms += 5) {
        assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &req), 0);
        if ((req.ifr_flags & IFF_RUNNING) != 0)
            return;
        (void)poll(NULL, 0, 5);
    }
    fail_msg("'%s' did not come up within %d ms", name, PATIENCE_MS);
}

static int open_tap(const char *name)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    (void)snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
    assert_int_equal(ioctl(fd, TUNSETIFF, &req), 0);
    return fd;
}

#define must(call)                                                                                                     \
    do {                                                                                                               \
        struct errinfo e_ = {0};                                                                                       \
        struct errinfo *err = &e_;                                                                                     \
        if ((call) != OK)                                                                                              \
            fail_msg("%s", e_.msg);                                                                                    \
    } while (0)

static struct network *open_network(const char *installation, const char *tag, const char *prefix)
{
    static const char *const DENIED[] = {"203.0.113.0/24", "2001:db8:bad::/48"};
    struct network *n = NULL;
    struct network_options o = {.installation = installation,
                                .tag = tag,
                                .prefix = ip_of(prefix),
                                .fabric = "fab0",
                                .denied = DENIED,
                                .denied_n = 2};
    must(network_open(&o, &n, err));
    return n;
}

static void connect_fabric(struct world *w)
{
    static const char *const PEERS[] = {"198.51.100.7", "2001:db8::7", "fd77:0:0:1::e"};
    w->fabric = open_tap("fab0");
    must(netlink_link_set_mac(w->nl, "fab0", FABRIC_MAC, err));
    must(netlink_link_up(w->nl, "fab0", err));
    struct ip own4 = ip_of("10.77.0.5/24"), own6 = ip_of("fd77:0:0:1::5/64");
    must(netlink_address_add(w->nl, "fab0", &own4, err));
    must(netlink_address_add(w->nl, "fab0", &own6, err));
    struct route all4 = {.to = ip_of("0.0.0.0/0"), .link = "fab0"}, all6 = {.to = ip_of("::/0"), .link = "fab0"};
    must(netlink_route_add(w->nl, &all4, err));
    must(netlink_route_add(w->nl, &all6, err));
    for (size_t i = 0; i < sizeof(PEERS) / sizeof(PEERS[0]); i++) {
        struct ip peer = ip_of(PEERS[i]);
        must(netlink_neighbour_add(w->nl, "fab0", &peer, PEER_MAC, err));
    }
}

static int begin(void **state)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        fail_msg("needs root for a network namespace of its own");
    struct world *w = mem_alloc(sizeof(*w));
    w->marker = 9000;
    must(netlink_open(&w->nl, err));
    must(nft_open(&w->nft, err));
    connect_fabric(w);
    w->network = open_network("test-0", "tst0", "fd77:0:0:a::/64");
    must(network_raise(w->network, NULL, 0, err));
    struct id id_a = {{1}}, id_b = {{2}};
    struct ip ip_a = ip_of("fd77:0:0:a::11"), ip_b = ip_of("fd77:0:0:a::12");
    must(network_guest_plan(w->network, id_a, &ip_a, &w->a, err));
    must(network_guest_add(w->network, &w->a, err));
    must(network_guest_plan(w->network, id_b, &ip_b, &w->b, err));
    must(network_guest_add(w->network, &w->b, err));
    w->tap_a = open_tap(w->a.tap);
    w->tap_b = open_tap(w->b.tap);
    await_running("fab0");
    await_running(w->a.tap);
    await_running(w->b.tap);
    *state = w;
    return 0;
}

static int end(void **state)
{
    struct world *w = *state;
    network_close(w->network);
    netlink_close(w->nl);
    nft_close(w->nft);
    (void)close(w->tap_a);
    (void)close(w->tap_b);
    (void)close(w->fabric);
    free(w);
    return 0;
}

static void forged_origins_are_dropped(void **state)
{
    struct world *w = *state;
    struct packet p = {
        .from = w->b.ipv6, .to = ip_of("2001:db8::7"), .protocol = IPPROTO_UDP, .from_port = 1, .to_port = 2};
    from_a(w, &p); /* the neighbour's IPv6 */
    p.from = ip_of("fe80::2");
    from_a(w, &p);
    p.from = w->a.ipv6;
    send_packet(w->tap_a, GATEWAY_MAC, w->b.mac, &p); /* the neighbour's MAC */
    send_packet(w->tap_b, GATEWAY_MAC, w->a.mac, &p); /* all of its neighbour, on its own tap */
    p.from = w->b.ipv4, p.to = ip_of("198.51.100.7");
    from_a(w, &p); /* the neighbour's IPv4 */
    expect_dropped(w);
}

static void discovery_of_guests_is_dropped(void **state)
{
    struct world *w = *state;
    for (unsigned type = 133; type <= 137; type++) { /* RS, RA, NS, NA, redirect */
        struct packet p = {.from = w->a.ipv6,
                           .to = network_node_ip(w->network),
                           .protocol = IPPROTO_ICMPV6,
                           .from_port = (uint16_t)(type << 8)};
        from_a(w, &p);
        p.from = ip_of("fe80::1");
        from_a(w, &p);
    }
    uint8_t arp[VNET + ETH_HLEN + 28] = {0}, *eth = arp + VNET, *body = eth + ETH_HLEN;
    memset(eth, 0xff, MAC_SIZE);
    memcpy(eth + MAC_SIZE, w->a.mac, MAC_SIZE);
    put16(eth + 12, ETHERTYPE_ARP);
    memcpy(body, "\0\1\10\0\6\4\0\1", 8); /* who has 10.77.0.5? */
    memcpy(body + 8, w->a.mac, MAC_SIZE);
    memcpy(body + 14, w->a.ipv4.bytes, 4);
    memcpy(body + 24, "\12\115\0\5", 4);
    assert_int_equal(write(w->tap_a, arp, sizeof(arp)), sizeof(arp));
    struct packet p = {.from = w->a.ipv4, .to = ip_of("198.51.100.7"), .protocol = IPPROTO_UDP, .to_port = 3};
    from_a(w, &p);
    assert_int_equal(receive(w->fabric).to_port, 3);
    uint8_t frame[FRAME_MAX];
    for (ssize_t n = read(w->tap_a, frame, sizeof(frame)); n > 0; n = read(w->tap_a, frame, sizeof(frame)))
        assert_false(frame[VNET + 12] == 0x08 && frame[VNET + 13] == 0x06); /* no ARP reply */
}

static void guests_do_not_reach_each_other(void **state)
{
    struct world *w = *state;
    udp_is_dropped(w, "fd77:0:0:a::12");
    struct packet p = {.from = w->a.ipv4, .to = w->b.ipv4, .protocol = IPPROTO_TCP, .to_port = 80, .tcp_flags = TH_SYN};
    from_a(w, &p);
    expect_dropped(w);
    udp_is_dropped(w, "fd77:0:0:b::12"); /* on another node */
}

static void guests_do_not_reach_the_host(void **state)
{
    struct world *w = *state;
    udp_is_dropped(w, "fd77:0:0:a::1"); /* the node: only its port 53 */
    udp_is_dropped(w, "fd77:0:0:1::5"); /* its fabric address */
    udp_is_dropped(w, "10.77.0.5");
    udp_is_dropped(w, "fe80::1");
}

static void guests_do_not_reach_private_ranges(void **state)
{
    static const char *const TO[] = {
        "10.0.0.1",    "172.16.0.1", "172.31.255.1",    "192.168.1.1",     "169.254.169.254", "100.64.0.1",
        "100.127.0.1", "127.0.0.1",  "224.0.0.1",       "255.255.255.255", "fd77:0:0:1::e",   "fc00::1",
        "fe80::2",     "ff02::1",    "::ffff:10.0.0.1", "64:ff9b::a00:1",  "203.0.113.5",     "2001:db8:bad::1"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(TO) / sizeof(TO[0]); i++)
        udp_is_dropped(w, TO[i]);
}

static void guests_reach_the_internet(void **state)
{
    struct world *w = *state;
    struct packet p = {
        .from = w->a.ipv4, .to = ip_of("198.51.100.7"), .protocol = IPPROTO_UDP, .from_port = 4001, .to_port = 53};
    from_a(w, &p);
    struct packet got = receive(w->fabric), back;
    struct ip own = ip_of("10.77.0.5");
    assert_true(ip_eq(&got.from, &own));
    back = (struct packet){
        .from = got.to, .to = got.from, .protocol = IPPROTO_UDP, .from_port = got.to_port, .to_port = got.from_port};
    send_packet(w->fabric, FABRIC_MAC, PEER_MAC, &back);
    got = receive(w->tap_a);
    assert_true(ip_eq(&got.to, &w->a.ipv4));
    assert_int_equal(got.to_port, 4001);
    p.from = w->a.ipv6, p.to = ip_of("2001:db8::7"); /* the same by IPv6 */
    from_a(w, &p);
    got = receive(w->fabric);
    own = ip_of("fd77:0:0:1::5");
    assert_true(ip_eq(&got.from, &own));
    back = (struct packet){
        .from = got.to, .to = got.from, .protocol = IPPROTO_UDP, .from_port = got.to_port, .to_port = got.from_port};
    send_packet(w->fabric, FABRIC_MAC, PEER_MAC, &back);
    got = receive(w->tap_a);
    assert_true(ip_eq(&got.to, &w->a.ipv6));
}

static int listener(const char *address, uint16_t port, int type, bool transparent)
{
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct ip ip = ip_of(address);
    memcpy(&a.sin6_addr, ip.bytes, 16);
    if (transparent)
        assert_int_equal(setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof(on)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static void guests_ask_the_resolver(void **state)
{
    struct world *w = *state;
    auto_close int fd = listener("fd77:0:0:a::1", 53, SOCK_DGRAM, false);
    struct packet p = {.from = w->a.ipv6,
                       .to = network_node_ip(w->network),
                       .protocol = IPPROTO_UDP,
                       .from_port = 4002,
                       .to_port = 53};
    from_a(w, &p);
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    char query[16];
    struct sockaddr_in6 who;
    socklen_t who_size = sizeof(who);
    assert_int_equal(recvfrom(fd, query, sizeof(query), 0, (struct sockaddr *)&who, &who_size), 4);
    assert_int_equal(sendto(fd, "pong", 4, 0, (struct sockaddr *)&who, who_size), 4);
    struct packet got = receive(w->tap_a);
    assert_int_equal(got.to_port, 4002);
    assert_int_equal(got.from_port, 53);
    /* and nobody on the fabric does */
    p.from = ip_of("fd77:0:0:1::e");
    send_packet(w->fabric, FABRIC_MAC, PEER_MAC, &p);
    expect_dropped(w);
    assert_int_equal(recv(fd, query, sizeof(query), 0), -1);
}

static uint8_t knock(struct world *w, const char *at)
{
    struct ip to = ip_of(at);
    struct packet p = {.from = ip_of(to.family == AF_INET6 ? "fd77:0:0:1::e" : "198.51.100.7"),
                       .to = to,
                       .protocol = IPPROTO_TCP,
                       .tcp_flags = TH_SYN,
                       .from_port = ++w->marker,
                       .to_port = 8080,
                       .tcp_seq = 7};
    send_packet(w->fabric, FABRIC_MAC, PEER_MAC, &p);
    struct packet got = receive(w->fabric);
    assert_int_equal(got.to_port, w->marker);
    assert_true(ip_eq(&got.from, &p.to));
    return got.tcp_flags & (TH_SYN | TH_ACK | TH_RST);
}

static void tcp_to_a_guest_is_the_proxys(void **state)
{
    struct world *w = *state;
    assert_int_equal(knock(w, "fd77:0:0:a::99"), TH_RST | TH_ACK); /* no such guest */
    assert_int_equal(knock(w, "fd77:0:0:a::11"), TH_RST | TH_ACK); /* node-proxy is down */
    auto_close int proxy = listener("::1", NETWORK_PROXY_PORT_DEFAULT, SOCK_STREAM, true);
    assert_true(proxy >= 0);
    assert_int_equal(knock(w, "fd77:0:0:a::11"), TH_SYN | TH_ACK);
    assert_int_equal(knock(w, "fd77:0:0:a::99"), TH_RST | TH_ACK);
    assert_true(is_silent(w->tap_a));
    struct packet p = {.from = ip_of("fd77:0:0:1::e"), .to = w->a.ipv6, .protocol = IPPROTO_UDP, .to_port = 80};
    send_packet(w->fabric, FABRIC_MAC, PEER_MAC, &p); /* only TCP */
    expect_dropped(w);
    /* once it is gone: reset at once, though node-proxy listens */
    must(network_guest_remove(w->network, &w->a, err));
    must(network_guest_remove(w->network, &w->a, err));
    assert_int_equal(knock(w, "fd77:0:0:a::11"), TH_RST | TH_ACK);
    must(network_guest_add(w->network, &w->a, err));
    (void)close(w->tap_a);
    w->tap_a = open_tap(w->a.tap);
    await_running(w->a.tap);
    assert_int_equal(knock(w, "fd77:0:0:a::11"), TH_SYN | TH_ACK);
}

/* The node's own programs, on its fabric addresses, are none of the table's business. */
static void the_hosts_own_tcp_is_left_alone(void **state)
{
    struct world *w = *state;
    auto_close int own = listener("::", 8080, SOCK_STREAM, false);
    assert_true(own >= 0);
    assert_int_equal(knock(w, "fd77:0:0:1::5"), TH_SYN | TH_ACK);
    assert_int_equal(knock(w, "10.77.0.5"), TH_SYN | TH_ACK);
}

static void sockets_end_with_their_guest(void **state)
{
    struct world *w = *state;
    auto_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(8080)};
    memcpy(&to.sin6_addr, w->a.ipv6.bytes, 16);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    struct packet syn = receive(w->tap_a);
    struct ip node = network_node_ip(w->network);
    assert_true(ip_eq(&syn.from, &node)); /* guests see the node as its <prefix>::1 */
    struct packet p = {.from = w->a.ipv6,
                       .to = syn.from,
                       .protocol = IPPROTO_TCP,
                       .tcp_flags = TH_SYN | TH_ACK,
                       .from_port = 8080,
                       .to_port = syn.from_port,
                       .tcp_seq = 100,
                       .tcp_ack = syn.tcp_seq + 1};
    from_a(w, &p);
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    assert_int_equal(send(fd, "hello", 5, MSG_NOSIGNAL), 5); /* established */
    must(network_guest_remove(w->network, &w->a, err));
    pfd.events = POLLIN;
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNABORTED);
}

static void raising_again_keeps_guests(void **state)
{
    struct world *w = *state;
    struct network *again = open_network("test-0", "tst0", "fd77:0:0:a::/64"); /* the agent was restarted */
    struct network_guest guests[] = {w->a, w->b};
    must(network_raise(again, guests, 2, err));
    must(network_raise(again, guests, 2, err));
    expect_dropped(w); /* which also shows that a's tap still gets out */
    struct network_guest same;
    must(network_guest_plan(again, w->a.id, &w->a.ipv6, &same, err));
    assert_true(ip_eq(&same.ipv4, &w->a.ipv4));
    struct errinfo e;
    assert_int_equal(network_guest_plan(again, (struct id){{3}}, &w->a.ipv6, &same, &e), ERR_CONFLICT);
    struct ip elsewhere = ip_of("fd77:0:0:b::1");
    assert_int_equal(network_guest_plan(again, (struct id){{3}}, &elsewhere, &same, &e), ERR_INVALID);
    network_close(again);
}

static void count_link(const char *name, void *arg)
{
    (void)name;
    ++*(int *)arg;
}

static bool nft_shows(struct world *w, const char *text)
{
    AUTO(buf) struct buf all = {0};
    must(nft_run(w->nft, "list ruleset", &all, err));
    return all.len > 0 && strstr(all.ptr, text) != NULL;
}

static bool proc_shows(const char *path, const char *text)
{
    char line[512];
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    bool found = false;
    while (!found && fgets(line, sizeof(line), f) != NULL)
        found = strstr(line, text) != NULL;
    (void)fclose(f);
    return found;
}

static void lowering_leaves_nothing(void **state)
{
    struct world *w = *state;
    struct network *other = open_network("test-1", "tst1", "fd77:0:0:c::/64");
    must(network_raise(other, NULL, 0, err));
    must(network_lower(w->network, err));
    must(network_lower(w->network, err));
    int links = 0;
    must(netlink_links_each(w->nl, "slptst0", count_link, &links, err));
    assert_int_equal(links, 0);
    assert_false(nft_shows(w, "slipform_test-0"));
    assert_true(nft_shows(w, "slipform_test-1")); /* of somebody else */
    assert_false(proc_shows("/proc/net/ipv6_route", "fd7700000000000a"));
    assert_true(proc_shows("/proc/net/ipv6_route", "fd7700000000000c"));
    assert_false(proc_shows("/proc/net/if_inet6", "fd7700000000000a"));
    must(network_lower(other, err));
    assert_false(nft_shows(w, "slipform"));
    assert_false(proc_shows("/proc/net/ipv6_route", "fd7700000000000c"));
    network_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(forged_origins_are_dropped, begin, end),
        cmocka_unit_test_setup_teardown(discovery_of_guests_is_dropped, begin, end),
        cmocka_unit_test_setup_teardown(guests_do_not_reach_each_other, begin, end),
        cmocka_unit_test_setup_teardown(guests_do_not_reach_the_host, begin, end),
        cmocka_unit_test_setup_teardown(guests_do_not_reach_private_ranges, begin, end),
        cmocka_unit_test_setup_teardown(guests_reach_the_internet, begin, end),
        cmocka_unit_test_setup_teardown(guests_ask_the_resolver, begin, end),
        cmocka_unit_test_setup_teardown(tcp_to_a_guest_is_the_proxys, begin, end),
        cmocka_unit_test_setup_teardown(the_hosts_own_tcp_is_left_alone, begin, end),
        cmocka_unit_test_setup_teardown(sockets_end_with_their_guest, begin, end),
        cmocka_unit_test_setup_teardown(raising_again_keeps_guests, begin, end),
        cmocka_unit_test_setup_teardown(lowering_leaves_nothing, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
