/* Happy path: open -> its turn -> connect -> handshake, server's name checked -> idle -> send -> the answer, whole
 * -> on_answer -> idle. Failure: whatever goes wrong closes the link and is told as status 0; nothing is tried again
 * here. Answers must carry Content-Length, as all of the control plane's do but streams. */
#include "agents_link.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "crypto/cert.h"

/* An answer of all instances of a node with room for more than any has (chosen). */
#define ANSWER_SIZE_MAX ((size_t)16 * 1024 * 1024)
#define READ_SIZE 16384

struct link_watch {
    uv_poll_t poll;
    struct link *link; /* NULL: closed */
};

static void step(struct link *l);
static void begin_next(struct link_pool *p);

/* ---- the pool ---- */

enum err link_pool_init(struct link_pool *p, uv_loop_t *loop, const char *ca_file, const char *peer_uri,
                        struct errinfo *err)
{
    p->loop = loop;
    p->peer_uri = peer_uri;
    p->waiting_end = &p->waiting;
    p->tls = SSL_CTX_new(TLS_client_method());
    if (p->tls == NULL || SSL_CTX_load_verify_file(p->tls, ca_file) != 1)
        return err_set(err, ERR_INVALID, "the CA file '%s' is not one", ca_file);
    SSL_CTX_set_verify(p->tls, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_min_proto_version(p->tls, TLS1_2_VERSION);
    (void)SSL_CTX_set_session_cache_mode(p->tls, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(p->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return OK;
}

void link_pool_done(struct link_pool *p)
{
    SSL_CTX_free(p->tls);
    p->tls = NULL;
}

/* ---- closing ---- */

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void forget_wait(struct link *l)
{
    struct link_pool *p = l->pool;
    struct link **at = &p->waiting;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    if (l->next == NULL)
        p->waiting_end = at;
    l->next = NULL;
}

bool link_is_opening(const struct link *l)
{
    return l->state == LINK_CONNECTING || l->state == LINK_HANDSHAKING;
}

void link_close(struct link *l)
{
    if (l->state == LINK_CLOSED)
        return;
    if (l->state == LINK_WAITING)
        forget_wait(l);
    l->pool->opening_n -= link_is_opening(l);
    l->pool->open_n -= l->state == LINK_IDLE || l->state == LINK_BUSY;
    l->state = LINK_CLOSED;
    if (l->watch != NULL) {
        l->watch->link = NULL;
        uv_close((uv_handle_t *)&TAKE(l->watch)->poll, on_watch_closed);
        SSL_free(TAKE(l->ssl));
        (void)close(l->fd);
    }
    buf_done(&l->in);
    buf_done(&l->out);
    begin_next(l->pool);
}

static void lose(struct link *l, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    ERR_clear_error();
    err_ignore(err_set(&l->pool->last_err, ERR_UNAVAILABLE, "%s: %s", what, reason != NULL ? reason : strerror(errno)));
    l->pool->lost_n++;
    link_close(l);
    l->on_answer(l, 0, (struct str){0});
}

void link_lose(struct link *l, const char *why)
{
    assert(link_is_opening(l));
    errno = ETIMEDOUT;
    lose(l, why);
}

/* ---- opening ---- */

static void on_event(uv_poll_t *poll, int status, int events)
{
    const struct link_watch *w = poll->data;
    (void)events;
    if (w->link == NULL)
        return;
    if (status < 0)
        lose(w->link, "poll");
    else
        step(w->link);
}

static void want(const struct link *l, int events)
{
    (void)uv_poll_start(&l->watch->poll, events, on_event);
}

static bool begin(struct link *l)
{
    const int on = 1;
    bool is_bound = true;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return false;
    if (l->pool->source.sin_family != 0) {
        is_bound = setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) == 0 &&
                   bind(l->fd, (const struct sockaddr *)&l->pool->source, sizeof(l->pool->source)) == 0;
    }
    if (!is_bound || (connect(l->fd, (const struct sockaddr *)&l->to, sizeof(l->to)) != 0 && errno != EINPROGRESS)) {
        (void)close(l->fd);
        return false;
    }
    l->watch = mem_alloc(sizeof(*l->watch));
    l->watch->link = l;
    l->watch->poll.data = l->watch;
    (void)uv_poll_init_socket(l->pool->loop, &l->watch->poll, l->fd);
    l->ssl = SSL_new(l->pool->tls);
    (void)SSL_set_fd(l->ssl, l->fd);
    (void)SSL_use_certificate(l->ssl, l->cert);
    (void)SSL_use_PrivateKey(l->ssl, l->key);
    l->state = LINK_CONNECTING;
    l->since_us = clock_mono_us();
    l->pool->opening_n++;
    want(l, UV_WRITABLE);
    return true;
}

static void begin_next(struct link_pool *p)
{
    while (p->waiting != NULL && p->opening_n < p->opening_max) {
        struct link *l = p->waiting;
        forget_wait(l);
        l->state = LINK_CLOSED;
        if (!begin(l))
            lose(l, "connect");
    }
}

void link_open(struct link *l)
{
    assert(l->state == LINK_CLOSED);
    l->state = LINK_WAITING;
    l->next = NULL;
    *l->pool->waiting_end = l;
    l->pool->waiting_end = &l->next;
    begin_next(l->pool);
}

static bool is_the_one(const struct link *l)
{
    struct identity who;
    unsigned char *der = NULL;
    X509 *cert = SSL_get1_peer_certificate(l->ssl);
    int size = cert == NULL ? -1 : i2d_X509(cert, &der);
    bool is_it =
        size > 0 && cert_identity(der, (size_t)size, &who, NULL) == OK && identity_matches(&who, l->pool->peer_uri);
    OPENSSL_free(der);
    X509_free(cert);
    return is_it;
}

static void handshake(struct link *l)
{
    int rc = SSL_connect(l->ssl), why = SSL_get_error(l->ssl, rc);
    if (rc != 1 && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)) {
        want(l, why == SSL_ERROR_WANT_READ ? UV_READABLE : UV_WRITABLE);
        return;
    }
    if (rc != 1 || !is_the_one(l)) {
        lose(l, rc != 1 ? "handshake" : "the server is somebody else");
        return;
    }
    l->pool->handshakes_n++;
    l->pool->handshakes_us += (uint64_t)(clock_mono_us() - l->since_us);
    l->pool->opening_n--;
    l->pool->open_n++;
    l->state = LINK_IDLE;
    want(l, UV_READABLE);
    begin_next(l->pool);
    l->on_open(l);
}

static void connected(struct link *l)
{
    socklen_t size = sizeof(errno);
    int number = 0;
    (void)getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &number, &size);
    errno = number;
    if (number != 0) {
        lose(l, "connect");
        return;
    }
    l->state = LINK_HANDSHAKING;
    handshake(l);
}

/* ---- a request and its answer ---- */

void link_send(struct link *l, const char *method, const char *path, struct str body)
{
    assert(l->state == LINK_IDLE);
    l->state = LINK_BUSY;
    l->since_us = clock_mono_us();
    l->out_at = 0;
    buf_clear(&l->out);
    buf_addf(&l->out, "%s %s HTTP/1.1\r\nHost: control\r\nUser-Agent: slipform-bench\r\nAccept: */*\r\n", method, path);
    if (body.len > 0)
        buf_addf(&l->out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    buf_add_c(&l->out, "\r\n");
    buf_add_str(&l->out, body);
    step(l);
}

static void write_on(struct link *l)
{
    while (l->out_at < l->out.len) {
        int rc = SSL_write(l->ssl, l->out.ptr + l->out_at, (int)(l->out.len - l->out_at));
        if (rc > 0) {
            l->out_at += (size_t)rc;
            continue;
        }
        int why = SSL_get_error(l->ssl, rc);
        if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ)
            want(l, why == SSL_ERROR_WANT_READ ? UV_READABLE : UV_WRITABLE);
        else
            lose(l, "write");
        return;
    }
    want(l, UV_READABLE);
    buf_done(&l->out); /* thousands wait at a time */
}

static bool length_of(struct str head, uint64_t *ret)
{
    struct str line;
    while (str_next(&head, '\n', &line))
        if (line.len > 15 && strncasecmp(line.ptr, "Content-Length:", 15) == 0)
            return str_parse_u64(str_trim(str_slice(line, 15, line.len)), ANSWER_SIZE_MAX, ret);
    return false;
}

/* Whether the answer is whole. It may call its owner, and *l may be anything afterwards. */
static bool take_answer(struct link *l)
{
    const char *end = l->in.len == 0 ? NULL : memmem(l->in.ptr, l->in.len, "\r\n\r\n", 4);
    uint64_t size = 0, status = 0;
    if (end == NULL)
        return false;
    size_t head = (size_t)(end - l->in.ptr) + 4;
    if (l->in.len < 12 || !str_parse_u64((struct str){l->in.ptr + 9, 3}, 999, &status) ||
        !length_of((struct str){l->in.ptr, head}, &size)) {
        lose(l, "an answer that is not understood");
        return true;
    }
    if (l->in.len < head + size)
        return false;
    AUTO(buf) struct buf in = l->in;
    l->in = (struct buf){0};
    l->state = LINK_IDLE;
    l->on_answer(l, (int)status, (struct str){in.ptr + head, size});
    return true;
}

static void read_on(struct link *l)
{
    for (;;) {
        buf_reserve(&l->in, READ_SIZE);
        int rc = SSL_read(l->ssl, l->in.ptr + l->in.len, READ_SIZE);
        if (rc <= 0) {
            int why = SSL_get_error(l->ssl, rc);
            if (l->in.len == 0)
                buf_done(&l->in);
            if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                lose(l, "read");
            return;
        }
        l->in.len += (size_t)rc;
        if (l->state != LINK_BUSY || l->in.len > ANSWER_SIZE_MAX) {
            lose(l, "bytes that nobody asked for");
            return;
        }
        if (take_answer(l))
            return;
    }
}

static void step(struct link *l)
{
    if (l->state == LINK_CONNECTING)
        connected(l);
    else if (l->state == LINK_HANDSHAKING)
        handshake(l);
    else if (l->state == LINK_BUSY && l->out.len > 0)
        write_on(l);
    else
        read_on(l);
}
