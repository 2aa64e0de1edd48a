/* The log of statistics: recorded once, in generations that go as a whole, and of no harm when it cannot be written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/own.h"
#include "control/statistics.h"
#include "event/catalogue.h"
#include "folder.h"

static const struct id A = {{0xa}}, B = {{0xb}};
static const int64_t BEGIN_NS = INT64_C(1767225600000000000), WIDTH_NS = INT64_C(5000000000);

struct lab {
    uv_loop_t loop;
    struct logger log;
    uint64_t size, generations;
    bool is_series;
    struct bulk_queue *queues[4]; /* one for each that is open */
    size_t queues_n;
};

/* A handle of its own, as a replica has. */
static struct bulk_queue *open_queue(struct lab *lab, const char *folder)
{
    auto_free char *spec = mem_printf("folder;path=%s", folder);
    assert_true(lab->queues_n < 4);
    return lab->queues[lab->queues_n++] = bulk_queue_new(&lab->loop, spec, &(struct bulk_limits){0});
}

static struct statistics *open_one(struct lab *lab, const char *folder)
{
    return statistics_new(&(struct statistics_options){.loop = &lab->loop,
                                                       .log = &lab->log,
                                                       .folder = lab->is_series ? NULL : folder,
                                                       .bulk = lab->is_series ? open_queue(lab, folder) : NULL,
                                                       .writes = true,
                                                       .generation_size_bytes = lab->size,
                                                       .generations_n = lab->generations,
                                                       .flush_ms = 5});
}

static void set_true(void *flag)
{
    *(bool *)flag = true;
}

static void close_one(struct lab *lab, struct statistics *s)
{
    bool closed = false;
    statistics_close(s, set_true, &closed);
    while (!closed)
        (void)uv_run(&lab->loop, UV_RUN_ONCE);
}

static void lab_open(struct lab *lab, uint64_t size, uint64_t generations)
{
    *lab = (struct lab){.size = size, .generations = generations};
    assert_int_equal(uv_loop_init(&lab->loop), 0);
}

static void lab_close(struct lab *lab)
{
    for (size_t i = 0; i < lab->queues_n; i++)
        bulk_queue_close(lab->queues[i], NULL, NULL);
    while (uv_run(&lab->loop, UV_RUN_NOWAIT) != 0)
        continue;
    assert_int_equal(uv_loop_close(&lab->loop), 0);
}

/* Window k of an instance, which has folded n events by then. */
static void say(struct statistics *s, struct id id, int64_t k, int64_t n)
{
    struct umbilical_window w = {.start = {BEGIN_NS + k * WIDTH_NS, 0},
                                 .end = {BEGIN_NS + (k + 1) * WIDTH_NS, 0},
                                 .n_input_events_handled_ok = 1};
    struct umbilical_report r = {.run_id = {{1}}, .n_input_events_handled = n, .windows = {&w, 1}};
    statistics_hear(s, id, &r, 1);
}

static void until(struct lab *lab, const struct statistics *s, uint64_t end)
{
    for (uint64_t before = uv_now(&lab->loop); statistics_end(s) < end; (void)uv_run(&lab->loop, UV_RUN_ONCE))
        if (uv_now(&lab->loop) - before > 20000)
            fail_msg("the log ends at %llu, not at %llu", (unsigned long long)statistics_end(s),
                     (unsigned long long)end);
}

struct found {
    bool is_done;
    enum err rc;
    size_t iopw_n, progress_n;
    uint64_t first, last;
};

static void on_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    struct found *f = ctx;
    (void)err;
    f->is_done = true;
    f->rc = rc;
    for (size_t i = 0; i < batch->n; i++) {
        f->iopw_n += str_eq_c(batch->items[i].e.type, "InstanceIopw");
        f->progress_n += str_eq_c(batch->items[i].e.type, "InstanceProgress");
        f->first = i == 0 ? batch->items[i].seq : f->first;
        f->last = batch->items[i].seq;
    }
}

static struct found read_behind(struct lab *lab, struct statistics *s, uint64_t after)
{
    struct found f = {0};
    statistics_read(s, after, 1000, on_read, &f);
    assert_false(f.is_done);
    while (!f.is_done)
        (void)uv_run(&lab->loop, UV_RUN_ONCE);
    assert_int_equal(f.rc, OK);
    return f;
}

/* The same report again, after a restart, and by a second replica: each window is there once. */
static void check_recorded_once(const char *folder, bool is_series)
{
    struct lab lab;
    lab_open(&lab, 0, 0);
    lab.is_series = is_series;
    struct statistics *s = open_one(&lab, folder), *other;
    assert_int_equal(read_behind(&lab, s, 0).last, 0);
    say(s, A, 0, 1);
    say(s, A, 0, 1);
    until(&lab, s, 2);
    say(s, A, 0, 1);
    say(s, B, 0, 1);
    until(&lab, s, 4);
    other = open_one(&lab, folder);
    say(other, A, 0, 1);
    say(other, A, 1, 2);
    until(&lab, other, 6);
    say(s, A, 1, 2); /* it does not know yet what the other one wrote */
    say(s, B, 1, 2);
    until(&lab, s, 8);
    close_one(&lab, other);
    close_one(&lab, s);
    s = open_one(&lab, folder);
    say(s, A, 1, 2);
    say(s, A, 2, 3);
    until(&lab, s, 10);
    struct found f = read_behind(&lab, s, 0);
    assert_int_equal(f.iopw_n, 5);
    assert_int_equal(f.progress_n, 5);
    assert_int_equal(f.last, 10);
    close_one(&lab, s);
    lab_close(&lab);
}

static void recorded_once(void **state)
{
    check_recorded_once(*state, false);
}

static void recorded_once_in_a_series(void **state)
{
    check_recorded_once(*state, true);
}

/* Its older half goes when it is too long; what is left is read from its first record on, numbers go on. When all of it
 * was thrown away, it begins anew, and nobody waits for what is gone. */
static void a_series_is_bounded(void **state)
{
    struct lab lab;
    lab_open(&lab, 4000, 2);
    lab.is_series = true;
    struct statistics *s = open_one(&lab, *state);
    for (int64_t k = 0; k < 40; k++) {
        say(s, A, k, k + 1);
        until(&lab, s, (uint64_t)(k + 1) * 2);
    }
    struct found f = read_behind(&lab, s, 0);
    assert_in_range(f.first, 40, 75);
    while (f.last < 80 && f.last > 0)
        f = read_behind(&lab, s, f.last); /* page by page, nothing left out */
    assert_int_equal(f.last, 80);
    assert_int_equal(read_behind(&lab, s, 76).first, 77);
    auto_free char *file = mem_printf("%s/statistics.ndjson", (const char *)*state);
    auto_free char *old_file = mem_printf("%s/statistics.1.ndjson", (const char *)*state);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(unlink(old_file), 0);
    say(s, A, 40, 41);
    for (int i = 0; i < 2000 && read_behind(&lab, s, 0).last == 0; i++)
        (void)uv_run(&lab.loop, UV_RUN_ONCE);
    f = read_behind(&lab, s, 0);
    assert_int_equal(f.first, 1);
    assert_int_equal(f.iopw_n, 1);
    close_one(&lab, s);
    lab_close(&lab);
}

/* Old generations go; what is left is read from its first record on, numbers go on. */
static void retention(void **state)
{
    struct lab lab;
    lab_open(&lab, 1000, 3);
    struct statistics *s = open_one(&lab, *state);
    for (int64_t k = 0; k < 40; k++) {
        say(s, A, k, k + 1);
        until(&lab, s, (uint64_t)(k + 1) * 2);
    }
    struct found f = read_behind(&lab, s, 0);
    assert_in_range(f.first, 55, 79);
    assert_int_equal(statistics_end(s), 80);
    size_t n = 0;
    for (uint64_t at = 0;;) {
        f = read_behind(&lab, s, at);
        if (f.last == 0)
            break;
        n += f.iopw_n + f.progress_n;
        at = f.last;
    }
    assert_in_range(n, 4, 25);
    close_one(&lab, s);
    s = open_one(&lab, *state);
    say(s, A, 40, 41);
    until(&lab, s, 82);
    close_one(&lab, s);
    lab_close(&lab);
}

/* Where it cannot be written nothing waits for it, what waits is bounded, and it goes on once it can. */
static void a_full_disk(void **state)
{
    struct lab lab;
    lab_open(&lab, 0, 0);
    auto_free char *folder = mem_printf("%s/none/statistics", (const char *)*state);
    struct statistics *s = open_one(&lab, folder);
    for (int64_t k = 0; k < STATISTICS_PENDING_MAX + 10; k++)
        say(s, A, k, k + 1);
    assert_int_equal(statistics_lost_n(s), 10);
    auto_free char *parent = mem_printf("%s/none", (const char *)*state);
    for (int k = 0; k < 50; k++)
        (void)uv_run(&lab.loop, UV_RUN_ONCE);
    assert_int_equal(statistics_end(s), 0);
    assert_int_equal(mkdir(parent, 0755), 0);
    assert_int_equal(mkdir(folder, 0755), 0);
    until(&lab, s, STATISTICS_PENDING_MAX);
    close_one(&lab, s);
    lab_close(&lab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(recorded_once, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(recorded_once_in_a_series, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_series_is_bounded, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(retention, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(a_full_disk, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
