#include "node/preflight/preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "os/child.h"
#include "os/file.h"
#include "os/nft.h"

/* 2 GiB free for images; 512 MiB for a guest and its hypervisor (chosen). */
static const uint64_t DISK_FREE_MIN = 2ull << 30;
static const int64_t MEMORY_MIN = 512ll << 20;
enum { ROWS_MAX = 24, RUNTIMES_MAX = 8 };
/* A probe guest of an earlier run that is still ending: asked again, for 2 s (chosen; it was killed already). */
enum { SWEEP_AGAIN_MS = 50, SWEEPS_MAX = 40 };
static const char DEFAULT_QEMU[] = "/usr/bin/qemu-system-x86_64";

struct preflight {
    struct preflight_options o;
    struct arena arena;
    struct preflight_check rows[ROWS_MAX];
    size_t rows_n;
    struct str runtimes[RUNTIMES_MAX];
    size_t runtimes_n;
    bool is_done, has_kvm;
    int sweeps_n;
    struct runtime_probe *probing; /* NULL: none */
    struct runtime_probe_result probe;
    char kvm_detail[384];
    uv_timer_t *soon; /* its own memory: it closes later than p goes */
};

static void add(struct preflight *p, const char *check, bool ok, const char *detail, const char *hint)
{
    if (p->rows_n == ROWS_MAX)
        return;
    p->rows[p->rows_n++] = (struct preflight_check){.check = str_from(check),
                                                    .ok = ok,
                                                    .detail = str_from(arena_strdup(&p->arena, detail)),
                                                    .hint = ok ? (struct str){0} : str_from(hint)};
}

static bool is_allowed(const struct preflight *p, const char *runtime)
{
    for (size_t i = 0; i < p->o.runtimes_n; i++)
        if (strcmp(p->o.runtimes[i], runtime) == 0)
            return true;
    return p->o.runtimes_n == 0;
}

static void check_device(struct preflight *p, const char *check, const char *path, const char *hint)
{
    auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
    auto_free char *detail =
        fd >= 0 ? mem_printf("'%s' can be opened", path) : mem_printf("'%s': %s", path, strerror(errno));
    add(p, check, fd >= 0, detail, hint);
}

static void check_file(struct preflight *p, const char *check, const char *path, const char *hint)
{
    bool ok = path != NULL && access(path, R_OK) == 0;
    add(p, check, ok, path == NULL ? "not set" : path, hint);
}

static void check_nft(struct preflight *p)
{
    struct nft *nft = NULL;
    struct errinfo err = {0};
    enum err rc = nft_open(&nft, &err);
    if (rc == OK)
        rc = nft_run(nft, "list tables", NULL, &err);
    nft_close(nft);
    add(p, "nft", rc == OK, rc == OK ? "tables can be listed" : err.msg, "the kernel needs nf_tables; run as root");
}

static void check_disk(struct preflight *p)
{
    struct statvfs v = {0};
    bool known = statvfs(p->o.home, &v) == 0;
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    auto_free char *detail = mem_printf("%llu MiB free", (unsigned long long)(free_bytes >> 20));
    add(p, "disk", known && free_bytes >= DISK_FREE_MIN, detail, "make at least 2 GiB free for images");
}

static void check_memory(struct preflight *p)
{
    int64_t bytes = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
    auto_free char *detail = mem_printf("%lld MiB free", (long long)(bytes >> 20));
    add(p, "memory", bytes >= MEMORY_MIN, detail, "microVMs need at least 512 MiB that nobody else uses");
}

static void check_link(struct preflight *p)
{
    auto_free char *path = mem_printf("/proc/sys/net/ipv6/conf/%s/forwarding", p->o.fabric);
    add(p, "fabric", file_exists(path), p->o.fabric,
        "the interface is not there, or has no IPv6: set fabric_interface");
}

static void check_host(struct preflight *p)
{
    struct utsname u = {0};
    (void)uname(&u);
    auto_free char *kernel = mem_printf("%s %s", u.sysname, u.release);
    add(p, "root", geteuid() == 0, geteuid() == 0 ? "runs as root" : "does not run as root", "start it as root");
    add(p, "kernel", true, kernel, "");
    add(p, "cgroup", p->o.host->cgroups.kind != CGROUP_NONE, cgroup_kind_name(p->o.host->cgroups.kind),
        "without cgroups nothing limits what instances use: mount them");
    check_disk(p);
    check_memory(p);
    if (!p->o.has_microvms)
        return;
    check_nft(p);
    check_device(p, "tun", "/dev/net/tun", "load the module 'tun'");
    check_device(p, "kvm", "/dev/kvm", "enable virtualization in the firmware, load kvm_intel or kvm_amd");
    check_file(p, "qemu", p->o.host->qemu_path == NULL ? DEFAULT_QEMU : p->o.host->qemu_path,
               "install the package qemu-system-x86");
    check_file(p, "guest-kernel", p->o.host->kernel_path, "set kernel_file");
    check_file(p, "guest-initramfs", p->o.host->initramfs_path, "set initramfs_file; tools/make-initramfs makes it");
    check_file(p, "resolver", "/usr/sbin/dnsmasq", "install the package dnsmasq-base");
    if (p->o.fabric != NULL)
        check_link(p);
}

/* ---- the probe, and what is kept of it ---- */

static void add_stat(struct buf *b, const char *path)
{
    struct stat st = {0};
    if (path != NULL && stat(path, &st) == 0)
        buf_addf(b, "%s %lld %lld;", path, (long long)st.st_size, (long long)st.st_mtim.tv_sec);
}

/* The probe's outcome holds for this boot, this kernel, this hypervisor. */
static char *probe_key(const struct preflight *p)
{
    struct buf key = {0};
    char boot_id[BOOT_ID_SIZE] = "";
    struct errinfo ignored;
    err_ignore(boot_id_read(boot_id, &ignored)); /* then it is probed each time */
    buf_addf(&key, "%s;", boot_id);
    add_stat(&key, p->o.host->qemu_path == NULL ? DEFAULT_QEMU : p->o.host->qemu_path);
    add_stat(&key, p->o.host->kernel_path);
    add_stat(&key, p->o.host->initramfs_path);
    return buf_take(&key);
}

static char *kept_path(const struct preflight *p)
{
    return mem_printf("%s/preflight.json", p->o.home);
}

static bool read_kept(struct preflight *p)
{
    auto_free char *path = kept_path(p), *key = probe_key(p);
    AUTO(buf) struct buf text = {0};
    auto_json json_t *doc = NULL;
    struct errinfo ignored;
    if (p->o.again || file_read(path, 65536, &text, &ignored) != OK ||
        json_parse(buf_str(&text), &doc, &ignored) != OK || !str_eq_c(json_member_str(doc, "key"), key))
        return false;
    p->probe.ok = json_is_true(json_object_get(doc, "ok"));
    p->probe.kvm = json_is_true(json_object_get(doc, "kvm"));
    (void)str_copy_to(json_member_str(doc, "detail"), p->probe.detail, sizeof(p->probe.detail));
    (void)str_copy_to(json_member_str(doc, "kvm_detail"), p->kvm_detail, sizeof(p->kvm_detail));
    return p->probe.ok; /* a failed probe is worth another try */
}

static void write_kept(const struct preflight *p)
{
    auto_free char *path = kept_path(p), *key = probe_key(p);
    auto_json json_t *doc = json_pack("{s:s, s:b, s:b, s:s, s:s}", "key", key, "ok", p->probe.ok, "kvm", p->probe.kvm,
                                      "detail", p->probe.detail, "kvm_detail", p->kvm_detail);
    auto_free char *text = doc == NULL ? NULL : json_format(doc);
    struct errinfo ignored;
    if (text != NULL)
        err_ignore(file_replace(path, str_from(text), 0600, &ignored)); /* costs a probe at the next start */
}

static void finish(struct preflight *p)
{
    if (p->o.has_microvms) {
        const char *by = p->probe.kvm ? "KVM" : "emulation (TCG): slow, and for tests only";
        auto_free char *detail = p->probe.ok ? mem_printf("booted by %s: %s", by, p->probe.detail)
                                             : mem_printf("no guest could be booted: %s", p->probe.detail);
        add(p, "probe-guest", p->probe.ok, detail, "see the rows qemu, guest-kernel and guest-initramfs");
        if (!p->probe.kvm)
            add(p, "probe-guest-kvm", false, p->kvm_detail,
                "a guest that /dev/kvm was to run did not come up: use a host with working virtualization");
        if (p->probe.ok && is_allowed(p, "qemu"))
            p->runtimes[p->runtimes_n++] = STR("qemu");
        p->has_kvm = p->probe.ok && p->probe.kvm;
    }
    for (size_t i = 0; i < p->o.runtimes_n; i++) /* weaker ones only by name */
        if (strcmp(p->o.runtimes[i], "host") == 0 || strcmp(p->o.runtimes[i], "null") == 0)
            p->runtimes[p->runtimes_n++] = str_from(p->o.runtimes[i]);
    p->is_done = true;
    p->o.on_done(p->o.arg);
}

static void probe(struct preflight *p, bool kvm);

static void on_probed(void *arg, const struct runtime_probe_result *result)
{
    struct preflight *p = arg;
    p->probing = NULL;
    p->probe = *result;
    if (!result->ok && result->kvm) {
        (void)snprintf(p->kvm_detail, sizeof(p->kvm_detail), "%s", result->detail);
        probe(p, false);
        return;
    }
    write_kept(p);
    finish(p);
}

static void probe(struct preflight *p, bool kvm)
{
    const struct runtime_probe_options o = {.host = p->o.host,
                                            .kvm = kvm,
                                            .state_dir = p->o.probe_folder,
                                            .cgroup = p->o.probe_cgroup,
                                            .timeout_ms = PREFLIGHT_PROBE_MS * (kvm ? 1 : 3),
                                            .done = on_probed,
                                            .arg = p};
    struct errinfo err = {0};
    if (runtime_probe(&o, &p->probing, &err) == OK)
        return;
    p->probe = (struct runtime_probe_result){.kvm = kvm};
    (void)snprintf(p->probe.detail, sizeof(p->probe.detail), "%.380s", err.msg);
    if (!kvm) {
        finish(p);
        return;
    }
    (void)snprintf(p->kvm_detail, sizeof(p->kvm_detail), "%.380s", err.msg);
    probe(p, false);
}

static void begin(uv_timer_t *timer)
{
    struct preflight *p = timer->data;
    if (p->o.is_sole && runtime_probe_sweep(p->o.host, p->o.probe_folder, p->o.probe_cgroup, NULL) == ERR_CONFLICT &&
        ++p->sweeps_n < SWEEPS_MAX) {
        (void)uv_timer_start(timer, begin, SWEEP_AGAIN_MS, 0);
        return;
    }
    check_host(p);
    if (!p->o.has_microvms || !is_allowed(p, "qemu") || read_kept(p)) {
        finish(p);
        return;
    }
    bool kvm = access("/dev/kvm", R_OK | W_OK) == 0;
    if (!kvm)
        (void)snprintf(p->kvm_detail, sizeof(p->kvm_detail), "'/dev/kvm' cannot be opened");
    probe(p, kvm);
}

struct preflight *preflight_start(const struct preflight_options *o)
{
    struct preflight *p = mem_alloc(sizeof(*p));
    p->o = *o;
    p->soon = mem_alloc(sizeof(*p->soon));
    (void)uv_timer_init(o->loop, p->soon);
    p->soon->data = p;
    (void)uv_timer_start(p->soon, begin, 0, 0);
    return p;
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void preflight_free(struct preflight *p)
{
    if (p == NULL)
        return;
    uv_close((uv_handle_t *)p->soon, on_closed);
    runtime_probe_cancel(p->probing);
    arena_done(&p->arena);
    free(p);
}

bool preflight_is_done(const struct preflight *p)
{
    return p->is_done;
}

struct objects preflight_rows(const struct preflight *p)
{
    return (struct objects){(void *)(uintptr_t)p->rows, p->rows_n};
}

const char *preflight_failure(const struct preflight *p)
{
    return p->is_done && p->o.has_microvms && is_allowed(p, "qemu") && !p->probe.ok ? p->probe.detail : NULL;
}

struct strs preflight_runtimes(const struct preflight *p)
{
    return (struct strs){(struct str *)(uintptr_t)p->runtimes, p->runtimes_n};
}

bool preflight_has_kvm(const struct preflight *p)
{
    return p->has_kvm;
}
