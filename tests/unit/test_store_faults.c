/* The files store on disks that fail, with appenders that are killed, and on machines that go down: what was
 * acknowledged is there, nothing is there twice, no command is there by half. The log goes on in a new segment every
 * few records, so that each fault also hits each step of that. */
#include "store_help.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "os/file.h"
#include "store_disk.h"

#define SEGMENTS ";segment_size=500"

/* Command i (from 0) has one or two events; they are numbered on from 1 over all commands. */
static size_t command_size(uint64_t i)
{
    return i % 3 == 1 ? 2 : 1;
}
static uint64_t events_before(uint64_t command)
{
    return command + (command + 1) / 3;
}
static struct store_group command_of(uint64_t i, struct store_event events[static 2])
{
    for (size_t k = 0; k < command_size(i); k++)
        events[k] = number_event(0, events_before(i) + k + 1);
    return (struct store_group){events, command_size(i)};
}
/* How many whole commands are n events? -1: the last one is there by half. */
static int64_t commands_of(uint64_t n)
{
    uint64_t i = 0;
    while (events_before(i) < n)
        i++;
    return events_before(i) == n ? (int64_t)i : -1;
}

/* Also with another handle, and by the bytes: nothing is damaged. */
static void check_log(const struct fixture *x, uint64_t events)
{
    char dir[192];
    struct store_verdict v;
    path_of(x, "", dir);
    assert_ok(store_verify(dir, &v, &why));
    if (!v.ok)
        fail_msg("seq %llu of '%s': %s", (unsigned long long)v.first_bad.seq, v.first_bad.file, v.first_bad.cause);
    assert_int_equal(v.events, events);
}

/* --- fault loops --- */

enum { LOOP_COMMANDS = 8, TRIES = 50 };

static void reopen(struct store *s)
{
    int tries = 0;
    while (store_reopen(s, NULL, &why) != OK)
        assert_true(++tries < TRIES);
}

static struct store *open_stubbornly(const struct fixture *x)
{
    struct store *s = NULL;
    for (int tries = 0; store_open(x->spec, &x->opt, &s, NULL, &why) != OK; tries++)
        assert_true(tries < TRIES);
    return s;
}

static struct store_pos end_stubbornly(struct store *s)
{
    struct store_pos end = {0};
    for (int tries = 0; store_end(s, &end, &why) != OK; tries++) {
        assert_true(tries < TRIES);
        reopen(s);
    }
    return end;
}

static bool is_there(struct store *s, uint64_t after, struct id id)
{
    uint64_t seq = 0;
    enum err rc = ERR_IO;
    for (int tries = 0; rc != OK && rc != ERR_NOT_FOUND; tries++) {
        assert_true(tries < TRIES);
        rc = store_find_id(s, after, id, &seq, &why);
        if (rc == ERR_IO)
            reopen(s);
    }
    return rc == OK;
}

/* Once a handle failed it does not touch the disk, until it is opened anew. */
static void check_failed(struct store *s, struct test_disk *d, const struct store_group *g, struct store_pos at)
{
    uint64_t calls = d->calls;
    size_t taken = 0;
    assert_err(store_append_many(s, at, g, 1, NULL, &taken, &why), ERR_IO);
    assert_true(d->calls == calls);
}

static void append_stubbornly(struct store *s, struct test_disk *d, uint64_t i)
{
    struct store_event events[2];
    struct store_group g = command_of(i, events);
    for (int tries = 0;; tries++) {
        size_t taken = 0;
        struct store_pos before = end_stubbornly(s);
        assert_true(tries < TRIES && before.seq == events_before(i));
        enum err rc = store_append_many(s, before, &g, 1, NULL, &taken, &why);
        if (rc == OK)
            return;
        assert_true(rc == ERR_IO || rc == ERR_UNAVAILABLE);
        if (rc == ERR_UNAVAILABLE) { /* nothing happened */
            assert_false(is_there(s, before.seq, events[0].id));
            continue;
        }
        check_failed(s, d, &g, before);
        reopen(s);
        if (is_there(s, before.seq, events[g.n - 1].id))
            return;
        assert_false(is_there(s, before.seq, events[0].id));
    }
}

static void read_stubbornly(struct store *s, uint64_t n)
{
    for (int tries = 0;; tries++) {
        AUTO(store_batch) struct store_batch b = {0};
        enum err rc = store_read(s, 0, 0, 0, &b, &why);
        assert_true(tries < TRIES);
        if (rc == OK && b.n == n)
            return;
        assert_true(rc == ERR_IO || rc == OK); /* a read error is told, and no damage */
        if (rc == OK)
            fail_msg("%zu events instead of %llu", b.n, (unsigned long long)n);
        reopen(s);
    }
}

/* Of these calls (bits of enum disk_op) the at-th fails, and the one `distance` later, unless that is 0. Returns how
 * many faults there were: none, the loop is at its end. */
static uint64_t one_run(unsigned ops, enum disk_fault fault, int error, uint64_t at, uint64_t distance,
                        uint64_t faults_of[static DISK_OPS_N])
{
    struct fixture x;
    struct test_disk d;
    setup_in_memory(&x, SEGMENTS);
    test_disk_init(&d);
    d.only = ops;
    d.fault = fault;
    d.error = error;
    d.fault_at = at;
    d.fault_at_too = distance == 0 ? 0 : at + distance;
    x.opt.disk = &d.disk;
    struct store *s = open_stubbornly(&x);
    for (uint64_t i = 0; i < LOOP_COMMANDS; i++) {
        if (i == LOOP_COMMANDS / 2) {
            store_close(s);
            s = open_stubbornly(&x);
        }
        if (i % 4 == 1)
            err_ignore(store_prove(s, NULL)); /* it may meet the fault, too */
        append_stubbornly(s, &d, i);
        read_stubbornly(s, events_before(i + 1));
    }
    store_close(s);
    uint64_t faults = d.faults;
    for (size_t op = 0; op < DISK_OPS_N; op++)
        faults_of[op] += d.faults_of[op];
    d.fault_at = d.fault_at_too = 0;
    s = open_store(&x);
    check_numbers(s, events_before(LOOP_COMMANDS));
    store_close(s);
    check_log(&x, events_before(LOOP_COMMANDS));
    teardown(&x);
    return faults;
}

enum { ALL_OPS = (1 << DISK_OPS_N) - 1 };

/* Until a run is clean. */
static void loop(unsigned ops, enum disk_fault fault, int error, uint64_t distance,
                 uint64_t faults_of[static DISK_OPS_N])
{
    uint64_t at = 1;
    while (one_run(ops, fault, error, at, distance, faults_of) > 0)
        at++;
}

static void each_call_of_a_kind_fails(void **state)
{
    (void)state;
    static const int ERRORS[] = {EIO, ENOSPC};
    uint64_t faults_of[DISK_OPS_N] = {0};
    for (unsigned op = 0; op < DISK_OPS_N; op++)
        for (size_t k = 0; k < 2; k++)
            for (uint64_t distance = 0; distance < 3; distance++)
                loop(1u << op, FAULT_FAIL, ERRORS[k], distance, faults_of);
    for (size_t k = 0; k < 2; k++)
        loop(1u << DISK_PWRITE, FAULT_SHORT, ERRORS[k], 0, faults_of);
    for (unsigned op = 0; op < DISK_OPS_N; op++) {
        print_message("%s: %llu faults\n", disk_op_name(op), (unsigned long long)faults_of[op]);
        assert_true(faults_of[op] > 10 || op == DISK_UNLINK || op == DISK_FTRUNCATE); /* those follow another fault */
    }
}

/* Any call, and one soon after: what repairs meets faults too. */
static void two_calls_fail(void **state)
{
    (void)state;
    uint64_t faults_of[DISK_OPS_N] = {0};
    for (uint64_t distance = 1; distance <= 5; distance++) {
        loop(ALL_OPS, FAULT_SHORT, EIO, distance, faults_of);
        loop(ALL_OPS, FAULT_FAIL, ENOSPC, distance, faults_of);
    }
    for (unsigned op = 0; op < DISK_OPS_N; op++) {
        print_message("%s: %llu faults\n", disk_op_name(op), (unsigned long long)faults_of[op]);
        assert_true(faults_of[op] > 0);
    }
}

/* --- appenders that are killed --- */

enum { KILL_COMMANDS = 7 };

static void appender(const struct fixture *x, uint64_t kill_at, enum disk_fault how, int told_fd)
{
    struct test_disk d;
    struct fixture y = *x;
    struct store *s = NULL;
    struct store_pos at;
    test_disk_init(&d);
    d.fault = how;
    d.fault_at = kill_at;
    y.opt.disk = &d.disk;
    if (store_open(y.spec, &y.opt, &s, NULL, NULL) != OK || store_end(s, &at, NULL) != OK)
        _exit(10);
    for (int64_t i = commands_of(at.seq), n = i + KILL_COMMANDS; i < n; i++) {
        struct store_event events[2];
        struct store_group g = command_of((uint64_t)i, events);
        struct store_record r[2];
        size_t taken = 0;
        if (store_prove(s, NULL) != OK || store_append_many(s, at, &g, 1, r, &taken, NULL) != OK)
            _exit(11);
        at = (struct store_pos){r[g.n - 1].seq, r[g.n - 1].e.sum};
        if (write(told_fd, &at.seq, sizeof(at.seq)) != sizeof(at.seq))
            _exit(12);
    }
    store_close(s);
    _exit(0);
}

/* *ret_told: the last seq that it acknowledged. Was it killed? */
static bool run_appender(const struct fixture *x, uint64_t kill_at, enum disk_fault how, uint64_t *ret_told)
{
    int told[2], status = 0;
    assert_int_equal(pipe2(told, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        appender(x, kill_at, how, told[1]);
    (void)close(told[1]);
    uint64_t seq = 0;
    while (read(told[0], &seq, sizeof(seq)) == (ssize_t)sizeof(seq))
        *ret_told = seq;
    (void)close(told[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* One handle was open all the time and goes on; then somebody opens the log anew. */
static bool one_kill(uint64_t kill_at, enum disk_fault how)
{
    struct fixture x;
    setup_in_memory(&x, SEGMENTS);
    struct store *survivor = open_store(&x);
    for (uint64_t i = 0; i < 2; i++) {
        struct store_event events[2];
        struct store_group g = command_of(i, events);
        size_t taken = 0;
        assert_ok(store_append_many(survivor, end_of(survivor), &g, 1, NULL, &taken, &why));
    }
    uint64_t told = events_before(2);
    bool is_killed = run_appender(&x, kill_at, how, &told);
    for (int turn = 0; turn < 2; turn++) {
        for (int k = 0; k < 3; k++) {
            uint64_t end = end_of(survivor).seq;
            int64_t commands = commands_of(end);
            assert_true(end >= told && commands >= 0);
            struct store_event events[2];
            struct store_group g = command_of((uint64_t)commands, events);
            size_t taken = 0;
            assert_ok(store_append_many(survivor, end_of(survivor), &g, 1, NULL, &taken, &why));
            told = end + g.n;
        }
        check_numbers(survivor, told);
        store_close(survivor);
        check_log(&x, told);
        survivor = open_store(&x);
    }
    char dir[192];
    struct store_verdict v;
    path_of(&x, "", dir);
    assert_ok(store_verify(dir, &v, &why));
    if (v.segments < 3 || v.sealed + 1 != v.segments)
        fail_msg("killed at call %llu (%d): %llu of %llu segments are sealed", (unsigned long long)kill_at, (int)how,
                 (unsigned long long)v.sealed,
                 (unsigned long long)v.segments); /* also those that the dead one left unsealed */
    store_close(survivor);
    teardown(&x);
    return is_killed;
}

static void killed_at_every_step(void **state)
{
    (void)state;
    for (enum disk_fault how = FAULT_KILL_BEFORE; how <= FAULT_KILL_AFTER; how++) {
        uint64_t at = 1;
        while (one_kill(at, how))
            at++;
        print_message("killed at each of %llu calls\n", (unsigned long long)at - 1);
        assert_true(at > 50);
    }
}

/* --- machines that go down --- */

static struct id other_boot(void)
{
    return number_id(77, 77);
}

struct power {
    struct fixture x;
    struct test_disk d;
    size_t acknowledged_at[64]; /* operations done when command i was acknowledged */
    uint64_t commands;
    uint64_t images;
};

static void write_history(struct power *p, uint64_t commands)
{
    setup_in_memory(&p->x, SEGMENTS);
    test_disk_init(&p->d);
    p->d.journal = journal_new();
    p->d.disk.boot = number_id(76, 76);
    p->x.opt.disk = &p->d.disk;
    struct store *s = open_store(&p->x);
    for (p->commands = 0; p->commands < commands; p->commands++) {
        struct store_event events[4];
        struct store_group g[2] = {command_of(p->commands, events), command_of(p->commands + 1, events + 2)};
        size_t taken = 0, n = p->commands % 4 == 2 && p->commands + 1 < commands ? 2 : 1; /* some two at once */
        if (p->commands % 2 == 1)
            assert_ok(store_prove(s, &why));
        assert_ok(store_append_many(s, end_of(s), g, n, NULL, &taken, &why));
        assert_int_equal(taken, n);
        for (size_t i = 0; i < n; i++)
            p->acknowledged_at[p->commands + i] = journal_n(p->d.journal);
        p->commands += n - 1;
    }
    store_close(s);
}

/* The machine went down after n operations: look at what it finds when it is up again. */
static void check_crash(struct power *p, size_t n, enum journal_keep keep, size_t torn, uint64_t random)
{
    struct fixture y;
    struct test_disk d;
    setup_in_memory(&y, SEGMENTS);
    test_disk_init(&d);
    d.disk.boot = other_boot();
    y.opt.disk = &d.disk;
    char dir[192];
    path_of(&y, "", dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    journal_crash(p->d.journal, n, keep, torn, random, dir);
    uint64_t acknowledged = 0;
    while (acknowledged < p->commands && p->acknowledged_at[acknowledged] <= n)
        acknowledged++;
    struct store *s = NULL;
    enum err rc = store_open(y.spec, &y.opt, &s, NULL, &why);
    if (rc != OK)
        fail_msg("after %zu operations (keep %d, torn %zu, random %llu): %s", n, (int)keep, torn,
                 (unsigned long long)random, why.msg);
    uint64_t end = end_of(s).seq;
    int64_t commands = commands_of(end);
    if (commands < (int64_t)acknowledged)
        fail_msg("after %zu operations (keep %d, torn %zu, random %llu): %lld commands (%llu events), %llu were "
                 "acknowledged",
                 n, (int)keep, torn, (unsigned long long)random, (long long)commands, (unsigned long long)end,
                 (unsigned long long)acknowledged);
    check_numbers(s, end);
    for (int i = 0; i < 3; i++)
        (void)add(s, end + 1 + (uint64_t)i);
    store_close(s);
    check_log(&y, end + 3);
    p->images++;
    teardown(&y);
}

static void power_done(struct power *p)
{
    print_message("%llu crashes of %zu operations\n", (unsigned long long)p->images, journal_n(p->d.journal));
    journal_free(p->d.journal);
    teardown(&p->x);
}

/* What is on disk is a prefix of what was written, to the byte; or only what was synced. */
static void power_loss_at_every_byte(void **state)
{
    (void)state;
    struct power p = {0};
    write_history(&p, 6);
    for (size_t n = 0; n <= journal_n(p.d.journal); n++) {
        check_crash(&p, n, KEEP_SYNCED, 0, 0);
        check_crash(&p, n, KEEP_ALL, 0, 0);
        size_t bytes = n < journal_n(p.d.journal) ? journal_bytes(p.d.journal, n) : 0;
        for (size_t torn = 1; torn < bytes; torn += bytes > 10000 ? 7919 : 1) /* a proof is all the same byte */
            check_crash(&p, n, KEEP_ALL, torn, 0);
    }
    power_done(&p);
}

/* What was not synced is there or not, in any order. */
static void power_loss_in_any_order(void **state)
{
    (void)state;
    struct power p = {0};
    write_history(&p, 20);
    for (size_t n = 0; n <= journal_n(p.d.journal); n++)
        for (uint64_t seed = 1; seed <= 12; seed++)
            check_crash(&p, n, KEEP_SOME, 0, n * 1000 + seed);
    power_done(&p);
}

/* --- flipped bits --- */

static const char *const SUFFIXES[] = {".jsonl", ".seal", ".index", "head"};

/* What a damaged log does to who verifies and reads it. true: it was found. */
static bool is_found(const struct fixture *x, const char *file, uint64_t n)
{
    char dir[192];
    struct store_verdict v;
    struct store *s = NULL;
    path_of(x, "", dir);
    assert_ok(store_verify(dir, &v, &why));
    if (!v.ok && (strcmp(v.first_bad.file, file) != 0 || v.first_bad.seq == 0 || v.first_bad.cause[0] == '\0'))
        fail_msg("the damage is in '%s', not at seq %llu of '%s'", file, (unsigned long long)v.first_bad.seq,
                 v.first_bad.file);
    enum err rc = store_open(x->spec, &(struct store_options){.mode = STORE_READ}, &s, NULL, &why);
    uint64_t seen = 0;
    while (rc == OK) {
        AUTO(store_batch) struct store_batch b = {0};
        rc = store_read(s, seen, 0, 0, &b, &why);
        if (rc != OK || b.n == 0)
            break;
        for (size_t i = 0; i < b.n; i++)
            assert_true(id_eq(b.items[i].e.id, number_id(0, ++seen)));
    }
    if (rc == OK ? seen != n : rc != ERR_CORRUPT)
        fail_msg("a damaged '%s': %s after %llu events", file, err_name(rc), (unsigned long long)seen);
    assert_true(v.ok ? rc == OK : true);
    store_close(s);
    return !v.ok;
}

/* Flip bits of each file: all of a small one, `step` bytes apart. *ret_silent: not told, and without any effect. */
static void flip_all(const struct fixture *x, uint64_t n, size_t step, uint64_t ret_found[static 4],
                     uint64_t ret_silent[static 4])
{
    char **names = NULL, dir[192];
    size_t names_n = 0;
    path_of(x, "", dir);
    assert_ok(folder_list(dir, &names, &names_n, &why));
    for (size_t i = 0; i < names_n; i++) {
        char path[192];
        AUTO(buf) struct buf bytes = {0};
        path_of(x, names[i], path);
        read_whole(path, &bytes);
        size_t kind = 0;
        while (kind < 4 && !str_ends(str_from(names[i]), str_from(SUFFIXES[kind])))
            kind++;
        assert_true(kind < 4 || bytes.len == 0); /* the locks are empty */
        for (size_t at = 0; at < bytes.len; at += step) {
            for (int bit = 0; bit < 8; bit += step > 1 ? 3 : 1) {
                flip(&bytes.ptr[at], 1u << bit);
                write_whole(path, bytes.ptr, bytes.len);
                if (is_found(x, names[i], n))
                    ret_found[kind]++;
                else
                    ret_silent[kind]++;
                flip(&bytes.ptr[at], 1u << bit);
            }
        }
        write_whole(path, bytes.ptr, bytes.len);
    }
    folder_list_free(names);
}

static void write_log(struct fixture *x, const char *spec, uint64_t n, size_t batch)
{
    setup_in_memory(x, spec);
    struct store *s = open_store(x);
    for (uint64_t i = 1; i <= n; i += batch) {
        struct store_event events[64];
        for (size_t k = 0; k < batch; k++)
            events[k] = number_event(0, i + k);
        assert_ok(store_append(s, end_of(s), events, batch, NULL, &why));
    }
    check_numbers(s, n);
    store_close(s);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct fixture x;
    write_log(&x, SEGMENTS, 12, 1);
    uint64_t found[4] = {0}, silent[4] = {0};
    flip_all(&x, 12, 1, found, silent);
    print_message("found: %llu of segments, %llu of seals, %llu of heads\n", (unsigned long long)found[0],
                  (unsigned long long)found[1], (unsigned long long)found[3]);
    assert_true(found[0] > 14000 && found[1] > 4000 && found[3] == 8192);
    assert_true(silent[0] == 0 && silent[1] == 0 && silent[3] == 0);
    check_log(&x, 12);
    teardown(&x);
}

/* A longer log, whose segments have an index: that one is no damage, and is never believed. */
static void flipped_bits_of_a_longer_log(void **state)
{
    (void)state;
    struct fixture x;
    write_log(&x, ";segment_size=120000", 2048, 64);
    uint64_t found[4] = {0}, silent[4] = {0};
    flip_all(&x, 2048, 997, found, silent);
    assert_true(found[0] > 500 && silent[0] == 0 && silent[1] == 0 && silent[3] == 0);
    check_log(&x, 2048);
    teardown(&x);
}

/* --- the index --- */

/* From every place, with a handle that knows nothing yet; it may write. */
static void read_from(const struct fixture *x, uint64_t after, uint64_t n)
{
    struct store *s = open_mode(x, STORE_APPEND);
    AUTO(store_batch) struct store_batch b = {0};
    assert_ok(store_read(s, after, 2, 0, &b, &why));
    assert_int_equal(b.n, n - after < 2 ? n - after : 2);
    for (size_t i = 0; i < b.n; i++)
        assert_true(b.items[i].seq == after + 1 + i && id_eq(b.items[i].e.id, number_id(0, after + 1 + i)));
    store_close(s);
}

static void index_is_used_and_made_again(void **state)
{
    (void)state;
    struct fixture x;
    struct test_disk d;
    enum { N = 4096 };
    write_log(&x, ";segment_size=300000", N, 64);
    char path[192];
    path_of(&x, "00000000000000000001.index", path);
    AUTO(buf) struct buf good = {0}, now = {0}, other = {0};
    read_whole(path, &good);
    assert_true(good.len > 400);
    test_disk_init(&d);
    x.opt.disk = &d.disk;
    uint64_t cost[3];
    for (int i = 0; i < 3; i++) { /* with it; without; with it again, because it was made */
        if (i == 1)
            assert_int_equal(unlink(path), 0);
        d.bytes_read = 0;
        read_from(&x, 1023, N);
        cost[i] = d.bytes_read;
    }
    assert_true(cost[1] > 2 * cost[0] && cost[2] == cost[0]);
    read_whole(path, &now);
    assert_true(str_eq(buf_str(&now), buf_str(&good)));
    /* Shorter, by lines and by bytes; longer; empty; of another log; each bit of its first entry and some others. */
    for (size_t len = 0; len < good.len; len += 37) {
        write_whole(path, good.ptr, len);
        read_from(&x, 1023, N);
        read_from(&x, 300, N);
    }
    for (size_t at = 0; at < good.len; at += at < 160 ? 1 : 23) {
        for (int bit = 0; bit < 8; bit++) {
            flip(&good.ptr[at], 1u << bit);
            write_whole(path, good.ptr, good.len);
            flip(&good.ptr[at], 1u << bit);
            read_from(&x, 1023, N);
            read_whole(path, &now);
            assert_true(str_eq(buf_str(&now), buf_str(&good))); /* made again */
        }
    }
    struct fixture y;
    write_log(&y, ";segment_size=300000", N, 32);
    char others[192];
    path_of(&y, "00000000000000000001.index", others);
    read_whole(others, &other);
    write_whole(path, other.ptr, other.len);
    read_from(&x, 1023, N);
    read_whole(path, &now);
    assert_true(str_eq(buf_str(&now), buf_str(&good)));
    teardown(&y);
    teardown(&x);
}

/* Entries that are as they were written, but not of these bytes: the log was put back to an older state by its files,
 * and went on in another way. */
static void index_of_another_history(void **state)
{
    (void)state;
    struct fixture x, y;
    enum { N = 6144 };
    write_log(&x, "", 1024, 64);
    setup_in_memory(&y, "");
    char from[192], to[192];
    path_of(&x, "", from);
    path_of(&y, "", to);
    assert_int_equal(mkdir(to, 0700), 0);
    char **names = NULL;
    size_t names_n = 0;
    assert_ok(folder_list(from, &names, &names_n, &why));
    for (size_t i = 0; i < names_n; i++) {
        AUTO(buf) struct buf b = {0};
        path_of(&x, names[i], from);
        path_of(&y, names[i], to);
        read_whole(from, &b);
        write_whole(to, b.ptr, b.len);
    }
    folder_list_free(names);
    /* The same log, going on in two ways; events of one have longer payloads. */
    struct store *s = open_store(&x), *t = open_store(&y);
    for (uint64_t i = 1025; i <= N; i++) {
        struct store_event e = number_event(0, i), f = e;
        f.payload = STR("{\"n\":123456}");
        assert_ok(store_append(s, end_of(s), &e, 1, NULL, &why));
        assert_ok(store_append(t, end_of(t), &f, 1, NULL, &why));
    }
    check_numbers(s, N);
    store_close(s);
    store_close(t);
    AUTO(buf) struct buf index = {0};
    path_of(&x, "00000000000000000001.index", from);
    path_of(&y, "00000000000000000001.index", to);
    read_whole(from, &index);
    assert_true(index.len > 500);
    write_whole(to, index.ptr, index.len);
    static const uint64_t FROM[] = {2040, 1500, 1100, 1030, 1024, 600, 2000, 256, 1};
    for (size_t i = 0; i < sizeof(FROM) / sizeof(FROM[0]); i++)
        read_from(&y, FROM[i], N);
    teardown(&x);
    teardown(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_of_a_kind_fails),    cmocka_unit_test(two_calls_fail),
        cmocka_unit_test(killed_at_every_step),         cmocka_unit_test(power_loss_at_every_byte),
        cmocka_unit_test(power_loss_in_any_order),      cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(flipped_bits_of_a_longer_log), cmocka_unit_test(index_is_used_and_made_again),
        cmocka_unit_test(index_of_another_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
