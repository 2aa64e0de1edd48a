/* The runtime for programs of the platform: a plain child with a session, a cgroup and log files of its own.
 *
 * Happy path: start() opens the logs, spawns, writes its mark; the logs are tailed; stop() sends SIGTERM; the child's
 * end is seen, the logs are read to their end, on_exit. After an agent's restart adopt() finds the child by its mark.
 * What can go wrong: the agent dies while it starts one: the program runs only after the mark is on disk, so none runs
 * that nobody can find; the program dies while the agent is away: its last lines come with the next start. */
#include <assert.h>
#include <linux/capability.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/own.h"
#include "node/runtime/common.h"
#include "node/runtime/lines.h"
#include "node/runtime/tail.h"
#include "os/file.h"

struct host_instance {
    struct runtime_instance base;
    struct runtime_events events;
    uv_timer_t timer; /* says that it started; later: the grace of stop() */
    struct child *child;
    struct lines lines;
    struct tail *tails[2];
    char *state_dir;
    bool is_announced, is_stopping;
};

static struct host_instance *of(struct runtime_instance *i)
{
    return (struct host_instance *)(void *)i;
}

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    struct host_instance *h = arg;
    h->events.on_line(h->events.arg, stream, text);
}

static void on_child_exit(struct child *c, const struct child_status *status, void *arg)
{
    struct host_instance *h = arg;
    child_free(c);
    h->child = NULL;
    (void)uv_timer_stop(&h->timer);
    for (int i = 0; i < 2; i++) {
        tail_finish(h->tails[i]);
        tail_close(TAKE(h->tails[i]));
    }
    lines_end(&h->lines, clock_mono_us());
    err_ignore(runtime_mark_remove(h->state_dir, NULL)); /* adopt sees by its start time that it is gone */
    struct runtime_exit how = {.is_known = status->is_known, .exit_code = status->exit_code, .signal = status->signal};
    how.ok = how.is_known && how.signal == 0 && how.exit_code == 0;
    if (how.is_known)
        runtime_describe(how.cause, sizeof(how.cause), "the program", how.exit_code, how.signal);
    else
        (void)snprintf(how.cause, sizeof(how.cause), "the program ended; it was adopted, so how is not known");
    h->events.on_exit(h->events.arg, &how);
}

static void on_grace_over(uv_timer_t *timer)
{
    struct host_instance *h = timer->data;
    if (h->child != NULL)
        err_ignore(child_kill(h->child, SIGKILL, NULL)); /* it fails only when it has ended */
}

static void on_announce(uv_timer_t *timer)
{
    struct host_instance *h = timer->data;
    h->is_announced = true;
    if (h->child != NULL)
        h->events.on_started(h->events.arg);
}

static int cap_by_name(struct str name)
{
    static const char *const NAMES[] = {"CHOWN",
                                        "DAC_OVERRIDE",
                                        "DAC_READ_SEARCH",
                                        "FOWNER",
                                        "FSETID",
                                        "KILL",
                                        "SETGID",
                                        "SETUID",
                                        "SETPCAP",
                                        "LINUX_IMMUTABLE",
                                        "NET_BIND_SERVICE",
                                        "NET_BROADCAST",
                                        "NET_ADMIN",
                                        "NET_RAW",
                                        "IPC_LOCK",
                                        "IPC_OWNER",
                                        "SYS_MODULE",
                                        "SYS_RAWIO",
                                        "SYS_CHROOT",
                                        "SYS_PTRACE",
                                        "SYS_PACCT",
                                        "SYS_ADMIN",
                                        "SYS_BOOT",
                                        "SYS_NICE",
                                        "SYS_RESOURCE",
                                        "SYS_TIME",
                                        "SYS_TTY_CONFIG",
                                        "MKNOD",
                                        "LEASE",
                                        "AUDIT_WRITE",
                                        "AUDIT_CONTROL",
                                        "SETFCAP",
                                        "MAC_OVERRIDE",
                                        "MAC_ADMIN",
                                        "SYSLOG",
                                        "WAKE_ALARM",
                                        "BLOCK_SUSPEND",
                                        "AUDIT_READ",
                                        "PERFMON",
                                        "BPF",
                                        "CHECKPOINT_RESTORE"};
    static_assert(sizeof(NAMES) / sizeof(NAMES[0]) == CAP_CHECKPOINT_RESTORE + 1, "one name per capability");
    if (str_starts(name, STR("CAP_")))
        name = str_slice(name, 4, name.len);
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (str_eq_c(name, NAMES[i]))
            return (int)i;
    return -1;
}

struct launch {
    struct arena arena;
    struct child_spec spec;
    int caps[CAP_LAST_CAP + 1];
    uid_t uid;
    gid_t gid;
};

static void launch_cleanup(struct launch *l)
{
    arena_done(&l->arena);
}

static const char *const *launch_env(struct launch *l, const struct runtime_facts *f)
{
    size_t facts_n = 0;
    while (f->env != NULL && f->env[facts_n] != NULL)
        facts_n++;
    const char **env = arena_alloc(&l->arena, (f->spec->env.n + facts_n + 2) * sizeof(*env));
    size_t n = 0;
    for (size_t i = 0; i < facts_n; i++)
        env[n++] = f->env[i];
    for (size_t i = 0; i < f->spec->env.n; i++) {
        struct str entry = f->spec->env.items[i], name = str_slice(entry, 0, str_find(entry, '='));
        bool is_taken = name.len == entry.len; /* no '=' at all */
        for (size_t k = 0; k < facts_n; k++)
            is_taken |=
                strlen(env[k]) > name.len && env[k][name.len] == '=' && strncmp(env[k], name.ptr, name.len) == 0;
        if (!is_taken)
            env[n++] = arena_str(&l->arena, entry).ptr;
    }
    bool has_path = false;
    for (size_t i = 0; i < n; i++)
        has_path |= strncmp(env[i], "PATH=", 5) == 0;
    if (!has_path)
        env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    return env;
}

static enum err launch_rights(struct launch *l, const struct runtime_host *host, const struct runtime_facts *f,
                              struct errinfo *err)
{
    const struct instance_spec *s = f->spec;
    bool is_root = str_is_empty(s->run_as) || str_eq_c(s->run_as, "root");
    if (!is_root && !str_eq_c(s->run_as, "slipform"))
        return err_set(err, ERR_INVALID, "run_as '%.*s' is neither 'root' nor 'slipform'", STR_ARG(s->run_as));
    if (!is_root && host->uid == 0)
        return err_set(err, ERR_UNAVAILABLE, "this host has no user 'slipform'");
    if (s->capabilities.n > CAP_LAST_CAP)
        return err_set(err, ERR_INVALID, "%zu capabilities", s->capabilities.n);
    for (size_t i = 0; i < s->capabilities.n; i++)
        if ((l->caps[i] = cap_by_name(s->capabilities.items[i])) < 0)
            return err_set(err, ERR_INVALID, "there is no capability '%.*s'", STR_ARG(s->capabilities.items[i]));
    l->uid = is_root ? getuid() : host->uid;
    l->gid = is_root ? getgid() : host->gid;
    l->spec.drop_user = !is_root;
    l->spec.uid = l->uid;
    l->spec.gid = l->gid;
    l->spec.drop_caps = !is_root;
    l->spec.caps = l->caps;
    l->spec.caps_n = s->capabilities.n;
    l->spec.no_new_privs = !is_root;
    return OK;
}

static enum err launch_prepare(struct launch *l, const struct runtime_host *host, const struct runtime_facts *f,
                               struct errinfo *err)
{
    if (f->program_path == NULL)
        return err_set(err, ERR_INVALID, "a host instance needs a program");
    enum err rc = launch_rights(l, host, f, err);
    if (rc != OK)
        return rc;
    const char **argv = arena_alloc(&l->arena, 4 * sizeof(*argv));
    argv[0] = f->program_path;
    if (f->config_path != NULL) {
        argv[1] = "--config";
        argv[2] = f->config_path;
    }
    l->spec.argv = argv;
    l->spec.env = launch_env(l, f);
    l->spec.cwd = f->work_dir != NULL ? f->work_dir : "/";
    l->spec.new_session = true;
    l->spec.netns_fd = f->netns_fd;
    l->spec.nofile_max = 65536;
    return OK;
}

/* Limits that are not asked for are none. What cannot be limited is an error: never weaker than asked in silence. */
static enum err enter_cgroup(struct launch *l, const struct runtime_host *host, const struct runtime_facts *f,
                             struct errinfo *err)
{
    if (f->cgroup == NULL || host->cgroups.kind == CGROUP_NONE)
        return OK;
    const struct resources *r = &f->spec->resources;
    enum err rc =
        cgroup_create(&host->cgroups, f->cgroup,
                      &(struct cgroup_limits){.cpu_milli = r->vcpus * 1000, .memory_bytes = r->memory_bytes}, err);
    l->spec.cgroups = &host->cgroups;
    l->spec.cgroup = f->cgroup;
    return rc;
}

static struct host_instance *instance_new(const struct runtime_host *host, const struct runtime_facts *f,
                                          const struct runtime_events *events)
{
    struct host_instance *h = mem_alloc(sizeof(*h));
    h->base.ops = &RUNTIME_HOST;
    h->events = *events;
    h->lines = (struct lines){.fn = on_line, .arg = h};
    h->state_dir = mem_strdup(f->state_dir);
    (void)uv_timer_init(host->loop, &h->timer);
    h->timer.data = h;
    return h;
}

static void on_closed(uv_handle_t *handle)
{
    struct host_instance *h = handle->data;
    lines_done(&h->lines);
    free(h->state_dir);
    free(h);
}

static void host_free(struct runtime_instance *i)
{
    if (i == NULL)
        return;
    struct host_instance *h = of(i);
    child_free(TAKE(h->child));
    for (int k = 0; k < 2; k++)
        tail_close(TAKE(h->tails[k]));
    uv_close((uv_handle_t *)&h->timer, on_closed);
}

static enum err open_logs(struct host_instance *h, uv_loop_t *loop, uid_t uid, gid_t gid, int write_fds[2],
                          struct errinfo *err)
{
    static const char *const FILES[] = {"stdout.log", "stderr.log"};
    for (int i = 0; i < 2; i++) {
        auto_free char *path = mem_printf("%s/%s", h->state_dir, FILES[i]);
        enum err rc = tail_open(loop, path, uid, gid, &h->lines, (enum runtime_stream)i, &h->tails[i],
                                write_fds == NULL ? NULL : &write_fds[i], err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* Two of one instance must not run. */
static enum err refuse_second(const struct runtime_facts *f, struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct runtime_mark mark;
    if (runtime_mark_read(f->state_dir, "host", &a, &mark, NULL) != OK)
        return OK;
    if (child_ref_is_alive((struct child_ref){(pid_t)mark.pid, (uint64_t)mark.start_ticks}))
        return err_set(err, ERR_CONFLICT, "process %lld of this instance still runs: adopt it", (long long)mark.pid);
    return OK;
}

static enum err write_mark(struct child_ref ref, void *arg, struct errinfo *err)
{
    const struct host_instance *h = arg;
    return runtime_mark_child(h->state_dir, "host", ref, false, err);
}

static enum err launch_child(struct host_instance *h, struct launch *l, const struct runtime_host *host,
                             struct errinfo *err)
{
    int write_fds[2] = {-1, -1};
    enum err rc = open_logs(h, host->loop, l->uid, l->gid, write_fds, err);
    if (rc == OK) {
        struct child_fd fds[] = {{write_fds[0], 1}, {write_fds[1], 2}};
        l->spec.fds = fds;
        l->spec.fds_n = 2;
        l->spec.before_run = write_mark;
        l->spec.before_run_arg = h;
        rc = child_spawn(host->loop, &l->spec, on_child_exit, h, &h->child, err);
    }
    for (int i = 0; i < 2; i++)
        if (write_fds[i] >= 0)
            (void)close(write_fds[i]);
    if (rc != OK)
        err_ignore(runtime_mark_remove(h->state_dir, NULL)); /* adopt sees that it names nobody */
    return rc;
}

static enum err host_start(const struct runtime_host *host, const struct runtime_facts *facts,
                           const struct runtime_events *events, struct runtime_instance **ret_instance,
                           struct errinfo *err)
{
    AUTO(launch) struct launch l = {0};
    enum err rc = launch_prepare(&l, host, facts, err);
    if (rc != OK || (rc = folder_make(facts->state_dir, 0700, err)) != OK || (rc = refuse_second(facts, err)) != OK ||
        (rc = enter_cgroup(&l, host, facts, err)) != OK)
        return rc;
    struct host_instance *h = instance_new(host, facts, events);
    if ((rc = launch_child(h, &l, host, err)) != OK) {
        host_free(&h->base);
        return rc;
    }
    (void)uv_timer_start(&h->timer, on_announce, 0, 0);
    *ret_instance = &h->base;
    return OK;
}

static enum err host_adopt(const struct runtime_host *host, const struct runtime_facts *facts,
                           const struct runtime_events *events, struct runtime_instance **ret_instance,
                           struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct runtime_mark mark;
    enum err rc = runtime_mark_read(facts->state_dir, "host", &a, &mark, err);
    if (rc != OK)
        return rc;
    struct host_instance *h = instance_new(host, facts, events);
    AUTO(launch) struct launch l = {0};
    rc = launch_rights(&l, host, facts, err);
    if (rc == OK)
        rc = child_adopt(host->loop, (struct child_ref){(pid_t)mark.pid, (uint64_t)mark.start_ticks}, on_child_exit, h,
                         &h->child, err);
    if (rc == OK)
        rc = open_logs(h, host->loop, l.uid, l.gid, NULL, err);
    if (rc != OK) {
        host_free(&h->base);
        return rc;
    }
    (void)uv_timer_start(&h->timer, on_announce, 0, 0);
    *ret_instance = &h->base;
    return OK;
}

static void host_kill(struct runtime_instance *i)
{
    on_grace_over(&of(i)->timer);
}

static void host_stop(struct runtime_instance *i, int64_t grace_ms)
{
    struct host_instance *h = of(i);
    if (h->is_stopping || h->child == NULL)
        return;
    h->is_stopping = true;
    err_ignore(child_kill(h->child, SIGTERM, NULL)); /* it fails only when it has ended */
    (void)uv_timer_start(&h->timer, on_grace_over, grace_ms < 0 ? 0 : (uint64_t)grace_ms, 0);
}

static pid_t host_pid(const struct runtime_instance *i)
{
    const struct host_instance *h = (const struct host_instance *)(const void *)i;
    return h->child == NULL ? 0 : child_pid(h->child);
}

static bool host_is_accelerated(const struct runtime_instance *i)
{
    (void)i;
    return false;
}

static enum err host_clean(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                           struct errinfo *err)
{
    (void)host, (void)cgroup;
    return runtime_mark_remove(state_dir, err);
}

const struct runtime_ops RUNTIME_HOST = {
    .name = "host",
    .start = host_start,
    .adopt = host_adopt,
    .stop = host_stop,
    .kill = host_kill,
    .pid = host_pid,
    .is_accelerated = host_is_accelerated,
    .free = host_free,
    .clean = host_clean,
    .destroy = runtime_destroy,
};
