#include "os/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/child_start.h"
#include "os/file.h"

struct child {
    uv_poll_t poll; /* on pidfd */
    int pidfd;
    struct child_ref ref;
    child_exit_fn *on_exit;
    void *arg;
    bool has_ended;
};

struct stat_line {
    char state;
    uint64_t start_ticks;
};

/* "<pid> (<name, any bytes>) S <ppid> …": fields are counted from behind the last ')'. */
static enum err stat_read(pid_t pid, struct stat_line *ret, struct errinfo *err)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    AUTO(buf) struct buf text = {0};
    enum err rc = file_read(path, 4096, &text, err);
    if (rc != OK)
        return err_set(err, ERR_NOT_FOUND, "there is no process %d", (int)pid);
    struct str line = buf_str(&text), word = {0};
    size_t end = str_rfind(line, ')');
    if (end + 2 >= line.len)
        return err_set(err, ERR_IO, "'%s' cannot be read", path);
    struct str rest = str_slice(line, end + 2, line.len);
    ret->state = rest.ptr[0];
    for (int field = 3; field <= 22; field++)
        if (!str_next(&rest, ' ', &word))
            return err_set(err, ERR_IO, "'%s' is too short", path);
    if (!str_parse_u64(word, UINT64_MAX, &ret->start_ticks))
        return err_set(err, ERR_IO, "'%s' has no start time", path);
    return OK;
}

enum err child_start_ticks(pid_t pid, uint64_t *ret_ticks, struct errinfo *err)
{
    struct stat_line line = {0};
    enum err rc = stat_read(pid, &line, err);
    *ret_ticks = line.start_ticks;
    return rc;
}

enum err child_ref_of_pid(pid_t pid, struct child_ref *ret_ref, struct errinfo *err)
{
    struct stat_line line;
    enum err rc = stat_read(pid, &line, err);
    if (rc != OK)
        return rc;
    if (line.state == 'Z' || line.state == 'X')
        return err_set(err, ERR_NOT_FOUND, "process %d has ended", (int)pid);
    *ret_ref = (struct child_ref){pid, line.start_ticks};
    return OK;
}

bool child_ref_is_alive(struct child_ref ref)
{
    struct child_ref now;
    return ref.pid > 0 && child_ref_of_pid(ref.pid, &now, NULL) == OK && now.start_ticks == ref.start_ticks;
}

enum err boot_id_read(char ret_boot_id[static BOOT_ID_SIZE], struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    enum err rc = file_read("/proc/sys/kernel/random/boot_id", 64, &text, err);
    if (rc != OK)
        return rc;
    if (!str_copy_to(str_trim(buf_str(&text)), ret_boot_id, BOOT_ID_SIZE))
        return err_set(err, ERR_IO, "the kernel's boot id cannot be read");
    return OK;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status, (void)events;
    struct child *c = poll->data;
    struct child_status ended;
    if (!child_reap(c->pidfd, &ended))
        return;
    (void)uv_poll_stop(&c->poll);
    c->has_ended = true;
    c->on_exit(c, &ended, c->arg);
}

static enum err watch(uv_loop_t *loop, int pidfd, struct child_ref ref, child_exit_fn *on_exit, void *arg,
                      struct child **ret_child, struct errinfo *err)
{
    struct child *c = mem_alloc(sizeof(*c));
    *c = (struct child){.pidfd = pidfd, .ref = ref, .on_exit = on_exit, .arg = arg};
    int rc = uv_poll_init(loop, &c->poll, pidfd);
    if (rc < 0) {
        free(c);
        return err_set(err, ERR_IO, "watch process %d: %s", (int)ref.pid, uv_strerror(rc));
    }
    c->poll.data = c;
    if ((rc = uv_poll_start(&c->poll, UV_READABLE, on_readable)) < 0) {
        c->pidfd = -1; /* the caller's still */
        child_free(c);
        return err_set(err, ERR_IO, "watch process %d: %s", (int)ref.pid, uv_strerror(rc));
    }
    *ret_child = c;
    return OK;
}

enum err child_spawn(uv_loop_t *loop, const struct child_spec *spec, child_exit_fn *on_exit, void *arg,
                     struct child **ret_child, struct errinfo *err)
{
    pid_t pid = 0;
    auto_close int pidfd = -1;
    enum err rc = child_start(spec, &pid, &pidfd, err);
    if (rc != OK)
        return rc;
    struct stat_line line = {0};
    if ((rc = stat_read(pid, &line, err)) == OK) /* not reaped: also a zombie has its line */
        rc = watch(loop, pidfd, (struct child_ref){pid, line.start_ticks}, on_exit, arg, ret_child, err);
    if (rc != OK) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return rc;
    }
    pidfd = -1; /* the child's */
    return OK;
}

enum err child_adopt(uv_loop_t *loop, struct child_ref ref, child_exit_fn *on_exit, void *arg, struct child **ret_child,
                     struct errinfo *err)
{
    if (ref.pid <= 0)
        return err_set(err, ERR_NOT_FOUND, "there is no process to adopt");
    /* first the descriptor, then the look: a pid given to another process in between is seen */
    auto_close int pidfd = (int)syscall(SYS_pidfd_open, ref.pid, 0u);
    if (pidfd < 0 && errno != ESRCH && errno != EINVAL)
        return err_set_os(err, ERR_IO, errno, "watch process %d", (int)ref.pid);
    if (pidfd < 0 || !child_ref_is_alive(ref))
        return err_set(err, ERR_NOT_FOUND, "process %d has ended", (int)ref.pid);
    enum err rc = watch(loop, pidfd, ref, on_exit, arg, ret_child, err);
    if (rc == OK)
        (void)TAKE_FD(pidfd); /* the child's */
    return rc;
}

struct child_ref child_ref(const struct child *c)
{
    return c->ref;
}

pid_t child_pid(const struct child *c)
{
    return c->ref.pid;
}

enum err child_kill(struct child *c, int signal, struct errinfo *err)
{
    if (c->has_ended)
        return OK;
    if (syscall(SYS_pidfd_send_signal, c->pidfd, signal, NULL, 0u) < 0 && errno != ESRCH)
        return err_set_os(err, ERR_IO, errno, "signal process %d", (int)c->ref.pid);
    return OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct child *c = handle->data;
    if (c->pidfd >= 0)
        (void)close(c->pidfd);
    free(c);
}

void child_free(struct child *c)
{
    if (c == NULL)
        return;
    c->poll.data = c;
    uv_close((uv_handle_t *)&c->poll, on_closed);
}

/* Read what is there; false at the end of file. Beyond CHILD_OUTPUT_MAX bytes it is thrown away. */
static bool take_output(int fd, struct buf *out)
{
    char bytes[4096];
    ssize_t n = read(fd, bytes, sizeof(bytes));
    if (n > 0 && out->len < CHILD_OUTPUT_MAX) {
        size_t space = CHILD_OUTPUT_MAX - out->len;
        buf_add(out, bytes, (size_t)n < space ? (size_t)n : space);
    }
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* Until the process has ended and its output was read; what a grandchild writes later is not waited for. */
static bool wait_run(int pidfd, int output_fd, int64_t deadline_us, struct buf *out)
{
    struct pollfd fds[2] = {{.fd = output_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    for (;;) {
        int64_t left_us = deadline_us - clock_mono_us();
        if (left_us <= 0)
            return false;
        int n = poll(fds, 2, left_us / 1000 > INT32_MAX ? INT32_MAX : (int)(left_us / 1000) + 1);
        if (n < 0 && errno != EINTR)
            return false;
        if (n <= 0)
            continue;
        if ((fds[0].revents & (POLLIN | POLLHUP)) != 0) {
            if (!take_output(output_fd, out))
                fds[0].fd = -1;
        } else if (fds[1].revents != 0) {
            return true;
        }
    }
}

static enum err describe_end(const char *program, const struct child_status *s, const struct buf *out,
                             struct errinfo *err)
{
    if (s->is_known && s->signal == 0 && s->exit_code == 0)
        return OK;
    struct str text = str_trim(buf_str(out));
    size_t line = str_rfind(text, '\n');
    struct str last = line < text.len ? str_slice(text, line + 1, text.len) : text;
    if (s->signal != 0)
        return err_set(err, ERR_IO, "'%s' was killed by signal %d: %.*s", program, s->signal, STR_ARG(last));
    return err_set(err, ERR_IO, "'%s' ended with code %d: %.*s", program, s->exit_code, STR_ARG(last));
}

enum err child_run(const struct child_spec *spec, int64_t timeout_ms, struct buf *ret_output, struct errinfo *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return err_set_os(err, ERR_IO, errno, "make a pipe");
    auto_close int output_fd = pipe_fds[0], write_fd = pipe_fds[1];
    struct child_spec s = *spec;
    struct child_fd fds[CHILD_FDS_MAX];
    if (spec->fds_n + 2 > CHILD_FDS_MAX)
        return err_set(err, ERR_INVALID, "too many descriptors for a child");
    if (spec->fds_n > 0)
        memcpy(fds, spec->fds, spec->fds_n * sizeof(*fds));
    fds[spec->fds_n] = (struct child_fd){write_fd, 1};
    fds[spec->fds_n + 1] = (struct child_fd){write_fd, 2};
    s.fds = fds;
    s.fds_n = spec->fds_n + 2;
    pid_t pid = 0;
    auto_close int pidfd = -1;
    enum err rc = child_start(&s, &pid, &pidfd, err);
    if (rc != OK)
        return rc;
    (void)close(TAKE_FD(write_fd));
    AUTO(buf) struct buf out = {0};
    bool in_time = wait_run(pidfd, output_fd, clock_mono_us() + timeout_ms * 1000, &out);
    if (!in_time)
        (void)kill(pid, SIGKILL);
    struct child_status status = {0};
    siginfo_t info;
    (void)waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOWAIT);
    (void)child_reap(pidfd, &status);
    const char *program = spec->program != NULL ? spec->program : spec->argv[0];
    rc = in_time ? describe_end(program, &status, &out, err)
                 : err_set(err, ERR_UNAVAILABLE, "'%s' did not end within %lld ms", program, (long long)timeout_ms);
    if (ret_output != NULL)
        buf_add_str(ret_output, buf_str(&out));
    return rc;
}
