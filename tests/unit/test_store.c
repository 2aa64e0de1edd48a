/* The contract of event log stores, run against every kind that can append, and what only the files store promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <uv.h>

#include "base/own.h"
#include "event/hash.h"
#include "store/head.h"
#include "store/store.h"

/* --- kinds under test: a row each --- */

struct fixture {
    char dir[64]; /* everything of this test */
    char spec[128];
};
static const struct kind_row {
    const char *kind;
} KINDS[] = {{"files"}};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void setup_in(struct fixture *x, const char *parent, const char *kind)
{
    (void)snprintf(x->dir, sizeof(x->dir), "%s/slipform-test-store-XXXXXX", parent);
    assert_non_null(mkdtemp(x->dir));
    (void)snprintf(x->spec, sizeof(x->spec), "%s;path=%s/log", kind, x->dir);
}
static void setup(struct fixture *x, const char *kind)
{
    setup_in(x, "/tmp", kind);
}
/* For hundreds of logs in a row, where no disk has to be waited for. */
static void setup_in_memory(struct fixture *x)
{
    setup_in(x, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", "files");
}
static void teardown(struct fixture *x)
{
    (void)nftw(x->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- helpers --- */

static struct errinfo why;
#define assert_ok(expr)                                                                                                \
    do {                                                                                                               \
        why.msg[0] = '\0';                                                                                             \
        enum err rc_ = (expr);                                                                                         \
        if (rc_ != OK)                                                                                                 \
            fail_msg("%s: %s: %s", #expr, err_name(rc_), why.msg);                                                     \
    } while (0)
#define assert_err(expr, code) assert_string_equal(err_name(expr), err_name(code))

static struct store *open_store(const struct fixture *x)
{
    struct store *s = NULL;
    assert_ok(store_open(x->spec, NULL, &s, NULL, &why));
    return s;
}

static struct id number_id(uint64_t who, uint64_t number)
{
    struct id id = {{1}};
    memcpy(id.bytes + 1, &number, 7);
    memcpy(id.bytes + 8, &who, 8);
    return id;
}

static struct store_event number_event(uint64_t who, uint64_t number)
{
    return (struct store_event){.type = STR("Counted"), .id = number_id(who, number), .payload = STR("{\"n\":1}")};
}

static struct store_pos end_of(struct store *s)
{
    struct store_pos p = {0};
    assert_ok(store_end(s, &p, &why));
    return p;
}

/* Append one at the end, which nobody else moves. */
static struct store_record add(struct store *s, uint64_t number)
{
    struct store_event e = number_event(0, number);
    struct store_record r = {0};
    assert_ok(store_append(s, end_of(s), &e, 1, &r, &why));
    return r;
}

static void check_numbers(struct store *s, uint64_t n)
{
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    assert_int_equal(b.n, n);
    for (uint64_t i = 0; i < n; i++)
        assert_true(id_eq(b.items[i].e.id, number_id(0, i + 1)));
}

/* --- the contract --- */

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
    struct store_event e = number_event(0, 1);
    e.has_time = true;
    e.time = (struct event_time){(store_clock_us(s) + 400000) * 1000, 7};
    struct store_record r = {0};
    assert_ok(store_append(s, (struct store_pos){0, 0}, &e, 1, &r, &why));
    /* Ahead of the clock: the next one keeps the instant and raises the tiebreaker; the clock does not fall behind it.
     */
    struct store_record next = add(s, 2);
    assert_true(next.e.time.instant_ns == e.time.instant_ns && next.e.time.tiebreak == 8);
    assert_true(store_clock_us(s) >= e.time.instant_ns / 1000);
    e.id = number_id(0, 3);
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_INVALID); /* not later */
    e.time = (struct event_time){e.time.instant_ns + 2000000000, 0};
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_INVALID); /* too far ahead */
    check_numbers(s, 2);
    store_close(s);
}

static void modes(const struct fixture *x)
{
    struct store *s = NULL;
    assert_err(store_open(x->spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &why), ERR_NOT_FOUND);
    assert_err(store_open(x->spec, &(struct store_options){.mode = STORE_APPEND}, &s, NULL, &why), ERR_NOT_FOUND);
    struct id log = number_id(5, 5);
    assert_ok(store_open(x->spec, &(struct store_options){.mode = STORE_CREATE, .log = log}, &s, NULL, &why));
    assert_true(id_eq(store_log_id(s), log));
    (void)add(s, 1);
    store_close(s);
    assert_ok(store_open(x->spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &why));
    struct store_event e = number_event(0, 2);
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_DENIED);
    check_numbers(s, 1);
    store_close(s);
    assert_ok(store_open(x->spec, &(struct store_options){.mode = STORE_APPEND}, &s, NULL, &why));
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
static void contend(const char *spec, uint64_t who, uint64_t n)
{
    struct store *s = NULL;
    struct store_pos at = {0};
    if (store_open(spec, NULL, &s, NULL, NULL) != OK)
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
    for (uint64_t who = 0; who < CONTENDERS; who++) {
        pids[who] = fork();
        assert_true(pids[who] >= 0);
        if (pids[who] == 0) {
            contend(x->spec, who, CONTENDER_APPENDS);
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
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct store *s = NULL;
            struct store_pos at;
            if (store_open(x->spec, NULL, &s, NULL, NULL) != OK || store_end(s, &at, NULL) != OK)
                _exit(10);
            for (uint64_t n = at.seq + 1;; n++) {
                struct store_event e = number_event(0, n);
                struct store_record r;
                if (store_append(s, at, &e, 1, &r, NULL) != OK || write(told[1], &n, sizeof(n)) != sizeof(n))
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
        uint64_t end = end_of(s).seq;
        assert_true(end >= told_max && end <= told_max + 1);
        check_numbers(s, end);
        store_close(s);
    }
}

static const struct contract_row {
    const char *name;
    void (*run)(const struct fixture *x);
} CONTRACT[] = {
    {"append_and_read", append_and_read},
    {"conflict", conflict},
    {"reading_in_parts", reading_in_parts},
    {"find_id", find_id},
    {"refusals", refusals},
    {"limits", limits},
    {"times", times},
    {"modes", modes},
    {"follower", follower},
    {"told_of_growth", told_of_growth},
    {"processes_contend", processes_contend},
    {"killed_appenders", killed_appenders},
};

struct contract_case {
    const char *kind;
    const struct contract_row *row;
};
static void run_contract(void **state)
{
    const struct contract_case *c = *state;
    struct fixture x;
    setup(&x, c->kind);
    c->row->run(&x);
    teardown(&x);
}

/* --- what the files store promises on disk --- */

static void path_of(const struct fixture *x, const char *name, char ret[static 160])
{
    (void)snprintf(ret, 160, "%s/log/%s", x->dir, name);
}
#define SEGMENT "00000000000000000001.jsonl"

static void read_whole(const char *path, struct buf *b)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    buf_clear(b);
    buf_reserve(b, (size_t)st.st_size);
    assert_int_equal(read(fd, b->ptr, (size_t)st.st_size), st.st_size);
    b->len = (size_t)st.st_size;
}

static void write_whole(const char *path, const char *bytes, size_t n)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
}

/* As after the machine went down: the head names an earlier boot. */
static void set_old_boot(const struct fixture *x)
{
    char path[160];
    path_of(x, "head", path);
    AUTO(buf) struct buf b = {0};
    read_whole(path, &b);
    for (size_t at = 0; at < HEAD_SIZE; at += HEAD_SLOT_SIZE) {
        struct head h;
        assert_true(head_decode(b.ptr + at, &h));
        h.boot = number_id(1, 1);
        head_encode(&h, b.ptr + at);
    }
    write_whole(path, b.ptr, b.len);
}

static void head_slots(void **state)
{
    (void)state;
    struct head h = {.log = number_id(1, 2),
                     .boot = number_id(3, 4),
                     .segment = INT64_MAX,
                     .length = INT64_MAX,
                     .generation = INT64_MAX,
                     .seq = INT64_MAX,
                     .time = {9150000000000000001, INT64_MAX},
                     .sum = UINT32_MAX};
    char slots[HEAD_SIZE];
    head_encode(&h, slots + HEAD_SLOT_SIZE);
    struct head back;
    assert_true(head_decode(slots + HEAD_SLOT_SIZE, &back) && back.seq == INT64_MAX && back.sum == h.sum);
    assert_true(event_time_cmp(back.time, h.time) == 0 && id_eq(back.boot, h.boot));
    h.generation--;
    h.seq--;
    head_encode(&h, slots);
    assert_true(head_choose(slots, &back) == 2 && back.seq == INT64_MAX);
    for (size_t i = 0; i < HEAD_SIZE; i++) { /* a flipped byte costs its slot, not the other */
        slots[i] ^= 1;
        assert_int_equal(head_choose(slots, &back), 1);
        assert_true(back.seq == (i < HEAD_SLOT_SIZE ? INT64_MAX : INT64_MAX - 1));
        slots[i] ^= 1;
    }
    memset(slots, 0, sizeof(slots));
    assert_int_equal(head_choose(slots, &back), 0);
}

/* A crash left `tail` behind a log of three records. Says what opening made of it. */
static struct store_repair open_with_tail(const struct fixture *x, struct str tail, bool other_boot, uint64_t records)
{
    char path[160];
    path_of(x, SEGMENT, path);
    auto_close int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0 && write(fd, tail.ptr, tail.len) == (ssize_t)tail.len);
    if (other_boot)
        set_old_boot(x);
    struct store *s = NULL;
    struct store_repair repair;
    assert_ok(store_open(x->spec, NULL, &s, &repair, &why));
    check_numbers(s, records);
    (void)add(s, records + 1);
    check_numbers(s, records + 1);
    store_close(s);
    return repair;
}

/* The lines of a log with `n` records: those of the append of its last `batch` in *ret_tail. */
static void make_tail(uint64_t batch, struct buf *ret_tail)
{
    struct fixture x;
    setup_in_memory(&x);
    struct store *s = NULL;
    assert_ok(
        store_open(x.spec, &(struct store_options){.mode = STORE_CREATE, .log = number_id(9, 9)}, &s, NULL, &why));
    char path[160];
    path_of(&x, SEGMENT, path);
    for (uint64_t i = 1; i <= 3; i++) {
        struct store_event e = number_event(0, i);
        e.has_time = true;
        e.time = (struct event_time){(int64_t)i * 1000000000, 0};
        assert_ok(store_append(s, end_of(s), &e, 1, NULL, &why));
    }
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    struct store_event e[4];
    for (uint64_t i = 0; i < batch; i++) {
        e[i] = number_event(0, 4 + i);
        e[i].has_time = true;
        e[i].time = (struct event_time){(int64_t)(4 + i) * 1000000000, 0};
    }
    assert_ok(store_append(s, end_of(s), e, batch, NULL, &why));
    store_close(s);
    read_whole(path, ret_tail);
    buf_consume(ret_tail, (size_t)st.st_size);
    teardown(&x);
}

/* The same three records as in make_tail, so that the tail continues their chain. */
static void make_three(const struct fixture *x)
{
    struct store *s = open_store(x);
    for (uint64_t i = 1; i <= 3; i++) {
        struct store_event e = number_event(0, i);
        e.has_time = true;
        e.time = (struct event_time){(int64_t)i * 1000000000, 0};
        assert_ok(store_append(s, end_of(s), &e, 1, NULL, &why));
    }
    store_close(s);
}

static void torn_tail_at_every_byte(void **state)
{
    (void)state;
    for (uint64_t batch = 1; batch <= 2; batch++) {
        AUTO(buf) struct buf tail = {0};
        make_tail(batch, &tail);
        for (size_t cut = 1; cut <= tail.len; cut++) {
            for (int other_boot = 0; other_boot < 2; other_boot++) {
                struct fixture x;
                setup_in_memory(&x);
                make_three(&x);
                bool is_whole = cut == tail.len && other_boot;
                struct store_repair r =
                    open_with_tail(&x, str_slice(buf_str(&tail), 0, cut), other_boot, is_whole ? 3 + batch : 3);
                assert_int_equal(r.cut_bytes, is_whole ? 0 : cut);
                assert_int_equal(r.adopted_records, is_whole ? batch : 0);
                teardown(&x);
            }
        }
    }
}

static void too_much_behind_is_damage(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x);
    make_three(&x);
    set_old_boot(&x);
    char path[160];
    path_of(&x, SEGMENT, path);
    AUTO(buf) struct buf b = {0}, after = {0};
    read_whole(path, &b);
    size_t len = b.len;
    while (b.len < len + ENVELOPE_BATCH_SIZE_MAX + 1)
        buf_add_c(&b, "not a record\n");
    write_whole(path, b.ptr, b.len);
    struct store *s = NULL;
    assert_err(store_open(x.spec, NULL, &s, NULL, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.msg, "seq 4"));
    read_whole(path, &after);
    assert_true(after.len == b.len); /* nothing was touched */
    teardown(&x);
}

static void flipped_byte_at_every_offset(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x);
    struct store *s = open_store(&x);
    struct store_event e[2] = {number_event(0, 2), number_event(0, 3)};
    (void)add(s, 1);
    assert_ok(store_append(s, end_of(s), e, 2, NULL, &why));
    (void)add(s, 4);
    store_close(s);
    char path[160], dir[160];
    path_of(&x, SEGMENT, path);
    path_of(&x, "", dir);
    AUTO(buf) struct buf b = {0};
    read_whole(path, &b);
    uint64_t seq = 1, offset = 0;
    static const char MASKS[] = {0x01, 0x20, (char)0x80, 0x0a ^ 'e'};
    for (size_t i = 0; i < b.len; i++) {
        for (size_t m = 0; m < sizeof(MASKS); m++) {
            b.ptr[i] ^= MASKS[m];
            write_whole(path, b.ptr, b.len);
            struct store_verdict v;
            assert_ok(store_verify(dir, &v, &why));
            /* A newline that became another byte damages its own record. */
            if (v.ok || v.first_bad.seq != seq || v.first_bad.offset != offset || v.events != seq - 1)
                fail_msg("byte %zu ^ %02x: ok %d seq %llu, not %llu: %s", i, (unsigned)(unsigned char)MASKS[m], v.ok,
                         (unsigned long long)v.first_bad.seq, (unsigned long long)seq, v.first_bad.cause);
            b.ptr[i] ^= MASKS[m];
        }
        if (b.ptr[i] == '\n') {
            seq++;
            offset = i + 1;
        }
    }
    assert_int_equal(seq, 5);
    write_whole(path, b.ptr, b.len);
    struct store_verdict v;
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.events == 4 && v.unverified == 0 && v.torn_bytes == 0);
    /* Shorter than was durable, at every length: damage, never a shorter log. */
    for (size_t n = 0; n < b.len; n++) {
        write_whole(path, b.ptr, n);
        assert_ok(store_verify(dir, &v, &why));
        assert_false(v.ok);
        assert_err(store_open(x.spec, NULL, &s, NULL, &why), ERR_CORRUPT);
    }
    teardown(&x);
}

static void changed_lines(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x);
    struct store *s = open_store(&x);
    for (uint64_t i = 1; i <= 4; i++)
        (void)add(s, i);
    char path[160], dir[160];
    path_of(&x, SEGMENT, path);
    path_of(&x, "", dir);
    AUTO(buf) struct buf b = {0};
    read_whole(path, &b);
    struct str rest = buf_str(&b), line[4];
    for (size_t i = 0; i < 4; i++)
        assert_true(str_next(&rest, '\n', &line[i]));
    static const int ORDERS[][4] = {{0, 2, 3, -1}, {0, 0, 2, 3}, {0, 2, 1, 3}, {1, 2, 3, 3}, {0, 1, 2, 2}};
    for (size_t i = 0; i < sizeof(ORDERS) / sizeof(ORDERS[0]); i++) { /* removed, doubled, swapped, … */
        AUTO(buf) struct buf out = {0};
        for (size_t k = 0; k < 4; k++)
            if (ORDERS[i][k] >= 0) {
                buf_add_str(&out, line[ORDERS[i][k]]);
                buf_add_char(&out, '\n');
            }
        write_whole(path, out.ptr, out.len);
        struct store_verdict v;
        assert_ok(store_verify(dir, &v, &why));
        assert_false(v.ok);
        /* An open handle meets it too, and brings what is good before. */
        struct store *reader = NULL;
        assert_ok(store_open(x.spec, &(struct store_options){.mode = STORE_READ}, &reader, NULL, &why));
        uint64_t seen = 0;
        enum err rc = OK;
        while (rc == OK) {
            AUTO(store_batch) struct store_batch batch = {0};
            rc = store_read(reader, seen, 0, 0, &batch, &why);
            assert_true(rc != OK || batch.n > 0);
            seen += batch.n;
        }
        assert_err(rc, ERR_CORRUPT);
        assert_true(seen == v.first_bad.seq - 1 && store_damage(reader)->seq == v.first_bad.seq);
        store_close(reader);
    }
    store_close(s);
    teardown(&x);
}

static void damaged_head(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x);
    struct store *s = open_store(&x);
    for (uint64_t i = 1; i <= 3; i++)
        (void)add(s, i);
    char path[160];
    path_of(&x, "head", path);
    AUTO(buf) struct buf b = {0};
    read_whole(path, &b);
    uint64_t n = 3;
    for (size_t i = 0; i < HEAD_SIZE; i += 61) { /* one slot: whoever opens next takes in what is behind the other */
        read_whole(path, &b);
        b.ptr[i] ^= 1;
        write_whole(path, b.ptr, b.len);
        struct store_event e = number_event(0, n + 1);
        assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_IO);
        assert_ok(store_reopen(s, NULL, &why));
        check_numbers(s, n);
        (void)add(s, ++n);
    }
    read_whole(path, &b);
    b.ptr[3] ^= 1;
    b.ptr[HEAD_SLOT_SIZE + 3] ^= 1;
    write_whole(path, b.ptr, b.len);
    assert_err(store_reopen(s, NULL, &why), ERR_CORRUPT);
    AUTO(store_batch) struct store_batch batch = {0};
    assert_err(store_read(s, 0, 0, 0, &batch, &why), ERR_IO);
    store_close(s);
    assert_int_equal(unlink(path), 0);
    assert_err(store_open(x.spec, NULL, &s, NULL, &why), ERR_CORRUPT); /* never a new log over old records */
    teardown(&x);
}

static void several_segments(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x);
    struct store *s = open_store(&x);
    for (uint64_t i = 1; i <= 700; i++)
        (void)add(s, i);
    store_close(s);
    /* Sealed by hand: records 1..300, 301..699, 700.. */
    char path[160], second[160], third[160], head_path[160], dir[160];
    path_of(&x, SEGMENT, path);
    path_of(&x, "00000000000000000301.jsonl", second);
    path_of(&x, "00000000000000000700.jsonl", third);
    path_of(&x, "head", head_path);
    path_of(&x, "", dir);
    AUTO(buf) struct buf b = {0}, head = {0};
    read_whole(path, &b);
    size_t at = 0, cut[2] = {0};
    for (int line = 1; line <= 699; line++) {
        at += (size_t)((char *)memchr(b.ptr + at, '\n', b.len - at) - (b.ptr + at)) + 1;
        if (line == 300)
            cut[0] = at;
    }
    cut[1] = at;
    write_whole(path, b.ptr, cut[0]);
    write_whole(second, b.ptr + cut[0], cut[1] - cut[0]);
    write_whole(third, b.ptr + cut[1], b.len - cut[1]);
    read_whole(head_path, &head);
    struct head h;
    assert_int_equal(head_choose(head.ptr, &h), 2);
    h.segment = 700;
    h.length = b.len - cut[1];
    head_encode(&h, head.ptr + head_offset(h.generation));
    h.generation++;
    head_encode(&h, head.ptr + head_offset(h.generation));
    write_whole(head_path, head.ptr, head.len);

    s = open_store(&x);
    check_numbers(s, 700);
    (void)add(s, 701);
    check_numbers(s, 701);
    static const uint64_t FROM[] = {0, 299, 300, 301, 650, 699, 700};
    for (size_t i = 0; i < sizeof(FROM) / sizeof(FROM[0]); i++) {
        AUTO(store_batch) struct store_batch batch = {0};
        assert_ok(store_read(s, FROM[i], 1, 0, &batch, &why));
        assert_true(batch.n == 1 && id_eq(batch.items[0].e.id, number_id(0, FROM[i] + 1)));
    }
    store_close(s);
    assert_int_equal(unlink(second), 0);
    struct store_verdict v;
    assert_ok(store_verify(dir, &v, &why));
    assert_true(!v.ok && v.first_bad.seq == 301);
    teardown(&x);
}

/* --- faults --- */

struct faulty_disk {
    struct store_disk disk;
    int fail_at, calls, error; /* the fail_at-th call fails */
    size_t short_by;           /* a failing write writes all but this before it fails */
};
static bool is_next_to_fail(struct faulty_disk *d)
{
    return ++d->calls == d->fail_at;
}
static ssize_t faulty_pwrite(void *ctx, int fd, const void *bytes, size_t n, off_t at)
{
    struct faulty_disk *d = ctx;
    if (!is_next_to_fail(d))
        return pwrite(fd, bytes, n, at);
    if (d->short_by < n && pwrite(fd, bytes, n - d->short_by, at) < 0)
        return -1;
    errno = d->error;
    return -1;
}
static int faulty_fdatasync(void *ctx, int fd)
{
    struct faulty_disk *d = ctx;
    if (!is_next_to_fail(d))
        return fdatasync(fd);
    errno = d->error;
    return -1;
}

/* Call 1, 2, 3, … fails until a run of five appends has no failure: what was acknowledged is there, what was refused is
 * not. */
static void fault_loop(void **state)
{
    (void)state;
    static const int ERRORS[] = {EIO, ENOSPC};
    for (size_t k = 0; k < 2; k++) {
        for (int fail_at = 1, failures = 1; failures > 0; fail_at++) {
            struct fixture x;
            setup(&x, "files");
            struct faulty_disk d = {.fail_at = fail_at, .error = ERRORS[k], .short_by = 5};
            d.disk = (struct store_disk){.ctx = &d, .pwrite = faulty_pwrite, .fdatasync = faulty_fdatasync};
            struct store *s = NULL;
            const struct store_options opt = {.mode = STORE_CREATE, .disk = &d.disk};
            failures = 0;
            while (store_open(x.spec, &opt, &s, NULL, &why) != OK)
                failures++;
            for (uint64_t i = 1; i <= 5;) {
                struct store_event e = number_event(0, i);
                struct store_pos before = end_of(s);
                enum err rc = store_append(s, before, &e, 1, NULL, &why);
                if (rc == ERR_IO) { /* nobody knows: the handle refuses, opening anew finds out */
                    assert_err(store_append(s, before, &e, 1, NULL, &why), ERR_IO);
                    assert_ok(store_reopen(s, NULL, &why));
                    uint64_t seq = 0;
                    rc = store_find_id(s, before.seq, e.id, &seq, &why);
                    assert_true(rc == OK || rc == ERR_NOT_FOUND);
                    failures++;
                } else if (rc == ERR_UNAVAILABLE) {
                    assert_int_equal(end_of(s).seq, before.seq);
                    failures++;
                } else {
                    assert_ok(rc);
                }
                i += rc == OK;
            }
            check_numbers(s, 5);
            store_close(s);
            teardown(&x);
        }
    }
}

static void failed_handle_harms_nobody(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x, "files");
    struct faulty_disk d = {.error = EIO};
    d.disk = (struct store_disk){.ctx = &d, .pwrite = faulty_pwrite, .fdatasync = faulty_fdatasync};
    struct store *bad = NULL, *good = NULL;
    assert_ok(store_open(x.spec, &(struct store_options){.mode = STORE_CREATE, .disk = &d.disk}, &bad, NULL, &why));
    (void)add(bad, 1);
    good = open_store(&x);
    d.fail_at = d.calls + 2; /* its fdatasync: the bytes are in the file, nobody was told */
    struct store_event e = number_event(7, 7);
    assert_err(store_append(bad, end_of(bad), &e, 1, NULL, &why), ERR_IO);
    check_numbers(good, 1);
    (void)add(good, 2); /* cuts them off */
    check_numbers(good, 2);
    check_numbers(bad, 2); /* it still reads */
    assert_err(store_append(bad, end_of(bad), &e, 1, NULL, &why), ERR_IO);
    assert_ok(store_reopen(bad, NULL, &why));
    (void)add(bad, 3);
    check_numbers(good, 3);
    store_close(bad);
    store_close(good);
    teardown(&x);
}

static void full_disk(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x, "files");
    if (mount("slipform-test", x.dir, "tmpfs", 0, "size=64k") < 0) {
        teardown(&x);
        print_message("skipped: no right to mount a small file system: %s\n", strerror(errno));
        skip();
    }
    struct store *s = open_store(&x);
    static char text[3000];
    memset(text, 'x', sizeof(text));
    memcpy(text, "{\"a\":\"", 6);
    memcpy(text + sizeof(text) - 2, "\"}", 2);
    uint64_t n = 0;
    enum err rc = OK;
    for (; rc == OK && n < 100; n += rc == OK) {
        struct store_event e = number_event(0, n + 1);
        e.payload = (struct str){text, sizeof(text)};
        rc = store_append(s, end_of(s), &e, 1, NULL, &why);
    }
    assert_err(rc, ERR_UNAVAILABLE);
    assert_non_null(strstr(why.msg, "make room"));
    assert_true(n > 5 && n < 100);
    check_numbers(s, n);
    assert_int_equal(mount("slipform-test", x.dir, "tmpfs", MS_REMOUNT, "size=1m"), 0);
    (void)add(s, n + 1); /* the same handle goes on once there is room */
    check_numbers(s, n + 1);
    store_close(s);
    assert_int_equal(umount(x.dir), 0);
    teardown(&x);
}

static int hold_lock(const struct fixture *x)
{
    char path[160];
    path_of(x, "lock", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
    return fd;
}

static void *append_in_thread(void *arg)
{
    struct store *s = arg;
    struct store_event e = number_event(0, 1);
    enum err rc = store_append(s, (struct store_pos){0, 0}, &e, 1, NULL, NULL);
    return rc == ERR_CANCELLED ? s : NULL;
}

static void lock_wait_is_bounded(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x, "files");
    store_close(open_store(&x));
    (void)snprintf(x.spec, sizeof(x.spec), "files;path=%s/log;lock_wait_ms=30", x.dir);
    struct store *s = open_store(&x), *other = NULL;
    auto_close int fd = hold_lock(&x);
    struct store_event e = number_event(0, 1);
    assert_err(store_append(s, end_of(s), &e, 1, NULL, &why), ERR_UNAVAILABLE);
    assert_err(store_open(x.spec, NULL, &other, NULL, &why), ERR_UNAVAILABLE);
    assert_int_equal(flock(fd, LOCK_UN), 0);
    (void)snprintf(x.spec, sizeof(x.spec), "files;path=%s/log;lock_wait_ms=60000", x.dir);
    struct store *patient = open_store(&x);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, append_in_thread, patient), 0);
    store_cancel(patient);
    void *result = NULL;
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, patient);
    store_close(patient);
    store_close(s);
    teardown(&x);
}

static void held_log(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x, "files");
    (void)snprintf(x.spec, sizeof(x.spec), "files;path=%s/log;lock_wait_ms=20", x.dir);
    struct store *a = open_store(&x), *b = open_store(&x);
    (void)add(a, 1);
    struct store_event e = number_event(0, 2), bad = number_event(0, 2);
    bad.id = ID_NONE;
    assert_ok(store_hold(a, &why));
    assert_err(store_append(b, end_of(b), &e, 1, NULL, &why), ERR_UNAVAILABLE);
    (void)add(a, 2); /* an append lets go, whatever it answers */
    (void)add(b, 3);
    assert_ok(store_hold(a, &why));
    assert_err(store_append(a, end_of(a), &bad, 1, NULL, &why), ERR_INVALID);
    (void)add(b, 4);
    assert_ok(store_hold(a, &why));
    assert_err(store_append(a, (struct store_pos){1, 1}, &e, 1, NULL, &why), ERR_CONFLICT);
    (void)add(b, 5);
    assert_ok(store_hold(a, &why));
    store_release(a);
    (void)add(b, 6);
    check_numbers(a, 6);
    store_close(a);
    store_close(b);
    teardown(&x);
}

static void removed_log_is_noticed(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x, "files");
    struct store *s = open_store(&x);
    (void)add(s, 1);
    char dir[160];
    path_of(&x, "", dir);
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    struct store_event e = number_event(0, 2);
    struct store_pos end;
    assert_err(store_end(s, &end, &why), ERR_IO);
    assert_err(store_append(s, (struct store_pos){1, 0}, &e, 1, NULL, &why), ERR_IO);
    assert_err(store_reopen(s, NULL, &why), ERR_CONFLICT); /* made anew: another incarnation */
    store_close(s);
    teardown(&x);
}

/* --- a file of others --- */

static void foreign_file(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x, "files");
    char path[96], spec[128];
    (void)snprintf(path, sizeof(path), "%s/bootstrap.jsonl", x.dir);
    (void)snprintf(spec, sizeof(spec), "jsonl;path=%s", path);
    static const char TEXT[] =
        "{\"time\":\"2026-01-01T00:00:00Z#0\",\"type\":\"pojo:io.ulzha.spive.app.events.CreateType\",\"payload\":{}}\n"
        "{\"time\":\"2026-01-01T00:00:00Z#1\",\"type\":\"slipform:CreateZone\",\"payload\":{\"name\":\"a\"}}\n"
        "{\"time\":\"2026-01-01T00:00:00Z#1\",\"type\":\"slipform:CreateZone\",\"payload\":{\"name\":\"b\"}}";
    write_whole(path, TEXT, sizeof(TEXT) - 1);
    struct store *s = NULL;
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &why));
    AUTO(store_batch) struct store_batch b = {0};
    assert_int_equal(end_of(s).seq, 3);
    assert_ok(store_read(s, 0, 0, 0, &b, &why)); /* the good ones first */
    assert_true(b.n == 2 && str_eq_c(b.items[0].e.type, "CreateType") && id_is_none(b.items[1].e.id));
    struct store_pos second = {2, b.items[1].e.sum};
    store_batch_done(&b);
    assert_err(store_read(s, 2, 0, 0, &b, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.msg, "seq 3"));
    struct store_event e = number_event(0, 1);
    assert_err(store_append(s, second, &e, 1, NULL, &why), ERR_DENIED);
    store_close(s);
    struct store_verdict v;
    assert_ok(store_verify(path, &v, &why));
    assert_true(!v.ok && v.events == 2 && v.unverified == 2 && v.first_bad.seq == 3);
    /* Without a newline at the end the last line counts. A changed line gives later places another sum. */
    write_whole(path, TEXT, (size_t)(strstr(TEXT, "\"a\"}}") - TEXT) + 5);
    assert_ok(store_verify(path, &v, &why));
    assert_true(v.ok && v.events == 2);
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &why));
    assert_true(end_of(s).sum == second.sum);
    store_close(s);
    assert_err(store_verify("/nonexistent", &v, &why), ERR_NOT_FOUND);
    teardown(&x);
}

int main(void)
{
    enum { CONTRACT_N = sizeof(CONTRACT) / sizeof(CONTRACT[0]), KINDS_N = sizeof(KINDS) / sizeof(KINDS[0]) };
    static struct contract_case cases[KINDS_N * CONTRACT_N];
    static char names[KINDS_N * CONTRACT_N][64];
    struct CMUnitTest contract[KINDS_N * CONTRACT_N];
    for (size_t k = 0; k < KINDS_N; k++) {
        for (size_t i = 0; i < CONTRACT_N; i++) {
            size_t at = k * CONTRACT_N + i;
            cases[at] = (struct contract_case){KINDS[k].kind, &CONTRACT[i]};
            (void)snprintf(names[at], sizeof(names[at]), "%s: %s", KINDS[k].kind, CONTRACT[i].name);
            contract[at] = (struct CMUnitTest){names[at], run_contract, NULL, NULL, &cases[at]};
        }
    }
    const struct CMUnitTest files[] = {
        cmocka_unit_test(head_slots),
        cmocka_unit_test(torn_tail_at_every_byte),
        cmocka_unit_test(too_much_behind_is_damage),
        cmocka_unit_test(flipped_byte_at_every_offset),
        cmocka_unit_test(changed_lines),
        cmocka_unit_test(damaged_head),
        cmocka_unit_test(several_segments),
        cmocka_unit_test(fault_loop),
        cmocka_unit_test(failed_handle_harms_nobody),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(lock_wait_is_bounded),
        cmocka_unit_test(held_log),
        cmocka_unit_test(removed_log_is_noticed),
        cmocka_unit_test(foreign_file),
    };
    return cmocka_run_group_tests_name("contract", contract, NULL, NULL) +
           cmocka_run_group_tests_name("files", files, NULL, NULL);
}
