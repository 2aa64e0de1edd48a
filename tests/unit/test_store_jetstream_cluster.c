/* The jetstream store on three nats-servers: each is killed in turn under load, so the leader is, too. What was
 * acknowledged is there, once and in its order. */
#include "store_help.h"
#include "store_nats.h"

#include <poll.h>
#include <sys/wait.h>

#include <nats/nats.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/jetstream.h"

enum { SERVERS = 3, BEFORE = 30, AFTER = 60, BOUND_S = 60 };

static struct test_nats_member members[SERVERS];

static void pause_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

static char *cluster_spec(void)
{
    return mem_printf("jetstream;servers=nats://127.0.0.1:%d,nats://127.0.0.1:%d,nats://127.0.0.1:%d;stream=log;"
                      "replicas=3;sync=promised;timeout_ms=3000",
                      members[0].port, members[1].port, members[2].port);
}

/* The cluster has elected whom it needs, sooner or later. */
static struct store *open_patiently(const char *spec)
{
    struct store *s = NULL;
    int64_t until_us = clock_mono_us() + (int64_t)BOUND_S * 1000000;
    while (store_open(spec, NULL, &s, NULL, &why) != OK) {
        if (clock_mono_us() > until_us)
            fail_msg("the store does not open: %s", why.msg);
        pause_ms(100);
    }
    return s;
}

/* All members of the stream have what its leader has. */
static bool is_whole(const char *url)
{
    natsConnection *conn = NULL;
    natsMsg *m = NULL;
    auto_json json_t *doc = NULL;
    size_t current = 0, i;
    json_t *replica;
    if (natsConnection_ConnectTo(&conn, url) == NATS_OK &&
        natsConnection_RequestString(&m, conn, "$JS.API.STREAM.INFO.log", "", 2000) == NATS_OK)
        (void)!json_parse((struct str){natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, &doc, NULL);
    json_array_foreach(json_object_get(json_object_get(doc, "cluster"), "replicas"), i, replica)
    {
        current +=
            json_is_true(json_object_get(replica, "current")) && !json_is_true(json_object_get(replica, "offline"));
    }
    natsMsg_Destroy(m);
    natsConnection_Destroy(conn);
    return current == SERVERS - 1;
}

static void await_whole(void)
{
    auto_free char *url = mem_printf("nats://127.0.0.1:%d,nats://127.0.0.1:%d,nats://127.0.0.1:%d", members[0].port,
                                     members[1].port, members[2].port);
    int64_t until_us = clock_mono_us() + (int64_t)BOUND_S * 1000000;
    while (!is_whole(url)) {
        assert_true(clock_mono_us() < until_us);
        pause_ms(100);
    }
}

/* Event `number` is in the log when this returns, and once. */
static void append_patiently(struct store *s, uint64_t number)
{
    struct store_event e = number_event(0, number);
    int64_t until_us = clock_mono_us() + (int64_t)BOUND_S * 1000000;
    for (;;) {
        struct store_pos end;
        uint64_t seq = 0;
        enum err rc = store_end(s, &end, &why);
        if (rc == OK)
            rc = store_append(s, end, &e, 1, NULL, &why);
        if (rc == OK)
            return;
        if (rc == ERR_IO) {
            while (store_reopen(s, NULL, &why) != OK) {
                if (clock_mono_us() > until_us)
                    fail_msg("event %llu: %s", (unsigned long long)number, why.msg);
                pause_ms(20);
            }
            while ((rc = store_find_id(s, 0, e.id, &seq, &why)) != OK && rc != ERR_NOT_FOUND) {
                assert_true(clock_mono_us() < until_us);
                pause_ms(20);
            }
            if (rc == OK)
                return;
        } else if (rc != ERR_UNAVAILABLE && rc != ERR_CONFLICT) {
            fail_msg("event %llu: %s", (unsigned long long)number, why.msg);
        }
        assert_true(clock_mono_us() < until_us);
        pause_ms(20);
    }
}

static void each_server_is_killed(void **state)
{
    (void)state;
    auto_free char *spec = cluster_spec();
    struct store *s = open_patiently(spec);
    uint64_t n = 0;
    for (size_t i = 0; i < SERVERS; i++) {
        int64_t longest_us = 0;
        await_whole();
        for (int k = 0; k < BEFORE; k++)
            append_patiently(s, ++n);
        test_nats_member_kill(&members[i]);
        for (int k = 0; k < AFTER; k++) {
            int64_t from_us = clock_mono_us();
            append_patiently(s, ++n);
            int64_t took_us = clock_mono_us() - from_us;
            longest_us = took_us > longest_us ? took_us : longest_us;
        }
        print_message("server %zu killed: the longest append took %lld ms\n", i, (long long)longest_us / 1000);
        test_nats_member_start(&members[i]);
    }
    await_whole();
    store_close(s);
    s = open_patiently(spec);
    check_numbers(s, n);
    store_close(s);
}

/* An append is proved by what a majority agrees on: not while there is none, and again when there is. */
static void a_majority_is_proved(void **state)
{
    (void)state;
    auto_free char *spec = cluster_spec();
    struct store *s = open_patiently(spec);
    await_whole();
    struct store_pos end = end_of(s);
    int64_t until_us = clock_mono_us() + (int64_t)BOUND_S * 1000000;
    while (store_prove(s, &why) != OK)
        assert_true(clock_mono_us() < until_us);
    test_nats_member_kill(&members[0]);
    test_nats_member_kill(&members[1]);
    for (int i = 0; i < 3; i++) {
        assert_true(store_prove(s, &why) != OK);
        pause_ms(500);
    }
    print_message("without a majority: %s\n", why.msg);
    test_nats_member_start(&members[0]);
    test_nats_member_start(&members[1]);
    while (store_prove(s, &why) != OK) {
        assert_true(clock_mono_us() < until_us);
        pause_ms(100);
    }
    assert_true(end_of(s).seq == end.seq && end_of(s).sum == end.sum);
    store_close(s);
}

/* A handle has met a message that its leader does not have, as behind an election on a busy machine: that is no lost
 * tail, but something to wait for, a minute long. */
static void a_leader_that_is_behind(void **state)
{
    (void)state;
    auto_free char *all = cluster_spec(), *spec = mem_printf("%s;stream=behind", all);
    struct store *s = NULL, *other = NULL;
    struct store_pos end = {0};
    char *name = strstr(spec, "stream=log;"); /* the first one counts */
    assert_non_null(name);
    memmove(name, name + strlen("stream=log;"), strlen(name + strlen("stream=log;")) + 1);
    s = open_patiently(spec);
    append_patiently(s, 1);
    struct jet *j = s->impl;
    const struct jet_place ahead = {j->tail.message + 1, {j->tail.end.seq + 1, 1, j->tail.end.time}};
    j->tail = ahead;
    assert_err(store_end(s, &end, &why), ERR_UNAVAILABLE);
    assert_non_null(strstr(why.msg, "it is asked again until it has them"));
    assert_true(j->tail.message == ahead.message);
    other = open_patiently(spec);
    append_patiently(other, 2);
    assert_ok(store_end(s, &end, &why));
    assert_int_equal(end.seq, 2);
    j->tail.message++;
    j->behind_us = clock_mono_us() - (int64_t)61 * 1000000;
    assert_ok(store_end(s, &end, &why)); /* it really lost its tail */
    assert_int_equal(end.seq, 2);
    store_close(other);
    store_close(s);
}

static bool opens(const char *spec)
{
    struct store *s = NULL;
    enum err rc = store_open(spec, NULL, &s, NULL, &why);
    if (rc != OK)
        print_message("%s\n", why.msg);
    store_close(s);
    return rc == OK;
}

/* As replicas that are started together for the first time. Before anything of libnats runs in this process. */
static void made_by_several_at_once(void **state)
{
    (void)state;
    enum { LOGS = 10, WHO = 8 };
    for (int i = 0; i < LOGS; i++) {
        auto_free char *spec =
            mem_printf("jetstream;servers=nats://127.0.0.1:%d,nats://127.0.0.1:%d,nats://127.0.0.1:%d;"
                       "stream=new-%d;replicas=3;sync=promised;timeout_ms=5000",
                       members[0].port, members[1].port, members[2].port, i);
        int fds[2], failed = 0;
        assert_int_equal(pipe(fds), 0);
        for (int k = 0; k < WHO; k++) {
            if (fork() == 0) {
                char byte;
                (void)close(fds[1]);
                (void)!read(fds[0], &byte, 1); /* until all are there */
                if (i == 0)
                    store_close(open_patiently(spec)); /* the cluster has only begun */
                _exit(i == 0 || opens(spec) ? 0 : 1);
            }
        }
        (void)close(fds[1]);
        (void)close(fds[0]);
        for (int k = 0; k < WHO; k++) {
            int status = 0;
            failed += wait(&status) < 0 || status != 0;
        }
        assert_int_equal(failed, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(made_by_several_at_once),
                                       cmocka_unit_test(a_leader_that_is_behind),
                                       cmocka_unit_test(each_server_is_killed), cmocka_unit_test(a_majority_is_proved)};
    if (!test_nats_cluster_start(members, SERVERS, ""))
        return 77; /* skipped, says meson */
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    test_nats_cluster_stop(members, SERVERS);
    return failures;
}
