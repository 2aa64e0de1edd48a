#include "build/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "build/blob_keeper.h"
#include "build/egress.h"
#include "build/job.h"
#include "os/file.h"

#define REQUEST_SIZE_MAX ((size_t)64 * 1024)
#define LOCK_POLL_MS 200

static const struct field BUILD_REQUEST_FIELDS[] = {
    FIELD_REQ(STR, build_request, installation, "installation", "for the names of objects in the OS"),
    FIELD_OPT(ID, build_request, image_id, "image_id", "for logs"),
    FIELD_REQ(STR, build_request, context_digest, "context_digest", "of a tar among the blobs"),
    FIELD_OPT(STR, build_request, dockerfile, "dockerfile", "path in the context; default Dockerfile"),
    FIELD_REQ(STR, build_request, blobs, "blobs", "where context and image are: spec of the store"),
    FIELD_REQ(STR, build_request, work_folder, "work_folder", "layers are cached in it"),
    FIELD_OPT(STR, build_request, registry_folder, "registry_folder", "storage of the local registry"),
    FIELD_OPT(STR, build_request, environment_file, "environment_file", "what is needed to reach the outside"),
    FIELD_OPT(STR, build_request, isolation, "isolation", "of RUN steps: oci (default) or chroot"),
    FIELD_OPT(I64, build_request, timeout_seconds, "timeout_seconds", "default 900"),
    FIELD_OPT(I64, build_request, image_size_max_bytes, "image_size_max_bytes", "default 8 GiB"),
    FIELD_OPT(STRS, build_request, allowed, "allowed", "private IPv4 destinations that a build may reach"),
    FIELD_OPT(BOOL, build_request, no_cache, "no_cache", "build every layer anew"),
};
const struct field_table BUILD_REQUEST_TABLE = FIELD_TABLE(build_request, BUILD_REQUEST_FIELDS);

static enum err read_request(int fd, struct arena *arena, struct build_request *ret, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0 && text.len <= REQUEST_SIZE_MAX)
        buf_add(&text, chunk, (size_t)n);
    if (n < 0 || text.len > REQUEST_SIZE_MAX)
        return err_set(err, ERR_INVALID, "the build request can't be read or is over %zu bytes", REQUEST_SIZE_MAX);
    enum err rc = fields_parse(&BUILD_REQUEST_TABLE, buf_str(&text), arena, ret, err);
    if (rc != OK)
        return rc;
    if (ret->dockerfile.len == 0)
        ret->dockerfile = STR("Dockerfile");
    if (ret->isolation.len == 0)
        ret->isolation = STR("oci");
    if (ret->timeout_seconds <= 0)
        ret->timeout_seconds = 900;
    if (ret->image_size_max_bytes <= 0)
        ret->image_size_max_bytes = 8LL * 1024 * 1024 * 1024;
    if (!str_eq_c(ret->isolation, "oci") && !str_eq_c(ret->isolation, "chroot"))
        return err_set(err, ERR_INVALID, "isolation '%.*s' is neither oci nor chroot", STR_ARG(ret->isolation));
    if (ret->work_folder.len == 0 || ret->work_folder.ptr[0] != '/')
        return err_set(err, ERR_INVALID, "work_folder must be an absolute path");
    return OK;
}

static void send_result(int fd, const struct image_state *result)
{
    AUTO(buf) struct buf text = {0};
    fields_encode(&IMAGE_STATE_WIRE, result, &text);
    buf_add_char(&text, '\n');
    for (size_t at = 0; at < text.len;) {
        ssize_t n = write(fd, text.ptr + at, text.len - at);
        if (n < 0 && errno != EINTR)
            return; /* nobody listens any more */
        at += n > 0 ? (size_t)n : 0;
    }
}

static void send_failure(int fd, const char *cause)
{
    (void)printf("%s\n", cause);
    (void)fflush(stdout);
    send_result(fd, &(struct image_state){.status = STR("failed"), .cause = str_from(cause)});
}

/* Builds of one work folder run one after the other. */
static enum err take_turn(const struct build_request *r, int64_t deadline_us, int *ret_fd, struct errinfo *err)
{
    auto_free char *folder = mem_strndup(r->work_folder.ptr, r->work_folder.len);
    enum err rc = folder_make(folder, 0700, err);
    if (rc != OK)
        return rc;
    auto_free char *path = mem_printf("%s/lock", folder);
    for (bool told = false;; told = true) {
        rc = file_lock(path, ret_fd, err);
        if (rc != ERR_CONFLICT)
            return rc;
        if (clock_mono_us() > deadline_us)
            return err_set(err, ERR_UNAVAILABLE, "other builds took all of the %lld s that this one had: try again",
                           (long long)r->timeout_seconds);
        if (!told)
            (void)printf("waiting for another build\n");
        (void)fflush(stdout);
        (void)poll(NULL, 0, LOCK_POLL_MS);
    }
}

/* RUN steps get cgroups below /slipform/<installation>/build; runc removes its own, not the ones above them, and
 * nothing when it is killed. Only empty ones go. */
static void remove_cgroups(const char *installation)
{
    char **hierarchies = NULL;
    size_t n = 0;
    if (folder_list("/sys/fs/cgroup", &hierarchies, &n, NULL) != OK)
        return;
    for (size_t i = 0; i <= n; i++) { /* v1: one tree a controller; v2: the top itself */
        auto_free char *top = mem_printf("/sys/fs/cgroup%s%s", i < n ? "/" : "", i < n ? hierarchies[i] : "");
        auto_free char *build = mem_printf("%s/slipform/%s/build", top, installation);
        char **steps = NULL;
        size_t steps_n = 0;
        if (folder_list(build, &steps, &steps_n, NULL) == OK) {
            for (size_t k = 0; k < steps_n; k++) {
                auto_free char *step = mem_printf("%s/%s", build, steps[k]);
                (void)rmdir(step);
            }
            folder_list_free(steps);
        }
        (void)rmdir(build);
        auto_free char *above = mem_printf("%s/slipform/%s", top, installation), *ours = mem_printf("%s/slipform", top);
        (void)(rmdir(above) == 0 && rmdir(ours) == 0);
    }
    folder_list_free(hierarchies);
}

/* --- the inner process: PID 1 of its namespaces */

static enum err enter(const struct egress *egress, int go_fd, const char *work_folder, struct errinfo *err)
{
    char go;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || read(go_fd, &go, 1) != 1)
        return err_set(err, ERR_CANCELLED, "the build was stopped before it began");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("proc", "/proc", "proc", 0, NULL) != 0)
        return err_set_os(err, ERR_IO, errno, "make the build's own mounts");
    auto_free char *resolv_conf = mem_printf("%s/resolv.conf", work_folder);
    return egress_enter(egress, resolv_conf, err);
}

static int inner(const struct build_request *r, const struct egress *egress, int go_fd, int blobs_fd, int result_fd,
                 int64_t deadline_us)
{
    struct errinfo err = {0};
    struct job j = {.request = r, .deadline_us = deadline_us, .blobs_fd = blobs_fd};
    const char *work_folder = arena_str(&j.arena, r->work_folder).ptr;
    j.folder = arena_printf(&j.arena, "%s/job", work_folder);
    enum err rc = enter(egress, go_fd, work_folder, &err);
    if (rc == OK)
        rc = job_run(&j, &err);
    if (rc == OK)
        j.result.status = STR("ready");
    else
        j.result = (struct image_state){.status = STR("failed"),
                                        .cause = j.result.cause.len > 0 ? j.result.cause : str_from(err.msg)};
    if (rc != OK) { /* its last lines are in the log already */
        (void)printf("%.*s\n", (int)str_find(j.result.cause, '\n'), j.result.cause.ptr);
        (void)fflush(stdout);
    }
    send_result(result_fd, &j.result);
    err_ignore(folder_remove(j.folder, NULL)); /* the next build clears what is left */
    job_done(&j);
    return rc == OK ? 0 : 1;
}

/* --- the outer process */

/* A fork with namespaces of its own; allowed here because this process has one thread. */
static pid_t fork_into_namespaces(void)
{
    return (pid_t)syscall(SYS_clone, (long)(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | SIGCHLD), 0L, 0L, 0L, 0L);
}

/* Until the inner process has ended; SIGTERM (blocked, read from `signals_fd`) ends it. */
static int wait_for(pid_t pid, int signals_fd, int result_fd)
{
    auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool was_stopped = false;
    for (;;) {
        struct pollfd p[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = was_stopped ? -1 : signals_fd, .events = POLLIN}};
        (void)poll(p, 2, -1);
        if (p[0].revents != 0)
            break;
        if (p[1].revents != 0) {
            was_stopped = true;
            (void)kill(pid, SIGKILL);
        }
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    const char *why = was_stopped                   ? "the build was stopped before its end"
                      : WTERMSIG(status) == SIGKILL ? "the build was killed: out of memory, or by an operator"
                                                    : "the build died of a signal";
    send_failure(result_fd, why);
    return 1;
}

static int block_sigterm(void)
{
    sigset_t term;
    (void)sigemptyset(&term);
    (void)sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    return signalfd(-1, &term, SFD_CLOEXEC);
}

static enum err start_inner(const struct build_request *r, const struct egress *egress, int blobs_fd, int result_fd,
                            int64_t deadline_us, pid_t *ret_pid, struct errinfo *err)
{
    int go[2];
    if (pipe2(go, O_CLOEXEC) != 0)
        return err_set_os(err, ERR_IO, errno, "make a pipe");
    pid_t pid = fork_into_namespaces();
    if (pid == 0) {
        (void)close(go[1]);
        _exit(inner(r, egress, go[0], blobs_fd, result_fd, deadline_us));
    }
    (void)close(go[0]);
    auto_close int go_write = go[1];
    if (pid < 0)
        return err_set_os(err, ERR_IO, errno, "make the build's namespaces");
    *ret_pid = pid;
    enum err rc = egress_connect(egress, pid, err);
    if (rc == OK && write(go_write, "1", 1) != 1)
        rc = err_set_os(err, ERR_IO, errno, "start the build");
    if (rc != OK) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    return rc;
}

static enum err build(const struct build_request *r, struct arena *arena, int result_fd, int *ret_exit,
                      struct errinfo *err)
{
    int64_t deadline_us = clock_mono_us() + r->timeout_seconds * 1000000;
    auto_close int lock = -1;
    enum err rc = take_turn(r, deadline_us, &lock, err);
    if (rc != OK)
        return rc;
    const char **allowed = arena_alloc(arena, (r->allowed.n + 1) * sizeof(*allowed));
    for (size_t i = 0; i < r->allowed.n; i++)
        allowed[i] = arena_str(arena, r->allowed.items[i]).ptr;
    const struct egress_options o = {
        .installation = arena_str(arena, r->installation).ptr, .allowed = allowed, .allowed_n = r->allowed.n};
    struct egress egress = {0};
    auto_close int signals_fd = block_sigterm();
    struct blob_keeper blobs = {0, -1};
    rc = egress_open(&o, &egress, err);
    if (rc == OK)
        rc = blob_keeper_start(arena_str(arena, r->blobs).ptr, &blobs, err);
    pid_t pid = -1;
    if (rc == OK)
        rc = start_inner(r, &egress, blobs.fd, result_fd, deadline_us, &pid, err);
    if (rc == OK)
        *ret_exit = wait_for(pid, signals_fd, result_fd);
    blob_keeper_stop(&blobs);
    egress_close(&egress);
    remove_cgroups(o.installation);
    return rc;
}

int builder_main(int request_fd, int result_fd)
{
    AUTO(arena) struct arena arena = {0};
    struct build_request request = {0};
    struct errinfo err = {0};
    int exit_code = 1;
    (void)fcntl(result_fd, F_SETFD, FD_CLOEXEC);
    (void)signal(SIGPIPE, SIG_IGN);
    if (read_request(request_fd, &arena, &request, &err) != OK) {
        send_failure(result_fd, err.msg);
        return 2;
    }
    if (build(&request, &arena, result_fd, &exit_code, &err) != OK)
        send_failure(result_fd, err.msg);
    return exit_code;
}
