/* The os room: files replaced and removed, children started, adopted and reported, cgroups, network namespaces.
 * What needs root is skipped, with a word, when we are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/own.h"
#include "folder.h"
#include "os/cgroup.h"
#include "os/child.h"
#include "os/file.h"
#include "os/ns.h"

static char *new_folder(void)
{
    char *path = scratch_new("/tmp");
    assert_non_null(path);
    return path;
}

static void file_replaced(void **state)
{
    (void)state;
    auto_free char *folder = new_folder(), *path = mem_printf("%s/a", folder);
    AUTO(buf) struct buf text = {0};
    assert_int_equal(file_read(path, 10, &text, NULL), ERR_NOT_FOUND);
    assert_int_equal(file_replace(path, STR("one"), 0600, NULL), OK);
    assert_int_equal(file_replace(path, STR("three"), 0640, NULL), OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(file_read(path, 4, &text, NULL), ERR_LIMIT);
    assert_int_equal(text.len, 0);
    assert_int_equal(file_read(path, 5, &text, NULL), OK);
    assert_string_equal(text.ptr, "three");

    char **names = NULL;
    size_t n = 0;
    assert_int_equal(folder_list(folder, &names, &n, NULL), OK);
    assert_int_equal(n, 1); /* no temporary file is left */
    folder_list_free(names);

    auto_free char *lost = mem_printf("%s/none/b", folder);
    struct errinfo err;
    assert_int_equal(file_replace(lost, STR("x"), 0600, &err), ERR_IO);
    assert_int_equal(err.os_errno, ENOENT);

    auto_free char *renamed = mem_printf("%s/c", folder);
    assert_int_equal(file_rename(lost, renamed, &err), ERR_IO);
    assert_int_equal(err.os_errno, ENOENT);
    assert_int_equal(file_rename(path, renamed, NULL), OK);
    assert_true(file_exists(renamed) && !file_exists(path));
    assert_int_equal(file_remove(renamed, NULL), OK);
    assert_int_equal(file_remove(renamed, NULL), OK);
    assert_int_equal(folder_remove(folder, NULL), OK);
    assert_false(file_exists(folder));
}

static void file_locked_once(void **state)
{
    (void)state;
    auto_free char *folder = new_folder(), *path = mem_printf("%s/lock", folder);
    int fd = -1, second = -1;
    assert_int_equal(file_lock(path, &fd, NULL), OK);
    assert_int_equal(file_lock(path, &second, NULL), ERR_CONFLICT);
    (void)close(fd);
    assert_int_equal(file_lock(path, &second, NULL), OK);
    (void)close(second);
    assert_int_equal(folder_remove(folder, NULL), OK);
}

static void folder_removed_without_links(void **state)
{
    (void)state;
    auto_free char *folder = new_folder(), *deep = mem_printf("%s/tree/b/c", folder);
    auto_free char *keep = mem_printf("%s/keep", folder), *link = mem_printf("%s/tree/link", folder);
    auto_free char *tree = mem_printf("%s/tree", folder), *file = mem_printf("%s/f", deep);
    assert_int_equal(folder_make(deep, 0700, NULL), OK);
    assert_int_equal(folder_make(deep, 0700, NULL), OK);
    assert_int_equal(file_replace(file, STR("x"), 0600, NULL), OK);
    assert_int_equal(file_replace(keep, STR("x"), 0600, NULL), OK);
    assert_int_equal(symlink(folder, link), 0);
    assert_int_equal(folder_remove(tree, NULL), OK);
    assert_false(file_exists(tree));
    assert_true(file_exists(keep));
    assert_int_equal(folder_remove(folder, NULL), OK);
    assert_int_equal(folder_remove(folder, NULL), OK);
}

static void folder_remove_stays_on_its_mount(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    auto_free char *folder = new_folder(), *inner = mem_printf("%s/inner", folder);
    auto_free char *file = mem_printf("%s/of-somebody", inner);
    assert_int_equal(folder_make(inner, 0700, NULL), OK);
    assert_int_equal(mount("none", inner, "tmpfs", 0, NULL), 0);
    assert_int_equal(file_replace(file, STR("x"), 0600, NULL), OK);
    enum err rc = folder_remove(folder, NULL);
    bool kept = file_exists(file);
    assert_int_equal(umount(inner), 0);
    assert_int_equal(rc, ERR_IO);
    assert_true(kept);
    assert_int_equal(folder_remove(folder, NULL), OK);
}

struct ended {
    int n;
    struct child_status status;
};

static void on_exit_of(struct child *c, const struct child_status *status, void *arg)
{
    struct ended *e = arg;
    e->n++;
    e->status = *status;
    child_free(c);
}

static void run(uv_loop_t *loop)
{
    (void)uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void child_exit_is_reported(void **state)
{
    (void)state;
    static const struct {
        const char *script;
        int code, signal;
    } CASES[] = {{"exit 0", 0, 0}, {"exit 7", 7, 0}, {"kill -9 $$", 0, 9}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        uv_loop_t loop;
        assert_int_equal(uv_loop_init(&loop), 0);
        const char *argv[] = {"/bin/sh", "-c", CASES[i].script, NULL};
        struct ended e = {0};
        struct child *c = NULL;
        assert_int_equal(
            child_spawn(&loop, &(struct child_spec){.argv = argv, .new_session = true}, on_exit_of, &e, &c, NULL), OK);
        run(&loop);
        assert_int_equal(e.n, 1);
        assert_true(e.status.is_known);
        assert_int_equal(e.status.exit_code, CASES[i].code);
        assert_int_equal(e.status.signal, CASES[i].signal);
    }
}

static void child_start_fails_with_its_step(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct child *c = NULL;
    struct errinfo err;
    const char *argv[] = {"/nonexistent/program", NULL}, *sh[] = {"/bin/sh", "-c", "exit 0", NULL};
    assert_int_equal(child_spawn(&loop, &(struct child_spec){.argv = argv}, on_exit_of, NULL, &c, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/program"));
    assert_int_equal(
        child_spawn(&loop, &(struct child_spec){.argv = sh, .cwd = "/nonexistent"}, on_exit_of, NULL, &c, &err),
        ERR_IO);
    assert_non_null(strstr(err.msg, "work folder"));
    run(&loop);
}

/* What the child sees: user, rights, descriptors, environment, folder. */
static void child_gets_what_the_spec_says(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    AUTO(buf) struct buf out = {0};
    const char *argv[] = {"/bin/sh", "-c",
                          "id -u; id -g; pwd; echo $A; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; "
                          "for i in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$i ] && echo $i; done; cat <&5",
                          NULL};
    const char *env[] = {"A=b c", "PATH=/usr/bin:/bin", NULL};
    int pipe_fds[2], noise = open("/dev/null", O_RDONLY); /* without O_CLOEXEC: must not come through */
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "hello", 5), 5);
    (void)close(pipe_fds[1]);
    struct child_fd fds[] = {{pipe_fds[0], 5}};
    int caps[] = {CAP_NET_ADMIN};
    struct child_spec spec = {.argv = argv,
                              .env = env,
                              .cwd = "/usr",
                              .fds = fds,
                              .fds_n = 1,
                              .drop_user = true,
                              .uid = 12345,
                              .gid = 12346,
                              .caps = caps,
                              .caps_n = 1,
                              .no_new_privs = true};
    struct errinfo err;
    if (child_run(&spec, 10000, &out, &err) != OK)
        fail_msg("%s", err.msg);
    (void)close(noise);
    (void)close(pipe_fds[0]);
    const char *wanted = "12345\n12346\n/usr\nb c\n"
                         "CapEff:\t0000000000001000\nCapBnd:\t0000000000001000\nNoNewPrivs:\t1\n"
                         "0\n1\n2\n5\nhello";
    assert_string_equal(out.ptr, wanted);
}

static void child_run_bounds(void **state)
{
    (void)state;
    struct errinfo err;
    const char *fails[] = {"/bin/sh", "-c", "echo first; echo why >&2; exit 3", NULL};
    const char *hangs[] = {"/bin/sleep", "60", NULL};
    const char *floods[] = {"/bin/sh", "-c", "head -c 3000000 /dev/zero", NULL};
    assert_int_equal(child_run(&(struct child_spec){.argv = fails}, 10000, NULL, &err), ERR_IO);
    assert_string_equal(err.msg, "'/bin/sh' ended with code 3: why");
    assert_int_equal(child_run(&(struct child_spec){.argv = hangs}, 50, NULL, &err), ERR_UNAVAILABLE);
    AUTO(buf) struct buf out = {0};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL};
    assert_int_equal(child_run(&(struct child_spec){.argv = floods, .env = env}, 10000, &out, &err), OK);
    assert_int_equal(out.len, CHILD_OUTPUT_MAX);
}

/* A process that is not our child (its parent ended at once) is adopted, its end is seen, its status is unknown. */
static void child_adopted(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    const char *argv[] = {"/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!", NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL};
    AUTO(buf) struct buf out = {0};
    assert_int_equal(child_run(&(struct child_spec){.argv = argv, .env = env}, 10000, &out, NULL), OK);
    uint64_t pid = 0;
    assert_true(str_parse_u64(str_trim(buf_str(&out)), INT32_MAX, &pid));
    struct child_ref ref, other;
    assert_int_equal(child_ref_of_pid((pid_t)pid, &ref, NULL), OK);
    assert_true(child_ref_is_alive(ref));
    other = (struct child_ref){ref.pid, ref.start_ticks + 1}; /* the same pid, another process */
    assert_false(child_ref_is_alive(other));
    struct ended e = {0};
    struct child *c = NULL;
    assert_int_equal(child_adopt(&loop, other, on_exit_of, &e, &c, NULL), ERR_NOT_FOUND);
    assert_int_equal(child_adopt(&loop, ref, on_exit_of, &e, &c, NULL), OK);
    assert_int_equal(child_kill(c, SIGTERM, NULL), OK);
    run(&loop);
    assert_int_equal(e.n, 1);
    assert_false(e.status.is_known);
    assert_false(child_ref_is_alive(ref));
}

static void cgroup_limits_and_kill(void **state)
{
    (void)state;
    struct cgroup_host h;
    cgroup_detect(&h);
    if (geteuid() != 0 || h.kind == CGROUP_NONE) {
        assert_int_equal(cgroup_kill(&(struct cgroup_host){0}, "slipform/x", NULL), ERR_UNAVAILABLE);
        skip();
    }
    auto_free char *name = mem_printf("slipform/test-%d/node/instance", (int)getpid());
    struct cgroup_limits limits = {.cpu_milli = 500, .memory_bytes = 64 << 20, .pids_max = 20};
    assert_int_equal(cgroup_create(&h, "slipform/../x", &limits, NULL), ERR_INVALID);
    struct errinfo err;
    if (cgroup_create(&h, name, &limits, &err) != OK)
        fail_msg("%s", err.msg);
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    /* children that leave the session: only the group holds them together */
    const char *argv[] = {"/bin/sh", "-c", "for i in 1 2 3 4 5; do setsid sleep 60 & done; wait", NULL};
    const char *env[] = {"PATH=/usr/bin:/bin", NULL};
    struct ended e = {0};
    struct child *c = NULL;
    struct child_spec spec = {.argv = argv, .env = env, .cgroups = &h, .cgroup = name};
    assert_int_equal(child_spawn(&loop, &spec, on_exit_of, &e, &c, NULL), OK);
    struct cgroup_usage usage = {0};
    for (int i = 0; i < 1000 && usage.pids < 6; i++) {
        assert_int_equal(cgroup_usage(&h, name, &usage, NULL), OK);
        (void)usleep(5000); /* a bound, not a wait for luck: the shell has to fork */
    }
    assert_int_equal(usage.pids, 6);
    assert_int_equal(cgroup_remove(&h, name, NULL), ERR_CONFLICT);
    assert_int_equal(cgroup_kill(&h, name, NULL), OK);
    run(&loop);
    assert_int_equal(e.status.signal, SIGKILL);
    enum err rc = ERR_CONFLICT;
    for (int i = 0; i < 1000 && rc == ERR_CONFLICT; i++) { /* the orphans' ends are not ours to wait for */
        rc = cgroup_remove(&h, name, &err);
        (void)usleep(5000);
    }
    assert_int_equal(rc, OK);
    cgroup_prune(&h, name);
    assert_int_equal(cgroup_usage(&h, name, &usage, NULL), ERR_NOT_FOUND);
    assert_int_equal(cgroup_remove(&h, name, NULL), OK);
}

static enum err count_interfaces(void *arg, struct errinfo *err)
{
    (void)err;
    AUTO(buf) struct buf text = {0};
    assert_int_equal(file_read("/proc/thread-self/net/dev", 65536, &text, NULL), OK);
    struct str rest = buf_str(&text), line;
    while (str_next(&rest, '\n', &line))
        *(int *)arg += str_find(line, ':') < line.len;
    return OK;
}

static void count_name(const char *name, void *arg)
{
    (void)name;
    ++*(int *)arg;
}

static void netns_named(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    auto_free char *name = mem_printf("slipform-test-%d", (int)getpid());
    struct errinfo err;
    int fd = -1, self_before = -1, n = 0, names = 0;
    assert_int_equal(netns_create("a/b", &err), ERR_INVALID);
    if (netns_create(name, &err) != OK)
        fail_msg("%s", err.msg);
    assert_int_equal(netns_create(name, &err), ERR_CONFLICT);
    assert_true(netns_exists(name));
    assert_int_equal(netns_each(name, count_name, &names, NULL), OK);
    assert_int_equal(names, 1);
    assert_int_equal(netns_open(name, &fd, NULL), OK);
    assert_int_equal(netns_run(fd, count_interfaces, &n, &err), OK);
    assert_int_equal(n, 1); /* lo only */
    assert_int_equal(netns_open_self(&self_before, NULL), OK);
    struct stat inside, outside;
    assert_int_equal(fstat(fd, &inside), 0);
    assert_int_equal(fstat(self_before, &outside), 0);
    assert_true(inside.st_ino != outside.st_ino);
    (void)close(self_before);
    (void)close(fd);
    assert_int_equal(netns_delete(name, &err), OK);
    assert_int_equal(netns_delete(name, &err), OK);
    assert_false(netns_exists(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_replaced),
        cmocka_unit_test(file_locked_once),
        cmocka_unit_test(folder_removed_without_links),
        cmocka_unit_test(folder_remove_stays_on_its_mount),
        cmocka_unit_test(child_exit_is_reported),
        cmocka_unit_test(child_start_fails_with_its_step),
        cmocka_unit_test(child_gets_what_the_spec_says),
        cmocka_unit_test(child_run_bounds),
        cmocka_unit_test(child_adopted),
        cmocka_unit_test(cgroup_limits_and_kill),
        cmocka_unit_test(netns_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
