/* active-notifier and its subscribers, over real nats-servers: what is said and to whom, who may hear and say it, and
 * that a lost connection costs a delay only. */
#include "store_nats.h"

#include "store_help.h"

#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "crypto/ca.h"
#include "net/nats_connect.h"
#include "notifier/authorization.h"
#include "notifier/notifier.h"
#include "notifier/tail.h"
#include "wire/notification.h"

#define WAIT_MS_MAX 20000
#define INSTALLATION "test"

static struct fixture disk;
static struct test_nats secure;          /* mTLS, the generated authorization */
static struct test_nats strangers[4];    /* whom nobody of ours lets in */
static struct test_nats_member plain[2]; /* any may die */
static bool has_nats;
static char *authorization;
static const struct id REGION = {{1}}, ZONE = {{2}}, NODE_A = {{3, 'a'}}, NODE_B = {{3, 'b'}}, INSTANCE = {{4}};

/* ---- a log ---- */

static void append(struct store *s, const struct event *e)
{
    static uint64_t number = 0;
    AUTO(buf) struct buf payload = {0};
    event_encode_payload(e, &payload);
    struct store_event event = {
        .type = str_from(event_kind_row(e->kind)->name), .id = number_id(7, ++number), .payload = buf_str(&payload)};
    assert_ok(store_append(s, end_of(s), &event, 1, NULL, &why));
}

static void append_nodes(struct store *s)
{
    append(s, &(struct event){.kind = EVENT_CREATE_REGION, .create_region = {REGION, STR("eu.1")}});
    append(s, &(struct event){.kind = EVENT_CREATE_ZONE, .create_zone = {ZONE, REGION, STR("z1")}});
    append(s, &(struct event){.kind = EVENT_JOIN_NODE,
                              .join_node = {.node_id = NODE_A, .zone_id = ZONE, .name = STR("a")}});
    append(s, &(struct event){.kind = EVENT_JOIN_NODE,
                              .join_node = {.node_id = NODE_B, .zone_id = ZONE, .name = STR("b")}});
}

static void append_instance(struct store *s)
{
    append(s, &(struct event){.kind = EVENT_CREATE_INSTANCE,
                              .create_instance = {.instance_id = INSTANCE, .process_id = ZONE, .node_id = NODE_B}});
}

static void see_all(struct store *s, struct audience *a)
{
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    for (size_t i = 0; i < b.n; i++)
        audience_see(a, &b.items[i].e);
}

/* ---- subjects, audience, authorization: no server ---- */

static void subjects(void **state)
{
    (void)state;
    char s[NOTIFICATION_SUBJECT_SIZE], longest[200];
    notification_log_subject("dev-0", NODE_A, s);
    assert_string_equal(s, "slipform.dev-0.log.03610000-0000-0000-0000-000000000000");
    notification_node_subject("a.b", NODE_A, s);
    assert_string_equal(s, "slipform.a=2Eb.node.03610000-0000-0000-0000-000000000000");
    notification_edge_subject("dev-0", STR("eu *.>"), s);
    assert_string_equal(s, "slipform.dev-0.region.eu=20=2A=2E=3E.edge");
    memset(longest, '.', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    notification_edge_subject(longest, str_from(longest), s);
    assert_true(strlen(s) < NATS_CLIENT_SUBJECT_SIZE - 1 && strcmp(s + strlen(s) - 5, ".edge") == 0);
    AUTO(buf) struct buf payload = {0};
    fields_encode(&NOTIFICATION_WIRE, &(struct notification){NODE_A, INT64_MAX}, &payload);
    assert_string_equal(payload.ptr,
                        "{\"log_id\":\"03610000-0000-0000-0000-000000000000\",\"seq\":9223372036854775807}");
    assert_true(payload.len <= NATS_CLIENT_PAYLOAD_MAX);
}

struct told {
    char edges[64];
    struct id nodes[8];
    size_t nodes_n;
};
static void told_edge(void *ctx, struct str region)
{
    struct told *t = ctx;
    size_t n = strlen(t->edges);
    (void)snprintf(t->edges + n, sizeof(t->edges) - n, "%.*s;", STR_ARG(region));
}
static void told_node(void *ctx, struct id node)
{
    struct told *t = ctx;
    assert_true(t->nodes_n < 8);
    t->nodes[t->nodes_n++] = node;
}
static struct told take(struct audience *a)
{
    struct told t = {0};
    audience_take(a, told_edge, told_node, &t);
    return t;
}
static void see(struct audience *a, const struct event *e)
{
    AUTO(buf) struct buf payload = {0};
    event_encode_payload(e, &payload);
    audience_see(a, &(struct envelope){.type = str_from(event_kind_row(e->kind)->name), .payload = buf_str(&payload)});
}

static void who_cares(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x, "");
    struct store *s = open_store(&x);
    append_nodes(s);
    struct audience *a = audience_new();
    see_all(s, a);
    struct told t = take(a);
    assert_true(strcmp(t.edges, "eu.1;") == 0 && t.nodes_n == 2);
    t = take(a);
    assert_true(t.edges[0] == '\0' && t.nodes_n == 0);

    see(a, &(struct event){.kind = EVENT_CREATE_INSTANCE,
                           .create_instance = {.instance_id = INSTANCE, .process_id = ZONE, .node_id = NODE_B}});
    t = take(a);
    assert_true(t.edges[0] != '\0' && t.nodes_n == 1 && id_eq(t.nodes[0], NODE_B));
    see(a, &(struct event){.kind = EVENT_INSTANCE_STATUS_CHANGE,
                           .instance_status_change = {.instance_id = INSTANCE, .status = STR("running")}});
    t = take(a);
    assert_true(t.nodes_n == 1 && id_eq(t.nodes[0], NODE_B));
    see(a, &(struct event){.kind = EVENT_INSTANCE_PROGRESS, .instance_progress = {.instance_id = INSTANCE}});
    t = take(a);
    assert_true(t.edges[0] == '\0' && t.nodes_n == 0);
    see(a, &(struct event){.kind = EVENT_DELETE_INSTANCE, .delete_instance = {.instance_id = INSTANCE}});
    assert_int_equal(take(a).nodes_n, 1);
    see(a, &(struct event){.kind = EVENT_DELETE_INSTANCE, .delete_instance = {.instance_id = INSTANCE}});
    assert_int_equal(take(a).nodes_n, 0);
    see(a, &(struct event){.kind = EVENT_DRAIN_NODE, .drain_node = {.node_id = NODE_A}});
    t = take(a);
    assert_true(t.nodes_n == 1 && id_eq(t.nodes[0], NODE_A));
    audience_see(a, &(struct envelope){.type = STR("FromTheFuture"), .payload = STR("{}")});
    audience_see(a, &(struct envelope){.type = STR("JoinNode"), .payload = STR("{}")});
    assert_int_equal(take(a).nodes_n, 0);
    audience_free(a);
    store_close(s);
    teardown(&x);
}

/* ---- a loop with clients ---- */

struct heard {
    size_t n, unknown; /* unknown: something may have been missed */
    int64_t seq;
    char text[NATS_CLIENT_PAYLOAD_MAX + 1];
    bool other_thread;
    uv_thread_t loop_thread;
};
struct party {
    uv_loop_t *loop;
    struct nats_client *client;
    bool is_up, is_closed, is_refused;
    size_t downs;
    struct errinfo why;
};

static void on_state(void *ctx, bool is_up, const struct errinfo *reason)
{
    struct party *p = ctx;
    p->is_up = is_up;
    p->downs += !is_up;
    p->is_refused = p->is_refused || (reason != NULL && reason->code == ERR_DENIED);
    if (reason != NULL)
        p->why = *reason;
}

static void on_heard(void *ctx, struct str payload)
{
    struct heard *h = ctx;
    uv_thread_t here = uv_thread_self();
    h->other_thread = h->other_thread || uv_thread_equal(&here, &h->loop_thread) == 0;
    h->n++;
    h->unknown += payload.len == 0;
    (void)snprintf(h->text, sizeof(h->text), "%.*s", STR_ARG(payload));
    auto_json json_t *doc = NULL;
    if (json_parse(payload, &doc, NULL) == OK)
        h->seq = json_integer_value(json_object_get(doc, "seq"));
}

static struct heard listener(void)
{
    return (struct heard){.loop_thread = uv_thread_self()};
}

static void on_limit(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Run the loop until *flag (or *n reaches `least`), at most WAIT_MS_MAX. */
#define RUN_UNTIL(loop_, condition)                                                                                    \
    do {                                                                                                               \
        uv_timer_t limit_;                                                                                             \
        bool is_over_ = false;                                                                                         \
        (void)uv_timer_init(loop_, &limit_);                                                                           \
        limit_.data = &is_over_;                                                                                       \
        (void)uv_timer_start(&limit_, on_limit, WAIT_MS_MAX, 0);                                                       \
        while (!(condition) && !is_over_)                                                                              \
            (void)uv_run(loop_, UV_RUN_ONCE);                                                                          \
        uv_close((uv_handle_t *)&limit_, NULL);                                                                        \
        (void)uv_run(loop_, UV_RUN_NOWAIT);                                                                            \
        if (is_over_)                                                                                                  \
            fail_msg("%d ms are over and not: %s", WAIT_MS_MAX, #condition);                                           \
    } while (0)

static void party_open(struct party *p, uv_loop_t *loop, const char *const *servers, size_t servers_n, const char *who)
{
    auto_free char *cert = mem_printf("%s/%s.pem", disk.dir, who == NULL ? "" : who),
                   *key = mem_printf("%s/%s.key", disk.dir, who == NULL ? "" : who);
    auto_free char *our_ca = mem_printf("%s/our-ca.pem", disk.dir);
    *p = (struct party){.loop = loop};
    struct nats_client_options o = {.loop = loop,
                                    .servers = servers,
                                    .servers_n = servers_n,
                                    .name = who,
                                    .ca_file = who == NULL ? NULL : our_ca,
                                    .cert_file = who == NULL ? NULL : cert,
                                    .key_file = who == NULL ? NULL : key,
                                    .seed = 1,
                                    .backoff_max_ms = 400,
                                    .on_state = on_state,
                                    .ctx = p};
    assert_ok(nats_client_open(&o, &p->client, &why));
}

static void on_party_closed(void *ctx)
{
    ((struct party *)ctx)->is_closed = true;
}

static void party_close(struct party *p)
{
    nats_client_close(p->client, on_party_closed, p);
    RUN_UNTIL(p->loop, p->is_closed);
}

static void loop_done(uv_loop_t *loop)
{
    (void)uv_run(loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void subscribe(struct party *p, const char *subject, struct heard *h)
{
    assert_ok(nats_client_subscribe(p->client, subject, on_heard, h, &why));
}

static void publish(struct party *p, const char *subject, const char *text)
{
    assert_ok(nats_client_publish(p->client, subject, str_from(text), &why));
}

/* ---- the client ---- */

static enum err try_open(const char *const *servers, size_t n, const char *ca)
{
    uv_loop_t loop;
    struct nats_client *c = NULL;
    assert_int_equal(uv_loop_init(&loop), 0);
    enum err rc = nats_client_open(
        &(struct nats_client_options){.loop = &loop, .servers = servers, .servers_n = n, .ca_file = ca}, &c, &why);
    if (c != NULL)
        nats_client_close(c, NULL, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    loop_done(&loop);
    return rc;
}

static void on_nothing(void *ctx, struct str payload)
{
    (void)ctx, (void)payload;
}

static void refused_options(void **state)
{
    (void)state;
    const char *const nowhere[] = {"nats://127.0.0.1:1"}, *const bare[] = {"127.0.0.1:4222"},
                      *const secret[] = {"nats://me:hidden@127.0.0.1:4222"},
                      *const mixed[] = {"nats://127.0.0.1:1", "tls://127.0.0.1:2"}, *const tls[] = {"tls://a:1"};
    const char *many[NATS_CLIENT_SERVERS_MAX + 1];
    for (size_t i = 0; i < NATS_CLIENT_SERVERS_MAX + 1; i++)
        many[i] = nowhere[0];
    assert_ok(try_open(nowhere, 1, NULL));
    assert_err(try_open(nowhere, 0, NULL), ERR_INVALID);
    assert_err(try_open(bare, 1, NULL), ERR_INVALID);
    assert_err(try_open(mixed, 2, NULL), ERR_INVALID);
    assert_err(try_open(tls, 1, "ca.pem"), ERR_INVALID);
    assert_err(try_open(many, NATS_CLIENT_SERVERS_MAX + 1, NULL), ERR_INVALID);
    assert_err(try_open(secret, 1, NULL), ERR_INVALID);
    assert_null(strstr(why.msg, "hidden"));

    uv_loop_t loop;
    struct party p;
    assert_int_equal(uv_loop_init(&loop), 0);
    party_open(&p, &loop, nowhere, 1, NULL);
    assert_err(nats_client_subscribe(p.client, "a b", on_nothing, NULL, &why), ERR_INVALID);
    assert_err(nats_client_subscribe(p.client, "", on_nothing, NULL, &why), ERR_INVALID);
    for (unsigned i = 0; i < NATS_CLIENT_SUBSCRIPTIONS_MAX; i++)
        assert_ok(nats_client_subscribe(p.client, "a", on_nothing, NULL, &why));
    assert_err(nats_client_subscribe(p.client, "a", on_nothing, NULL, &why), ERR_LIMIT);
    assert_err(nats_client_publish(p.client, "a", STR("x"), &why), ERR_UNAVAILABLE);
    RUN_UNTIL(&loop, p.downs == 1); /* said, and said once */
    RUN_UNTIL(&loop, !p.is_up);
    assert_int_equal(nats_client_counts(p.client).dropped, 1);
    party_close(&p);
    loop_done(&loop);
}

static void plain_servers(char texts[static 2][64], const char *ret[static 2])
{
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(texts[i], 64, "nats://127.0.0.1:%d", plain[i].port);
        ret[i] = texts[i];
    }
}

/* However many messages: few calls, the last one with the newest; in the loop's thread. */
static void newest_only(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct party from, to;
    struct heard h = listener(), other = listener();
    char texts[2][64], number[400];
    const char *servers[2];
    if (!has_nats)
        skip();
    plain_servers(texts, servers);
    assert_int_equal(uv_loop_init(&loop), 0);
    party_open(&from, &loop, servers, 2, NULL);
    party_open(&to, &loop, servers, 2, NULL);
    subscribe(&to, "news", &h);
    subscribe(&to, "other", &other);
    RUN_UNTIL(&loop, from.is_up && to.is_up);
    for (int i = 1; i <= 1000; i++) {
        (void)snprintf(number, sizeof(number), "{\"seq\":%d}", i);
        publish(&from, "news", number);
    }
    RUN_UNTIL(&loop, h.seq == 1000);
    assert_true(h.n < 500 && !h.other_thread && other.n == 0);
    print_message("1,000 messages: %zu calls\n", h.n);
    memset(number, 'x', sizeof(number));
    number[sizeof(number) - 1] = '\0';
    publish(&from, "news", number);
    RUN_UNTIL(&loop, strlen(h.text) == NATS_CLIENT_PAYLOAD_MAX);
    party_close(&from);
    party_close(&to);
    loop_done(&loop);
}

/* Any server may die, all may: what was missed is said (as: something may be), and it goes on. */
static void reconnects(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct party from, to;
    struct heard h = listener();
    char texts[2][64];
    const char *servers[2];
    if (!has_nats)
        skip();
    plain_servers(texts, servers);
    assert_int_equal(uv_loop_init(&loop), 0);
    party_open(&to, &loop, servers, 2, NULL);
    subscribe(&to, "news", &h);
    RUN_UNTIL(&loop, to.is_up);
    assert_int_equal(h.n, 0);
    test_nats_member_kill(&plain[0]);
    test_nats_member_kill(&plain[1]);
    RUN_UNTIL(&loop, to.downs == 1);
    assert_false(nats_client_counts(to.client).is_up);
    int64_t began_us = clock_mono_us();
    test_nats_member_start(&plain[1]);
    RUN_UNTIL(&loop, to.is_up);
    print_message("up again %lld ms after the server was started\n", (long long)(clock_mono_us() - began_us) / 1000);
    assert_true(h.n == 1 && h.unknown == 1 && to.downs == 1);
    party_open(&from, &loop, servers, 2, NULL);
    RUN_UNTIL(&loop, from.is_up);
    publish(&from, "news", "{\"seq\":7}");
    RUN_UNTIL(&loop, h.seq == 7);
    test_nats_member_start(&plain[0]);
    party_close(&from);
    party_close(&to);
    loop_done(&loop);
}

/* ---- who may ---- */

static const char *secure_server(char text[static 80])
{
    (void)snprintf(text, 80, "tls://%s", secure.address);
    return text;
}

static void authorization_names_who_joined(void **state)
{
    (void)state;
    assert_non_null(strstr(authorization,
                           "{ user: \"slipform://test/node/a\", permissions: { publish: { deny: \">\" }, "
                           "subscribe: \"slipform.test.node.03610000-0000-0000-0000-000000000000\" } }"));
    assert_non_null(strstr(authorization,
                           "{ user: \"slipform://test/edge/b\", permissions: { publish: { deny: \">\" }, "
                           "subscribe: \"slipform.test.region.eu=2E1.edge\" } }"));
    assert_non_null(strstr(authorization, "{ user: \"slipform://test/notifier/a\", permissions: { publish: "
                                          "\"slipform.test.>\", subscribe: { deny: \">\" } } }"));
    assert_null(strstr(authorization, "slipform://test/node/c"));
}

/* The error names the server, and says all of this. */
static void is_not_let_in(uv_loop_t *loop, const char *server, const char *who, const char *const says[static 3])
{
    struct party p;
    const char *const servers[] = {server};
    party_open(&p, loop, servers, 1, who);
    RUN_UNTIL(loop, p.downs == 1);
    assert_int_equal(nats_client_counts(p.client).connected, 0);
    for (size_t i = 0; i < 3; i++)
        if (strstr(p.why.msg, says[i]) == NULL || strstr(p.why.msg, server) == NULL)
            fail_msg("%s is not told '%s': %s", who, says[i], p.why.msg);
    assert_null(strstr(p.why.msg, "PRIVATE KEY"));
    party_close(&p);
}

/* What is wrong with a certificate of ours is told by its file, and what to do; a server says no more than that it
 * hangs up. */
static void foreigners(void **state)
{
    (void)state;
    static const struct {
        const char *who, *says[3];
    } CASES[] = {
        {"xnode-a", {"/xnode-a.pem' is not valid under", "/our-ca.pem'", "by the CA that the servers trust"}},
        {"expired", {"/expired.pem' has expired on 20", "renew it", ""}},
        {"early", {"/early.pem' begins on 20", "are the clocks right?", ""}},
        {"server-only", {"/server-only.pem' is for another use", "clientAuth", ""}},
        {"no-key", {"/no-key.key' does not hold the key of certificate", "/no-key.pem'", "key values mismatch"}},
        {"nowhere", {"/nowhere.pem' cannot be read", "", ""}},
        {"elsewhere-node-a", {"/elsewhere-node-a.pem' is in its time", "does it know this identity?", ""}},
        {"node-c", {"/node-c.pem' is in its time", "does it know this identity?", ""}},
    };
    uv_loop_t loop;
    char address[80];
    if (!has_nats)
        skip();
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        is_not_let_in(&loop, secure_server(address), CASES[i].who, CASES[i].says);
    loop_done(&loop);
}

/* Servers that we do not let in: whose certificate is over, or of another CA, or that speak in the clear. */
static void servers_of_others(void **state)
{
    (void)state;
    static const struct {
        const char *cert, *says[3];
    } CASES[] = {
        {"expired-nats", {"certificate has expired", "that is the certificate of the server", "renew it there"}},
        {"xnode-a", {"unable to get local issuer", "that is the certificate of the server", "/our-ca.pem'"}},
        {"nats-elsewhere", {"mismatch", "that is the certificate of the server", "the server's name or address"}},
        {NULL, {"that server speaks without TLS", "'tls' block", "nats://"}},
    };
    uv_loop_t loop;
    if (!has_nats)
        skip();
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        char address[80];
        (void)snprintf(address, sizeof(address), "tls://%s", strangers[i].address);
        is_not_let_in(&loop, address, "node-a", CASES[i].says);
    }
    loop_done(&loop);
}

/* A node hears what is for it, and neither hears for others nor says anything. */
static void permissions(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct party notifier, a, b, spy, liar;
    struct heard of_a = listener(), of_b = listener(), of_spy = listener();
    char address[80], subject_a[NOTIFICATION_SUBJECT_SIZE];
    const char *const servers[] = {secure_server(address)};
    if (!has_nats)
        skip();
    notification_node_subject(INSTALLATION, NODE_A, subject_a);
    assert_int_equal(uv_loop_init(&loop), 0);
    party_open(&notifier, &loop, servers, 1, "notifier-a");
    party_open(&a, &loop, servers, 1, "node-a");
    party_open(&b, &loop, servers, 1, "node-b");
    party_open(&spy, &loop, servers, 1, "edge-b");
    party_open(&liar, &loop, servers, 1, "node-a");
    subscribe(&a, subject_a, &of_a);
    subscribe(&b, subject_a, &of_b);
    subscribe(&spy, ">", &of_spy);
    RUN_UNTIL(&loop, notifier.is_up && a.is_up && liar.is_up && b.is_refused && spy.is_refused);
    assert_false(a.is_refused);
    publish(&liar, subject_a, "{\"seq\":1}");
    RUN_UNTIL(&loop, liar.is_refused);
    assert_int_equal(of_a.n, 0);
    publish(&notifier, subject_a, "{\"seq\":2}");
    RUN_UNTIL(&loop, of_a.seq == 2);
    assert_true(of_a.n == 1 && of_b.seq == 0 && of_spy.seq == 0);
    print_message("refused: %s\n", b.why.msg);
    party_close(&liar);
    party_close(&spy);
    party_close(&b);
    party_close(&a);
    party_close(&notifier);
    loop_done(&loop);
}

/* ---- the whole: log, notifiers, NATS, listeners ---- */

struct watched {
    struct notifier *notifier;
    bool is_ready, is_closed;
};
static void on_notifier(void *ctx, bool is_ready, const struct errinfo *reason)
{
    (void)reason;
    ((struct watched *)ctx)->is_ready = is_ready;
}
static void on_notifier_closed(void *ctx)
{
    ((struct watched *)ctx)->is_closed = true;
}

static void notifier_start(struct watched *w, uv_loop_t *loop, const char *const *servers, size_t n, const char *who)
{
    auto_free char *ca = mem_printf("%s/our-ca.pem", disk.dir), *cert = mem_printf("%s/%s.pem", disk.dir, who),
                   *key = mem_printf("%s/%s.key", disk.dir, who);
    *w = (struct watched){0};
    struct notifier_options o = {
        .loop = loop,
        .store = open_mode(&disk, STORE_READ),
        .installation = INSTALLATION,
        .poll_ms = 500,
        .nats = {.servers = servers, .servers_n = n, .ca_file = ca, .cert_file = cert, .key_file = key, .seed = 1},
        .on_state = on_notifier,
        .ctx = w};
    assert_ok(notifier_open(&o, &w->notifier, &why));
}

static void notifier_stop(struct watched *w, uv_loop_t *loop)
{
    notifier_close(w->notifier, on_notifier_closed, w);
    RUN_UNTIL(loop, w->is_closed);
}

/* Two notifiers: each event is told at once, also by the one that is left. */
static void told_of_growth(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct watched one, two;
    struct party replica, edge, node_a, node_b;
    struct heard logs = listener(), routes = listener(), of_a = listener(), of_b = listener();
    char address[80], s[NOTIFICATION_SUBJECT_SIZE];
    const char *const servers[] = {secure_server(address)};
    if (!has_nats)
        skip();
    struct store *store = open_store(&disk);
    assert_int_equal(uv_loop_init(&loop), 0);
    party_open(&replica, &loop, servers, 1, "control-a");
    party_open(&edge, &loop, servers, 1, "edge-b");
    party_open(&node_a, &loop, servers, 1, "node-a");
    party_open(&node_b, &loop, servers, 1, "node-b");
    notification_log_subject(INSTALLATION, store_log_id(store), s);
    subscribe(&replica, s, &logs);
    notification_edge_subject(INSTALLATION, STR("eu.1"), s);
    subscribe(&edge, s, &routes);
    notification_node_subject(INSTALLATION, NODE_A, s);
    subscribe(&node_a, s, &of_a);
    notification_node_subject(INSTALLATION, NODE_B, s);
    subscribe(&node_b, s, &of_b);
    RUN_UNTIL(&loop, replica.is_up && edge.is_up && node_a.is_up && node_b.is_up);
    notifier_start(&one, &loop, servers, 1, "notifier-a");
    notifier_start(&two, &loop, servers, 1, "notifier-b");
    RUN_UNTIL(&loop, one.is_ready && two.is_ready && logs.seq == (int64_t)end_of(store).seq);
    assert_true(routes.n == 0 && of_b.n == 0); /* the past is no news */

    int64_t began_us = clock_mono_us();
    append_instance(store);
    int64_t seq = (int64_t)end_of(store).seq;
    RUN_UNTIL(&loop, logs.seq == seq && routes.seq == seq && of_b.seq == seq);
    print_message("append to the last listener: %lld us\n", (long long)(clock_mono_us() - began_us));
    assert_int_equal(of_a.n, 0);
    notifier_stop(&one, &loop);
    append(store, &(struct event){.kind = EVENT_DRAIN_NODE, .drain_node = {.node_id = NODE_A}});
    RUN_UNTIL(&loop, logs.seq == seq + 1 && routes.seq == seq + 1 && of_a.seq == seq + 1);
    assert_int_equal(of_b.seq, seq);
    notifier_stop(&two, &loop);
    assert_true(!logs.other_thread && !of_a.other_thread);
    party_close(&node_b);
    party_close(&node_a);
    party_close(&edge);
    party_close(&replica);
    store_close(store);
    loop_done(&loop);
}

/* What moved while NATS was away is told when it is back. The notifier's way there is held up, not the listener's. */
static void told_when_nats_is_back(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct watched one;
    struct party replica;
    struct heard logs = listener();
    char address[80], detour[80], s[NOTIFICATION_SUBJECT_SIZE];
    const char *const servers[] = {secure_server(address)}, *const held_up[] = {detour};
    if (!has_nats)
        skip();
    (void)snprintf(detour, sizeof(detour), "tls://127.0.0.1:%d", secure.relay_port);
    struct store *store = open_store(&disk);
    int64_t end = (int64_t)end_of(store).seq;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(kill(secure.relay, SIGSTOP), 0);
    party_open(&replica, &loop, servers, 1, "control-a");
    notification_log_subject(INSTALLATION, store_log_id(store), s);
    subscribe(&replica, s, &logs);
    RUN_UNTIL(&loop, replica.is_up);
    notifier_start(&one, &loop, held_up, 1, "notifier-a");
    struct notifier_numbers n = {0};
    RUN_UNTIL(&loop, (notifier_numbers(one.notifier, &n), n.seq) == (uint64_t)end);
    assert_true(!one.is_ready && n.nats.published == 0 && logs.n == 0);
    assert_int_equal(kill(secure.relay, SIGCONT), 0);
    RUN_UNTIL(&loop, logs.seq == end && one.is_ready);
    notifier_stop(&one, &loop);
    party_close(&replica);
    store_close(store);
    loop_done(&loop);
}

/* ---- */

/* begins_s: from now on; is_client: it may also be shown by a client. */
static void issue_for(const struct ca *ca, const char *name, const char *uri, int64_t begins_s, bool is_client,
                      const char *ip)
{
    auto_free char *cert = mem_printf("%s/%s.pem", disk.dir, name), *key = mem_printf("%s/%s.key", disk.dir, name);
    const char *const uris[] = {uri}, *const ips[] = {ip};
    struct leaf_options o = {.uris = uris,
                             .uris_n = 1,
                             .ips = ips,
                             .ips_n = 1,
                             .server = true,
                             .client = is_client,
                             .days = 1,
                             .now_s = clock_wall_us() / 1000000 + begins_s};
    assert_ok(ca_issue_files(ca, &o, cert, key, -1, -1, &why));
}

static void issue(const struct ca *ca, const char *name, const char *uri)
{
    issue_for(ca, name, uri, 0, true, "127.0.0.1");
}

static void issue_bad_ones(const struct ca *ca)
{
    enum { DAY_S = 86400 };
    auto_free char *from = mem_printf("%s/node-b.key", disk.dir), *to = mem_printf("%s/no-key.key", disk.dir);
    issue_for(ca, "expired", "slipform://test/node/a", -3 * DAY_S, true, "127.0.0.1");
    issue_for(ca, "expired-nats", "slipform://test/nats/a", -3 * DAY_S, true, "127.0.0.1");
    issue_for(ca, "early", "slipform://test/node/a", 3 * DAY_S, true, "127.0.0.1");
    issue_for(ca, "server-only", "slipform://test/node/a", 0, false, "127.0.0.1");
    issue_for(ca, "nats-elsewhere", "slipform://test/nats/a", 0, true, "10.0.0.1");
    issue(ca, "no-key", "slipform://test/node/a");
    AUTO(buf) struct buf key = {0};
    read_whole(from, &key);
    write_whole(to, key.ptr, key.len);
}

static void issue_all(void)
{
    static const char *const ROLES[] = {"notifier", "control", "edge", "node"};
    auto_ca struct ca *ours = NULL, *others = NULL;
    auto_free char *cert = mem_printf("%s/our-ca.pem", disk.dir), *key = mem_printf("%s/our-ca.key", disk.dir);
    assert_ok(ca_create("ours", &ours, &why));
    assert_ok(ca_create("others", &others, &why));
    assert_ok(ca_save(ours, cert, key, &why));
    for (size_t i = 0; i < 4; i++) {
        for (char node = 'a'; node <= 'c'; node++) {
            auto_free char *name = mem_printf("%s-%c", ROLES[i], node),
                           *uri = mem_printf("slipform://test/%s/%c", ROLES[i], node);
            issue(ours, name, uri);
        }
    }
    issue(ours, "nats", "slipform://test/nats/a");
    issue(ours, "elsewhere-node-a", "slipform://elsewhere/node/a");
    issue(others, "xnode-a", "slipform://test/node/a");
    issue_bad_ones(ours);
}

static void format_authorization(void)
{
    AUTO(buf) struct buf text = {0};
    struct store *s = open_store(&disk);
    struct audience *a = audience_new();
    append_nodes(s);
    see_all(s, a);
    authorization_format(a, INSTALLATION, &text);
    authorization = mem_strdup(text.ptr);
    audience_free(a);
    store_close(s);
}

/* name: of its certificate. NULL: it has none. */
static bool start_secure(struct test_nats *n, const char *name)
{
    auto_free char *more = name == NULL
                               ? mem_strdup("")
                               : mem_printf("tls { cert_file: \"%s/%s.pem\", key_file: \"%s/%s.key\", ca_file: "
                                            "\"%s/our-ca.pem\", verify_and_map: true }\n%s",
                                            disk.dir, name, disk.dir, name, disk.dir, authorization);
    return test_nats_start(n, "always", more);
}

static int group_setup(void **state)
{
    (void)state;
    setup_in_memory(&disk, "");
    issue_all();
    format_authorization();
    has_nats = start_secure(&secure, "nats") && start_secure(&strangers[0], "expired-nats") &&
               start_secure(&strangers[1], "xnode-a") && start_secure(&strangers[2], "nats-elsewhere") &&
               start_secure(&strangers[3], NULL) && test_nats_cluster_start(plain, 2, "");
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    if (has_nats) {
        test_nats_stop(&secure);
        for (size_t i = 0; i < 4; i++)
            test_nats_stop(&strangers[i]);
        test_nats_cluster_stop(plain, 2);
    }
    free(authorization);
    teardown(&disk);
    return 0;
}

/* What is looked for in a server's certificate: libnats looks for the brackets, too. */
static void hosts_of_addresses(void **state)
{
    static const char *const GOOD[][2] = {{"tls://[fd12::1]:4222", "fd12::1"},
                                          {"tls://10.0.0.1:4222", "10.0.0.1"},
                                          {"tls://nats.example.org", "nats.example.org"}};
    char host[NATS_HOST_SIZE];
    (void)state;
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(GOOD[0]); i++) {
        assert_true(nats_host_of(GOOD[i][0], host));
        assert_string_equal(host, GOOD[i][1]);
    }
    assert_false(nats_host_of("tls://:4222", host));
    assert_false(nats_host_of("tls://[]:4222", host));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects),        cmocka_unit_test(hosts_of_addresses),
        cmocka_unit_test(who_cares),       cmocka_unit_test(authorization_names_who_joined),
        cmocka_unit_test(refused_options), cmocka_unit_test(newest_only),
        cmocka_unit_test(foreigners),      cmocka_unit_test(servers_of_others),
        cmocka_unit_test(permissions),     cmocka_unit_test(told_of_growth),
        cmocka_unit_test(reconnects),      cmocka_unit_test(told_when_nats_is_back),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
