/* The workload `certificates`: every host of a project gets a certificate as soon as the project exists, and a new one
 * when the last one comes near its end. One at a time: key and chain are made, kept under the id that the event will
 * carry, then the event is appended. If somebody else was first, the files stay unused; that is harmless. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/parts.h"
#include "crypto/file.h"

/* How often certificates are looked at for their end (chosen: the margin is 30 days). */
#define RENEWAL_LOOK_MS (3600u * 1000u)
/* After a failure (chosen). */
#define RETRY_MS 5000u

struct certifier {
    struct control *control;
    uv_timer_t timer;
    bool is_issuing, is_closing, is_timer_closed;
    char *host; /* of the one that is being issued; owned */
    struct buf chain, key;
    char not_after[CLOCK_TEXT_SIZE];
};

static void certifier_free_when_idle(struct certifier *w)
{
    if (w->is_issuing || !w->is_timer_closed)
        return;
    struct control *c = w->control;
    free(w);
    control_part_closed(c);
}

static bool ends_soon(const struct certificate *cert, int64_t now_us)
{
    int64_t end_ns = 0;
    return clock_parse_ns(str_from(cert->not_after), &end_ns) &&
           end_ns / 1000000000 - now_us / 1000000 < CERTIFICATE_RENEW_BEFORE_S;
}

/* A host whose newest certificate ends soon. Deleted projects' hosts are left alone. */
static const char *host_to_renew(const struct control *c)
{
    int64_t now_us = clock_wall_us(); /* certificates live by wall clocks */
    MODEL_EACH(certificate, cert, &c->model->certificates)
    {
        if (!ends_soon(cert, now_us) || model_certificate_by_host(c->model, str_from(cert->host)) != cert)
            continue;
        struct str host = str_from(cert->host), slug = str_slice(host, 0, str_find(host, '.'));
        if (model_project_by_slug(c->model, slug) != NULL)
            return cert->host;
    }
    return NULL;
}

static enum err issue_decide(const struct decide *d, void *ctx, struct event_list *out, struct errinfo *err)
{
    struct certifier *w = ctx;
    struct id id = ID_NONE;
    enum err rc = decide_issue_certificate(d, str_from(w->host), str_from(w->not_after), out, &id, err);
    if (rc == OK && out->n > 0)
        rc = certificates_keep(w->control->certificates, id, buf_str(&w->chain), buf_str(&w->key), err);
    return rc;
}

static void retry(uv_timer_t *timer)
{
    certifier_look(timer->data);
}

static void issued(struct certifier *w, enum err rc, const struct errinfo *err)
{
    struct control *c = w->control;
    if (rc == OK)
        log_info(c->o.log, "certificate for '%s' issued, good until %s", w->host, w->not_after);
    else if (!w->is_closing)
        log_err(c->o.log, err, "certificate for '%s'", w->host);
    buf_done(&w->chain);
    secret_done(&w->key);
    free(TAKE(w->host));
    w->is_issuing = false;
    if (w->is_closing) {
        certifier_free_when_idle(w);
        return;
    }
    uv_timer_start(&w->timer, retry, rc == OK ? RENEWAL_LOOK_MS : RETRY_MS, 0);
    if (rc == OK)
        certifier_look(w);
}

static void issue_done(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    (void)events_n;
    issued(ctx, rc, err);
}

void certifier_look(struct certifier *w)
{
    struct control *c = w->control;
    if (w->is_issuing || w->is_closing || !control_is_live(c))
        return;
    AUTO(arena) struct arena a = {0};
    struct str host;
    if (!model_host_without_certificate(c->model, c->o.settings.app_domain, &a, &host))
        host = str_from(host_to_renew(c));
    if (host.len == 0)
        return;
    struct errinfo err = {0};
    w->is_issuing = true;
    w->host = mem_strndup(host.ptr, host.len);
    enum err rc = certificates_issue(c->certificates, w->host, &w->chain, &w->key, w->not_after, &err);
    if (rc == OK)
        control_submit(c, issue_decide, w, issue_done, w);
    else
        issued(w, rc, &err);
}

struct certifier *certifier_new(struct control *c)
{
    struct certifier *w = mem_alloc(sizeof(*w));
    w->control = c;
    w->timer.data = w;
    uv_timer_init(c->o.loop, &w->timer);
    uv_timer_start(&w->timer, retry, RENEWAL_LOOK_MS, 0);
    return w;
}

static void on_closed(uv_handle_t *handle)
{
    struct certifier *w = handle->data;
    w->is_timer_closed = true;
    certifier_free_when_idle(w);
}

void certifier_close(struct certifier *w)
{
    w->is_closing = true;
    uv_close((uv_handle_t *)&w->timer, on_closed);
}
