/* store_copy: between any two kinds, from any position, resumed, and while others write. */
#include "store_help.h"

#include <sys/wait.h>

#include "os/file.h"
#include "store_disk.h"

enum { N = 300 };

/* Commands of one to three events, to number `n` at least; *ret_n: the last number. */
static uint64_t fill(struct store *s, uint64_t from, uint64_t n)
{
    while (from <= n) {
        struct store_event e[3];
        size_t k = from % 3 + 1;
        for (size_t i = 0; i < k; i++)
            e[i] = number_event(0, from + i);
        assert_ok(store_append(s, end_of(s), e, k, NULL, &why));
        from += k;
    }
    return from - 1;
}

static void check_same(struct store *a, struct store *b, uint64_t n)
{
    AUTO(store_batch) struct store_batch x = {0}, y = {0};
    assert_ok(store_read(a, 0, (size_t)n, 0, &x, &why));
    assert_ok(store_read(b, 0, 0, 0, &y, &why));
    assert_true(x.n == n && y.n == n);
    for (size_t i = 0; i < n; i++) {
        const struct envelope *p = &x.items[i].e, *q = &y.items[i].e;
        assert_true(id_eq(p->id, q->id) && str_eq(p->type, q->type) && str_eq(p->payload, q->payload));
        assert_true(event_time_cmp(p->time, q->time) == 0 && p->more == q->more && p->sum == q->sum);
    }
}

static void setup_simulated(struct fixture *x)
{
    struct store_world *w = store_world_new(3);
    *x = (struct fixture){.spec = "simulated;name=log", .opt = {.mode = STORE_CREATE, .world = w}, .more = w};
}

/* To the same kind and to another: the same events, times, sums; files to files the same bytes. */
static void between_kinds(void **state)
{
    (void)state;
    struct fixture x[3], other;
    setup_in_memory(&x[0], "");
    setup_in_memory(&x[1], ";segment_size=900");
    setup_simulated(&x[2]);
    for (size_t from = 0; from < 3; from++) {
        for (size_t to = 0; to < 3; to++) {
            struct store *a = open_store(&x[from]);
            uint64_t n = end_of(a).seq > 0 ? end_of(a).seq : fill(a, 1, N);
            if (to == 2)
                setup_simulated(&other);
            else
                setup_in_memory(&other, to == 1 ? ";segment_size=900" : "");
            struct store *b = open_store(&other);
            struct store_copied done;
            struct store_pos place;
            assert_ok(store_copy_place(a, b, &place, &why));
            assert_int_equal(place.seq, 0);
            assert_ok(store_copy(a, place, b, &done, &why));
            assert_true(done.records == n && done.from_at.seq == n && done.to_at.sum == end_of(a).sum);
            check_same(a, b, n);
            if (from == 0 && to == 0) {
                char path[192];
                AUTO(buf) struct buf p = {0}, q = {0};
                path_of(&x[0], SEGMENT, path);
                read_whole(path, &p);
                path_of(&other, SEGMENT, path);
                read_whole(path, &q);
                assert_true(str_eq(buf_str(&p), buf_str(&q)));
            }
            store_close(a);
            store_close(b);
            if (to == 2)
                store_world_free(other.more);
            else
                teardown(&other);
        }
    }
    teardown(&x[0]);
    teardown(&x[1]);
    store_world_free(x[2].more);
}

/* From any position into an empty log: the part behind it, with seqs of its own; going on where that ends. */
static void from_any_position(void **state)
{
    (void)state;
    struct fixture x, y;
    setup_in_memory(&x, "");
    struct store *a = open_store(&x);
    uint64_t n = fill(a, 1, 60);
    for (uint64_t after = 0; after <= n; after++) {
        setup_in_memory(&y, "");
        struct store *b = open_store(&y);
        struct store_copied done;
        AUTO(store_batch) struct store_batch at = {0}, copied = {0};
        assert_ok(store_read(a, after, 1, 0, &at, &why));
        struct store_pos bad = {at.after.seq, at.after.sum ^ 1}, place;
        if (after < n)
            assert_err(store_copy(a, bad, b, &done, &why), ERR_NOT_FOUND);
        assert_ok(store_copy(a, at.after, b, &done, &why));
        assert_int_equal(done.records, n - after);
        assert_ok(store_read(b, 0, 0, 0, &copied, &why));
        assert_int_equal(copied.n, n - after);
        for (size_t i = 0; i < copied.n; i++)
            assert_true(id_eq(copied.items[i].e.id, number_id(0, after + 1 + i)));
        assert_ok(store_copy_place(a, b, &place, &why));
        assert_int_equal(place.seq, after < n ? n : 0);
        store_close(b);
        teardown(&y);
    }
    assert_err(store_copy(a, (struct store_pos){n + 1, 0}, a, &(struct store_copied){0}, &why), ERR_NOT_FOUND);
    store_close(a);
    teardown(&x);
}

/* Each call of the copy's disk fails once; going on where store_copy_place says, it comes to its end. */
static void resumed_after_any_fault(void **state)
{
    (void)state;
    struct fixture x, y;
    setup_in_memory(&x, ";segment_size=2000");
    struct store *a = open_store(&x);
    (void)fill(a, 1, 20);
    uint64_t faults = 1;
    for (uint64_t at = 1; faults > 0; at++) {
        struct test_disk d;
        setup_in_memory(&y, ";segment_size=700");
        test_disk_init(&d);
        d.fault = FAULT_SHORT;
        d.fault_at = at;
        y.opt.disk = &d.disk;
        struct store *b = NULL;
        struct store_pos place, end = {0};
        while (store_open(y.spec, &y.opt, &b, NULL, &why) != OK)
            assert_true(d.faults == 1);
        for (int tries = 0; end.seq < end_of(a).seq; tries++) {
            struct store_copied done;
            assert_true(tries < 5);
            if ((store_copy_place(a, b, &place, &why) != OK || store_copy(a, place, b, &done, &why) != OK) &&
                store_reopen(b, NULL, &why) != OK)
                assert_ok(store_reopen(b, NULL, &why));
            if (store_end(b, &end, &why) != OK)
                end = (struct store_pos){0};
        }
        faults = d.faults;
        d.fault_at = 0;
        check_same(a, b, end.seq);
        store_close(b);
        teardown(&y);
    }
    store_close(a);
    teardown(&x);
}

/* A backup of what another process goes on writing: each time a state that the log had, whole commands only. */
static void while_another_process_writes(void **state)
{
    (void)state;
    struct fixture x, y;
    int stop[2];
    setup_in_memory(&x, ";segment_size=5000");
    setup_in_memory(&y, "");
    store_close(open_store(&x));
    assert_int_equal(pipe2(stop, O_CLOEXEC | O_NONBLOCK), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct store *s = open_store(&x);
        char told;
        for (uint64_t n = 0; read(stop[0], &told, 1) < 0;)
            n = fill(s, n + 1, n + 1);
        store_close(s);
        _exit(0);
    }
    struct store *from = open_mode(&x, STORE_READ), *to = open_store(&y);
    struct store_copied done = {0};
    uint64_t copies = 0;
    while (done.from_at.seq < 2000 || copies < 5) { /* the test runner's time is the bound */
        struct store_pos place;
        assert_ok(store_copy_place(from, to, &place, &why));
        assert_ok(store_copy(from, place, to, &done, &why));
        copies += done.records > 0;
        AUTO(store_batch) struct store_batch last = {0};
        if (done.from_at.seq == 0)
            continue;
        assert_ok(store_read(to, done.from_at.seq - 1, 1, 0, &last, &why));
        assert_true(last.n == 1 && !last.items[0].e.more);
    }
    assert_int_equal(write(stop[1], "x", 1), 1);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    check_same(from, to, done.from_at.seq);
    store_close(from);
    store_close(to);
    (void)close(stop[0]);
    (void)close(stop[1]);
    teardown(&x);
    teardown(&y);
}

static void what_is_no_copy(void **state)
{
    (void)state;
    struct fixture x, y;
    setup_in_memory(&x, "");
    setup_in_memory(&y, "");
    struct store *a = open_store(&x), *b = open_store(&y), *other = open_store(&y);
    struct store_copied done;
    struct store_pos place;
    (void)fill(a, 1, 10);
    assert_ok(store_copy(a, (struct store_pos){0}, b, &done, &why));
    struct store_event e = number_event(5, 5);
    assert_ok(store_append(other, end_of(other), &e, 1, NULL, &why));
    assert_err(store_copy_place(a, b, &place, &why), ERR_CONFLICT);
    /* Times of a log whose clock was ahead are taken as they are, for this once. */
    e = number_event(0, 100);
    e.has_time = true;
    e.time = (struct event_time){(store_clock_us(a) + 400000) * 1000, 0};
    assert_ok(store_append(a, end_of(a), &e, 1, NULL, &why));
    store_close(other);
    store_close(b);
    teardown(&y);
    setup_simulated(&y);
    b = open_store(&y);
    store_world_set_now_us(y.more, 1000); /* long before */
    assert_ok(store_copy(a, (struct store_pos){0}, b, &done, &why));
    check_same(a, b, end_of(a).seq);
    store_close(b);
    store_world_free(y.more);
    store_close(a);
    teardown(&x);
}

/* Lines of others: ids that are missing follow from the log and the seq, the same in each copy. */
static void from_a_file_of_others(void **state)
{
    (void)state;
    struct fixture x, y;
    setup_in_memory(&x, "");
    setup_in_memory(&y, "");
    static const char TEXT[] = "{\"time\":\"2026-01-01T00:00:00Z#0\",\"type\":\"pojo:a.b.CreateType\",\"payload\":{}}\n"
                               "{\"time\":\"2026-01-01T00:00:00Z#1\",\"type\":\"CreateZone\",\"payload\":{\"n\":1}}\n";
    char path[128], spec[192];
    (void)snprintf(path, sizeof(path), "%s/others.jsonl", x.dir);
    (void)snprintf(spec, sizeof(spec), "jsonl;path=%s", path);
    write_whole(path, TEXT, sizeof(TEXT) - 1);
    struct store *from = NULL, *to[2] = {open_store(&x), open_store(&y)};
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_READ}, &from, NULL, &why));
    for (size_t i = 0; i < 2; i++) {
        struct store_copied done;
        struct store_pos place;
        assert_ok(store_copy(from, (struct store_pos){0}, to[i], &done, &why));
        assert_ok(store_copy_place(from, to[i], &place, &why));
        assert_true(done.records == 2 && place.seq == 2);
    }
    struct store_batch c[2] = {{0}};
    for (size_t i = 0; i < 2; i++)
        assert_ok(store_read(to[i], 0, 0, 0, &c[i], &why));
    for (size_t i = 0; i < 2; i++)
        assert_true(!id_is_none(c[0].items[i].e.id) && id_eq(c[0].items[i].e.id, c[1].items[i].e.id));
    assert_true(str_eq_c(c[0].items[0].e.type, "CreateType"));
    for (size_t i = 0; i < 2; i++) {
        store_batch_done(&c[i]);
        store_close(to[i]);
    }
    store_close(from);
    teardown(&x);
    teardown(&y);
}

/* Bytes that this process has asked of files. */
static uint64_t bytes_read(void)
{
    AUTO(buf) struct buf text = {0};
    uint64_t n = 0;
    assert_ok(file_read("/proc/self/io", 4096, &text, &why));
    struct str rest = buf_str(&text), line;
    assert_true(str_next(&rest, '\n', &line) && str_starts(line, STR("rchar: ")));
    assert_true(str_parse_u64(str_slice(line, 7, line.len), UINT64_MAX, &n));
    return n;
}

/* The last command of a part is mostly cut: the next part goes on at its beginning, not by way of the whole file. */
static void a_long_file_is_read_once(void **state)
{
    (void)state;
    enum { COMMANDS = 400, EACH = 7, BIG = 2000 }; /* no part ends with a command */
    struct fixture x, y;
    char payload[BIG + 32], path[192], spec[256];
    setup_in_memory(&x, "");
    setup_in_memory(&y, "");
    struct store *s = open_store(&x), *from = NULL, *to = open_store(&y);
    (void)snprintf(payload, sizeof(payload), "{\"text\":\"%0*d\"}", BIG, 7);
    for (uint64_t i = 0; i < COMMANDS; i++) {
        struct store_event e[EACH];
        for (uint64_t k = 0; k < EACH; k++) {
            e[k] = number_event(k, i);
            e[k].payload = str_from(payload);
        }
        assert_ok(store_append(s, end_of(s), e, EACH, NULL, &why));
    }
    path_of(&x, "00000000000000000001.jsonl", path);
    (void)snprintf(spec, sizeof(spec), "jsonl;path=%s", path);
    assert_ok(store_open(spec, &(struct store_options){.mode = STORE_READ}, &from, NULL, &why));
    struct store_copied done;
    uint64_t before = bytes_read();
    assert_ok(store_copy(from, (struct store_pos){0}, to, &done, &why));
    uint64_t took = bytes_read() - before;
    check_same(s, to, (uint64_t)COMMANDS * EACH);
    assert_true(took < (uint64_t)COMMANDS * EACH * BIG * 2);
    store_close(from);
    store_close(s);
    store_close(to);
    teardown(&x);
    teardown(&y);
}

/* Rows as they are, over pages; again: what is new, what was replaced, and what was dropped. */
static void keys(void **state)
{
    (void)state;
    struct fixture x[2];
    setup_in_memory(&x[0], "");
    setup_simulated(&x[1]);
    for (size_t i = 0; i < 4; i++) {
        struct fixture y;
        char name[32];
        uint64_t rows = 0;
        if (i % 2 == 0)
            setup_in_memory(&y, "");
        else
            setup_simulated(&y);
        struct store *a = open_store(&x[i / 2]), *b = open_store(&y);
        size_t n = STORE_KEYS_PAGE + 7;
        for (size_t k = 0; k < n; k++) {
            (void)snprintf(name, sizeof(name), "key-%zu", k);
            if (i % 2 == 0)
                assert_ok(store_key_put(a, name, NULL, "wrapped", &why));
        }
        copies_keys(a, b, n);
        store_close(a);
        a = open_store(&x[i / 2]);
        assert_ok(store_key_drop(b, "key-3", &why)); /* interrupted: as if it had not come yet */
        assert_ok(store_copy_keys(a, b, &rows, &why));
        assert_int_equal(rows, n);
        check_keys(a, b, n);
        store_close(a);
        store_close(b);
        if (i % 2 == 0)
            teardown(&y);
        else
            store_world_free(y.more);
    }
    teardown(&x[0]);
    store_world_free(x[1].more);
}

/* A log that somebody works on keeps its own; a copy without keys does not take them from what it is copied to. */
static void keys_that_are_not_replaced(void **state)
{
    (void)state;
    struct fixture x, y;
    struct store_key row;
    uint64_t rows = 0;
    setup_in_memory(&x, "");
    setup_in_memory(&y, "");
    struct store *a = open_store(&x), *b = open_store(&y);
    assert_ok(store_copy_keys(a, b, &rows, &why)); /* none to none */
    assert_ok(store_key_put(b, "one", NULL, "wrapped", &why));
    assert_err(store_copy_keys(a, b, &rows, &why), ERR_CONFLICT);
    assert_ok(store_key_put(a, "two", NULL, "wrapped", &why));
    assert_ok(store_lease_take(b, &(struct store_lease){.name = "replica-1"}, 60000000, &why));
    assert_err(store_copy_keys(a, b, &rows, &why), ERR_CONFLICT);
    assert_non_null(strstr(why.msg, "replica-1"));
    assert_ok(store_key_get(b, "one", &row, &why));
    assert_ok(store_lease_drop(b, "replica-1", &why));
    assert_ok(store_copy_keys(a, b, &rows, &why));
    assert_err(store_key_get(b, "one", &row, &why), ERR_NOT_FOUND);
    assert_ok(store_key_get(b, "two", &row, &why));
    store_close(a);
    store_close(b);
    teardown(&x);
    teardown(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(between_kinds),
        cmocka_unit_test(from_any_position),
        cmocka_unit_test(resumed_after_any_fault),
        cmocka_unit_test(while_another_process_writes),
        cmocka_unit_test(what_is_no_copy),
        cmocka_unit_test(from_a_file_of_others),
        cmocka_unit_test(a_long_file_is_read_once),
        cmocka_unit_test(keys),
        cmocka_unit_test(keys_that_are_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
