/* The jetstream store, against nats-servers of its own: the contract, with connections that are cut; what it refuses;
 * what becomes of an append that comes late; copies from and to files. */
#include "store_contract.h"
#include "store_nats.h"

#include <nats/nats.h>
#include <signal.h>

static struct test_nats always, lazy, small; /* lazy: acknowledges before it syncs; small: takes 1 MiB */

static char *spec_of(const struct test_nats *n, const char *stream, const char *more)
{
    return mem_printf("jetstream;servers=nats://%s;stream=%s;replicas=1;monitor=%s%s", n->address, stream, n->monitor,
                      more);
}

static enum err try_open(const char *spec)
{
    struct store *s = NULL;
    enum err rc = store_open(spec, NULL, &s, NULL, &why);
    store_close(s);
    return rc;
}

static struct store *open_spec(const char *spec)
{
    struct store *s = NULL;
    assert_ok(store_open(spec, NULL, &s, NULL, &why));
    return s;
}

static void specs(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *says;
    } BAD[] = {
        {"jetstream", "servers"},
        {"jetstream;servers=127.0.0.1:1;stream=a;sync=promised", "nats://"},
        {"jetstream;servers=nats://me:secret@127.0.0.1:1;stream=a;sync=promised", "creds=FILE"},
        {"jetstream;servers=nats://127.0.0.1:1;sync=promised", "stream=NAME"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a.b;sync=promised", "stream=NAME"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;subject=a.*;sync=promised", "no subject"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a", "sync_interval: always"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;sync=yes", "promised"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;sync=promised;replicas=6", "replicas"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;sync=promised;password=x", "'password' is no key"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;sync=promised;ca=/nowhere", "'ca'"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;sync=promised;cert=/nowhere", "belong together"},
        {"jetstream;servers=nats://127.0.0.1:1;stream=a;sync=promised;nkey=U", "belong together"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_err(try_open(BAD[i].spec), ERR_INVALID);
        if (strstr(why.msg, BAD[i].says) == NULL || strstr(why.msg, "secret") != NULL)
            fail_msg("'%s' says: %s", BAD[i].spec, why.msg);
    }
    assert_err(try_open("jetstream;servers=nats://127.0.0.1:1;stream=a;sync=promised"), ERR_UNAVAILABLE);
}

/* A server that acknowledges what is not on disk, and one that takes too little. */
static void servers(void **state)
{
    (void)state;
    auto_free char *no_sync = spec_of(&lazy, "log", ""), *too_small = spec_of(&small, "log", "");
    assert_err(try_open(no_sync), ERR_INVALID);
    assert_non_null(strstr(why.msg, "sync_interval: always"));
    assert_err(try_open(too_small), ERR_INVALID);
    assert_non_null(strstr(why.msg, "max_payload"));
    auto_free char *promised =
        mem_printf("jetstream;servers=nats://%s;stream=p;replicas=1;sync=promised", lazy.address);
    assert_ok(try_open(promised));
    auto_free char *half = mem_printf("jetstream;servers=nats://%s;stream=h;replicas=1;monitor=%s,http://127.0.0.1:1",
                                      always.address, always.monitor);
    assert_err(try_open(half), ERR_UNAVAILABLE);
    auto_free char *most = mem_printf("%s,%s", half, always.monitor);
    assert_ok(try_open(most));
}

/* ---- streams of others, and with wrong limits ---- */

static char *ask(const struct test_nats *n, const char *subject, const char *body)
{
    natsConnection *conn = NULL;
    natsMsg *m = NULL;
    auto_free char *url = mem_printf("nats://%s", n->address);
    assert_int_equal(natsConnection_ConnectTo(&conn, url), NATS_OK);
    assert_int_equal(natsConnection_RequestString(&m, conn, subject, body, 10000), NATS_OK);
    char *text = mem_strndup(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
    natsMsg_Destroy(m);
    natsConnection_Destroy(conn);
    return text;
}

/* A stream with the metadata of a log, made by somebody else with these limits. */
static char *make_like_ours(const char *name, const char *more)
{
    auto_free char *subject = mem_printf("$JS.API.STREAM.CREATE.%s", name);
    auto_free char *config = mem_printf("{\"name\":\"%s\",\"subjects\":[\"slipform.log.%s\"],\"num_replicas\":1,%s,"
                                        "\"metadata\":{\"slipform-log\":\"0192f0c1-2d3e-7000-8000-000000000001\"}}",
                                        name, name, more);
    auto_free char *answer = ask(&always, subject, config);
    if (strstr(answer, "\"error\"") != NULL)
        fail_msg("stream '%s' cannot be made: %s", name, answer);
    return spec_of(&always, name, "");
}

#define KEPT "\"deny_delete\":true,\"deny_purge\":true,"
#define GOOD "\"discard\":\"new\",\"allow_direct\":true," KEPT

static void streams(void **state)
{
    (void)state;
    static const struct {
        const char *config, *says;
    } WRONG[] = {
        {GOOD "\"max_age\":3600000000000", "(max_age)"},
        {GOOD "\"max_msgs\":10", "(max_msgs)"},
        {GOOD "\"max_msgs_per_subject\":10", "(max_msgs_per_subject)"},
        {GOOD "\"max_bytes\":1048576", "(max_bytes)"},
        {GOOD "\"max_msg_size\":1048576", "(max_msg_size)"},
        {KEPT "\"discard\":\"old\",\"allow_direct\":true", "(discard)"},
        {"\"discard\":\"new\",\"deny_delete\":false,\"deny_purge\":true,\"allow_direct\":true", "deny_delete"},
        {"\"discard\":\"new\",\"deny_delete\":true,\"deny_purge\":false,\"allow_direct\":true", "deny_purge"},
        {KEPT "\"discard\":\"new\",\"allow_direct\":false", "(allow_direct)"},
        {GOOD "\"storage\":\"memory\"", "in memory (storage)"},
        {GOOD "\"retention\":\"interest\"", "(retention)"},
        {GOOD "\"allow_msg_ttl\":true", "allow_msg_ttl"},
        {"\"discard\":\"new\",\"deny_delete\":true,\"allow_direct\":true,\"allow_rollup_hdrs\":true", "deny_purge"},
        {GOOD "\"no_ack\":true", "(no_ack)"},
        {GOOD "\"persist_mode\":\"async\"", "(persist_mode)"},
    };
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        auto_free char *name = mem_printf("wrong-%zu", i), *spec = make_like_ours(name, WRONG[i].config);
        assert_err(try_open(spec), ERR_INVALID);
        if (strstr(why.msg, WRONG[i].says) == NULL || strstr(why.msg, name) == NULL)
            fail_msg("stream %zu: %s", i, why.msg);
    }
    auto_free char *others = ask(&always, "$JS.API.STREAM.CREATE.others",
                                 "{\"name\":\"others\",\"subjects\":[\"slipform.log.others\"],\"num_replicas\":1}");
    assert_null(strstr(others, "\"error\""));
    auto_free char *spec = spec_of(&always, "others", ""), *good = spec_of(&always, "good", "");
    assert_err(try_open(spec), ERR_INVALID);
    assert_non_null(strstr(why.msg, "not made by slipform"));
    assert_ok(try_open(good));
    auto_free char *other_subject = mem_printf("%s;subject=x.y", good);
    assert_err(try_open(other_subject), ERR_INVALID);
    auto_free char *copy = make_like_ours("copy-of-good", GOOD "\"sources\":[{\"name\":\"good\"}]");
    assert_err(try_open(copy), ERR_INVALID);
    assert_non_null(strstr(why.msg, "(mirror, sources)"));
    auto_free char *three =
        mem_printf("jetstream;servers=nats://%s;stream=good;replicas=3;sync=promised", always.address);
    assert_err(try_open(three), ERR_INVALID);
    assert_non_null(strstr(why.msg, "wanted are 3"));
    auto_free char *new_three =
        mem_printf("jetstream;servers=nats://%s;stream=new;replicas=3;sync=promised", always.address);
    assert_err(try_open(new_three), ERR_INVALID);
    assert_non_null(strstr(why.msg, "replicas"));
}

/* Limits that harm nothing: messages of ours have no id, so no window takes two of them for one. */
static void streams_of_other_habits(void **state)
{
    (void)state;
    static const char *const FINE[] = {"\"duplicate_window\":100000000", "\"duplicate_window\":86400000000000",
                                       "\"max_msg_size\":2097152", "\"max_consumers\":3", "\"compression\":\"s2\""};
    for (size_t i = 0; i < sizeof(FINE) / sizeof(FINE[0]); i++) {
        auto_free char *name = mem_printf("fine-%zu", i), *more = mem_printf("%s%s", GOOD, FINE[i]);
        auto_free char *spec = make_like_ours(name, more);
        struct store *s = open_spec(spec);
        for (uint64_t k = 1; k <= 3; k++)
            (void)add(s, k);
        assert_int_equal(end_of(s).seq, 3);
        store_close(s);
    }
}

/* A bucket of keys that somebody made before us: what would lose them is refused by name. */
static void buckets_of_keys(void **state)
{
    (void)state;
    static const struct {
        const char *config, *says;
    } WRONG[] = {
        {"\"discard\":\"new\",\"max_age\":3600000000000", "(max_age)"},
        {"\"discard\":\"old\"", "(discard)"},
        {"\"discard\":\"new\",\"storage\":\"memory\"", "(storage)"},
        {"\"discard\":\"new\",\"deny_delete\":true", "(deny_delete)"},
        {"\"discard\":\"new\",\"max_msgs_per_subject\":5", NULL},
    };
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        auto_free char *subject = mem_printf("$JS.API.STREAM.CREATE.KV_sealed-%zu-keys", i);
        auto_free char *config = mem_printf("{\"name\":\"KV_sealed-%zu-keys\",\"subjects\":[\"$KV.sealed-%zu-keys.>\"],"
                                            "\"num_replicas\":1,%s}",
                                            i, i, WRONG[i].config);
        auto_free char *answer = ask(&always, subject, config), *name = mem_printf("sealed-%zu", i),
                       *spec = spec_of(&always, name, "");
        assert_null(strstr(answer, "\"error\""));
        assert_err(try_open(spec), WRONG[i].says == NULL ? OK : ERR_INVALID);
        if (WRONG[i].says != NULL && (strstr(why.msg, WRONG[i].says) == NULL || strstr(why.msg, "-keys") == NULL))
            fail_msg("bucket %zu: %s", i, why.msg);
    }
}

/* The stream is taken away and made anew under an open handle. */
static void replaced(void **state)
{
    (void)state;
    auto_free char *spec = spec_of(&always, "replaced", "");
    struct store *s = open_spec(spec), *other = NULL;
    (void)add(s, 1);
    struct store_pos end = end_of(s);
    auto_free char *gone = ask(&always, "$JS.API.STREAM.DELETE.replaced", "");
    assert_non_null(strstr(gone, "\"success\":true"));
    struct store_event e = number_event(0, 2);
    assert_err(store_append(s, end, &e, 1, NULL, &why), ERR_UNAVAILABLE); /* it was delivered to nobody */
    assert_true(store_append(s, (struct store_pos){1, 1}, &e, 1, NULL, &why) != OK);
    other = open_spec(spec);
    (void)add(other, 7);
    assert_err(store_reopen(s, NULL, &why), ERR_CONFLICT);
    assert_err(store_end(s, &end, &why), ERR_IO);
    store_close(other);
    store_close(s);
}

/* A message that the stream lost is damage, with its number. */
static void message_of_others(void **state)
{
    (void)state;
    auto_free char *spec = spec_of(&always, "mixed", "");
    struct store *s = open_spec(spec);
    (void)add(s, 1);
    auto_free char *answer = ask(&always, "slipform.log.mixed", "not a record");
    assert_non_null(strstr(answer, "\"seq\":2"));
    struct store_pos end;
    assert_err(store_end(s, &end, &why), ERR_CORRUPT);
    assert_non_null(store_damage(s));
    assert_non_null(strstr(why.msg, "mixed:2"));
    store_close(s);
}

/* Each append of ours is held back: its handle is open again, and finds nothing, before the server gets it. */
static void late_append_is_fenced_off(void **state)
{
    (void)state;
    auto_free char *spec =
        mem_printf("jetstream;servers=nats://127.0.0.1:%d;stream=late;replicas=1;sync=promised", always.relay_port);
    struct store *s = open_spec(spec);
    unsigned lost = 0;
    for (uint64_t i = 1; i <= 60; i++) {
        struct store_event e = number_event(3, i);
        struct store_pos end = end_of(s);
        uint64_t seq = 0;
        test_nats_cut(&always, i * 77, 1);
        assert_err(store_append(s, end, &e, 1, NULL, &why), ERR_IO);
        test_nats_cut(&always, 0, 0);
        assert_ok(store_reopen(s, NULL, &why));
        enum err rc = store_find_id(s, end.seq, e.id, &seq, &why);
        assert_true(rc == OK || rc == ERR_NOT_FOUND);
        lost += rc == ERR_NOT_FOUND;
        test_nats_await_late(&always);
        assert_int_equal(end_of(s).seq, end.seq + (rc == OK)); /* as was found, for ever */
    }
    print_message("60 answers lost, %u of the appends were not taken\n", lost);
    assert_true(lost > 5 && lost < 55);
    store_close(s);
}

/* Who stands still reads nothing: an append that is more than the sockets hold is given up, too, and settled later. */
static void server_that_reads_nothing(void **state)
{
    (void)state;
    auto_free char *spec = mem_printf("jetstream;servers=nats://127.0.0.1:%d;stream=unread;replicas=1;sync=promised;"
                                      "timeout_ms=1000",
                                      always.relay_port);
    static char text[200000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    struct store *s = open_spec(spec);
    struct store_event e[4];
    uint64_t seq = 0;
    for (size_t i = 0; i < 4; i++) {
        e[i] = number_event(0, i + 1);
        e[i].payload = (struct str){text, sizeof(text)};
    }
    assert_int_equal(kill(always.relay, SIGSTOP), 0);
    enum err rc = store_append(s, (struct store_pos){0, 0}, e, 4, NULL, &why);
    assert_int_equal(kill(always.relay, SIGCONT), 0);
    assert_err(rc, ERR_IO);
    for (int i = 0; store_reopen(s, NULL, &why) != OK; i++)
        assert_true(i < 100);
    rc = store_find_id(s, 0, e[3].id, &seq, &why);
    assert_true(rc == OK || rc == ERR_NOT_FOUND);
    assert_int_equal(end_of(s).seq, rc == OK ? 4 : 0);
    store_close(s);
}

/* A handle goes while news of its log come in: libnats must not meet a subscription that is gone. */
static void closed_while_told(void **state)
{
    (void)state;
    enum { ROUNDS = 400, NEWS = 3000 };
    natsConnection *conn = NULL;
    auto_free char *url = mem_printf("nats://%s", always.address), *spec = spec_of(&always, "told", "");
    assert_int_equal(natsConnection_ConnectTo(&conn, url), NATS_OK);
    for (int round = 0; round < ROUNDS; round++) {
        struct store *s = open_spec(spec);
        for (int i = 0; i < NEWS; i++)
            assert_int_equal(natsConnection_PublishString(conn, "slipform.grown.told", "1"), NATS_OK);
        store_close(s);
    }
    natsConnection_Destroy(conn);
}

static void cancelled(void **state)
{
    (void)state;
    auto_free char *spec = spec_of(&always, "cancelled", "");
    struct store *s = open_spec(spec);
    struct store_event e = number_event(0, 1);
    store_cancel(s);
    assert_err(store_append(s, (struct store_pos){0, 0}, &e, 1, NULL, &why), ERR_CANCELLED);
    store_close(s);
    s = open_spec(spec);
    assert_int_equal(end_of(s).seq, 0);
    store_close(s);
}

/* files to jetstream to files: the same bytes, and each is seen as a copy of the other. */
static void copies(void **state)
{
    (void)state;
    struct fixture x, y;
    char path[192];
    AUTO(buf) struct buf p = {0}, q = {0};
    auto_free char *spec = spec_of(&always, "copy", "");
    setup_in_memory(&x, "");
    setup_in_memory(&y, "");
    struct store *a = open_store(&x), *b = open_spec(spec), *c = open_store(&y);
    for (uint64_t from = 1; from <= 300;) { /* commands of one to three events */
        struct store_event e[3];
        size_t k = from % 3 + 1;
        for (size_t i = 0; i < k; i++)
            e[i] = number_event(0, from + i);
        assert_ok(store_append(a, end_of(a), e, k, NULL, &why));
        from += k;
    }
    struct store_copied done;
    struct store_pos place;
    assert_ok(store_copy(a, (struct store_pos){0, 0}, b, &done, &why));
    assert_ok(store_copy_place(a, b, &place, &why));
    assert_true(place.seq == end_of(a).seq && place.sum == end_of(b).sum);
    assert_ok(store_copy(b, (struct store_pos){0, 0}, c, &done, &why));
    struct store_verdict verdict;
    assert_ok(store_verify(spec, &verdict, &why));
    assert_true(verdict.ok && verdict.events == end_of(a).seq);
    path_of(&x, SEGMENT, path);
    read_whole(path, &p);
    path_of(&y, SEGMENT, path);
    read_whole(path, &q);
    assert_true(p.len > 1000 && str_eq(buf_str(&p), buf_str(&q)));
    assert_ok(store_key_put(a, "one", NULL, "wrapped-one", &why));
    copies_keys(a, b, 1);
    copies_keys(b, c, 1);
    store_close(a);
    store_close(b);
    store_close(c);
    teardown(&x);
    teardown(&y);
}

/* --- the contract: one server for all, a stream for each --- */

static void contract_before_fork(void)
{
    assert_int_equal(nats_CloseAndWait(10000), NATS_OK); /* the library's threads do not come along */
}

static void contract_setup(struct fixture *x)
{
    static unsigned streams;
    *x = (struct fixture){.opt = {.mode = STORE_CREATE}, .before_fork = contract_before_fork};
    (void)snprintf(x->spec, sizeof(x->spec),
                   "jetstream;servers=nats://127.0.0.1:%d;stream=log-%u;replicas=1;monitor=%s", always.relay_port,
                   ++streams, always.monitor);
}

static void contract_teardown(struct fixture *x)
{
    (void)x;
    test_nats_cut(&always, 0, 0);
}

static void contract_faults(struct fixture *x, uint64_t seed)
{
    (void)x;
    test_nats_cut(&always, seed, seed > 0 ? 6 : 0);
}

int main(void)
{
    static const struct contract_factory CONTRACT = {"jetstream", contract_setup, contract_teardown, true,
                                                     contract_faults};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(specs),
        cmocka_unit_test(servers),
        cmocka_unit_test(streams),
        cmocka_unit_test(streams_of_other_habits),
        cmocka_unit_test(buckets_of_keys),
        cmocka_unit_test(replaced),
        cmocka_unit_test(message_of_others),
        cmocka_unit_test(late_append_is_fenced_off),
        cmocka_unit_test(server_that_reads_nothing),
        cmocka_unit_test(closed_while_told),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(copies),
    };
    if (!test_nats_start(&always, "always", "max_payload: 2MB"))
        return 77; /* skipped, says meson */
    (void)!test_nats_start(&lazy, "\"2m\"", "max_payload: 2MB");
    (void)!test_nats_start(&small, "always", "");
    int failures = cmocka_run_group_tests(tests, NULL, NULL) + contract_run(&CONTRACT);
    test_nats_stop(&always);
    test_nats_stop(&lazy);
    test_nats_stop(&small);
    return failures;
}
