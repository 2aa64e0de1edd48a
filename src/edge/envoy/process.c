#include "edge/envoy/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "edge/envoy/admin.h"
#include "event/hash.h"
#include "os/child.h"
#include "os/file.h"

enum {
    BACKOFF_MIN_MS = 100,    /* as ENVOY's own reconnects; chosen */
    BACKOFF_MAX_MS = 10000,  /* chosen */
    STEADY_MS = 10000,       /* lived that long: the next start is a first one again; chosen */
    POLL_MS = 100,           /* of the admin interface while not live, and while draining; chosen */
    LIVE_POLL_MS = 2000,     /* while live; chosen */
    SOCKET_PATH_MAX = 107,   /* sun_path */
    LOG_SIZE_MAX = 16 << 20, /* an old log bigger than this is begun anew at a start; chosen */
};

enum state {
    STATE_WAITING, /* for the time of the next start */
    STATE_RUNNING,
    STATE_REPLACING, /* the old one, of another bootstrap, is being ended */
    STATE_DRAINING,  /* no new connections; open ones may end */
    STATE_ENDING,    /* SIGTERM was sent */
    STATE_CLOSING,
};

struct envoy {
    struct envoy_options options;
    char *binary, *run_dir, *bootstrap_path, *state_path, *admin_path, *log_path;
    char digest[DIGEST_TEXT_SIZE]; /* of bootstrap and binary path */
    enum state state;
    struct child *child;
    uv_timer_t timer; /* start, poll, deadline: one at a time */
    unsigned backoff_ms;
    int64_t started_us, deadline_us;
    uint64_t starts_n;
    bool is_live, was_adopted, is_asking, is_drain_asked;
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

static void on_ended(struct child *c, const struct child_status *status, void *arg);
static void on_timer(uv_timer_t *timer);
static void start_now(struct envoy *e);

char *envoy_admin_path(const char *run_dir)
{
    return mem_printf("%s/admin.sock", run_dir);
}

char *envoy_xds_path(const char *run_dir)
{
    return mem_printf("%s/xds.sock", run_dir);
}

bool envoy_is_live(const struct envoy *e)
{
    return e->is_live;
}

bool envoy_was_adopted(const struct envoy *e)
{
    return e->was_adopted;
}

uint64_t envoy_restarts(const struct envoy *e)
{
    uint64_t first = e->was_adopted ? 0 : 1;
    return e->starts_n < first ? 0 : e->starts_n - first;
}

pid_t envoy_pid(const struct envoy *e)
{
    return e->child == NULL ? 0 : child_pid(e->child);
}

static void set_live(struct envoy *e, bool is_live)
{
    if (e->is_live == is_live)
        return;
    e->is_live = is_live;
    if (e->options.on_live != NULL)
        e->options.on_live(e->options.ctx, is_live);
}

/* ---- who it is, on disk ---- */

static enum err write_state(struct envoy *e, struct errinfo *err)
{
    char boot_id[BOOT_ID_SIZE];
    struct child_ref ref = child_ref(e->child);
    AUTO(buf) struct buf text = {0};
    enum err rc = boot_id_read(boot_id, err);
    if (rc != OK)
        return rc;
    buf_addf(&text, "{\"boot_id\":\"%s\",\"pid\":%d,\"start_ticks\":%" PRIu64 ",\"digest\":\"%s\"}\n", boot_id,
             (int)ref.pid, ref.start_ticks, e->digest);
    return file_replace(e->state_path, buf_str(&text), 0600, err);
}

/* The one that an earlier run of ours started. *ret_same: from the same bootstrap. */
static enum err read_state(struct envoy *e, struct child_ref *ret_ref, bool *ret_same, struct errinfo *err)
{
    char boot_id[BOOT_ID_SIZE];
    AUTO(buf) struct buf text = {0};
    auto_json json_t *doc = NULL;
    enum err rc = file_read(e->state_path, 4096, &text, err);
    if (rc == OK)
        rc = json_parse(buf_str(&text), &doc, err);
    if (rc == OK)
        rc = boot_id_read(boot_id, err);
    if (rc != OK)
        return rc;
    if (!str_eq_c(json_member_str(doc, "boot_id"), boot_id))
        return err_set(err, ERR_NOT_FOUND, "'%s' is of an earlier boot", e->state_path);
    ret_ref->pid = (pid_t)json_integer_value(json_object_get(doc, "pid"));
    ret_ref->start_ticks = (uint64_t)json_integer_value(json_object_get(doc, "start_ticks"));
    *ret_same = str_eq_c(json_member_str(doc, "digest"), e->digest);
    return ret_ref->pid > 0 && child_ref_is_alive(*ret_ref) ? OK
                                                            : err_set(err, ERR_NOT_FOUND, "it does not run any more");
}

/* ---- start ---- */

static void arm(struct envoy *e, unsigned ms)
{
    uv_timer_start(&e->timer, on_timer, ms, 0);
}

/* Descriptor for its output, which it keeps when we die. */
static enum err open_log(const struct envoy *e, int *ret_fd, struct errinfo *err)
{
    struct stat st;
    bool is_big = stat(e->log_path, &st) == 0 && st.st_size > LOG_SIZE_MAX;
    *ret_fd = open(e->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (is_big ? O_TRUNC : 0), 0600);
    return *ret_fd >= 0 ? OK : err_set_os(err, ERR_IO, errno, "open '%s'", e->log_path);
}

static enum err spawn(struct envoy *e, struct errinfo *err)
{
    auto_close int log_fd = -1;
    enum err rc = open_log(e, &log_fd, err);
    if (rc != OK)
        return rc;
    auto_free char *concurrency = mem_printf("%lld", (long long)e->options.concurrency);
    const char *const argv[] = {e->binary,
                                "-c",
                                e->bootstrap_path,
                                "--disable-hot-restart",
                                "--log-level",
                                "warning",
                                "--drain-time-s",
                                "5",
                                "--concurrency",
                                concurrency,
                                NULL};
    const struct child_fd fds[] = {{log_fd, 1}, {log_fd, 2}};
    const struct child_spec spec = {.argv = argv, .fds = fds, .fds_n = 2, .new_session = true, .cwd = e->run_dir};
    (void)unlink(e->admin_path); /* of a predecessor; Envoy does not bind over it */
    return child_spawn(e->options.loop, &spec, on_ended, e, &e->child, err);
}

static void retry_later(struct envoy *e)
{
    e->state = STATE_WAITING;
    arm(e, e->backoff_ms);
    e->backoff_ms = e->backoff_ms * 2 < BACKOFF_MAX_MS ? e->backoff_ms * 2 : BACKOFF_MAX_MS;
}

static void start_now(struct envoy *e)
{
    struct errinfo err = {0};
    e->starts_n++;
    e->started_us = clock_mono_us();
    if (spawn(e, &err) != OK) {
        log_err(e->options.log, &err, "start envoy '%s'", e->binary);
        retry_later(e);
        return;
    }
    if (write_state(e, &err) != OK)
        log_err(e->options.log, &err, "note envoy's pid; after a restart of ours it will not be found");
    log_info(e->options.log, "envoy started, pid %d", (int)child_pid(e->child));
    e->state = STATE_RUNNING;
    arm(e, POLL_MS);
}

static enum err adopt_or_start(struct envoy *e, struct errinfo *err)
{
    struct child_ref ref;
    bool is_same = false;
    if (read_state(e, &ref, &is_same, err) != OK ||
        child_adopt(e->options.loop, ref, on_ended, e, &e->child, err) != OK) {
        start_now(e);
        return OK;
    }
    if (!is_same) {
        log_info(e->options.log, "envoy %d has another bootstrap: replaced", (int)ref.pid);
        e->state = STATE_REPLACING;
        e->deadline_us = clock_mono_us() + 3000000;
        arm(e, 3000);
        return child_kill(e->child, SIGTERM, err);
    }
    log_info(e->options.log, "envoy %d adopted", (int)ref.pid);
    e->was_adopted = true;
    e->started_us = clock_mono_us();
    e->state = STATE_RUNNING;
    arm(e, 1);
    return OK;
}

/* ---- end ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct envoy *e = handle->data;
    void (*on_stopped)(void *) = e->on_stopped;
    void *ctx = e->stopped_ctx;
    free(e->binary);
    free(e->run_dir);
    free(e->bootstrap_path);
    free(e->state_path);
    free(e->admin_path);
    free(e->log_path);
    free(e);
    if (on_stopped != NULL)
        on_stopped(ctx);
}

/* An admin request that is under way still has our address: wait for it. */
static void close_if_done(struct envoy *e)
{
    if (e->state != STATE_CLOSING || e->is_asking || uv_is_closing((uv_handle_t *)&e->timer))
        return;
    uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

static void log_end(const struct envoy *e, const struct child_status *status)
{
    if (!status->is_known)
        log_warn(e->options.log, "envoy ended");
    else if (status->signal != 0)
        log_warn(e->options.log, "envoy ended by signal %d", status->signal);
    else
        log_warn(e->options.log, "envoy ended with exit code %d, see '%s'", status->exit_code, e->log_path);
}

static void on_ended(struct child *c, const struct child_status *status, void *arg)
{
    struct envoy *e = arg;
    enum state was = e->state;
    child_free(c);
    e->child = NULL;
    set_live(e, false);
    if (was == STATE_DRAINING || was == STATE_ENDING) {
        err_ignore(file_remove(e->state_path, NULL)); /* a stale one names a dead process, which is harmless */
        e->state = STATE_CLOSING;
        close_if_done(e);
        return;
    }
    if (was == STATE_REPLACING) {
        start_now(e);
        return;
    }
    log_end(e, status);
    if (clock_mono_us() - e->started_us > STEADY_MS * 1000)
        e->backoff_ms = BACKOFF_MIN_MS;
    retry_later(e);
}

static void end_now(struct envoy *e, int signal)
{
    struct errinfo err = {0};
    e->state = STATE_ENDING;
    if (e->child != NULL && child_kill(e->child, signal, &err) != OK)
        log_err(e->options.log, &err, "end envoy");
    arm(e, 1000);
}

/* ---- the admin interface ---- */

static void on_ready(void *ctx, int status, struct str body)
{
    (void)body;
    struct envoy *e = ctx;
    e->is_asking = false;
    if (e->state == STATE_RUNNING) {
        set_live(e, status == 200);
        arm(e, e->is_live ? LIVE_POLL_MS : POLL_MS);
    }
    close_if_done(e);
}

/* Connections of clients still open, summed over listeners. */
static uint64_t connections_of(struct str stats)
{
    struct str line;
    uint64_t sum = 0, n;
    while (str_next(&stats, '\n', &line)) {
        size_t colon = str_rfind(line, ':');
        line = str_trim(line);
        if (str_starts(line, STR("http.")) && !str_starts(line, STR("http.admin")) && colon + 2 < line.len &&
            str_ends(str_slice(line, 0, colon), STR("downstream_cx_active")) &&
            str_parse_u64(str_slice(line, colon + 2, line.len), UINT64_MAX / 2, &n))
            sum += n;
    }
    return sum;
}

static void on_stats(void *ctx, int status, struct str body)
{
    struct envoy *e = ctx;
    e->is_asking = false;
    if (e->state == STATE_DRAINING) {
        if (status != 200 || connections_of(body) == 0 || clock_mono_us() > e->deadline_us)
            end_now(e, SIGTERM);
        else
            arm(e, POLL_MS);
    }
    close_if_done(e);
}

static void on_drained(void *ctx, int status, struct str body)
{
    (void)status;
    (void)body;
    struct envoy *e = ctx;
    e->is_asking = false;
    if (e->state == STATE_DRAINING)
        arm(e, 1);
    close_if_done(e);
}

static void ask(struct envoy *e, const char *method, const char *target, admin_done_fn *on_done)
{
    if (e->is_asking)
        return;
    e->is_asking = true;
    admin_send(e->options.loop, e->admin_path, method, target, on_done, e);
}

static void ask_drain(struct envoy *e)
{
    if (e->is_drain_asked) {
        ask(e, "GET", "/stats?filter=downstream_cx_active$", on_stats);
        return;
    }
    e->is_drain_asked = true;
    ask(e, "POST", "/drain_listeners?graceful&skip_exit", on_drained);
}

static void on_timer(uv_timer_t *timer)
{
    struct envoy *e = timer->data;
    switch (e->state) {
    case STATE_WAITING: start_now(e); break;
    case STATE_RUNNING: ask(e, "GET", "/ready", on_ready); break;
    case STATE_REPLACING:
        err_ignore(child_kill(e->child, SIGKILL, NULL)); /* its end is reported either way */
        break;
    case STATE_DRAINING: ask_drain(e); break;
    case STATE_ENDING: end_now(e, SIGKILL); break;
    case STATE_CLOSING: break;
    }
}

/* ---- life ---- */

static void make_digest(struct envoy *e, const char *bootstrap)
{
    uint8_t bytes[HASH_SIZE];
    struct hash *h = hash_new();
    hash_add(h, bootstrap, strlen(bootstrap));
    hash_add(h, e->binary, strlen(e->binary));
    hash_finish(h, bytes);
    hash_digest_format(bytes, e->digest);
}

static struct envoy *envoy_new(const struct envoy_options *o)
{
    struct envoy *e = mem_alloc(sizeof(*e));
    e->options = *o;
    e->binary = mem_strdup(o->binary);
    e->run_dir = mem_strdup(o->run_dir);
    e->bootstrap_path = mem_printf("%s/bootstrap.json", o->run_dir);
    e->state_path = mem_printf("%s/envoy.json", o->run_dir);
    e->admin_path = envoy_admin_path(o->run_dir);
    e->log_path = mem_printf("%s/envoy.log", o->run_dir);
    e->backoff_ms = BACKOFF_MIN_MS;
    make_digest(e, o->bootstrap);
    uv_timer_init(o->loop, &e->timer);
    e->timer.data = e;
    return e;
}

enum err envoy_open(const struct envoy_options *o, struct envoy **ret_envoy, struct errinfo *err)
{
    if (o->run_dir[0] != '/' || strlen(o->run_dir) + sizeof("/admin.sock") > SOCKET_PATH_MAX)
        return err_set(err, ERR_INVALID, "folder '%s' must be absolute and at most %zu bytes long", o->run_dir,
                       (size_t)SOCKET_PATH_MAX - sizeof("/admin.sock"));
    if (!file_exists(o->binary))
        return err_set(err, ERR_NOT_FOUND, "there is no envoy at '%s': run the set-up, or set envoy_binary", o->binary);
    struct envoy *e = envoy_new(o);
    enum err rc = file_replace(e->bootstrap_path, str_from(o->bootstrap), 0600, err);
    if (rc == OK)
        rc = adopt_or_start(e, err);
    if (rc != OK) {
        e->state = STATE_CLOSING;
        close_if_done(e);
        return rc;
    }
    *ret_envoy = e;
    return OK;
}

void envoy_stop(struct envoy *e, unsigned grace_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    e->on_stopped = on_stopped;
    e->stopped_ctx = ctx;
    e->deadline_us = clock_mono_us() + (int64_t)grace_ms * 1000;
    uv_timer_stop(&e->timer);
    if (e->child == NULL) {
        e->state = STATE_CLOSING;
        close_if_done(e);
        return;
    }
    e->state = STATE_DRAINING;
    arm(e, e->is_asking ? POLL_MS : 0);
}
