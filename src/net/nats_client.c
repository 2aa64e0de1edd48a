/* One state, moved by tick() only:
 *
 *   WAITING --timer--> CONNECTING (pool) --ok--> UP --lost, close--> LEAVING (pool) --> WAITING | GONE
 *                          '------refused------> WAITING
 *
 * A connection belongs to the pool while CONNECTING and LEAVING, to the loop while UP. libnats never connects by
 * itself. Its threads hold the inbox, which is counted: one reference of the client, one of each subscription that
 * lives, dropped by the library's own word that no message of it comes any more. */
#include "net/nats_client.h"

#include <nats/nats.h>

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/own.h"
#include "net/nats_connect.h"

enum state { WAITING, CONNECTING, UP, LEAVING, GONE };

/* What libnats' threads see. */
struct slot {
    struct inbox *inbox;
    char payload[NATS_CLIENT_PAYLOAD_MAX];
    size_t size;
    bool has_news;
};
struct inbox {
    uv_mutex_t mutex;
    uv_async_t *wake; /* NULL: nobody listens any more */
    _Atomic unsigned refs;
    struct slot slots[NATS_CLIENT_SUBSCRIPTIONS_MAX];
};

struct subscription {
    char subject[NATS_CLIENT_SUBJECT_SIZE];
    nats_client_received_fn received;
    void *ctx;
    natsSubscription *handle; /* with the connection */
};

struct nats_client {
    struct nats_client_options o;
    struct arena arena;
    enum state state;
    uv_timer_t timer;
    uv_async_t wake;
    uv_work_t work;
    natsConnection *conn;
    struct inbox *inbox;
    struct subscription subs[NATS_CLIENT_SUBSCRIPTIONS_MAX];
    size_t subs_n, handles;
    enum err rc; /* of the work */
    struct errinfo why;
    bool is_closing, is_told_down;
    natsStatus refused; /* last refusal that was told */
    unsigned failures_n;
    uint64_t jitter;
    struct nats_client_counts counts;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- in threads of libnats ---- */

static void inbox_unref(struct inbox *b)
{
    if (atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    uv_mutex_destroy(&b->mutex);
    free(b);
}

static void on_message(natsConnection *conn, natsSubscription *sub, natsMsg *m, void *closure)
{
    (void)conn, (void)sub;
    struct slot *s = closure;
    size_t size = (size_t)natsMsg_GetDataLength(m);
    uv_mutex_lock(&s->inbox->mutex);
    s->size = size < sizeof(s->payload) ? size : sizeof(s->payload);
    memcpy(s->payload, natsMsg_GetData(m), s->size);
    s->has_news = true;
    if (s->inbox->wake != NULL)
        (void)uv_async_send(s->inbox->wake); /* cannot fail on an open handle */
    uv_mutex_unlock(&s->inbox->mutex);
    natsMsg_Destroy(m);
}

static void on_no_more(void *closure)
{
    const struct slot *s = closure;
    inbox_unref(s->inbox);
}

/* ---- in the pool ---- */

static natsStatus set_options(const struct nats_client *c, natsOptions *o)
{
    bool is_tls = strncmp(c->o.servers[0], "tls://", 6) == 0;
    natsStatus st = natsOptions_SetAllowReconnect(o, false);
    if (st == NATS_OK)
        st = natsOptions_SetTimeout(o, NATS_CLIENT_CONNECT_MS);
    if (st == NATS_OK)
        st = natsOptions_SetWriteDeadline(o, NATS_CLIENT_CONNECT_MS);
    if (st == NATS_OK)
        st = natsOptions_SetPingInterval(o, NATS_CLIENT_PING_MS);
    if (st == NATS_OK)
        st = natsOptions_SetMaxPingsOut(o, 2);
    if (st == NATS_OK)
        st = natsOptions_SetName(o, c->o.name);
    if (st == NATS_OK && is_tls)
        st = natsOptions_LoadCATrustedCertificates(o, c->o.ca_file);
    if (st == NATS_OK && is_tls)
        st = natsOptions_LoadCertificatesChain(o, c->o.cert_file, c->o.key_file);
    if (st == NATS_OK && is_tls)
        st = natsOptions_SetSecure(o, true);
    return st;
}

static natsStatus subscribe_all(struct nats_client *c)
{
    natsStatus st = NATS_OK;
    for (size_t i = 0; i < c->handles && st == NATS_OK; i++) {
        struct subscription *s = &c->subs[i];
        atomic_fetch_add(&c->inbox->refs, 1);
        st = natsConnection_Subscribe(&s->handle, c->conn, s->subject, on_message, &c->inbox->slots[i]);
        if (st != NATS_OK)
            inbox_unref(c->inbox);
        else /* refused only when the connection is lost already: then the reference is never dropped, a small leak */
            st = natsSubscription_SetOnCompleteCB(s->handle, on_no_more, &c->inbox->slots[i]);
    }
    return st == NATS_OK ? natsConnection_FlushTimeout(c->conn, NATS_CLIENT_CONNECT_MS) : st;
}

static void drop_connection(struct nats_client *c)
{
    natsSubscription *subs[NATS_CLIENT_SUBSCRIPTIONS_MAX];
    for (size_t i = 0; i < c->handles; i++) {
        subs[i] = c->subs[i].handle;
        c->subs[i].handle = NULL;
    }
    nats_leave(c->conn, subs, c->handles);
    c->conn = NULL;
}

static void connect_work(uv_work_t *work)
{
    struct nats_client *c = work->data;
    const struct nats_files files = {c->o.ca_file, c->o.cert_file, c->o.key_file};
    const char *server = c->o.servers[0];
    natsOptions *o = NULL;
    natsStatus st = natsOptions_Create(&o);
    if (st == NATS_OK)
        st = set_options(c, o);
    if (st == NATS_OK)
        st = nats_connect_any(o, c->o.servers, c->o.servers_n, 0, &c->conn, &server);
    if (st == NATS_OK)
        st = subscribe_all(c);
    natsOptions_Destroy(o);
    c->rc = OK;
    if (st == NATS_OK)
        return;
    c->rc = nats_connect_err(st, server, &files, &c->why);
    drop_connection(c);
}

static void leave_work(uv_work_t *work)
{
    drop_connection(work->data);
}

/* ---- in the loop ---- */

static void tick(struct nats_client *c);

static void on_timer(uv_timer_t *timer)
{
    tick(timer->data);
}

/* xorshift64: spreading needs no better one. */
static uint64_t jitter_next(struct nats_client *c)
{
    c->jitter ^= c->jitter << 13;
    c->jitter ^= c->jitter >> 7;
    c->jitter ^= c->jitter << 17;
    return c->jitter;
}

static void wait_and_try(struct nats_client *c)
{
    unsigned max = c->o.backoff_max_ms != 0 ? c->o.backoff_max_ms : NATS_CLIENT_BACKOFF_MAX_MS;
    uint64_t ms = (uint64_t)NATS_CLIENT_BACKOFF_FIRST_MS << (c->failures_n < 16 ? c->failures_n : 16);
    if (ms > max)
        ms = max;
    c->failures_n++;
    c->state = WAITING;
    (void)uv_timer_start(&c->timer, on_timer, ms / 2 + jitter_next(c) % (ms + 1), 0);
}

static void say_down(struct nats_client *c)
{
    if (c->is_told_down || c->is_closing)
        return;
    c->is_told_down = true;
    if (c->o.on_state != NULL)
        c->o.on_state(c->o.ctx, false, &c->why);
}

static void give(struct nats_client *c, const struct subscription *s, struct str payload)
{
    if (c->is_closing)
        return;
    c->counts.received++;
    s->received(s->ctx, payload);
}

static void say_up(struct nats_client *c)
{
    bool is_again = c->counts.connected++ > 0;
    c->counts.is_up = true;
    c->is_told_down = false;
    c->refused = NATS_OK;
    if (c->o.on_state != NULL)
        c->o.on_state(c->o.ctx, true, NULL);
    for (size_t i = 0; is_again && i < c->handles; i++)
        give(c, &c->subs[i], (struct str){"", 0});
}

static void on_wake(uv_async_t *wake)
{
    struct nats_client *c = wake->data;
    for (size_t i = 0; i < c->subs_n; i++) {
        struct slot *s = &c->inbox->slots[i];
        char payload[NATS_CLIENT_PAYLOAD_MAX];
        uv_mutex_lock(&c->inbox->mutex);
        bool has_news = s->has_news;
        size_t size = s->size;
        memcpy(payload, s->payload, size);
        s->has_news = false;
        uv_mutex_unlock(&c->inbox->mutex);
        if (has_news)
            give(c, &c->subs[i], (struct str){payload, size});
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct nats_client *c = handle->data;
    if (uv_is_closing((uv_handle_t *)&c->timer) == 0) { /* the other one */
        uv_close((uv_handle_t *)&c->timer, on_handle_closed);
        return;
    }
    inbox_unref(c->inbox);
    if (c->closed != NULL)
        c->closed(c->closed_ctx);
    arena_done(&c->arena);
    free(c);
}

static void finish(struct nats_client *c)
{
    c->state = GONE;
    uv_close((uv_handle_t *)&c->wake, on_handle_closed);
}

static void on_left(uv_work_t *work, int status)
{
    (void)status;
    struct nats_client *c = work->data;
    if (c->is_closing)
        finish(c);
    else
        wait_and_try(c);
}

static void leave(struct nats_client *c)
{
    c->state = LEAVING;
    c->counts.is_up = false;
    (void)uv_timer_stop(&c->timer);
    (void)uv_queue_work(c->o.loop, &c->work, leave_work, on_left); /* fails only without a work function */
}

static void on_connected(uv_work_t *work, int status)
{
    (void)status;
    struct nats_client *c = work->data;
    if (c->rc == OK) {
        c->state = UP;
        c->failures_n = 0;
        if (!c->is_closing) {
            (void)uv_timer_start(&c->timer, on_timer, NATS_CLIENT_LOOK_MS, NATS_CLIENT_LOOK_MS);
            say_up(c);
        }
        tick(c);
    } else if (c->is_closing) {
        finish(c);
    } else {
        wait_and_try(c);
        say_down(c);
    }
}

/* The server refuses a subject: it says so behind our back, and the connection goes on. */
static void look_for_refusal(struct nats_client *c)
{
    const char *text = NULL;
    natsStatus st = natsConnection_GetLastError(c->conn, &text);
    if (st != NATS_NOT_PERMITTED || c->refused == st)
        return;
    c->refused = st;
    struct errinfo why;
    err_ignore(err_set(&why, ERR_DENIED, "NATS refuses this identity: %s", text == NULL ? "" : text));
    if (c->o.on_state != NULL)
        c->o.on_state(c->o.ctx, true, &why);
}

static void tick(struct nats_client *c)
{
    switch (c->state) {
    case WAITING:
        if (c->is_closing) {
            finish(c);
            return;
        }
        c->state = CONNECTING;
        c->handles = c->subs_n;
        (void)uv_queue_work(c->o.loop, &c->work, connect_work, on_connected);
        return;
    case UP:
        if (c->is_closing) {
            leave(c);
        } else if (natsConnection_IsClosed(c->conn)) {
            err_ignore(err_set(&c->why, ERR_UNAVAILABLE, "the connection to NATS is lost"));
            leave(c);
            say_down(c);
        } else {
            look_for_refusal(c);
        }
        return;
    case CONNECTING:
    case LEAVING: /* what the pool does is followed by a look */
    case GONE: return;
    }
}

/* ---- what everybody calls ---- */

static enum err check_server(const char *server, struct errinfo *err)
{
    struct str s = str_from(server);
    bool is_fine = str_starts(s, STR("tls://")) || str_starts(s, STR("nats://"));
    if (is_fine && str_find(s, '@') == s.len && s.len < NATS_CLIENT_SUBJECT_SIZE)
        return OK;
    return err_set(err, ERR_INVALID,
                   "'%s' is no address of a nats-server: use tls://HOST:PORT (nats://HOST:PORT without TLS), no user "
                   "or password in it",
                   is_fine ? "…@…" : server);
}

enum err nats_client_check_servers(const char *const *servers, size_t n, struct errinfo *err)
{
    if (n > NATS_CLIENT_SERVERS_MAX)
        return err_set(err, ERR_INVALID, "more than %u nats-servers", NATS_CLIENT_SERVERS_MAX);
    for (size_t i = 0; i < n; i++) {
        enum err rc = check_server(servers[i], err);
        if (rc != OK)
            return rc;
        if (servers[i][0] != servers[0][0])
            return err_set(err, ERR_INVALID, "nats-servers are all tls:// or all nats://: '%s', '%s'", servers[0],
                           servers[i]);
    }
    return OK;
}

static enum err check_options(const struct nats_client_options *o, struct errinfo *err)
{
    if (o->servers_n == 0)
        return err_set(err, ERR_INVALID, "no nats-server is named");
    enum err rc = nats_client_check_servers(o->servers, o->servers_n, err);
    bool has_files = o->ca_file != NULL && o->cert_file != NULL && o->key_file != NULL;
    if (rc == OK && o->servers[0][0] == 't' && !has_files)
        rc = err_set(err, ERR_INVALID, "'%s' needs ca_file, cert_file and key_file", o->servers[0]);
    return rc;
}

static const char *copy(struct arena *a, const char *text)
{
    return text == NULL ? NULL : arena_strdup(a, text);
}

static void copy_options(struct nats_client *c, const struct nats_client_options *o)
{
    const char **servers = arena_alloc(&c->arena, o->servers_n * sizeof(*servers));
    for (size_t i = 0; i < o->servers_n; i++)
        servers[i] = arena_strdup(&c->arena, o->servers[i]);
    c->o = *o;
    c->o.servers = servers;
    c->o.name = copy(&c->arena, o->name != NULL ? o->name : "slipform");
    c->o.ca_file = copy(&c->arena, o->ca_file);
    c->o.cert_file = copy(&c->arena, o->cert_file);
    c->o.key_file = copy(&c->arena, o->key_file);
}

static struct inbox *inbox_new(uv_async_t *wake)
{
    struct inbox *b = mem_alloc(sizeof(*b));
    int rc = uv_mutex_init(&b->mutex);
    assert(rc == 0); /* fails only without memory */
    (void)rc;
    atomic_store(&b->refs, 1);
    b->wake = wake;
    for (size_t i = 0; i < NATS_CLIENT_SUBSCRIPTIONS_MAX; i++)
        b->slots[i].inbox = b;
    return b;
}

enum err nats_client_open(const struct nats_client_options *o, struct nats_client **ret, struct errinfo *err)
{
    *ret = NULL;
    enum err rc = check_options(o, err);
    if (rc != OK)
        return rc;
    struct nats_client *c = mem_alloc(sizeof(*c));
    int uv = uv_async_init(o->loop, &c->wake, on_wake);
    if (uv < 0) {
        free(c);
        return err_set_os(err, ERR_IO, -uv, "wake the loop for NATS");
    }
    copy_options(c, o);
    (void)uv_timer_init(o->loop, &c->timer); /* cannot fail */
    c->wake.data = c->timer.data = c->work.data = c;
    c->inbox = inbox_new(&c->wake);
    c->jitter = o->seed != 0 ? o->seed : 1;
    (void)uv_timer_start(&c->timer, on_timer, 0, 0);
    *ret = c;
    return OK;
}

enum err nats_client_subscribe(struct nats_client *c, const char *subject, nats_client_received_fn received, void *ctx,
                               struct errinfo *err)
{
    size_t n = strlen(subject);
    if (n == 0 || n >= NATS_CLIENT_SUBJECT_SIZE || strpbrk(subject, " \t\r\n") != NULL)
        return err_set(err, ERR_INVALID, "'%.64s' is no subject", subject);
    if (c->subs_n == NATS_CLIENT_SUBSCRIPTIONS_MAX)
        return err_set(err, ERR_LIMIT, "more than %u subscriptions", NATS_CLIENT_SUBSCRIPTIONS_MAX);
    struct subscription *s = &c->subs[c->subs_n++];
    memcpy(s->subject, subject, n + 1);
    s->received = received;
    s->ctx = ctx;
    return OK;
}

enum err nats_client_publish(struct nats_client *c, const char *subject, struct str payload, struct errinfo *err)
{
    natsStatus st = NATS_OK;
    if (c->state != UP || c->is_closing)
        st = NATS_CONNECTION_CLOSED;
    else if (natsConnection_Buffered(c->conn) > NATS_CLIENT_BUFFERED_MAX)
        st = NATS_INSUFFICIENT_BUFFER;
    else
        st = natsConnection_Publish(c->conn, subject, payload.ptr, (int)payload.len);
    if (st == NATS_OK) {
        c->counts.published++;
        return OK;
    }
    c->counts.dropped++;
    return err_set(err, ERR_UNAVAILABLE, "publishing on '%s': %s", subject, natsStatus_GetText(st));
}

struct nats_client_counts nats_client_counts(const struct nats_client *c)
{
    return c->counts;
}

void nats_client_close(struct nats_client *c, void (*closed)(void *ctx), void *ctx)
{
    c->is_closing = true;
    c->closed = closed;
    c->closed_ctx = ctx;
    uv_mutex_lock(&c->inbox->mutex);
    c->inbox->wake = NULL;
    uv_mutex_unlock(&c->inbox->mutex);
    (void)uv_timer_stop(&c->timer);
    tick(c);
}
