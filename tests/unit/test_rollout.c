/* edge/route_map/rollout: what one client is sent, and in which order. The client is played here, message by message.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "edge/route_map/rollout.h"

struct world {
    struct catalogue *c;
    struct rollout *r;
    struct rollout_message m;
    struct buf said;    /* what came out last, as text */
    enum xds_type type; /* of the last message */
    uint64_t nonce;
};

static int setup(void **state)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->c = catalogue_new();
    w->r = rollout_new();
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    catalogue_free(w->c);
    rollout_free(w->r);
    buf_done(&w->said);
    free(w);
    return 0;
}

static void put(struct world *w, enum xds_type type, const char *name, const char *bytes, const char *needs)
{
    assert_true(catalogue_put(w->c, type, str_from(name), str_from(bytes), str_from(needs)));
}

static void absent(struct world *w, enum xds_type type, const char *name)
{
    assert_true(catalogue_put_absent(w->c, type, str_from(name)));
}

/* A whole route: cluster, endpoints, host. */
static void put_route(struct world *w, const char *cluster, const char *host)
{
    (void)catalogue_put(w->c, XDS_CLUSTER, str_from(cluster), str_from(cluster), STR(""));
    (void)catalogue_put(w->c, XDS_ENDPOINTS, str_from(cluster), str_from(cluster), STR(""));
    auto_free char *bytes = mem_printf("%s to %s", host, cluster);
    (void)catalogue_put(w->c, XDS_VIRTUAL_HOST, str_from(host), str_from(bytes), str_from(cluster));
}

static void ask(struct world *w, enum xds_type type, const char *name)
{
    struct str n = str_from(name);
    rollout_request(w->r, &(struct rollout_request){.type = type, .subscribe = &n, .subscribe_n = name != NULL});
}

static void leave(struct world *w, enum xds_type type, const char *name)
{
    struct str n = str_from(name);
    rollout_request(w->r, &(struct rollout_request){.type = type, .unsubscribe = &n, .unsubscribe_n = 1});
}

/* "cluster: a b -c (d)": -x is taken away, (x) does not exist. "" when there is nothing to send. */
static const char *next(struct world *w)
{
    buf_clear(&w->said);
    buf_add_c(&w->said, "");
    if (!rollout_next(w->r, w->c, &w->m))
        return "";
    w->type = w->m.type;
    w->nonce = w->m.nonce;
    buf_addf(&w->said, "%s:", xds_type_name(w->m.type));
    for (size_t i = 0; i < w->m.items_n; i++) {
        const struct rollout_item *item = &w->m.items[i];
        if (item->resource == NULL)
            buf_addf(&w->said, " -%s", item->name);
        else
            buf_addf(&w->said, item->resource->is_present ? " %s" : " (%s)", item->name);
    }
    return w->said.ptr;
}

static void answer(struct world *w, bool is_refusal)
{
    char nonce[24];
    (void)snprintf(nonce, sizeof(nonce), "%llu", (unsigned long long)w->nonce);
    rollout_request(w->r,
                    &(struct rollout_request){.type = w->type, .nonce = str_from(nonce), .is_refusal = is_refusal});
}

static void say(struct world *w, const char *expected)
{
    assert_string_equal(next(w), expected);
    if (expected[0] != '\0')
        answer(w, false);
}

/* Bring up an Envoy as far as it goes without a request of a user. */
static void start(struct world *w)
{
    put(w, XDS_LISTENER, "https", "l", NULL);
    put(w, XDS_ROUTES, "edge", "r", NULL);
    put(w, XDS_VIRTUAL_HOST, ROLLOUT_PLACEHOLDER, "p", NULL);
    ask(w, XDS_CLUSTER, "*");
    say(w, "cluster:"); /* the first answer comes, though it is empty */
    ask(w, XDS_LISTENER, "*");
    say(w, "listener: https");
    ask(w, XDS_ROUTES, "edge");
    say(w, "routes: edge");
    assert_false(rollout_is_settled(w->r, w->c));
    ask(w, XDS_VIRTUAL_HOST, NULL);
    say(w, "virtual_host: " ROLLOUT_PLACEHOLDER);
    say(w, "");
    assert_true(rollout_is_settled(w->r, w->c));
}

static void clusters_before_hosts(void **state)
{
    struct world *w = *state;
    start(w);
    put_route(w, "a", "edge/a.test");
    ask(w, XDS_VIRTUAL_HOST, "edge/a.test");
    assert_string_equal(next(w), "cluster: a");
    assert_false(rollout_is_settled(w->r, w->c));
    ask(w, XDS_ENDPOINTS, "a");
    answer(w, false);
    assert_string_equal(next(w), "endpoints: a");
    assert_string_equal(next(w), ""); /* not before the endpoints are acknowledged */
    answer(w, false);
    say(w, "virtual_host: edge/a.test");
    say(w, "");
    assert_true(rollout_is_settled(w->r, w->c));
}

static void hosts_before_clusters_on_removal(void **state)
{
    struct world *w = *state;
    clusters_before_hosts(state);
    absent(w, XDS_CLUSTER, "a");
    absent(w, XDS_ENDPOINTS, "a");
    put(w, XDS_VIRTUAL_HOST, "edge/a.test", "gone", NULL);
    assert_string_equal(next(w), "virtual_host: edge/a.test");
    assert_string_equal(next(w), ""); /* the cluster stays until the host's new form is acknowledged */
    assert_false(rollout_is_settled(w->r, w->c));
    answer(w, false);
    say(w, "cluster: -a");
    leave(w, XDS_ENDPOINTS, "a");
    say(w, "");
    assert_true(rollout_is_settled(w->r, w->c));
    assert_int_equal(rollout_held(w->r, XDS_CLUSTER), 0);
}

static void host_moves_between_clusters(void **state)
{
    struct world *w = *state;
    clusters_before_hosts(state);
    absent(w, XDS_CLUSTER, "a");
    absent(w, XDS_ENDPOINTS, "a");
    put_route(w, "b", "edge/a.test");
    ask(w, XDS_ENDPOINTS, "b");
    say(w, "cluster: b"); /* first the new one … */
    say(w, "endpoints: b");
    say(w, "virtual_host: edge/a.test");
    say(w, "cluster: -a"); /* … and the old one last */
    say(w, "");
}

static void one_change_is_one_small_message(void **state)
{
    struct world *w = *state;
    clusters_before_hosts(state);
    put_route(w, "b", "edge/b.test");
    ask(w, XDS_VIRTUAL_HOST, "edge/b.test");
    ask(w, XDS_ENDPOINTS, "b");
    say(w, "cluster: b");
    say(w, "endpoints: b");
    say(w, "virtual_host: edge/b.test");
    put(w, XDS_ENDPOINTS, "b", "others", NULL);
    say(w, "endpoints: b");
    say(w, "");
}

static void unknown_host_is_said_to_be_absent(void **state)
{
    struct world *w = *state;
    start(w);
    ask(w, XDS_VIRTUAL_HOST, "edge/x.test");
    say(w, ""); /* nobody has decided yet */
    assert_false(rollout_is_settled(w->r, w->c));
    absent(w, XDS_VIRTUAL_HOST, "edge/x.test");
    say(w, "virtual_host: (edge/x.test)");
    say(w, "");
    assert_true(rollout_is_settled(w->r, w->c));
    ask(w, XDS_VIRTUAL_HOST, "edge/x.test"); /* asked again: answered again */
    say(w, "virtual_host: (edge/x.test)");
    put_route(w, "x", "edge/x.test"); /* and it comes to life later */
    ask(w, XDS_ENDPOINTS, "x");
    say(w, "cluster: x");
    say(w, "endpoints: x");
    say(w, "virtual_host: edge/x.test");
}

static void reconnect_sends_only_what_differs(void **state)
{
    struct world *w = *state;
    put(w, XDS_LISTENER, "https", "l", NULL);
    put(w, XDS_VIRTUAL_HOST, ROLLOUT_PLACEHOLDER, "p", NULL);
    put_route(w, "a", "edge/a.test");
    put_route(w, "b", "edge/b.test");
    const char *va = catalogue_find(w->c, XDS_CLUSTER, STR("a"))->version;
    const struct rollout_version clusters[] = {{STR("a"), str_from(va)}, {STR("old"), STR("1")}, {STR("b"), STR("x")}};
    struct str star = STR("*"), names[] = {STR("a"), STR("b")};
    rollout_request(
        w->r, &(struct rollout_request){
                  .type = XDS_CLUSTER, .subscribe = &star, .subscribe_n = 1, .initial = clusters, .initial_n = 3});
    absent(w, XDS_CLUSTER, "old");
    say(w, "cluster: b"); /* a is current; old stays: what the hosts name is not known yet */
    const struct rollout_version endpoints[] = {{STR("a"), str_from(va)}, {STR("b"), str_from("x")}};
    rollout_request(
        w->r, &(struct rollout_request){
                  .type = XDS_ENDPOINTS, .subscribe = names, .subscribe_n = 2, .initial = endpoints, .initial_n = 2});
    say(w, "endpoints: b");
    say(w, "");
    struct str hosts[] = {STR("edge/a.test"), STR("edge/b.test")};
    const struct rollout_version held[] = {
        {hosts[0], str_from(catalogue_find(w->c, XDS_VIRTUAL_HOST, hosts[0])->version)}, {hosts[1], STR("y")}};
    rollout_request(
        w->r, &(struct rollout_request){
                  .type = XDS_VIRTUAL_HOST, .subscribe = hosts, .subscribe_n = 2, .initial = held, .initial_n = 2});
    assert_string_equal(next(w), "virtual_host: " ROLLOUT_PLACEHOLDER " edge/b.test");
    assert_string_equal(next(w), ""); /* b's old form may still name it */
    answer(w, false);
    say(w, "cluster: -old");
}

static void refusal_is_kept_and_the_rest_goes_on(void **state)
{
    struct world *w = *state;
    start(w);
    put(w, XDS_CLUSTER, "bad", "1", NULL);
    put(w, XDS_CLUSTER, "good", "1", NULL);
    assert_string_equal(next(w), "cluster: bad good");
    answer(w, true); /* one of them: each goes alone now */
    assert_string_equal(next(w), "cluster: bad");
    answer(w, true);
    say(w, "cluster: good");
    say(w, ""); /* the bad version is not sent again */
    assert_int_equal(rollout_refused(w->r, w->c), 1);
    assert_false(rollout_is_settled(w->r, w->c));
    put(w, XDS_CLUSTER, "bad", "2", NULL); /* a new version is tried */
    say(w, "cluster: bad");
    assert_int_equal(rollout_refused(w->r, w->c), 0);
    assert_true(rollout_is_settled(w->r, w->c));
}

static void replaced_cluster_gets_its_endpoints_again(void **state)
{
    struct world *w = *state;
    clusters_before_hosts(state);
    put(w, XDS_CLUSTER, "a", "another form", NULL);
    say(w, "cluster: a");
    say(w, "endpoints: a");
    say(w, "");
}

static void old_nonces_count_for_nothing(void **state)
{
    struct world *w = *state;
    start(w);
    put(w, XDS_CLUSTER, "a", "1", NULL);
    assert_string_equal(next(w), "cluster: a");
    rollout_request(w->r, &(struct rollout_request){.type = XDS_CLUSTER, .nonce = STR("1")});
    assert_false(rollout_is_settled(w->r, w->c));
    rollout_request(w->r, &(struct rollout_request){.type = XDS_CLUSTER, .nonce = STR("rubbish")});
    assert_false(rollout_is_settled(w->r, w->c));
    answer(w, false);
    assert_true(rollout_is_settled(w->r, w->c));
}

static void many_go_in_pieces(void **state)
{
    struct world *w = *state;
    start(w);
    for (int i = 0; i < ROLLOUT_BATCH_MAX + 7; i++) {
        auto_free char *name = mem_printf("c%d", i);
        put(w, XDS_CLUSTER, name, name, NULL);
    }
    (void)next(w);
    assert_int_equal(w->m.items_n, ROLLOUT_BATCH_MAX);
    answer(w, false);
    (void)next(w);
    assert_int_equal(w->m.items_n, 7);
    answer(w, false);
    assert_int_equal(rollout_held(w->r, XDS_CLUSTER), ROLLOUT_BATCH_MAX + 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(clusters_before_hosts),
        TEST(hosts_before_clusters_on_removal),
        TEST(host_moves_between_clusters),
        TEST(one_change_is_one_small_message),
        TEST(unknown_host_is_said_to_be_absent),
        TEST(reconnect_sends_only_what_differs),
        TEST(refusal_is_kept_and_the_rest_goes_on),
        TEST(replaced_cluster_gets_its_endpoints_again),
        TEST(old_nonces_count_for_nothing),
        TEST(many_go_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
