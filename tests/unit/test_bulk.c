/* The contract of bulk stores, for every kind: a factory each, with real servers. */
#include "postgres_server.h"
#include "store/bulk.h"
#include "store_help.h"
#include "store_nats.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define SPEC_SIZE 400
struct factory {
    const char *name;
    void (*setup)(char spec[static SPEC_SIZE]); /* an empty store */
    void (*teardown)(void);
    /* From now on calls of all handles fail now and then; 0: not any more. NULL: it cannot. */
    void (*set_faults)(uint64_t seed);
    bool ages_by_server; /* the server's own clock says what is old */
};
static const struct factory *factory;

/* Of all series: JetStream puts that much of its disk aside for each stream. */
#define SIZE_OF_ALL ((uint64_t)64 * 1024 * 1024)
static const struct bulk_limits LIMITS = {SIZE_OF_ALL, 0};
#define SIZE_MAX_NONE ((uint64_t)1 << 40)

struct lab {
    char spec[SPEC_SIZE];
    struct bulk *b;
    struct errinfo err;
};

static struct bulk *open_limited(struct lab *lab, uint64_t size_bytes, int64_t kept_s)
{
    struct bulk *b = NULL;
    assert_ok(bulk_open(lab->spec, &(struct bulk_limits){size_bytes, kept_s}, &b, &lab->err));
    return b;
}

static int lab_setup(void **state)
{
    struct lab *lab = mem_alloc(sizeof(*lab));
    *lab = (struct lab){0};
    factory->setup(lab->spec);
    lab->b = open_limited(lab, SIZE_OF_ALL, 0);
    *state = lab;
    return 0;
}

static int lab_teardown(void **state)
{
    struct lab *lab = *state;
    bulk_close(lab->b);
    factory->teardown();
    free(lab);
    return 0;
}

/* Lines from..to, each of about `size` bytes. */
static void add_lines(struct buf *out, int64_t from, int64_t to, size_t size)
{
    for (int64_t i = from; i <= to; i++) {
        size_t before = out->len;
        buf_addf(out, "{\"text\":\"line %lld of \\\"seq\\\":7 ", (long long)i);
        while (out->len - before + 16 < size)
            buf_add_char(out, 'x');
        buf_addf(out, "\",\"seq\":%lld}\n", (long long)i);
    }
}

static enum err append_to(struct bulk *b, const char *series, int64_t from, int64_t to, size_t size, int64_t *ret_seq)
{
    AUTO(buf) struct buf lines = {0};
    add_lines(&lines, from, to, size);
    return bulk_append(b, series, buf_str(&lines), BULK_ANY, SIZE_MAX_NONE, ret_seq, &why);
}

static void append(struct bulk *b, const char *series, int64_t from, int64_t to)
{
    int64_t seq = 0;
    assert_ok(append_to(b, series, from, to, 60, &seq));
    assert_int_equal(seq, to);
}

static int64_t number_of(struct str line)
{
    int64_t seq = 0;
    auto_free char *text = mem_strndup(line.ptr, line.len);
    const char *at = strrchr(text, ':');
    assert_non_null(at);
    assert_int_equal(sscanf(at, ":%ld}", &seq), 1);
    return seq;
}

/* Read all behind the cursor; they follow each other. Returns how many. */
static int64_t read_on(struct bulk *b, struct bulk_cursor *c, size_t size_max, int64_t *ret_first)
{
    int64_t n = 0, before = 0;
    for (;;) {
        AUTO(buf) struct buf found = {0};
        assert_ok(bulk_read(b, c, size_max, &found, &why));
        struct str rest = buf_str(&found), line;
        if (rest.len == 0)
            return n;
        while (rest.len > 0 && str_next(&rest, '\n', &line)) {
            int64_t seq = number_of(line);
            if (n == 0 && ret_first != NULL)
                *ret_first = seq;
            if (n > 0)
                assert_int_equal(seq, before + 1);
            before = seq;
            n++;
        }
        assert_int_equal(c->after, before);
    }
}

static int64_t read_all(struct bulk *b, const char *series, int64_t *ret_first)
{
    struct bulk_cursor c = {0};
    (void)snprintf(c.series, sizeof(c.series), "%s", series);
    return read_on(b, &c, 100000, ret_first);
}

/* ---- cases ---- */

static void appended_and_read(void **state)
{
    struct lab *lab = *state;
    struct bulk_cursor c = {.series = "one"}, small = {.series = "one"};
    int64_t first = 0, end = -1;
    assert_int_equal(read_on(lab->b, &c, 1000, NULL), 0);
    assert_ok(bulk_end(lab->b, "one", &end, &why));
    assert_int_equal(end, 0);
    append(lab->b, "one", 1, 3);
    assert_int_equal(read_on(lab->b, &c, 1000, &first), 3);
    assert_int_equal(first, 1);
    append(lab->b, "two", 5, 6); /* another one begins where it will */
    append(lab->b, "one", 4, 1000);
    assert_int_equal(read_on(lab->b, &c, 1000, &first), 997);
    assert_int_equal(first, 4);
    AUTO(buf) struct buf found = {0};
    assert_ok(bulk_read(lab->b, &small, 1, &found, &why)); /* at least one */
    assert_true(found.len > 0);
    assert_int_equal(read_on(lab->b, &small, 1, NULL) + number_of((struct str){found.ptr, found.len - 1}), 1000);
    bulk_close(lab->b);
    lab->b = open_limited(lab, SIZE_OF_ALL, 0);
    assert_int_equal(read_all(lab->b, "one", &first), 1000);
    assert_int_equal(first, 1);
    struct bulk_cursor middle = {.series = "one", .after = 500}, behind = {.series = "one", .after = 5000};
    assert_int_equal(read_on(lab->b, &middle, 1000, &first), 500);
    assert_int_equal(first, 501);
    assert_int_equal(read_on(lab->b, &behind, 1000, NULL), 0);
    assert_int_equal(read_all(lab->b, "two", &first), 2);
    assert_int_equal(first, 5);
}

/* The same bytes come back, whatever they are. */
static void bytes_are_kept(void **state)
{
    struct lab *lab = *state;
    struct str line = STR("{\"seq\":1,\"text\":\"\\u0000\\n \xc3\xa4\xf0\x9f\x98\x80 ' \\\\ $1 %s\"}\n");
    int64_t seq = 0;
    struct bulk_cursor c = {.series = "one"};
    AUTO(buf) struct buf found = {0};
    assert_ok(bulk_append(lab->b, "one", line, BULK_ANY, SIZE_MAX_NONE, &seq, &why));
    assert_ok(bulk_read(lab->b, &c, 1000, &found, &why));
    assert_true(str_eq(buf_str(&found), line));
}

static void sent_twice(void **state)
{
    struct lab *lab = *state;
    struct bulk *other = open_limited(lab, SIZE_OF_ALL, 0);
    int64_t seq = 0;
    append(lab->b, "one", 1, 10);
    append(lab->b, "one", 1, 10);
    append(other, "one", 1, 10);   /* through another replica */
    append(other, "one", 6, 15);   /* it overlaps */
    append(lab->b, "one", 11, 20); /* which this one does not know of */
    assert_ok(append_to(lab->b, "one", 3, 5, 60, &seq));
    assert_int_equal(seq, 20);    /* what is kept is told */
    append(other, "one", 30, 31); /* a gap: somebody threw lines away before they came here */
    assert_int_equal(read_all(lab->b, "two", NULL), 0);
    struct bulk_cursor c = {.series = "one"};
    int64_t n = 0, before = 0;
    AUTO(buf) struct buf found = {0};
    assert_ok(bulk_read(lab->b, &c, 1000000, &found, &why));
    struct str rest = buf_str(&found), line;
    for (; rest.len > 0 && str_next(&rest, '\n', &line); n++) {
        assert_true(number_of(line) > before);
        before = number_of(line);
    }
    assert_int_equal(n, 22);
    bulk_close(other);
}

static void expected_end(void **state)
{
    struct lab *lab = *state;
    struct bulk *other = open_limited(lab, SIZE_OF_ALL, 0);
    AUTO(buf) struct buf lines = {0};
    int64_t seq = 0;
    add_lines(&lines, 1, 3, 60);
    assert_ok(bulk_append(lab->b, "one", buf_str(&lines), 0, SIZE_MAX_NONE, &seq, &why));
    assert_err(bulk_append(lab->b, "one", buf_str(&lines), 0, SIZE_MAX_NONE, &seq, &why), ERR_CONFLICT);
    assert_int_equal(seq, 3);
    buf_clear(&lines);
    add_lines(&lines, 4, 5, 60);
    assert_ok(bulk_append(other, "one", buf_str(&lines), 3, SIZE_MAX_NONE, &seq, &why));
    assert_err(bulk_append(lab->b, "one", buf_str(&lines), 3, SIZE_MAX_NONE, &seq, &why),
               ERR_CONFLICT); /* not OK as
                               * the same: it is another's */
    assert_int_equal(seq, 5);
    buf_clear(&lines);
    add_lines(&lines, 6, 9000, 100); /* in several chunks */
    assert_ok(bulk_append(lab->b, "one", buf_str(&lines), 5, SIZE_MAX_NONE, &seq, &why));
    assert_int_equal(seq, 9000);
    assert_int_equal(read_all(other, "one", NULL), 9000);
    bulk_close(other);
}

static void bad_lines(void **state)
{
    struct lab *lab = *state;
    static const struct {
        const char *lines, *says;
    } BAD[] = {
        {"{\"seq\":1}", "newline"},
        {"{\"text\":\"x\"}\n", "seq"},
        {"{\"seq\":0}\n", "seq"},
        {"{\"seq\":-5}\n", "seq"},
        {"{\"seq\":\"5\"}\n", "seq"},
        {"{\"seq\":99999999999999999999}\n", "seq"},
        {"{\"seq\":2}\n{\"seq\":2}\n", "line 2"},
        {"{\"seq\":2}\n\n{\"seq\":3}\n", "line 2"},
        {"{\"text\":\"\\\"seq\\\":1\"}\n", "line 1"}, /* a text is no member */
    };
    int64_t seq = 0;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        assert_err(bulk_append(lab->b, "one", str_from(BAD[i].lines), BULK_ANY, SIZE_MAX_NONE, &seq, &why),
                   ERR_INVALID);
        if (strstr(why.msg, BAD[i].says) == NULL)
            fail_msg("'%s' says: %s", BAD[i].lines, why.msg);
    }
    AUTO(buf) struct buf lines = {0};
    add_lines(&lines, 1, 1, BULK_LINE_SIZE_MAX - 10);
    assert_ok(bulk_append(lab->b, "one", buf_str(&lines), BULK_ANY, SIZE_MAX_NONE, &seq, &why));
    add_lines(&lines, 2, 2, BULK_LINE_SIZE_MAX + 100);
    assert_err(bulk_append(lab->b, "one", buf_str(&lines), BULK_ANY, SIZE_MAX_NONE, &seq, &why), ERR_LIMIT);
    assert_int_equal(read_all(lab->b, "one", NULL), 1); /* all or none of what is checked */
    static const char *const NAMES[] = {
        "", "a/b", "..", "a b", "x.y", "a*", "1234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        assert_err(append_to(lab->b, NAMES[i], 1, 1, 60, &seq), ERR_INVALID);
    assert_err(bulk_open("nothing;x=y", NULL, &(struct bulk *){NULL}, &why), ERR_INVALID);
}

static void newest_first(void **state)
{
    struct lab *lab = *state;
    struct bulk_cursor c = {.series = "one"};
    int64_t first = 0;
    assert_ok(bulk_tail(lab->b, &c, 1000, &why)); /* of nothing */
    assert_int_equal(read_on(lab->b, &c, 1000, NULL), 0);
    for (int64_t i = 0; i < 50; i++) {
        int64_t seq = 0;
        assert_ok(append_to(lab->b, "one", i * 10 + 1, i * 10 + 10, 100, &seq));
    }
    c.after = 7;
    assert_ok(bulk_tail(lab->b, &c, 10500, &why));
    int64_t n = read_on(lab->b, &c, 1000, &first);
    assert_in_range(n, 90, 110);
    assert_int_equal(first, 500 - n + 1);
    assert_ok(bulk_tail(lab->b, &c, 10000000, &why));
    assert_int_equal(read_on(lab->b, &c, 1000, &first), 500);
}

static void dropped_and_idle(void **state)
{
    struct lab *lab = *state;
    static char names[BULK_PAGE][BULK_NAME_SIZE];
    size_t n = 99;
    bool is_named = !factory->ages_by_server;
    append(lab->b, "one", 1, 10);
    append(lab->b, "two", 1, 10);
    int64_t now_us = clock_wall_us();
    assert_ok(bulk_idle(lab->b, now_us - 60 * (int64_t)1000000, "", names, &n, &why));
    assert_int_equal(n, 0);
    assert_ok(bulk_idle(lab->b, now_us + 60 * (int64_t)1000000, "", names, &n, &why));
    assert_int_equal(n, is_named ? 2 : 0);
    assert_ok(bulk_idle(lab->b, now_us + 60 * (int64_t)1000000, "one", names, &n, &why)); /* the next page */
    assert_int_equal(n, is_named ? 1 : 0);
    assert_ok(bulk_drop(lab->b, "one", &why));
    assert_ok(bulk_drop(lab->b, "one", &why)); /* there is none */
    assert_ok(bulk_idle(lab->b, now_us + 60 * (int64_t)1000000, "", names, &n, &why));
    assert_int_equal(n, is_named ? 1 : 0);
    if (is_named)
        assert_string_equal(names[0], "two");
    assert_int_equal(read_all(lab->b, "one", NULL), 0);
    append(lab->b, "one", 1, 3); /* of the same name, from 1 on */
    assert_int_equal(read_all(lab->b, "one", NULL), 3);
    assert_int_equal(read_all(lab->b, "two", NULL), 10);
}

/* A series is bounded; its newest lines are there, and who follows misses nothing. */
static void series_is_bounded(void **state)
{
    struct lab *lab = *state;
    const uint64_t max = 200000;
    struct bulk_cursor follower = {.series = "one"};
    int64_t seq = 0, first = 0, followed = 0;
    append(lab->b, "other", 1, 100);
    for (int64_t i = 0; i < 100; i++) {
        AUTO(buf) struct buf lines = {0};
        add_lines(&lines, i * 50 + 1, i * 50 + 50, 200);
        assert_ok(bulk_append(lab->b, "one", buf_str(&lines), BULK_ANY, max, &seq, &why));
        followed += read_on(lab->b, &follower, 5000, NULL);
    }
    assert_int_equal(followed, 5000);
    int64_t n = read_all(lab->b, "one", &first);
    assert_in_range(n * 200, max / 2 - 20000, max + 20000);
    assert_int_equal(first, 5000 - n + 1);
    assert_int_equal(read_all(lab->b, "other", NULL), 100);
    struct bulk_cursor late = {.series = "one", .after = 10};
    assert_int_equal(read_on(lab->b, &late, 5000, &first), n); /* what is gone is passed over */
}

/* A series without lines goes on where it was, unless its store cannot know. */
static void retention_by_age(void **state)
{
    struct lab *lab = *state;
    const int64_t day_us = (int64_t)86400 * 1000000;
    int64_t now_us = clock_wall_us();
    if (factory->ages_by_server) { /* by its own clock: for a second */
        struct bulk *brief = open_limited(lab, SIZE_OF_ALL, 1);
        append(brief, "old", 1, 10);
        int64_t until_us = clock_mono_us() + 20000000;
        while (read_all(brief, "old", NULL) > 0 && clock_mono_us() < until_us)
            ;
        assert_int_equal(read_all(brief, "old", NULL), 0);
        assert_true(clock_wall_us() - now_us >= 1000000);
        append(brief, "old", 11, 12);
        bulk_close(brief);
        return;
    }
    struct bulk *b = open_limited(lab, SIZE_OF_ALL, 30 * 86400);
    append(b, "old", 1, 10);
    assert_ok(bulk_sweep(b, now_us, &why));
    assert_ok(bulk_sweep(b, now_us + 29 * day_us, &why));
    assert_int_equal(read_all(b, "old", NULL), 10);
    append(b, "young", 1, 10); /* in a later part; in a folder its file says when */
    assert_ok(bulk_sweep(b, now_us + 59 * day_us + day_us / 2, &why));
    assert_int_equal(read_all(b, "old", NULL), 0);
    /* In a folder, which asks files, it was written today. */
    assert_int_equal(read_all(b, "young", NULL), strcmp(factory->name, "folder") == 0 ? 0 : 10);
    bulk_close(b);
}

static void retention_by_size(void **state)
{
    struct lab *lab = *state;
    const uint64_t max = (uint64_t)4 * 1024 * 1024;
    int64_t now_us = clock_wall_us(), first = 0, seq = 0, kept = 0;
    struct bulk *b = open_limited(lab, max, 0);
    uint64_t random = 88172645463325252u;
    for (int64_t i = 0; i < 60; i++) {
        char name[16];
        AUTO(buf) struct buf lines = {0};
        (void)snprintf(name, sizeof(name), "s%ld", i);
        add_lines(&lines, 1, 1000, 200);
        for (size_t k = 0; k < lines.len; k++) { /* what a database cannot make smaller */
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            if (lines.ptr[k] == 'x')
                lines.ptr[k] = (char)('0' + (int)(random % 77) + (random % 77 == 44));
        }
        assert_ok(bulk_append(b, name, buf_str(&lines), BULK_ANY, SIZE_MAX_NONE, &seq, &why));
        assert_ok(bulk_sweep(b, now_us, &why));
    }
    for (int64_t i = 0; i < 60; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "s%ld", i);
        kept += read_all(b, name, &first) > 0;
    }
    assert_in_range(kept, 8, 24);                     /* of 12 MB */
    assert_int_equal(read_all(b, "s59", NULL), 1000); /* the newest */
    assert_int_equal(read_all(b, "s0", NULL), 0);
    append(b, "s59", 1001, 1010); /* and it goes on */
    bulk_close(b);
}

/* ---- several writers, and calls that fail ---- */

struct writer {
    const char *spec;
    int64_t from, to;
    uint64_t seed;
    unsigned failed_n;
};

/* Sends overlapping batches, each until it is taken: as agents do, through this replica or that. */
static void *write_all(void *ctx)
{
    struct writer *w = ctx;
    struct bulk *b = NULL;
    struct errinfo err;
    for (int64_t at = w->from; at <= w->to;) {
        AUTO(buf) struct buf lines = {0};
        int64_t seq = 0, to = at + 7 > w->to ? w->to : at + 7;
        add_lines(&lines, at > 3 ? at - 3 : at, to, 60);
        enum err rc = b == NULL ? bulk_open(w->spec, &LIMITS, &b, &err) : OK;
        if (rc == OK)
            rc = bulk_append(b, "one", buf_str(&lines), BULK_ANY, SIZE_MAX_NONE, &seq, &err);
        w->failed_n += rc != OK;
        if (rc == OK)
            at = seq + 1 > to ? seq + 1 : to + 1;
    }
    bulk_close(b);
    return NULL;
}

static void two_writers(void **state)
{
    struct lab *lab = *state;
    struct writer writers[2] = {{.spec = lab->spec, .from = 1, .to = 600}, {.spec = lab->spec, .from = 1, .to = 600}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    struct bulk_cursor c = {.series = "one"};
    int64_t n = 0;
    for (int64_t until_us = clock_mono_us() + 60000000; n < 600 && clock_mono_us() < until_us;)
        n += read_on(lab->b, &c, 1000, NULL); /* each line once, in order, while they write */
    assert_int_equal(n, 600);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(read_all(lab->b, "one", NULL), 600);
}

static void lost_answers(void **state)
{
    struct lab *lab = *state;
    if (factory->set_faults == NULL) {
        print_message("SKIPPED: a folder has no connection whose answer could be lost\n");
        skip();
    }
    struct writer w = {.spec = lab->spec, .from = 1, .to = 800};
    factory->set_faults(42);
    (void)write_all(&w);
    factory->set_faults(0);
    bulk_close(lab->b);
    lab->b = open_limited(lab, SIZE_OF_ALL, 0);
    assert_true(w.failed_n > 5);
    assert_int_equal(read_all(lab->b, "one", NULL), 800);
}

/* --- folder --- */

static char folder[64];

static void in_folder(char spec[static SPEC_SIZE])
{
    assert_true(scratch_make("/tmp", folder, sizeof(folder)));
    (void)snprintf(spec, SPEC_SIZE, "folder;path=%s/logs", folder);
}

static void remove_it(void)
{
    remove_folder(folder);
}

/* --- postgres: a database each, reached through a relay that loses connections --- */

static struct postgres_server server;

static void postgres_setup(char spec[static SPEC_SIZE])
{
    static int n;
    char sql[96];
    struct fixture x = {.opt = {.mode = STORE_CREATE}};
    (void)snprintf(sql, sizeof(sql), "CREATE DATABASE b%d OWNER owner", ++n);
    free(postgres_server_sql(&server, "postgres", sql));
    (void)snprintf(x.spec, sizeof(x.spec),
                   "postgres;host=%s;dbname=b%d;user=owner;installation=test;log=l;rights=owner;replicas=replica",
                   server.folder, n);
    store_close(open_store(&x));
    (void)snprintf(spec, SPEC_SIZE, "postgres;host=%s;dbname=b%d;user=replica;installation=test;log=l", server.relay,
                   n);
}

static void nothing(void) {}

static void postgres_faults(uint64_t seed)
{
    postgres_server_cut(&server, seed, seed > 0 ? 10 : 0);
}

/* --- jetstream: a stream each on one server, reached through a relay that loses connections --- */

static struct test_nats nats;

static void jetstream_setup(char spec[static SPEC_SIZE])
{
    static unsigned n;
    (void)snprintf(spec, SPEC_SIZE, "jetstream;servers=nats://127.0.0.1:%d;stream=log-%u;replicas=1;monitor=%s",
                   nats.relay_port, ++n, nats.monitor);
}

static void jetstream_faults(uint64_t seed)
{
    test_nats_cut(&nats, seed, seed > 0 ? 8 : 0);
}

/* ---- all ---- */

static int run(const struct factory *f)
{
#define CASE(name_) {.name = #name_, .test_func = name_, .setup_func = lab_setup, .teardown_func = lab_teardown}
    static const struct CMUnitTest CASES[] = {
        CASE(appended_and_read), CASE(bytes_are_kept),    CASE(sent_twice),       CASE(expected_end),
        CASE(bad_lines),         CASE(newest_first),      CASE(dropped_and_idle), CASE(series_is_bounded),
        CASE(retention_by_age),  CASE(retention_by_size), CASE(two_writers),      CASE(lost_answers),
    };
    factory = f;
    return cmocka_run_group_tests_name(f->name, CASES, NULL, NULL);
}

static int run_postgres(void)
{
    static const struct factory POSTGRES = {"postgres", postgres_setup, nothing, postgres_faults, false};
    const char *missing = postgres_server_start(&server);
    if (missing != NULL) {
        print_error("SKIPPED: the contract of bulk stores in PostgreSQL is not tested: %s\n", missing);
        return 0;
    }
    int failures = run(&POSTGRES);
    postgres_server_stop(&server);
    return failures;
}

/* Last: libnats has threads, which a fork does not have. */
static int run_jetstream(void)
{
    static const struct factory JETSTREAM = {"jetstream", jetstream_setup, nothing, jetstream_faults, true};
    if (!test_nats_start(&nats, "always", "max_payload: 2MB"))
        return 0;
    int failures = run(&JETSTREAM);
    test_nats_stop(&nats);
    return failures;
}

int main(void)
{
    static const struct factory FOLDER = {"folder", in_folder, remove_it, NULL, false};
    int failures = run(&FOLDER) + run_postgres();
    return failures + run_jetstream();
}
