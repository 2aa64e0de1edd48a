#include "install/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "base/clock.h"
#include "base/own.h"
#include "install/files.h"
#include "install/services.h"
#include "os/child.h"
#include "os/file.h"
#include "os/ns.h"

/* Restart after 1 s, doubling to 30 s; a run of 60 s resets it (chosen; the node-agent uses the same for instances). */
enum { BACKOFF_MS_MIN = 1000, BACKOFF_MS_MAX = 30000, GOOD_RUN_MS = 60000 };
/* What may not be started yet is asked again after (chosen; it is a look at files). */
enum { WAIT_MS = 1000 };
/* 16 MiB of an agent's log; older lines go at its next start (chosen). */
enum { AGENT_LOG_SIZE_MAX = 16 * 1024 * 1024 };

/* The hosts and the services. A node's name has no colon. */
enum { SUPERVISED_MAX = INVENTORY_NODES_MAX + SERVICES_MAX };
#define SERVICE_PREFIX "store:"
/* 10 s: a node-agent that writes down what runs (chosen). */
enum { AGENT_STOP_MS = 10000 };
/* 5 s for the kernel to take it away (chosen). */
enum { KILL_MS = 5000 };

static const struct field AGENT_FIELDS[] = {
    FIELD_REQ(STR, supervised, name, "name", "node, or store: and a service"),
    FIELD_REQ(I64, supervised, pid, "pid", "of its program; 0: none now"),
    FIELD_REQ(I64, supervised, start_ticks, "start_ticks", "of that process"),
    FIELD_REQ(I64, supervised, restarts, "restarts", "so far"),
};
static const struct field_table AGENT_TABLE = FIELD_TABLE(supervised, AGENT_FIELDS);
static const struct field STATE_FIELDS[] = {
    FIELD_REQ(I64, supervise_state, pid, "pid", "of the supervisor"),
    FIELD_SUB(OBJECTS, supervise_state, agents, "agents", AGENT_TABLE, "node-agents and services"),
};
static const struct field_table STATE_TABLE = FIELD_TABLE(supervise_state, STATE_FIELDS);

struct supervisor;
/* A program that is kept alive: a node-agent, or a service. */
struct agent {
    struct supervisor *sup;
    const struct installation_node *node; /* of a node-agent, else NULL */
    const struct service *service;        /* else NULL */
    struct str name;
    char name_text[SERVICE_NAME_SIZE + sizeof(SERVICE_PREFIX)];
    struct child *child;
    uv_timer_t timer;
    bool waits; /* it may not be started yet, which was said */
    int64_t started_ms, backoff_ms, restarts;
};
struct supervisor {
    const struct home *home;
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    bool is_stopping;
    struct service services[SERVICES_MAX];
    struct agent agents[SUPERVISED_MAX];
    size_t n;
};

static void say(const struct supervisor *s, const char *what, const struct agent *a, const char *detail)
{
    char now[CLOCK_TEXT_SIZE];
    clock_format_us(clock_wall_us(), now);
    (void)s;
    (void)fprintf(stderr, "{\"time\":\"%s\",\"level\":\"info\",\"program\":\"supervise\",\"msg\":\"%s%.*s: %s%s\"}\n",
                  now, a->service != NULL ? "" : "node-agent ", STR_ARG(a->name), what, detail);
}

static void write_state(const struct supervisor *s)
{
    struct supervised rows[SUPERVISED_MAX];
    for (size_t i = 0; i < s->n; i++) {
        const struct agent *a = &s->agents[i];
        struct child_ref ref = a->child != NULL ? child_ref(a->child) : (struct child_ref){0};
        rows[i] = (struct supervised){a->name, ref.pid, (int64_t)ref.start_ticks, a->restarts};
    }
    struct supervise_state state = {.pid = getpid(), .agents = {rows, s->n}};
    AUTO(buf) struct buf text = {0};
    fields_encode(&STATE_TABLE, &state, &text);
    buf_add_char(&text, '\n');
    char path[PATH_SIZE];
    /* A lost state costs the adoption after our own death; the agents lock their homes, so none runs twice. */
    err_ignore(file_replace(home_path(s->home, path, "run/supervise.json"), buf_str(&text), 0644, NULL));
}

void supervise_state_read(const struct home *h, struct arena *a, struct supervise_state *ret)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    *ret = (struct supervise_state){0};
    if (file_read(home_path(h, path, "run/supervise.json"), 65536, &text, NULL) != OK ||
        fields_parse(&STATE_TABLE, buf_str(&text), a, ret, NULL) != OK)
        *ret = (struct supervise_state){0};
    for (size_t i = 0; i < ret->agents.n; i++) {
        struct supervised *s = (struct supervised *)ret->agents.items + i;
        if (s->pid != 0 && !child_ref_is_alive((struct child_ref){(pid_t)s->pid, (uint64_t)s->start_ticks}))
            s->pid = 0;
    }
}

static void agent_start(struct agent *a);

static void on_timer(uv_timer_t *timer)
{
    agent_start(timer->data);
}

static void agent_later(struct agent *a)
{
    int64_t ran_ms = clock_mono_us() / 1000 - a->started_ms;
    a->backoff_ms = a->backoff_ms == 0 || ran_ms >= GOOD_RUN_MS ? BACKOFF_MS_MIN
                    : a->backoff_ms * 2 > BACKOFF_MS_MAX        ? BACKOFF_MS_MAX
                                                                : a->backoff_ms * 2;
    uv_timer_start(&a->timer, on_timer, (uint64_t)a->backoff_ms, 0);
}

static bool goes_with_us(const struct agent *a)
{
    return a->service == NULL || !a->service->outlives_supervisor;
}

static void agent_exited(struct child *c, const struct child_status *status, void *arg)
{
    struct agent *a = arg;
    char detail[64];
    (void)snprintf(detail, sizeof(detail), " (code %d, signal %d)", status->exit_code, status->signal);
    say(a->sup, "ended", a, status->is_known ? detail : "");
    child_free(c);
    a->child = NULL;
    write_state(a->sup);
    if (!a->sup->is_stopping) {
        a->restarts++;
        agent_later(a);
        return;
    }
    for (size_t i = 0; i < a->sup->n; i++)
        if (a->sup->agents[i].child != NULL && goes_with_us(&a->sup->agents[i]))
            return;
    uv_stop(&a->sup->loop);
}

static int open_log(const struct agent *a)
{
    char path[PATH_SIZE];
    if (a->service != NULL)
        home_path(a->sup->home, path, "%s", a->service->log_file);
    else
        home_path(a->sup->home, path, "nodes/%.*s/agent.log", STR_ARG(a->name));
    struct stat st;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    if (stat(path, &st) == 0 && st.st_size > AGENT_LOG_SIZE_MAX)
        flags |= O_TRUNC;
    return open(path, flags, 0640);
}

/* -1: the machine's own. */
static enum err open_namespace(const struct agent *a, const struct installation_node *n, int *ret, struct errinfo *err)
{
    char name[128];
    *ret = -1;
    return n != NULL && n->has_namespace ? netns_open(home_namespace(a->sup->home, n, name), ret, err) : OK;
}

static enum err spawn_service(struct agent *a, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct service_command command = {0};
    const char *env[SERVICE_ENV_MAX + 3] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LANG=C"};
    int uid = 0, gid = 0;
    auto_close int log = -1, ns = -1;
    enum err rc = files_user(&uid, &gid, err);
    if (rc == OK)
        rc = a->service->command(a->sup->home, a->service, &arena, &command, err);
    if (rc == OK)
        rc = open_namespace(a, a->service->node, &ns, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < SERVICE_ENV_MAX && command.env[i] != NULL; i++)
        env[i + 2] = command.env[i];
    log = open_log(a);
    if (log < 0)
        return err_set_os(err, ERR_IO, errno, "log of %s", a->service->title);
    struct child_fd fds[] = {{log, 1}, {log, 2}};
    struct child_spec spec = {.argv = command.argv,
                              .env = env,
                              .fds = fds,
                              .fds_n = 2,
                              .drop_user = true,
                              .uid = (uid_t)uid,
                              .gid = (gid_t)gid,
                              .drop_caps = true,
                              .no_new_privs = true,
                              .new_session = true,
                              .netns_fd = ns < 0 ? 0 : ns};
    return child_spawn(&a->sup->loop, &spec, agent_exited, a, &a->child, err);
}

static enum err spawn_agent(struct agent *a, struct errinfo *err)
{
    char program[PATH_SIZE], config[PATH_SIZE];
    home_path(a->sup->home, program, "programs/node-agent");
    home_path(a->sup->home, config, "nodes/%.*s/node-agent.yaml", STR_ARG(a->node->name));
    auto_close int log = open_log(a), ns = -1;
    if (log < 0)
        return err_set_os(err, ERR_IO, errno, "log of the node-agent");
    enum err rc = open_namespace(a, a->node, &ns, err);
    if (rc != OK)
        return rc;
    const char *argv[] = {"node-agent", "--config", config, NULL};
    const char *env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL};
    struct child_fd fds[] = {{log, 1}, {log, 2}};
    struct child_spec spec = {.program = program,
                              .argv = argv,
                              .env = env,
                              .fds = fds,
                              .fds_n = 2,
                              .new_session = true,
                              .netns_fd = ns < 0 ? 0 : ns};
    return child_spawn(&a->sup->loop, &spec, agent_exited, a, &a->child, err);
}

static void agent_wait(struct agent *a, const struct errinfo *why)
{
    if (!a->waits) {
        say(a->sup, "is not started yet: ", a, why->msg);
        write_state(a->sup);
    }
    a->waits = true;
    uv_timer_start(&a->timer, on_timer, WAIT_MS, 0);
}

static void agent_start(struct agent *a)
{
    struct errinfo err;
    a->started_ms = clock_mono_us() / 1000;
    enum err rc = a->service != NULL ? spawn_service(a, &err) : spawn_agent(a, &err);
    if (rc == ERR_CONFLICT) {
        agent_wait(a, &err);
        return;
    }
    a->waits = false;
    if (rc != OK) {
        say(a->sup, "can't be started: ", a, err.msg);
        a->restarts++;
        agent_later(a);
    } else {
        say(a->sup, "started", a, "");
    }
    write_state(a->sup);
}

static void agent_adopt_or_start(struct agent *a, const struct supervise_state *before)
{
    for (size_t i = 0; i < before->agents.n; i++) {
        const struct supervised *s = (const struct supervised *)before->agents.items + i;
        struct child_ref ref = {(pid_t)s->pid, (uint64_t)s->start_ticks};
        if (!str_eq(s->name, a->name) || s->pid == 0)
            continue;
        a->restarts = s->restarts;
        if (child_adopt(&a->sup->loop, ref, agent_exited, a, &a->child, NULL) == OK) {
            a->started_ms = clock_mono_us() / 1000;
            say(a->sup, "goes on", a, "");
            return;
        }
    }
    agent_start(a);
}

static void on_term(uv_signal_t *signal, int number)
{
    struct supervisor *s = signal->data;
    (void)number;
    s->is_stopping = true;
    bool has_any = false;
    for (size_t i = 0; i < s->n; i++) {
        uv_timer_stop(&s->agents[i].timer);
        if (s->agents[i].child != NULL && goes_with_us(&s->agents[i])) {
            has_any = true;
            const struct service *service = s->agents[i].service;
            /* it has ended already: agent_exited comes */
            err_ignore(child_kill(s->agents[i].child, service != NULL ? service->stop_signal : SIGTERM, NULL));
        }
    }
    if (!has_any)
        uv_stop(&s->loop);
}

static void watch_signal(struct supervisor *s, uv_signal_t *handle, int number)
{
    handle->data = s;
    uv_signal_init(&s->loop, handle);
    uv_signal_start(handle, on_term, number);
}

static void add(struct supervisor *s, const struct installation_node *node, const struct service *service)
{
    struct agent *a = &s->agents[s->n++];
    a->sup = s;
    a->node = node;
    a->service = service;
    if (service != NULL) {
        (void)snprintf(a->name_text, sizeof(a->name_text), SERVICE_PREFIX "%s", service->name);
        a->name = str_from(a->name_text);
    } else {
        a->name = node->name;
    }
    uv_timer_init(&s->loop, &a->timer);
    a->timer.data = a;
}

static void add_all(struct supervisor *s)
{
    size_t services_n = services_of(s->home, s->services);
    for (size_t i = 0; i < services_n; i++)
        add(s, NULL, &s->services[i]);
    for (size_t i = 0; i < s->home->inst.nodes.n; i++)
        add(s, home_node(s->home, i), NULL);
}

enum err supervise_run(const struct home *h, struct errinfo *err)
{
    char path[PATH_SIZE];
    auto_close int lock = -1;
    enum err rc = file_lock(home_path(h, path, "run/supervise.lock"), &lock, err);
    if (rc != OK)
        return rc == ERR_CONFLICT ? err_set(err, rc, "another supervisor of '%s' is running", h->path) : rc;
    AUTO(arena) struct arena arena = {0};
    struct supervise_state before;
    supervise_state_read(h, &arena, &before);
    struct supervisor *s = mem_alloc(sizeof(*s));
    s->home = h;
    uv_loop_init(&s->loop);
    watch_signal(s, &s->term, SIGTERM);
    watch_signal(s, &s->interrupt, SIGINT);
    add_all(s);
    for (size_t i = 0; i < s->n; i++)
        agent_adopt_or_start(&s->agents[i], &before);
    write_state(s);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    write_state(s);
    free(s); /* the process ends here */
    return OK;
}

bool supervise_is_running(const struct home *h)
{
    char path[PATH_SIZE];
    auto_close int lock = -1;
    home_path(h, path, "run/supervise.lock");
    return file_exists(path) && file_lock(path, &lock, NULL) == ERR_CONFLICT;
}

static enum err end_process(const struct supervised *a, const char *what, int signal, int64_t timeout_ms,
                            struct errinfo *err)
{
    struct child_ref ref = {(pid_t)a->pid, (uint64_t)a->start_ticks};
    if (a->pid == 0 || !child_ref_is_alive(ref))
        return OK;
    (void)kill(ref.pid, signal);
    for (int64_t ms = 0; ms < timeout_ms && child_ref_is_alive(ref); ms += 20)
        usleep(20000);
    if (child_ref_is_alive(ref))
        return err_set(err, ERR_UNAVAILABLE, "the %s '%.*s' (pid %d) does not end", what, STR_ARG(a->name),
                       (int)ref.pid);
    return OK;
}

static bool wait_for(const struct home *h, bool running, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    while (supervise_is_running(h) != running) {
        if (clock_mono_us() > until_us)
            return false;
        usleep(20000);
    }
    return true;
}

enum err supervise_start(const struct home *h, const char *exe, struct errinfo *err)
{
    if (supervise_is_running(h))
        return OK;
    char path[PATH_SIZE];
    auto_free char *home_env = mem_printf("SLIPFORM_HOME=%s", h->path);
    auto_close int log = open(home_path(h, path, "run/supervise.log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (log < 0)
        return err_set_os(err, ERR_IO, errno, "open '%s'", path);
    const char *argv[] = {"slipform", "supervise", NULL};
    const char *env[] = {home_env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
                         NULL};
    struct child_fd fds[] = {{log, 1}, {log, 2}};
    struct child_spec spec = {.program = exe, .argv = argv, .env = env, .fds = fds, .fds_n = 2, .new_session = true};
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct child *child = NULL;
    enum err rc = child_spawn(&loop, &spec, agent_exited, NULL, &child, err);
    child_free(child);
    uv_run(&loop, UV_RUN_NOWAIT);
    (void)uv_loop_close(&loop);
    if (rc == OK && !wait_for(h, true, 5000))
        rc = err_set(err, ERR_IO, "the supervisor did not start: see '%s'", path);
    return rc;
}

enum err supervise_stop(const struct home *h, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct supervise_state state;
    supervise_state_read(h, &arena, &state);
    if (supervise_is_running(h) && state.pid > 0)
        (void)kill((pid_t)state.pid, SIGTERM);
    if (!wait_for(h, false, 20000))
        return err_set(err, ERR_UNAVAILABLE, "the supervisor (pid %lld) does not end", (long long)state.pid);
    /* It was killed before us: its agents went on alone. */
    supervise_state_read(h, &arena, &state);
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < state.agents.n; i++) {
        const struct supervised *a = (const struct supervised *)state.agents.items + i;
        if (supervised_service(a).len == 0)
            rc = end_process(a, "node-agent", SIGTERM, AGENT_STOP_MS, err);
    }
    return rc;
}

struct str supervised_service(const struct supervised *s)
{
    struct str prefix = STR(SERVICE_PREFIX);
    return str_starts(s->name, prefix) ? str_slice(s->name, prefix.len, s->name.len) : STR("");
}

const struct supervised *supervise_find_service(const struct supervise_state *state, const char *name)
{
    for (size_t i = 0; i < state->agents.n; i++) {
        const struct supervised *s = (const struct supervised *)state->agents.items + i;
        if (str_eq_c(supervised_service(s), name))
            return s;
    }
    return NULL;
}

enum err supervise_stop_services(const struct home *h, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct supervise_state state;
    struct service list[SERVICES_MAX];
    supervise_state_read(h, &arena, &state);
    for (size_t n = services_of(h, list); n > 0; n--) {
        const struct service *s = &list[n - 1];
        const struct supervised *runs = supervise_find_service(&state, s->name);
        enum err rc = runs != NULL ? end_process(runs, "service", s->stop_signal, s->stop_ms, err) : OK;
        if (rc == ERR_UNAVAILABLE) /* it hangs; what it has acknowledged is on disk */
            rc = end_process(runs, "service", SIGKILL, KILL_MS, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

enum err supervise_stop_service(const struct home *h, const struct service *service, bool *ret_has_run,
                                struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct supervise_state state;
    supervise_state_read(h, &arena, &state);
    const struct supervised *runs = supervise_find_service(&state, service->name);
    *ret_has_run = runs != NULL && runs->pid != 0;
    return *ret_has_run ? end_process(runs, "service", service->stop_signal, service->stop_ms, err) : OK;
}
