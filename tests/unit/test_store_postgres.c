/* The postgres store: what the contract of stores does not know of. Whose database it is, what its roles may, which
 * servers are believed, and what an answer that was lost leaves behind. */
#include "postgres_server.h"
#include "store_help.h"

#include <pthread.h>

static struct postgres_server server;

/* A database of its own for each test, so that one may spoil it. */
static char database[32];

static void sql_free(const char *sql)
{
    free(postgres_server_sql(&server, database, sql));
}

static void expect_sql(const char *sql, const char *wanted)
{
    auto_free char *text = postgres_server_sql(&server, database, sql);
    assert_string_equal(text, wanted);
}

static void spec_of(struct fixture *x, const char *user, const char *more)
{
    *x = (struct fixture){.opt = {.mode = STORE_CREATE}};
    int n = snprintf(x->spec, sizeof(x->spec), "postgres;host=%s;dbname=%s;user=%s;log=one%s", server.relay, database,
                     user, more);
    assert_true(n < (int)sizeof(x->spec));
}

static void replica(struct fixture *x)
{
    spec_of(x, "replica", ";installation=test");
}

#define OWNER ";installation=test;rights=owner;replicas=replica"

/* setup: an empty database, and its tables. */
static int make_database(void **state)
{
    static int n;
    (void)state;
    char sql[96];
    (void)snprintf(database, sizeof(database), "d%d", ++n);
    (void)snprintf(sql, sizeof(sql), "CREATE DATABASE %s OWNER owner", database);
    free(postgres_server_sql(&server, "postgres", sql));
    return 0;
}

static void migrate(void)
{
    struct fixture x;
    spec_of(&x, "owner", OWNER);
    store_close(open_store(&x));
}

static enum err try_open(const struct fixture *x)
{
    struct store *s = NULL;
    why.msg[0] = '\0';
    enum err rc = store_open(x->spec, &x->opt, &s, NULL, &why);
    store_close(s);
    return rc;
}

static void check_says(const char *word)
{
    if (strstr(why.msg, word) == NULL)
        fail_msg("'%s' does not say '%s'", why.msg, word);
}

static void refused(const struct fixture *x, enum err code, const char *word)
{
    enum err rc = try_open(x);
    if (rc != code || strstr(why.msg, word) == NULL)
        fail_msg("'%s' (%s) is not '%s' and '%s'", why.msg, err_name(rc), err_name(code), word);
}

/* ---- specs ---- */

static void specs(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *word;
    } BAD[] = {
        {"postgres;host=/x;installation=i", "log=NAME"},
        {"postgres;host=/x;log=l", "installation=NAME"},
        {"postgres;host=/x;log=l;installation=i;password=secret", "passfile"},
        {"postgres;host=/x;log=l;installation=i;sslmode=disable", "verify-full"},
        {"postgres;uri=postgresql://u:secret@h/d;log=l;installation=i", "passfile"},
        {"postgres;uri=postgresql://h/d?sslmode=disable;log=l;installation=i", "verify-full"},
        {"postgres;uri=http://h/d;log=l;installation=i", "postgresql://"},
        {"postgres;host=/x;log=l;installation=i;color=red", "color"},
        {"postgres;host=/x;log=l;installation=i;rights=all", "rights"},
        {"postgres;host=/x;log=l;installation=i;lock_wait_ms=0", "at least 1"},
        {"postgres;host=/x;log=l;installation=i;lock_wait_ms=x", "lock_wait_ms"},
        {"postgres;log", "without 'key='"},
        {"postgres;host=/x,/y;port=1,2,3;log=l;installation=i", "as many ports"},
        {"postgres;host=a,b,c,d,e,f,g,h,i;log=l;installation=i", "at most 8 hosts"},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct fixture x = {.opt = {.mode = STORE_CREATE}};
        (void)snprintf(x.spec, sizeof(x.spec), "%s", BAD[i].spec);
        refused(&x, ERR_INVALID, BAD[i].word);
        assert_null(strstr(why.msg, "secret"));
    }
    /* Over a network there is no word without TLS: this one is not even tried in the clear. */
    struct fixture x = {.opt = {.mode = STORE_READ},
                        .spec = "postgres;host=127.0.0.1;port=1;dbname=d;user=u;log=l;sslrootcert=/nothing"};
    assert_err(try_open(&x), ERR_UNAVAILABLE);
}

/* ---- other logs in it ---- */

static void beside(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *folder, *wanted;
    } CASES[] = {
        {"files;path=/x/log", "/x/streams", "files;path=/x/streams/n-1"},
        {"files;path=/x/log", NULL, NULL},
        {"postgres;host=/s;log=platform;user=u", "/x", "postgres;host=/s;user=u;log=n-1"},
        {"jetstream;servers=nats://h:1;stream=P;subject=a.b;sync=promised", NULL,
         "jetstream;servers=nats://h:1;sync=promised;stream=P-n-1;beside=no"},
        {"jsonl;path=/x", "/x", NULL},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        auto_free char *spec = store_spec_beside(CASES[i].spec, CASES[i].folder, "n-1");
        assert_int_equal(spec == NULL, CASES[i].wanted == NULL);
        if (spec != NULL)
            assert_string_equal(spec, CASES[i].wanted);
    }
}

/* A replica makes a log of its own, and can change nothing in it. */
static void a_replica_makes_a_log(void **state)
{
    (void)state;
    struct fixture x, other;
    migrate();
    replica(&x);
    auto_free char *spec = store_spec_beside(x.spec, NULL, "8cd5a1e4-0000-7000-8000-000000000001");
    other = x;
    (void)snprintf(other.spec, sizeof(other.spec), "%s", spec);
    struct store *s = open_store(&other);
    for (uint64_t n = 1; n <= 3; n++)
        (void)add(s, n);
    store_close(s);
    expect_sql("SELECT seq FROM slipform.heads WHERE name LIKE '8cd5a1e4-%'", "3");
    expect_sql("SELECT has_table_privilege('replica', 'slipform.events', 'DELETE') OR "
               "has_table_privilege('replica', 'slipform.heads', 'UPDATE')",
               "f");
}

/* ---- whose database it is ---- */

static void not_set_up(void **state)
{
    (void)state;
    struct fixture x;
    replica(&x);
    refused(&x, ERR_NOT_FOUND, "rights=owner");
    migrate();
    assert_ok(try_open(&x));
    migrate(); /* again: nothing to do */
    expect_sql("SELECT count(*) FROM slipform.migrations", "4");
}

static void of_somebody_else(void **state)
{
    (void)state;
    struct fixture x;
    spec_of(&x, "owner", OWNER);
    sql_free("CREATE TABLE public.users (name text)");
    refused(&x, ERR_CONFLICT, "public.users");
    expect_sql("SELECT to_regnamespace('slipform') IS NULL", "t"); /* nothing half-done */
    sql_free("DROP TABLE public.users; CREATE SCHEMA slipform AUTHORIZATION owner");
    refused(&x, ERR_CONFLICT, "somebody else's");
}

/* Whoever hosts databases puts extensions into each: what belongs to one is nobody's data. */
static void with_extensions(void **state)
{
    (void)state;
    struct fixture x;
    sql_free("CREATE EXTENSION pg_stat_statements SCHEMA public");
    expect_sql("SELECT count(*) > 0 FROM pg_class WHERE relnamespace = 'public'::regnamespace", "t");
    migrate();
    replica(&x);
    assert_ok(try_open(&x));
}

static void two_installations(void **state)
{
    (void)state;
    struct fixture x;
    migrate();
    spec_of(&x, "replica", ";installation=other");
    refused(&x, ERR_CONFLICT, "of installation 'test'");
    spec_of(&x, "owner", ";installation=other;rights=owner;replicas=replica");
    refused(&x, ERR_CONFLICT, "of installation 'test'");
    spec_of(&x, "replica", ""); /* who only reads needs not know */
    x.opt.mode = STORE_READ;
    struct fixture made;
    replica(&made);
    store_close(open_store(&made));
    assert_ok(try_open(&x));
    sql_free("DELETE FROM slipform.installation");
    refused(&made, ERR_CORRUPT, "installation is empty");
}

/* A role that is nobody here, and a database of somebody else that lets everybody in: no schema, no rights. */
static void no_rights(void **state)
{
    (void)state;
    struct fixture x;
    sql_free("CREATE TABLE public.users (name text)");
    spec_of(&x, "replica", OWNER); /* who says that it owns it */
    refused(&x, ERR_CONFLICT, "public.users");
    sql_free("DROP TABLE public.users");
    refused(&x, ERR_DENIED, "permission denied");
    expect_sql("SELECT to_regnamespace('slipform') IS NULL", "t");
    replica(&x);
    refused(&x, ERR_NOT_FOUND, "rights=owner");
    auto_free char *revoke = mem_printf("REVOKE CONNECT ON DATABASE %s FROM PUBLIC", database);
    sql_free(revoke);
    refused(&x, ERR_UNAVAILABLE, "permission denied for database");
    spec_of(&x, "nobody_here", ";installation=test");
    refused(&x, ERR_UNAVAILABLE, "does not exist");
}

/* A migration that was stopped on its way leaves nothing of itself. */
static void migrated_in_part(void **state)
{
    (void)state;
    struct fixture x;
    spec_of(&x, "owner", OWNER);
    sql_free("CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS "
             "'BEGIN IF to_regclass(''slipform.keys'') IS NOT NULL THEN RAISE EXCEPTION ''full''; END IF; END'; "
             "CREATE EVENT TRIGGER no ON ddl_command_end EXECUTE FUNCTION public.no()");
    refused(&x, ERR_UNAVAILABLE, "full");
    expect_sql("SELECT count(*) FROM slipform.migrations", "1");
    expect_sql("SELECT to_regclass('slipform.keys') IS NULL", "t");
    sql_free("DROP EVENT TRIGGER no");
    migrate();
    replica(&x);
    assert_ok(try_open(&x));
}

static void other_schemas(void **state)
{
    (void)state;
    struct fixture x, owner;
    replica(&x);
    spec_of(&owner, "owner", OWNER);
    migrate();
    sql_free("INSERT INTO slipform.migrations VALUES (5, '0005_later', 'sha256:x', '9.9')");
    refused(&x, ERR_CONFLICT, "newer");
    refused(&owner, ERR_CONFLICT, "newer");
    sql_free("DELETE FROM slipform.migrations WHERE n = 5; UPDATE slipform.migrations SET sha256 = 'sha256:x'");
    refused(&x, ERR_CORRUPT, "not by a release");
    refused(&owner, ERR_CORRUPT, "not by a release");
    sql_free("DELETE FROM slipform.migrations WHERE n = 1");
    refused(&x, ERR_CORRUPT, "migration 1 is missing");
    sql_free("DELETE FROM slipform.migrations");
    refused(&owner, ERR_CORRUPT, "half-migrated");
}

/* A database of a release that had no keys yet: its owner completes it, and what was in it stays. */
static void from_the_first_release(void **state)
{
    (void)state;
    struct fixture x;
    replica(&x);
    migrate();
    struct store *s = open_store(&x);
    (void)add(s, 1);
    store_close(s);
    sql_free("DROP TABLE slipform.keys, slipform.bulk, slipform.bulk_series, slipform.bulk_generations; "
             "DROP FUNCTION slipform.bulk_put, slipform.bulk_end, slipform.bulk_read, slipform.bulk_tail, "
             "slipform.bulk_drop, slipform.bulk_idle, slipform.bulk_sweep; "
             "ALTER TABLE slipform.leases DROP COLUMN told; "
             "DELETE FROM slipform.migrations WHERE n >= 2");
    refused(&x, ERR_NOT_FOUND, "1 of 4 migrations");
    migrate();
    s = open_store(&x);
    check_numbers(s, 1);
    assert_ok(store_key_put(s, "k1", NULL, "master:AAAA", &why));
    store_close(s);
}

static void a_table_is_missing(void **state)
{
    (void)state;
    struct fixture x;
    replica(&x);
    migrate();
    sql_free("DROP TABLE slipform.leases");
    refused(&x, ERR_CORRUPT, "slipform.leases is missing");
}

/* Several programs of an owner at once: one makes the tables, the others find them. */
static void *migrate_too(void *ctx)
{
    *(enum err *)ctx = OK;
    struct fixture x;
    struct store *s = NULL;
    struct errinfo err;
    spec_of(&x, "owner", OWNER);
    *(enum err *)ctx = store_open(x.spec, &x.opt, &s, NULL, &err);
    store_close(s);
    return NULL;
}

static void migrated_at_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    enum err rc[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, migrate_too, &rc[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(rc[i], OK);
    }
    expect_sql("SELECT count(*) FROM slipform.migrations", "4");
}

/* ---- rights ---- */

/* As the replica, by hand. True: the server says no. */
static bool is_denied(const char *sql)
{
    char text[512];
    (void)snprintf(text, sizeof(text),
                   "CREATE FUNCTION pg_temp.try() RETURNS text LANGUAGE plpgsql AS $f$ BEGIN %s; RETURN 'done'; "
                   "EXCEPTION WHEN insufficient_privilege THEN RETURN 'denied'; END $f$; SET ROLE replica; "
                   "SELECT pg_temp.try()",
                   sql);
    auto_free char *answer = postgres_server_sql(&server, database, text);
    return strcmp(answer, "denied") == 0;
}

static void append_only(void **state)
{
    (void)state;
    struct fixture x;
    migrate();
    replica(&x);
    struct store *s = open_store(&x);
    (void)add(s, 1);
    static const char *const DENIED[] = {"UPDATE slipform.events SET line = '{}'",
                                         "DELETE FROM slipform.events",
                                         "TRUNCATE slipform.events",
                                         "INSERT INTO slipform.events SELECT log, 2, 0, id, line FROM slipform.events",
                                         "UPDATE slipform.heads SET seq = 0",
                                         "DELETE FROM slipform.heads",
                                         "UPDATE slipform.installation SET name = 'mine'",
                                         "DELETE FROM slipform.migrations",
                                         "DROP TABLE slipform.events",
                                         "UPDATE slipform.bulk SET lines = 'x'",
                                         "INSERT INTO slipform.bulk_series (name) VALUES ('x')",
                                         "PERFORM FROM slipform.bulk",
                                         "CREATE TABLE slipform.more (a int)"};
    for (size_t i = 0; i < sizeof(DENIED) / sizeof(DENIED[0]); i++)
        if (!is_denied(DENIED[i]))
            fail_msg("the replica's role may %s", DENIED[i]);
    assert_false(is_denied("PERFORM FROM slipform.events"));
    check_numbers(s, 1);
    store_close(s);
}

static void wrong_grants(void **state)
{
    (void)state;
    static const struct {
        const char *grant, *word, *back;
    } WRONG[] = {
        {"GRANT UPDATE ON slipform.events TO replica", "UPDATE on slipform.events",
         "REVOKE UPDATE ON slipform.events FROM replica"},
        {"GRANT DELETE ON slipform.events TO replica", "DELETE on slipform.events",
         "REVOKE DELETE ON slipform.events FROM replica"},
        {"GRANT UPDATE (sum) ON slipform.heads TO replica", "UPDATE on slipform.heads",
         "REVOKE UPDATE (sum) ON slipform.heads FROM replica"},
        {"GRANT TRIGGER ON slipform.heads TO replica", "TRIGGER on slipform.heads", /* it would run as the owner */
         "REVOKE TRIGGER ON slipform.heads FROM replica"},
        {"ALTER ROLE replica NOINHERIT; GRANT owner TO replica", "may become 'owner'",
         "REVOKE owner FROM replica; ALTER ROLE replica INHERIT"},
        {"REVOKE SELECT ON slipform.events FROM replica", "lacks SELECT on slipform.events",
         "GRANT SELECT ON slipform.events TO replica"},
        {"REVOKE DELETE ON slipform.leases FROM replica", "lacks DELETE on slipform.leases",
         "GRANT DELETE ON slipform.leases TO replica"},
        {"REVOKE INSERT ON slipform.keys FROM replica", "lacks INSERT on slipform.keys",
         "GRANT INSERT ON slipform.keys TO replica"},
        {"REVOKE EXECUTE ON FUNCTION slipform.hold FROM replica", "lacks EXECUTE on slipform.hold",
         "GRANT EXECUTE ON FUNCTION slipform.hold TO replica"},
        {"REVOKE USAGE ON SCHEMA slipform FROM replica", "may not use schema",
         "GRANT USAGE ON SCHEMA slipform TO replica"},
    };
    struct fixture x;
    migrate();
    replica(&x);
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        sql_free(WRONG[i].grant);
        refused(&x, ERR_DENIED, WRONG[i].word);
        sql_free(WRONG[i].back);
        assert_ok(try_open(&x));
    }
    spec_of(&x, "owner", ";installation=test"); /* it could change everything, and does not say that it knows */
    refused(&x, ERR_DENIED, "rights=owner");
}

/* ---- servers that are not believed ---- */

static void servers_that_forget(void **state)
{
    (void)state;
    struct fixture x;
    migrate();
    replica(&x);
    sql_free("ALTER ROLE replica SET synchronous_commit = off");
    refused(&x, ERR_INVALID, "synchronous_commit = off");
    sql_free("ALTER ROLE replica SET synchronous_commit = local");
    refused(&x, ERR_INVALID, "synchronous_commit = local");
    sql_free("ALTER ROLE replica RESET synchronous_commit");
    assert_ok(try_open(&x));
    sql_free("ALTER ROLE replica SET default_transaction_read_only = on"); /* as a standby says */
    assert_err(try_open(&x), ERR_UNAVAILABLE);
    sql_free("ALTER ROLE replica RESET default_transaction_read_only");
    sql_free("ALTER SYSTEM SET fsync = off");
    sql_free("SELECT pg_reload_conf()");
    for (int i = 0; i < 1000 && try_open(&x) == OK; i++)
        continue; /* the server reads its settings soon */
    refused(&x, ERR_INVALID, "fsync = off");
    sql_free("ALTER SYSTEM RESET fsync");
    sql_free("SELECT pg_reload_conf()");
    for (int i = 0; i < 1000 && try_open(&x) != OK; i++)
        continue;
    assert_ok(try_open(&x));
}

/* ---- waiting ---- */

static void a_holder_is_waited_for_with_a_bound(void **state)
{
    (void)state;
    struct fixture x, y;
    migrate();
    replica(&x);
    spec_of(&y, "replica", ";installation=test;lock_wait_ms=200");
    struct store *a = open_store(&x), *b = open_store(&y);
    struct store_event e = number_event(0, 2);
    (void)add(a, 1);
    struct store_pos end = end_of(a);
    assert_ok(store_hold(a, &why));
    assert_err(store_append(b, end, &e, 1, NULL, &why), ERR_UNAVAILABLE);
    check_says("held by somebody else");
    assert_err(store_hold(b, &why), ERR_UNAVAILABLE);
    assert_ok(store_append(a, end, &e, 1, NULL, &why)); /* the holder's own */
    check_numbers(b, 2);
    e = number_event(0, 3); /* which has let go */
    assert_ok(store_append(b, end_of(b), &e, 1, NULL, &why));
    assert_ok(store_hold(b, &why));
    store_release(b);
    (void)add(a, 4);
    /* Who holds and stands still has lost it when others would give up waiting. */
    assert_ok(store_hold(b, &why));
    (void)add(a, 5);
    e = number_event(0, 6);
    assert_err(store_append(b, end_of(a), &e, 1, NULL, &why), ERR_UNAVAILABLE);
    check_numbers(b, 5);
    store_close(a);
    store_close(b);
}

#define WAITING "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

static bool is_proved(struct store *s)
{
    return store_prove(s, &why) == OK;
}

/* What keeps an append from being taken, or from being kept, keeps the proof of it from being given. */
static void what_an_append_needs_is_proved(void **state)
{
    (void)state;
    struct fixture x, y;
    migrate();
    replica(&x);
    spec_of(&y, "replica", ";installation=test;lock_wait_ms=200;timeout_ms=500");
    struct store *a = open_store(&x), *s = open_store(&y);
    (void)add(a, 1);
    assert_ok(store_prove(s, &why));
    assert_ok(store_hold(a, &why)); /* somebody stands in the way */
    assert_err(store_prove(s, &why), ERR_UNAVAILABLE);
    store_release(a);
    assert_true(is_proved(s));
#define APPEND "FUNCTION slipform.append(integer, bigint, bigint, uuid[], bigint[], text[], bigint, bigint)"
    sql_free("REVOKE EXECUTE ON " APPEND " FROM replica");
    assert_err(store_prove(s, &why), ERR_DENIED);
    sql_free("GRANT EXECUTE ON " APPEND " TO replica");
    assert_true(is_proved(s));
    sql_free("ALTER TABLE slipform.events ADD CONSTRAINT full_up CHECK (seq < 2)"); /* as a disk without room */
    assert_false(is_proved(s));
    sql_free("ALTER TABLE slipform.events DROP CONSTRAINT full_up");
    assert_true(is_proved(s));
    sql_free("ALTER SYSTEM SET synchronous_standby_names = 'nobody'"); /* it takes it, and cannot keep it */
    sql_free("SELECT pg_reload_conf()");
    for (int i = 0; i < 200 && is_proved(s); i++)
        continue; /* the server reads its settings soon */
    assert_false(is_proved(s));
    print_message("without a standby: %s\n", why.msg);
    sql_free("ALTER SYSTEM RESET synchronous_standby_names");
    sql_free("SELECT pg_reload_conf()");
    for (int i = 0; i < 200 && !is_proved(s); i++)
        continue;
    assert_true(is_proved(s));
    check_numbers(s, 1);
    expect_sql("SELECT count(*) FROM slipform.events", "1");
    (void)add(a, 2);
    store_close(a);
    store_close(s);
}

/* Until one waits at the row that another holds. */
static void until_one_waits(void)
{
    for (int i = 0; i < 100000; i++) {
        auto_free char *n = postgres_server_sql(&server, database, WAITING);
        if (strcmp(n, "0") != 0)
            return;
    }
    fail_msg("nobody waits");
}

static void *cancel_it(void *ctx)
{
    until_one_waits();
    store_cancel(ctx);
    return NULL;
}

static void cancelled(void **state)
{
    (void)state;
    struct fixture x;
    migrate();
    replica(&x);
    struct store *a = open_store(&x), *b = open_store(&x);
    pthread_t other;
    assert_ok(store_hold(a, &why));
    assert_int_equal(pthread_create(&other, NULL, cancel_it, b), 0);
    assert_err(store_hold(b, &why), ERR_CANCELLED);
    assert_int_equal(pthread_join(other, NULL), 0);
    struct store_pos end;
    assert_err(store_end(b, &end, &why), ERR_CANCELLED);
    store_close(a);
    store_close(b);
}

/* ---- lost answers ---- */

#define KILL_OTHERS                                                                                                    \
    "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE datname = current_database() AND "     \
    "usename = 'replica'"

static void killed_by_the_server(void **state)
{
    (void)state;
    struct fixture x;
    migrate();
    replica(&x);
    struct store *s = open_store(&x);
    (void)add(s, 1);
    struct store_pos end = end_of(s), now;
    sql_free(KILL_OTHERS);
    assert_err(store_end(s, &now, &why), ERR_UNAVAILABLE);
    assert_ok(store_end(s, &now, &why)); /* what only reads connects anew */
    struct store_event e = number_event(0, 2);
    sql_free(KILL_OTHERS);
    assert_err(store_append(s, end, &e, 1, NULL, &why), ERR_IO); /* what writes asks to be looked after */
    assert_err(store_append(s, end, &e, 1, NULL, &why), ERR_IO);
    assert_ok(store_reopen(s, NULL, &why));
    (void)add(s, 2);
    check_numbers(s, 2);
    store_close(s);
}

static void a_lost_answer_is_found(void **state)
{
    (void)state;
    struct fixture x;
    uint64_t seq = 0;
    migrate();
    replica(&x);
    struct store *s = open_store(&x);
    (void)add(s, 1);
    struct store_pos end = end_of(s);
    struct store_event e = number_event(0, 2);
    postgres_server_cut_next(&server); /* committed, and nobody told */
    assert_err(store_append(s, end, &e, 1, NULL, &why), ERR_IO);
    assert_ok(store_reopen(s, NULL, &why));
    assert_ok(store_find_id(s, end.seq, e.id, &seq, &why));
    assert_int_equal(seq, 2);
    check_numbers(s, 2);
    store_close(s);
}

static void *append_two(void *ctx)
{
    struct store_event e = number_event(0, 2);
    struct errinfo err;
    struct store_pos *end = ((void **)ctx)[1];
    *(enum err *)((void **)ctx)[2] = store_append(((void **)ctx)[0], *end, &e, 1, NULL, &err);
    return NULL;
}

/* The question waits in the server when the connection goes; "it is not there" must stay true. */
static void an_append_under_way_is_ended(void **state)
{
    (void)state;
    struct fixture x, y;
    uint64_t seq = 0;
    migrate();
    replica(&x);
    (void)snprintf(y.spec, sizeof(y.spec), "postgres;host=%s;dbname=%s;user=replica;log=one;installation=test",
                   server.folder, database);
    y.opt = x.opt; /* past the relay */
    struct store *s = open_store(&x), *holder = open_store(&y);
    (void)add(s, 1);
    struct store_pos end = end_of(s);
    enum err rc = OK;
    pthread_t other;
    void *ctx[] = {s, &end, &rc};
    assert_ok(store_hold(holder, &why));
    assert_int_equal(pthread_create(&other, NULL, append_two, ctx), 0);
    until_one_waits();
    postgres_server_forget_clients(&server);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_err(rc, ERR_IO);
    expect_sql(WAITING, "1"); /* it is still under way */
    assert_ok(store_reopen(s, NULL, &why));
    expect_sql(WAITING, "0");
    assert_err(store_find_id(s, 1, number_id(0, 2), &seq, &why), ERR_NOT_FOUND);
    store_release(holder);
    check_numbers(holder, 1);
    assert_err(store_find_id(s, 1, number_id(0, 2), &seq, &why), ERR_NOT_FOUND);
    store_close(s);
    store_close(holder);
}

/* ---- damage ---- */

static void rows_that_were_changed(void **state)
{
    (void)state;
    static const struct {
        const char *sql, *word;
        uint64_t seq;
    } BAD[] = {
        {"UPDATE slipform.events SET line = replace(line, '\"n\":1', '\"n\":2') WHERE seq = 3", "sum", 3},
        {"UPDATE slipform.events SET sum = sum + 1 WHERE seq = 2", "not that of its row", 2},
        {"DELETE FROM slipform.events WHERE seq = 2", "missing", 2},
        {"UPDATE slipform.heads SET sum = sum + 1", "does not end as its head says", 4},
        {"DELETE FROM slipform.events WHERE seq = 4", "missing", 4},
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct fixture x;
        struct store_verdict v;
        if (i > 0)
            (void)make_database(NULL);
        migrate();
        replica(&x);
        struct store *s = open_store(&x);
        for (uint64_t n = 1; n <= 4; n++)
            (void)add(s, n);
        sql_free(BAD[i].sql);
        AUTO(store_batch) struct store_batch good = {0}, b = {0};
        assert_ok(store_read(s, 0, 0, 0, &good, &why));
        assert_int_equal(good.n, BAD[i].seq - 1);
        assert_err(store_read(s, BAD[i].seq - 1, 0, 0, &b, &why), ERR_CORRUPT);
        check_says(BAD[i].word);
        assert_int_equal(store_damage(s)->seq, BAD[i].seq);
        assert_ok(store_verify(x.spec, &v, &why));
        assert_true(!v.ok && v.first_bad.seq == BAD[i].seq && v.events == BAD[i].seq - 1);
        store_close(s);
    }
}

/* A restore of an older state, under a handle that has seen more: noticed, not continued. */
static void a_log_that_lost_its_tail(void **state)
{
    (void)state;
    struct fixture x;
    migrate();
    replica(&x);
    struct store *s = open_store(&x);
    struct store_record third = {0};
    for (uint64_t n = 1; n <= 3; n++)
        third = add(s, n);
    sql_free("DELETE FROM slipform.events WHERE seq = 3; UPDATE slipform.heads h SET seq = 2, sum = e.sum, "
             "instant_ns = instant_ns - 1 FROM slipform.events e WHERE e.log = h.log AND e.seq = 2");
    struct store *other = open_store(&x);
    struct store_event e = number_event(1, 3);
    assert_ok(store_append(other, end_of(other), &e, 1, NULL, &why)); /* another third: the number, not the sum */
    store_close(other);
    e = number_event(0, 4);
    assert_err(store_append(s, (struct store_pos){3, third.e.sum}, &e, 1, NULL, &why), ERR_CONFLICT);
    AUTO(store_batch) struct store_batch b = {0}, none = {0};
    assert_ok(store_read(s, 3, 0, 0, &b, &why));
    assert_true(b.after.sum != third.e.sum);
    assert_err(store_read(s, 4, 0, 0, &none, &why), ERR_NOT_FOUND);
    sql_free("DELETE FROM slipform.heads"); /* and a log that is gone is not made again behind its back */
    struct store_pos end;
    assert_err(store_end(s, &end, &why), ERR_IO);
    store_close(open_store(&x));
    assert_err(store_reopen(s, NULL, &why), ERR_CONFLICT);
    store_close(s);
}

/* ---- copies ---- */

/* Files, postgres, files: the same bytes. */
static void there_and_back(void **state)
{
    (void)state;
    struct fixture from, x, back;
    setup_in_memory(&from, "");
    setup_in_memory(&back, "");
    migrate();
    replica(&x);
    struct store *a = open_store(&from);
    for (uint64_t n = 1; n <= 300; n++) {
        struct store_event e[2] = {number_event(0, 2 * n), number_event(0, 2 * n + 1)};
        e[1].payload = STR("{\"text\":\"a \\\"quoted\\\" word \\\\, \xc3\xa4\xf0\x9f\x8c\x8d\",\"list\":[1.50,2e3]}");
        assert_ok(store_append(a, end_of(a), e, n % 2 + 1, NULL, &why));
    }
    memcpy(strstr(x.spec, "log=one"), "log=two", 7); /* which is not there yet */
    x.opt.log = store_log_id(a);
    struct store *b = open_store(&x), *c = open_store(&back);
    struct store_copied done;
    struct store_verdict v;
    assert_ok(store_copy(a, (struct store_pos){0, 0}, b, &done, &why));
    assert_true(id_eq(store_log_id(a), store_log_id(b)) && end_of(a).sum == end_of(b).sum);
    assert_ok(store_verify(x.spec, &v, &why));
    assert_true(v.ok && v.events == done.records);
    assert_ok(store_copy(b, (struct store_pos){0, 0}, c, &done, &why));
    assert_int_equal(done.records, end_of(a).seq);
    AUTO(buf) struct buf p = {0}, q = {0};
    char path[192];
    path_of(&from, SEGMENT, path);
    read_whole(path, &p);
    path_of(&back, SEGMENT, path);
    read_whole(path, &q);
    assert_true(p.len > 0 && str_eq(buf_str(&p), buf_str(&q)));
    assert_ok(store_key_put(a, "one", NULL, "wrapped-one", &why));
    copies_keys(a, b, 1);
    copies_keys(b, c, 1);
    store_close(a);
    store_close(b);
    store_close(c);
    teardown(&from);
    teardown(&back);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, make_database)
    const struct CMUnitTest tests[] = {
        TEST(beside),
        TEST(a_replica_makes_a_log),
        TEST(specs),
        TEST(not_set_up),
        TEST(of_somebody_else),
        TEST(with_extensions),
        TEST(two_installations),
        TEST(no_rights),
        TEST(migrated_in_part),
        TEST(other_schemas),
        TEST(from_the_first_release),
        TEST(a_table_is_missing),
        TEST(migrated_at_once),
        TEST(append_only),
        TEST(wrong_grants),
        TEST(servers_that_forget),
        TEST(a_holder_is_waited_for_with_a_bound),
        TEST(what_an_append_needs_is_proved),
        TEST(cancelled),
        TEST(killed_by_the_server),
        TEST(a_lost_answer_is_found),
        TEST(an_append_under_way_is_ended),
        TEST(rows_that_were_changed),
        TEST(a_log_that_lost_its_tail),
        TEST(there_and_back),
    };
    const char *missing = postgres_server_start(&server);
    if (missing != NULL) {
        (void)fprintf(stderr, "SKIPPED: postgres stores are not tested: %s\n", missing);
        return 77; /* meson: skipped */
    }
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    postgres_server_stop(&server);
    return failures;
}
