#pragma once
/* unit/net_fixture.h - a loop with a server and a client on it, and certificates of two CAs in a folder of its own.
 * Waiting is running the loop until a condition holds, at most 10 s. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/own.h"
#include "crypto/ca.h"
#include "folder.h"
#include "net/http_client.h"
#include "net/http_server.h"

#define WAIT_MS_MAX 10000

struct net {
    void *folder;
    uv_loop_t loop;
    struct http_server *server;
    struct http_client *client;
    char *ca, *server_cert, *server_key, *client_cert, *client_key, *other_ca, *other_cert, *other_key;
    bool is_tls, server_closed, client_closed;
    char url[128];
};

static inline char *net_path(const struct net *n, const char *name)
{
    return mem_printf("%s/%s", (const char *)n->folder, name);
}

static inline void net_issue(const struct ca *ca, const char *uri, const char *cert, const char *key)
{
    const char *const uris[] = {uri}, *const ips[] = {"127.0.0.1", "::1"};
    struct leaf_options o = {
        .uris = uris, .uris_n = 1, .ips = ips, .ips_n = 2, .server = true, .client = true, .days = 1};
    assert_int_equal(ca_issue_files(ca, &o, cert, key, -1, -1, NULL), OK);
}

static inline void net_make_certificates(struct net *n)
{
    auto_ca struct ca *ca = NULL, *other = NULL;
    n->ca = net_path(n, "ca.pem"), n->other_ca = net_path(n, "other-ca.pem");
    n->server_cert = net_path(n, "server.pem"), n->server_key = net_path(n, "server.key");
    n->client_cert = net_path(n, "client.pem"), n->client_key = net_path(n, "client.key");
    n->other_cert = net_path(n, "other.pem"), n->other_key = net_path(n, "other.key");
    auto_free char *ca_key = net_path(n, "ca.key"), *other_ca_key = net_path(n, "other-ca.key");
    assert_int_equal(ca_create("test", &ca, NULL), OK);
    assert_int_equal(ca_create("test", &other, NULL), OK);
    assert_int_equal(ca_save(ca, n->ca, ca_key, NULL), OK);
    assert_int_equal(ca_save(other, n->other_ca, other_ca_key, NULL), OK);
    net_issue(ca, "slipform://test/platform/p1", n->server_cert, n->server_key);
    net_issue(ca, "slipform://test/node/n1", n->client_cert, n->client_key);
    net_issue(other, "slipform://test/node/n1", n->other_cert, n->other_key);
}

static inline void net_true(void *flag)
{
    *(bool *)flag = true;
}

static inline void net_timeout_(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("%d ms are over and it has not happened", WAIT_MS_MAX);
}

/* Run the loop until done(ctx). */
static inline void net_run_until(struct net *n, bool (*done)(void *ctx), void *ctx)
{
    uv_timer_t limit;
    (void)uv_timer_init(&n->loop, &limit);
    (void)uv_timer_start(&limit, net_timeout_, WAIT_MS_MAX, 0);
    while (!done(ctx))
        (void)uv_run(&n->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&limit, NULL);
    (void)uv_run(&n->loop, UV_RUN_NOWAIT);
}

static inline bool net_is_true(void *flag)
{
    return *(bool *)flag;
}

static inline void net_open(struct net *n, struct http_server_options *o)
{
    static const char *const listen[] = {"127.0.0.1:0", "[::1]:0"};
    struct errinfo err = {0};
    o->loop = &n->loop;
    o->listen = listen;
    o->listen_n = 2;
    if (n->is_tls) {
        o->cert_file = n->server_cert;
        o->key_file = n->server_key;
        o->ca_file = n->ca;
    }
    if (http_server_open(o, &n->server, &err) != OK)
        fail_msg("%s", err.msg);
    (void)snprintf(n->url, sizeof(n->url), "%s://%s", n->is_tls ? "https" : "http", http_server_address(n->server, 0));
}

static inline int net_setup_(void **state, bool is_tls)
{
    struct net *n = mem_alloc(sizeof(*n));
    n->is_tls = is_tls;
    *state = n;
    if (folder_setup(&n->folder) != 0 || uv_loop_init(&n->loop) != 0)
        return -1;
    net_make_certificates(n);
    n->client = http_client_new(&n->loop);
    return 0;
}

static inline int net_setup_plain(void **state)
{
    return net_setup_(state, false);
}

static inline int net_setup_tls(void **state)
{
    return net_setup_(state, true);
}

static inline void net_close_server(struct net *n, unsigned grace_ms)
{
    http_server_close(n->server, grace_ms, net_true, &n->server_closed);
    n->server = NULL;
    net_run_until(n, net_is_true, &n->server_closed);
}

static inline int net_teardown(void **state)
{
    struct net *n = *state;
    if (n->server != NULL)
        net_close_server(n, 1000);
    http_client_close(n->client, net_true, &n->client_closed);
    net_run_until(n, net_is_true, &n->client_closed);
    (void)uv_run(&n->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&n->loop); /* EBUSY: somebody left a handle */
    (void)folder_teardown(&n->folder);
    char **texts[] = {&n->ca,         &n->server_cert, &n->server_key, &n->client_cert,
                      &n->client_key, &n->other_ca,    &n->other_cert, &n->other_key};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(*texts[i]);
    free(n);
    return rc;
}

/* Call options for a path, with TLS files and expected identity where the fixture has TLS. */
static inline struct http_call_options net_call(struct net *n, struct arena *arena, const char *path)
{
    struct http_call_options o = {.url = arena_printf(arena, "%s%s", n->url, path), .total_timeout_ms = WAIT_MS_MAX};
    if (n->is_tls) {
        o.ca_file = n->ca;
        o.cert_file = n->client_cert;
        o.key_file = n->client_key;
        o.peer_uri = "slipform://test/platform/*";
    }
    return o;
}

struct net_answer {
    bool done;
    struct http_result result;
};

static inline void net_on_done(struct http_result *result, void *ctx)
{
    struct net_answer *a = ctx;
    a->result = *result;
    *result = (struct http_result){.retry_after_s = -1}; /* ours now */
    a->done = true;
}

static inline void net_answer_cleanup(struct net_answer *a)
{
    http_result_done(&a->result);
}

/* Send and wait for the answer. */
static inline void net_fetch(struct net *n, const struct http_call_options *o, struct net_answer *ret)
{
    http_result_done(&ret->result);
    *ret = (struct net_answer){.done = false};
    (void)http_client_send(n->client, o, net_on_done, ret);
    net_run_until(n, net_is_true, &ret->done);
}
