/* The proof of the pre-flight: a guest without a root file system says hello and ends. Where /dev/kvm exists but is a
 * nested one that cannot run an ordinary guest, opening it proves nothing; this does. */
#include <stdio.h>

#include "base/clock.h"
#include "base/own.h"
#include "node/runtime/qemu.h"

struct runtime_probe {
    const struct runtime_host *host;
    struct runtime_instance *instance;
    uv_timer_t timer;
    char *state_dir, *cgroup;
    int64_t from_us;
    bool has_hello, is_late;
    char last_line[200];
    struct runtime_probe_result result;
    runtime_probe_fn *done;
    void *arg;
};

static void on_closed(uv_handle_t *handle)
{
    struct runtime_probe *p = handle->data;
    free(p->state_dir);
    free(p->cgroup);
    free(p);
}

static void end(struct runtime_probe *p)
{
    RUNTIME_QEMU.free(p->instance);
    /* a folder that stays, or a cgroup whose guest is still ending, is used by the next probe and swept in the end */
    err_ignore(runtime_destroy(p->host, p->state_dir, p->cgroup, NULL));
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

static void on_hello(void *arg, const struct guest_hello *hello)
{
    struct runtime_probe *p = arg;
    p->has_hello = true;
    p->result.boot_ms = (clock_mono_us() - p->from_us) / 1000;
    p->result.memory_bytes = hello->memory_bytes;
    size_t n = hello->kernel.len < sizeof(p->result.kernel) - 1 ? hello->kernel.len : sizeof(p->result.kernel) - 1;
    memcpy(p->result.kernel, hello->kernel.ptr, n);
}

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    struct runtime_probe *p = arg;
    (void)stream;
    (void)snprintf(p->last_line, sizeof(p->last_line), "%.*s", STR_ARG(text));
}

static void on_started(void *arg)
{
    (void)arg;
}

static void on_exit_of(void *arg, const struct runtime_exit *how)
{
    struct runtime_probe *p = arg;
    p->result.ok = p->has_hello && !p->is_late;
    const char *with = p->result.kvm ? "KVM" : "TCG (no acceleration)";
    if (p->result.ok)
        (void)snprintf(p->result.detail, sizeof(p->result.detail),
                       "a guest with kernel %s said hello after %lld ms under %s", p->result.kernel,
                       (long long)p->result.boot_ms, with);
    else
        (void)snprintf(p->result.detail, sizeof(p->result.detail), "no guest came up under %s: %.200s%s%.100s", with,
                       p->is_late ? "it took too long" : how->cause, p->last_line[0] != '\0' ? "; last said: " : "",
                       p->last_line);
    end(p); /* p lives until its timer is closed */
    p->done(p->arg, &p->result);
}

static void on_late(uv_timer_t *timer)
{
    struct runtime_probe *p = timer->data;
    p->is_late = true;
    RUNTIME_QEMU.kill(p->instance);
}

enum err runtime_probe(const struct runtime_probe_options *o, struct runtime_probe **ret_probe, struct errinfo *err)
{
    struct runtime_probe *p = mem_alloc(sizeof(*p));
    const char *qemu = o->host->qemu_path != NULL ? o->host->qemu_path : "/usr/bin/qemu-system-x86_64";
    *p = (struct runtime_probe){.host = o->host,
                                .done = o->done,
                                .arg = o->arg,
                                .state_dir = mem_strdup(o->state_dir),
                                .cgroup = o->cgroup == NULL ? NULL : mem_strdup(o->cgroup),
                                .from_us = clock_mono_us(),
                                .result = {.kvm = o->kvm}};
    struct qemu_request r = {
        .host = o->host,
        .machine = {.qemu_path = qemu,
                    .kvm = o->kvm,
                    .sandbox = !o->host->bare,
                    .vcpus = 1,
                    .memory_bytes = QEMU_MEMORY_MIN,
                    .tsc_khz = o->kvm ? 0 : qemu_measure_tsc_khz()},
        .state_dir = p->state_dir,
        .cgroup = p->cgroup,
        .dies_with_us = true,
        .config = STR("{\"probe\":true}"),
        .events = {.on_line = on_line, .on_started = on_started, .on_exit = on_exit_of, .arg = p},
        .on_hello = on_hello,
    };
    (void)uv_timer_init(o->host->loop, &p->timer);
    p->timer.data = p;
    enum err rc = qemu_boot(&r, &p->instance, err);
    if (rc != OK) {
        uv_close((uv_handle_t *)&p->timer, on_closed);
        return rc;
    }
    (void)uv_timer_start(&p->timer, on_late, (uint64_t)o->timeout_ms, 0);
    *ret_probe = p;
    return OK;
}

void runtime_probe_cancel(struct runtime_probe *p)
{
    if (p == NULL)
        return;
    RUNTIME_QEMU.kill(p->instance);
    end(p);
}

enum err runtime_probe_sweep(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                             struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct runtime_mark mark;
    /* where there are no cgroups its mark names it; with a start time, so that nobody else is killed */
    if (runtime_mark_read(state_dir, "qemu", &a, &mark, NULL) == OK &&
        child_ref_is_alive((struct child_ref){(pid_t)mark.pid, (uint64_t)mark.start_ticks}))
        (void)kill((pid_t)mark.pid, SIGKILL);
    return runtime_destroy(host, state_dir, cgroup, err);
}
