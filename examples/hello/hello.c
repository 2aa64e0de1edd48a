/* hello: a web server in one file, without dependencies. What it answers: README.md.
 *
 * One thread a connection: requests are few and small, and a thread that sleeps or burns a CPU is in nobody's way.
 * On SIGTERM the listener closes; each thread ends after the request that it is working on, idle connections at once.
 */
#define _GNU_SOURCE 1
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "unknown"
#endif

enum {
    REQUEST_SIZE_MAX = 16384,
    CONNECTIONS_MAX = 1000,
    IDLE_TIMEOUT_MS = 120000,
    WORK_MS_MAX = 60000,
    FRAME_SIZE_MAX = 65536,
    STACK_SIZE = 256 * 1024, /* a connection's buffers, and room */
};

struct server {
    int stop_pipe[2]; /* readable once SIGTERM came */
    int64_t connections_n;
    pthread_mutex_t lock;
    pthread_cond_t one_ended;
};
static struct server server = {.lock = PTHREAD_MUTEX_INITIALIZER, .one_ended = PTHREAD_COND_INITIALIZER};

struct connection {
    int fd;
    char in[REQUEST_SIZE_MAX + 1];
    size_t in_len;
};

/* --- SHA-1 and base64: a websocket's handshake asks for them (RFC 6455, 4.2.2) */

static uint32_t rotate(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const unsigned char *p)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[i * 4] << 24 | (uint32_t)p[i * 4 + 1] << 16 | (uint32_t)p[i * 4 + 2] << 8 | p[i * 4 + 3];
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                     : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                     : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                              : (b ^ c ^ d) + 0xCA62C1D6;
        uint32_t t = rotate(a, 5) + f + e + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* At most 119 bytes: two blocks. */
static void sha1(const char *text, size_t len, unsigned char ret[20])
{
    unsigned char blocks[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    size_t n = len < 56 ? 64 : 128;
    memcpy(blocks, text, len);
    blocks[len] = 0x80;
    blocks[n - 1] = (unsigned char)(len * 8), blocks[n - 2] = (unsigned char)(len * 8 >> 8);
    for (size_t i = 0; i < n; i += 64)
        sha1_block(h, blocks + i);
    for (int i = 0; i < 20; i++)
        ret[i] = (unsigned char)(h[i / 4] >> (24 - i % 4 * 8));
}

static void base64_20(const unsigned char in[20], char ret[29])
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 7; i++) {
        uint32_t v = (uint32_t)in[i * 3] << 16 | (uint32_t)in[i * 3 + 1] << 8 | (i < 6 ? in[i * 3 + 2] : 0);
        for (int k = 0; k < 4; k++)
            ret[i * 4 + k] = DIGITS[v >> (18 - k * 6) & 63];
    }
    ret[27] = '=', ret[28] = '\0';
}

/* --- connections */

/* Wait for bytes. False: time-out, end, or (when idle) SIGTERM. */
static bool wait_readable(const struct connection *c, bool is_idle)
{
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN},
                          {.fd = is_idle ? server.stop_pipe[0] : -1, .events = POLLIN}};
    int n;
    while ((n = poll(p, 2, IDLE_TIMEOUT_MS)) < 0 && errno == EINTR)
        continue;
    return n > 0 && p[0].revents != 0; /* a request that has arrived is answered even then */
}

static bool is_stopping(void)
{
    struct pollfd p = {.fd = server.stop_pipe[0], .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

static bool send_all(int fd, const void *bytes, size_t n)
{
    for (const char *at = bytes; n > 0;) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool answer(const struct connection *c, const char *status, const char *body, bool keep, bool with_body)
{
    char text[1536];
    int n =
        snprintf(text, sizeof(text),
                 "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
                 "Connection: %s\r\n\r\n%s",
                 status, strlen(body), keep ? "keep-alive" : "close", with_body ? body : "");
    return n > 0 && (size_t)n < sizeof(text) && send_all(c->fd, text, (size_t)n) && keep;
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value == NULL || strpbrk(value, "\"\\\n") != NULL ? "" : value;
}

static void who_am_i(char *ret_json, size_t size)
{
    (void)snprintf(ret_json, size, "{\"instance_id\":\"%.100s\",\"deployment_id\":\"%.100s\",\"version\":\"%.100s\"}\n",
                   environment("SLIPFORM_INSTANCE_ID"), environment("SLIPFORM_DEPLOYMENT_ID"), VERSION);
}

/* A header's value, "" when it is absent; lent until the next call. Names compare without case. */
static const char *header(const char *head, const char *name)
{
    static _Thread_local char value[256];
    value[0] = '\0';
    size_t len = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line != NULL && line[2] != '\0'; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) != 0 || line[2 + len] != ':')
            continue;
        const char *from = line + 2 + len + 1;
        from += strspn(from, " \t");
        size_t n = strcspn(from, "\r\n");
        (void)snprintf(value, sizeof(value), "%.*s", (int)(n > 255 ? 255 : n), from);
        break;
    }
    return value;
}

/* A number of the query, bounded. */
static long query_number(const char *query, const char *name, long max)
{
    size_t len = strlen(name);
    for (const char *at = query; at != NULL && *at != '\0'; at = strchr(at, '&')) {
        at += *at == '&';
        if (strncmp(at, name, len) == 0 && at[len] == '=') {
            long value = strtol(at + len + 1, NULL, 10);
            return value < 0 ? 0 : value > max ? max : value;
        }
        if (strchr(at, '&') == NULL)
            break;
    }
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

static void burn_ms(long ms)
{
    volatile uint64_t x = 1;
    for (int64_t end = now_ms() + ms; now_ms() < end;)
        for (int i = 0; i < 100000; i++)
            x = x * 6364136223846793005u + 1;
}

/* --- websocket */

static bool receive_exactly(struct connection *c, void *ret, size_t n, bool is_idle)
{
    char *out = ret;
    while (n > 0) {
        if (c->in_len == 0) {
            if (!wait_readable(c, is_idle))
                return false;
            ssize_t got = recv(c->fd, c->in, REQUEST_SIZE_MAX, 0);
            if (got <= 0)
                return false;
            c->in_len = (size_t)got;
        }
        size_t some = c->in_len < n ? c->in_len : n;
        memcpy(out, c->in, some);
        memmove(c->in, c->in + some, c->in_len - some);
        c->in_len -= some, out += some, n -= some;
    }
    return true;
}

static bool send_frame(int fd, unsigned char first, const unsigned char *bytes, size_t n)
{
    unsigned char head[4] = {first, (unsigned char)(n < 126 ? n : 126), (unsigned char)(n >> 8), (unsigned char)n};
    return send_all(fd, head, n < 126 ? 2 : 4) && send_all(fd, bytes, n);
}

static void close_frame(int fd, unsigned code)
{
    unsigned char reason[2] = {(unsigned char)(code >> 8), (unsigned char)code};
    (void)send_frame(fd, 0x88, reason, 2);
}

/* One frame (RFC 6455, 5.2). False when the connection ends with it. */
static bool echo_frame(struct connection *c, unsigned char *payload)
{
    unsigned char head[2], length[8] = {0}, mask[4];
    if (!receive_exactly(c, head, 2, true)) {
        if (is_stopping())
            close_frame(c->fd, 1001); /* going away */
        return false;
    }
    size_t n = head[1] & 0x7F, extra = n == 126 ? 2 : n == 127 ? 8 : 0;
    if (!receive_exactly(c, length, extra, false) || (head[1] & 0x80) == 0 || !receive_exactly(c, mask, 4, false))
        return false; /* a client must mask */
    if (extra > 0)
        n = 0;
    for (size_t i = 0; i < extra; i++)
        n = n << 8 | length[i];
    if (n >= FRAME_SIZE_MAX) {
        close_frame(c->fd, 1009); /* too big */
        return false;
    }
    if (!receive_exactly(c, payload, n, false))
        return false;
    for (size_t i = 0; i < n; i++)
        payload[i] ^= mask[i % 4];
    switch (head[0] & 0x0F) {
    case 0x8: /* close */ (void)send_frame(c->fd, 0x88, payload, n < 2 ? 0 : 2); return false;
    case 0x9: /* ping */ return send_frame(c->fd, 0x8A, payload, n);
    case 0xA: /* pong */ return true;
    default: /* text, binary and their continuations */ return send_frame(c->fd, head[0], payload, n);
    }
}

static void websocket(struct connection *c, const char *head)
{
    char text[256];
    unsigned char digest[20];
    char accept_key[29];
    int n =
        snprintf(text, sizeof(text), "%.64s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", header(head, "Sec-WebSocket-Key"));
    sha1(text, (size_t)n, digest);
    base64_20(digest, accept_key);
    n = snprintf(text, sizeof(text),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n\r\n",
                 accept_key);
    size_t head_len = (size_t)(strstr(head, "\r\n\r\n") + 4 - head);
    memmove(c->in, c->in + head_len, c->in_len - head_len);
    c->in_len -= head_len;
    unsigned char *payload = malloc(FRAME_SIZE_MAX);
    if (payload != NULL && send_all(c->fd, text, (size_t)n))
        while (echo_frame(c, payload))
            continue;
    free(payload);
}

/* --- requests */

/* Answer one request. False when the connection ends with it. */
static bool serve(struct connection *c, const char *head)
{
    char method[16], target[1024], body[512];
    int minor = 0;
    who_am_i(body, sizeof(body));
    if (sscanf(head, "%15[A-Z] %1023[^ ] HTTP/1.%d", method, target, &minor) != 3)
        return answer(c, "400 Bad Request", "{\"error\":\"no HTTP/1.x request\"}\n", false, true);
    char *query = strchr(target, '?');
    if (query != NULL)
        *query++ = '\0';
    bool is_head = strcmp(method, "HEAD") == 0;
    const char *connection = header(head, "Connection");
    bool keep = minor == 1 ? strcasecmp(connection, "close") != 0 : strcasecmp(connection, "keep-alive") == 0;
    if (header(head, "Transfer-Encoding")[0] != '\0' || strtol(header(head, "Content-Length"), NULL, 10) != 0)
        return answer(c, "413 Content Too Large", "{\"error\":\"hello takes no bodies\"}\n", false, true);
    if (!is_head && strcmp(method, "GET") != 0)
        return answer(c, "405 Method Not Allowed", "{\"error\":\"GET or HEAD\"}\n", keep, true);
    if (strcmp(target, "/ws") == 0 && header(head, "Sec-WebSocket-Key")[0] != '\0') {
        websocket(c, head);
        return false;
    }
    if (strcmp(target, "/crash") == 0)
        abort();
    if (strcmp(target, "/slow") == 0)
        sleep_ms(query_number(query, "ms", WORK_MS_MAX));
    else if (strcmp(target, "/burn") == 0)
        burn_ms(query_number(query, "seconds", WORK_MS_MAX / 1000) * 1000);
    else if (strcmp(target, "/") != 0)
        return answer(c, "404 Not Found", "{\"error\":\"no such page\"}\n", keep && !is_stopping(), !is_head);
    return answer(c, "200 OK", body, keep && !is_stopping(), !is_head);
}

/* Read on until a whole head is there. False when the connection ends. */
static bool read_head(struct connection *c)
{
    for (;;) {
        c->in[c->in_len] = '\0';
        if (strstr(c->in, "\r\n\r\n") != NULL)
            return true;
        if (c->in_len == REQUEST_SIZE_MAX) {
            (void)answer(c, "431 Request Header Fields Too Large", "{\"error\":\"head over 16 KiB\"}\n", false, true);
            return false;
        }
        if (!wait_readable(c, c->in_len == 0))
            return false;
        ssize_t n = recv(c->fd, c->in + c->in_len, REQUEST_SIZE_MAX - c->in_len, 0);
        if (n <= 0)
            return false;
        c->in_len += (size_t)n;
    }
}

static void *connection_run(void *arg)
{
    struct connection *c = arg;
    while (read_head(c)) {
        size_t head_len = (size_t)(strstr(c->in, "\r\n\r\n") + 4 - c->in);
        if (!serve(c, c->in))
            break;
        memmove(c->in, c->in + head_len, c->in_len - head_len);
        c->in_len -= head_len;
    }
    /* Say that nothing more comes, and let the peer read it before the socket is gone. */
    (void)shutdown(c->fd, SHUT_WR);
    (void)close(c->fd);
    free(c);
    (void)pthread_mutex_lock(&server.lock);
    server.connections_n--;
    (void)pthread_cond_signal(&server.one_ended);
    (void)pthread_mutex_unlock(&server.lock);
    return NULL;
}

static void connection_start(int fd, const pthread_attr_t *attr)
{
    struct connection *c = malloc(sizeof(*c));
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)pthread_mutex_lock(&server.lock);
    server.connections_n++;
    while (server.connections_n > CONNECTIONS_MAX)
        (void)pthread_cond_wait(&server.one_ended, &server.lock);
    (void)pthread_mutex_unlock(&server.lock);
    pthread_t thread;
    if (c != NULL) {
        c->fd = fd;
        c->in_len = 0;
        if (pthread_create(&thread, attr, connection_run, c) == 0)
            return;
    }
    free(c);
    (void)close(fd);
    (void)pthread_mutex_lock(&server.lock);
    server.connections_n--;
    (void)pthread_mutex_unlock(&server.lock);
}

/* --- start and stop */

static void on_term(int signal_number)
{
    (void)signal_number;
    int saved = errno;
    ssize_t n = write(server.stop_pipe[1], "x", 1);
    (void)n;
    errno = saved;
}

static int listen_on(const char *port_text)
{
    char *end = NULL;
    long port = strtol(port_text, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) {
        fprintf(stderr, "hello: PORT '%s' is not a port\n", port_text);
        return -1;
    }
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, zero = 0;
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_any};
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1024) != 0) {
        fprintf(stderr, "hello: listen on [::]:%ld: %s\n", port, strerror(errno));
        return -1;
    }
    return fd;
}

static void accept_until_stopped(int listener)
{
    pthread_attr_t attr;
    (void)pthread_attr_init(&attr);
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    for (;;) {
        struct pollfd p[2] = {{.fd = listener, .events = POLLIN}, {.fd = server.stop_pipe[0], .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            continue;
        if (p[1].revents != 0)
            return;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            connection_start(fd, &attr);
    }
}

int main(void)
{
    const char *port = getenv("PORT");
    int listener = listen_on(port == NULL || *port == '\0' ? "8080" : port);
    if (listener < 0 || pipe(server.stop_pipe) != 0)
        return 1;
    struct sigaction on_stop = {.sa_handler = on_term};
    (void)sigaction(SIGTERM, &on_stop, NULL);
    (void)sigaction(SIGINT, &on_stop, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    fprintf(stderr, "hello %s: listening on [::]:%s\n", VERSION, port == NULL ? "8080" : port);
    accept_until_stopped(listener);
    (void)close(listener);
    (void)pthread_mutex_lock(&server.lock);
    while (server.connections_n > 0)
        (void)pthread_cond_wait(&server.one_ended, &server.lock);
    (void)pthread_mutex_unlock(&server.lock);
    fprintf(stderr, "hello: stopped\n");
    return 0;
}
