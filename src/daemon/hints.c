#include "daemon/hints.h"

#include "base/clock.h"
#include "base/random.h"
#include "net/nats_client.h"

struct hints {
    struct daemon *d;
    struct nats_client *client; /* NULL: being closed */
    void (*hint)(void *ctx);
    void *ctx;
    int64_t hinted_us;
};

static void on_received(void *ctx, struct str payload)
{
    struct hints *h = ctx;
    h->hinted_us = clock_mono_us();
    (void)payload; /* whatever it says: look */
    h->hint(h->ctx);
}

static void on_state(void *ctx, bool is_up, const struct errinfo *why)
{
    const struct hints *h = ctx;
    if (why != NULL)
        log_warn(&h->d->log, "no hints of news (it is found by asking): %s", why->msg);
    else if (is_up)
        log_info(&h->d->log, "hints of news come by NATS");
}

static void on_render(struct metrics *m, void *ctx)
{
    const struct hints *h = ctx;
    struct nats_client_counts n = h->client != NULL ? nats_client_counts(h->client) : (struct nats_client_counts){0};
    gauge_set(metrics_gauge(m, "slipform_nats_up", "1: connected to a nats-server", NULL, 0), n.is_up);
    gauge_set(metrics_gauge(m, "slipform_nats_hints", "hints of news so far", NULL, 0), (double)n.received);
}

enum err hints_open(struct daemon *d, const struct setting_list *servers, const char *subject, void (*hint)(void *ctx),
                    void *ctx, struct hints **ret, struct errinfo *err)
{
    *ret = NULL;
    if (servers->n == 0)
        return OK;
    struct hints *h = arena_alloc(&d->arena, sizeof(*h));
    *h = (struct hints){.d = d, .hint = hint, .ctx = ctx};
    struct nats_client_options o = {.loop = d->loop,
                                    .servers = servers->items,
                                    .servers_n = servers->n,
                                    .name = d->program->name,
                                    .ca_file = d->common.ca_file,
                                    .cert_file = d->common.cert_file,
                                    .key_file = d->common.key_file,
                                    .on_state = on_state,
                                    .ctx = h};
    random_bytes(&o.seed, sizeof(o.seed));
    enum err rc = nats_client_open(&o, &h->client, err);
    if (rc != OK)
        return err_wrap(err, rc, "nats_servers");
    rc = nats_client_subscribe(h->client, subject, on_received, h, err);
    if (rc != OK) {
        nats_client_close(h->client, NULL, NULL);
        return rc;
    }
    metrics_on_render(d->metrics, on_render, h);
    *ret = h;
    return OK;
}

struct hints_state hints_state(const struct hints *h)
{
    if (h == NULL || h->client == NULL)
        return (struct hints_state){0};
    struct nats_client_counts n = nats_client_counts(h->client);
    return (struct hints_state){true, n.is_up, n.received, h->hinted_us};
}

void hints_close(struct hints *h, void (*closed)(void *ctx), void *ctx)
{
    if (h == NULL) {
        closed(ctx);
        return;
    }
    struct nats_client *client = h->client;
    h->client = NULL;
    nats_client_close(client, closed, ctx);
}
