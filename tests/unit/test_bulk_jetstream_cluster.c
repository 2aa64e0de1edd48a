/* The bulk store on three nats-servers, as an operator of dev-1 uses it: by a certificate whose identity may do what
 * install/ lets it, and no more. What was taken is there, once and in its order, though the leader of its stream was
 * killed in between; retention works as that identity, and through the servers that are left. */
#include "store/bulk.h"
#include "store_help.h"
#include "store_nats.h"

#include <poll.h>

#include "base/clock.h"
#include "crypto/ca.h"
#include "notifier/authorization.h"
#include "store/jetstream.h"

enum { SERVERS = 3, BOUND_S = 90, LINES = 10 };
#define IDENTITY "slipform://test/log/op1"
#define SIZE_OF_ALL ((uint64_t)64 * 1024 * 1024)
#define SIZE_MAX_NONE ((uint64_t)1 << 40)

static struct test_nats_member members[SERVERS];
static char dir[64];

static int64_t bound_us(void)
{
    return clock_mono_us() + (int64_t)BOUND_S * 1000000;
}

/* Again, or never. */
static void wait_or_fail(int64_t until_us, const char *what)
{
    if (clock_mono_us() > until_us)
        fail_msg("%s: %s", what, why.msg);
    (void)poll(NULL, 0, 20);
}

/* ---- who may ---- */

static void issue(const struct ca *ca, const char *name, const char *uri)
{
    auto_free char *cert = mem_printf("%s/%s.pem", dir, name), *key = mem_printf("%s/%s.key", dir, name);
    const char *const uris[] = {uri}, *const ips[] = {"127.0.0.1"};
    struct leaf_options o = {
        .uris = uris, .uris_n = 1, .ips = ips, .ips_n = 1, .server = true, .client = true, .days = 1};
    assert_ok(ca_issue_files(ca, &o, cert, key, -1, -1, &why));
}

/* TLS and rights of a server, as install/nats.c sets them. */
static char *configuration(void)
{
    AUTO(buf) struct buf text = {0};
    auto_ca struct ca *ca = NULL;
    auto_free char *cert = mem_printf("%s/ca.pem", dir), *key = mem_printf("%s/ca.key", dir);
    assert_ok(ca_create("test", &ca, &why));
    assert_ok(ca_save(ca, cert, key, &why));
    issue(ca, "server", "slipform://test/nats/op1");
    issue(ca, "op1", IDENTITY);
    buf_addf(&text, "tls { cert_file: \"%s/server.pem\", key_file: \"%s/server.key\", ca_file: \"%s/ca.pem\", ", dir,
             dir, dir);
    buf_add_c(&text, "verify_and_map: true, timeout: 10 }\n");
    authorization_begin(&text);
    authorization_add_store(IDENTITY, "log", &text);
    authorization_end(&text);
    return mem_strdup(text.ptr);
}

static char *cluster_spec(void)
{
    return mem_printf("jetstream;servers=tls://127.0.0.1:%d,tls://127.0.0.1:%d,tls://127.0.0.1:%d;stream=log;"
                      "sync=promised;timeout_ms=2000;ca=%s/ca.pem;cert=%s/op1.pem;key=%s/op1.key",
                      members[0].port, members[1].port, members[2].port, dir, dir, dir);
}

/* ---- patience: a leader is elected, sooner or later ---- */

static struct store *open_log(const char *spec)
{
    struct store *s = NULL;
    int64_t until_us = bound_us();
    while (store_open(spec, NULL, &s, NULL, &why) != OK)
        wait_or_fail(until_us, "the log does not open");
    return s;
}

static struct bulk *open_bulk(const char *spec, int64_t kept_s)
{
    struct bulk *b = NULL;
    int64_t until_us = bound_us();
    while (bulk_open(spec, &(struct bulk_limits){SIZE_OF_ALL, kept_s}, &b, &why) != OK)
        wait_or_fail(until_us, "the bulk store does not open");
    return b;
}

static void add_lines(struct buf *out, int64_t from, int64_t to)
{
    for (int64_t i = from; i <= to; i++)
        buf_addf(out, "{\"seq\":%lld,\"text\":\"%0200lld\"}\n", (long long)i, (long long)i);
}

/* Lines as an agent sends them, again and again until they are taken, the last three of the batch before with them. */
static void tell_lines(struct bulk *b, const char *series, int64_t from, int64_t to, uint64_t size_max)
{
    AUTO(buf) struct buf lines = {0};
    int64_t until_us = bound_us(), seq = 0;
    add_lines(&lines, from > 3 ? from - 3 : from, to);
    while (bulk_append(b, series, buf_str(&lines), BULK_ANY, size_max, &seq, &why) != OK)
        wait_or_fail(until_us, "lines are not taken");
    assert_int_equal(seq, to);
}

/* A batch of statistics, behind the one before or not at all. After a lost answer it may have been taken. */
static void tell_statistics(struct bulk *b, int64_t from, int64_t to)
{
    AUTO(buf) struct buf lines = {0};
    int64_t until_us = bound_us(), seq = 0;
    enum err rc;
    bool is_unsure = false;
    add_lines(&lines, from, to);
    while ((rc = bulk_append(b, "statistics", buf_str(&lines), from - 1, SIZE_MAX_NONE, &seq, &why)) != OK) {
        if (rc == ERR_CONFLICT && is_unsure && seq == to)
            return;
        if (rc == ERR_CONFLICT)
            fail_msg("%s", why.msg);
        is_unsure = true;
        wait_or_fail(until_us, "statistics are not taken");
    }
    assert_int_equal(seq, to);
}

/* What is there behind the cursor, each line once and in order, until the last one is `to`: a server may be behind the
 * leader for a moment. Returns the first. */
static int64_t read_until(struct bulk *b, const char *series, int64_t to)
{
    struct bulk_cursor c = {0};
    int64_t until_us = bound_us(), first = 0, before = 0;
    (void)snprintf(c.series, sizeof(c.series), "%s", series);
    while (before < to) {
        AUTO(buf) struct buf found = {0};
        struct str line;
        if (bulk_read(b, &c, 50000, &found, &why) != OK || found.len == 0)
            wait_or_fail(until_us, "lines are not read");
        for (struct str rest = buf_str(&found); rest.len > 0 && str_next(&rest, '\n', &line);) {
            int64_t seq = 0;
            assert_int_equal(sscanf(line.ptr, "{\"seq\":%ld,", &seq), 1);
            if (before > 0)
                assert_int_equal(seq, before + 1);
            first = first == 0 ? seq : first;
            before = seq;
        }
    }
    assert_int_equal(before, to);
    return first;
}

/* One event, once. */
static void append_one(struct store *s)
{
    struct store_event e = number_event(0, 1);
    struct store_pos end = {0};
    int64_t until_us = bound_us();
    while (end.seq == 0) {
        enum err rc = store_append(s, end, &e, 1, NULL, &why);
        while (rc == ERR_IO && (rc = store_reopen(s, NULL, &why)) != OK)
            wait_or_fail(until_us, "the log does not open again");
        while (store_end(s, &end, &why) != OK)
            wait_or_fail(until_us, "the log's end is not told");
    }
}

/* ---- cases ---- */

/* The log's stream cannot be purged by who writes it: without that this test would say nothing of rights. */
static void rights_are_those_of_an_operator(void **state)
{
    (void)state;
    auto_free char *spec = cluster_spec();
    auto_json json_t *doc = NULL;
    int code = 0;
    struct store *s = open_log(spec);
    append_one(s);
    assert_true(jet_api(s, "$JS.API.STREAM.PURGE.log", STR("{}"), &doc, &code, &why) != OK);
    assert_int_equal(code, 0); /* the server does not even hear the question */
    int64_t until_us = bound_us();
    struct store_pos end = {0};
    while (store_end(s, &end, &why) != OK)
        wait_or_fail(until_us, "the log's end is not told");
    assert_int_equal(end.seq, 1);
    store_close(s);
}

/* Index of the server that leads the bulk stream now. */
static size_t leader(const char *spec)
{
    struct store *s = open_log(spec);
    int64_t until_us = bound_us();
    size_t found = SERVERS;
    while (found == SERVERS) {
        auto_json json_t *doc = NULL;
        int code = 0;
        if (jet_ready(s, &why) == OK &&
            jet_api(s, "$JS.API.STREAM.INFO.log-bulk", (struct str){NULL, 0}, &doc, &code, &why) == OK) {
            struct str name = json_member_str(json_object_get(doc, "cluster"), "leader");
            found = name.len == 2 && name.ptr[0] == 'n' ? (size_t)(name.ptr[1] - '0') : SERVERS;
        }
        if (found >= SERVERS)
            wait_or_fail(until_us, "nobody leads");
    }
    store_close(s);
    return found;
}

static void its_leader_is_killed(void **state)
{
    (void)state;
    auto_free char *spec = cluster_spec();
    struct bulk *one = open_bulk(spec, 0), *other = open_bulk(spec, 0);
    size_t killed = SERVERS;
    int64_t n = 0, took_us = 0;
    for (int i = 0; i < 60; i++, n += LINES) {
        if (i == 20) {
            killed = leader(spec);
            test_nats_member_kill(&members[killed]);
            took_us = -clock_mono_us();
        }
        tell_lines(i % 2 == 0 ? one : other, "printer", n + 1, n + LINES, SIZE_MAX_NONE);
        tell_statistics(i % 3 == 0 ? other : one, n + 1, n + LINES);
        if (i == 20)
            took_us += clock_mono_us();
        if (i == 40)
            test_nats_member_start(&members[killed]);
    }
    print_message("server %zu led and was killed: lines and statistics were taken again after %lld ms\n", killed,
                  (long long)took_us / 1000);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(read_until(i == 0 ? one : other, "printer", n), 1);
        assert_int_equal(read_until(i == 0 ? one : other, "statistics", n), 1);
    }
    bulk_close(one);
    bulk_close(other);
}

/* With a server away: what is too much of a series goes, also what is too old of all, and it goes on. */
static void retention(void **state)
{
    (void)state;
    auto_free char *spec = cluster_spec();
    const uint64_t size_max = 20000;
    struct bulk *b = open_bulk(spec, 0);
    tell_lines(b, "kept", 1, LINES, SIZE_MAX_NONE);
    size_t killed = leader(spec);
    test_nats_member_kill(&members[killed]);
    int64_t n = 0, until_us = bound_us(), first = 0;
    for (; n < 500; n += LINES)
        tell_lines(b, "bounded", n + 1, n + LINES, size_max);
    while ((first = read_until(b, "bounded", n)) < n - 150) { /* a purge is not asked twice: the next one does it */
        wait_or_fail(until_us, "older lines are not purged");
        tell_lines(b, "bounded", n + 1, n + LINES, size_max);
        n += LINES;
    }
    assert_in_range((uint64_t)(n - first + 1) * 220, size_max / 2 - 5000, size_max + 15000);
    assert_int_equal(read_until(b, "kept", LINES), 1);
    bulk_close(b);
    b = open_bulk(spec, 1); /* who opens it last says how long */
    struct bulk_cursor c = {.series = "kept"};
    until_us = bound_us();
    for (bool is_there = true; is_there;) {
        AUTO(buf) struct buf found = {0};
        c.after = 0, c.hint = 0;
        is_there = bulk_read(b, &c, 1000, &found, &why) != OK || found.len > 0;
        if (is_there)
            wait_or_fail(until_us, "what is too old stays");
    }
    bulk_close(b);
    b = open_bulk(spec, 0);
    tell_lines(b, "kept", LINES + 1, LINES + 5, SIZE_MAX_NONE);
    assert_true(read_until(b, "kept", LINES + 5) <= LINES + 1);
    bulk_close(b);
    test_nats_member_start(&members[killed]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_are_those_of_an_operator),
        cmocka_unit_test(its_leader_is_killed),
        cmocka_unit_test(retention),
    };
    if (!scratch_make(scratch_in_memory(), dir, sizeof(dir)))
        return 1;
    auto_free char *more = configuration();
    int failures = 77; /* skipped, says meson */
    if (test_nats_cluster_start(members, SERVERS, more)) {
        failures = cmocka_run_group_tests(tests, NULL, NULL);
        test_nats_cluster_stop(members, SERVERS);
    }
    remove_folder(dir);
    return failures;
}
