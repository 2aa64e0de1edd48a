/* The runtime for microVMs under QEMU: one microVM, watched from its start to its end.
 *
 * Happy path: two listening sockets in the state folder, QEMU with their descriptors, our connections to them; CONFIG
 * -> HELLO -> STARTED -> output ... EXIT; the guest powers off, QEMU ends with code 0, on_exit.
 * stop(): STOP to the guest, which sends the stop signal and kills after the grace; we kill QEMU some seconds later.
 * An agent that was restarted finds QEMU by its mark, connects to the sockets again, says ATTACH, and gets what it
 * missed. What can go wrong: the guest never says hello (120 s), sends nonsense, or does not end after its EXIT: QEMU
 * is killed; QEMU dies: the sockets close and its pidfd tells; a kernel panic: the guest reboots at once, which ends
 * QEMU, and the panic's line on the console is the cause. */
#include "node/runtime/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "base/own.h"
#include "node/runtime/guest_link.h"
#include "node/runtime/lines.h"
#include "node/runtime/qemu_process.h"
#include "os/file.h"

/* Six guests at once under TCG on two cores took 5 s; chosen with room for slower hosts. */
#define HELLO_TIMEOUT_MS 120000
/* The guest kills by itself when the grace is over; then it tells and powers off. */
#define STOP_EXTRA_MS 5000
/* Between the guest's EXIT and QEMU's end; and between QEMU's end and the last bytes of its sockets. */
#define END_TIMEOUT_MS 5000
#define DRAIN_TIMEOUT_MS 2000

struct qemu {
    struct runtime_instance base;
    struct runtime_events events;
    void (*on_hello)(void *arg, const struct guest_hello *hello);
    uv_timer_t timer; /* of what is waited for: hello, the end after stop or EXIT, the drain */
    uv_pipe_t console;
    int handles_n;
    struct child *child;
    struct guest_link *link;
    struct lines lines;
    struct buf config; /* for a guest that has none yet */
    char *state_dir;
    int64_t memory_bytes;
    bool accelerated, is_adopted, has_hello, is_started, is_stopping;
    bool child_is_over, link_is_over, console_is_over, is_finished;
    struct child_status status;
    bool has_exit; /* the guest told how its program ended */
    int exit_code, signal;
    bool out_of_memory;
    char problem[256]; /* what was wrong, by us or by the guest */
    char panic[160];
    char room[4096];
};

static struct qemu *of(struct runtime_instance *i)
{
    return (struct qemu *)(void *)i;
}

/* Text of a guest, for people: no control characters. */
static void copy_text(char *to, size_t size, struct str from)
{
    size_t n = from.len < size - 1 ? from.len : size - 1;
    for (size_t i = 0; i < n; i++)
        to[i] = (char)((unsigned char)from.ptr[i] < 0x20 || from.ptr[i] == 0x7f ? '?' : from.ptr[i]);
    to[n] = '\0';
}

static void kill_now(struct qemu *q)
{
    if (q->child != NULL)
        err_ignore(child_kill(q->child, SIGKILL, NULL)); /* it fails only when it has ended */
}

static void end_with(struct qemu *q, const char *problem)
{
    if (q->problem[0] == '\0')
        copy_text(q->problem, sizeof(q->problem), str_from(problem));
    kill_now(q);
}

/* The last line that QEMU wrote, for a cause. */
static void last_log_line(const struct qemu *q, char *to, size_t size)
{
    auto_free char *path = mem_printf("%s/" QEMU_LOG, q->state_dir);
    AUTO(buf) struct buf text = {0};
    to[0] = '\0';
    if (file_read(path, QEMU_LOG_MAX, &text, NULL) != OK)
        return;
    struct str all = str_trim(buf_str(&text));
    size_t line = str_rfind(all, '\n');
    copy_text(to, size, line < all.len ? str_slice(all, line + 1, all.len) : all);
}

static void describe_guest_exit(const struct qemu *q, struct runtime_exit *how)
{
    how->is_known = true;
    how->exit_code = q->exit_code;
    how->signal = q->signal;
    how->ok = q->signal == 0 && q->exit_code == 0;
    runtime_describe(how->cause, sizeof(how->cause), "the program", q->exit_code, q->signal);
    size_t len = strlen(how->cause);
    if (q->out_of_memory)
        (void)snprintf(how->cause + len, sizeof(how->cause) - len, "; the microVM ran out of its %lld MiB of memory",
                       (long long)(q->memory_bytes / (1024 * 1024)));
}

static void describe_microvm_end(const struct qemu *q, struct runtime_exit *how)
{
    char line[200];
    last_log_line(q, line, sizeof(line));
    how->is_known = q->status.is_known;
    how->signal = q->status.signal;
    if (q->panic[0] != '\0')
        (void)snprintf(how->cause, sizeof(how->cause), "the microVM's kernel stopped: %s", q->panic);
    else if (q->status.signal != 0)
        runtime_describe(how->cause, sizeof(how->cause), "the microVM", 0, q->status.signal);
    else if (q->status.exit_code != 0 || line[0] != '\0')
        (void)snprintf(how->cause, sizeof(how->cause), "QEMU ended with code %d: %s", q->status.exit_code, line);
    else
        (void)snprintf(how->cause, sizeof(how->cause), "the microVM ended without saying how its program did");
}

static void finish(struct qemu *q)
{
    if (q->is_finished)
        return;
    q->is_finished = true;
    (void)uv_timer_stop(&q->timer);
    guest_link_close(TAKE(q->link));
    lines_end(&q->lines, clock_mono_us());
    err_ignore(runtime_mark_remove(q->state_dir, NULL)); /* adopt sees by its start time that it is gone */
    struct runtime_exit how = {0};
    if (q->problem[0] != '\0') {
        how.is_known = true;
        how.signal = q->status.signal;
        (void)snprintf(how.cause, sizeof(how.cause), "%s", q->problem);
    } else if (q->has_exit) {
        describe_guest_exit(q, &how);
    } else {
        describe_microvm_end(q, &how);
    }
    q->events.on_exit(q->events.arg, &how);
}

/* Everything that can end has ended, or is waited for no longer. */
static void look_at_end(struct qemu *q)
{
    if (q->child_is_over && q->link_is_over && q->console_is_over)
        finish(q);
}

static void on_timer(uv_timer_t *timer)
{
    struct qemu *q = timer->data;
    if (q->child_is_over)
        finish(q);
    else if (q->has_exit)
        kill_now(q); /* how the program ended is known */
    else if (q->is_stopping)
        end_with(q, "the microVM did not stop within its grace and was killed");
    else
        end_with(q, "the microVM did not say hello in time and was killed");
}

static void set_timer(struct qemu *q, int64_t ms)
{
    (void)uv_timer_start(&q->timer, on_timer, ms < 0 ? 0 : (uint64_t)ms, 0);
}

static void on_child_exit(struct child *c, const struct child_status *status, void *arg)
{
    struct qemu *q = arg;
    child_free(c);
    q->child = NULL;
    q->child_is_over = true;
    q->status = *status;
    set_timer(q, DRAIN_TIMEOUT_MS);
    look_at_end(q);
}

/* ---- the guest ---- */

static void tell_started(struct qemu *q)
{
    if (q->is_started)
        return;
    q->is_started = true;
    q->events.on_started(q->events.arg);
}

static void on_guest_hello(void *arg, const struct guest_hello *hello)
{
    struct qemu *q = arg;
    bool is_first = !q->has_hello;
    q->has_hello = true;
    if (!q->is_stopping && is_first)
        (void)uv_timer_stop(&q->timer);
    if (q->on_hello != NULL)
        q->on_hello(q->events.arg, hello);
    if (q->is_adopted && is_first && !hello->configured)
        guest_link_greet(q->link, buf_str(&q->config));
    if (q->is_adopted && hello->configured)
        tell_started(q);
}

static void on_guest_started(void *arg)
{
    tell_started(arg);
}

static void on_guest_output(void *arg, int stream, struct str bytes)
{
    struct qemu *q = arg;
    lines_add(&q->lines, stream == 1 ? RUNTIME_STDOUT : RUNTIME_STDERR, bytes, clock_mono_us());
}

static void on_guest_dropped(void *arg, const struct guest_dropped *dropped)
{
    struct qemu *q = arg;
    lines_note(&q->lines, RUNTIME_STDERR, "slipform: dropped %lld lines (%lld bytes) while the node-agent was away",
               (long long)dropped->lines, (long long)dropped->bytes);
}

static void on_guest_exit(void *arg, const struct guest_exit *how)
{
    struct qemu *q = arg;
    q->has_exit = true;
    q->exit_code = (int)(how->exit_code & 0xff);
    q->signal = (int)(how->signal & 0x7f);
    q->out_of_memory = how->out_of_memory;
    copy_text(q->problem, sizeof(q->problem), how->problem);
    set_timer(q, END_TIMEOUT_MS);
}

static void on_guest_broken(void *arg, const char *why)
{
    struct qemu *q = arg;
    auto_free char *text = mem_printf("the microVM was killed: %s", why);
    q->link_is_over = true;
    end_with(q, text);
    look_at_end(q);
}

static void on_guest_closed(void *arg)
{
    struct qemu *q = arg;
    q->link_is_over = true;
    if (!q->child_is_over && !q->is_stopping && !q->has_exit)
        set_timer(q, END_TIMEOUT_MS); /* QEMU only closes it when it ends */
    look_at_end(q);
}

/* ---- its console ---- */

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    struct qemu *q = arg;
    if (stream == RUNTIME_CONSOLE)
        for (size_t i = 0; i < text.len && q->panic[0] == '\0'; i++)
            if (str_starts(str_slice(text, i, text.len), STR("Kernel panic")))
                copy_text(q->panic, sizeof(q->panic), str_slice(text, i, text.len));
    q->events.on_line(q->events.arg, stream, text);
}

static void on_console_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct qemu *q = handle->data;
    *ret = uv_buf_init(q->room, sizeof(q->room));
}

static void on_console_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct qemu *q = stream->data;
    if (n > 0)
        lines_add(&q->lines, RUNTIME_CONSOLE, (struct str){bytes->base, (size_t)n}, clock_mono_us());
    if (n >= 0)
        return;
    (void)uv_read_stop(stream);
    q->console_is_over = true;
    look_at_end(q);
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct qemu *q = handle->data;
    if (--q->handles_n > 0)
        return;
    lines_done(&q->lines);
    buf_done(&q->config);
    free(q->state_dir);
    free(q);
}

static void qemu_free(struct runtime_instance *i)
{
    if (i == NULL)
        return;
    struct qemu *q = of(i);
    q->is_finished = true;
    child_free(TAKE(q->child));
    guest_link_close(TAKE(q->link));
    uv_close((uv_handle_t *)&q->timer, on_handle_closed);
    uv_close((uv_handle_t *)&q->console, on_handle_closed);
}

static struct qemu *instance_new(const struct qemu_request *r)
{
    struct qemu *q = mem_alloc(sizeof(*q));
    q->base.ops = &RUNTIME_QEMU;
    q->events = r->events;
    q->on_hello = r->on_hello;
    q->lines = (struct lines){.fn = on_line, .arg = q};
    q->state_dir = mem_strdup(r->state_dir);
    q->accelerated = r->machine.kvm;
    q->memory_bytes = r->machine.memory_bytes;
    buf_add_str(&q->config, r->config);
    q->handles_n = 2;
    (void)uv_timer_init(r->host->loop, &q->timer);
    (void)uv_pipe_init(r->host->loop, &q->console, 0);
    q->timer.data = q->console.data = q;
    return q;
}

static enum err connect_all(struct qemu *q, uv_loop_t *loop, int folder_fd, struct errinfo *err)
{
    auto_close int guest_fd = -1, console_fd = -1;
    enum err rc = qemu_connect(folder_fd, QEMU_GUEST_SOCKET, &guest_fd, err);
    if (rc != OK || (rc = qemu_connect(folder_fd, QEMU_CONSOLE_SOCKET, &console_fd, err)) != OK)
        return rc;
    int uv_rc = uv_pipe_open(&q->console, console_fd);
    if (uv_rc < 0)
        return err_set(err, ERR_IO, "read the console: %s", uv_strerror(uv_rc));
    console_fd = -1; /* the pipe's */
    if ((uv_rc = uv_read_start((uv_stream_t *)&q->console, on_console_alloc, on_console_read)) < 0)
        return err_set(err, ERR_IO, "read the console: %s", uv_strerror(uv_rc));
    const struct guest_link_events events = {
        .on_hello = on_guest_hello,
        .on_started = on_guest_started,
        .on_output = on_guest_output,
        .on_dropped = on_guest_dropped,
        .on_exit = on_guest_exit,
        .on_broken = on_guest_broken,
        .on_closed = on_guest_closed,
        .arg = q,
    };
    if ((rc = guest_link_open(loop, TAKE_FD(guest_fd), &events, &q->link, err)) != OK)
        return rc;
    guest_link_greet(q->link, q->is_adopted ? (struct str){0} : buf_str(&q->config));
    set_timer(q, HELLO_TIMEOUT_MS);
    return OK;
}

static enum err check_request(const struct qemu_request *r, struct errinfo *err)
{
    if (r->host->uid == 0 && !r->host->bare)
        return err_set(err, ERR_UNAVAILABLE, "this host has no unprivileged user for hypervisors");
    if (r->host->kernel_path == NULL || r->host->initramfs_path == NULL)
        return err_set(err, ERR_UNAVAILABLE, "this host has no kernel or no initramfs for microVMs");
    AUTO(arena) struct arena a = {0};
    struct runtime_mark mark;
    if (runtime_mark_read(r->state_dir, "qemu", &a, &mark, NULL) == OK &&
        child_ref_is_alive((struct child_ref){(pid_t)mark.pid, (uint64_t)mark.start_ticks}))
        return err_set(err, ERR_CONFLICT, "process %lld of this instance still runs: adopt it", (long long)mark.pid);
    return OK;
}

static enum err boot_in(struct qemu *q, const struct qemu_request *r, int folder_fd, struct errinfo *err)
{
    AUTO(qemu_fds) struct qemu_fds fds = {0};
    enum err rc = qemu_fds_open(r, folder_fd, &fds, err);
    if (rc != OK || (rc = connect_all(q, r->host->loop, folder_fd, err)) != OK ||
        (rc = qemu_spawn(r, &fds, on_child_exit, q, &q->child, err)) != OK)
        err_ignore(runtime_mark_remove(r->state_dir, NULL)); /* adopt sees that it names nobody */
    return rc;
}

enum err qemu_boot(const struct qemu_request *r, struct runtime_instance **ret_instance, struct errinfo *err)
{
    enum err rc = check_request(r, err);
    if (rc != OK || (rc = folder_make(r->state_dir, 0700, err)) != OK || (rc = qemu_cgroup_make(r, err)) != OK)
        return rc;
    auto_close int folder_fd = open(r->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0)
        return err_set_os(err, ERR_IO, errno, "open '%s'", r->state_dir);
    struct qemu *q = instance_new(r);
    if ((rc = boot_in(q, r, folder_fd, err)) != OK) {
        qemu_free(&q->base);
        return rc;
    }
    *ret_instance = &q->base;
    return OK;
}

int64_t qemu_measure_tsc_khz(void)
{
    int64_t from_us = clock_mono_us(), now_us = from_us;
    uint64_t from = __rdtsc(), now = from;
    while (now_us - from_us < 10000) {
        now_us = clock_mono_us();
        now = __rdtsc();
    }
    return (int64_t)(now - from) * 1000 / (now_us - from_us);
}

static enum err request_of(const struct runtime_host *host, const struct runtime_facts *f,
                           const struct runtime_events *events, struct buf *config, struct qemu_request *ret,
                           struct errinfo *err)
{
    *ret = (struct qemu_request){
        .host = host,
        .machine = {.qemu_path = host->qemu_path != NULL ? host->qemu_path : "/usr/bin/qemu-system-x86_64",
                    .kvm = host->kvm,
                    .sandbox = !host->bare,
                    .has_disk = true,
                    .has_tap = f->tap != NULL},
        .state_dir = f->state_dir,
        .cgroup = f->cgroup,
        .disk_path = f->image_path,
        .tap = f->tap,
        .netns_fd = f->netns_fd,
        .events = *events,
    };
    memcpy(ret->machine.mac, f->mac, sizeof(f->mac));
    enum err rc = qemu_machine_size(&f->spec->resources, &ret->machine, err);
    if (rc != OK)
        return rc;
    rc = qemu_guest_config(f, ret->machine.memory_bytes, clock_wall_us(), config, err);
    ret->config = buf_str(config);
    return rc;
}

static enum err qemu_start(const struct runtime_host *host, const struct runtime_facts *facts,
                           const struct runtime_events *events, struct runtime_instance **ret_instance,
                           struct errinfo *err)
{
    AUTO(buf) struct buf config = {0};
    struct qemu_request r;
    enum err rc = request_of(host, facts, events, &config, &r, err);
    if (rc != OK)
        return rc;
    if (!r.machine.kvm)
        r.machine.tsc_khz = qemu_measure_tsc_khz();
    return qemu_boot(&r, ret_instance, err);
}

static enum err qemu_adopt(const struct runtime_host *host, const struct runtime_facts *facts,
                           const struct runtime_events *events, struct runtime_instance **ret_instance,
                           struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf config = {0};
    struct runtime_mark mark;
    struct qemu_request r;
    enum err rc = runtime_mark_read(facts->state_dir, "qemu", &a, &mark, err);
    if (rc != OK || (rc = request_of(host, facts, events, &config, &r, err)) != OK)
        return rc;
    auto_close int folder_fd = open(facts->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct qemu *q = instance_new(&r);
    q->is_adopted = true;
    q->accelerated = mark.accelerated;
    rc = child_adopt(host->loop, (struct child_ref){(pid_t)mark.pid, (uint64_t)mark.start_ticks}, on_child_exit, q,
                     &q->child, err);
    if (rc == OK)
        rc = connect_all(q, host->loop, folder_fd, err);
    if (rc != OK) {
        qemu_free(&q->base);
        return rc;
    }
    *ret_instance = &q->base;
    return OK;
}

static void qemu_stop(struct runtime_instance *i, int64_t grace_ms)
{
    struct qemu *q = of(i);
    if (q->is_stopping || q->is_finished || q->child == NULL)
        return;
    q->is_stopping = true;
    guest_link_stop(q->link, grace_ms);
    set_timer(q, grace_ms + STOP_EXTRA_MS);
}

static void qemu_kill(struct runtime_instance *i)
{
    kill_now(of(i));
}

static pid_t qemu_pid(const struct runtime_instance *i)
{
    const struct qemu *q = (const struct qemu *)(const void *)i;
    return q->child == NULL ? 0 : child_pid(q->child);
}

static bool qemu_is_accelerated(const struct runtime_instance *i)
{
    return ((const struct qemu *)(const void *)i)->accelerated;
}

static enum err qemu_clean(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                           struct errinfo *err)
{
    if (cgroup != NULL && host->cgroups.kind != CGROUP_NONE) {
        enum err rc = cgroup_kill(&host->cgroups, cgroup, err);
        if (rc != OK)
            return rc;
    }
    return runtime_mark_remove(state_dir, err);
}

const struct runtime_ops RUNTIME_QEMU = {
    .name = "qemu",
    .is_isolated = true,
    .wants_image = true,
    .wants_tap = true,
    .start = qemu_start,
    .adopt = qemu_adopt,
    .stop = qemu_stop,
    .kill = qemu_kill,
    .pid = qemu_pid,
    .is_accelerated = qemu_is_accelerated,
    .free = qemu_free,
    .clean = qemu_clean,
    .destroy = runtime_destroy,
};
