/* edge-proxy: follows the routes of the installation and drives the Envoy beside it. Wiring only: edge/edge.h.
 * SIGTERM ends Envoy too (listeners drained first); after a crash of ours Envoy goes on, and the next start adopts it.
 * Keeps no privilege beyond its ports'. */
#include <string.h>

#include "base/own.h"
#include "daemon/daemon.h"
#include "daemon/hints.h"
#include "edge/edge.h"
#include "edge/run_dir.h"
#include "wire/notification.h"

struct settings {
    const char *node, *state_dir, *run_dir, *edge_https, *edge_http, *envoy_binary, *management_name, *region;
    struct setting_list management_urls, nats_servers;
    int64_t https_public_port, envoy_concurrency, sticky_seconds, stop_grace_ms;
    bool proxy_protocol;
};

static const struct setting SETTINGS[] = {
    {"node", SETTING_TEXT, offsetof(struct settings, node), "edge", false, 0, 0, NULL, "name of this node"},
    {"state_dir", SETTING_PATH, offsetof(struct settings, state_dir), NULL, true, 0, 0, NULL,
     "folder of its own, kept across restarts: the map of routes, certificates"},
    {"run_dir", SETTING_PATH, offsetof(struct settings, run_dir), NULL, false, 0, 0, NULL,
     "Envoy's files and sockets; default: state_dir, or below /run/slipform where that path is too long"},
    {"management_urls", SETTING_LIST, offsetof(struct settings, management_urls), NULL, true, 0, 0, NULL,
     "management APIs, tried in turn"},
    {"management_name", SETTING_TEXT, offsetof(struct settings, management_name), NULL, false, 0, 0, NULL,
     "name that their certificate must carry; default: slipform://<installation>/control/*"},
    {"edge_https", SETTING_TEXT, offsetof(struct settings, edge_https), "[::]:8443", false, 0, 0, NULL,
     "address and port of the TLS listener"},
    {"edge_http", SETTING_TEXT, offsetof(struct settings, edge_http), "[::]:8080", false, 0, 0, NULL,
     "address and port of the listener that redirects to https; none: no such listener"},
    {"https_public_port", SETTING_INT, offsetof(struct settings, https_public_port), "0", false, 0, 65535, NULL,
     "port that redirects lead to; 0: that of edge_https"},
    {"proxy_protocol", SETTING_BOOL, offsetof(struct settings, proxy_protocol), "false", false, 0, 0, NULL,
     "the load balancer in front speaks the PROXY protocol"},
    {"sticky_seconds", SETTING_INT, offsetof(struct settings, sticky_seconds), "86400", false, 0, 31536000, NULL,
     "life of the cookie slipform_sticky; 0: no cookie"},
    {"envoy_binary", SETTING_PATH, offsetof(struct settings, envoy_binary), "/var/cache/slipform/envoy/envoy", false, 0,
     0, NULL, "Envoy's program"},
    {"envoy_concurrency", SETTING_INT, offsetof(struct settings, envoy_concurrency), "2", false, 1, 256, NULL,
     "Envoy's worker threads"},
    {"stop_grace_ms", SETTING_INT, offsetof(struct settings, stop_grace_ms), "5000", false, 0, 600000, NULL,
     "how long open connections may go on at a stop"},
    {"region", SETTING_TEXT, offsetof(struct settings, region), "", false, 0, 0, NULL,
     "name of its region; needed with nats_servers"},
    HINTS_SETTING(struct settings, nats_servers),
};

struct state {
    struct edge *edge;
    struct hints *hints;
    char *run_dir;
    char *management_name;
    char *https_address, *http_address;
};

/* "[::]:8443" or "127.0.0.1:8443" into the listener; the text is cut and kept in *ret_text. */
static enum err parse_listener(const char *name, const char *text, char **ret_text, struct resource_listener *l,
                               struct errinfo *err)
{
    struct str s = {text, strlen(text)};
    size_t colon = str_rfind(s, ':');
    uint64_t port;
    struct str address = str_slice(s, 0, colon);
    if (colon == s.len || !str_parse_u64(str_slice(s, colon + 1, s.len), 65535, &port) || port == 0)
        return err_set(err, ERR_INVALID, "%s '%s' is not an address and a port like '[::]:8443'", name, text);
    if (address.len > 2 && address.ptr[0] == '[' && address.ptr[address.len - 1] == ']')
        address = str_slice(address, 1, address.len - 1);
    *ret_text = mem_strndup(address.ptr, address.len);
    l->address = *ret_text;
    l->port = (int64_t)port;
    return OK;
}

static void count_event(void *ctx, const struct delta_event *e)
{
    struct daemon *d = ctx;
    const struct metric_label label = {"type", xds_type_name(e->type)};
    struct counter *c = e->is_refusal ? metrics_counter(d->metrics, "slipform_edge_refusals_total",
                                                        "Answers that Envoy refused", &label, 1)
                                      : metrics_counter(d->metrics, "slipform_edge_acknowledgements_total",
                                                        "Answers that Envoy acknowledged", &label, 1);
    counter_add(c, 1);
}

static void on_ready(void *ctx, bool is_ready)
{
    daemon_set_ready(ctx, is_ready, is_ready ? NULL : "Envoy is not live or has not acknowledged its configuration");
}

static void set_gauge(struct metrics *m, const char *name, const char *help, double value)
{
    gauge_set(metrics_gauge(m, name, help, NULL, 0), value);
}

static void on_render(struct metrics *m, void *ctx)
{
    const struct daemon *d = ctx;
    const struct state *s = d->state;
    struct edge_numbers n;
    if (s == NULL || s->edge == NULL)
        return;
    edge_numbers(s->edge, &n);
    set_gauge(m, "slipform_edge_routes", "Projects in the map", (double)n.routes);
    set_gauge(m, "slipform_edge_hosts", "Host names in the map", (double)n.hosts);
    set_gauge(m, "slipform_edge_streams", "Open configuration streams of Envoy", (double)n.streams);
    set_gauge(m, "slipform_edge_refused_resources", "Resources that Envoy refuses at their present version",
              (double)n.refused);
    set_gauge(m, "slipform_edge_settled", "1: Envoy has acknowledged everything", n.is_settled);
    set_gauge(m, "slipform_edge_certificates_pending", "Certificates that are being fetched",
              (double)n.certificates_pending);
    set_gauge(m, "slipform_edge_envoy_live", "1: Envoy says that it is live", n.envoy_is_live);
    set_gauge(m, "slipform_edge_envoy_adopted", "1: this Envoy was started by an earlier run", n.envoy_was_adopted);
    set_gauge(m, "slipform_edge_envoy_restarts", "Times that Envoy had to be started again", (double)n.envoy_restarts);
    set_gauge(m, "slipform_edge_answer_age_seconds", "Since the control plane answered last; -1: never",
              n.answered_age_us < 0 ? -1 : (double)n.answered_age_us / 1e6);
    set_gauge(m, "slipform_edge_unconfirmed_age_seconds",
              "How long the newest routes have waited for Envoy; 0: confirmed", (double)n.unconfirmed_age_us / 1e6);
    for (enum xds_type t = 0; t < XDS_TYPES_N; t++) {
        const struct metric_label label = {"type", xds_type_name(t)};
        gauge_set(metrics_gauge(m, "slipform_edge_held_resources", "Resources that Envoy holds", &label, 1),
                  (double)n.held[t]);
    }
}

static enum err fill_options(struct daemon *d, struct state *s, struct edge_options *o, struct errinfo *err)
{
    const struct settings *set = d->settings;
    enum err rc = parse_listener("edge_https", set->edge_https, &s->https_address, &o->https, err);
    if (rc == OK && strcmp(set->edge_http, "none") != 0)
        rc = parse_listener("edge_http", set->edge_http, &s->http_address, &o->http, err);
    if (rc != OK)
        return rc;
    if (d->common.cert_file == NULL || d->common.key_file == NULL || d->common.ca_file == NULL)
        return err_set(err, ERR_INVALID, "ca_file, cert_file and key_file are needed: the identity of an edge");
    o->https.is_proxy_protocol = o->http.is_proxy_protocol = set->proxy_protocol;
    o->https_public_port = set->https_public_port == 0 ? o->https.port : set->https_public_port;
    s->run_dir = run_dir_choose(set->run_dir, set->state_dir);
    s->management_name = set->management_name != NULL ? mem_strdup(set->management_name)
                                                      : mem_printf("slipform://%s/control/*", d->common.installation);
    daemon_call_options(d, &o->call);
    o->call.peer_uri = s->management_name;
    return OK;
}

static void look(void *ctx)
{
    const struct state *s = ctx;
    if (s->edge != NULL)
        edge_hint(s->edge);
}

static enum err open_hints(struct daemon *d, struct errinfo *err)
{
    const struct settings *set = d->settings;
    struct state *s = d->state;
    char subject[NOTIFICATION_SUBJECT_SIZE];
    if (set->nats_servers.n > 0 && set->region[0] == '\0')
        return err_set(err, ERR_INVALID, "nats_servers needs 'region' too");
    notification_edge_subject(d->common.installation, str_from(set->region), subject);
    return hints_open(d, &set->nats_servers, subject, look, s, &s->hints, err);
}

static void on_nothing(void *ctx)
{
    (void)ctx;
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    const struct settings *set = d->settings;
    struct state *s = mem_alloc(sizeof(*s));
    struct edge_options o = {.loop = d->loop,
                             .log = &d->log,
                             .client = d->client,
                             .management_urls = set->management_urls.items,
                             .management_urls_n = set->management_urls.n,
                             .ca_file = d->common.ca_file,
                             .cert_file = d->common.cert_file,
                             .key_file = d->common.key_file,
                             .state_dir = set->state_dir,
                             .node_id = set->node,
                             .envoy_binary = set->envoy_binary,
                             .envoy_concurrency = set->envoy_concurrency,
                             .sticky_seconds = set->sticky_seconds,
                             .on_event = count_event,
                             .on_ready = on_ready,
                             .ctx = d};
    d->state = s;
    enum err rc = fill_options(d, s, &o, err);
    if (rc != OK)
        return rc;
    o.run_dir = s->run_dir;
    metrics_on_render(d->metrics, on_render, d);
    rc = open_hints(d, err);
    if (rc == OK)
        rc = edge_open(&o, &s->edge, err);
    if (rc != OK)
        hints_close(TAKE(s->hints), on_nothing, NULL); /* stop() is not called for what never ran */
    return rc;
}

static void on_hints_closed(void *ctx)
{
    daemon_stopped(ctx);
}

static void on_stopped(void *ctx)
{
    struct daemon *d = ctx;
    struct state *s = d->state;
    s->edge = NULL;
    hints_close(TAKE(s->hints), on_hints_closed, d);
}

static void stop(struct daemon *d)
{
    const struct settings *set = d->settings;
    struct state *s = d->state;
    if (s == NULL)
        daemon_stopped(d);
    else if (s->edge == NULL)
        on_stopped(d);
    else
        edge_stop(s->edge, (unsigned)set->stop_grace_ms, on_stopped, d);
}

static void free_state(struct daemon *d)
{
    struct state *s = d->state;
    if (s == NULL)
        return;
    free(s->run_dir);
    free(s->management_name);
    free(s->https_address);
    free(s->http_address);
    free(s);
}

int main(int argc, char **argv)
{
    static const struct program PROGRAM = {
        .name = "edge-proxy",
        .doc = "Follows the routes of an installation and drives the Envoy that serves them.",
        .settings = SETTINGS,
        .settings_n = sizeof(SETTINGS) / sizeof(SETTINGS[0]),
        .settings_size = sizeof(struct settings),
        .start = start,
        .stop = stop,
        .free = free_state,
        .stop_deadline_ms = 15000,
    };
    return daemon_main(argc, argv, &PROGRAM);
}
