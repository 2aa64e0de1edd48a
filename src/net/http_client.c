/* Happy path: send -> curl's multi handle asks for its sockets to be watched and for one timer -> uv_poll and uv_timer
 * tell it -> a finished transfer is taken out, its result filled, on_done called. Failure: whatever curl says becomes
 * the result's error; a cancelled call leaves the multi handle at once and is never reported.
 *
 * A kept connection was checked for the identity that its first call expected. Curl does not know that expectation, so
 * a host whose calls expect different ones gets a new connection for each call (see `origins`). */
#include <assert.h>

#include "base/own.h"
#include "net/http_call.h"

/* Hosts whose expectation is remembered; beyond, calls that expect an identity get connections of their own. */
#define ORIGINS_MAX 4096u

struct origin {
    char *key;      /* "https://host:port" */
    char *peer_uri; /* NULL: none expected */
    bool is_mixed;
    struct origin *next;
};

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;
    struct http_call *calls;  /* doubly linked */
    struct http_call *failed; /* wrong options; another such list, reported in the next round of the loop */
    uv_idle_t soon;
    struct origin *origins;
    size_t origins_n;
    bool closing, handling, in_timer;
    size_t handles_n;
    void (*on_closed)(void *ctx);
    void *on_closed_ctx;
};

struct socket_watch {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
    int events;
};

static void check_finished(struct http_client *c);

static void handle_closed(struct http_client *c)
{
    if (--c->handles_n > 0 || !c->closing)
        return;
    void (*on_closed)(void *ctx) = c->on_closed;
    void *ctx = c->on_closed_ctx;
    for (struct origin *o = c->origins; o != NULL;) {
        struct origin *next = o->next;
        free(o->key);
        free(o->peer_uri);
        free(o);
        o = next;
    }
    free(c);
    if (on_closed != NULL)
        on_closed(ctx);
}

/* ---- curl's sockets and timer on the loop ---- */

static void on_watch_closed(uv_handle_t *handle)
{
    struct socket_watch *w = handle->data;
    struct http_client *c = w->client;
    free(w);
    handle_closed(c);
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *w = poll->data;
    struct http_client *c = w->client; /* w may be gone after curl's callback */
    int flags = 0, running = 0;
    if (status < 0) { /* an error on the socket: let curl read it, maybe behind a last TLS alert that says why */
        flags = CURL_CSELECT_IN;
        (void)uv_poll_start(&w->poll, w->events, on_socket); /* libuv has stopped it */
    }
    if ((events & UV_READABLE) != 0)
        flags |= CURL_CSELECT_IN;
    if ((events & UV_WRITABLE) != 0)
        flags |= CURL_CSELECT_OUT;
    (void)curl_multi_socket_action(c->multi, w->fd, flags, &running);
    check_finished(c);
}

static struct socket_watch *watch_new(struct http_client *c, curl_socket_t fd)
{
    struct socket_watch *w = mem_alloc(sizeof(*w));
    w->client = c;
    w->fd = fd;
    if (uv_poll_init_socket(c->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    c->handles_n++;
    (void)curl_multi_assign(c->multi, fd, w);
    return w;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *client, void *watch)
{
    (void)easy;
    struct http_client *c = client;
    struct socket_watch *w = watch;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            (void)curl_multi_assign(c->multi, fd, NULL);
            uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        }
        return 0;
    }
    if (w == NULL)
        w = watch_new(c, fd);
    if (w == NULL)
        return -1;
    int events = ((what & CURL_POLL_IN) != 0 ? UV_READABLE : 0) | ((what & CURL_POLL_OUT) != 0 ? UV_WRITABLE : 0);
    w->events = events;
    return uv_poll_start(&w->poll, events, on_socket) == 0 ? 0 : -1;
}

static void on_timer(uv_timer_t *timer)
{
    struct http_client *c = timer->data;
    int running = 0;
    c->in_timer = true;
    (void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    c->in_timer = false;
    check_finished(c);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *client)
{
    (void)multi;
    struct http_client *c = client;
    if (c->closing)
        return 0;
    if (timeout_ms == 0 && c->in_timer)
        timeout_ms = 1; /* libuv before 1.45 runs a timer that is set to 0 by its own callback for ever */
    if (timeout_ms < 0)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ---- calls ---- */

static void call_unlink(struct http_client *c, struct http_call *call)
{
    if (call->in_multi)
        (void)curl_multi_remove_handle(c->multi, call->easy);
    call->in_multi = false;
    if (c->calls == call)
        c->calls = call->next;
    if (c->failed == call)
        c->failed = call->next;
    if (call->previous != NULL)
        call->previous->next = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
    call->next = call->previous = NULL;
}

static void call_free(struct http_call *call)
{
    http_call_done(call);
    free(call);
}

static void call_link(struct http_call **list, struct http_call *call)
{
    call->next = *list;
    if (call->next != NULL)
        call->next->previous = call;
    *list = call;
}

static void report(struct http_client *c, struct http_call *call)
{
    call_unlink(c, call);
    call->on_done(&call->result, call->ctx);
    call_free(call);
}

static void on_soon(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    check_finished(idle->data);
}

/* Take finished transfers out one by one; on_done may send and cancel, and may close the client. */
static void check_finished(struct http_client *c)
{
    if (c->handling)
        return;
    c->handling = true;
    while (!c->closing && c->failed != NULL)
        report(c, c->failed);
    const CURLMsg *message = NULL;
    int left = 0;
    while (!c->closing && (message = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        CURLcode code = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
        http_call_finish(call, code);
        report(c, call);
    }
    c->handling = false;
    if (c->closing)
        handle_closed(c); /* the reference that http_client_close left to us */
}

static struct origin *origin_find(struct http_client *c, const char *key)
{
    for (struct origin *o = c->origins; o != NULL; o = o->next)
        if (strcmp(o->key, key) == 0)
            return o;
    return NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Whether a kept connection to this call's host may be used. */
static bool may_share(struct http_client *c, const struct http_call *call)
{
    const char *url = call->o.url;
    if (strncmp(url, "https://", 8) != 0)
        return true;
    auto_free char *key = mem_strndup(url, 8 + strcspn(url + 8, "/?#"));
    struct origin *o = origin_find(c, key);
    if (o != NULL) {
        o->is_mixed = o->is_mixed || !same_text(o->peer_uri, call->o.peer_uri);
        return !o->is_mixed;
    }
    if (c->origins_n == ORIGINS_MAX)
        return false;
    o = mem_alloc(sizeof(*o));
    o->key = TAKE(key);
    o->peer_uri = call->o.peer_uri == NULL ? NULL : mem_strdup(call->o.peer_uri);
    o->next = c->origins;
    c->origins = o;
    c->origins_n++;
    return true;
}

static void start(struct http_client *c, struct http_call *call)
{
    if (!may_share(c, call)) {
        curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L);
    }
    call_link(&c->calls, call);
    call->in_multi = true;
    CURLMcode code = curl_multi_add_handle(c->multi, call->easy);
    assert(code == CURLM_OK);
}

struct http_call *http_client_send(struct http_client *c, const struct http_call_options *o,
                                   void (*on_done)(struct http_result *result, void *ctx), void *ctx)
{
    assert(!c->closing);
    struct http_call *call = mem_alloc(sizeof(*call));
    struct errinfo err;
    call->client = c;
    call->on_done = on_done;
    if (http_call_init(call, o, ctx, &err) == OK) {
        start(c, call);
    } else {
        http_call_fail(call, &err);
        call_link(&c->failed, call);
        uv_idle_start(&c->soon, on_soon);
    }
    return call;
}

static void call_cancel(struct http_client *c, struct http_call *call)
{
    call_unlink(c, call);
    call_free(call);
}

void http_call_cancel(struct http_call *call)
{
    call_cancel(call->client, call);
}

/* ---- the client ---- */

struct http_client *http_client_new(uv_loop_t *loop)
{
    struct http_client *c = mem_alloc(sizeof(*c));
    c->loop = loop;
    CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT); /* counted by curl; the process needs it once */
    c->multi = curl_multi_init();
    assert(code == CURLE_OK && c->multi != NULL);
    (void)uv_timer_init(loop, &c->timer);
    (void)uv_idle_init(loop, &c->soon);
    c->timer.data = c->soon.data = c;
    c->handles_n = 2;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    return c;
}

static void on_own_handle_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx)
{
    assert(!c->closing);
    c->closing = true;
    c->on_closed = on_closed;
    c->on_closed_ctx = ctx;
    if (c->handling)
        c->handles_n++; /* check_finished is on the stack and gives it back */
    while (c->calls != NULL)
        call_cancel(c, c->calls);
    while (c->failed != NULL)
        call_cancel(c, c->failed);
    uv_close((uv_handle_t *)&c->timer, on_own_handle_closed);
    uv_close((uv_handle_t *)&c->soon, on_own_handle_closed);
    (void)curl_multi_cleanup(c->multi); /* closes kept connections, which removes their watches */
    c->multi = NULL;
}
