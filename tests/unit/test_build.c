/* The build room: hostile contexts stay inside their folder, failures are told so that a person can act. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "build/command.h"
#include "build/context.h"
#include "build/egress.h"
#include "build/image_config.h"
#include "build/trace.h"
#include "folder.h"

/* --- contexts */

struct entry {
    const char *path;
    mode_t type;
    const char *content; /* of a file; target of a link */
    bool is_hard_link;
};

struct fixture {
    int tar;
    char folder[64], inside[80];
};

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof(*f));
    assert_true(scratch_make("/tmp", f->folder, sizeof(f->folder)));
    (void)snprintf(f->inside, sizeof(f->inside), "%s/in", f->folder);
    assert_int_equal(mkdir(f->inside, 0700), 0);
    f->tar = open(f->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(f->tar >= 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    (void)close(f->tar);
    (void)scratch_remove(f->folder);
    free(f);
    return 0;
}

static void write_tar(struct fixture *f, const struct entry *entries, size_t n)
{
    struct archive *a = archive_write_new();
    assert_int_equal(archive_write_set_format_pax_restricted(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_fd(a, f->tar), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        bool is_file = entries[i].type == AE_IFREG && !entries[i].is_hard_link;
        archive_entry_set_pathname(e, entries[i].path);
        archive_entry_set_filetype(e, entries[i].type);
        archive_entry_set_perm(e, 04755);
        archive_entry_set_mtime(e, 1000000000, 0);
        archive_entry_set_size(e, is_file ? (la_int64_t)strlen(entries[i].content) : 0);
        if (entries[i].is_hard_link)
            archive_entry_set_hardlink(e, entries[i].content);
        else if (entries[i].type == AE_IFLNK)
            archive_entry_set_symlink(e, entries[i].content);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        if (is_file)
            assert_true(archive_write_data(a, entries[i].content, strlen(entries[i].content)) >= 0);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    (void)archive_write_free(a);
    assert_int_equal(lseek(f->tar, 0, SEEK_SET), 0);
}

static const struct context_limits LIMITS = {1024, 10};

static void unpacks(void **state)
{
    struct fixture *f = *state;
    static const struct entry ENTRIES[] = {
        {"./", AE_IFDIR, NULL, false},           {"./Dockerfile", AE_IFREG, "FROM scratch\n", false},
        {"a/b/c.txt", AE_IFREG, "deep", false},  {"a/link", AE_IFLNK, "b/c.txt", false},
        {"a/same", AE_IFREG, "a/b/c.txt", true}, {"Dockerfile", AE_IFREG, "FROM busybox\n", false}};
    write_tar(f, ENTRIES, 6);
    struct context_facts facts;
    assert_int_equal(context_unpack(f->tar, f->inside, &LIMITS, &facts, NULL), OK);
    assert_int_equal(facts.entries, 6);
    assert_int_equal(facts.size_bytes, 13 + 4 + 13);
    auto_free char *path = mem_printf("%s/a/same", f->inside), *folder = mem_printf("%s/a", f->inside);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_nlink, 2);
    assert_int_equal(st.st_mode & 07777, 0755); /* no set-uid bit */
    assert_int_equal(st.st_mtim.tv_sec, CONTEXT_TIME_S);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, CONTEXT_TIME_S);
    assert_int_equal(context_check_dockerfile(f->inside, "Dockerfile", NULL), OK);
}

static void refuses_hostile_contexts(void **state)
{
    struct fixture *f = *state;
    auto_free char *outside = mem_printf("%s/outside", f->folder);
    assert_int_equal(mkdir(outside, 0700), 0);
    const struct entry cases[][2] = {
        {{"/etc/x", AE_IFREG, "x", false}},
        {{"../x", AE_IFREG, "x", false}},
        {{"a/../../x", AE_IFREG, "x", false}},
        {{"dir", AE_IFLNK, "../outside", false}, {"dir/x", AE_IFREG, "x", false}},
        {{"dir", AE_IFLNK, outside, false}, {"dir/x", AE_IFREG, "x", false}},
        {{"dir", AE_IFLNK, "../outside", false}, {"dir", AE_IFDIR, NULL, false}},
        {{"link", AE_IFREG, "../../etc/passwd", true}},
        {{"link", AE_IFREG, "/etc/passwd", true}},
        {{"null", AE_IFCHR, NULL, false}},
        {{"pipe", AE_IFIFO, NULL, false}},
        {{"file", AE_IFREG, "x", false}, {"file/x", AE_IFREG, "x", false}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(ftruncate(f->tar, 0), 0);
        assert_int_equal(lseek(f->tar, 0, SEEK_SET), 0);
        write_tar(f, cases[i], cases[i][1].path == NULL ? 1 : 2);
        struct context_facts facts;
        struct errinfo err = {0};
        enum err rc = context_unpack(f->tar, f->inside, &LIMITS, &facts, &err);
        if (rc == OK)
            print_error("case %zu was accepted\n", i);
        assert_true(rc == ERR_INVALID || rc == ERR_IO);
        assert_non_null(strstr(err.msg, "the context"));
        auto_free char *x = mem_printf("%s/x", outside);
        assert_int_equal(access(x, F_OK), -1);
    }
}

static void refuses_too_much(void **state)
{
    struct fixture *f = *state;
    struct entry many[12];
    for (size_t i = 0; i < 12; i++)
        many[i] = (struct entry){"f", AE_IFREG, "x", false};
    write_tar(f, many, 12);
    struct context_facts facts;
    assert_int_equal(context_unpack(f->tar, f->inside, &LIMITS, &facts, NULL), ERR_LIMIT);
    assert_int_equal(lseek(f->tar, 0, SEEK_SET), 0);
    const struct context_limits small = {5, 100};
    assert_int_equal(context_unpack(f->tar, f->inside, &small, &facts, NULL), ERR_LIMIT);
}

static void refuses_what_is_no_tar(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(write(f->tar, "hello, this is no tar", 21), 21);
    assert_int_equal(lseek(f->tar, 0, SEEK_SET), 0);
    struct context_facts facts;
    assert_int_equal(context_unpack(f->tar, f->inside, &LIMITS, &facts, NULL), ERR_INVALID);
}

static void names_what_is_there_instead(void **state)
{
    struct fixture *f = *state;
    static const struct entry ENTRIES[] = {{"README.md", AE_IFREG, "x", false}, {"src", AE_IFDIR, NULL, false}};
    write_tar(f, ENTRIES, 2);
    struct context_facts facts;
    struct errinfo err;
    assert_int_equal(context_unpack(f->tar, f->inside, &LIMITS, &facts, NULL), OK);
    assert_int_equal(context_check_dockerfile(f->inside, "Dockerfile", &err), ERR_NOT_FOUND);
    assert_string_equal(err.msg, "no file 'Dockerfile' in the build context, which has: README.md, src");
    assert_int_equal(context_check_dockerfile(f->inside, "../outside/Dockerfile", NULL), ERR_NOT_FOUND);
}

/* --- causes */

static char *cause_of(const char *const *lines, const char *how, const char *images)
{
    AUTO(trace) struct trace t = {0};
    for (; *lines != NULL; lines++)
        trace_add_line(&t, str_from(*lines));
    struct buf cause = {0};
    trace_cause(&t, how, images, &cause);
    assert_true(cause.len <= TRACE_CAUSE_SIZE_MAX);
    return buf_take(&cause);
}

/* Lines as buildah 1.28 writes them. */
static void tells_why_a_step_failed(void **state)
{
    (void)state;
    static const struct {
        const char *lines[8], *how, *images, *cause;
    } CASES[] = {
        {{"[1/2] STEP 1/3: FROM gcc:12 AS build", "Trying to pull…", "[1/2] STEP 2/3: RUN echo \"a\": b; false", "a: b",
          "Error: building at STEP \"RUN echo \"a\": b; false\": while running runtime: exit status 1"},
         "exit status 1",
         "",
         "Dockerfile step 2 of 3, 'RUN echo \"a\": b; false': while running runtime: exit status 1; correct the "
         "command or "
         "what it needs, and deploy again\nlast lines of its output:\na: b"},
        {{"STEP 1/2: FROM node:22", "Resolved \"node\" as an alias",
          "Error: creating build container: initializing source docker://node:22: (Mirrors also failed: […]): pinging"},
         "exit status 125",
         "busybox:latest, gcc:12",
         "Dockerfile step 1 of 2, 'FROM node:22': the base image 'node:22' is neither in the local registry "
         "(busybox:latest, gcc:12) nor can its public registry be reached: use a base image that is there, or have an "
         "operator add it with tools/registry-add"},
        {{"STEP 2/2: COPY nothere /x", "Error: building at STEP \"COPY nothere /x\": checking on sources under "
                                       "\"/w/job/context\": copier: stat: \"/nothere\": no such file or directory"},
         "exit status 125",
         "",
         "Dockerfile step 2 of 2, 'COPY nothere /x': stat: \"/nothere\": no such file or directory; the file is not in "
         "the build context: check its name and .dockerignore"},
        {{"STEP 2/2: RUNN x", "time=\"2026\" level=error msg=\"+(UNHANDLED LOGLEVEL) &imagebuilder.Step{}\"",
          "Error: building at STEP \"RUNN \": Build error: Unknown instruction: \"RUNN\" &imagebuilder.Step{Env:[]}"},
         "exit status 125",
         "",
         "Dockerfile step 2 of 2, 'RUNN x': Build error: Unknown instruction: \"RUNN\"; the Dockerfile has an "
         "instruction "
         "that does not exist: correct its name"},
        {{"Error: no contents in \"/w/job/context/Dockerfile\""},
         "exit status 125",
         "",
         "the Dockerfile is empty: write at least FROM and CMD"},
        {{"STEP 2/3: RUN sleep 50", "a"},
         "it was stopped",
         "",
         "Dockerfile step 2 of 3, 'RUN sleep 50': it was stopped\nlast lines of its output:\na"},
        {{NULL}, "exit status 1: no such program", "", "exit status 1: no such program"},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        auto_free char *cause = cause_of(CASES[i].lines, CASES[i].how, CASES[i].images);
        assert_string_equal(cause, CASES[i].cause);
    }
}

static void keeps_the_end_of_long_output(void **state)
{
    (void)state;
    AUTO(trace) struct trace t = {0};
    trace_add_line(&t, STR("STEP 1/1: RUN make"));
    for (int i = 0; i < 10000; i++) {
        char line[32];
        (void)snprintf(line, sizeof(line), "line %d", i);
        trace_add_line(&t, str_from(line));
    }
    static char LONG[9000];
    memset(LONG, 'x', sizeof(LONG));
    trace_add_line(&t, (struct str){LONG, sizeof(LONG)});
    trace_add_line(&t, STR("Error: building at STEP \"RUN make\": while running runtime: exit status 2"));
    AUTO(buf) struct buf cause = {0};
    trace_cause(&t, "exit status 2", "", &cause);
    assert_true(cause.len <= TRACE_CAUSE_SIZE_MAX);
    assert_non_null(strstr(cause.ptr, "line 9999\n"));
    assert_null(strstr(cause.ptr, "line 1\n"));
}

/* --- configuration, commands, rules */

static void reads_the_image_configuration(void **state)
{
    (void)state;
    AUTO(arena) struct arena arena = {0};
    struct image_config c;
    assert_int_equal(image_config_parse(STR("{\"OCIv1\":{\"config\":{\"User\":\"nobody\",\"Env\":[\"A=b\"],"
                                            "\"Entrypoint\":[\"/x\"],\"Cmd\":null,\"WorkingDir\":\"/w\"}}}"),
                                        &arena, &c, NULL),
                     OK);
    assert_int_equal(c.entrypoint.n, 1);
    assert_int_equal(c.cmd.n, 0);
    assert_true(str_eq_c(c.user, "nobody") && str_eq_c(c.workdir, "/w") && str_eq_c(c.env.items[0], "A=b"));
    struct errinfo err;
    assert_int_equal(image_config_parse(STR("{\"OCIv1\":{\"config\":{}}}"), &arena, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "CMD or ENTRYPOINT"));
    assert_int_equal(image_config_parse(STR("{\"OCIv1\":{\"config\":{\"Cmd\":[1]}}}"), &arena, &c, NULL), ERR_INVALID);
    assert_int_equal(image_config_parse(STR("[]"), &arena, &c, NULL), ERR_INVALID);
}

static void collect_line(struct str line, void *ctx)
{
    buf_addf(ctx, "[%.*s]", (int)(line.len > 20 ? 20 : line.len), line.ptr);
}

static enum err run_shell(const char *script, int64_t timeout_ms, struct buf *lines, struct buf *output,
                          struct errinfo *err)
{
    const char *const argv[] = {"sh", "-c", script, NULL}, *const env[] = {"PATH=/usr/bin:/bin", NULL};
    return command_run(&(struct command){.argv = argv,
                                         .env = env,
                                         .deadline_us = clock_mono_us() + timeout_ms * 1000,
                                         .on_line = collect_line,
                                         .ctx = lines,
                                         .output = output},
                       err);
}

static void runs_commands_by_lines(void **state)
{
    (void)state;
    AUTO(buf) struct buf lines = {0}, output = {0};
    struct errinfo err;
    assert_int_equal(run_shell("echo a; echo b >&2; printf c", 20000, &lines, NULL, &err), OK);
    assert_string_equal(lines.ptr, "[a][b][c]");
    buf_clear(&lines);
    assert_int_equal(run_shell("echo out; echo why >&2; exit 3", 20000, &lines, &output, &err), ERR_IO);
    assert_string_equal(lines.ptr, "[why]");
    assert_string_equal(output.ptr, "out\n");
    assert_string_equal(err.msg, "'sh' ended with exit status 3: why");
    /* a grandchild that keeps the pipe open is not waited for */
    assert_int_equal(run_shell("sleep 100 & true", 20000, &lines, NULL, &err), OK);
    assert_int_equal(run_shell("sleep 100", 50, &lines, NULL, &err), ERR_UNAVAILABLE);
    const char *const missing[] = {"/nonexistent/program", NULL}, *const env[] = {NULL};
    assert_int_equal(
        command_run(&(struct command){.argv = missing, .env = env, .deadline_us = clock_mono_us() + 1000000}, &err),
        ERR_NOT_FOUND);
}

static void cuts_long_lines(void **state)
{
    (void)state;
    AUTO(buf) struct buf lines = {0};
    assert_int_equal(run_shell("head -c 20000 /dev/zero | tr '\\0' x; echo; echo end", 20000, &lines, NULL, NULL), OK);
    assert_string_equal(lines.ptr, "[xxxxxxxxxxxxxxxxxxxx][xxxxxxxxxxxxxxxxxxxx][xxxxxxxxxxxxxxxxxxxx][end]");
}

static void finds_resolvers(void **state)
{
    (void)state;
    char resolvers[EGRESS_RESOLVERS_MAX][16];
    assert_int_equal(egress_parse_resolvers(STR("# x\nsearch a\nnameserver 127.0.0.53\nnameserver\t10.0.0.2\n"
                                                "nameserver fe80::1\nnameserver 1.1.1.1 \nnameserver 1.1.1.1; drop"),
                                            resolvers),
                     2);
    assert_string_equal(resolvers[0], "10.0.0.2");
    assert_string_equal(resolvers[1], "1.1.1.1");
}

static void rules_take_addresses_only(void **state)
{
    (void)state;
    static const char *const BAD[] = {"",           "1.2.3", "1.2.3.4/33", "1.2.3.4/", "::1", "1.2.3.4 accept; drop",
                                      "example.org"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct egress e;
        const struct egress_options o = {.installation = "t", .allowed = &BAD[i], .allowed_n = 1};
        assert_int_equal(egress_open(&o, &e, NULL), ERR_INVALID);
    }
    struct egress e;
    assert_int_equal(egress_open(&(struct egress_options){.installation = "a b"}, &e, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unpacks, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_hostile_contexts, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_too_much, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_no_tar, setup, teardown),
        cmocka_unit_test_setup_teardown(names_what_is_there_instead, setup, teardown),
        cmocka_unit_test(tells_why_a_step_failed),
        cmocka_unit_test(keeps_the_end_of_long_output),
        cmocka_unit_test(reads_the_image_configuration),
        cmocka_unit_test(runs_commands_by_lines),
        cmocka_unit_test(cuts_long_lines),
        cmocka_unit_test(finds_resolvers),
        cmocka_unit_test(rules_take_addresses_only),
    };
    return cmocka_run_group_tests_name("build", tests, NULL, NULL);
}
