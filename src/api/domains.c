/* Domains: host names of somebody's own that lead to a project, once it is proved that they may. */
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/own.h"
#include "platform/decide_owned.h"
#include "wire/owned.h"

static const char *change_of(const struct domain *d, struct arena *a)
{
    if (d->status == DOMAIN_PENDING || d->status == DOMAIN_FAILED)
        return arena_printf(
            a,
            "put the TXT record into DNS and let '%s' lead to the edges; it is looked up, or an operator verifies it",
            d->host);
    if (d->status == DOMAIN_SERVING)
        return "";
    return d->project->live == NULL ? "nothing of the project is live: deploy it" : "its certificate is on its way";
}

static void view(const struct call *c, const struct domain *d, struct arena *a, struct domain_resource *ret)
{
    const char *target = project_host(d->project, control_settings(c->api->o.control)->app_domain, a);
    *ret = (struct domain_resource){
        .domain_id = d->id,
        .project_id = d->project->id,
        .host = view_text(d->host),
        .status = str_from(domain_status_name(d->status)),
        .cause = view_text(d->cause),
        .change = str_from(change_of(d, a)),
        .url = d->status == DOMAIN_SERVING ? view_url(c->api->o.control, d->host, a) : STR(""),
        .txt_name = str_from(arena_printf(a, "_slipform.%s", d->host)),
        .txt_value = view_text(d->challenge),
        .target = str_from(target),
        .created = view_time_ns(d->created_ns, a),
        .since = view_time_ns(d->since_ns, a),
    };
}

static void collect(struct call *c, struct feed *f)
{
    const struct id *project_id = c->data;
    const struct project *p = model_project(call_model(c), *project_id);
    if (p != NULL) {
        MODEL_EACH (domain, d, &p->domains) {
            if (!feed_wants(f, d->id, d->changed_seq))
                continue;
            AUTO(arena) struct arena a = {0};
            struct domain_resource resource;
            view(c, d, &a, &resource);
            feed_add(f, &DOMAIN_RESOURCE_WIRE, d->id, &resource);
        }
    }
    feed_remove_gone(c, f, OBJECT_DOMAIN, *project_id);
}

void domains_list(struct call *c)
{
    follow_of_project(c, collect);
}

/* The domain of the path, of its project. NULL: answered. */
static const struct domain *domain_of(struct call *c)
{
    const struct project *p = project_of(c);
    if (p == NULL)
        return NULL;
    const struct domain *d = model_domain_by_host(call_model(c), str_from(http_request_param(c->r, "host")));
    if (d != NULL && d->project == p)
        return d;
    call_reply_missing(c, "domain of this project");
    return NULL;
}

static void reply_domain(struct call *c, int status, struct id id)
{
    const struct domain *d = id_index_find(&call_model(c)->domains, id);
    if (d == NULL) {
        call_reply_missing(c, "domain");
        return;
    }
    struct domain_resource resource;
    view(c, d, &c->arena, &resource);
    call_reply_status(c, status, &DOMAIN_RESOURCE_WIRE, &resource);
}

void domain_get(struct call *c)
{
    const struct domain *d = domain_of(c);
    if (d != NULL)
        reply_domain(c, 200, d->id);
}

struct attach {
    struct id project_id, id;
    struct str host;
};

static enum err attach_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct attach *x = args;
    return decide_attach_domain(d, x->project_id, x->host, out, &x->id, err);
}

static void attached(struct call *c, void *args, size_t events_n)
{
    const struct attach *x = args;
    c->location =
        arena_printf(&c->arena, "/v1/projects/%s/domains/%.*s", http_request_param(c->r, "id"), STR_ARG(x->host));
    http_respond_header(c->r, "Location", c->location);
    reply_domain(c, events_n > 0 ? 201 : 200, x->id);
}

void domains_create(struct call *c)
{
    struct domain_create body;
    const struct project *p = project_of(c);
    if (p == NULL || !call_read(c, &DOMAIN_CREATE_WIRE, &body))
        return;
    struct attach *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct attach){.project_id = p->id, .host = body.host};
    call_submit(c, attach_decide, x, attached);
}

static enum err detach_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_detach_domain(d, *id, out, err);
}

static void detached(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 202, STR("{}"));
}

static enum err vouch_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_vouch_domain(d, *id, out, err);
}

static void vouched(struct call *c, void *args, size_t events_n)
{
    const struct id *id = args;
    (void)events_n;
    reply_domain(c, 200, *id);
}

static void submit(struct call *c, control_decide_fn decide, void (*done)(struct call *c, void *args, size_t events_n))
{
    const struct domain *d = domain_of(c);
    if (d == NULL)
        return;
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    *id = d->id;
    call_submit(c, decide, id, done);
}

void domain_delete(struct call *c)
{
    submit(c, detach_decide, detached);
}

void domain_put_verified(struct call *c)
{
    submit(c, vouch_decide, vouched);
}
