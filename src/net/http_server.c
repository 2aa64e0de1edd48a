/* Happy path: open binds every address -> one libmicrohttpd daemon each, without a thread -> its epoll descriptor
 * becomes readable -> MHD_run -> access callback (http_request.c) -> timer set to the daemon's next timeout.
 * Failure: a peer that stalls is closed by the daemon's idle timeout; one that leaves while its request waits is seen
 * by the request's own watch. Closing: no new connections, waiting requests are cancelled, running ones get the grace.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "base/own.h"
#include "crypto/file.h"
#include "net/http_private.h"

/* 2048 of the 20,000 descriptors that a process here may have; others are for guests and files (chosen). */
#define CONNECTIONS_MAX_DEFAULT 2048u
/* 75 s: as long as common proxies keep an idle connection (nginx's keepalive_timeout). */
#define IDLE_TIMEOUT_DEFAULT_S 75u
/* 32 KiB: libmicrohttpd uses half for input, which bounds the headers as well: 16 KiB are twice what nginx takes in one
 * line. It is written all over after each request, so each connection that was ever used holds it, and nodes hold two:
 * 53 KiB for a connection with its TLS, 97 with 64 KiB here (measured with bench/agents.c). */
#define CONNECTION_MEMORY_SIZE (32u * 1024u)
/* 64 ms between two looks at a handshake that does not go on. */
#define IDLE_DOUBLINGS_MAX 6u
#define TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct tls_pem {
    struct buf cert, key;
};

static void tls_pem_done(struct tls_pem *p)
{
    buf_done(&p->cert);
    secret_done(&p->key);
}

/* ---- running a daemon on the loop ---- */

static void listener_run(struct http_listener *l);

static void on_timer(uv_timer_t *timer)
{
    listener_run(timer->data);
}

static void on_soon(uv_idle_t *idle)
{
    listener_run(idle->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct http_listener *l = poll->data;
    l->idle_runs_n = 0;
    listener_run(l);
}

/* "At once" means the next round of the loop, with one exception. libmicrohttpd 0.9.75 calls a connection readable for
 * as long as its TLS handshake is unfinished, so a client that stops in the middle would keep us spinning until its
 * idle timeout. When no request is active it can only be that: then look again after 1, 2, 4 ... ms. A byte that does
 * arrive wakes the epoll descriptor anyway (test_net: half_a_handshake_costs_nothing). */
static void run_at_once(struct http_listener *l)
{
    if (l->server->requests_n > l->server->suspended_n) {
        l->idle_runs_n = 0;
        uv_idle_start(&l->soon, on_soon);
        return;
    }
    unsigned doublings = l->idle_runs_n < IDLE_DOUBLINGS_MAX ? l->idle_runs_n++ : IDLE_DOUBLINGS_MAX;
    uv_idle_stop(&l->soon);
    uv_timer_start(&l->timer, on_timer, 1u << doublings, 0);
}

/* The connection of a woken request stays suspended until here: nothing frees the request meanwhile. */
static void resume_woken(struct http_listener *l)
{
    struct http_request *r = TAKE(l->woken);
    while (r != NULL) {
        struct http_request *next = r->next_woken;
        r->next_woken = NULL;
        l->server->suspended_n--;
        MHD_resume_connection(r->mhd);
        r = next;
    }
}

static void listener_run(struct http_listener *l)
{
    if (l->running || l->daemon == NULL)
        return;
    l->running = true;
    uv_idle_stop(&l->soon);
    if (!uv_is_active((uv_handle_t *)&l->wakes))
        resume_woken(l);
    (void)MHD_run(l->daemon);
    l->running = false;
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    if (MHD_get_timeout(l->daemon, &timeout_ms) != MHD_YES)
        uv_timer_stop(&l->timer);
    else if (timeout_ms == 0)
        run_at_once(l);
    else
        uv_timer_start(&l->timer, on_timer, timeout_ms, 0);
}

void http_listener_kick(struct http_listener *l)
{
    if (!uv_is_closing((uv_handle_t *)&l->soon))
        uv_idle_start(&l->soon, on_soon);
}

unsigned http_wakes_after_ms(size_t suspended_n)
{
    size_t ms =
        suspended_n / 500; /* a look at 500 takes some 10 us (2,000: 40 us); so at most a hundredth of the time */
    return ms < 20 ? (unsigned)ms : 20;
}

void http_listener_wake(struct http_listener *l, struct http_request *r)
{
    unsigned after_ms = http_wakes_after_ms(l->server->suspended_n);
    r->next_woken = l->woken;
    l->woken = r;
    if (uv_is_closing((uv_handle_t *)&l->wakes))
        return;
    if (after_ms == 0)
        http_listener_kick(l);
    else if (!uv_is_active((uv_handle_t *)&l->wakes))
        (void)uv_timer_start(&l->wakes, on_timer, after_ms, 0);
}

/* ---- open ---- */

/* Escapes are decoded by http_route.c, which knows where a segment ends; '+' was made a space already. */
static size_t keep_escapes(void *cls, struct MHD_Connection *c, char *text)
{
    (void)cls, (void)c;
    return strlen(text);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_listener *l = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        free(TAKE(*socket_context));
        return;
    }
    struct http_connection *connection = mem_alloc(sizeof(*connection));
    connection->listener = l;
    *socket_context = connection;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (l->server->o.cert_file != NULL && info != NULL && info->tls_session != NULL)
        http_tls_begin(info->tls_session, l->server->o.client_cert);
}

static struct MHD_Daemon *daemon_start(struct http_listener *l, const struct tls_pem *tls)
{
    const struct http_server *s = l->server;
    struct MHD_OptionItem tls_options[5] = {{MHD_OPTION_END, 0, NULL}};
    if (tls != NULL) {
        size_t n = 0;
        tls_options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, tls->cert.ptr};
        tls_options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, tls->key.ptr};
        tls_options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES};
        if (s->o.client_cert != HTTP_CLIENT_CERT_NONE)
            tls_options[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, s->trust_pem.ptr};
        tls_options[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (tls != NULL ? (unsigned)MHD_USE_TLS : 0u);
    return MHD_start_daemon(
        flags, 0, NULL, NULL, http_request_access, l, MHD_OPTION_LISTEN_SOCKET, l->fd, MHD_OPTION_NOTIFY_COMPLETED,
        http_request_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_SIZE,
        MHD_OPTION_CONNECTION_LIMIT, s->o.connections_max, MHD_OPTION_CONNECTION_TIMEOUT, s->o.idle_timeout_s,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_ARRAY, tls_options, MHD_OPTION_END);
}

static enum err listener_open(struct http_server *s, struct http_listener *l, const char *address,
                              const struct tls_pem *tls, struct errinfo *err)
{
    l->server = s;
    enum err rc = http_listen(address, &l->fd, l->address, sizeof(l->address), &l->port, err);
    if (rc != OK)
        return rc;
    l->daemon = daemon_start(l, tls);
    if (l->daemon == NULL && fcntl(l->fd, F_GETFD) < 0)
        l->fd = -1; /* some of its ways to fail close the socket */
    if (l->daemon == NULL)
        return err_set(err, tls != NULL ? ERR_INVALID : ERR_IO, "start the HTTP server on '%s'%s", l->address,
                       tls != NULL ? ": is the certificate of the key, and both PEM?" : "");
    l->fd = -1; /* the daemon's now */
    int epoll_fd = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (uv_poll_init(s->o.loop, &l->poll, epoll_fd) != 0)
        return err_set(err, ERR_IO, "watch the HTTP server on '%s'", l->address);
    (void)uv_timer_init(s->o.loop, &l->timer);
    (void)uv_idle_init(s->o.loop, &l->soon);
    (void)uv_timer_init(s->o.loop, &l->wakes);
    l->poll.data = l->timer.data = l->soon.data = l->wakes.data = l;
    l->has_handles = true;
    s->handles_n += 4;
    (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
    return OK;
}

static enum err tls_read(struct http_server *s, struct tls_pem *ret, struct errinfo *err)
{
    const struct http_server_options *o = &s->o;
    if (o->key_file == NULL || (o->client_cert != HTTP_CLIENT_CERT_NONE && o->ca_file == NULL))
        return err_set(err, ERR_INVALID, "a TLS server needs a key file, and a CA file to check clients");
    enum err rc = crypto_file_read(o->cert_file, &ret->cert, err);
    if (rc == OK)
        rc = crypto_file_read(o->key_file, &ret->key, err);
    if (rc == OK && o->client_cert != HTTP_CLIENT_CERT_NONE)
        rc = crypto_file_read(o->ca_file, &s->trust_pem, err);
    if (rc == OK && (ret->cert.len == 0 || ret->key.len == 0))
        rc = err_set(err, ERR_INVALID, "'%s' or '%s' is empty", o->cert_file, o->key_file);
    if (rc == OK && o->client_cert != HTTP_CLIENT_CERT_NONE && s->trust_pem.len == 0)
        rc = err_set(err, ERR_INVALID, "'%s' is empty", o->ca_file);
    return rc;
}

static void set_defaults(struct http_server_options *o)
{
    if (o->body_limit_bytes == 0)
        o->body_limit_bytes = HTTP_BODY_LIMIT_DEFAULT;
    if (o->connections_max == 0)
        o->connections_max = CONNECTIONS_MAX_DEFAULT;
    if (o->idle_timeout_s == 0)
        o->idle_timeout_s = IDLE_TIMEOUT_DEFAULT_S;
}

static enum err open_all(struct http_server *s, struct errinfo *err)
{
    struct tls_pem tls = {0};
    bool has_tls = s->o.cert_file != NULL;
    enum err rc = has_tls ? tls_read(s, &tls, err) : OK;
    for (size_t i = 0; rc == OK && i < s->listeners_n; i++)
        rc = listener_open(s, &s->listeners[i], s->o.listen[i], has_tls ? &tls : NULL, err);
    tls_pem_done(&tls);
    return rc;
}

enum err http_server_open(const struct http_server_options *o, struct http_server **ret_server, struct errinfo *err)
{
    enum err rc = http_routes_check(o->routes, o->routes_n, err);
    if (rc != OK)
        return rc;
    if (o->listen_n == 0)
        return err_set(err, ERR_INVALID, "the HTTP server has no listen address");
    /* For sendfile and the TLS library, which cannot say MSG_NOSIGNAL; nothing of ours wants the signal. */
    (void)signal(SIGPIPE, SIG_IGN);
    struct http_server *s = mem_alloc(sizeof(*s));
    s->o = *o;
    set_defaults(&s->o);
    s->listeners_n = o->listen_n;
    s->listeners = mem_calloc(o->listen_n, sizeof(*s->listeners));
    for (size_t i = 0; i < s->listeners_n; i++)
        s->listeners[i].fd = -1;
    (void)uv_timer_init(o->loop, &s->close_timer);
    s->close_timer.data = s;
    s->handles_n = 1;
    rc = open_all(s, err);
    if (rc != OK) {
        http_server_close(s, 0, NULL, NULL);
        return rc;
    }
    *ret_server = s;
    return OK;
}

size_t http_server_addresses_n(const struct http_server *s)
{
    return s->listeners_n;
}

const char *http_server_address(const struct http_server *s, size_t i)
{
    assert(i < s->listeners_n);
    return s->listeners[i].address;
}

int http_server_port(const struct http_server *s, size_t i)
{
    assert(i < s->listeners_n);
    return s->listeners[i].port;
}

/* ---- close ---- */

static void server_handle_closed(struct http_server *s)
{
    if (--s->handles_n > 0)
        return;
    void (*on_closed)(void *ctx) = s->on_closed;
    void *ctx = s->on_closed_ctx;
    buf_done(&s->trust_pem);
    free(s->listeners);
    free(s);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void on_listener_handle_closed(uv_handle_t *handle)
{
    server_handle_closed(((struct http_listener *)handle->data)->server);
}

static void on_server_handle_closed(uv_handle_t *handle)
{
    server_handle_closed(handle->data);
}

static void listener_stop(struct http_listener *l)
{
    if (l->has_handles) {
        uv_close((uv_handle_t *)&l->poll, on_listener_handle_closed);
        uv_close((uv_handle_t *)&l->timer, on_listener_handle_closed);
        uv_close((uv_handle_t *)&l->soon, on_listener_handle_closed);
        uv_close((uv_handle_t *)&l->wakes, on_listener_handle_closed);
    }
    resume_woken(l);
    if (l->daemon != NULL)
        MHD_stop_daemon(TAKE(l->daemon));
    if (l->fd >= 0)
        (void)close(TAKE_FD(l->fd));
}

static void finish_close(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    for (struct http_request *r = s->requests; r != NULL; r = r->next)
        if (r->suspended)
            http_request_wake(r); /* a daemon cannot be stopped with suspended connections */
    for (size_t i = 0; i < s->listeners_n; i++)
        listener_stop(&s->listeners[i]);
    uv_close((uv_handle_t *)&s->close_timer, on_server_handle_closed);
}

void http_server_request_gone(struct http_server *s)
{
    if (s->closing && s->requests_n == 0 && !uv_is_closing((uv_handle_t *)&s->close_timer))
        uv_timer_start(&s->close_timer, finish_close, 0, 0);
}

static void stop_listening(struct http_listener *l)
{
    if (l->daemon == NULL)
        return;
    int fd = MHD_quiesce_daemon(l->daemon);
    if (fd >= 0)
        (void)close(fd);
}

void http_server_close(struct http_server *s, unsigned grace_ms, void (*on_closed)(void *ctx), void *ctx)
{
    assert(!s->closing);
    s->closing = true;
    s->on_closed = on_closed;
    s->on_closed_ctx = ctx;
    for (size_t i = 0; i < s->listeners_n; i++)
        stop_listening(&s->listeners[i]);
    for (struct http_request *r = s->requests, *next = NULL; r != NULL; r = next) {
        next = r->next;
        http_request_cancel_for_close(r);
    }
    uv_timer_start(&s->close_timer, finish_close, s->requests_n == 0 ? 0 : grace_ms, 0);
}
