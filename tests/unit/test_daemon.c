/* The daemon room: settings, metrics text, and a whole program in a child process, by its signals and its listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/own.h"
#include "crypto/file.h"
#include "daemon/daemon.h"
#include "folder.h"

#define WAIT_MS_MAX 10000

/* ---- settings ---- */

struct things {
    const char *name, *file, *kind;
    int64_t count;
    uint64_t cache_bytes;
    bool is_loud;
    struct setting_list labels;
};

#define AT(field) offsetof(struct things, field)
static const struct setting TABLE[] = {
    {.name = "name", .type = SETTING_TEXT, .offset = AT(name), .required = true, .doc = "its name"},
    {.name = "file", .type = SETTING_PATH, .offset = AT(file), .doc = "a file"},
    {.name = "kind",
     .type = SETTING_CHOICE,
     .offset = AT(kind),
     .choices = "red|blue",
     .fallback = "red",
     .doc = "colour"},
    {.name = "count", .type = SETTING_INT, .offset = AT(count), .min = 1, .max = 9, .fallback = "3", .doc = "how many"},
    {.name = "cache",
     .type = SETTING_SIZE,
     .offset = AT(cache_bytes),
     .fallback = "1MiB",
     .max = 1 << 30,
     .doc = "how much"},
    {.name = "loud", .type = SETTING_BOOL, .offset = AT(is_loud), .doc = "whether"},
    {.name = "labels", .type = SETTING_LIST, .offset = AT(labels), .fallback = "a,b", .doc = "words"},
};
#define TABLE_N (sizeof(TABLE) / sizeof(TABLE[0]))

static enum err load(const char *folder, const char *yaml, char *const *environment, struct arena *arena,
                     struct things *ret, struct errinfo *err)
{
    auto_free char *file = mem_printf("%s/s.yaml", folder);
    assert_int_equal(crypto_file_write(file, str_from(yaml), 0600, -1, -1, NULL), OK);
    return settings_load(TABLE, TABLE_N, file, environment, arena, ret, sizeof(*ret), err);
}

static void settings_come_from_three_places(void **state)
{
    AUTO(arena) struct arena arena = {0};
    struct things t;
    struct errinfo err = {0};
    char *const environment[] = {(char[]){"SLIPFORM_COUNT=7"}, (char[]){"SLIPFORM_LABELS= x , y=1,"},
                                 (char[]){"SLIPFORM_FILE=rel"}, (char[]){"SLIPFORM_COUNTER=1"}, NULL};
    assert_int_equal(load(*state, "name: it\n", NULL, &arena, &t, &err), OK);
    assert_string_equal(t.name, "it");
    assert_null(t.file);
    assert_string_equal(t.kind, "red");
    assert_true(t.count == 3 && t.cache_bytes == 1u << 20 && !t.is_loud && t.labels.n == 2);

    static const char full[] =
        "# settings\nname: \"a: b\"\nfile: sub/x\nkind: blue\ncount: 9\ncache: 64KiB\nloud: true\n"
        "labels:\n  - one\n  - \"two, three\"\n";
    assert_int_equal(load(*state, full, NULL, &arena, &t, &err), OK);
    auto_free char *path = mem_printf("%s/sub/x", (const char *)*state);
    assert_string_equal(t.name, "a: b");
    assert_string_equal(t.file, path);
    assert_true(t.count == 9 && t.cache_bytes == 65536 && t.is_loud && t.labels.n == 2);
    assert_string_equal(t.labels.items[1], "two, three");

    assert_int_equal(load(*state, full, environment, &arena, &t, &err), OK);
    assert_int_equal(t.count, 7);
    assert_string_equal(t.file, "rel");
    assert_int_equal(t.labels.n, 2);
    assert_string_equal(t.labels.items[1], "y=1");
    assert_int_equal(load(*state, "name: it\nlabels: []\n", NULL, &arena, &t, &err), OK);
    assert_int_equal(t.labels.n, 0);
}

static void settings_errors_name_the_place(void **state)
{
    const struct {
        const char *yaml, *text;
    } cases[] = {{"", "'name' is missing"},
                 {"name: x\nnmae: y\n", "s.yaml:2: there is no setting 'nmae'"},
                 {"name: x\n\ncount: 10\n", "s.yaml:3: 'count' is '10'"},
                 {"name: x\ncount: many\n", "s.yaml:2: 'count' is 'many'"},
                 {"name: x\ncount: -1\n", "s.yaml:2"},
                 {"name: x\ncache: 2GiB\n", "s.yaml:2: 'cache' is '2GiB'"},
                 {"name: x\ncache: 1MB\n", "like 64KiB"},
                 {"name: x\ncache: 99999999999999999999GiB\n", "s.yaml:2"},
                 {"name: x\nloud: yes\n", "s.yaml:2: 'loud' is 'yes', not true or false"},
                 {"name: x\nkind: green\n", "not one of red|blue"},
                 {"name: x\nlabels: one\n", "s.yaml:2: 'labels' is a list"},
                 {"name: x\nlabels:\n  - a: b\n", "s.yaml:3: 'labels' is a list of plain values"},
                 {"name: x\nlabels:\n  - \"a\\0b\"\n", "s.yaml:3: 'labels' has a NUL in it"},
                 {"name:\n  - x\n", "s.yaml:2: 'name' is not a plain value"},
                 {"name: x\nname: y\n", "s.yaml:2: 'name' is there twice"},
                 {"- name\n", "s.yaml:1: expected `name: value` lines"},
                 {"name: x\n---\nname: y\n", "one document only"},
                 {"name: \"x\n", "not YAML"},
                 {"name: *x\n", "s.yaml:1"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(arena) struct arena arena = {0};
        struct things t;
        struct errinfo err = {0};
        assert_int_equal(load(*state, cases[i].yaml, NULL, &arena, &t, &err), ERR_INVALID);
        if (strstr(err.msg, cases[i].text) == NULL)
            fail_msg("'%s' is not in '%s'", cases[i].text, err.msg);
    }
    AUTO(arena) struct arena arena = {0};
    AUTO(buf) struct buf long_list = {0};
    struct things t;
    struct errinfo err;
    buf_add_c(&long_list, "name: x\nlabels:\n");
    for (int i = 0; i < SETTING_LIST_MAX; i++)
        buf_add_c(&long_list, "  - a\n");
    assert_int_equal(load(*state, long_list.ptr, NULL, &arena, &t, &err), OK);
    assert_int_equal(t.labels.n, SETTING_LIST_MAX);
    buf_add_c(&long_list, "  - a\n");
    assert_int_equal(load(*state, long_list.ptr, NULL, &arena, &t, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "'labels' has more than 1000 values"));
    char *const environment[] = {(char[]){"SLIPFORM_COUNT=0"}, NULL};
    assert_int_equal(load(*state, "name: x\n", environment, &arena, &t, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "environment SLIPFORM_COUNT"));
    assert_int_equal(settings_load(TABLE, TABLE_N, "/nonexistent", NULL, &arena, &t, sizeof(t), &err), ERR_NOT_FOUND);
}

/* ---- metrics ---- */

static void metrics_text(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    const struct metric_label red = {"colour", "re\"d\\\n"}, blue = {"colour", "blue"};
    counter_add(metrics_counter(m, "things_total", "Things.\nAll of them.", &red, 1), 2);
    counter_add(metrics_counter(m, "things_total", "", &blue, 1), 1);
    counter_add(metrics_counter(m, "things_total", "", &red, 1), 3);
    gauge_set(metrics_gauge(m, "a_bytes", "A.", NULL, 0), 1.5);
    gauge_add(metrics_gauge(m, "a_bytes", "A.", NULL, 0), -2);
    static const double bounds[] = {0.1, 1};
    struct histogram *h = metrics_histogram(m, "t_seconds", "T.", &blue, 1, bounds, 2);
    histogram_observe(h, 0.1);
    histogram_observe(h, 0.5);
    histogram_observe(h, 5);
    AUTO(buf) struct buf text = {0};
    metrics_render(m, &text);
    assert_string_equal(text.ptr, "# HELP a_bytes A.\n# TYPE a_bytes gauge\na_bytes -0.5\n"
                                  "# HELP t_seconds T.\n# TYPE t_seconds histogram\n"
                                  "t_seconds_bucket{colour=\"blue\",le=\"0.1\"} 1\n"
                                  "t_seconds_bucket{colour=\"blue\",le=\"1\"} 2\n"
                                  "t_seconds_bucket{colour=\"blue\",le=\"+Inf\"} 3\n"
                                  "t_seconds_sum{colour=\"blue\"} 5.6\nt_seconds_count{colour=\"blue\"} 3\n"
                                  "# HELP things_total Things.\\nAll of them.\n# TYPE things_total counter\n"
                                  "things_total{colour=\"blue\"} 1\nthings_total{colour=\"re\\\"d\\\\\\n\"} 5\n");
    buf_clear(&text);
    metrics_add_process(m);
    metrics_render(m, &text);
    assert_non_null(strstr(text.ptr, "\nprocess_resident_memory_bytes "));
    assert_null(strstr(text.ptr, "process_open_fds 0\n"));
    metrics_free(m);
}

/* ---- a whole program ---- */

struct demo {
    const char *mood;
};
static const struct setting DEMO_SETTINGS[] = {{.name = "mood",
                                                .type = SETTING_CHOICE,
                                                .offset = offsetof(struct demo, mood),
                                                .choices = "fine|broken|stuck|self|early",
                                                .fallback = "fine",
                                                .doc = "how it behaves"}};
static const struct program_flag DEMO_FLAGS[] = {{"into", "DIR", "a folder"}, {"now", NULL, "a switch"}};

static const char *demo_mood(const struct daemon *d)
{
    return ((const struct demo *)d->settings)->mood;
}

static void demo_fill(struct daemon *d, json_t *doc)
{
    json_object_set_new(doc, "position", json_string(d->common.installation));
}

static void demo_timer(uv_timer_t *timer)
{
    daemon_stop(timer->data, 7);
}

static enum err demo_start(struct daemon *d, struct errinfo *err)
{
    if (strcmp(demo_mood(d), "broken") == 0)
        return err_set(err, ERR_UNAVAILABLE, "no luck today");
    if (strcmp(demo_mood(d), "early") == 0)
        daemon_stop(d, 6);
    uv_timer_t *timer = mem_alloc(sizeof(*timer));
    (void)uv_timer_init(d->loop, timer);
    timer->data = d;
    (void)uv_timer_start(timer, demo_timer, strcmp(demo_mood(d), "self") == 0 ? 1 : 3600000, 0);
    d->state = timer;
    daemon_on_readyz(d, demo_fill);
    daemon_set_ready(d, true, NULL);
    return OK;
}

static void demo_stop(struct daemon *d)
{
    if (strcmp(demo_mood(d), "stuck") == 0)
        return;
    uv_close(d->state, NULL);
    daemon_stopped(d);
}

static void demo_free(struct daemon *d)
{
    free(d->state);
}

static const struct program DEMO = {.name = "demo",
                                    .doc = "a program",
                                    .settings = DEMO_SETTINGS,
                                    .settings_n = 1,
                                    .settings_size = sizeof(struct demo),
                                    .flags = DEMO_FLAGS,
                                    .flags_n = 2,
                                    .start = demo_start,
                                    .stop = demo_stop,
                                    .free = demo_free,
                                    .stop_deadline_ms = 50};

struct child {
    pid_t pid;
    int notify_fd, out_fd; /* out_fd: its stdout and stderr */
    char *address_file;
};

static int notify_socket(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    assert_true(str_copy_to(str_from(path), at.sun_path, sizeof(at.sun_path)));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static struct child child_start(const char *folder, const char *mood, int argc, char **argv)
{
    struct child c = {.address_file = mem_printf("%s/address", folder)};
    auto_free char *notify = mem_printf("%s/notify", folder);
    int out[2];
    (void)unlink(notify);
    c.notify_fd = notify_socket(notify);
    assert_int_equal(pipe(out), 0);
    c.pid = fork();
    if (c.pid == 0) {
        (void)setenv("NOTIFY_SOCKET", notify, 1);
        (void)setenv("SLIPFORM_METRICS_ADDRESS_FILE", c.address_file, 1);
        (void)setenv("SLIPFORM_INSTALLATION", "dev-0", 1);
        (void)setenv("SLIPFORM_MOOD", mood, 1);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)dup2(out[1], STDERR_FILENO);
        (void)close(out[0]);
        (void)close(out[1]);
        free(c.address_file);
        free(TAKE(notify));
        exit(daemon_main(argc, argv, &DEMO)); /* exit, so that the leak checker looks */
    }
    (void)close(out[1]);
    c.out_fd = out[0];
    return c;
}

static void expect_notification(const struct child *c, const char *want)
{
    struct pollfd p = {.fd = c->notify_fd, .events = POLLIN};
    char text[64] = "";
    assert_int_equal(poll(&p, 1, WAIT_MS_MAX), 1);
    assert_true(recv(c->notify_fd, text, sizeof(text) - 1, 0) > 0);
    assert_string_equal(text, want);
}

/* Its exit code; what it printed is in *ret_output. */
static int child_end(struct child *c, struct buf *ret_output)
{
    char bytes[4096];
    ssize_t n = 0;
    int status = 0;
    while ((n = read(c->out_fd, bytes, sizeof(bytes))) > 0)
        buf_add(ret_output, bytes, (size_t)n);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    (void)close(c->out_fd);
    (void)close(c->notify_fd);
    free(c->address_file);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void fetch(const struct child *c, const char *path, int want_status, struct buf *ret_body)
{
    AUTO(buf) struct buf address = {0};
    assert_int_equal(crypto_file_read(c->address_file, &address, NULL), OK);
    auto_free char *url = mem_printf("http://%.*s%s", STR_ARG(str_trim(buf_str(&address))), path);
    struct http_call_options o = {.url = url, .total_timeout_ms = WAIT_MS_MAX};
    AUTO(http_result) struct http_result result = {0};
    err_ignore(http_fetch(&o, NULL, &result)); /* the status says it */
    assert_int_equal(result.status, want_status);
    buf_clear(ret_body);
    buf_add_str(ret_body, buf_str(&result.body));
}

static void program_lives_and_stops(void **state)
{
    char *argv[] = {(char[]){"demo"}, (char[]){"--into=x"}, NULL};
    AUTO(buf) struct buf text = {0}, output = {0};
    struct child c = child_start(*state, "fine", 2, argv);
    expect_notification(&c, "READY=1");
    fetch(&c, "/healthz", 200, &text);
    fetch(&c, "/readyz", 200, &text);
    assert_string_equal(text.ptr, "{\"position\":\"dev-0\",\"ready\":true}\n");
    fetch(&c, "/metrics", 200, &text);
    assert_non_null(strstr(text.ptr, "process_start_time_seconds"));
    fetch(&c, "/nothing", 404, &text);
    assert_int_equal(kill(c.pid, SIGTERM), 0);
    expect_notification(&c, "STOPPING=1");
    assert_int_equal(child_end(&c, &output), 0);
    assert_non_null(strstr(output.ptr, "stopping on signal 15"));
}

static void program_exit_codes(void **state)
{
    const struct {
        const char *mood, *arg, *text;
        bool is_signalled;
        int code;
    } cases[] = {{"broken", "--now", "no luck today (unavailable)", false, 5},
                 {"stuck", "--now", "longer than its deadline", true, 1},
                 {"self", "--now", "exit code 7", false, 7},
                 {"early", "--now", "exit code 6", false, 6},
                 {"angry", "--now", "not one of fine", false, 1},
                 {"fine", "--what", "no option '--what'", false, 2},
                 {"fine", "--into", "--into needs a value", false, 2},
                 {"fine", "--now=1", "takes no value", false, 2},
                 {"fine", "--version", "demo 0", false, 0},
                 {"fine", "--check-config", "the settings are right", false, 0},
                 {"angry", "--help", "SLIPFORM_MOOD", false, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buf) struct buf output = {0};
        auto_free char *arg = mem_strdup(cases[i].arg);
        char *argv[] = {(char[]){"demo"}, arg, NULL};
        struct child c = child_start(*state, cases[i].mood, 2, argv);
        if (cases[i].is_signalled) {
            expect_notification(&c, "READY=1");
            assert_int_equal(kill(c.pid, SIGINT), 0);
        }
        assert_int_equal(child_end(&c, &output), cases[i].code);
        if (strstr(output.ptr, cases[i].text) == NULL)
            fail_msg("'%s' is not in '%s'", cases[i].text, output.ptr);
    }
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(settings_come_from_three_places),
        WITH_FOLDER(settings_errors_name_the_place),
        cmocka_unit_test(metrics_text),
        WITH_FOLDER(program_lives_and_stops),
        WITH_FOLDER(program_exit_codes),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
