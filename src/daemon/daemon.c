/* Happy path: daemon_main reads options and settings, opens the loop's own things (signals, metrics listener, HTTP
 * client), starts the program, runs the loop. A signal or daemon_stop begins the stop; the program says daemon_stopped
 * when its handles are closed; ours are closed then, and the loop runs out. Failure: the deadline of the stop passes ->
 * the loop is left as it is and the exit code says so. */
#include "daemon/daemon.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "base/own.h"
#include "crypto/file.h"
#include "daemon/notify.h"
#include "daemon/options.h"

#define STOP_DEADLINE_DEFAULT_MS 10000u
/* Open requests at the metrics listener get this long at a stop. */
#define METRICS_GRACE_MS 500u

enum phase { PHASE_STARTING, PHASE_RUNNING, PHASE_STOPPING, PHASE_CLOSING };

struct daemon_private {
    enum phase phase;
    struct options options;
    int exit_code;
    bool is_late;
    bool stops_early; /* daemon_stop was called by start() */
    bool is_ready;
    char *why_not;
    void (*fill_readyz)(struct daemon *d, json_t *doc);
    uv_signal_t sigterm, sigint;
    uv_timer_t deadline;
    struct http_server *server;
    char metrics_url[96];
    const char *notify_socket;
};

#define COMMON(field) offsetof(struct daemon_settings, field)
static const struct setting COMMON_SETTINGS[] = {
    {.name = "installation",
     .type = SETTING_TEXT,
     .offset = COMMON(installation),
     .fallback = "",
     .doc = "name of the installation, part of every identity"},
    {.name = "instance_id",
     .type = SETTING_TEXT,
     .offset = COMMON(instance_id),
     .fallback = "",
     .doc = "id of this instance, shown in logs"},
    {.name = "ca_file", .type = SETTING_PATH, .offset = COMMON(ca_file), .doc = "PEM of the installation's CA"},
    {.name = "cert_file",
     .type = SETTING_PATH,
     .offset = COMMON(cert_file),
     .doc = "PEM of this program's certificate"},
    {.name = "key_file", .type = SETTING_PATH, .offset = COMMON(key_file), .doc = "PEM of its key"},
    {.name = "metrics_listen",
     .type = SETTING_TEXT,
     .offset = COMMON(metrics_listen),
     .fallback = "127.0.0.1:0",
     .doc = "address of /healthz, /readyz, /metrics; none for no listener"},
    {.name = "log_level",
     .type = SETTING_CHOICE,
     .offset = COMMON(log_level),
     .fallback = "info",
     .choices = "debug|info|warn|error",
     .doc = "least level that is logged"},
};
#define COMMON_N (sizeof(COMMON_SETTINGS) / sizeof(COMMON_SETTINGS[0]))

/* ---- health, readiness, metrics ---- */

static void handle_healthz(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_respond_bytes(r, 200, "application/json", STR("{\"status\":\"ok\"}\n"));
}

static void handle_readyz(struct http_request *r, void *ctx)
{
    struct daemon *d = ctx;
    const struct daemon_private *p = d->private;
    bool is_ready = p->is_ready && p->phase == PHASE_RUNNING;
    auto_json json_t *doc = json_object();
    json_object_set_new(doc, "ready", json_boolean(is_ready));
    if (!is_ready)
        json_object_set_new(doc, "why", json_string(p->why_not != NULL ? p->why_not : "starting or stopping"));
    if (p->fill_readyz != NULL)
        p->fill_readyz(d, doc);
    http_respond_json(r, is_ready ? 200 : 503, doc);
}

static void handle_metrics(struct http_request *r, void *ctx)
{
    const struct daemon *d = ctx;
    AUTO(buf) struct buf text = {0};
    metrics_render(d->metrics, &text);
    http_respond_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&text));
}

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/healthz", .handler = handle_healthz, .doc = "the program's loop runs"},
    {.method = "GET", .pattern = "/readyz", .handler = handle_readyz, .doc = "the program can do its work"},
    {.method = "GET", .pattern = "/metrics", .handler = handle_metrics, .doc = "Prometheus text"},
};

static enum err write_address_file(const struct daemon *d, struct errinfo *err)
{
    const char *file = getenv("SLIPFORM_METRICS_ADDRESS_FILE");
    if (file == NULL || file[0] == '\0')
        return OK;
    AUTO(buf) struct buf text = {0};
    buf_addf(&text, "%s\n", http_server_address(d->private->server, 0));
    return crypto_file_write(file, buf_str(&text), 0644, -1, -1, err);
}

static enum err listener_open(struct daemon *d, struct errinfo *err)
{
    const char *listen[] = {d->common.metrics_listen};
    if (strcmp(listen[0], "none") == 0)
        return OK;
    struct http_server_options o = {.loop = d->loop,
                                    .listen = listen,
                                    .listen_n = 1,
                                    .routes = ROUTES,
                                    .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0]),
                                    .ctx = d,
                                    .connections_max = 64};
    enum err rc = http_server_open(&o, &d->private->server, err);
    if (rc != OK)
        return rc;
    (void)snprintf(d->private->metrics_url, sizeof(d->private->metrics_url), "http://%s",
                   http_server_address(d->private->server, 0));
    return write_address_file(d, err);
}

/* ---- stop ---- */

void daemon_stopped(struct daemon *d)
{
    struct daemon_private *p = d->private;
    if (p->phase == PHASE_CLOSING)
        return;
    p->phase = PHASE_CLOSING;
    uv_close((uv_handle_t *)&p->sigterm, NULL);
    uv_close((uv_handle_t *)&p->sigint, NULL);
    if (p->server != NULL)
        http_server_close(TAKE(p->server), METRICS_GRACE_MS, NULL, NULL);
    if (d->client != NULL)
        http_client_close(TAKE(d->client), NULL, NULL);
}

static void give_up(struct daemon *d, const char *why)
{
    log_error(&d->log, "left without a clean stop: %s", why);
    d->private->is_late = true;
    uv_stop(d->loop);
}

static void on_deadline(uv_timer_t *timer)
{
    give_up(timer->data, "the stop took longer than its deadline");
}

static void stop_begin(struct daemon *d, int exit_code)
{
    struct daemon_private *p = d->private;
    if (p->phase >= PHASE_STOPPING)
        return;
    bool was_running = p->phase == PHASE_RUNNING;
    p->phase = PHASE_STOPPING;
    p->exit_code = exit_code;
    unsigned deadline_ms = d->program->stop_deadline_ms;
    (void)uv_timer_start(&p->deadline, on_deadline, deadline_ms != 0 ? deadline_ms : STOP_DEADLINE_DEFAULT_MS, 0);
    uv_unref((uv_handle_t *)&p->deadline); /* it does not keep the loop alive */
    daemon_notify(d, "STOPPING=1");
    if (was_running && d->program->stop != NULL)
        d->program->stop(d);
    else
        daemon_stopped(d);
}

void daemon_stop(struct daemon *d, int exit_code)
{
    if (d->private->phase == PHASE_STARTING) {
        d->private->stops_early = true;
        d->private->exit_code = exit_code;
    } else {
        stop_begin(d, exit_code);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    if (d->private->phase >= PHASE_STOPPING) {
        give_up(d, "a second signal");
        return;
    }
    log_info(&d->log, "stopping on signal %d (%s)", number, strsignal(number));
    stop_begin(d, 0);
}

/* ---- set-up ---- */

struct settings_block { /* both structs in one, so that one table and one file fill them */
    struct setting *table;
    size_t n;
    char *bytes;
    size_t size, program_at;
};

static struct settings_block settings_block(struct daemon *d)
{
    const struct program *p = d->program;
    struct settings_block b = {.n = COMMON_N + p->settings_n};
    b.program_at = (sizeof(struct daemon_settings) + 15) / 16 * 16;
    b.size = b.program_at + p->settings_size;
    b.bytes = arena_alloc(&d->arena, b.size);
    b.table = arena_alloc(&d->arena, b.n * sizeof(*b.table));
    for (size_t i = 0; i < COMMON_N; i++)
        b.table[i] = COMMON_SETTINGS[i];
    for (size_t i = 0; i < p->settings_n; i++) {
        b.table[COMMON_N + i] = p->settings[i];
        b.table[COMMON_N + i].offset += b.program_at;
    }
    return b;
}

static enum err settings_read(struct daemon *d, const struct settings_block *b, struct errinfo *err)
{
    const char *file = d->private->options.config;
    enum err rc = settings_load(b->table, b->n, file, environ, &d->arena, b->bytes, b->size, err);
    if (rc != OK)
        return rc;
    memcpy(&d->common, b->bytes, sizeof(d->common));
    d->settings = b->bytes + b->program_at;
    bool ok = log_level_parse(d->common.log_level, &d->log.level_min);
    assert(ok);
    d->log.instance = d->common.instance_id[0] == '\0' ? NULL : d->common.instance_id;
    return d->program->check == NULL ? OK : d->program->check(d, err);
}

static enum err loop_open(struct daemon *d, uv_loop_t *loop, struct errinfo *err)
{
    struct daemon_private *p = d->private;
    if (uv_loop_init(loop) != 0)
        return err_set(err, ERR_IO, "make the event loop");
    d->loop = loop;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)uv_signal_init(loop, &p->sigterm);
    (void)uv_signal_init(loop, &p->sigint);
    (void)uv_timer_init(loop, &p->deadline);
    p->sigterm.data = p->sigint.data = p->deadline.data = d;
    (void)uv_signal_start(&p->sigterm, on_signal, SIGTERM);
    (void)uv_signal_start(&p->sigint, on_signal, SIGINT);
    d->client = http_client_new(loop);
    return OK;
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    metrics_add_process(d->metrics);
    enum err rc = listener_open(d, err);
    if (rc == OK && d->program->start != NULL)
        rc = d->program->start(d, err);
    if (rc == OK && d->private->phase == PHASE_STARTING)
        d->private->phase = PHASE_RUNNING;
    return rc;
}

/* After the loop has run out (or was left by give_up): the exit code. */
static int finish(struct daemon *d)
{
    struct daemon_private *p = d->private;
    if (p->is_late)
        return p->exit_code != 0 ? p->exit_code : 1; /* handles are open: nothing may be freed */
    uv_close((uv_handle_t *)&p->deadline, NULL);
    (void)uv_run(d->loop, UV_RUN_DEFAULT);
    if (d->program->free != NULL)
        d->program->free(d);
    int rc = uv_loop_close(d->loop);
    assert(rc == 0);
    return p->exit_code;
}

static int run(struct daemon *d)
{
    uv_loop_t loop;
    struct errinfo err = {.code = OK};
    enum err rc = loop_open(d, &loop, &err);
    if (rc != OK) {
        log_err(&d->log, &err, "cannot start");
        return 1;
    }
    rc = start(d, &err);
    if (rc != OK) {
        log_err(&d->log, &err, "cannot start");
        stop_begin(d, err_exit_code(rc));
    } else {
        log_info(&d->log, "started %s %s, metrics at %s", d->program->name, SLIPFORM_VERSION,
                 d->private->metrics_url[0] == '\0' ? "no address" : d->private->metrics_url);
    }
    if (d->private->stops_early)
        stop_begin(d, d->private->exit_code);
    (void)uv_run(d->loop, UV_RUN_DEFAULT);
    if (d->private->phase != PHASE_CLOSING && !d->private->is_late) {
        stop_begin(d, 0); /* nothing left to wait for */
        (void)uv_run(d->loop, UV_RUN_DEFAULT);
    }
    int code = finish(d);
    log_info(&d->log, "stopped, exit code %d", code);
    return code;
}

static int main_with_options(struct daemon *d)
{
    struct settings_block block = settings_block(d);
    const struct options *o = &d->private->options;
    struct errinfo err = {.code = OK};
    if (o->help) {
        AUTO(buf) struct buf text = {0};
        options_help(d->program, block.table, block.n, &text);
        (void)fputs(text.ptr, stdout);
        return 0;
    }
    if (o->version) {
        (void)printf("%s %s\n", d->program->name, SLIPFORM_VERSION);
        return 0;
    }
    enum err rc = settings_read(d, &block, &err);
    if (rc != OK) {
        (void)fprintf(stderr, "%s: %s\n", d->program->name, err.msg);
        return err_exit_code(rc);
    }
    if (o->check_config) {
        (void)printf("%s: the settings are right\n", d->program->name);
        return 0;
    }
    return run(d);
}

int daemon_main(int argc, char **argv, const struct program *program)
{
    struct daemon_private private = {.notify_socket = getenv("NOTIFY_SOCKET")};
    struct daemon d = {.program = program, .private = &private};
    struct errinfo err;
    d.log = (struct logger){.program = program->name, .level_min = LOG_INFO, .fd = STDERR_FILENO};
    if (options_parse(argc, argv, program, &private.options, &err) != OK) {
        (void)fprintf(stderr, "%s: %s\n", program->name, err.msg);
        return 2;
    }
    d.metrics = metrics_new();
    int code = main_with_options(&d);
    if (private.is_late)
        _exit(code); /* open handles point into this frame */
    free(private.why_not);
    metrics_free(d.metrics);
    arena_done(&d.arena);
    return code;
}

/* ---- for programs ---- */

const char *daemon_flag(const struct daemon *d, const char *name)
{
    for (size_t i = 0; i < d->program->flags_n; i++)
        if (strcmp(d->program->flags[i].name, name) == 0)
            return d->private->options.flag_values[i];
    bool is_in_table = false;
    assert(is_in_table);
    return NULL;
}

void daemon_set_ready(struct daemon *d, bool ready, const char *why_not)
{
    struct daemon_private *p = d->private;
    bool is_news = ready && !p->is_ready;
    p->is_ready = ready;
    free(p->why_not);
    p->why_not = ready || why_not == NULL ? NULL : mem_strdup(why_not);
    if (is_news)
        daemon_notify(d, "READY=1");
}

void daemon_on_readyz(struct daemon *d, void (*fill)(struct daemon *d, json_t *doc))
{
    d->private->fill_readyz = fill;
}

void daemon_notify(const struct daemon *d, const char *text)
{
    struct errinfo err;
    if (notify_send(d->private->notify_socket, text, &err) != OK)
        log_warn(&d->log, "%s", err.msg);
}

void daemon_count_exchange(struct daemon *d, const struct http_exchange *x)
{
    char status[12];
    (void)snprintf(status, sizeof(status), "%d", x->status);
    /* Methods are the peer's words: where no route matched they would be labels without bound. */
    const char *method = x->route[0] == '\0' ? "" : x->method;
    const struct metric_label labels[] = {{"method", method}, {"route", x->route}, {"status", status}};
    counter_add(metrics_counter(d->metrics, "slipform_http_requests_total", "HTTP requests; status 0: the peer left.",
                                labels, 3),
                1);
    histogram_observe(metrics_histogram(d->metrics, "slipform_http_request_seconds",
                                        "From headers to the end of the answer, long polls too.", &labels[1], 1, NULL,
                                        0),
                      (double)x->duration_us / 1e6);
}

void daemon_server_options(const struct daemon *d, struct http_server_options *ret_options)
{
    ret_options->loop = d->loop;
    ret_options->cert_file = d->common.cert_file;
    ret_options->key_file = d->common.key_file;
    ret_options->ca_file = d->common.ca_file;
    ret_options->client_cert = HTTP_CLIENT_CERT_REQUIRED;
}

void daemon_call_options(const struct daemon *d, struct http_call_options *ret_options)
{
    ret_options->ca_file = d->common.ca_file;
    ret_options->cert_file = d->common.cert_file;
    ret_options->key_file = d->common.key_file;
}
