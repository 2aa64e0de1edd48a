#include "notifier/notifier.h"

#include "base/mem.h"
#include "base/own.h"
#include "notifier/audience.h"
#include "notifier/tail.h"
#include "wire/notification.h"

struct notifier {
    struct notifier_options o;
    struct audience *audience;
    struct tail *tail;
    struct nats_client *nats;
    bool was_live, log_is_troubled;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- what is said ---- */

static void publish(struct notifier *n, const char *subject)
{
    AUTO(buf) struct buf payload = {0};
    struct notification what = {tail_log_id(n->tail), (int64_t)tail_at(n->tail).seq};
    fields_encode(&NOTIFICATION_WIRE, &what, &payload);
    /* dropped: whoever listens looks for himself, and is told anew when the connection stands again */
    err_ignore(nats_client_publish(n->nats, subject, buf_str(&payload), NULL));
}

static void publish_log(struct notifier *n)
{
    char subject[NOTIFICATION_SUBJECT_SIZE];
    notification_log_subject(n->o.installation, tail_log_id(n->tail), subject);
    publish(n, subject);
}

static void publish_edge(void *ctx, struct str region)
{
    struct notifier *n = ctx;
    char subject[NOTIFICATION_SUBJECT_SIZE];
    notification_edge_subject(n->o.installation, region, subject);
    publish(n, subject);
}

static void publish_node(void *ctx, struct id node_id)
{
    struct notifier *n = ctx;
    char subject[NOTIFICATION_SUBJECT_SIZE];
    notification_node_subject(n->o.installation, node_id, subject);
    publish(n, subject);
}

/* ---- what is heard ---- */

static void tell_state(struct notifier *n, const struct errinfo *why)
{
    bool is_ready = n->was_live && !n->log_is_troubled && nats_client_counts(n->nats).is_up;
    n->o.on_state(n->o.ctx, is_ready, why);
}

static void on_record(void *ctx, const struct store_record *r)
{
    struct notifier *n = ctx;
    audience_see(n->audience, &r->e);
}

static void on_end(void *ctx)
{
    struct notifier *n = ctx;
    publish_log(n);
    if (n->was_live) {
        audience_take(n->audience, publish_edge, publish_node, n);
        return;
    }
    n->was_live = true;
    audience_take(n->audience, NULL, NULL, n); /* the past is no news */
    tell_state(n, NULL);
}

static void on_reset(void *ctx)
{
    struct notifier *n = ctx;
    audience_free(n->audience);
    n->audience = audience_new();
    n->was_live = false;
    tell_state(n, NULL);
}

static void on_trouble(void *ctx, const struct errinfo *why)
{
    struct notifier *n = ctx;
    n->log_is_troubled = why != NULL;
    tell_state(n, why);
}

static void on_nats(void *ctx, bool is_up, const struct errinfo *why)
{
    struct notifier *n = ctx;
    if (is_up && why == NULL && n->was_live)
        publish_log(n); /* what moved meanwhile */
    tell_state(n, why);
}

/* ---- life ---- */

static enum err open_both(struct notifier *n, struct errinfo *err)
{
    struct nats_client_options nats = n->o.nats;
    nats.loop = n->o.loop;
    nats.on_state = on_nats;
    nats.ctx = n;
    enum err rc = nats_client_open(&nats, &n->nats, err);
    if (rc != OK)
        return rc;
    struct tail_options tail = {.loop = n->o.loop,
                                .store = n->o.store,
                                .poll_ms = n->o.poll_ms,
                                .on_record = on_record,
                                .on_end = on_end,
                                .on_reset = on_reset,
                                .on_trouble = on_trouble,
                                .ctx = n};
    rc = tail_open(&tail, &n->tail, err);
    if (rc != OK)
        nats_client_close(TAKE(n->nats), NULL, NULL);
    return rc;
}

enum err notifier_open(const struct notifier_options *o, struct notifier **ret, struct errinfo *err)
{
    struct notifier *n = mem_alloc(sizeof(*n));
    n->o = *o;
    n->audience = audience_new();
    enum err rc = open_both(n, err);
    if (rc == OK) {
        *ret = n;
        return OK;
    }
    audience_free(n->audience);
    free(n);
    return rc;
}

void notifier_numbers(const struct notifier *n, struct notifier_numbers *ret)
{
    *ret = (struct notifier_numbers){.seq = tail_at(n->tail).seq, .nats = nats_client_counts(n->nats)};
}

static void nats_closed(void *ctx)
{
    struct notifier *n = ctx;
    audience_free(n->audience);
    if (n->closed != NULL)
        n->closed(n->closed_ctx);
    free(n);
}

static void tail_closed(void *ctx)
{
    struct notifier *n = ctx;
    nats_client_close(n->nats, nats_closed, n);
}

void notifier_close(struct notifier *n, void (*closed)(void *ctx), void *ctx)
{
    n->closed = closed;
    n->closed_ctx = ctx;
    tail_close(n->tail, tail_closed, n);
}
