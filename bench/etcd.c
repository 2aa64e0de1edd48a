/* bench-etcd PORT,… N CLIENTS BYTES: how many compare-and-puts etcd does for CLIENTS programs at the same time.
 *
 * Each is a process with a connection of its own to one of the servers of this machine, in turn, and a key of its own:
 * N transactions "if the key has been put k times, put BYTES bytes", k counting on. gRPC by hand over HTTP/2
 * (etcdserverpb.KV/Txn of etcd's rpc.proto): a client in C that does nothing else. Prints {"puts_per_s":…}. Not
 * installed; bench/run calls it.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "base/str.h"

enum { N_MAX = 100000, CLIENTS_MAX = 32, BYTES_MAX = 65536, GRPC_HEAD = 5 };

struct client {
    nghttp2_session *h2;
    int fd;
    uint16_t port;
    char key[64];
    uint64_t put_n; /* times */
    size_t bytes, sent;
    struct buf question, answer;
    bool is_open, is_status_ok;
};

/* ---- protobuf ---- */

static void add_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_add_char(b, (char)(v | 0x80));
    buf_add_char(b, (char)v);
}

static void add_number(struct buf *b, unsigned field, uint64_t v)
{
    add_varint(b, field << 3);
    add_varint(b, v);
}

static void add_bytes(struct buf *b, unsigned field, struct str s)
{
    add_varint(b, field << 3 | 2);
    add_varint(b, s.len);
    buf_add(b, s.ptr, s.len);
}

/* TxnRequest{compare{result EQUAL, target VERSION, key, version}, success{request_put{key, value}}}, and in front what
 * gRPC puts before a message. */
static void build_question(struct client *c)
{
    AUTO(buf) struct buf compare = {0}, put = {0}, op = {0}, txn = {0};
    auto_free char *value = mem_alloc(c->bytes);
    memset(value, 'x', c->bytes);
    add_number(&compare, 1, 0);
    add_number(&compare, 2, 0);
    add_bytes(&compare, 3, str_from(c->key));
    add_number(&compare, 4, c->put_n);
    add_bytes(&put, 1, str_from(c->key));
    add_bytes(&put, 2, (struct str){value, c->bytes});
    add_bytes(&op, 2, buf_str(&put));
    add_bytes(&txn, 1, buf_str(&compare));
    add_bytes(&txn, 2, buf_str(&op));
    buf_clear(&c->question);
    buf_add_char(&c->question, 0); /* not compressed */
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_add_char(&c->question, (char)(txn.len >> shift));
    buf_add(&c->question, txn.ptr, txn.len);
}

/* TxnResponse.succeeded, its second field; the first is the header. */
static bool has_succeeded(const struct client *c)
{
    const unsigned char *p = (const unsigned char *)c->answer.ptr;
    size_t at = GRPC_HEAD, n = c->answer.len;
    if (n < GRPC_HEAD + 2 || p[at] != (1 << 3 | 2))
        return false;
    at += 2 + (size_t)p[at + 1]; /* a header is shorter than 128 bytes */
    return at + 2 <= n && p[at] == 2 << 3 && p[at + 1] == 1;
}

/* ---- HTTP/2 ---- */

static ssize_t give_body(nghttp2_session *h2, int32_t stream, uint8_t *to, size_t n, uint32_t *flags,
                         nghttp2_data_source *from, void *ctx)
{
    struct client *c = from->ptr;
    size_t left = c->question.len - c->sent;
    (void)h2, (void)stream, (void)ctx;
    n = n < left ? n : left;
    memcpy(to, c->question.ptr + c->sent, n);
    c->sent += n;
    if (c->sent == c->question.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_body(nghttp2_session *h2, uint8_t flags, int32_t stream, const uint8_t *bytes, size_t n, void *ctx)
{
    (void)h2, (void)flags, (void)stream;
    buf_add(&((struct client *)ctx)->answer, bytes, n);
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct client *c = ctx;
    (void)h2, (void)frame, (void)flags;
    if (str_eq_c((struct str){(const char *)name, name_n}, "grpc-status"))
        c->is_status_ok = str_eq_c((struct str){(const char *)value, value_n}, "0");
    return 0;
}

static int on_end(nghttp2_session *h2, int32_t stream, uint32_t code, void *ctx)
{
    (void)h2, (void)stream, (void)code;
    ((struct client *)ctx)->is_open = false;
    return 0;
}

static bool connect_to(struct client *c)
{
    int yes = 1;
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    nghttp2_session_callbacks *calls = NULL;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        nghttp2_session_callbacks_new(&calls) != 0)
        return false;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_body);
    nghttp2_session_callbacks_set_on_header_callback(calls, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_end);
    int rc = nghttp2_session_client_new(&c->h2, calls, c);
    nghttp2_session_callbacks_del(calls);
    return rc == 0 && nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, NULL, 0) == 0;
}

static bool send_frames(struct client *c)
{
    const uint8_t *bytes = NULL;
    ssize_t n = 0;
    while ((n = nghttp2_session_mem_send(c->h2, &bytes)) > 0)
        if (send(c->fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
            return false;
    return n == 0;
}

#define HEADER(name, value)                                                                                            \
    {(uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1, sizeof(value) - 1,                 \
     NGHTTP2_NV_FLAG_NONE}

static bool ask(struct client *c)
{
    const nghttp2_nv headers[] = {HEADER(":method", "POST"),
                                  HEADER(":scheme", "http"),
                                  HEADER(":path", "/etcdserverpb.KV/Txn"),
                                  HEADER(":authority", "127.0.0.1"),
                                  HEADER("content-type", "application/grpc"),
                                  HEADER("te", "trailers")};
    nghttp2_data_provider body = {.source.ptr = c, .read_callback = give_body};
    uint8_t bytes[16384];
    c->sent = 0;
    c->is_open = nghttp2_submit_request(c->h2, NULL, headers, sizeof(headers) / sizeof(*headers), &body, NULL) > 0;
    if (!c->is_open || !send_frames(c))
        return false;
    while (c->is_open) {
        ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
        if (n <= 0 || nghttp2_session_mem_recv(c->h2, bytes, (size_t)n) != n || !send_frames(c))
            return false;
    }
    return true;
}

static bool put(struct client *c)
{
    build_question(c);
    buf_clear(&c->answer);
    c->is_status_ok = false;
    bool is_done = ask(c) && c->is_status_ok && has_succeeded(c);
    if (!is_done)
        (void)fprintf(stderr, "bench-etcd: put %llu of '%s' failed; the answer has %zu bytes\n",
                      (unsigned long long)c->put_n + 1, c->key, c->answer.len);
    c->put_n++;
    return is_done;
}

/* In a process of its own: say that it is connected, wait for the start, put. */
static int client(struct client *c, uint64_t n, int open_fd, int start_fd)
{
    uint64_t name = 0;
    char one = '1';
    random_bytes(&name, sizeof(name));
    (void)snprintf(c->key, sizeof(c->key), "bench/%016llx", (unsigned long long)name);
    bool is_good = connect_to(c) && put(c);
    is_good = write(open_fd, &one, 1) == 1 && read(start_fd, &one, 1) == 0 && is_good;
    for (uint64_t i = 0; is_good && i < n; i++)
        is_good = put(c);
    nghttp2_session_del(c->h2);
    (void)close(c->fd);
    buf_done(&c->question);
    buf_done(&c->answer);
    return is_good ? 0 : 1;
}

/* The i-th of the ports, in turn; 0: it is none. */
static uint16_t port_of(const char *list, uint64_t i)
{
    struct str rest = str_from(list), one = {NULL, 0};
    uint64_t n = 0, port = 0;
    while (str_next(&rest, ',', &one))
        n++;
    if (n == 0)
        return 0;
    rest = str_from(list);
    for (uint64_t k = 0; k <= i % n; k++)
        (void)str_next(&rest, ',', &one);
    return str_parse_u64(one, UINT16_MAX, &port) ? (uint16_t)port : 0;
}

int main(int argc, char **argv)
{
    uint64_t n = 0, clients = 0, bytes = 0;
    int open_fds[2], start_fds[2], failed = 0;
    if (argc != 5 || !str_parse_u64(str_from(argv[2]), N_MAX, &n) ||
        !str_parse_u64(str_from(argv[3]), CLIENTS_MAX, &clients) ||
        !str_parse_u64(str_from(argv[4]), BYTES_MAX, &bytes) || clients == 0 || bytes == 0) {
        (void)fprintf(stderr, "usage: bench-etcd PORT,... N CLIENTS BYTES\n");
        return 2;
    }
    if (pipe(open_fds) != 0 || pipe(start_fds) != 0)
        return 1;
    for (uint64_t i = 0; i < clients; i++) {
        if (fork() == 0) {
            struct client c = {.port = port_of(argv[1], i), .bytes = (size_t)bytes};
            (void)close(start_fds[1]);
            _exit(client(&c, n, open_fds[1], start_fds[0]));
        }
    }
    (void)close(open_fds[1]);
    char one;
    for (uint64_t i = 0; i < clients; i++)
        failed += read(open_fds[0], &one, 1) != 1;
    int64_t from_us = clock_mono_us();
    (void)close(start_fds[1]);
    for (uint64_t i = 0; i < clients; i++) {
        int status = 0;
        failed += wait(&status) < 0 || status != 0;
    }
    (void)printf("{\"puts_per_s\":%.1f}\n", (double)(n * clients) * 1e6 / (double)(clock_mono_us() - from_us));
    return failed == 0 ? 0 : 1;
}
