/* The control room without a log: what it keeps of instances' lines, what it heard, when it votes, what it issues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "control/certificate.h"
#include "control/edges.h"
#include "control/instance_log.h"
#include "control/log_queue.h"
#include "control/operator_token.h"
#include "control/preferred.h"
#include "control/seen.h"
#include "control/sight.h"
#include "control/watchdog.h"
#include "crypto/ca.h"
#include "crypto/cert.h"
#include "folder.h"
#include "os/file.h"
#include "store/bulk_kind.h"
#include "store/store.h"

struct fixture {
    char folder[64];
    uv_loop_t loop;
    struct bulk_queue *logs;
};
static const struct id A = {{0xa}}, B = {{0xb}};

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    char spec[96];
    assert_true(scratch_make("/tmp", f->folder, sizeof(f->folder)));
    assert_int_equal(uv_loop_init(&f->loop), 0);
    (void)snprintf(spec, sizeof(spec), "folder;path=%s", f->folder);
    f->logs = bulk_queue_new(&f->loop, spec, &(struct bulk_limits){0});
    *state = f;
    return 0;
}

static void turn(struct fixture *f)
{
    assert_true(uv_run(&f->loop, UV_RUN_ONCE) >= 0);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bool is_closed = false;
    bulk_queue_close(f->logs, set_true, &is_closed);
    while (!is_closed)
        turn(f);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    (void)scratch_remove(f->folder);
    free(f);
    return 0;
}

struct appended {
    bool is_done;
    enum err rc;
    int64_t seq;
};

static void on_appended(void *ctx, enum err rc, int64_t seq, const struct errinfo *err)
{
    (void)err;
    *(struct appended *)ctx = (struct appended){true, rc, seq};
}

/* The number that is kept then. */
static int64_t append(struct fixture *f, struct id id, const struct buf *lines)
{
    struct appended a = {0};
    assert_int_equal(instance_logs_append(f->logs, id, buf_str(lines), on_appended, &a, NULL), OK);
    assert_false(a.is_done); /* never from inside */
    while (!a.is_done)
        turn(f);
    assert_int_equal(a.rc, OK);
    return a.seq;
}

static void add_line(struct buf *b, struct id id, int seq, const char *text)
{
    char name[ID_TEXT_SIZE];
    id_format(id, name);
    buf_addf(b,
             "{\"time\":\"2026-11-22T12:00:00.%06dZ\",\"instance_id\":\"%s\",\"stream\":\"stdout\",\"text\":\"%s\","
             "\"seq\":%d}\n",
             seq % 1000000, name, text, seq);
}

struct lines {
    size_t n, size;
    int64_t seq; /* of the last */
};

/* All that there is behind where it stands; one after the other. */
static struct lines read_on(struct fixture *f, struct log_reader *r)
{
    struct lines got = {0};
    struct str line;
    for (enum log_have have; (have = log_reader_peek(r, &line)) != LOG_NONE;) {
        assert_int_not_equal(have, LOG_FAILED);
        if (have == LOG_WAIT) {
            turn(f);
            continue;
        }
        int64_t seq = 0;
        assert_true(bulk_line_seq(line, &seq));
        assert_true(got.n == 0 || seq == got.seq + 1);
        got = (struct lines){got.n + 1, got.size + line.len, seq};
        log_reader_next(r);
    }
    return got;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static size_t count(struct fixture *f, struct id id)
{
    struct log_reader *r = log_reader_new(f->logs, id, 0, nothing, NULL);
    size_t n = read_on(f, r).n;
    log_reader_free(r);
    return n;
}

static void log_repeated_batch(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) struct buf batch = {0};
    add_line(&batch, A, 1, "one");
    add_line(&batch, A, 2, "two");
    assert_int_equal(append(f, A, &batch), 2);
    add_line(&batch, A, 2, "two again");
    add_line(&batch, A, 3, "three");
    assert_int_equal(append(f, A, &batch), 3);
    assert_int_equal(count(f, A), 3);
}

/* Who has read all sees what comes later, within a second, and is told when what it waits for is there. */
static void log_followed(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) struct buf batch = {0};
    bool is_told = false;
    struct str line;
    struct log_reader *r = log_reader_new(f->logs, A, 0, set_true, &is_told);
    assert_int_equal(log_reader_peek(r, &line), LOG_WAIT);
    while (!is_told)
        turn(f);
    assert_int_equal(log_reader_peek(r, &line), LOG_NONE);
    add_line(&batch, A, 1, "one");
    (void)append(f, A, &batch);
    int64_t began_us = clock_mono_us();
    enum log_have have;
    while ((have = log_reader_peek(r, &line)) == LOG_NONE && clock_mono_us() - began_us < 5000000)
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(have, LOG_LINE);
    assert_true(clock_mono_us() - began_us < 1000000);
    log_reader_next(r);
    (void)log_reader_peek(r, &line); /* it asks for more */
    log_reader_free(r);              /* while it waits for the answer */
}

/* A program that was killed in the middle of a line, and its successor that knows only the files. */
static void log_torn_line(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) struct buf batch = {0};
    add_line(&batch, A, 1, "one");
    add_line(&batch, A, 2, "two");
    assert_int_equal(append(f, A, &batch), 2);
    char id[ID_TEXT_SIZE], path[160];
    id_format(A, id);
    (void)snprintf(path, sizeof(path), "%s/%s.ndjson", f->folder, id);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "{\"time\":\"20", 11), 11);
    close(fd);
    assert_int_equal(count(f, A), 2);
    add_line(&batch, A, 3, "three");
    assert_int_equal(append(f, A, &batch), 3);
    assert_int_equal(count(f, A), 3);
}

static void log_rotates(void **state)
{
    struct fixture *f = *state;
    struct log_reader *follower = log_reader_new(f->logs, A, 0, nothing, NULL);
    AUTO(buf) struct buf text = {0};
    for (int i = 0; i < 8000; i++)
        buf_add_char(&text, 'x');
    for (int i = 1; i <= 2000; i += 50) { /* 16 MB */
        AUTO(buf) struct buf lines = {0};
        for (int k = i; k < i + 50; k++)
            add_line(&lines, A, k, text.ptr);
        (void)append(f, A, &lines);
    }
    size_t kept_n = count(f, A);
    assert_in_range(kept_n, 600, 1300); /* between one and two files of 5 MiB */
    char id[ID_TEXT_SIZE], path[160];
    struct stat st;
    id_format(A, id);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s%s.ndjson", f->folder, id, i == 1 ? ".1" : "");
        assert_int_equal(stat(path, &st), 0);
        assert_in_range(st.st_size, 1, INSTANCE_LOG_SIZE_MAX / 2);
    }
    struct log_reader *newest = log_reader_new(f->logs, A, 100000, nothing, NULL);
    struct lines got = read_on(f, newest);
    assert_in_range(got.size, 90000, 110000);
    assert_int_equal(got.seq, 2000);
    log_reader_free(newest);
    assert_int_equal(read_on(f, follower).seq, 2000);
    log_reader_free(follower);
}

static void log_refuses(void **state)
{
    struct fixture *f = *state;
    struct errinfo err;
    AUTO(buf) struct buf batch = {0};
    add_line(&batch, A, 1, "one");
    add_line(&batch, B, 2, "not mine");
    assert_int_equal(instance_logs_append(f->logs, A, buf_str(&batch), on_appended, NULL, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "line 2"));
    assert_int_equal(instance_logs_append(f->logs, A, STR("nonsense\n"), on_appended, NULL, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "line 1"));
    assert_int_equal(count(f, A), 0); /* all or none */
}

/* A long line is cut, between characters: half of one is refused by whoever reads JSON. */
static void log_cuts_long_lines(void **state)
{
    (void)state;
    for (size_t before = 0; before < 4; before++) {
        AUTO(buf) struct buf text = {0}, line = {0}, kept = {0};
        for (size_t i = 0; i < before; i++)
            buf_add_char(&text, 'x');
        while (text.len < INSTANCE_LOG_TEXT_SIZE_MAX + 100)
            buf_add_c(&text, "\xe2\x82\xac");
        add_line(&line, A, 1, text.ptr);
        assert_int_equal(instance_log_lines(buf_str(&line), A, &kept, NULL), OK);
        auto_json json_t *doc = NULL;
        assert_int_equal(json_parse(buf_str(&kept), &doc, NULL), OK);
        size_t n = json_string_length(json_object_get(doc, "text"));
        assert_in_range(n, INSTANCE_LOG_TEXT_SIZE_MAX - 2, INSTANCE_LOG_TEXT_SIZE_MAX);
    }
}

/* What comes faster than it is written is refused, not kept in memory. */
static void log_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    AUTO(buf) struct buf batch = {0};
    struct appended answers[40] = {0};
    size_t n = 0;
    AUTO(buf) struct buf text = {0};
    for (int i = 0; i < 15000; i++)
        buf_add_char(&text, 'x');
    for (int i = 1; i <= 60; i++)
        add_line(&batch, A, i, text.ptr);
    while (n < 40 && instance_logs_append(f->logs, A, buf_str(&batch), on_appended, &answers[n], NULL) == OK)
        n++;
    assert_in_range(n, BULK_QUEUE_SIZE_MAX / batch.len - 1, BULK_QUEUE_SIZE_MAX / batch.len + 1);
    while (!answers[n - 1].is_done)
        turn(f);
    assert_int_equal(append(f, A, &batch), 60); /* there is room again */
}

struct answered {
    bool is_done;
    enum err rc;
    size_t n;
    struct store_pos end;
};

static void on_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    (void)err;
    *(struct answered *)ctx = (struct answered){true, rc, batch->n, batch->end};
}

static void on_written(void *ctx, enum err rc, struct id log, const struct store_record *records, size_t n,
                       const struct errinfo *err)
{
    (void)log, (void)err;
    *(struct answered *)ctx = (struct answered){true, rc, n, {0}};
    if (rc == OK)
        ((struct answered *)ctx)->end = (struct store_pos){records[n - 1].seq, records[n - 1].e.sum};
}

static struct answered log_read(struct fixture *f, struct log_queue *q)
{
    struct answered a = {0};
    log_queue_read(q, 0, 100, on_read, &a);
    while (!a.is_done)
        turn(f);
    return a;
}

static struct answered log_add(struct fixture *f, struct log_queue *q, struct store_pos at, uint8_t n)
{
    struct answered a = {0};
    struct store_event e = {.type = STR("Something"), .id = {{n}}, .payload = STR("{}")};
    log_queue_append(q, at, &e, 1, on_written, &a);
    while (!a.is_done)
        turn(f);
    return a;
}

/* Where it is goes away, is met by reads and by an append whose end nobody knows, and comes back: so do reads. */
static void a_log_that_was_away(void **state)
{
    struct fixture *f = *state;
    bool is_closed = false;
    auto_free char *folder = mem_printf("%s/log", f->folder), *head = mem_printf("%s/head", folder),
                   *copy = mem_printf("%s/head.copy", folder), *spec = mem_printf("files;path=%s", folder);
    struct log_queue *writing = log_queue_new(&f->loop, spec, STORE_CREATE, ID_NONE),
                     *reading = log_queue_new(&f->loop, spec, STORE_READ, ID_NONE);
    struct answered first = log_add(f, writing, (struct store_pos){0}, 1);
    assert_int_equal(first.rc, OK);
    assert_int_equal(log_read(f, reading).n, 1);
    AUTO(buf) struct buf bytes = {0};
    assert_int_equal(file_read(head, 65536, &bytes, NULL), OK);
    assert_int_equal(file_replace(copy, buf_str(&bytes), 0600, NULL), OK);
    assert_int_equal(unlink(head), 0);
    assert_int_not_equal(log_read(f, reading).rc, OK);
    assert_int_not_equal(log_add(f, writing, first.end, 2).rc, OK);
    assert_int_not_equal(log_read(f, writing).rc, OK);
    assert_int_equal(rename(copy, head), 0);
    assert_int_equal(log_read(f, reading).n, 1);
    assert_int_equal(log_read(f, writing).n, 1);
    assert_int_equal(log_add(f, writing, first.end, 3).rc, OK);
    assert_int_equal(log_read(f, reading).n, 2);
    log_queue_close(reading, set_true, &is_closed);
    log_queue_close(writing, set_true, &is_closed);
}

static bool is_a(void *ctx, struct id instance)
{
    (void)ctx;
    return id_eq(instance, A);
}

static void on_swept(void *ctx, enum err rc, size_t n, const struct errinfo *err)
{
    (void)err;
    assert_int_equal(rc, OK);
    *(size_t *)ctx = n;
}

static size_t sweep(struct fixture *f, int64_t before_us)
{
    size_t n = 999;
    instance_logs_sweep(f->logs, clock_wall_us(), before_us, is_a, on_swept, &n);
    while (n == 999)
        turn(f);
    return n;
}

static void log_swept(void **state)
{
    struct fixture *f = *state;
    int64_t now_us = clock_wall_us();
    const size_t others_n = BULK_PAGE + 20; /* more than a page of them */
    for (size_t i = 0; i < 1 + others_n; i++) {
        AUTO(buf) struct buf line = {0};
        struct id id = i == 0 ? A : (struct id){{0xb, (uint8_t)(i / 200), (uint8_t)(i % 200)}};
        add_line(&line, id, 1, "one");
        (void)append(f, id, &line);
    }
    assert_int_equal(sweep(f, now_us - 60000000), 0); /* too young */
    assert_int_equal(sweep(f, now_us + 60000000), others_n);
    assert_int_equal(count(f, A), 1);
    assert_int_equal(count(f, (struct id){{0xb, 0, 1}}), 0);
}

static void seen_forgets(void **state)
{
    (void)state;
    struct seen *s = seen_new();
    seen_instance_statistics(s, A, &(struct instance_statistics){.pid = 1, .runtime = STR("qemu")}, 10);
    seen_instance_statistics(s, B, &(struct instance_statistics){.pid = 2}, 20);
    assert_true(str_eq_c(seen_instance_find(s, A)->runtime, "qemu"));
    seen_forget_silent(s, 15);
    assert_null(seen_instance_find(s, A));
    assert_int_equal(seen_instance_find(s, B)->pid, 2);
    seen_free(s);
}

static void seen_ignores_old_reports(void **state)
{
    (void)state;
    struct seen *s = seen_new();
    struct arena a = {0};
    struct node_report report = {.boot_id = STR("boot"), .report_seq = 2, .status = arena_str(&a, STR("ready"))};
    assert_true(seen_node_report(s, A, &report, &a, 1000, 1));
    report.report_seq = 1;
    a = (struct arena){0};
    assert_false(seen_node_report(s, A, &report, &a, 2000, 2));
    assert_int_equal(seen_node_find(s, A)->heard_us, 2000); /* but it was heard */
    assert_int_equal(seen_node_find(s, A)->report.report_seq, 2);
    report.boot_id = STR("next boot");
    assert_true(seen_node_report(s, A, &report, &a, 3000, 3));
    assert_null(seen_node_find(s, B));
    seen_free(s);
}

static void seen_edges_in_order(void **state)
{
    (void)state;
    struct seen *s = seen_new();
    assert_true(seen_edge_poll_begin(s, "b", 0, 10)); /* new */
    assert_true(seen_edge_poll_begin(s, "a", 5, 11));
    assert_false(seen_edge_poll_begin(s, "a", 5, 12));
    seen_edge_poll_end(s, "a", 13);
    assert_int_equal(seen_edges_n(s), 2);
    assert_true(str_eq_c(seen_edge_at(s, 0)->name, "a"));
    assert_int_equal(seen_edge_at(s, 0)->polls_n, 1);
    assert_int_equal(seen_edge_at(s, 0)->heard_us, 13);
    assert_true(seen_edge_poll_begin(s, "a", 3, 14)); /* set up anew: it serves an older state */
    seen_free(s);
}

static void watchdog_abstains(void **state)
{
    (void)state;
    const int64_t s = 1000000;
    struct watchdog_rules r = {.timeout_us = 15 * s, .tick_us = s, .late_us = 5 * s};
    int64_t now = 100 * s, live = now;
    assert_false(watchdog_may_vote(&r, now, 0, 4, 4)); /* not live */
    for (int i = 1; i < 15; i++)
        assert_false(watchdog_may_vote(&r, now + i * s, live, 4, 4)); /* nobody had time to report */
    now += 15 * s;
    assert_true(watchdog_may_vote(&r, now, live, 4, 4));
    assert_true(watchdog_may_vote(&r, now += s, live, 2, 4));
    assert_false(watchdog_may_vote(&r, now += s, live, 1, 4)); /* fewer than half are fresh */
    assert_false(watchdog_may_vote(&r, now += s, live, 3, 4)); /* they come back */
    assert_true(watchdog_may_vote(&r, now += s, live, 4, 4));
    assert_true(watchdog_may_vote(&r, now += s, live, 3, 4));
    assert_false(watchdog_may_vote(&r, now += 8 * s, live, 3, 4)); /* the loop was late */
    for (int i = 1; i < 15; i++)
        assert_false(watchdog_may_vote(&r, now + i * s, live, 3, 4));
    assert_true(watchdog_may_vote(&r, now + 15 * s, live, 3, 4));

    struct watchdog_rules first = {.timeout_us = 15 * s, .tick_us = s, .late_us = 5 * s};
    assert_false(watchdog_may_vote(&first, live + 20 * s, live, 3, 4)); /* it stood still before its first look */
    for (int i = 21; i < 35; i++)
        assert_false(watchdog_may_vote(&first, live + i * s, live, 3, 4));
    assert_true(watchdog_may_vote(&first, live + 35 * s, live, 3, 4));
}

/* All agents connect at once, and that takes twice as long as a node may be silent: nobody is given up as long as nodes
 * that were not there yet come. */
static void watchdog_waits_for_those_that_come_back(void **state)
{
    (void)state;
    const int64_t s = 1000000, live = 100 * s;
    struct watchdog_rules r = {.timeout_us = 15 * s, .tick_us = s, .late_us = 5 * s};
    int64_t now = live;
    for (size_t n = 0; n < 1000; n += 33)
        assert_false(watchdog_may_vote(&r, now += s, live, n, 1000));
    for (int i = 1; i < 15; i++)
        assert_false(watchdog_may_vote(&r, now += s, live, 990, 1000)); /* ten have not come yet */
    assert_true(watchdog_may_vote(&r, now += s, live, 990, 1000));      /* and nobody has for 15 s */
    assert_true(watchdog_may_vote(&r, now += s, live, 980, 1000));

    struct watchdog_rules dribble = {.timeout_us = 15 * s, .tick_us = s, .late_us = 5 * s};
    size_t n = 400, looks = 0; /* one more every ten seconds: not for ever */
    while (!watchdog_may_vote(&dribble, now += s, live, n, 1000) && looks < 1000)
        n = n < 500 ? 500 : n + (++looks % 10 == 0);
    assert_int_equal(looks, WATCHDOG_ARRIVAL_TIMEOUTS_MAX * 15 - 1);
}

static void sight_follows_from_the_log(void **state)
{
    (void)state;
    const int64_t now = INT64_C(1000000000), ms = 1000, fresh = SIGHT_FRESH_MS * ms;
    static const struct {
        bool is_live, is_stalled;
        int64_t seen_ago_us; /* -1: never */
        enum sight sight;
        bool lets_look;
    } CASES[] = {
        {false, false, -1, SIGHT_REPLAYING, false},
        {false, false, 0, SIGHT_REPLAYING, false}, /* begun anew: what it holds is not even what it once held */
        {true, false, 0, SIGHT_LIVE, true},
        {true, false, SIGHT_FRESH_MS * 1000, SIGHT_LIVE, true},
        {true, false, SIGHT_FRESH_MS * 1000 + 1, SIGHT_UNSEEN, true},
        {false, true, 0, SIGHT_STALLED, true},
        {false, true, -1, SIGHT_STALLED, true}, /* at its first replay: it answers from what it could fold */
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        int64_t seen_us = CASES[i].seen_ago_us < 0 ? INT64_MIN : now - CASES[i].seen_ago_us;
        assert_int_equal(sight_of(CASES[i].is_live, CASES[i].is_stalled, seen_us, now), CASES[i].sight);
        assert_int_equal(sight_lets_look(CASES[i].sight), CASES[i].lets_look);
    }
    assert_int_equal(sight_of(true, false, now, now + fresh), SIGHT_LIVE);
    assert_string_equal(sight_name(SIGHT_UNSEEN), "unseen");
}

/* Every replica comes to the same answer, each is preferred for its share, and one that goes takes only its share
 * along. */
enum { LIVE_MS = 15000 };

static struct edge_observed observed(const struct edges_heard *h, const struct edge_observed *own, size_t own_n,
                                     int64_t now_ms, const char *name)
{
    AUTO(arena) struct arena a = {0};
    size_t n = 0;
    struct edge_observed none = {0}, *all = edges_observe(h, own, own_n, now_ms, LIVE_MS, &a, &n);
    for (size_t i = 0; i < n; i++)
        if (str_eq_c(all[i].name, name))
            return (struct edge_observed){STR("found"), all[i].confirmed_seq, all[i].seen_ms};
    return none;
}

static bool knows(const struct edges_heard *h, int64_t now_ms, const char *name)
{
    return observed(h, NULL, 0, now_ms, name).name.len > 0;
}

/* An edge asks one replica; another one that plans knows it for as long as that one's lease holds and says so, and for
 * as long again as an edge is waited for. */
static void edges_that_others_hear(void **state)
{
    (void)state;
    char text[256];
    struct edges_heard h = {0};
    const struct edge_observed of_first[] = {{STR("e1"), 7, 999000}, {STR("e2"), 9, 980000}};
    edges_tell(of_first, 2, 1000000, LIVE_MS, text, sizeof(text));
    assert_string_equal(text, "e1 7 1000;");                         /* e2 is silent for 20 s: it is gone */
    assert_true(edges_hear(&h, STR("first"), str_from(text), 5000)); /* on this replica's own clock */
    assert_false(edges_hear(&h, STR("first"), str_from(text), 5500));
    assert_true(edges_hear(&h, STR("first"), STR("e1 8 1000;"), 5600));
    struct edge_observed e1 = observed(&h, NULL, 0, 6000, "e1");
    assert_true(e1.confirmed_seq == 8 && e1.seen_ms == 4600);
    assert_false(knows(&h, 6000, "e2"));
    assert_false(edges_hear(&h, STR("first"), STR("e1 8 14000;"), 18000)); /* it is told to be silent: */
    assert_true(knows(&h, 19600, "e1"));
    assert_false(knows(&h, 19601, "e1")); /* nothing newer is known than 4600 */
    edges_forget(&h, 4601);
    assert_int_equal(h.n, 0);
    edges_heard_done(&h);
}

/* Two hear the same edge: it has confirmed what both say, and is there since the later word. */
static void edges_confirm_the_lower(void **state)
{
    (void)state;
    struct edges_heard h = {0};
    const struct edge_observed own[] = {{STR("e1"), 12, 3000}, {STR("old"), 1, -20000}};
    (void)edges_hear(&h, STR("first"), STR("e1 10 0;old 5 0;e1 nonsense"), 5000);
    struct edge_observed e1 = observed(&h, own, 2, 6000, "e1"), old = observed(&h, own, 2, 6000, "old");
    assert_true(e1.confirmed_seq == 10 && e1.seen_ms == 5000);
    assert_true(old.confirmed_seq == 5);                       /* what was said before a silence does not count */
    (void)edges_hear(&h, STR("second"), STR("e1 0 0;"), 7000); /* set up anew */
    e1 = observed(&h, own, 2, 7000, "e1");
    assert_true(e1.confirmed_seq == 0 && e1.seen_ms == 7000);
    static const char *const BAD[] = {"e9", "e9;", "e9 1;", "e9 x 1;", "e9 1 x;", " 1 1;", "e9 1 -1;", ";;;", "e9 1 1"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        assert_false(edges_hear(&h, STR("third"), str_from(BAD[i]), 7000));
    assert_false(knows(&h, 7000, "e9"));
    edges_heard_done(&h);
}

/* Edges that do not fit into a lease, or into memory, are waited for as one that has confirmed the least. */
static void edges_that_do_not_fit(void **state)
{
    (void)state;
    static struct edge_observed many[EDGES_HEARD_MAX + 10];
    static char names[EDGES_HEARD_MAX + 10][16], text[STORE_LEASE_TEXT_SIZE];
    struct edges_heard h = {0};
    for (size_t i = 0; i < EDGES_HEARD_MAX + 10; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "edge-%05zu", i);
        many[i] = (struct edge_observed){str_from(names[i]), 1000 + i, 5000};
    }
    many[900].confirmed_seq = 3;
    edges_tell(many, 100, 5000, LIVE_MS, text, sizeof(text));
    assert_null(strchr(text, '*')); /* a hundred do */
    edges_tell(many, 1000, 5000, LIVE_MS, text, sizeof(text));
    (void)edges_hear(&h, STR("first"), str_from(text), 5000);
    assert_true(observed(&h, NULL, 0, 5000, "*").confirmed_seq == 3);
    assert_true(knows(&h, 5000, "edge-00000") && !knows(&h, 5000, "edge-00900"));
    for (size_t i = 0; i + 10 <= EDGES_HEARD_MAX + 10; i += 10) { /* of many replicas */
        char by[16];
        (void)snprintf(by, sizeof(by), "r%zu", i);
        edges_tell(many + i, 10, 5000, LIVE_MS, text, sizeof(text));
        (void)edges_hear(&h, str_from(by), str_from(text), 5000);
    }
    assert_int_equal(h.n, EDGES_HEARD_MAX);
    assert_true(observed(&h, NULL, 0, 5000, "*").confirmed_seq == 0);
    edges_heard_done(&h);
}

static void preferred_is_shared_out(void **state)
{
    (void)state;
    enum { THINGS = 3000 };
    struct str names[] = {STR("a"), STR("management-api-1"), STR("019ad7c0-0000-7000-8000-000000000001")};
    struct str other_order[] = {names[2], names[0], names[1]}, fewer[] = {names[0], names[2]};
    struct strs all = {names, 3}, turned = {other_order, 3}, left = {fewer, 2}, none = {0};
    size_t shares[3] = {0};
    for (int i = 0; i < THINGS; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%d", i);
        struct id what = id_derive(ID_NONE, text);
        size_t of = preferred_of(&all, what);
        shares[of]++;
        assert_true(str_eq(names[of], other_order[preferred_of(&turned, what)]));
        assert_true(of == 1 || str_eq(names[of], fewer[preferred_of(&left, what)]));
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(preferred_is(&all, names[k], what), k == of);
        assert_true(preferred_is(&none, names[0], what)); /* nobody is known */
        assert_false(preferred_is(&all, STR("stranger"), what));
    }
    for (size_t k = 0; k < 3; k++)
        assert_in_range(shares[k], THINGS / 3 - 150, THINGS / 3 + 150);
}

static void add_status(struct event_list *l, struct id_source *ids, struct id deployment)
{
    event_list_add(l, EVENT_DEPLOYMENT_STATUS_CHANGE, ids)->deployment_status_change =
        (struct deployment_status_change){.deployment_id = deployment, .status = STR("live")};
}

static void preferred_others_wait_a_second(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct id_source ids = {.wall_ms = 1};
    struct event_list nothing = {.arena = &a}, first = {.arena = &a}, second = {.arena = &a};
    struct preferred_left left = {0};
    int64_t again = 0;
    add_status(&first, &ids, A);
    add_status(&second, &ids, B);
    assert_false(preferred_stands_in(&left, &nothing, 1000, &again));
    assert_int_equal(again, INT64_MAX);
    assert_false(preferred_stands_in(&left, &first, 1000, &again));
    assert_int_equal(again, 2000);
    assert_false(preferred_stands_in(&left, &first, 1999, &again));
    assert_true(preferred_stands_in(&left, &first, 2000, &again));
    /* Done meanwhile, something else came: that has a second of its own. */
    assert_false(preferred_stands_in(&left, &second, 2400, &again));
    assert_int_equal(again, 3400);
    assert_false(preferred_stands_in(&left, &nothing, 2500, &again));
    assert_false(preferred_stands_in(&left, &second, 3450, &again));
    /* News that come all the time do not put off what is old. */
    for (int64_t now = 3500; now < 4450; now += 50) {
        add_status(&second, &ids, id_next(&ids));
        assert_false(preferred_stands_in(&left, &second, now, &again));
        assert_int_equal(again, 4450);
    }
    assert_true(preferred_stands_in(&left, &second, 4450, &again));
    preferred_done(&left);
}

/* An instance that is to be has another id in each plan: its process says that it is the same one. */
static void preferred_knows_a_plan_again(void **state)
{
    (void)state;
    AUTO(arena) struct arena a = {0};
    struct id_source ids = {.wall_ms = 1};
    struct preferred_left left = {0};
    int64_t again = 0;
    for (int i = 0; i < 2; i++) {
        struct event_list plan = {.arena = &a};
        event_list_add(&plan, EVENT_CREATE_INSTANCE, &ids)->create_instance =
            (struct create_instance){.instance_id = id_next(&ids), .process_id = A};
        assert_int_equal(preferred_stands_in(&left, &plan, i * PREFERRED_LEAVES_MS, &again), i == 1);
    }
    preferred_done(&left);
    for (int64_t now = 0; now <= PREFERRED_LEAVES_MS_MAX; now += 500) { /* never the same twice: for a while only */
        struct event_list plan = {.arena = &a};
        add_status(&plan, &ids, id_next(&ids));
        assert_int_equal(preferred_stands_in(&left, &plan, now, &again), now == PREFERRED_LEAVES_MS_MAX);
    }
    preferred_done(&left);
}

static void certificate_kept(void **state)
{
    struct fixture *f = *state;
    char cert_file[96], key_file[96], folder[96], not_after[CLOCK_TEXT_SIZE];
    (void)snprintf(cert_file, sizeof(cert_file), "%s/ca.pem", f->folder);
    (void)snprintf(key_file, sizeof(key_file), "%s/ca.key", f->folder);
    (void)snprintf(folder, sizeof(folder), "%s/certificates", f->folder);
    struct ca *ca = NULL;
    assert_int_equal(ca_create("test", &ca, NULL), OK);
    assert_int_equal(ca_save(ca, cert_file, key_file, NULL), OK);
    ca_free(ca);
    struct certificates *c = NULL;
    assert_int_equal(certificates_open(folder, cert_file, key_file, &c, NULL), OK);
    AUTO(buf) struct buf chain = {0};
    AUTO(buf) struct buf key = {0};
    AUTO(buf) struct buf chain_read = {0};
    AUTO(buf) struct buf key_read = {0};
    assert_int_equal(certificates_issue(c, "hello.localhost", &chain, &key, not_after, NULL), OK);
    assert_int_equal(certificates_read(c, A, &chain_read, &key_read, NULL), ERR_NOT_FOUND);
    assert_int_equal(certificates_keep(c, A, buf_str(&chain), buf_str(&key), NULL), OK);
    assert_int_equal(certificates_read(c, A, &chain_read, &key_read, NULL), OK);
    assert_true(str_eq(buf_str(&chain), buf_str(&chain_read)));
    assert_true(str_eq(buf_str(&key), buf_str(&key_read)));
    char id[ID_TEXT_SIZE], path[200];
    struct stat st;
    id_format(A, id);
    (void)snprintf(path, sizeof(path), "%s/%s/key.pem", folder, id);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    AUTO(arena) struct arena a = {0};
    struct cert_info info;
    assert_int_equal(cert_info_read(buf_str(&chain), &a, &info, NULL), OK);
    assert_string_equal(info.dns_names[0], "hello.localhost");
    assert_int_equal(certificates_issue(c, "Not A Host", &chain, &key, not_after, NULL), ERR_INVALID);
    certificates_close(c);
}

static void tokens_are_read_again(void **state)
{
    struct fixture *f = *state;
    char path[96], token[TOKEN_TEXT_SIZE], hash[TOKEN_HASH_TEXT_SIZE];
    (void)snprintf(path, sizeof(path), "%s/tokens", f->folder);
    token_new(token);
    token_hash(str_from(token), hash);
    struct operator_tokens t = {.file = path};
    assert_false(operator_tokens_match(&t, str_from(token)));
    FILE *file = fopen(path, "we");
    (void)fprintf(file, "# operators\n%s\n", hash);
    (void)fclose(file);
    assert_true(operator_tokens_match(&t, str_from(token)));
    token[10] = token[10] == 'a' ? 'b' : 'a';
    assert_false(operator_tokens_match(&t, str_from(token)));
    assert_false(operator_tokens_match(&t, STR("")));
    operator_tokens_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(log_repeated_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(log_torn_line, setup, teardown),
        cmocka_unit_test_setup_teardown(log_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(log_queue_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_that_was_away, setup, teardown),
        cmocka_unit_test(log_cuts_long_lines),
        cmocka_unit_test_setup_teardown(log_rotates, setup, teardown),
        cmocka_unit_test_setup_teardown(log_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(log_swept, setup, teardown),
        cmocka_unit_test(seen_forgets),
        cmocka_unit_test(seen_ignores_old_reports),
        cmocka_unit_test(seen_edges_in_order),
        cmocka_unit_test(watchdog_abstains),
        cmocka_unit_test(watchdog_waits_for_those_that_come_back),
        cmocka_unit_test(sight_follows_from_the_log),
        cmocka_unit_test(edges_that_others_hear),
        cmocka_unit_test(edges_confirm_the_lower),
        cmocka_unit_test(edges_that_do_not_fit),
        cmocka_unit_test(preferred_is_shared_out),
        cmocka_unit_test(preferred_others_wait_a_second),
        cmocka_unit_test(preferred_knows_a_plan_again),
        cmocka_unit_test_setup_teardown(certificate_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_are_read_again, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
