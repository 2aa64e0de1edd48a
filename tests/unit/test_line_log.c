/* node/agent/line_log: bounded, in order, and nothing that was acknowledged comes twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "folder.h"
#include "node/agent/line_log.h"
#include "os/file.h"

enum { SMALL = 4096 };

struct place {
    char folder[64];
    struct line_log *log;
};

static void reopen(struct place *p)
{
    struct errinfo err;
    line_log_close(p->log);
    assert_int_equal(line_log_open(p->folder, (struct id){{1}}, SMALL, &p->log, &err), OK);
}

static int begin(void **state)
{
    struct place *p = mem_alloc(sizeof(*p));
    assert_true(scratch_make("/tmp", p->folder, sizeof(p->folder)));
    reopen(p);
    *state = p;
    return 0;
}

static int end(void **state)
{
    struct place *p = *state;
    struct errinfo err;
    line_log_close(p->log);
    assert_int_equal(folder_remove(p->folder, &err), OK);
    free(p);
    return 0;
}

static void say(struct place *p, int from, int to)
{
    for (int i = from; i <= to; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "line \"%d\"", i);
        line_log_add(p->log, "stdout", str_from(text), 1700000000000000);
    }
}

/* The numbers of the next batch are first..last without a gap. */
static void expect_batch(struct place *p, int64_t first, int64_t last)
{
    AUTO(buf) struct buf out = {0};
    int64_t seq = 0;
    assert_true(line_log_batch(p->log, &out, &seq));
    assert_int_equal(seq, last);
    struct str rest = buf_str(&out), line;
    for (int64_t n = first; n <= last; n++) {
        auto_free char *ending = mem_printf("\"seq\":%lld}", (long long)n);
        assert_true(str_next(&rest, '\n', &line));
        if (!str_ends(line, str_from(ending)))
            fail_msg("%.*s", STR_ARG(line));
    }
    assert_int_equal(rest.len, 0);
}

static void acknowledged_once(void **state)
{
    struct place *p = *state;
    AUTO(buf) struct buf none = {0};
    int64_t seq;
    assert_false(line_log_batch(p->log, &none, &seq));
    say(p, 1, 5);
    expect_batch(p, 1, 5);
    expect_batch(p, 1, 5); /* not acknowledged */
    say(p, 6, 7);
    line_log_ack(p->log, 5);
    expect_batch(p, 6, 7);
    reopen(p);
    expect_batch(p, 6, 7);
    line_log_ack(p->log, 7);
    assert_false(line_log_has_news(p->log));
    reopen(p);
    assert_false(line_log_has_news(p->log));
    say(p, 8, 8);
    expect_batch(p, 8, 8);
    assert_string_equal(line_log_last(p->log), "line \"8\"");
}

static void rotates(void **state)
{
    struct place *p = *state;
    say(p, 1, 500); /* some 60 KB into 4: the oldest went */
    char *paths[] = {mem_printf("%s/current.ndjson", p->folder), mem_printf("%s/previous.ndjson", p->folder)};
    int64_t size = 0, total = 0;
    struct errinfo err;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(file_size(paths[i], &size, &err), OK);
        total += size;
        free(paths[i]);
    }
    assert_true(total <= SMALL);
    AUTO(buf) struct buf out = {0};
    int64_t last = 0;
    assert_true(line_log_batch(p->log, &out, &last));
    line_log_ack(p->log, last);
    if (last < 500) {
        expect_batch(p, last + 1, 500); /* the other file */
        line_log_ack(p->log, 500);
    }
    assert_false(line_log_has_news(p->log));
}

/* An answer to a batch of a file that was rotated away meanwhile skips nothing. */
static void rotated_under_a_batch(void **state)
{
    struct place *p = *state;
    say(p, 1, 3);
    expect_batch(p, 1, 3);
    say(p, 4, 20); /* current becomes previous */
    line_log_ack(p->log, 3);
    AUTO(buf) struct buf out = {0};
    int64_t seen = 3, last = 0;
    while (line_log_has_news(p->log)) {
        buf_clear(&out);
        assert_true(line_log_batch(p->log, &out, &last));
        assert_true(last > seen || last == seen);
        line_log_ack(p->log, last);
        seen = last;
    }
    assert_int_equal(seen, 20);
}

static void torn_by_a_crash(void **state)
{
    struct place *p = *state;
    say(p, 1, 2);
    auto_free char *path = mem_printf("%s/current.ndjson", p->folder);
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "{\"time\":\"20", 11), 11);
    (void)close(fd);
    reopen(p);
    say(p, 3, 3);
    expect_batch(p, 1, 3);
}

/* The cause of a program that ended is its own last word, not what the kernel says as it goes down. */
static void last_word_is_the_programs(void **state)
{
    struct place *p = *state;
    line_log_add(p->log, "console", STR("Kernel panic"), 1700000000000000);
    assert_string_equal(line_log_last(p->log), "Kernel panic");
    line_log_add(p->log, "stderr", STR("cannot find the database"), 1700000000000001);
    line_log_add(p->log, "console", STR("reboot: Restarting system"), 1700000000000002);
    assert_string_equal(line_log_last(p->log), "cannot find the database");
}

/* A bit of the disk makes 9,223,372,036,854,775,807 of a number: what comes then must not be lost for ever. */
static void a_number_that_nobody_wrote(void **state)
{
    struct place *p = *state;
    auto_free char *path = mem_printf("%s/current.ndjson", p->folder), *acked = mem_printf("%s/acked", p->folder);
    assert_int_equal(file_replace(path, STR("{\"text\":\"a\",\"seq\":9223372036854775807}\n"), 0640, NULL), OK);
    assert_int_equal(file_replace(acked, STR("9223372036854775807"), 0640, NULL), OK);
    reopen(p);
    say(p, 1, 2);
    expect_batch(p, 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acknowledged_once, begin, end),
        cmocka_unit_test_setup_teardown(rotates, begin, end),
        cmocka_unit_test_setup_teardown(rotated_under_a_batch, begin, end),
        cmocka_unit_test_setup_teardown(torn_by_a_crash, begin, end),
        cmocka_unit_test_setup_teardown(a_number_that_nobody_wrote, begin, end),
        cmocka_unit_test_setup_teardown(last_word_is_the_programs, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
