/* The proof of the pre-flight: a guest without a root file system says hello and ends. Where /dev/kvm exists but is a
 * nested one that cannot run an ordinary guest, opening it proves nothing; this does. */
#include <stdio.h>

#include "base/clock.h"
#include "base/own.h"
#include "node/runtime/qemu.h"

struct probe {
    const struct runtime_host *host;
    struct runtime_instance *instance;
    uv_timer_t timer;
    char *state_dir;
    int64_t from_us;
    bool has_hello, is_late;
    char last_line[200];
    struct runtime_probe_result result;
    runtime_probe_fn *done;
    void *arg;
};

static void on_closed(uv_handle_t *handle)
{
    struct probe *p = handle->data;
    free(p->state_dir);
    free(p);
}

static void on_hello(void *arg, const struct guest_hello *hello)
{
    struct probe *p = arg;
    p->has_hello = true;
    p->result.boot_ms = (clock_mono_us() - p->from_us) / 1000;
    p->result.memory_bytes = hello->memory_bytes;
    size_t n = hello->kernel.len < sizeof(p->result.kernel) - 1 ? hello->kernel.len : sizeof(p->result.kernel) - 1;
    memcpy(p->result.kernel, hello->kernel.ptr, n);
}

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    struct probe *p = arg;
    (void)stream;
    (void)snprintf(p->last_line, sizeof(p->last_line), "%.*s", STR_ARG(text));
}

static void on_started(void *arg)
{
    (void)arg;
}

static void on_exit_of(void *arg, const struct runtime_exit *how)
{
    struct probe *p = arg;
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
    RUNTIME_QEMU.free(p->instance);
    err_ignore(runtime_destroy(p->host, p->state_dir, NULL, NULL)); /* a folder that stays is used by the next probe */
    p->done(p->arg, &p->result);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

static void on_late(uv_timer_t *timer)
{
    struct probe *p = timer->data;
    p->is_late = true;
    RUNTIME_QEMU.kill(p->instance);
}

enum err runtime_probe(const struct runtime_host *host, bool kvm, const char *state_dir, int64_t timeout_ms,
                       runtime_probe_fn *done, void *arg, struct errinfo *err)
{
    struct probe *p = mem_alloc(sizeof(*p));
    *p = (struct probe){.host = host, .done = done, .arg = arg, .from_us = clock_mono_us(), .result = {.kvm = kvm}};
    p->state_dir = mem_strdup(state_dir);
    struct qemu_request r = {
        .host = host,
        .machine = {.qemu_path = host->qemu_path != NULL ? host->qemu_path : "/usr/bin/qemu-system-x86_64",
                    .kvm = kvm,
                    .sandbox = !host->bare,
                    .vcpus = 1,
                    .memory_bytes = QEMU_MEMORY_MIN,
                    .tsc_khz = kvm ? 0 : qemu_measure_tsc_khz()},
        .state_dir = state_dir,
        .config = STR("{\"probe\":true}"),
        .events = {.on_line = on_line, .on_started = on_started, .on_exit = on_exit_of, .arg = p},
        .on_hello = on_hello,
    };
    enum err rc = qemu_boot(&r, &p->instance, err);
    if (rc != OK) {
        free(p->state_dir);
        free(p);
        return rc;
    }
    (void)uv_timer_init(host->loop, &p->timer);
    p->timer.data = p;
    (void)uv_timer_start(&p->timer, on_late, (uint64_t)timeout_ms, 0);
    return OK;
}
