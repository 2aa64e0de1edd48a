/* node-agent: keeps what this node should run running. The only program that keeps root, and all of its rights: it
 * makes namespaces, taps, cgroups and processes of other users. Settings, files and API: docs/formats/node-agent.md */
#include <stdio.h>

#include "base/buf.h"
#include "base/own.h"
#include "daemon/daemon.h"
#include "daemon/hints.h"
#include "node/agent/agent.h"
#include "wire/notification.h"

struct agent_settings {
    const char *home, *node_id, *node_name, *zone, *region, *prefix, *agent_url, *program_folder;
    const char *kernel_file, *initramfs_file, *qemu_file, *fabric_interface, *os_tag, *run_as_user;
    struct setting_list labels, listen, management_api, guest_denied, resolvers, runtimes, nats_servers;
    int64_t proxy_port, route_table, vcpus;
    uint64_t memory_bytes, disk_bytes;
};

#define ROW(type_, member, fallback_, required_, doc_)                                                                 \
    {.name = #member,                                                                                                  \
     .type = SETTING_##type_,                                                                                          \
     .offset = offsetof(struct agent_settings, member),                                                                \
     .fallback = fallback_,                                                                                            \
     .required = required_,                                                                                            \
     .doc = doc_}

static const struct setting SETTINGS[] = {
    ROW(PATH, home, NULL, true, "its folder"),
    ROW(TEXT, node_id, NULL, true, "UUID of this node, given by the installer"),
    ROW(TEXT, node_name, NULL, true, "name, unique in the installation"),
    ROW(TEXT, zone, NULL, true, "name of its zone"),
    ROW(TEXT, region, NULL, true, "name of its region"),
    ROW(LIST, labels, NULL, false, "control, worker"),
    ROW(TEXT, prefix, "", false, "the /64 of its microVMs; empty: it runs none"),
    ROW(TEXT, agent_url, "", false, "https URL where others reach its API"),
    ROW(LIST, listen, NULL, true, "addresses of its API"),
    ROW(LIST, management_api, NULL, false, "https URLs of the control plane; they need not answer yet"),
    ROW(PATH, program_folder, "/usr/lib/slipform", false, "where file:<program> artifacts are"),
    ROW(PATH, kernel_file, NULL, false, "kernel of guests"),
    ROW(PATH, initramfs_file, NULL, false, "initramfs of guests"),
    ROW(PATH, qemu_file, "/usr/bin/qemu-system-x86_64", false, "hypervisor"),
    ROW(TEXT, fabric_interface, "", false, "link to the other hosts and the internet; required with prefix"),
    ROW(TEXT, os_tag, "0000", false, "four letters or digits in the names of its links"),
    ROW(LIST, guest_denied, NULL, false, "networks that guests must not reach, beside private ones"),
    {.name = "proxy_port",
     .type = SETTING_INT,
     .offset = offsetof(struct agent_settings, proxy_port),
     .fallback = "6101",
     .min = 1,
     .max = 65535,
     .doc = "where node-proxy listens, on ::1"},
    {.name = "route_table",
     .type = SETTING_INT,
     .offset = offsetof(struct agent_settings, route_table),
     .fallback = "6100",
     .min = 1,
     .max = INT32_MAX,
     .doc = "number of mark, rule and table of intercepted packets"},
    ROW(LIST, resolvers, NULL, false, "upstreams of the guests' resolver; none: those of /etc/resolv.conf"),
    ROW(LIST, runtimes, NULL, false, "allowed runtimes; none: what the pre-flight proves"),
    ROW(TEXT, run_as_user, "slipform", false, "the unprivileged user"),
    ROW(INT, vcpus, "0", false, "offered to instances; 0: what the host has"),
    ROW(SIZE, memory_bytes, "0", false, "offered to instances; 0: nine tenths of the host's"),
    ROW(SIZE, disk_bytes, "0", false, "offered to instances; 0: nine tenths of the home's"),
    HINTS_SETTING(struct agent_settings, nats_servers),
};

static const struct program_flag FLAGS[] = {
    {.name = "stop-all", .doc = "stop everything that it runs, take its objects out of the OS, end"},
    {.name = "probe", .doc = "run the pre-flight, print its rows as JSON, end; exit code 1: no runtime is proved"},
};

struct program_state {
    struct agent_options options;
    struct agent *agent;
    struct gauge *instances;
    struct hints *hints;
};

static enum err check(const struct daemon *d, struct errinfo *err)
{
    const struct agent_settings *s = d->settings;
    struct id id;
    if (!id_parse(str_from(s->node_id), &id))
        return err_set(err, ERR_INVALID, "node_id '%s' is not a UUID", s->node_id);
    if (d->common.installation[0] == '\0')
        return err_set(err, ERR_INVALID, "set 'installation'");
    if (d->common.cert_file == NULL || d->common.key_file == NULL || d->common.ca_file == NULL)
        return err_set(err, ERR_INVALID, "set 'ca_file', 'cert_file' and 'key_file'");
    return OK;
}

static void on_end(void *ctx, enum err rc, const struct errinfo *err)
{
    struct daemon *d = ctx;
    if (rc != OK)
        log_err(&d->log, err, "not everything is stopped");
    daemon_stop(d, rc == OK ? 0 : err_exit_code(rc));
}

static void on_probed(void *ctx, struct objects rows, struct strs runtimes)
{
    struct daemon *d = ctx;
    const struct preflight_check *row = rows.items;
    AUTO(buf) struct buf text = {0};
    for (size_t i = 0; i < rows.n; i++) {
        buf_add_c(&text, i == 0 ? "[" : ",\n ");
        fields_encode(&PREFLIGHT_CHECK_WIRE, &row[i], &text);
    }
    (void)printf("%s]\n", text.ptr);
    daemon_stop(d, runtimes.n > 0 ? 0 : 1);
}

static void on_ready(void *ctx)
{
    daemon_set_ready(ctx, true, NULL);
}

static void on_request(void *ctx, const struct http_exchange *x)
{
    daemon_count_exchange(ctx, x);
}

static void on_render(struct metrics *m, void *ctx)
{
    (void)m;
    const struct program_state *p = ctx;
    gauge_set(p->instances, p->agent == NULL ? 0 : (double)agent_instances_n(p->agent));
}

static struct agent_options options_of(struct daemon *d)
{
    const struct agent_settings *s = d->settings;
    struct agent_options o = {
        .loop = d->loop,
        .log = &d->log,
        .client = d->client,
        .installation = d->common.installation,
        .node_name = s->node_name,
        .zone = s->zone,
        .region = s->region,
        .labels = s->labels.items,
        .labels_n = s->labels.n,
        .prefix = s->prefix,
        .agent_url = s->agent_url,
        .home = s->home,
        .program_folder = s->program_folder,
        .kernel_path = s->kernel_file,
        .initramfs_path = s->initramfs_file,
        .qemu_path = s->qemu_file,
        .listen = s->listen.items,
        .listen_n = s->listen.n,
        .management_apis = s->management_api.items,
        .management_apis_n = s->management_api.n,
        .ca_file = d->common.ca_file,
        .cert_file = d->common.cert_file,
        .key_file = d->common.key_file,
        .fabric_interface = s->fabric_interface,
        .os_tag = s->os_tag,
        .denied = s->guest_denied.items,
        .denied_n = s->guest_denied.n,
        .proxy_port = s->proxy_port,
        .route_table = s->route_table,
        .resolvers = s->resolvers.items,
        .resolvers_n = s->resolvers.n,
        .runtimes = s->runtimes.items,
        .runtimes_n = s->runtimes.n,
        .capacity = {s->vcpus, (int64_t)s->memory_bytes, (int64_t)s->disk_bytes},
        .run_as_user = s->run_as_user,
        .stop_all = daemon_flag(d, "stop-all") != NULL,
        .probe = daemon_flag(d, "probe") != NULL,
        .on_probed = on_probed,
        .on_end = on_end,
        .on_ready = on_ready,
        .on_request = on_request,
        .ctx = d,
    };
    (void)id_parse(str_from(s->node_id), &o.node_id); /* checked */
    return o;
}

static void look(void *ctx)
{
    const struct program_state *p = ctx;
    agent_hint(p->agent);
}

/* Not for --stop-all and --probe, which follow nobody. */
static enum err open_hints(struct daemon *d, struct errinfo *err)
{
    const struct agent_settings *s = d->settings;
    struct program_state *p = d->state;
    char subject[NOTIFICATION_SUBJECT_SIZE];
    if (p->options.stop_all || p->options.probe)
        return OK;
    notification_node_subject(d->common.installation, p->options.node_id, subject);
    return hints_open(d, &s->nats_servers, subject, look, p, &p->hints, err);
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    struct program_state *p = arena_alloc(&d->arena, sizeof(*p));
    d->state = p;
    p->options = options_of(d);
    p->instances =
        metrics_gauge(d->metrics, "slipform_agent_instances", "instances that this node-agent holds", NULL, 0);
    metrics_on_render(d->metrics, on_render, p);
    enum err rc = agent_start(&p->options, &p->agent, err);
    if (rc == OK)
        rc = open_hints(d, err);
    if (rc != OK)
        agent_stop(p->agent, NULL, NULL); /* stop() is not called for what never ran */
    return rc;
}

static void on_hints_closed(void *ctx)
{
    daemon_stopped(ctx);
}

static void on_stopped(void *ctx)
{
    const struct daemon *d = ctx;
    struct program_state *p = d->state;
    hints_close(TAKE(p->hints), on_hints_closed, ctx);
}

static void stop(struct daemon *d)
{
    struct program_state *p = d->state;
    agent_stop(p->agent, on_stopped, d);
}

static void free_state(struct daemon *d)
{
    struct program_state *p = d->state;
    if (p != NULL)
        agent_free(p->agent);
}

int main(int argc, char **argv)
{
    static const struct program PROGRAM = {
        .name = "node-agent",
        .doc = "Keeps what this node should run running, and tells the control plane.",
        .settings = SETTINGS,
        .settings_n = sizeof(SETTINGS) / sizeof(SETTINGS[0]),
        .settings_size = sizeof(struct agent_settings),
        .flags = FLAGS,
        .flags_n = sizeof(FLAGS) / sizeof(FLAGS[0]),
        .check = check,
        .start = start,
        .stop = stop,
        .stop_deadline_ms = 5000,
        .free = free_state,
    };
    return daemon_main(argc, argv, &PROGRAM);
}
