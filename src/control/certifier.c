/* The workload `certificates`: every host of a project gets a certificate as soon as the project exists, and a new one
 * when the last one comes near its end. One at a time: key and chain are made, kept under the id that the event will
 * carry, then the event is appended. If somebody else was first, the files stay unused; that is harmless. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/parts.h"
#include "crypto/file.h"

/* How often certificates are looked at for their end (chosen: the margin is 30 days). */
#define RENEWAL_LOOK_MS 3600000
/* After a failure (chosen). */
#define RETRY_MS 5000
/* A renewal has to bring that much: near the end of the CA itself it brings nothing. */
#define RENEWAL_GAIN_NS ((int64_t)86400 * 1000000000)

struct certifier {
    struct control *control;
    uv_timer_t timer;
    bool is_issuing, is_closing, is_timer_closed;
    int64_t retry_from_us, renew_from_us; /* monotonic: not before */
    char *host;                           /* of the one that is being issued; owned */
    char *left_host;                      /* left to the replica that is preferred for it; owned */
    int64_t left_us;                      /* since then, monotonic */
    struct buf chain, key;
    char not_after[CLOCK_TEXT_SIZE];
};

static void certifier_free_when_idle(struct certifier *w)
{
    if (w->is_issuing || !w->is_timer_closed)
        return;
    struct control *c = w->control;
    free(w->left_host);
    free(w);
    control_part_closed(c);
}

static int64_t end_ns(const char *not_after)
{
    int64_t ns = 0;
    return clock_parse_ns(str_from(not_after), &ns) ? ns : 0;
}

/* Of a project or an application that is there, by its own name, or by a domain that is proved. */
static bool is_served(const struct model *m, struct str host)
{
    const struct domain *d = model_domain_by_host(m, host);
    struct str label = str_slice(host, 0, str_find(host, '.'));
    return (d != NULL && domain_is_proved(d)) || model_project_by_slug(m, label) != NULL ||
           model_application_by_host_label(m, label) != NULL;
}

/* A host whose certificate ends soon; the model keeps one a host. Those of what is gone are left alone. */
static const char *host_to_renew(const struct control *c)
{
    int64_t now_s = clock_wall_us() / 1000000; /* certificates live by wall clocks */
    MODEL_EACH (certificate, cert, &c->model->certificates) {
        if (end_ns(cert->not_after) / 1000000000 - now_s < CERTIFICATE_RENEW_BEFORE_S &&
            is_served(c->model, str_from(cert->host)))
            return cert->host;
    }
    return NULL;
}

static enum err issue_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct certifier *w = args;
    struct id id = ID_NONE;
    const struct certificate *old = model_certificate_by_host(d->model, str_from(w->host));
    if (old != NULL && end_ns(w->not_after) - end_ns(old->not_after) < RENEWAL_GAIN_NS)
        return OK; /* somebody was first, or the CA ends soon */
    enum err rc = decide_issue_certificate(d, str_from(w->host), str_from(w->not_after), out, &id, err);
    if (rc == OK && out->n > 0)
        rc = certificates_keep(w->control->certificates, id, buf_str(&w->chain), buf_str(&w->key), err);
    return rc;
}

static void retry(uv_timer_t *timer)
{
    certifier_look(timer->data);
}

static void issued(struct certifier *w, enum err rc, size_t events_n, const struct errinfo *err)
{
    struct control *c = w->control;
    int64_t now_us = clock_mono_us();
    if (rc == OK && events_n > 0) {
        log_info(c->o.log, "certificate for '%s' issued, good until %s", w->host, w->not_after);
    } else if (rc == OK) {
        w->renew_from_us = now_us + (int64_t)RENEWAL_LOOK_MS * 1000;
    } else if (!w->is_closing) {
        log_err(c->o.log, err, "certificate for '%s'", w->host);
        w->retry_from_us = now_us + (int64_t)RETRY_MS * 1000;
    }
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
    issued(ctx, rc, events_n, err);
}

/* The next host that needs one; in the arena or lent by the model. */
static struct str next_host(struct certifier *w, struct arena *a)
{
    const struct control *c = w->control;
    struct str host;
    int64_t now_us = clock_mono_us();
    if (model_host_without_certificate(c->model, c->o.settings.app_domain, a, &host))
        return host;
    if (now_us < w->renew_from_us)
        return STR("");
    host = str_from(host_to_renew(c));
    if (host.len == 0)
        w->renew_from_us = now_us + (int64_t)RENEWAL_LOOK_MS * 1000;
    return host;
}

/* Another replica makes it, if it lives: in a second it is looked at again. */
static bool leaves_it(struct certifier *w, struct str host)
{
    auto_free char *name = mem_strndup(host.ptr, host.len);
    if (control_is_preferred(w->control, id_derive(ID_NONE, name)))
        return false;
    int64_t now_us = clock_mono_us();
    if (w->left_host == NULL || strcmp(w->left_host, name) != 0) {
        free(w->left_host);
        w->left_host = TAKE(name);
        w->left_us = now_us;
    }
    int64_t wait_ms = PREFERRED_LEAVES_MS - (now_us - w->left_us) / 1000;
    if (wait_ms > 0)
        uv_timer_start(&w->timer, retry, (uint64_t)wait_ms, 0);
    return wait_ms > 0;
}

void certifier_look(struct certifier *w)
{
    struct control *c = w->control;
    if (w->is_issuing || w->is_closing || control_sight(c, NULL) != SIGHT_LIVE || clock_mono_us() < w->retry_from_us)
        return;
    AUTO(arena) struct arena a = {0};
    struct str host = next_host(w, &a);
    if (host.len == 0 || leaves_it(w, host))
        return;
    struct errinfo err = {0};
    w->is_issuing = true;
    w->host = mem_strndup(host.ptr, host.len);
    enum err rc = certificates_issue(c->certificates, w->host, &w->chain, &w->key, w->not_after, &err);
    if (rc == OK)
        control_submit(c, issue_decide, w, issue_done, w);
    else
        issued(w, rc, 0, &err);
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
