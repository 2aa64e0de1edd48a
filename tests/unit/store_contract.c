#include "store_contract.h"

#include <signal.h>
#include <sys/wait.h>
#include <uv.h>

static void append_and_read(const struct fixture *x)
{
    struct store *s = open_store(x);
    assert_int_equal(end_of(s).seq, 0);
    struct store_event e[3] = {number_event(0, 1), number_event(0, 2), number_event(0, 3)};
    e[1].payload = STR("{\"text\":\"a \\\"quoted\\\" word, \xc3\xa4\",\"list\":[1,2]}");
    struct store_record r[3] = {0};
    assert_ok(store_append(s, (struct store_pos){0, 0}, e, 3, r, &why));
    assert_int_equal(r[2].seq, 3);
    assert_true(end_of(s).seq == 3 && end_of(s).sum == r[2].e.sum);
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    assert_int_equal(b.n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(b.items[i].seq == i + 1 && id_eq(b.items[i].e.id, e[i].id));
        assert_true(str_eq(b.items[i].e.payload, e[i].payload) && str_eq(b.items[i].e.type, e[i].type));
        assert_true(event_time_cmp(b.items[i].e.time, r[i].e.time) == 0 && b.items[i].e.sum == r[i].e.sum);
        assert_true(b.items[i].e.more == (i < 2));
        assert_true(i == 0 || event_time_cmp(b.items[i - 1].e.time, b.items[i].e.time) < 0);
    }
    assert_true(store_clock_us(s) >= b.items[2].e.time.instant_ns / 1000);
    store_close(s);
}

static void conflict(const struct fixture *x)
{
    struct store *a = open_store(x), *b = open_store(x);
    struct store_record first = add(a, 1);
    struct store_event e = number_event(0, 2);
    assert_err(store_append(b, (struct store_pos){0, 0}, &e, 1, NULL, &why), ERR_CONFLICT);
    assert_err(store_append(b, (struct store_pos){1, first.e.sum ^ 1}, &e, 1, NULL, &why), ERR_CONFLICT);
    assert_err(store_append(b, (struct store_pos){2, first.e.sum}, &e, 1, NULL, &why), ERR_CONFLICT);
    assert_int_equal(end_of(b).seq, 1);
    assert_ok(store_append(b, (struct store_pos){1, first.e.sum}, &e, 1, NULL, &why));
    check_numbers(a, 2);
    assert_true(id_eq(store_log_id(a), store_log_id(b)));
    store_close(a);
    store_close(b);
}

static void reading_in_parts(const struct fixture *x)
{
    struct store *s = open_store(x), *cold = NULL;
    for (uint64_t i = 1; i <= 1000; i++)
        (void)add(s, i);
    cold = open_store(x);
    static const uint64_t FROM[] = {999, 0, 255, 256, 257, 511, 300, 998, 1000};
    for (size_t i = 0; i < sizeof(FROM) / sizeof(FROM[0]); i++) {
        AUTO(store_batch) struct store_batch b = {0};
        assert_ok(store_read(cold, FROM[i], 2, 0, &b, &why));
        assert_int_equal(b.n, FROM[i] >= 998 ? 1000 - FROM[i] : 2);
        assert_true(b.after.seq == FROM[i] && b.end.seq == 1000);
        for (size_t k = 0; k < b.n; k++)
            assert_true(id_eq(b.items[k].e.id, number_id(0, FROM[i] + k + 1)));
    }
    AUTO(store_batch) struct store_batch none = {0};
    assert_err(store_read(cold, 1001, 0, 0, &none, &why), ERR_NOT_FOUND);
    uint64_t seen = 0;
    while (seen < 1000) { /* by bytes: at least one each time, nothing twice */
        AUTO(store_batch) struct store_batch b = {0};
        assert_ok(store_read(cold, seen, 0, seen % 2 == 0 ? 1 : 1000, &b, &why));
        assert_true(b.n > 0 && b.items[0].seq == seen + 1);
        seen += b.n;
    }
    store_close(s);
    store_close(cold);
}

static void find_id(const struct fixture *x)
{
    struct store *s = open_store(x);
    for (uint64_t i = 1; i <= 20; i++)
        (void)add(s, i);
    uint64_t seq = 0;
    assert_ok(store_find_id(s, 5, number_id(0, 17), &seq, &why));
    assert_int_equal(seq, 17);
    assert_err(store_find_id(s, 17, number_id(0, 17), &seq, &why), ERR_NOT_FOUND);
    store_close(s);
}

static void refusals(const struct fixture *x)
{
    struct store *s = open_store(x);
    struct store_event good = number_event(0, 1), e;
    static const char *const BAD_PAYLOADS[] = {"",
                                               "{",
                                               "[]",
                                               "1",
                                               "{}\n",
                                               "{\n}",
                                               "{},\"x\":1",
                                               "{\"a\":1}}",
                                               " {}",
                                               "{}, {}",
                                               "{\"a\":\"\xff\"}",
                                               "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < sizeof(BAD_PAYLOADS) / sizeof(BAD_PAYLOADS[0]); i++) {
        e = good;
        e.payload = str_from(BAD_PAYLOADS[i]);
        assert_err(store_append(s, (struct store_pos){0, 0}, &e, 1, NULL, &why), ERR_INVALID);
    }
    static const char *const BAD_TYPES[] = {"", "a b", "x:y", "a\"b", "a.b", "a\nb"};
    for (size_t i = 0; i < sizeof(BAD_TYPES) / sizeof(BAD_TYPES[0]); i++) {
        e = good;
        e.type = str_from(BAD_TYPES[i]);
        assert_err(store_append(s, (struct store_pos){0, 0}, &e, 1, NULL, &why), ERR_INVALID);
    }
    e = good;
    e.id = ID_NONE;
    assert_err(store_append(s, (struct store_pos){0, 0}, &e, 1, NULL, &why), ERR_INVALID);
    struct store_event two[2] = {good, e}; /* all or none */
    assert_err(store_append(s, (struct store_pos){0, 0}, two, 2, NULL, &why), ERR_INVALID);
    assert_int_equal(end_of(s).seq, 0);
    (void)add(s, 1);
    check_numbers(s, 1);
    store_close(s);
}

static void limits(const struct fixture *x)
{
    struct store *s = open_store(x);
    static char text[ENVELOPE_SIZE_MAX + 1];
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    struct store_event e = number_event(0, 1), many[5];
    /* The longest payload whose line is still one event, and one byte more. */
    struct store_record r = {0};
    size_t size = ENVELOPE_SIZE_MAX - 200;
    enum err rc = OK;
    for (struct store_pos at = {0}; rc == OK; size++) {
        memcpy(text + size - 2, "\"}", 2);
        e.payload = (struct str){text, size};
        rc = store_append(s, at, &e, 1, &r, &why);
        memset(text + size - 2, 'x', 2);
        if (rc == OK)
            at = (struct store_pos){r.seq, r.e.sum};
    }
    assert_err(rc, ERR_LIMIT);
    assert_true(size < ENVELOPE_SIZE_MAX);
    uint64_t seq = end_of(s).seq;
    assert_true(seq > 10);
    memcpy(text + size - 200, "\"}", 2);
    for (size_t i = 0; i < 5; i++) {
        many[i] = number_event(1, i);
        many[i].payload = (struct str){text, size - 198};
    }
    assert_err(store_append(s, end_of(s), many, 5, NULL, &why), ERR_LIMIT);
    assert_int_equal(end_of(s).seq, seq);
    assert_ok(store_append(s, end_of(s), many, 3, NULL, &why));
    assert_int_equal(end_of(s).seq, seq + 3);
    uint64_t count = 0;
    while (count < seq + 3) {
        AUTO(store_batch) struct store_batch b = {0};
        assert_ok(store_read(s, count, 0, ENVELOPE_BATCH_SIZE_MAX, &b, &why));
        assert_true(b.n > 0);
        count += b.n;
    }
    store_close(s);
}

static void times(const struct fixture *x)
{
    struct store *s = open_store(x);
    struct store_record r = {0};
    struct store_event e = {0};
    uint64_t n = 0;
    for (bool is_ahead = false; !is_ahead;) { /* anew when the clock went past it meanwhile: this process stood still */
        e = number_event(0, ++n);
        e.has_time = true;
        e.time = (struct event_time){(store_clock_us(s) + 400000) * 1000, 7};
        assert_ok(store_append(s, end_of(s), &e, 1, &r, &why));
        /* Ahead of the clock: the next one keeps the instant and raises the tiebreaker; the clock does not fall behind
         * it. */
        struct store_record next = add(s, ++n);
        int64_t clock_us = store_clock_us(s);
        assert_true(clock_us >= e.time.instant_ns / 1000);
        is_ahead = clock_us == e.time.instant_ns / 1000;
        if (is_ahead)
            assert_true(next.e.time.instant_ns == e.time.instant_ns && next.e.time.tiebreak == 8);
        assert_true(n < 200);
    }
    e.id = number_id(0, n + 1);
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_INVALID); /* not later */
    e.time = (struct event_time){(store_clock_us(s) + 3600000000) * 1000, 0};
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_INVALID); /* too far ahead */
    check_numbers(s, n);
    store_close(s);
}

static void modes(const struct fixture *x)
{
    struct store *s = NULL;
    struct store_options opt = x->opt;
    opt.mode = STORE_READ;
    assert_err(store_open(x->spec, &opt, &s, NULL, &why), ERR_NOT_FOUND);
    opt.mode = STORE_APPEND;
    assert_err(store_open(x->spec, &opt, &s, NULL, &why), ERR_NOT_FOUND);
    struct id log = opt.log = number_id(5, 5);
    opt.mode = STORE_CREATE;
    assert_ok(store_open(x->spec, &opt, &s, NULL, &why));
    assert_true(id_eq(store_log_id(s), log));
    (void)add(s, 1);
    store_close(s);
    s = open_mode(x, STORE_READ);
    struct store_event e = number_event(0, 2);
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_DENIED);
    check_numbers(s, 1);
    store_close(s);
    s = open_mode(x, STORE_APPEND);
    (void)add(s, 2);
    assert_ok(store_reopen(s, NULL, &why));
    (void)add(s, 3);
    check_numbers(s, 3);
    store_close(s);
    assert_err(store_open("nothing;path=/x", NULL, &s, NULL, &why), ERR_INVALID);
}

static void follower(const struct fixture *x)
{
    struct store *writer = open_store(x), *reader = open_store(x);
    for (uint64_t i = 1; i <= 600; i++) {
        (void)add(writer, i);
        AUTO(store_batch) struct store_batch b = {0};
        assert_ok(store_read(reader, i - 1, 0, 0, &b, &why));
        assert_true(b.n == 1 && id_eq(b.items[0].e.id, number_id(0, i)));
    }
    store_close(writer);
    store_close(reader);
}

static void on_growth(void *ctx)
{
    (*(int *)ctx)++;
}

static void told_of_growth(const struct fixture *x)
{
    struct store *writer = open_store(x), *reader = open_store(x);
    uv_loop_t loop;
    int told = 0;
    struct store_watch *w = NULL;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_ok(store_watch(reader, &loop, on_growth, &told, &w, &why));
    (void)add(writer, 1);
    while (told == 0) /* the test runner's time is the bound */
        (void)uv_run(&loop, UV_RUN_ONCE);
    store_unwatch(w);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    store_close(writer);
    store_close(reader);
}

/* Append `n` numbers of `who`, each at the end that was read last; a conflict reads on and tries again. */
static void contend(const struct fixture *x, uint64_t who, uint64_t n)
{
    struct store *s = NULL;
    struct store_pos at = {0};
    if (store_open(x->spec, &x->opt, &s, NULL, NULL) != OK)
        _exit(10);
    for (uint64_t i = 1; i <= n;) {
        struct store_event e[2] = {number_event(who, 2 * i), number_event(who, 2 * i + 1)};
        struct store_record r[2];
        enum err rc = store_append(s, at, e, 2, r, NULL);
        if (rc == OK) {
            at = (struct store_pos){r[1].seq, r[1].e.sum};
            i++;
        } else if (rc != ERR_CONFLICT || store_end(s, &at, NULL) != OK) {
            _exit(11);
        }
    }
    store_close(s);
}

#define CONTENDERS 3u
#define CONTENDER_APPENDS 150u

static void processes_contend(const struct fixture *x)
{
    pid_t pids[CONTENDERS];
    if (x->before_fork != NULL)
        x->before_fork();
    for (uint64_t who = 0; who < CONTENDERS; who++) {
        pids[who] = fork();
        assert_true(pids[who] >= 0);
        if (pids[who] == 0) {
            contend(x, who, CONTENDER_APPENDS);
            _exit(0);
        }
    }
    for (size_t i = 0; i < CONTENDERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = open_store(x);
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    assert_int_equal(b.n, CONTENDERS * CONTENDER_APPENDS * 2);
    uint64_t next[CONTENDERS] = {2, 2, 2};
    for (size_t i = 0; i < b.n; i++) {
        uint64_t who = 0, number = 0;
        memcpy(&number, b.items[i].e.id.bytes + 1, 7);
        memcpy(&who, b.items[i].e.id.bytes + 8, 8);
        assert_true(who < CONTENDERS && number == next[who]++); /* in order, none twice, none lost */
        assert_true(i % 2 == 1 || id_eq(b.items[i + 1].e.id, number_id(who, number + 1))); /* batches are not torn */
        assert_true(i == 0 || event_time_cmp(b.items[i - 1].e.time, b.items[i].e.time) < 0);
    }
    store_close(s);
}

/* Each appends and tells each acknowledged number through a pipe until it is killed: nothing told may be missing. */
static void killed_appenders(const struct fixture *x)
{
    uint64_t told_max = 0;
    for (int round = 0; round < 20; round++) {
        int told[2];
        assert_int_equal(pipe2(told, O_CLOEXEC), 0);
        if (x->before_fork != NULL)
            x->before_fork();
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct store *s = NULL;
            struct store_pos at;
            if (store_open(x->spec, &x->opt, &s, NULL, NULL) != OK || store_end(s, &at, NULL) != OK)
                _exit(10);
            for (;;) {
                struct store_event e = number_event(0, at.seq + 1);
                struct store_record r;
                enum err rc = store_append(s, at, &e, 1, &r, NULL);
                if (rc == ERR_CONFLICT && store_end(s, &at, NULL) == OK)
                    continue; /* what the one before sent last was under way until now */
                if (rc != OK || write(told[1], &r.seq, sizeof(r.seq)) != sizeof(r.seq))
                    _exit(11);
                at = (struct store_pos){r.seq, r.e.sum};
            }
        }
        (void)close(told[1]);
        uint64_t n = 0, wanted = (uint64_t)(round * 7 % 13) + 1;
        for (uint64_t i = 0; i < wanted; i++)
            assert_int_equal(read(told[0], &n, sizeof(n)), sizeof(n));
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(told[0], &n, sizeof(n)) == (ssize_t)sizeof(n))
            continue;
        told_max = n;
        (void)close(told[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        struct store *s = open_store(x);
        AUTO(store_batch) struct store_batch b = {0};
        assert_ok(store_read(s, 0, 0, 0, &b, &why)); /* its end is the log's: one more may come meanwhile */
        assert_true(b.n >= told_max && b.n <= told_max + 1);
        for (uint64_t i = 0; i < b.n; i++)
            assert_true(id_eq(b.items[i].e.id, number_id(0, i + 1)));
        store_close(s);
    }
}

/* --- several commands in one append --- */

/* Groups of the given sizes, numbered on from *number. */
static void make_groups(const size_t *sizes, size_t n, uint64_t number, struct store_event *events,
                        struct store_group *ret_groups)
{
    for (size_t i = 0; i < n; i++) {
        ret_groups[i] = (struct store_group){events, sizes[i]};
        for (size_t k = 0; k < sizes[i]; k++)
            *events++ = number_event(0, number++);
    }
}

static void groups_are_one_append(const struct fixture *x)
{
    struct store *s = open_store(x);
    static const size_t SIZES[] = {1, 3, 2, 1};
    struct store_event e[7];
    struct store_group g[4];
    struct store_record r[7];
    size_t taken = 0;
    make_groups(SIZES, 4, 1, e, g);
    assert_ok(store_append_many(s, (struct store_pos){0, 0}, g, 4, r, &taken, &why));
    assert_int_equal(taken, 4);
    assert_true(r[6].seq == 7 && end_of(s).seq == 7 && end_of(s).sum == r[6].e.sum);
    check_numbers(s, 7);
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    static const bool MORE[] = {false, true, true, false, true, false, false};
    for (size_t i = 0; i < 7; i++)
        assert_true(b.items[i].e.more == MORE[i] && r[i].e.more == MORE[i] && b.items[i].e.sum == r[i].e.sum);
    assert_err(store_append_many(s, (struct store_pos){0, 0}, g, 4, r, &taken, &why), ERR_CONFLICT);
    store_close(s);
}

/* A bad command keeps those before it from nothing, those behind it are to be decided anew. */
static void groups_up_to_a_bad_one(const struct fixture *x)
{
    struct store *s = open_store(x);
    static const size_t SIZES[] = {2, 1, 2, 1};
    struct store_event e[6];
    struct store_group g[4];
    size_t taken = 99;
    make_groups(SIZES, 4, 1, e, g);
    e[4].payload = STR("[]"); /* the second of the third command */
    assert_ok(store_append_many(s, (struct store_pos){0, 0}, g, 4, NULL, &taken, &why));
    assert_int_equal(taken, 2);
    check_numbers(s, 3);
    assert_err(store_append_many(s, end_of(s), g + 2, 2, NULL, &taken, &why), ERR_INVALID);
    check_numbers(s, 3);
    e[4] = number_event(0, 5);
    e[4].has_time = true; /* of long ago: seen only when it is written */
    e[4].time = (struct event_time){1, 0};
    assert_err(store_append_many(s, end_of(s), g + 2, 2, NULL, &taken, &why), ERR_INVALID);
    check_numbers(s, 3);
    e[4] = number_event(0, 5);
    assert_ok(store_append_many(s, end_of(s), g + 2, 2, NULL, &taken, &why));
    assert_int_equal(taken, 2);
    check_numbers(s, 6);
    store_close(s);
}

static void groups_that_fit(const struct fixture *x)
{
    struct store *s = open_store(x);
    static char text[200000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    static const size_t SIZES[] = {2, 2, 2, 1};
    struct store_event e[7], six[6];
    struct store_group g[4], big = {six, 6};
    size_t taken = 0;
    make_groups(SIZES, 4, 1, e, g);
    for (size_t i = 0; i < 7; i++)
        e[i].payload = (struct str){text, sizeof(text)};
    assert_ok(store_append_many(s, (struct store_pos){0, 0}, g, 4, NULL, &taken, &why));
    assert_int_equal(taken, 2); /* 0.8 MiB; the third command would make it 1.2 */
    check_numbers(s, 4);
    memcpy(six, e, sizeof(six));
    assert_err(store_append_many(s, end_of(s), &big, 1, NULL, &taken, &why), ERR_LIMIT);
    check_numbers(s, 4);
    store_close(s);
}

/* --- handles that share nothing --- */

static void handles_contend(const struct fixture *x)
{
    enum { HANDLES = 3, APPENDS = 120 };
    struct store *s[HANDLES];
    struct store_pos at[HANDLES] = {{0}};
    uint64_t next[HANDLES] = {0}, done = 0;
    for (size_t i = 0; i < HANDLES; i++)
        s[i] = open_store(x);
    for (uint64_t turn = 0; done < APPENDS; turn++) {
        size_t who = (size_t)(turn * 7 % 5 % HANDLES);
        struct store_event e = number_event(who, next[who]);
        struct store_record r;
        enum err rc = store_append(s[who], at[who], &e, 1, &r, &why);
        if (rc == ERR_CONFLICT) {
            at[who] = end_of(s[who]);
            continue;
        }
        assert_ok(rc);
        at[who] = (struct store_pos){r.seq, r.e.sum};
        next[who]++;
        done++;
        assert_int_equal(r.seq, done);
    }
    uint64_t seen[HANDLES] = {0};
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s[0], 0, 0, 0, &b, &why));
    assert_int_equal(b.n, APPENDS);
    for (size_t i = 0; i < b.n; i++) {
        uint64_t who = 0, number = 0;
        memcpy(&number, b.items[i].e.id.bytes + 1, 7);
        memcpy(&who, b.items[i].e.id.bytes + 8, 8);
        assert_true(who < HANDLES && number == seen[who]++);
    }
    for (size_t i = 0; i < HANDLES; i++)
        store_close(s[i]);
}

/* --- faults --- */

enum { STORY_STEPS = 400, STORY_GROUPS_MAX = 4, STORY_EVENTS_MAX = 3, STORY_TRIES = 1000 };

/* Two appenders, whose calls fail now and then. What became of each command must be known in the end. */
struct story {
    const struct fixture *x;
    struct store *s[2];
    struct store_pos at[2];
    uint64_t random;
    uint64_t commands;
    uint8_t sizes[STORY_STEPS * STORY_GROUPS_MAX];
    bool is_in[STORY_STEPS * STORY_GROUPS_MAX];
    uint64_t acknowledged, unknown, found;
};

static uint64_t pick(struct story *t, uint64_t n)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (t->random >> 33) % n;
}

/* Whatever it takes: the handle is good again and knows the end. */
static void recover(struct story *t, size_t who)
{
    for (int i = 0; i < STORY_TRIES; i++) {
        enum err rc = store_end(t->s[who], &t->at[who], &why);
        if (rc == ERR_IO)
            rc = store_reopen(t->s[who], NULL, &why) == OK ? store_end(t->s[who], &t->at[who], &why) : ERR_UNAVAILABLE;
        if (rc == OK)
            return;
    }
    fail_msg("it does not recover: %s", why.msg);
}

static bool is_in_log(struct story *t, size_t who, uint64_t after, struct id id)
{
    for (int i = 0; i < STORY_TRIES; i++) {
        uint64_t seq = 0;
        enum err rc = store_find_id(t->s[who], after, id, &seq, &why);
        if (rc == OK)
            return true;
        if (rc == ERR_NOT_FOUND)
            return false;
        recover(t, who);
    }
    fail_msg("it cannot be read: %s", why.msg);
    return false;
}

static void lost_answer(struct story *t, size_t who, struct store_pos before, uint64_t first, size_t n)
{
    bool is_missing = false;
    t->unknown++;
    assert_err(store_append(t->s[who], before,
                            &(struct store_event){.type = STR("X"), .id = number_id(9, 9), .payload = STR("{}")}, 1,
                            NULL, &why),
               ERR_IO);
    for (int i = 0; store_reopen(t->s[who], NULL, &why) != OK; i++)
        assert_true(i < STORY_TRIES);
    for (uint64_t c = first; c < first + n; c++) {
        t->is_in[c] = is_in_log(t, who, before.seq, number_id(c + 1, t->sizes[c]));
        assert_false(is_missing && t->is_in[c]); /* the first ones, none behind one that is missing */
        is_missing = !t->is_in[c];
        t->found += t->is_in[c];
    }
    recover(t, who);
}

static void step(struct story *t)
{
    size_t who = (size_t)pick(t, 2), groups_n = (size_t)pick(t, STORY_GROUPS_MAX) + 1, events_n = 0, taken = 0;
    struct store_event events[STORY_GROUPS_MAX * STORY_EVENTS_MAX] = {0};
    struct store_record records[STORY_GROUPS_MAX * STORY_EVENTS_MAX] = {0};
    struct store_group groups[STORY_GROUPS_MAX] = {0};
    uint64_t first = t->commands;
    for (size_t i = 0; i < groups_n; i++) {
        size_t n = (size_t)pick(t, STORY_EVENTS_MAX) + 1;
        t->sizes[t->commands] = (uint8_t)n;
        groups[i] = (struct store_group){events + events_n, n};
        for (size_t k = 1; k <= n; k++)
            events[events_n++] = number_event(t->commands + 1, k);
        t->commands++;
    }
    struct store_pos before = t->at[who];
    enum err rc = store_append_many(t->s[who], before, groups, groups_n, records, &taken, &why);
    if (rc == OK) {
        size_t n = 0;
        for (size_t i = 0; i < taken; i++) {
            t->is_in[first + i] = true;
            n += groups[i].n;
        }
        t->acknowledged += taken;
        t->at[who] = (struct store_pos){records[n - 1].seq, records[n - 1].e.sum};
    } else if (rc == ERR_IO) {
        lost_answer(t, who, before, first, groups_n);
    } else {
        assert_true(rc == ERR_CONFLICT || rc == ERR_UNAVAILABLE);
        recover(t, who);
    }
}

/* The log holds what is_in says, each command whole and once. */
static void check_story(const struct story *t)
{
    struct store *s = open_store(t->x);
    AUTO(store_batch) struct store_batch b = {0};
    auto_free bool *seen = mem_calloc(t->commands + 1, sizeof(*seen));
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    for (size_t i = 0; i < b.n;) {
        uint64_t command = 0;
        memcpy(&command, b.items[i].e.id.bytes + 8, 8);
        assert_true(command >= 1 && command <= t->commands);
        command--;
        if (!t->is_in[command] || seen[command])
            fail_msg("command %llu is in the log, and %s", (unsigned long long)command,
                     seen[command] ? "twice" : "was refused");
        seen[command] = true;
        assert_true(i + t->sizes[command] <= b.n);
        for (uint64_t k = 1; k <= t->sizes[command]; k++, i++) {
            assert_true(id_eq(b.items[i].e.id, number_id(command + 1, k)));
            assert_true(b.items[i].e.more == (k < t->sizes[command]));
        }
    }
    for (uint64_t c = 0; c < t->commands; c++)
        if (t->is_in[c] && !seen[c])
            fail_msg("command %llu was acknowledged, and is not in the log", (unsigned long long)c);
    store_close(s);
}

static void faults_keep_promises(struct fixture *x, const struct contract_factory *f)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct story t = {.x = x, .random = seed};
        for (size_t i = 0; i < 2; i++)
            t.s[i] = open_store(x);
        f->set_faults(x, seed);
        for (size_t i = 0; i < 2; i++)
            recover(&t, i);
        for (int i = 0; i < STORY_STEPS; i++)
            step(&t);
        f->set_faults(x, 0);
        for (size_t i = 0; i < 2; i++)
            store_close(t.s[i]);
        check_story(&t);
        print_message("seed %llu: %llu commands acknowledged, %llu answers lost, %llu of their commands found\n",
                      (unsigned long long)seed, (unsigned long long)t.acknowledged, (unsigned long long)t.unknown,
                      (unsigned long long)t.found);
        assert_true(t.acknowledged > 50 && t.unknown > 10);
        f->teardown(x);
        f->setup(x);
    }
}

/* --- the suite --- */

/* Whether it takes an append is told without one: nobody sees any of it, and those that go on behind the same end are
 * not kept from it. */
static void proof(struct fixture *x, const struct contract_factory *f)
{
    struct store *a = open_store(x), *b = open_store(x);
    assert_ok(store_prove(a, &why)); /* of an empty log */
    for (uint64_t i = 1; i <= 3; i++)
        (void)add(a, i);
    struct store_pos end = end_of(b);
    for (int i = 0; i < 3; i++)
        assert_ok(store_prove(b, &why));
    assert_true(end_of(a).seq == end.seq && end_of(a).sum == end.sum);
    check_numbers(a, 3);
    struct store_event e = number_event(0, 4);
    assert_ok(store_append(a, end, &e, 1, NULL, &why));
    assert_ok(store_prove(a, &why));
    (void)add(b, 5);
    store_close(a);
    a = open_mode(x, STORE_READ);
    assert_err(store_prove(a, &why), ERR_DENIED);
    check_numbers(a, 5);
    store_close(a);
    (void)add(b, 6);
    check_numbers(b, 6);
    int failed = 0;
    f->set_faults(x, 1); /* one that does not go through says so */
    for (int i = 0; i < 400 && failed == 0; i++)
        failed += store_prove(b, &why) != OK;
    f->set_faults(x, 0);
    assert_true(failed > 0);
    store_close(b);
    b = open_store(x);
    check_numbers(b, 6);
    store_close(b);
}

/* What a replica tells by its lease is told as long as that can be, and again after each change; what would not come
 * through every kind as it is, is refused. */
static void lease_texts(const struct fixture *x)
{
    struct store *a = open_store(x), *b = open_store(x);
    static struct store_lease all[STORE_LEASES_MAX], mine = {.name = "replica"};
    size_t n = 0;
    mine.text[STORE_LEASE_TEXT_SIZE - 1] = '\0';
    for (size_t i = 0; i < STORE_LEASE_TEXT_SIZE - 1; i++)
        mine.text[i] = "abc'%{}:;,-_.$ "[i % 15];
    assert_ok(store_lease_take(a, &mine, 3600000000, &why));
    assert_ok(store_leases(b, all, &n, &why));
    assert_true(n == 1);
    assert_string_equal(all[0].text, mine.text);
    (void)snprintf(mine.text, sizeof(mine.text), "edge-1 12");
    assert_ok(store_lease_take(b, &mine, 3600000000, &why));
    assert_ok(store_leases(a, all, &n, &why));
    assert_true(n == 1);
    assert_string_equal(all[0].text, "edge-1 12");
    static const char *const BAD[] = {"\n", "a\"b", "a\\b", "\x7f", "caf\xc3\xa9"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        (void)snprintf(mine.text, sizeof(mine.text), "%s", BAD[i]);
        assert_err(store_lease_take(a, &mine, 3600000000, &why), ERR_INVALID);
    }
    memset(mine.text, 'x', sizeof(mine.text)); /* not ended */
    assert_err(store_lease_take(a, &mine, 3600000000, &why), ERR_INVALID);
    assert_ok(store_leases(a, all, &n, &why));
    assert_string_equal(all[0].text, "edge-1 12");
    store_close(a);
    store_close(b);
}

/* Who works on a log is known to all of its handles, for as long as the lease was taken. */
static void leases(const struct fixture *x)
{
    struct store *a = open_store(x), *b = open_store(x);
    struct store_lease all[STORE_LEASES_MAX];
    size_t n = 9;
    assert_ok(store_leases(b, all, &n, &why));
    assert_int_equal(n, 0);
    assert_ok(store_lease_take(a, &(struct store_lease){.name = "second", .abstains = true, .plans = true}, 3600000000,
                               &why));
    assert_ok(
        store_lease_take(b, &(struct store_lease){.name = "first", .format = 2, .text = "e1 7 0 "}, 3600000000, &why));
    assert_ok(store_lease_take(b, &(struct store_lease){.name = "gone"}, -1, &why)); /* has run out */
    assert_ok(store_leases(a, all, &n, &why));
    assert_int_equal(n, 2);
    assert_true(strcmp(all[0].name, "first") == 0 && all[0].format == 2 && !all[0].abstains && !all[0].plans);
    assert_string_equal(all[0].text, "e1 7 0 ");
    assert_string_equal(all[1].text, "");
    assert_true(strcmp(all[1].name, "second") == 0 && all[1].abstains && all[1].plans &&
                all[1].until_us > store_clock_us(a));
    assert_ok(store_lease_take(a, &(struct store_lease){.name = "second"}, 3600000000, &why)); /* it votes again */
    assert_ok(store_lease_drop(b, "first", &why));
    assert_ok(store_lease_drop(b, "first", &why));
    assert_ok(store_leases(b, all, &n, &why));
    assert_true(n == 1 && !all[0].abstains);
    static const char *const BAD[] = {"", "../log", ".hidden", "a b",
                                      "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct store_lease bad = {0};
        memcpy(bad.name, BAD[i], strnlen(BAD[i], sizeof(bad.name) - 1));
        if (i < 4)
            assert_err(store_lease_take(a, &bad, 1, &why), ERR_INVALID);
        assert_err(store_lease_drop(a, BAD[i], &why), ERR_INVALID);
    }
    check_numbers(a, 0); /* leases are not events */
    store_close(a);
    store_close(b);
}

static void expect_key(struct store *s, const char *name, const char *wrapped)
{
    struct store_key key;
    if (wrapped == NULL) {
        assert_err(store_key_get(s, name, &key, &why), ERR_NOT_FOUND);
        return;
    }
    assert_ok(store_key_get(s, name, &key, &why));
    assert_string_equal(key.name, name);
    assert_string_equal(key.wrapped, wrapped);
}

/* Keys are kept beside the log: put if there is none, replaced if it is the one expected, gone when dropped, for every
 * handle, the ones opened later, too. */
static void keys(const struct fixture *x)
{
    struct store *a = open_store(x), *b = open_store(x);
    struct store_key all[STORE_KEYS_PAGE];
    size_t n = 9;
    assert_ok(store_keys(a, "", all, &n, &why));
    assert_int_equal(n, 0);
    expect_key(a, "k1", NULL);
    assert_ok(store_key_drop(a, "k1", &why)); /* none: also fine */
    assert_ok(store_key_put(a, "k1", NULL, "master:AAAA", &why));
    expect_key(b, "k1", "master:AAAA");
    assert_err(store_key_put(b, "k1", NULL, "master:BBBB", &why), ERR_CONFLICT);
    assert_err(store_key_put(b, "k1", "master:CCCC", "master:BBBB", &why), ERR_CONFLICT);
    assert_err(store_key_put(b, "k2", "master:AAAA", "master:BBBB", &why), ERR_CONFLICT);
    expect_key(a, "k1", "master:AAAA");
    expect_key(a, "k2", NULL);
    int64_t before_us = store_clock_us(b); /* of the handle that writes: two handles know their server's clock apart */
    assert_ok(store_key_put(b, "k1", "master:AAAA", "other:BBBB", &why));
    int64_t after_us = store_clock_us(b);
    expect_key(a, "k1", "other:BBBB");
    assert_ok(store_keys(a, "", all, &n, &why));
    assert_true(n == 1 && strcmp(all[0].wrapped, "other:BBBB") == 0);
    assert_in_range(all[0].written_us, before_us, after_us);
    store_close(b);
    b = open_store(x); /* kept, not only in a handle */
    expect_key(b, "k1", "other:BBBB");
    assert_ok(store_key_drop(b, "k1", &why));
    expect_key(a, "k1", NULL);
    assert_err(store_key_put(a, "k1", "other:BBBB", "third:DDDD", &why), ERR_CONFLICT); /* does not come back */
    store_close(b);
    b = open_store(x);
    expect_key(b, "k1", NULL);
    assert_ok(store_key_put(b, "k1", NULL, "fourth:EEEE", &why)); /* a new one of the name is another key */
    expect_key(a, "k1", "fourth:EEEE");
    assert_ok(store_key_drop(a, "k1", &why));
    check_numbers(a, 0); /* keys are not events */
    store_close(a);
    store_close(b);
}

static void keys_that_are_refused(const struct fixture *x)
{
    struct store *a = open_store(x), *b = open_store(x);
    char longest[STORE_KEY_TEXT_SIZE + 1];
    memset(longest, 'x', sizeof(longest));
    longest[STORE_KEY_TEXT_SIZE] = '\0';
    assert_err(store_key_put(a, "big", NULL, longest, &why), ERR_INVALID);
    longest[STORE_KEY_TEXT_SIZE - 1] = '\0';
    assert_ok(store_key_put(a, "big", NULL, longest, &why));
    expect_key(b, "big", longest);
    assert_ok(store_key_drop(a, "big", &why));
    static const char *const BAD[] = {"", "../log", ".hidden", "a b", "a.b", "a*", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct store_key key;
        assert_err(store_key_put(a, BAD[i], NULL, "master:AAAA", &why), ERR_INVALID);
        assert_err(store_key_get(a, BAD[i], &key, &why), ERR_INVALID);
        assert_err(store_key_drop(a, BAD[i], &why), ERR_INVALID);
    }
    static const char *const BAD_VALUES[] = {"", "a b", "a\nb", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof(BAD_VALUES) / sizeof(BAD_VALUES[0]); i++)
        assert_err(store_key_put(a, "k1", NULL, BAD_VALUES[i], &why), ERR_INVALID);
    expect_key(a, "k1", NULL);
    store_close(a);
    store_close(b);
}

static void keys_are_listed(const struct fixture *x)
{
    struct store *a = open_store(x), *b = open_store(x), *reader = NULL;
    struct store_key all[STORE_KEYS_PAGE];
    struct store_options reads = x->opt;
    size_t n = 9;
    char name[STORE_KEY_NAME_SIZE];
    for (unsigned i = 0; i < STORE_KEYS_PAGE + 3; i++) {
        (void)snprintf(name, sizeof(name), "%s%03u", i % 2 == 0 ? "K" : "k-", (i * 7) % (STORE_KEYS_PAGE + 3));
        assert_ok(store_key_put(i % 3 == 0 ? a : b, name, NULL, "master:AAAA", &why));
    }
    assert_ok(store_keys(a, "", all, &n, &why));
    assert_int_equal(n, STORE_KEYS_PAGE);
    for (size_t i = 1; i < n; i++)
        assert_true(strcmp(all[i - 1].name, all[i].name) < 0);
    memcpy(name, all[n - 1].name, sizeof(name));
    assert_ok(store_keys(b, name, all, &n, &why));
    assert_true(n == 3 && strcmp(all[0].name, name) > 0);
    store_close(a);
    reads.mode = STORE_READ;
    assert_ok(store_open(x->spec, &reads, &reader, NULL, &why));
    expect_key(reader, name, "master:AAAA");
    assert_err(store_key_put(reader, "k1", NULL, "master:AAAA", &why), ERR_DENIED);
    assert_err(store_key_drop(reader, name, &why), ERR_DENIED);
    store_close(reader);
    store_close(b);
}

static const struct contract_row {
    const char *name;
    void (*run)(const struct fixture *x);
    bool needs_processes;
    void (*with_faults)(struct fixture *x, const struct contract_factory *f); /* instead */
} CONTRACT[] = {
    {"append_and_read", append_and_read, false},
    {"conflict", conflict, false},
    {"reading_in_parts", reading_in_parts, false},
    {"find_id", find_id, false},
    {"refusals", refusals, false},
    {"limits", limits, false},
    {"times", times, false},
    {"modes", modes, false},
    {"follower", follower, false},
    {"told_of_growth", told_of_growth, false},
    {"groups_are_one_append", groups_are_one_append, false},
    {"groups_up_to_a_bad_one", groups_up_to_a_bad_one, false},
    {"leases", leases, false},
    {"lease_texts", lease_texts, false},
    {"keys", keys, false},
    {"keys_that_are_refused", keys_that_are_refused, false},
    {"keys_are_listed", keys_are_listed, false},
    {"groups_that_fit", groups_that_fit, false},
    {"handles_contend", handles_contend, false},
    {"faults_keep_promises", .with_faults = faults_keep_promises},
    {"proof", .with_faults = proof},
    {"processes_contend", processes_contend, true},
    {"killed_appenders", killed_appenders, true},
};
enum { CONTRACT_N = sizeof(CONTRACT) / sizeof(CONTRACT[0]) };

struct contract_case {
    const struct contract_factory *factory;
    const struct contract_row *row;
    char name[64];
};

static void run_case(void **state)
{
    const struct contract_case *c = *state;
    struct fixture x;
    c->factory->setup(&x);
    if (c->row->run != NULL)
        c->row->run(&x);
    else
        c->row->with_faults(&x, c->factory);
    c->factory->teardown(&x);
}

int contract_run(const struct contract_factory *f)
{
    struct contract_case cases[CONTRACT_N];
    struct CMUnitTest tests[CONTRACT_N];
    size_t n = 0;
    for (size_t i = 0; i < CONTRACT_N; i++) {
        if (CONTRACT[i].needs_processes && !f->has_processes)
            continue;
        cases[n] = (struct contract_case){.factory = f, .row = &CONTRACT[i]};
        (void)snprintf(cases[n].name, sizeof(cases[n].name), "%s: %s", f->name, CONTRACT[i].name);
        tests[n] = (struct CMUnitTest){cases[n].name, run_case, NULL, NULL, &cases[n]};
        n++;
    }
    return _cmocka_run_group_tests(f->name, tests, n, NULL, NULL);
}
