/* What only the files store promises: what is on disk, what of it may be cut, what is damage, and its locks. */
#include "store_help.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>

#include "event/hash.h"
#include "store/head.h"
#include "store_disk.h"

/* As after the machine went down: the head names an earlier boot. */
static void set_old_boot(const struct fixture *x)
{
    char path[192];
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
    char path[192];
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
    setup_in_memory(&x, "");
    struct store *s = NULL;
    assert_ok(
        store_open(x.spec, &(struct store_options){.mode = STORE_CREATE, .log = number_id(9, 9)}, &s, NULL, &why));
    char path[192];
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
                setup_in_memory(&x, "");
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
    setup_in_memory(&x, "");
    make_three(&x);
    set_old_boot(&x);
    char path[192];
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
    setup_in_memory(&x, "");
    struct store *s = open_store(&x);
    struct store_event e[2] = {number_event(0, 2), number_event(0, 3)};
    (void)add(s, 1);
    assert_ok(store_append(s, end_of(s), e, 2, NULL, &why));
    (void)add(s, 4);
    store_close(s);
    char path[192], dir[192];
    path_of(&x, SEGMENT, path);
    path_of(&x, "", dir);
    AUTO(buf) struct buf b = {0};
    read_whole(path, &b);
    uint64_t seq = 1, offset = 0;
    static const char MASKS[] = {0x01, 0x20, (char)0x80, 0x0a ^ 'e'};
    for (size_t i = 0; i < b.len; i++) {
        for (size_t m = 0; m < sizeof(MASKS); m++) {
            flip(&b.ptr[i], (unsigned char)MASKS[m]);
            write_whole(path, b.ptr, b.len);
            struct store_verdict v;
            assert_ok(store_verify(dir, &v, &why));
            /* A newline that became another byte damages its own record. */
            if (v.ok || v.first_bad.seq != seq || v.first_bad.offset != offset || v.events != seq - 1)
                fail_msg("byte %zu ^ %02x: ok %d seq %llu, not %llu: %s", i, (unsigned)(unsigned char)MASKS[m], v.ok,
                         (unsigned long long)v.first_bad.seq, (unsigned long long)seq, v.first_bad.cause);
            flip(&b.ptr[i], (unsigned char)MASKS[m]);
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
    setup_in_memory(&x, "");
    struct store *s = open_store(&x);
    for (uint64_t i = 1; i <= 4; i++)
        (void)add(s, i);
    char path[192], dir[192];
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
    setup_in_memory(&x, "");
    struct store *s = open_store(&x);
    for (uint64_t i = 1; i <= 3; i++)
        (void)add(s, i);
    char path[192];
    path_of(&x, "head", path);
    AUTO(buf) struct buf b = {0};
    read_whole(path, &b);
    uint64_t n = 3;
    struct store_pos last = end_of(s);
    char dir[192];
    path_of(&x, "", dir);
    for (size_t i = 0; i < HEAD_SIZE; i += 61) { /* one slot: whoever opens next takes in what is behind the other */
        read_whole(path, &b);
        b.ptr[i] ^= 1;
        write_whole(path, b.ptr, b.len);
        struct store_event e = number_event(0, n + 1);
        struct store_pos end;
        struct store *reader = NULL;
        struct store_verdict v;
        assert_ok(store_verify(dir, &v, &why));
        assert_true(!v.ok && strcmp(v.first_bad.file, "head") == 0);
        assert_true(v.first_bad.offset == i / HEAD_SLOT_SIZE * HEAD_SLOT_SIZE);
        assert_err(store_open(x.spec, &(struct store_options){.mode = STORE_READ}, &reader, NULL, &why), ERR_CORRUPT);
        assert_err(store_end(s, &end, &why), ERR_IO);
        assert_err(store_append(s, last, &e, 1, NULL, &why), ERR_IO);
        assert_ok(store_reopen(s, NULL, &why));
        check_numbers(s, n);
        assert_ok(store_verify(dir, &v, &why));
        assert_true(v.ok && v.events == n);
        (void)add(s, ++n);
        last = end_of(s);
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
    setup_in_memory(&x, "");
    struct store *s = open_store(&x);
    for (uint64_t i = 1; i <= 700; i++)
        (void)add(s, i);
    store_close(s);
    /* Sealed by hand: records 1..300, 301..699, 700.. */
    char path[192], second[192], third[192], head_path[192], dir[192];
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

/* Somebody died after a long write: an open handle cuts that off, also when its own append is shorter. */
static void tail_of_the_dead_is_cut(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x, ";segment_size=700");
    struct store *s = open_store(&x);
    char path[192], dir[192];
    path_of(&x, SEGMENT, path);
    path_of(&x, "", dir);
    for (uint64_t i = 1; i <= 8; i++) { /* over a rotation too: a sealed segment ends where it was durable */
        struct stat st;
        auto_close int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        static const char TAIL[1000] = "{\"time\":\"2026";
        if (i <= 4)
            assert_int_equal(write(fd, TAIL, sizeof(TAIL)), sizeof(TAIL));
        (void)add(s, i);
        assert_int_equal(stat(path, &st), 0);
        assert_true(st.st_size < 1000);
    }
    struct store_verdict v;
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.events == 8 && v.segments == 2 && v.sealed == 1);
    store_close(s);
    teardown(&x);
}

#ifndef DATA_FOLDER
#error "the folder of tests/data"
#endif

/* One segment, no seal, no index, a head of another boot. It goes on in segments. */
static void folder_of_an_old_release(void **state)
{
    (void)state;
    struct fixture x;
    setup_in_memory(&x, ";segment_size=1500");
    char dir[192], to[192], from[512];
    path_of(&x, "", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    static const char *const NAMES[] = {SEGMENT, "head", "lock", "turn"};
    for (size_t i = 0; i < 4; i++) {
        AUTO(buf) struct buf b = {0};
        (void)snprintf(from, sizeof(from), "%s/stores/0.1/%s", DATA_FOLDER, NAMES[i]);
        path_of(&x, NAMES[i], to);
        read_whole(from, &b);
        write_whole(to, b.ptr, b.len);
    }
    struct store_verdict v;
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.events == 5);
    struct store *s = open_mode(&x, STORE_APPEND);
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, 0, 0, 0, &b, &why));
    assert_true(b.n == 5 && str_eq_c(b.items[4].e.type, "InstanceStatusChange"));
    for (uint64_t i = 6; i <= 25; i++)
        (void)add(s, i);
    store_close(s);
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.events == 25 && v.segments == 3 && v.sealed == 2);
    teardown(&x);
}

static void copy_file(const struct fixture *from, const struct fixture *to, const char *name)
{
    char path[192];
    AUTO(buf) struct buf b = {0};
    path_of(from, name, path);
    read_whole(path, &b);
    path_of(to, name, path);
    write_whole(path, b.ptr, b.len);
}

/* All records continue each other; only the seal knows that they are not those that were there when it was made. */
static void seal_knows_a_rewritten_segment(void **state)
{
    (void)state;
    struct fixture x[2];
    for (size_t i = 0; i < 2; i++) {
        setup_in_memory(&x[i], ";segment_size=700");
        x[i].opt.log = number_id(3, 3);
        struct store *s = open_store(&x[i]);
        for (uint64_t n = 1; n <= 12; n++) {
            struct store_event e = number_event(i, n);
            assert_ok(store_append(s, end_of(s), &e, 1, NULL, &why));
        }
        store_close(s);
    }
    char dir[192], path[192];
    struct store_verdict v;
    path_of(&x[0], "", dir);
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.segments >= 3 && v.sealed == v.segments - 1);
    static const char *const NAMES[] = {SEGMENT, "00000000000000000006.jsonl", "00000000000000000011.jsonl", "head"};
    for (size_t i = 0; i < 4; i++) {
        path_of(&x[1], NAMES[i], path);
        if (access(path, F_OK) != 0)
            fail_msg("segments have other names than expected: no %s", NAMES[i]);
        copy_file(&x[1], &x[0], NAMES[i]);
    }
    assert_ok(store_verify(dir, &v, &why));
    assert_true(!v.ok && v.first_bad.seq == 1 && strcmp(v.first_bad.file, "00000000000000000001.seal") == 0);
    assert_non_null(strstr(v.first_bad.cause, "SHA-256"));
    /* Without it the segment is sealed again when the log is opened. */
    path_of(&x[0], "00000000000000000001.seal", path);
    assert_int_equal(unlink(path), 0);
    path_of(&x[0], "00000000000000000006.seal", path);
    assert_int_equal(unlink(path), 0);
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.sealed == 0);
    struct store_repair r;
    struct store *s = NULL;
    assert_ok(store_open(x[0].spec, NULL, &s, &r, &why));
    assert_int_equal(r.sealed_segments, 2);
    store_close(s);
    assert_ok(store_verify(dir, &v, &why));
    assert_true(v.ok && v.sealed == 2);
    teardown(&x[0]);
    teardown(&x[1]);
}

/* --- handles and locks --- */

static void failed_handle_harms_nobody(void **state)
{
    (void)state;
    struct fixture x;
    setup(&x);
    struct test_disk d;
    test_disk_init(&d);
    d.only = 1u << DISK_PWRITE | 1u << DISK_FDATASYNC;
    struct store *bad = NULL, *good = NULL;
    assert_ok(store_open(x.spec, &(struct store_options){.mode = STORE_CREATE, .disk = &d.disk}, &bad, NULL, &why));
    (void)add(bad, 1);
    good = open_store(&x);
    d.fault_at = d.calls + 2; /* its fdatasync: the bytes are in the file, nobody was told */
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
    setup(&x);
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
    char path[192];
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
    setup(&x);
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
    setup(&x);
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
    setup(&x);
    struct store *s = open_store(&x);
    (void)add(s, 1);
    char dir[192];
    path_of(&x, "", dir);
    remove_folder(dir);
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
    setup(&x);
    char path[96], spec[192];
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
    const struct CMUnitTest files[] = {
        cmocka_unit_test(head_slots),
        cmocka_unit_test(torn_tail_at_every_byte),
        cmocka_unit_test(too_much_behind_is_damage),
        cmocka_unit_test(flipped_byte_at_every_offset),
        cmocka_unit_test(changed_lines),
        cmocka_unit_test(damaged_head),
        cmocka_unit_test(several_segments),
        cmocka_unit_test(tail_of_the_dead_is_cut),
        cmocka_unit_test(seal_knows_a_rewritten_segment),
        cmocka_unit_test(folder_of_an_old_release),
        cmocka_unit_test(failed_handle_harms_nobody),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(lock_wait_is_bounded),
        cmocka_unit_test(held_log),
        cmocka_unit_test(removed_log_is_noticed),
        cmocka_unit_test(foreign_file),
    };
    return cmocka_run_group_tests(files, NULL, NULL);
}
