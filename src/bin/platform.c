/* platform: the control plane. Installed also as management-api and public-api: one program, other workloads. */
#include <stddef.h>
#include <sys/resource.h>

#include "api/api.h"
#include "base/own.h"
#include "blob/watch.h"
#include "control/control.h"
#include "daemon/daemon.h"
#include "daemon/hints.h"
#include "wire/notification.h"

/* Requests that are being answered when the program stops (chosen; long polls are answered at once). */
#define GRACE_MS 2000u
/* Four for blobs, one for their garbage, the others for logs (chosen). */
#define POOL_THREADS "8"
/* Logs, blobs, the store, connections to others (chosen). */
#define DESCRIPTORS_OTHER 1024u
/* 100,000 nodes on one replica, twice: more is a limit that nobody meant (chosen). */
#define CONNECTIONS_LIMIT 200000u

struct platform_program_settings {
    struct setting_list workloads, listen, tuning, nats_servers;
    const char *event_store, *blobs, *blob_folder, *state_dir, *logs_folder, *streams_folder, *statistics_folder,
        *certificates_folder, *ca_cert_file, *ca_key_file, *seal_key_file, *dns_server;
    const char *token_hash_file, *app_domain, *replica;
    int64_t edge_https_port, node_timeout_seconds, connections_max, bulk_size_mib, bulk_kept_days;
    int64_t blob_collection_seconds;
    bool event_store_create;
};

#define ROW(type_, member, fallback_, required_, doc_)                                                                 \
    {.name = #member,                                                                                                  \
     .type = SETTING_##type_,                                                                                          \
     .offset = offsetof(struct platform_program_settings, member),                                                     \
     .fallback = fallback_,                                                                                            \
     .required = required_,                                                                                            \
     .doc = doc_}
#define ROW_INT(member, fallback_, min_, max_, doc_)                                                                   \
    {.name = #member,                                                                                                  \
     .type = SETTING_INT,                                                                                              \
     .offset = offsetof(struct platform_program_settings, member),                                                     \
     .fallback = fallback_,                                                                                            \
     .min = min_,                                                                                                      \
     .max = max_,                                                                                                      \
     .doc = doc_}
static const struct setting SETTINGS[] = {
    ROW(LIST, workloads, NULL, true, "of management-api, public-api, planner, watchdog, certificates"),
    ROW(LIST, listen, NULL, true, "addresses of the API (TLS), e.g. 127.0.0.1:7100"),
    ROW(TEXT, event_store, NULL, true, "the log of the platform, e.g. files;path=/var/lib/slipform/log"),
    ROW(BOOL, event_store_create, "false", false,
        "event_store is made when it is not there; without it that ends the program, as it may be a mount that is "
        "missing"),
    ROW(TEXT, blobs, NULL, false, "contexts and images: folder;path=DIR or s3;endpoint=URL;bucket=NAME;..."),
    ROW(PATH, blob_folder, NULL, false, "the same as blobs: folder;path=..., as settings of 0.1 have it"),
    ROW(PATH, state_dir, NULL, false,
        "for a checkpoint of its model; none: every start folds the log from its first event"),
    ROW(PATH, logs_folder, NULL, false,
        "lines of instances where event_store is files; any other store keeps them itself"),
    ROW(PATH, streams_folder, NULL, false,
        "logs of applications' streams where event_store is files; any other store keeps them itself"),
    ROW(PATH, statistics_folder, NULL, false,
        "the log 'statistics' of applications where event_store is files; any other store keeps it itself"),
    ROW_INT(bulk_size_mib, "2048", 64, 1048576, "lines of instances, all together: beyond it the oldest go"),
    ROW_INT(bulk_kept_days, "30", 1, 3650, "lines of instances: older ones go"),
    ROW(PATH, certificates_folder, NULL, false, "keys of routed hosts; for workload certificates"),
    ROW(PATH, ca_cert_file, NULL, false, "the installation's CA; absent: ca_file"),
    ROW(PATH, ca_key_file, NULL, false, "its key; for workload certificates and identities of builders"),
    ROW(PATH, seal_key_file, NULL, false, "key that secrets in the log are sealed under; none: they are refused here"),
    ROW(TEXT, dns_server, NULL, false,
        "asked for TXT records of domains, by workload certificates, e.g. 127.0.0.1:53; absent: the host's"),
    ROW(PATH, token_hash_file, NULL, false, "SHA-256 of operators' tokens, one hex line each"),
    ROW(TEXT, app_domain, "localhost", false, "applications answer at <slug>.<app_domain>"),
    ROW(TEXT, replica, NULL, false, "name of this replica in votes; absent: the instance's id"),
    ROW_INT(edge_https_port, "443", 1, 65535, "where edges answer, for URLs"),
    ROW_INT(node_timeout_seconds, "15", 1, 3600, "a node that was not heard for this long is suspected"),
    ROW_INT(connections_max, "0", 0, 1000000,
            "at a time; two for each node. 0: as many as this process may have descriptors, but for 1024"),
    ROW_INT(blob_collection_seconds, "21600", 1, 604800,
            "between two collections of blobs that nobody names; they are removed two days after that"),
    HINTS_SETTING(struct platform_program_settings, nats_servers),
    ROW(LIST, tuning, NULL, false, "figures of the planner, name=value, e.g. drain_seconds=300"),
};

struct platform_program {
    struct daemon *d;
    struct blob_store *blobs;
    struct blob_watch *blob_watch;
    bool blobs_answer; /* as of its last answer */
    struct control *control;
    struct api *api;
    struct http_server *server;
    struct hints *hints;
};

static const char *const WORKLOADS[] = {"management-api", "public-api", "planner", "watchdog", "certificates"};

static bool has_workload(const struct platform_program_settings *s, const char *name)
{
    for (size_t i = 0; i < s->workloads.n; i++)
        if (strcmp(s->workloads.items[i], name) == 0 || strcmp(s->workloads.items[i], "*") == 0)
            return true;
    return false;
}

static enum err check_workload(const char *name, struct errinfo *err)
{
    for (size_t i = 0; i < sizeof(WORKLOADS) / sizeof(WORKLOADS[0]); i++)
        if (strcmp(WORKLOADS[i], name) == 0)
            return OK;
    if (strcmp(name, "*") == 0)
        return OK;
    return err_set(err, ERR_INVALID,
                   "there is no workload '%s': use management-api, public-api, planner, watchdog, certificates or *",
                   name);
}

/* One "name=value" of `tuning`. */
static enum err tune(struct platform_settings *settings, const char *text, struct errinfo *err)
{
    struct str value = str_from(text), name;
    (void)str_next(&value, '=', &name);
    enum err rc = platform_settings_tune(settings, name, value, err);
    return rc == OK ? OK : err_wrap(err, rc, "tuning");
}

static enum err figures(const struct platform_program_settings *s, struct platform_settings *ret, struct errinfo *err)
{
    platform_settings_init(ret);
    ret->app_domain = str_from(s->app_domain);
    for (size_t i = 0; i < s->tuning.n; i++) {
        enum err rc = tune(ret, s->tuning.items[i], err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static enum err check(const struct daemon *d, struct errinfo *err)
{
    const struct platform_program_settings *s = d->settings;
    struct platform_settings ignored;
    if (d->common.installation[0] == '\0')
        return err_set(err, ERR_INVALID, "setting 'installation' is missing");
    for (size_t i = 0; i < s->workloads.n; i++) {
        enum err rc = check_workload(s->workloads.items[i], err);
        if (rc != OK)
            return rc;
    }
    auto_free char *spec = NULL;
    enum err rc = blob_spec_of(s->blobs, s->blob_folder, &spec, err);
    return rc == OK ? figures(s, &ignored, err) : rc;
}

static void on_state(void *ctx, bool is_live, const struct errinfo *cause)
{
    daemon_set_ready(ctx, is_live, cause != NULL ? cause->msg : NULL);
}

static void fill_readyz(struct daemon *d, json_t *doc)
{
    const struct platform_program *p = d->state;
    char hash[HASH_TEXT_SIZE], position[APP_CURSOR_TEXT_SIZE];
    struct app_position at = control_position(p->control);
    control_model_hash(p->control, hash);
    app_cursor_format(&at, position);
    json_object_set_new(doc, "position", json_string(position));
    json_object_set_new(doc, "seq", json_integer((json_int_t)at.seq));
    json_object_set_new(doc, "model_hash", json_string(hash));
}

static void render_metrics(void *ctx, struct buf *out)
{
    metrics_render(((struct daemon *)ctx)->metrics, out);
}

static void on_exchange(void *ctx, const struct http_exchange *x)
{
    daemon_count_exchange(ctx, x);
}

/* Without its blobs it goes on: what runs is placed, replaced and routed; what cannot be done is deploying. */
static void blobs_told(void *ctx, const struct errinfo *err)
{
    struct platform_program *p = ctx;
    p->blobs_answer = err->code == OK;
    if (err->code == OK)
        log_info(&p->d->log, "the blobs can be read");
    else
        log_err(&p->d->log, err, "the blobs cannot be used, so nothing can be deployed or fetched");
}

static void count_to(struct counter *c, uint64_t n)
{
    counter_add(c, n - counter_value(c));
}

static void count_appends(struct metrics *m, const struct control *control)
{
    struct control_counts n = control_counts(control);
    count_to(metrics_counter(m, "slipform_appends_total", "appends to the platform's log", NULL, 0), n.appends);
    count_to(
        metrics_counter(m, "slipform_append_conflicts_total", "appends that met news, and were decided again", NULL, 0),
        n.conflicts);
    const struct {
        const char *turn;
        uint64_t n;
    } PLANS[] = {{"own", n.plans}, {"left", n.plans_left}, {"stood_in", n.plans_stood_in}};
    for (size_t i = 0; i < sizeof(PLANS) / sizeof(PLANS[0]); i++)
        count_to(
            metrics_counter(m, "slipform_plans_total",
                            "plans with something to do: appended, left to the preferred replica, appended because "
                            "that one did not",
                            &(struct metric_label){"turn", PLANS[i].turn}, 1),
            PLANS[i].n);
}

static void count_collected(struct metrics *m, const struct control *control)
{
    struct blob_collected n;
    uint64_t runs;
    if (!control_collected(control, &n, &runs))
        return;
    const struct {
        const char *fate;
        uint64_t n;
    } FATES[] = {{"set_aside", n.put_aside}, {"came_back", n.came_back}, {"removed", n.removed}};
    count_to(metrics_counter(m, "slipform_blob_collections_total", "collections of blobs that nobody names", NULL, 0),
             runs);
    for (size_t i = 0; i < sizeof(FATES) / sizeof(FATES[0]); i++)
        count_to(metrics_counter(m, "slipform_blobs_collected_total", "blobs by what became of them",
                                 &(struct metric_label){"fate", FATES[i].fate}, 1),
                 FATES[i].n);
    count_to(metrics_counter(m, "slipform_blobs_removed_bytes_total", "bytes of blobs that were removed", NULL, 0),
             n.removed_bytes);
}

static void set_gauges(struct metrics *m, void *ctx)
{
    const struct platform_program *p = ctx;
    const struct model *model = control_model(p->control);
    gauge_set(metrics_gauge(m, "slipform_log_position", "events folded", NULL, 0), (double)model->seq);
    gauge_set(metrics_gauge(m, "slipform_instances", "instances in the model", NULL, 0), (double)model->instances.n);
    gauge_set(metrics_gauge(m, "slipform_model_bytes", "memory of the model", NULL, 0),
              (double)model_size_bytes(model));
    gauge_set(metrics_gauge(m, "slipform_live", "1 when the log is folded and its end was seen a moment ago", NULL, 0),
              control_sight(p->control, NULL) == SIGHT_LIVE ? 1 : 0);
    gauge_set(
        metrics_gauge(m, "slipform_blobs_answer", "1 when contexts and images could be read a minute ago", NULL, 0),
        p->blobs_answer ? 1 : 0);
    count_appends(m, p->control);
    count_collected(m, p->control);
}

static enum err open_control(struct platform_program *p, struct errinfo *err)
{
    struct daemon *d = p->d;
    const struct platform_program_settings *s = d->settings;
    struct control_options o = {
        .loop = d->loop,
        .log = &d->log,
        .installation = d->common.installation,
        .replica = s->replica != NULL ? s->replica : d->common.instance_id,
        .event_store = s->event_store,
        .makes_log = s->event_store_create,
        .state_folder = s->state_dir,
        .logs_folder = s->logs_folder,
        .bulk_limits = {.size_bytes = (uint64_t)s->bulk_size_mib << 20, .kept_s = s->bulk_kept_days * 86400},
        .streams_folder = s->streams_folder,
        .statistics_folder = s->statistics_folder,
        .certificates_folder = s->certificates_folder,
        .ca_cert_file = s->ca_cert_file != NULL ? s->ca_cert_file : d->common.ca_file,
        .ca_key_file = s->ca_key_file,
        .seal_key_file = s->seal_key_file,
        .dns_server = s->dns_server,
        .blobs = p->blobs,
        .blob_collection_s = s->blob_collection_seconds,
        .edge_https_port = (int)s->edge_https_port,
        .node_timeout_ms = (int)s->node_timeout_seconds * 1000,
        .has_planner = has_workload(s, "planner"),
        .has_watchdog = has_workload(s, "watchdog"),
        .has_certificates = has_workload(s, "certificates"),
        .on_state = on_state,
        .ctx = d,
    };
    enum err rc = figures(s, &o.settings, err);
    return rc == OK ? control_open(&o, &p->control, err) : rc;
}

/* Each of its nodes holds two: as many as the system lets it have. */
static unsigned connections_max(const struct platform_program_settings *s)
{
    struct rlimit limit;
    if (s->connections_max != 0)
        return (unsigned)s->connections_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    rlim_t left = limit.rlim_cur > CONNECTIONS_LIMIT ? CONNECTIONS_LIMIT : limit.rlim_cur;
    return left < 2 * DESCRIPTORS_OTHER ? 0 : (unsigned)left - DESCRIPTORS_OTHER;
}

static enum err open_server(struct platform_program *p, struct errinfo *err)
{
    struct daemon *d = p->d;
    const struct platform_program_settings *s = d->settings;
    struct http_server_options o = {0};
    daemon_server_options(d, &o);
    api_server_options(p->api, &o);
    o.client_cert = HTTP_CLIENT_CERT_OPTIONAL; /* people come with a token */
    o.connections_max = connections_max(s);
    o.listen = s->listen.items;
    o.listen_n = s->listen.n;
    enum err rc = http_server_open(&o, &p->server, err);
    for (size_t i = 0; rc == OK && i < http_server_addresses_n(p->server); i++)
        log_info(&d->log, "listening on https://%s", http_server_address(p->server, i));
    return rc;
}

static void control_closed(void *ctx)
{
    const struct platform_program *p = ctx;
    if (p->server != NULL) /* else the start has failed, and nobody waits for this */
        daemon_stopped(p->d);
}

static void blob_watch_closed(void *ctx)
{
    const struct platform_program *p = ctx;
    control_close(p->control, control_closed, ctx);
}

static void api_closed(void *ctx)
{
    struct platform_program *p = ctx;
    struct blob_watch *w = p->blob_watch;
    p->blob_watch = NULL;
    blob_watch_close(w, blob_watch_closed, ctx);
}

static void hints_closed(void *ctx)
{
    const struct platform_program *p = ctx;
    api_close(p->api, api_closed, ctx);
}

static void server_closed(void *ctx)
{
    struct platform_program *p = ctx;
    struct hints *h = p->hints;
    p->hints = NULL;
    hints_close(h, hints_closed, ctx);
}

static void look(void *ctx)
{
    const struct platform_program *p = ctx;
    app_hint(control_app(p->control));
}

static enum err open_hints(struct platform_program *p, struct errinfo *err)
{
    const struct platform_program_settings *s = p->d->settings;
    char subject[NOTIFICATION_SUBJECT_SIZE];
    notification_log_subject(p->d->common.installation, control_position(p->control).log, subject);
    return hints_open(p->d, &s->nats_servers, subject, look, p, &p->hints, err);
}

static void notifier_state(void *ctx, struct replica_notifier *ret)
{
    const struct daemon *d = ctx;
    const struct platform_program *p = d->state;
    struct hints_state s = hints_state(p->hints);
    *ret = (struct replica_notifier){s.is_open, s.is_up, (int64_t)s.received,
                                     s.hinted_us == 0 ? -1 : (clock_mono_us() - s.hinted_us) / 1000};
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    const struct platform_program_settings *s = d->settings;
    struct platform_program *p = arena_alloc(&d->arena, sizeof(*p));
    p->d = d;
    d->state = p;
    auto_free char *spec = NULL;
    enum err rc = blob_spec_of(s->blobs, s->blob_folder, &spec, err);
    if (rc == OK)
        rc = blob_store_open(spec, &p->blobs, err);
    if (rc == OK)
        rc = open_control(p, err);
    if (rc != OK)
        return rc;
    p->api = api_new(&(struct api_options){.control = p->control,
                                           .blobs = p->blobs,
                                           .token_file = s->token_hash_file,
                                           .management = has_workload(s, "management-api"),
                                           .is_public = has_workload(s, "public-api"),
                                           .render_metrics = render_metrics,
                                           .render_ctx = d,
                                           .notifier = notifier_state,
                                           .on_exchange = on_exchange,
                                           .exchange_ctx = d});
    daemon_on_readyz(d, fill_readyz);
    metrics_on_render(d->metrics, set_gauges, p);
    rc = open_hints(p, err);
    if (rc == OK)
        rc = open_server(p, err);
    if (rc == OK)
        p->blob_watch = blob_watch_new(d->loop, p->blobs, blobs_told, p);
    else
        server_closed(p);
    return rc;
}

static void stop(struct daemon *d)
{
    struct platform_program *p = d->state;
    blob_store_cancel(p->blobs);
    api_stop(p->api);
    http_server_close(p->server, GRACE_MS, server_closed, p);
}

static void free_state(struct daemon *d)
{
    struct platform_program *p = d->state;
    if (p != NULL)
        blob_store_close(p->blobs);
}

int main(int argc, char **argv)
{
    static const struct program PROGRAM = {
        .name = "platform",
        .doc = "The control plane of an installation: folds its event log, answers its APIs, plans what follows.\n"
               "Installed also as management-api and public-api: the workloads differ.",
        .settings = SETTINGS,
        .settings_n = sizeof(SETTINGS) / sizeof(SETTINGS[0]),
        .settings_size = sizeof(struct platform_program_settings),
        .check = check,
        .start = start,
        .stop = stop,
        .free = free_state,
    };
    /* Before uv starts its pool: 4, its default, are as many as calls of blobs may take (blob/jobs.h); the log must
     * find others free. */
    (void)setenv("UV_THREADPOOL_SIZE", POOL_THREADS, 0);
    return daemon_main(argc, argv, &PROGRAM);
}
