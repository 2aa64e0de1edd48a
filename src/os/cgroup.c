#include "os/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "os/file.h"

static const char *const CONTROLLERS[CGROUP_CONTROLLERS_N] = {"cpu", "memory", "pids", "cpuacct"};

/* 100 ms, the kernel's own default period of the CPU controller (Documentation/scheduler/sched-bwc.rst). */
#define CPU_PERIOD_US 100000
/* 64 KiB: 8,000 pids; a group has fewer where pids.max is set. */
#define PROCS_SIZE_MAX (64 * 1024)
/* Rounds of looking for processes that were forked while we killed (chosen; pids.max 0 stops forks where it works). */
#define KILL_ROUNDS 20

const char *cgroup_kind_name(enum cgroup_kind kind)
{
    static const char *const NAMES[] = {"none", "v1", "v2"};
    return NAMES[kind];
}

static bool list_has(struct str list, const char *word)
{
    struct str part;
    while (str_next(&list, ',', &part))
        if (str_eq_c(part, word))
            return true;
    return false;
}

/* One line of mountinfo: "36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue" */
static void detect_line(struct cgroup_host *h, struct str line, char v2_mount[128])
{
    struct str fields[6] = {0}, word, type = {0}, options = {0};
    for (size_t i = 0; i < 6; i++)
        if (!str_next(&line, ' ', &fields[i]))
            return;
    while (str_next(&line, ' ', &word) && !str_eq_c(word, "-"))
        ;
    if (!str_next(&line, ' ', &type) || !str_next(&line, ' ', &word) || !str_next(&line, ' ', &options))
        return;
    if (str_eq_c(type, "cgroup2"))
        (void)str_copy_to(fields[4], v2_mount, 128);
    if (!str_eq_c(type, "cgroup"))
        return;
    for (int c = 0; c < CGROUP_CONTROLLERS_N; c++)
        if (list_has(options, CONTROLLERS[c]))
            (void)str_copy_to(fields[4], h->mount[c], sizeof(h->mount[c]));
}

static bool v2_is_usable(const char *mount)
{
    AUTO(buf) struct buf text = {0};
    auto_free char *path = mem_printf("%s/cgroup.controllers", mount);
    if (mount[0] == '\0' || file_read(path, 4096, &text, NULL) != OK)
        return false;
    struct str rest = str_trim(buf_str(&text)), word;
    while (str_next(&rest, ' ', &word))
        if (str_eq_c(word, "memory") || str_eq_c(word, "pids"))
            return true;
    return false;
}

void cgroup_detect(struct cgroup_host *ret_host)
{
    *ret_host = (struct cgroup_host){.kind = CGROUP_NONE};
    char v2_mount[128] = "";
    AUTO(buf) struct buf text = {0};
    if (file_read("/proc/self/mountinfo", 4 * 1024 * 1024, &text, NULL) != OK)
        return;
    struct str rest = buf_str(&text), line;
    while (str_next(&rest, '\n', &line))
        detect_line(ret_host, line, v2_mount);
    if (v2_is_usable(v2_mount)) {
        ret_host->kind = CGROUP_V2;
        for (int c = 0; c < CGROUP_CONTROLLERS_N; c++)
            memcpy(ret_host->mount[c], v2_mount, sizeof(v2_mount));
    } else if (ret_host->mount[CGROUP_MEMORY][0] != '\0' || ret_host->mount[CGROUP_PIDS][0] != '\0' ||
               ret_host->mount[CGROUP_CPU][0] != '\0') {
        ret_host->kind = CGROUP_V1;
    }
}

static enum err check_name(const struct cgroup_host *h, const char *name, struct errinfo *err)
{
    if (h->kind == CGROUP_NONE)
        return err_set(err, ERR_UNAVAILABLE, "this host offers no cgroup controllers");
    struct str rest = str_from(name), part;
    bool bad = rest.len == 0 || rest.len > 512;
    while (str_next(&rest, '/', &part))
        bad |= part.len == 0 || part.ptr[0] == '.';
    return bad ? err_set(err, ERR_INVALID, "'%s' is not a name for a cgroup", name) : OK;
}

/* The folders of a group: one for v2, one per mounted controller for v1 (several controllers may share a mount). */
struct folders {
    char *paths[CGROUP_CONTROLLERS_N]; /* owned */
    size_t n;
};

static void folders_of(const struct cgroup_host *h, const char *name, struct folders *ret)
{
    *ret = (struct folders){0};
    for (int c = 0; c < CGROUP_CONTROLLERS_N; c++) {
        bool is_new = h->mount[c][0] != '\0';
        for (int before = 0; before < c; before++)
            is_new &= strcmp(h->mount[c], h->mount[before]) != 0;
        if (is_new)
            ret->paths[ret->n++] = mem_printf("%s/%s", h->mount[c], name);
    }
}

static void folders_cleanup(struct folders *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->paths[i]);
}

/* *os_errno is 0 on success. cgroup files take one write. */
static int write_value(const char *folder, const char *file, const char *value)
{
    auto_free char *path = mem_printf("%s/%s", folder, file);
    auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        return errno;
    return 0;
}

static int64_t read_number(const char *folder, const char *file, const char *key)
{
    auto_free char *path = mem_printf("%s/%s", folder, file);
    AUTO(buf) struct buf text = {0};
    if (file_read(path, 65536, &text, NULL) != OK)
        return 0;
    struct str rest = buf_str(&text), line;
    uint64_t value = 0;
    while (str_next(&rest, '\n', &line)) {
        struct str word = line;
        if (key != NULL && (!str_next(&line, ' ', &word) || !str_eq_c(word, key)))
            continue;
        (void)str_parse_u64(str_trim(line), INT64_MAX, &value);
        break;
    }
    return (int64_t)value;
}

static enum err limit_failed(const char *name, const char *controller, int os_errno, struct errinfo *err)
{
    return err_set_os(err, ERR_UNAVAILABLE, os_errno, "cgroup '%s' exists but has no limit of %s", name, controller);
}

static enum err limit_cpu(const struct cgroup_host *h, const char *folder, const char *name, int64_t milli,
                          struct errinfo *err)
{
    int os_errno;
    int64_t quota_us = milli * (CPU_PERIOD_US / 1000);
    if (h->kind == CGROUP_V2) {
        auto_free char *value =
            milli == 0 ? mem_strdup("max") : mem_printf("%lld %d", (long long)quota_us, CPU_PERIOD_US);
        os_errno = write_value(folder, "cpu.max", value);
    } else {
        auto_free char *value = mem_printf("%lld", milli == 0 ? -1LL : (long long)quota_us);
        os_errno = write_value(folder, "cpu.cfs_quota_us", value);
    }
    return os_errno == 0 || milli == 0 ? OK : limit_failed(name, "cpu", os_errno, err);
}

static enum err limit_number(const char *folder, const char *file, const char *none, const char *name,
                             const char *controller, int64_t limit, struct errinfo *err)
{
    auto_free char *value = limit == 0 ? mem_strdup(none) : mem_printf("%lld", (long long)limit);
    int os_errno = write_value(folder, file, value);
    return os_errno == 0 || limit == 0 ? OK : limit_failed(name, controller, os_errno, err);
}

static enum err set_limits(const struct cgroup_host *h, const char *name, const struct cgroup_limits *l,
                           struct errinfo *err)
{
    auto_free char *cpu = mem_printf("%s/%s", h->mount[CGROUP_CPU], name);
    auto_free char *memory = mem_printf("%s/%s", h->mount[CGROUP_MEMORY], name);
    auto_free char *pids = mem_printf("%s/%s", h->mount[CGROUP_PIDS], name);
    bool v2 = h->kind == CGROUP_V2;
    enum err rc = limit_cpu(h, cpu, name, l->cpu_milli, err);
    enum err rc2 = limit_number(memory, v2 ? "memory.max" : "memory.limit_in_bytes", v2 ? "max" : "-1", name, "memory",
                                l->memory_bytes, rc == OK ? err : NULL);
    enum err rc3 = limit_number(pids, "pids.max", "max", name, "pids", l->pids_max, rc == OK && rc2 == OK ? err : NULL);
    return rc != OK ? rc : rc2 != OK ? rc2 : rc3;
}

/* v2: a group has a controller only where every parent passes it on. A failure shows when the limit is set. */
static void pass_controllers_on(const struct cgroup_host *h, const char *name)
{
    auto_free char *folder = mem_printf("%s/%s", h->mount[CGROUP_MEMORY], name);
    size_t root = strlen(h->mount[CGROUP_MEMORY]);
    for (size_t i = root; folder[i] != '\0'; i++) {
        if (folder[i] != '/')
            continue;
        folder[i] = '\0';
        (void)write_value(folder, "cgroup.subtree_control", "+cpu");
        (void)write_value(folder, "cgroup.subtree_control", "+memory");
        (void)write_value(folder, "cgroup.subtree_control", "+pids");
        folder[i] = '/';
    }
}

enum err cgroup_create(const struct cgroup_host *h, const char *name, const struct cgroup_limits *limits,
                       struct errinfo *err)
{
    enum err rc = check_name(h, name, err);
    if (rc != OK)
        return rc;
    AUTO(folders) struct folders f;
    folders_of(h, name, &f);
    for (size_t i = 0; i < f.n; i++)
        if ((rc = folder_make(f.paths[i], 0755, err)) != OK)
            return rc;
    if (h->kind == CGROUP_V2)
        pass_controllers_on(h, name);
    return set_limits(h, name, limits, err);
}

enum err cgroup_open_procs(const struct cgroup_host *h, const char *name, int ret_fds[], size_t *ret_n,
                           struct errinfo *err)
{
    *ret_n = 0;
    enum err rc = check_name(h, name, err);
    if (rc != OK)
        return rc;
    AUTO(folders) struct folders f;
    folders_of(h, name, &f);
    for (size_t i = 0; i < f.n; i++) {
        auto_free char *path = mem_printf("%s/cgroup.procs", f.paths[i]);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
            int os_errno = errno;
            while (*ret_n > 0)
                (void)close(ret_fds[--*ret_n]);
            return err_set_os(err, os_errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, os_errno, "open '%s'", path);
        }
        ret_fds[(*ret_n)++] = fd;
    }
    return OK;
}

enum err cgroup_usage(const struct cgroup_host *h, const char *name, struct cgroup_usage *ret_usage,
                      struct errinfo *err)
{
    *ret_usage = (struct cgroup_usage){0};
    enum err rc = check_name(h, name, err);
    if (rc != OK)
        return rc;
    auto_free char *cpu = mem_printf("%s/%s", h->mount[CGROUP_CPUACCT], name);
    auto_free char *memory = mem_printf("%s/%s", h->mount[CGROUP_MEMORY], name);
    auto_free char *pids = mem_printf("%s/%s", h->mount[CGROUP_PIDS], name);
    if (!file_is_folder(memory) && !file_is_folder(pids))
        return err_set(err, ERR_NOT_FOUND, "there is no cgroup '%s'", name);
    bool v2 = h->kind == CGROUP_V2;
    ret_usage->cpu_us =
        v2 ? read_number(cpu, "cpu.stat", "usage_usec") : read_number(cpu, "cpuacct.usage", NULL) / 1000;
    ret_usage->memory_bytes = read_number(memory, v2 ? "memory.current" : "memory.usage_in_bytes", NULL);
    ret_usage->pids = read_number(pids, "pids.current", NULL);
    return OK;
}

/* SIGKILL to what is in the folder now; false when there was nothing. */
static bool kill_round(const char *folder)
{
    auto_free char *path = mem_printf("%s/cgroup.procs", folder);
    AUTO(buf) struct buf text = {0};
    if (file_read(path, PROCS_SIZE_MAX, &text, NULL) != OK)
        return false;
    struct str rest = buf_str(&text), line;
    bool any = false;
    uint64_t pid;
    while (str_next(&rest, '\n', &line))
        if (str_parse_u64(line, INT32_MAX, &pid) && pid > 0) {
            any = true;
            (void)kill((pid_t)pid, SIGKILL);
        }
    return any;
}

/* fn for the folder and every folder below it, deepest first. */
static void each_folder(const char *folder, int depth, void (*fn)(const char *folder))
{
    char **names = NULL;
    size_t n = 0;
    if (depth > 32 || folder_list(folder, &names, &n, NULL) != OK)
        return;
    for (size_t i = 0; i < n; i++) {
        auto_free char *path = mem_printf("%s/%s", folder, names[i]);
        if (file_is_folder(path))
            each_folder(path, depth + 1, fn);
    }
    folder_list_free(names);
    fn(folder);
}

static void kill_folder(const char *folder)
{
    (void)write_value(folder, "pids.max", "0");
    for (int i = 0; i < KILL_ROUNDS && kill_round(folder); i++)
        ;
}

enum err cgroup_kill(const struct cgroup_host *h, const char *name, struct errinfo *err)
{
    enum err rc = check_name(h, name, err);
    if (rc != OK)
        return rc;
    AUTO(folders) struct folders f;
    folders_of(h, name, &f);
    if (h->kind == CGROUP_V2 && write_value(f.paths[0], "cgroup.kill", "1") == 0)
        return OK;
    for (size_t i = f.n; i > 0; i--) /* pids first: it stops forks */
        each_folder(f.paths[i - 1], 0, kill_folder);
    return OK;
}

static void remove_folder(const char *folder)
{
    (void)rmdir(folder);
}

enum err cgroup_remove(const struct cgroup_host *h, const char *name, struct errinfo *err)
{
    enum err rc = check_name(h, name, err);
    if (rc != OK)
        return rc;
    AUTO(folders) struct folders f;
    folders_of(h, name, &f);
    for (size_t i = 0; i < f.n; i++) {
        each_folder(f.paths[i], 0, remove_folder);
        if (file_exists(f.paths[i]) && rmdir(f.paths[i]) < 0 && errno != ENOENT)
            return err_set_os(err, errno == EBUSY ? ERR_CONFLICT : ERR_IO, errno, "remove cgroup '%s'", f.paths[i]);
    }
    return OK;
}

void cgroup_prune(const struct cgroup_host *h, const char *name)
{
    if (check_name(h, name, NULL) != OK)
        return;
    auto_free char *parent = mem_strdup(name);
    for (char *slash = strrchr(parent, '/'); slash != NULL; slash = strrchr(parent, '/')) {
        *slash = '\0';
        AUTO(folders) struct folders f;
        folders_of(h, parent, &f);
        for (size_t i = 0; i < f.n; i++)
            (void)rmdir(f.paths[i]);
    }
}
