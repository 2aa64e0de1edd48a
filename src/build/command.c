#include "build/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"

/* Bytes become lines; the last line is kept for the error. */
struct lines {
    const struct command *command;
    struct buf partial;
    char last[256];
};

static void line_out(struct lines *l, struct str line)
{
    while (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    if (line.len > 0)
        (void)snprintf(l->last, sizeof(l->last), "%.*s", STR_ARG(line));
    if (l->command->on_line != NULL)
        l->command->on_line(line, l->command->ctx);
}

static void lines_add(struct lines *l, struct str bytes)
{
    buf_add_str(&l->partial, bytes);
    size_t at = 0;
    for (;;) {
        struct str rest = str_slice(buf_str(&l->partial), at, l->partial.len);
        size_t end = str_find(rest, '\n');
        if (end == rest.len && rest.len < COMMAND_LINE_SIZE_MAX)
            break;
        bool is_piece = end > COMMAND_LINE_SIZE_MAX || end == rest.len;
        size_t len = is_piece ? COMMAND_LINE_SIZE_MAX : end;
        line_out(l, str_slice(rest, 0, len));
        at += is_piece ? len : len + 1;
    }
    buf_consume(&l->partial, at);
}

static enum err spawn(const struct command *c, int stdout_fd, int stderr_fd, pid_t *ret_pid, struct errinfo *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t all, none;
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, stdout_fd, 1);
    (void)posix_spawn_file_actions_adddup2(&actions, stderr_fd, 2);
    (void)posix_spawnattr_init(&attr);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    (void)posix_spawnattr_setsigdefault(&attr, &all);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    /* exec neither writes argv nor the environment; the prototype is older than const. */
    union {
        const char *const *in;
        char *const *out;
    } argv = {c->argv}, env = {c->env};
    int rc = posix_spawnp(ret_pid, c->argv[0], &actions, &attr, argv.out, env.out);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc != 0)
        return err_set_os(err, rc == ENOENT ? ERR_NOT_FOUND : ERR_IO, rc, "start '%s'", c->argv[0]);
    return OK;
}

static bool read_some(int fd, struct lines *l, struct buf *output, bool *ret_too_much)
{
    char chunk[16384];
    ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    if (n == 0)
        return false;
    if (output == NULL)
        lines_add(l, (struct str){chunk, (size_t)n});
    else if (output->len + (size_t)n <= COMMAND_OUTPUT_SIZE_MAX)
        buf_add(output, chunk, (size_t)n);
    else
        *ret_too_much = true;
    return true;
}

/* Read until the program has ended and both pipes are empty. A grandchild that keeps them open is not waited for. */
static enum err follow(const struct command *c, int pidfd, int fds[2], struct lines *l, struct errinfo *err)
{
    bool ended = false, too_much = false;
    for (;;) {
        int64_t left_ms = (c->deadline_us - clock_mono_us()) / 1000;
        if (left_ms <= 0)
            return err_set(err, ERR_UNAVAILABLE, "'%s' took too long and was stopped", c->argv[0]);
        struct pollfd p[3] = {
            {.fd = pidfd, .events = POLLIN}, {.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
        if (ended)
            p[0].fd = -1;
        int n = poll(p, 3, ended ? 0 : (int)(left_ms > 1000000 ? 1000000 : left_ms));
        if (n == 0 && ended)
            break;
        if (p[1].revents != 0 && !read_some(fds[0], l, c->output, &too_much)) {
            (void)close(fds[0]);
            fds[0] = -1;
        }
        if (p[2].revents != 0 && !read_some(fds[1], l, NULL, &too_much)) {
            (void)close(fds[1]);
            fds[1] = -1;
        }
        ended = ended || p[0].revents != 0;
    }
    if (l->partial.len > 0)
        line_out(l, buf_str(&l->partial));
    return too_much ? err_set(err, ERR_LIMIT, "'%s' wrote more than %zu bytes", c->argv[0], COMMAND_OUTPUT_SIZE_MAX)
                    : OK;
}

static enum err judge(const char *program, int status, const char *last, struct errinfo *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return OK;
    const char *colon = last[0] == '\0' ? "" : ": ";
    if (WIFEXITED(status))
        return err_set(err, ERR_IO, "'%s' ended with exit status %d%s%s", program, WEXITSTATUS(status), colon, last);
    return err_set(err, ERR_IO, "'%s' was killed by signal %d%s%s", program, WTERMSIG(status), colon, last);
}

enum err command_run(const struct command *c, struct errinfo *err)
{
    int out[2] = {-1, -1}, both[2] = {-1, -1};
    if (pipe2(both, O_CLOEXEC) != 0 || (c->output != NULL && pipe2(out, O_CLOEXEC) != 0))
        return err_set_os(err, ERR_IO, errno, "make a pipe");
    pid_t pid = -1;
    enum err rc = spawn(c, c->output != NULL ? out[1] : both[1], both[1], &pid, err);
    (void)close(both[1]);
    if (out[1] >= 0)
        (void)close(out[1]);
    int fds[2] = {out[0], both[0]};
    if (rc == OK) {
        auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct lines l = {.command = c};
        rc = follow(c, pidfd, fds, &l, err);
        if (rc != OK)
            (void)kill(-pid, SIGKILL);
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
        if (rc == OK)
            rc = judge(c->argv[0], status, l.last, err);
        buf_done(&l.partial);
    }
    for (size_t i = 0; i < 2; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    return rc;
}

enum err command_start(const struct command *c, int log_fd, int *ret_pid, struct errinfo *err)
{
    return spawn(c, log_fd, log_fd, ret_pid, err);
}
