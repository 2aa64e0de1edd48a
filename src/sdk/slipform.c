#include "sdk/slipform.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/random.h"
#include "sdk/umbilical.h"

/* Requests that are being answered when the program stops (chosen). */
#define GRACE_MS 2000u
/* Between two checkpoints (chosen: a replay of as many takes well under a second). */
#define CHECKPOINT_EVERY 50000u

struct sdk_settings {
    const char *events, *output_log, *output, *state_folder;
    struct setting_list input_logs, inputs, partition_ranges, workloads;
    int64_t port;
};

#define ROW(type_, member, fallback_, doc_)                                                                            \
    {.name = #member,                                                                                                  \
     .type = SETTING_##type_,                                                                                          \
     .offset = offsetof(struct sdk_settings, member),                                                                  \
     .fallback = fallback_,                                                                                            \
     .doc = doc_}
static const struct setting SETTINGS[] = {
    ROW(TEXT, events, NULL, "where the platform answers for logs that it keeps (SLIPFORM_EVENTS of a microVM)"),
    ROW(TEXT, output_log, NULL, "id of the log that is appended to; with 'events'"),
    ROW(LIST, input_logs, NULL, "ids of the logs that are read beside it; with 'events'"),
    ROW(TEXT, output, NULL, "the log that is appended to, as a store: files;path=DIR"),
    ROW(LIST, inputs, NULL, "logs that are read beside it, as stores"),
    ROW(LIST, partition_ranges, NULL, "ranges that this instance folds; none: all"),
    ROW(LIST, workloads, "*", "what runs in this instance: names, or *"),
    ROW(PATH, state_folder, NULL, "for checkpoints; none: the logs are folded from their first event at each start"),
    {.name = "port",
     .type = SETTING_INT,
     .offset = offsetof(struct sdk_settings, port),
     .fallback = "0",
     .max = 65535,
     .doc = "of the routes; 0: that of PORT, else 8080"},
};

struct slipform {
    struct daemon *d;
    const struct slipform_process *process;
    struct app *app;
    struct gateway told; /* readiness */
    struct http_server *server;
    struct umbilical_line *umbilical; /* NULL: nobody to tell */
    struct id_source ids;
    struct store *inputs[APP_INPUTS_MAX];
    size_t inputs_n;
    bool is_server_wanted;
};

static const struct slipform_process *the_process(const struct daemon *d);

struct app *slipform_app(struct slipform *s)
{
    return s->app;
}

const void *slipform_model(const struct slipform *s)
{
    return s->process->model;
}

struct daemon *slipform_daemon(struct slipform *s)
{
    return s->d;
}

struct id slipform_new_id(struct slipform *s)
{
    s->ids.wall_ms = clock_wall_us() / 1000;
    return id_next(&s->ids);
}

/* ---- logs ---- */

static enum err add_input(struct slipform *s, const char *spec, struct errinfo *err)
{
    struct store_repair repair = {0};
    if (s->inputs_n == APP_INPUTS_MAX)
        return err_set(err, ERR_LIMIT, "a process reads at most %u logs", APP_INPUTS_MAX);
    enum err rc = store_open(spec, NULL, &s->inputs[s->inputs_n], &repair, err);
    if (rc != OK)
        return err_wrap(err, rc, "open the log '%s'", spec);
    if (repair.cut_bytes > 0)
        log_warn(&s->d->log, "log '%s': %llu bytes of an unfinished append were cut off", spec,
                 (unsigned long long)repair.cut_bytes);
    s->inputs_n++;
    return OK;
}

static enum err add_remote(struct slipform *s, const char *url, const char *log, struct errinfo *err)
{
    auto_free char *spec = mem_printf("remote;url=%s;log=%s", url, log);
    return add_input(s, spec, err);
}

/* The output first: that is how the runtime knows it. One that is listed as an input too is read once. */
static enum err open_logs(struct slipform *s, struct errinfo *err)
{
    const struct sdk_settings *set = s->d->settings;
    enum err rc = OK;
    if (set->output != NULL)
        rc = add_input(s, set->output, err);
    else if (set->events != NULL && set->output_log != NULL)
        rc = add_remote(s, set->events, set->output_log, err);
    else
        rc = err_set(err, ERR_INVALID, "no log to append to: set 'output' to a store, or 'events' and 'output_log'");
    for (size_t i = 0; i < set->inputs.n && rc == OK; i++)
        if (set->output == NULL || strcmp(set->inputs.items[i], set->output) != 0)
            rc = add_input(s, set->inputs.items[i], err);
    for (size_t i = 0; i < set->input_logs.n && rc == OK; i++)
        if (set->events != NULL && (set->output_log == NULL || strcmp(set->input_logs.items[i], set->output_log) != 0))
            rc = add_remote(s, set->events, set->input_logs.items[i], err);
    return rc;
}

/* ---- routes ---- */

static void on_exchange(const struct http_exchange *x, void *ctx)
{
    daemon_count_exchange(((struct slipform *)ctx)->d, x);
}

static enum err serve(struct slipform *s, struct errinfo *err)
{
    const struct sdk_settings *set = s->d->settings;
    int64_t port = set->port;
    const char *given = getenv("PORT");
    if (port == 0 && (given == NULL || !str_parse_i64(str_from(given), &port) || port < 1 || port > 65535))
        port = 8080;
    auto_free char *six = mem_printf("[::]:%lld", (long long)port);
    auto_free char *four = mem_printf("0.0.0.0:%lld", (long long)port);
    const char *const listen[] = {six, four};
    struct http_server_options o = {.loop = s->d->loop,
                                    .listen = listen,
                                    .listen_n = 2,
                                    .routes = s->process->routes,
                                    .routes_n = s->process->routes_n,
                                    .on_done = on_exchange,
                                    .ctx = s};
    enum err rc = http_server_open(&o, &s->server, err);
    if (rc == OK)
        log_info(&s->d->log, "listening on %s", six);
    return rc;
}

static bool is_chosen(const struct sdk_settings *set, const char *name)
{
    for (size_t i = 0; i < set->workloads.n; i++)
        if (strcmp(set->workloads.items[i], "*") == 0 || strcmp(set->workloads.items[i], name) == 0)
            return true;
    return false;
}

static void on_live(void *ctx)
{
    struct slipform *s = ctx;
    struct errinfo err;
    log_info(&s->d->log, "live at position %llu", (unsigned long long)app_position(s->app).seq);
    if (s->is_server_wanted && s->server == NULL && serve(s, &err) != OK) {
        log_err(&s->d->log, &err, "its routes cannot be served");
        daemon_stop(s->d, 1);
        return;
    }
    daemon_set_ready(s->d, true, NULL);
}

static void on_stalled(void *ctx, const struct errinfo *cause)
{
    struct slipform *s = ctx;
    log_err(&s->d->log, cause, "its logs cannot be folded any further");
    daemon_set_ready(s->d, false, cause->msg);
}

/* ---- requests ---- */

struct reading {
    struct slipform *s;
    struct http_request *r;
    void (*read)(struct http_request *r, struct slipform *s);
};

static void on_reached(void *ctx, enum err rc, const struct errinfo *err)
{
    struct reading *x = ctx;
    if (rc == OK)
        x->read(x->r, x->s);
    else
        http_respond_error(x->r, err);
    free(x);
}

void slipform_read(struct slipform *s, struct http_request *r, void (*read)(struct http_request *r, struct slipform *s))
{
    struct app_position at = {0};
    struct errinfo err;
    const char *header = http_request_header(r, "Slipform-Position");
    if (header == NULL) {
        read(r, s);
        return;
    }
    if (app_cursor_parse(str_from(header), &at, &err) != OK) {
        http_respond_error(r, &err);
        return;
    }
    struct reading *x = mem_alloc(sizeof(*x));
    *x = (struct reading){s, r, read};
    (void)app_wait(s->app, at.seq, APP_BEHIND_MS, on_reached, x);
}

struct emitting {
    struct http_request *r;
    char *body;
    app_if_fn holds;
    void *ctx; /* of holds */
};

static bool holds_now(void *ctx, const void *model)
{
    const struct emitting *x = ctx;
    return x->holds(x->ctx, model);
}

static void on_emitted(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    struct emitting *x = ctx;
    char position[APP_CURSOR_TEXT_SIZE];
    if (rc == OK) {
        app_cursor_format(at, position);
        http_respond_header(x->r, "Slipform-Position", position);
        http_respond_bytes(x->r, 201, "application/json", str_from(x->body));
    } else {
        http_respond_error(x->r, err);
    }
    free(x->body);
    free(x);
}

void slipform_emit(struct slipform *s, struct http_request *r, app_if_fn holds, void *ctx,
                   const struct app_event *event, struct str body)
{
    struct emitting *x = mem_alloc(sizeof(*x));
    *x = (struct emitting){r, mem_strndup(body.ptr, body.len), holds, ctx};
    if (holds == NULL)
        app_emit_event(s->app, event, x, on_emitted);
    else
        app_emit_if(s->app, holds_now, event, x, on_emitted);
}

/* ---- life ---- */

static void fill_readyz(struct daemon *d, json_t *doc)
{
    const struct slipform *s = d->state;
    char position[APP_CURSOR_TEXT_SIZE];
    struct app_position at = app_position(s->app);
    app_cursor_format(&at, position);
    (void)json_object_set_new(doc, "position", json_string(position));
    (void)json_object_set_new(doc, "state", json_string(app_state_name(app_state(s->app))));
}

static void set_gauges(struct metrics *m, void *ctx)
{
    const struct slipform *s = ctx;
    struct app_counts n = app_counts(s->app);
    gauge_set(metrics_gauge(m, "slipform_log_position", "events of the output log folded", NULL, 0),
              (double)app_position(s->app).seq);
    gauge_set(metrics_gauge(m, "slipform_events_in", "events folded", NULL, 0), (double)n.events_in);
    gauge_set(metrics_gauge(m, "slipform_events_out", "events appended", NULL, 0), (double)n.events_out);
    gauge_set(metrics_gauge(m, "slipform_live", "1 when the logs are folded and followed", NULL, 0),
              app_is_live(s->app) ? 1 : 0);
}

static enum err ranges(struct slipform *s, struct app_options *o, struct errinfo *err)
{
    const struct sdk_settings *set = s->d->settings;
    struct partition *r = arena_alloc(&s->d->arena, (set->partition_ranges.n + 1) * sizeof(*r));
    for (size_t i = 0; i < set->partition_ranges.n; i++) {
        const char *text = set->partition_ranges.items[i];
        if (text[0] == '\0' || !partition_parse(str_from(text), &r[i]))
            return err_set(err, ERR_INVALID, "'%.40s' is no partition range: use '*' or '00000000-7fffffff'", text);
    }
    o->ranges = r;
    o->ranges_n = set->partition_ranges.n;
    return OK;
}

/* Names that are not of the process's own workloads ("http", "*") are the routes' business. */
static void choose(struct slipform *s, struct app_options *o)
{
    const struct sdk_settings *set = s->d->settings;
    const char **names = arena_alloc(&s->d->arena, (s->process->workloads_n + 1) * sizeof(*names));
    for (size_t i = 0; i < s->process->workloads_n; i++)
        if (is_chosen(set, s->process->workloads[i].name))
            names[o->chosen_n++] = s->process->workloads[i].name;
    o->chosen = names;
    s->is_server_wanted = s->process->routes_n > 0 && is_chosen(set, "http");
}

static enum err open_app(struct slipform *s, struct errinfo *err)
{
    const struct slipform_process *p = s->process;
    const struct sdk_settings *set = s->d->settings;
    struct app_options o = {.name = p->name,
                            .model = p->model,
                            .apply = p->apply,
                            .trial_begin = p->trial_begin,
                            .trial_end = p->trial_end,
                            .reset = p->reset,
                            .consequences = p->consequences,
                            .partition_key = p->partition_key,
                            .schedules = p->schedules,
                            .schedules_n = p->schedules_n,
                            .gateways = p->gateways,
                            .gateways_n = p->gateways_n,
                            .workloads = p->workloads,
                            .workloads_n = p->workloads_n,
                            .inputs = s->inputs,
                            .inputs_n = s->inputs_n};
    if (p->snapshot.encode != NULL && set->state_folder != NULL) {
        o.snapshot = p->snapshot;
        o.snapshot.path = arena_printf(&s->d->arena, "%s/checkpoint", set->state_folder);
        o.snapshot.every_events = CHECKPOINT_EVERY;
    }
    choose(s, &o);
    enum err rc = ranges(s, &o, err);
    return rc == OK ? app_open(s->d->loop, &o, &s->app, err) : rc;
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    struct slipform *s = arena_alloc(&d->arena, sizeof(*s));
    *s = (struct slipform){.d = d, .process = the_process(d)};
    random_bytes(s->ids.seed, sizeof(s->ids.seed));
    enum err rc = open_logs(s, err);
    if (rc == OK)
        rc = open_app(s, err);
    if (rc != OK) {
        for (size_t i = 0; i < s->inputs_n; i++)
            store_close(s->inputs[i]);
        return rc;
    }
    d->state = s;
    const struct sdk_settings *set = d->settings;
    if (set->events != NULL)
        s->umbilical = umbilical_open(d->loop, s->app, set->events, slipform_new_id(s));
    s->told = (struct gateway){.name = "slipform", .ctx = s, .on_live = on_live, .on_stalled = on_stalled};
    app_add_gateway(s->app, &s->told);
    daemon_on_readyz(d, fill_readyz);
    metrics_on_render(d->metrics, set_gauges, s);
    return OK;
}

static void app_closed(void *ctx)
{
    daemon_stopped(((struct slipform *)ctx)->d);
}

static void umbilical_closed(void *ctx)
{
    struct slipform *s = ctx;
    app_close(s->app, app_closed, s);
}

static void server_closed(void *ctx)
{
    struct slipform *s = ctx;
    if (s->umbilical != NULL)
        umbilical_close(TAKE(s->umbilical), umbilical_closed, s);
    else
        umbilical_closed(s);
}

static void stop(struct daemon *d)
{
    struct slipform *s = d->state;
    if (s->server != NULL)
        http_server_close(TAKE(s->server), GRACE_MS, server_closed, s);
    else
        server_closed(s);
}

/* A program of its own for each process: daemon hands it back, so nothing is global. */
struct sdk_program {
    struct program program; /* first */
    const struct slipform_process *process;
};

static const struct slipform_process *the_process(const struct daemon *d)
{
    return ((const struct sdk_program *)(const void *)d->program)->process;
}

int slipform_main(int argc, char **argv, const struct slipform_process *process)
{
    const struct sdk_program p = {.program = {.name = process->name,
                                              .doc = process->doc,
                                              .settings = SETTINGS,
                                              .settings_n = sizeof(SETTINGS) / sizeof(SETTINGS[0]),
                                              .settings_size = sizeof(struct sdk_settings),
                                              .start = start,
                                              .stop = stop},
                                  .process = process};
    return daemon_main(argc, argv, &p.program);
}
