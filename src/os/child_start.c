/* Between fork and execve only async-signal-safe calls: another thread (libuv's pool) may have held malloc's lock.
 * So everything that allocates or can be known before is made by the parent (`struct plan`), and the child reports a
 * failure as {step, errno} through a pipe that execve closes. */
#include "os/child_start.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/own.h"
#include "os/cgroup.h"
#include "os/child_root.h"

enum step {
    STEP_CGROUP,
    STEP_SESSION,
    STEP_NETNS,
    STEP_UNSHARE,
    STEP_ROOT,
    STEP_FDS,
    STEP_LIMIT,
    STEP_CAPS,
    STEP_USER,
    STEP_CWD,
    STEP_EXEC,
};

static const char *const STEPS[] = {
    [STEP_CGROUP] = "enter the cgroup",   [STEP_SESSION] = "make a session",    [STEP_NETNS] = "enter the namespace",
    [STEP_UNSHARE] = "make namespaces",   [STEP_ROOT] = "make its root folder", [STEP_FDS] = "pass descriptors",
    [STEP_LIMIT] = "set limits",          [STEP_CAPS] = "set rights",           [STEP_USER] = "become the user",
    [STEP_CWD] = "enter the work folder", [STEP_EXEC] = "run the program",
};

struct failure {
    enum step step;
    int os_errno;
};

struct plan {
    const struct child_spec *spec;
    const char *program;
    struct child_fd fds[CHILD_FDS_MAX + 3];
    size_t fds_n;
    int number_max; /* highest number of fds[].to */
    int cgroup_fds[CGROUP_CONTROLLERS_N];
    size_t cgroup_fds_n;
    int failure_fd;
    struct child_root_plan root;
    int gate_fd; /* the child waits for a byte from it before it runs the program */
};

static const char *const NO_ENV[] = {NULL};

static void fail(const struct plan *p, enum step step)
{
    struct failure f = {step, errno};
    ssize_t n = write(p->failure_fd, &f, sizeof(f));
    (void)n; /* nobody is left to tell */
    _exit(127);
}

static void reset_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int s = 1; s < NSIG; s++)
        (void)sigaction(s, &dfl, NULL); /* SIGKILL and SIGSTOP say no */
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Sources go out of the way first, so that {5→6, 6→5} works; everything above 2 that is not passed closes at exec. */
static void pass_fds(struct plan *p)
{
    int high[CHILD_FDS_MAX + 3];
    for (size_t i = 0; i < p->fds_n; i++)
        if ((high[i] = fcntl(p->fds[i].from, F_DUPFD_CLOEXEC, p->number_max + 1)) < 0)
            fail(p, STEP_FDS);
    int failure_fd = fcntl(p->failure_fd, F_DUPFD_CLOEXEC, p->number_max + 1);
    if (failure_fd < 0)
        fail(p, STEP_FDS);
    p->failure_fd = failure_fd;
    if (p->gate_fd >= 0 && (p->gate_fd = fcntl(p->gate_fd, F_DUPFD_CLOEXEC, p->number_max + 1)) < 0)
        fail(p, STEP_FDS);
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        fail(p, STEP_FDS);
    for (size_t i = 0; i < p->fds_n; i++)
        if (dup2(high[i], p->fds[i].to) < 0)
            fail(p, STEP_FDS);
}

static bool keeps_cap(const struct child_spec *s, int cap)
{
    for (size_t i = 0; i < s->caps_n; i++)
        if (s->caps[i] == cap)
            return true;
    return false;
}

/* While we still are root: what is not in the bounding set cannot come back by any execve. */
static void bound_caps(const struct plan *p)
{
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if (!keeps_cap(p->spec, cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL && errno != EPERM)
            fail(p, STEP_CAPS);
}

static void set_caps(const struct plan *p)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    for (size_t i = 0; i < p->spec->caps_n; i++) {
        unsigned cap = (unsigned)p->spec->caps[i], bit = 1u << (cap % 32);
        data[cap / 32].effective |= bit;
        data[cap / 32].permitted |= bit;
        data[cap / 32].inheritable |= bit;
    }
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, data) < 0)
        fail(p, STEP_CAPS);
    for (size_t i = 0; i < p->spec->caps_n; i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, p->spec->caps[i], 0, 0) < 0)
            fail(p, STEP_CAPS);
}

static void set_user(const struct plan *p)
{
    const struct child_spec *s = p->spec;
    bool sets_caps = s->drop_caps || s->caps_n > 0;
    if (sets_caps)
        bound_caps(p);
    if (s->drop_user) {
        if (sets_caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
            fail(p, STEP_USER);
        if ((geteuid() == 0 && setgroups(0, NULL) < 0) || setresgid(s->gid, s->gid, s->gid) < 0 ||
            setresuid(s->uid, s->uid, s->uid) < 0)
            fail(p, STEP_USER);
    }
    if (sets_caps)
        set_caps(p);
    if (s->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(p, STEP_CAPS);
    if (s->die_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        fail(p, STEP_USER);
}

static void set_limit(const struct plan *p, __rlimit_resource_t resource, uint64_t value)
{
    struct rlimit limit;
    if (value == 0)
        return;
    if (getrlimit(resource, &limit) < 0)
        fail(p, STEP_LIMIT);
    limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
    if (setrlimit(resource, &limit) < 0)
        fail(p, STEP_LIMIT);
}

/* End of file instead of a byte: our parent has died or does not want us any more. */
static void pass_gate(const struct plan *p)
{
    char byte;
    ssize_t n;
    if (p->gate_fd < 0)
        return;
    do
        n = read(p->gate_fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(127);
}

/* execve takes char *const[] and changes nothing in it. */
static char *const *as_exec_strings(const char *const *strings)
{
    union {
        const char *const *in;
        char *const *out;
    } u = {.in = strings};
    return u.out;
}

static _Noreturn void become(struct plan *p)
{
    const struct child_spec *s = p->spec;
    reset_signals();
    for (size_t i = 0; i < p->cgroup_fds_n; i++)
        if (write(p->cgroup_fds[i], "0", 1) != 1)
            fail(p, STEP_CGROUP);
    if (s->new_session && setsid() < 0)
        fail(p, STEP_SESSION);
    if (s->netns_fd > 0 && setns(s->netns_fd, CLONE_NEWNET) < 0)
        fail(p, STEP_NETNS);
    if (s->unshare_flags != 0 && unshare(s->unshare_flags) < 0)
        fail(p, STEP_UNSHARE);
    if (s->root != NULL && !child_root_enter(&p->root, s->uid, s->gid))
        fail(p, STEP_ROOT);
    pass_fds(p);
    set_limit(p, RLIMIT_NOFILE, s->nofile_max);
    set_limit(p, RLIMIT_FSIZE, s->fsize_max);
    set_user(p);
    if (chdir(s->cwd == NULL ? "/" : s->cwd) < 0)
        fail(p, STEP_CWD);
    pass_gate(p);
    (void)umask(022);
    (void)execve(p->program, as_exec_strings(s->argv), as_exec_strings(s->env == NULL ? NO_ENV : s->env));
    fail(p, STEP_EXEC);
    _exit(127);
}

static enum err plan_fds(struct plan *p, int null_fd, struct errinfo *err)
{
    const struct child_spec *s = p->spec;
    if (s->fds_n > CHILD_FDS_MAX || s->caps_n > CAP_LAST_CAP + 1)
        return err_set(err, ERR_INVALID, "too many descriptors or capabilities for a child");
    bool has[3] = {false};
    p->number_max = 2;
    for (size_t i = 0; i < s->fds_n; i++) {
        p->fds[p->fds_n++] = s->fds[i];
        if (s->fds[i].to > p->number_max)
            p->number_max = s->fds[i].to;
        if (s->fds[i].to >= 0 && s->fds[i].to <= 2)
            has[s->fds[i].to] = true;
    }
    for (int i = 0; i < 3; i++)
        if (!has[i])
            p->fds[p->fds_n++] = (struct child_fd){null_fd, i};
    return OK;
}

static enum err report(const struct plan *p, pid_t pid, int failure_fd, struct errinfo *err)
{
    struct failure f;
    ssize_t n;
    do
        n = read(failure_fd, &f, sizeof(f));
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return OK;
    (void)waitpid(pid, NULL, 0);
    if (n != (ssize_t)sizeof(f))
        return err_set(err, ERR_IO, "start '%s': it ended before it ran", p->program);
    enum err code = f.step == STEP_EXEC && (f.os_errno == ENOENT || f.os_errno == ENOTDIR) ? ERR_NOT_FOUND : ERR_IO;
    return err_set_os(err, code, f.os_errno, "start '%s': %s", p->program, STEPS[f.step]);
}

/* Tell the owner of the spec who it is, then let it run. */
static enum err open_gate(const struct plan *p, pid_t pid, int gate_fd, struct errinfo *err)
{
    const struct child_spec *s = p->spec;
    if (s->before_run == NULL)
        return OK;
    struct child_ref ref = {.pid = pid};
    enum err rc = child_start_ticks(pid, &ref.start_ticks, err);
    if (rc == OK)
        rc = s->before_run(ref, s->before_run_arg, err);
    if (rc == OK && write(gate_fd, "", 1) != 1) /* the read end is open here too: no SIGPIPE */
        rc = err_set_os(err, ERR_IO, errno, "start '%s'", p->program);
    return rc;
}

static enum err started(struct plan *p, pid_t pid, int failure_fd, int gate_fd, int *ret_pidfd, struct errinfo *err)
{
    enum err rc = open_gate(p, pid, gate_fd, err);
    if (rc != OK) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return rc;
    }
    if ((rc = report(p, pid, failure_fd, err)) != OK)
        return rc;
    *ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0u); /* our child, not reaped: the pid is still its own */
    if (*ret_pidfd >= 0)
        return OK;
    int os_errno = errno;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    return err_set_os(err, ERR_IO, os_errno, "watch '%s'", p->program);
}

static enum err start_planned(struct plan *p, pid_t *ret_pid, int *ret_pidfd, struct errinfo *err)
{
    int failure[2], gate[2] = {-1, -1};
    if (pipe2(failure, O_CLOEXEC) < 0)
        return err_set_os(err, ERR_IO, errno, "make a pipe");
    auto_close int failure_fd = failure[0], child_failure_fd = failure[1];
    if (p->spec->before_run != NULL && pipe2(gate, O_CLOEXEC) < 0)
        return err_set_os(err, ERR_IO, errno, "make a pipe");
    auto_close int child_gate_fd = gate[0], gate_fd = gate[1];
    p->failure_fd = child_failure_fd;
    p->gate_fd = child_gate_fd;
    pid_t pid = fork();
    if (pid == 0) {
        if (gate_fd >= 0)
            (void)close(gate_fd); /* or it would wait for itself */
        become(p);
    }
    if (pid < 0)
        return err_set_os(err, ERR_IO, errno, "fork for '%s'", p->program);
    (void)close(TAKE_FD(child_failure_fd));
    *ret_pid = pid;
    return started(p, pid, failure_fd, gate_fd, ret_pidfd, err);
}

static enum err start_in_cgroup(struct plan *p, pid_t *ret_pid, int *ret_pidfd, struct errinfo *err)
{
    const struct child_spec *s = p->spec;
    if (s->cgroup != NULL) {
        enum err rc = cgroup_open_procs(s->cgroups, s->cgroup, p->cgroup_fds, &p->cgroup_fds_n, err);
        if (rc != OK)
            return rc;
    }
    enum err rc = start_planned(p, ret_pid, ret_pidfd, err);
    for (size_t i = 0; i < p->cgroup_fds_n; i++)
        (void)close(p->cgroup_fds[i]);
    return rc;
}

enum err child_start(const struct child_spec *spec, pid_t *ret_pid, int *ret_pidfd, struct errinfo *err)
{
    assert(spec->argv != NULL && spec->argv[0] != NULL);
    struct plan p = {.spec = spec, .program = spec->program != NULL ? spec->program : spec->argv[0]};
    auto_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return err_set_os(err, ERR_IO, errno, "open '/dev/null'");
    enum err rc = plan_fds(&p, null_fd, err);
    if (rc == OK)
        rc = child_root_plan(spec->root, &p.root, err);
    if (rc == OK)
        rc = start_in_cgroup(&p, ret_pid, ret_pidfd, err);
    child_root_plan_done(&p.root);
    return rc;
}
bool child_reap(int pidfd, struct child_status *ret_status)
{
    siginfo_t info = {0};
    if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0) {
        *ret_status = (struct child_status){.is_known = false};
        return true;
    }
    if (info.si_pid == 0)
        return false;
    *ret_status = (struct child_status){.is_known = true};
    if (info.si_code == CLD_EXITED)
        ret_status->exit_code = info.si_status;
    else
        ret_status->signal = info.si_status;
    return true;
}
