/* Part of the workload `certificates`: domains that are not proved are looked up, one at a time, again and again for a
 * week. A TXT record that says the challenge proves one; another answer is told as its cause, once; a resolver that
 * does not answer says nothing about a domain. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/parts.h"
#include "net/dns_txt.h"
#include "platform/decide_owned.h"

/* 5 s between two rounds over all of them (chosen); 7 days: then somebody has to attach it anew, or an operator
 * verifies it (chosen). */
#define ROUND_MS 5000
#define PROVE_FOR_NS ((int64_t)7 * 86400 * 1000000000)

struct prover {
    struct control *control;
    struct sockaddr_storage server;
    uv_timer_t timer;
    struct dns_txt *query; /* NULL: nothing is asked */
    struct id domain_id;   /* that is asked for, or was last in this round */
    const char *cause;     /* a literal; "" when proved */
    bool is_proved, is_deciding, is_closing, is_timer_closed;
};

static void prover_free_when_idle(struct prover *w)
{
    if (w->is_deciding || !w->is_timer_closed)
        return;
    struct control *c = w->control;
    free(w);
    control_part_closed(c);
}

static bool is_to_prove(const struct domain *d, int64_t now_ns)
{
    return !domain_is_proved(d) && now_ns - d->created_ns < PROVE_FOR_NS;
}

/* The first behind the last of this round, in id order. */
static const struct domain *next_domain(const struct prover *w)
{
    int64_t now_ns = control_clock_us(w->control) * 1000;
    MODEL_EACH (domain, d, &w->control->model->domains)
        if (id_cmp(d->id, w->domain_id) > 0 && is_to_prove(d, now_ns))
            return d;
    return NULL;
}

static void go_on(struct prover *w);

/* It may have been proved by an operator, or detached, while its records were looked up. */
static enum err prove_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct prover *w = args;
    const struct domain *domain = id_index_find(&d->model->domains, w->domain_id);
    if (domain == NULL || domain_is_proved(domain))
        return OK;
    return decide_domain_observed(d, w->domain_id, w->is_proved, str_from(w->cause), out, err);
}

static void decided(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    struct prover *w = ctx;
    w->is_deciding = false;
    if (w->is_closing) {
        prover_free_when_idle(w);
        return;
    }
    if (rc != OK)
        log_err(w->control->o.log, err, "proof of a domain");
    else if (events_n > 0 && w->is_proved)
        log_info(w->control->o.log, "a domain is proved by its TXT record");
    go_on(w);
}

static void answered(void *ctx, enum err rc, struct dns_texts texts, const struct errinfo *err)
{
    struct prover *w = ctx;
    const struct domain *d = id_index_find(&w->control->model->domains, w->domain_id);
    w->query = NULL;
    if (rc != OK)
        log_warn(w->control->o.log, "records of a domain: %s", err->msg);
    if (rc != OK || d == NULL) {
        go_on(w);
        return;
    }
    w->is_proved = false;
    for (size_t i = 0; i < texts.n; i++)
        w->is_proved = w->is_proved || str_eq_c(texts.items[i], d->challenge);
    w->cause = w->is_proved ? "" : texts.n == 0 ? "it has no TXT record yet" : "its TXT record says something else";
    w->is_deciding = true;
    control_submit(w->control, prove_decide, w, decided, w);
}

static void on_round(uv_timer_t *timer)
{
    struct prover *w = timer->data;
    w->domain_id = ID_NONE;
    go_on(w);
}

/* The next one; behind the last of them a pause. */
static void go_on(struct prover *w)
{
    struct control *c = w->control;
    const struct domain *d = control_is_live(c) ? next_domain(w) : NULL;
    struct errinfo err = {0};
    if (d == NULL) {
        (void)uv_timer_start(&w->timer, on_round, ROUND_MS, 0);
        return;
    }
    w->domain_id = d->id;
    auto_free char *name = mem_printf("_slipform.%s", d->host);
    if (dns_txt_ask(c->o.loop, &w->server, str_from(name), answered, w, &w->query, &err) == OK)
        return;
    log_warn(c->o.log, "records of '%s': %s", d->host, err.msg);
    (void)uv_timer_start(&w->timer, on_round, ROUND_MS, 0);
}

struct prover *prover_new(struct control *c, const struct sockaddr_storage *server)
{
    struct prover *w = mem_alloc(sizeof(*w));
    w->control = c;
    w->server = *server;
    w->timer.data = w;
    uv_timer_init(c->o.loop, &w->timer);
    (void)uv_timer_start(&w->timer, on_round, ROUND_MS, 0);
    return w;
}

static void on_closed(uv_handle_t *handle)
{
    struct prover *w = handle->data;
    w->is_timer_closed = true;
    prover_free_when_idle(w);
}

void prover_close(struct prover *w)
{
    w->is_closing = true;
    if (w->query != NULL)
        dns_txt_cancel(TAKE(w->query));
    uv_close((uv_handle_t *)&w->timer, on_closed);
}
