/* node-proxy: the Envoy of a worker, through which edges reach the node's microVMs. Wiring only: edge/node_proxy.h.
 * SIGTERM ends Envoy too; after a crash of ours Envoy goes on, and the next start adopts it. Keeps CAP_NET_ADMIN. */
#include "base/own.h"
#include "daemon/daemon.h"
#include "edge/node_proxy.h"
#include "edge/run_dir.h"

struct settings {
    const char *node, *state_dir, *run_dir, *envoy_binary;
    int64_t proxy_port, envoy_concurrency, stop_grace_ms;
};

static const struct setting SETTINGS[] = {
    {"node", SETTING_TEXT, offsetof(struct settings, node), "node", false, 0, 0, NULL, "name of this node"},
    {"state_dir", SETTING_PATH, offsetof(struct settings, state_dir), NULL, true, 0, 0, NULL,
     "folder of its own, kept across restarts"},
    {"run_dir", SETTING_PATH, offsetof(struct settings, run_dir), NULL, false, 0, 0, NULL,
     "Envoy's files and sockets; default: state_dir, or below /run/slipform where that path is too long"},
    {"proxy_port", SETTING_INT, offsetof(struct settings, proxy_port), "6101", false, 1, 65535, NULL,
     "port on ::1 to which the node's rules lead what is meant for guests"},
    {"envoy_binary", SETTING_PATH, offsetof(struct settings, envoy_binary), "/var/cache/slipform/envoy/envoy", false, 0,
     0, NULL, "Envoy's program"},
    {"envoy_concurrency", SETTING_INT, offsetof(struct settings, envoy_concurrency), "2", false, 1, 256, NULL,
     "Envoy's worker threads"},
    {"stop_grace_ms", SETTING_INT, offsetof(struct settings, stop_grace_ms), "5000", false, 0, 600000, NULL,
     "how long open connections may go on at a stop"},
};

struct state {
    struct node_proxy *proxy;
    char *run_dir;
};

static void on_ready(void *ctx, bool is_ready)
{
    daemon_set_ready(ctx, is_ready, is_ready ? NULL : "Envoy is not live");
}

static void on_render(struct metrics *m, void *ctx)
{
    const struct daemon *d = ctx;
    const struct state *s = d->state;
    if (s == NULL || s->proxy == NULL)
        return;
    gauge_set(metrics_gauge(m, "slipform_node_proxy_envoy_live", "1: Envoy says that it is live", NULL, 0),
              node_proxy_is_live(s->proxy));
    gauge_set(
        metrics_gauge(m, "slipform_node_proxy_envoy_restarts", "Times that Envoy had to be started again", NULL, 0),
        (double)node_proxy_envoy_restarts(s->proxy));
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    const struct settings *set = d->settings;
    struct state *s = mem_alloc(sizeof(*s));
    d->state = s;
    if (d->common.cert_file == NULL || d->common.key_file == NULL || d->common.ca_file == NULL)
        return err_set(err, ERR_INVALID, "ca_file, cert_file and key_file are needed: the identity of a node-proxy");
    if (d->common.installation[0] == '\0')
        return err_set(err, ERR_INVALID, "installation is needed: only its edges are let in");
    s->run_dir = run_dir_choose(set->run_dir, set->state_dir);
    metrics_on_render(d->metrics, on_render, d);
    return node_proxy_open(&(struct node_proxy_options){.loop = d->loop,
                                                        .log = &d->log,
                                                        .installation = d->common.installation,
                                                        .ca_file = d->common.ca_file,
                                                        .cert_file = d->common.cert_file,
                                                        .key_file = d->common.key_file,
                                                        .run_dir = s->run_dir,
                                                        .node_id = set->node,
                                                        .port = set->proxy_port,
                                                        .envoy_binary = set->envoy_binary,
                                                        .envoy_concurrency = set->envoy_concurrency,
                                                        .on_ready = on_ready,
                                                        .ctx = d},
                           &s->proxy, err);
}

static void on_stopped(void *ctx)
{
    struct daemon *d = ctx;
    struct state *s = d->state;
    s->proxy = NULL;
    daemon_stopped(d);
}

static void stop(struct daemon *d)
{
    const struct settings *set = d->settings;
    struct state *s = d->state;
    if (s == NULL || s->proxy == NULL)
        daemon_stopped(d);
    else
        node_proxy_stop(s->proxy, (unsigned)set->stop_grace_ms, on_stopped, d);
}

static void free_state(struct daemon *d)
{
    struct state *s = d->state;
    if (s == NULL)
        return;
    free(s->run_dir);
    free(s);
}

int main(int argc, char **argv)
{
    static const struct program PROGRAM = {
        .name = "node-proxy",
        .doc = "Lets the edges of an installation reach the microVMs of this node.",
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
