/* Health: HTTP or a TCP connect to a microVM's own address, from here through its tap; a host program's own listener.
 * Until the first success checks are frequent, so that a microVM serves as soon as it can. */
#include <arpa/inet.h>

#include "base/mem.h"
#include "base/own.h"
#include "node/agent/private.h"
#include "os/file.h"

/* A guest that is not up yet drops the SYN, and the kernel's own next one comes a second later: short attempts find it
 * sooner. Chosen; bench: image present to healthy. */
enum { START_PAUSE_MS = 50, START_CONNECT_MS = 200, ALIVE_MS = 2000, INTERVAL_S = 2, TIMEOUT_S = 2 };

struct tcp_check {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    struct instance *instance; /* NULL: nobody waits */
    int open;
};

char *check_metrics_url(const struct instance *i)
{
    if (i->ops == NULL || i->ops->is_isolated)
        return NULL;
    auto_free char *path = mem_printf("%s/metrics-address", i->data_folder);
    AUTO(buf) struct buf text = {0};
    struct errinfo ignored;
    if (file_read(path, 256, &text, &ignored) != OK)
        return NULL;
    struct str address = str_trim(buf_str(&text));
    if (address.len == 0)
        return NULL;
    bool is_url = str_starts(address, STR("http://"));
    return mem_printf("%s%.*s", is_url ? "" : "http://", STR_ARG(address));
}

static int64_t interval_ms(const struct instance *i)
{
    if (!i->check.was_up)
        return START_PAUSE_MS;
    return (i->spec.health.interval_seconds > 0 ? i->spec.health.interval_seconds : INTERVAL_S) * 1000;
}

static unsigned timeout_ms(const struct instance *i)
{
    int64_t s = i->spec.health.timeout_seconds > 0 ? i->spec.health.timeout_seconds : TIMEOUT_S;
    return (unsigned)(s > 60 ? 60 : s) * 1000;
}

static void check_at(struct instance *i, int64_t at_ms)
{
    i->check.at_ms = at_ms;
    agent_wake_at(i->agent, at_ms);
}

static void tell(struct instance *i, bool ok, bool timed_out, const char *cause)
{
    i->check.was_up = i->check.was_up || ok;
    check_at(i, agent_now_ms() + interval_ms(i));
    agent_give(i->agent, &(struct converge_input){.type = CONVERGE_HEALTH,
                                                  .id = i->id,
                                                  .attempt = i->check.attempt,
                                                  .ok = ok,
                                                  .timed_out = timed_out,
                                                  .cause = cause});
}

static void tell_unreachable(struct instance *i, const char *why)
{
    auto_free char *cause = i->check.was_up
                                ? mem_printf("nothing answers on port %lld: %s", (long long)i->spec.port, why)
                                : mem_printf("program never listened on port %lld", (long long)i->spec.port);
    tell(i, false, true, cause);
}

static void on_http(struct http_result *r, void *ctx)
{
    struct instance *i = ctx;
    i->check.call = NULL;
    if (r->status >= 200 && r->status < 400) {
        tell(i, true, false, NULL);
    } else if (r->status == 0) {
        tell_unreachable(i, r->err.msg);
    } else {
        auto_free char *cause =
            mem_printf("GET '%.*s' on port %lld %s %d", STR_ARG(i->spec.health.path), (long long)i->spec.port,
                       i->check.was_up ? "answered" : "never answered well, last", r->status);
        tell(i, false, false, cause);
    }
}

static void send_http(struct instance *i, const char *url, void (*on_done)(struct http_result *, void *))
{
    static const char *const HEADERS[] = {"Connection: close"};
    struct http_call_options call = {.url = url,
                                     .headers = HEADERS,
                                     .headers_n = 1,
                                     .answer_limit_bytes = 1024 * 1024,
                                     .connect_timeout_ms = i->check.was_up ? timeout_ms(i) : START_CONNECT_MS,
                                     .total_timeout_ms = timeout_ms(i)};
    i->check.call = http_client_send(i->agent->o.client, &call, on_done, i);
}

static void on_tcp_closed(uv_handle_t *h)
{
    struct tcp_check *t = h->data;
    if (--t->open == 0)
        free(t);
}

static void tcp_end(struct tcp_check *t)
{
    t->instance = NULL;
    uv_close((uv_handle_t *)&t->tcp, on_tcp_closed);
    uv_close((uv_handle_t *)&t->timer, on_tcp_closed);
}

static void tcp_done(struct tcp_check *t, int status)
{
    struct instance *i = t->instance;
    if (i == NULL)
        return;
    i->check.tcp = NULL;
    tcp_end(t);
    if (status == 0)
        tell(i, true, false, NULL);
    else
        tell_unreachable(i, uv_strerror(status));
}

static void on_connect(uv_connect_t *connect, int status)
{
    tcp_done(connect->data, status);
}

static void on_tcp_timeout(uv_timer_t *timer)
{
    tcp_done(timer->data, UV_ETIMEDOUT);
}

static void send_tcp(struct instance *i)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)i->spec.port)};
    struct ip ip;
    if (!ip_parse(i->spec.address, &ip) || ip.family != AF_INET6)
        return;
    memcpy(&to.sin6_addr, ip.bytes, sizeof(to.sin6_addr));
    struct tcp_check *t = mem_alloc(sizeof(*t));
    t->instance = i;
    t->open = 2;
    t->tcp.data = t->timer.data = t->connect.data = t;
    (void)uv_tcp_init(i->agent->o.loop, &t->tcp);
    (void)uv_timer_init(i->agent->o.loop, &t->timer);
    i->check.tcp = t;
    (void)uv_timer_start(&t->timer, on_tcp_timeout, i->check.was_up ? timeout_ms(i) : START_CONNECT_MS, 0);
    int rc = uv_tcp_connect(&t->connect, &t->tcp, (const struct sockaddr *)(const void *)&to, on_connect);
    if (rc != 0)
        tcp_done(t, rc);
}

static void on_own_listener(struct http_result *r, void *ctx)
{
    struct instance *i = ctx;
    i->check.call = NULL;
    bool ok = r->status >= 200 && r->status < 300;
    auto_free char *cause = r->status > 0 ? mem_printf("its own listener answered %d: %.300s", r->status, r->err.msg)
                                          : mem_printf("its own listener does not answer: %.300s", r->err.msg);
    tell(i, ok, r->status == 0, cause);
}

/* Ours have a listener: ready once, then alive (a program that is not ready for a while need not be ended for it).
 * Others are healthy when they have lived for a while. */
static void check_host(struct instance *i)
{
    auto_free char *address = check_metrics_url(i);
    if (address == NULL) {
        int64_t lived_ms = agent_now_ms() - i->check.up_at_ms;
        if (lived_ms >= ALIVE_MS || i->check.was_up)
            tell(i, true, false, NULL);
        else
            check_at(i, agent_now_ms() + START_PAUSE_MS);
        return;
    }
    auto_free char *url = mem_printf("%s/%s", address, i->check.was_up ? "healthz" : "readyz");
    send_http(i, url, on_own_listener);
}

static void check_now(struct instance *i)
{
    i->check.at_ms = INT64_MAX;
    if (!i->ops->is_isolated && !i->ops->wants_tap && strcmp(i->ops->name, "null") == 0) {
        tell(i, true, false, NULL);
    } else if (!i->ops->is_isolated) {
        check_host(i);
    } else if (i->spec.port == 0) {
        tell(i, true, false, NULL);
    } else if (i->spec.health.path.len == 0) {
        send_tcp(i);
    } else {
        auto_free char *url = mem_printf("http://[%.*s]:%lld%s%.*s", STR_ARG(i->spec.address), (long long)i->spec.port,
                                         i->spec.health.path.ptr[0] == '/' ? "" : "/", STR_ARG(i->spec.health.path));
        send_http(i, url, on_http);
    }
}

void check_begin(struct instance *i)
{
    check_end(i);
    i->check.attempt = i->attempt;
    i->check.was_up = false;
    i->check.up_at_ms = agent_now_ms();
    check_at(i, i->check.up_at_ms);
}

void check_soon(struct instance *i)
{
    if (i->check.at_ms != INT64_MAX)
        check_at(i, agent_now_ms());
}

void check_end(struct instance *i)
{
    i->check.at_ms = INT64_MAX;
    if (i->check.call != NULL)
        http_call_cancel(TAKE(i->check.call));
    if (i->check.tcp != NULL)
        tcp_end(TAKE(i->check.tcp));
}

void check_tick(struct instance *i, int64_t now_ms)
{
    if (i->check.at_ms > now_ms) {
        agent_wake_at(i->agent, i->check.at_ms);
        return;
    }
    if (i->run == NULL || i->check.call != NULL || i->check.tcp != NULL) {
        i->check.at_ms = INT64_MAX;
        return;
    }
    check_now(i);
}
