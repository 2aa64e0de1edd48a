/* active-notifier: says on NATS that a log has moved. Wiring only: notifier/notifier.h. Keeps no privilege. */
#include <stdio.h>

#include "base/own.h"
#include "base/random.h"
#include "daemon/daemon.h"
#include "notifier/authorization.h"
#include "notifier/notifier.h"

struct settings {
    const char *event_store;
    struct setting_list nats_servers;
    int64_t poll_ms;
};

static const struct setting SETTINGS[] = {
    {"event_store", SETTING_TEXT, offsetof(struct settings, event_store), NULL, true, 0, 0, NULL,
     "the log of the platform, e.g. files;path=/var/lib/slipform/log; it is only read"},
    {"nats_servers", SETTING_LIST, offsetof(struct settings, nats_servers), NULL, true, 0, 0, NULL,
     "tls://HOST:PORT of each nats-server; one is used at a time"},
    {"poll_ms", SETTING_INT, offsetof(struct settings, poll_ms), "50", false, 10, 60000, NULL,
     "the log is looked at this often though its store has said nothing; how late news of a PostgreSQL log are"},
};

static const struct program_flag FLAGS[] = {
    {.name = "authorization",
     .doc = "read the log, print who may publish and subscribe to what as a part of nats-server's configuration, end"},
};

struct state {
    struct notifier *notifier;
};

static enum err check(const struct daemon *d, struct errinfo *err)
{
    const struct settings *s = d->settings;
    if (d->common.installation[0] == '\0')
        return err_set(err, ERR_INVALID, "set 'installation'");
    return nats_client_check_servers(s->nats_servers.items, s->nats_servers.n, err);
}

static enum err read_all(struct store *store, struct audience *a, struct errinfo *err)
{
    uint64_t at = 0, end = 1;
    while (at < end) {
        __attribute__((cleanup(store_batch_cleanup))) struct store_batch b = {0};
        enum err rc = store_read(store, at, 1000, 1048576, &b, err);
        if (rc != OK)
            return rc;
        for (size_t i = 0; i < b.n; i++)
            audience_see(a, &b.items[i].e);
        at += b.n;
        end = b.end.seq;
    }
    return OK;
}

static enum err print_authorization(struct daemon *d, struct store *store, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    struct audience *a = audience_new();
    enum err rc = read_all(store, a, err);
    if (rc == OK) {
        authorization_format(a, d->common.installation, &text);
        (void)fputs(text.ptr, stdout);
    }
    audience_free(a);
    store_close(store);
    if (rc == OK)
        daemon_stop(d, 0);
    return rc;
}

static void on_state(void *ctx, bool is_ready, const struct errinfo *why)
{
    struct daemon *d = ctx;
    if (why != NULL)
        log_warn(&d->log, "%s", why->msg);
    daemon_set_ready(d, is_ready, is_ready ? NULL : why != NULL ? why->msg : "reading the log, or connecting");
}

static void on_render(struct metrics *m, void *ctx)
{
    const struct state *s = ctx;
    struct notifier_numbers n;
    if (s->notifier == NULL)
        return;
    notifier_numbers(s->notifier, &n);
    gauge_set(metrics_gauge(m, "slipform_log_position", "events read", NULL, 0), (double)n.seq);
    gauge_set(metrics_gauge(m, "slipform_nats_up", "1: connected to a nats-server", NULL, 0), n.nats.is_up);
    gauge_set(metrics_gauge(m, "slipform_nats_published", "notifications handed to NATS", NULL, 0),
              (double)n.nats.published);
    gauge_set(metrics_gauge(m, "slipform_nats_dropped", "notifications dropped: no connection, or a slow one", NULL, 0),
              (double)n.nats.dropped);
}

static enum err start(struct daemon *d, struct errinfo *err)
{
    const struct settings *set = d->settings;
    struct state *s = arena_alloc(&d->arena, sizeof(*s));
    struct store *store = NULL;
    d->state = s;
    enum err rc = store_open(set->event_store, &(struct store_options){.mode = STORE_READ}, &store, NULL, err);
    if (rc != OK)
        return err_wrap(err, rc, "open the event log '%s'", set->event_store);
    if (daemon_flag(d, "authorization") != NULL)
        return print_authorization(d, store, err);
    struct notifier_options o = {.loop = d->loop,
                                 .store = store,
                                 .installation = d->common.installation,
                                 .poll_ms = (unsigned)set->poll_ms,
                                 .nats = {.servers = set->nats_servers.items,
                                          .servers_n = set->nats_servers.n,
                                          .name = "active-notifier",
                                          .ca_file = d->common.ca_file,
                                          .cert_file = d->common.cert_file,
                                          .key_file = d->common.key_file},
                                 .on_state = on_state,
                                 .ctx = d};
    random_bytes(&o.nats.seed, sizeof(o.nats.seed));
    metrics_on_render(d->metrics, on_render, s);
    rc = notifier_open(&o, &s->notifier, err);
    if (rc != OK)
        store_close(store);
    return rc;
}

static void closed(void *ctx)
{
    daemon_stopped(ctx);
}

static void stop(struct daemon *d)
{
    struct state *s = d->state;
    struct notifier *n = TAKE(s->notifier);
    if (n == NULL)
        daemon_stopped(d);
    else
        notifier_close(n, closed, d);
}

int main(int argc, char **argv)
{
    static const struct program PROGRAM = {
        .name = "active-notifier",
        .doc = "Tails the event log and says on NATS that it has moved, so that nobody has to wait for his next look.",
        .settings = SETTINGS,
        .settings_n = sizeof(SETTINGS) / sizeof(SETTINGS[0]),
        .settings_size = sizeof(struct settings),
        .flags = FLAGS,
        .flags_n = sizeof(FLAGS) / sizeof(FLAGS[0]),
        .check = check,
        .start = start,
        .stop = stop,
    };
    return daemon_main(argc, argv, &PROGRAM);
}
