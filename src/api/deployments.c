/* Deployments: a version of a project, from a build context or an image to the day when it is replaced. */
#include "api/blobs.h"
#include "api/explain.h"
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "api/upload.h"
#include "base/own.h"
#include "platform/decide.h"

struct status_document {
    struct str status;
};
static const struct field STATUS_FIELDS[] = {
    FIELD_REQ(STR, status_document, status, "status",
              "cancelled, stopped, or live: a new deployment like this one (promote, roll back)"),
};
const struct field_table STATUS_WIRE = FIELD_TABLE(status_document, STATUS_FIELDS);

/* ---- reading ---- */

struct filter {
    struct id project_id;
    struct str status;
};

static void collect(struct call *c, struct feed *f)
{
    const struct filter *filter = c->data;
    MODEL_EACH (process, d, &call_model(c)->processes) {
        if (d->project == NULL || !feed_wants(f, d->id, d->changed_seq))
            continue;
        if ((!id_is_none(filter->project_id) && !id_eq(d->project->id, filter->project_id)) ||
            (filter->status.len > 0 && !str_eq_c(filter->status, deployment_status_name(d->status)))) {
            feed_remove(f, d->id);
            continue;
        }
        AUTO(arena) struct arena a = {0};
        struct deployment_resource resource;
        view_deployment(c->api->o.control, d, &a, &resource);
        feed_add(f, &DEPLOYMENT_RESOURCE_WIRE, d->id, &resource);
    }
    feed_remove_gone(c, f, OBJECT_PROCESS, ID_NONE);
}

void deployments_list(struct call *c)
{
    struct filter *f = arena_alloc(&c->arena, sizeof(*f));
    f->status = call_query_str(c, "status");
    c->data = f;
    if (call_query_id(c, "project_id", &f->project_id))
        follow(c, collect);
}

static void reply_deployment(struct call *c, int status, struct id id)
{
    const struct process *d = model_deployment(call_model(c), id);
    if (d == NULL) {
        call_reply_gone(c, OBJECT_PROCESS, id);
        return;
    }
    struct deployment_resource resource;
    view_deployment(c->api->o.control, d, &c->arena, &resource);
    resource.explanation = explanation_of(c, explain_deployment, d->id);
    call_reply_status(c, status, &DEPLOYMENT_RESOURCE_WIRE, &resource);
}

void deployment_get(struct call *c)
{
    struct id id;
    if (call_id(c, "id", "deployment", &id))
        reply_deployment(c, 200, id);
}

/* ---- creating ---- */

struct create {
    struct deployment_create order;
    struct id id;
};

static enum err create_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct create *x = args;
    return decide_create_deployment(d, &x->order, out, &x->id, err);
}

static void created(struct call *c, void *args, size_t events_n)
{
    const struct create *x = args;
    (void)events_n;
    call_location(c, "/v1/deployments/", x->id);
    reply_deployment(c, 201, x->id);
}

static void create(struct call *c, const struct deployment_order *body)
{
    struct create *x = arena_alloc(&c->arena, sizeof(*x));
    x->order = (struct deployment_create){
        .project_id = body->project_id,
        .context_digest = body->context_digest,
        .image_id = body->image_id,
        .instances = body->instances,
        .drain_seconds = body->drain_seconds,
        .port = body->port,
        .runtime = body->runtime,
        .resources = body->resources,
        .health = body->health,
        .requested_by = str_from(c->caller.id),
    };
    call_submit(c, create_decide, x, created);
}

static void context_is_there(struct call *c, void *ctx)
{
    create(c, ctx);
}

static void create_from_json(struct call *c)
{
    struct deployment_order *body = arena_alloc(&c->arena, sizeof(*body));
    if (!call_read(c, &DEPLOYMENT_CREATE_WIRE, body))
        return;
    if (!call_body_has(c, "drain_seconds"))
        body->drain_seconds = -1;
    if (body->context_digest.len > 0)
        call_check_context(c, body->context_digest, context_is_there, body);
    else
        create(c, body);
}

/* ---- creating from a context that comes as the body ---- */

/* Query parameters stand for the members of the JSON form. */
static bool read_query(struct call *c, struct deployment_order *ret)
{
    *ret = (struct deployment_order){.runtime = call_query_str(c, "runtime"),
                                     .health = {.path = call_query_str(c, "health_path")}};
    struct resources *r = &ret->resources;
    struct health_check *h = &ret->health;
    if (!call_query_id(c, "project_id", &ret->project_id) ||
        !call_query_i64(c, "instances", 0, INT32_MAX, 0, &ret->instances) ||
        !call_query_i64(c, "drain_seconds", -1, INT32_MAX, -1, &ret->drain_seconds) ||
        !call_query_i64(c, "port", 0, 65535, 0, &ret->port) || !call_query_i64(c, "vcpus", 0, 1024, 0, &r->vcpus) ||
        !call_query_i64(c, "memory_bytes", 0, INT64_MAX, 0, &r->memory_bytes) ||
        !call_query_i64(c, "disk_bytes", 0, INT64_MAX, 0, &r->disk_bytes) ||
        !call_query_i64(c, "health_interval_seconds", 0, 3600, 0, &h->interval_seconds) ||
        !call_query_i64(c, "health_timeout_seconds", 0, 3600, 0, &h->timeout_seconds) ||
        !call_query_i64(c, "health_start_timeout_seconds", 0, 3600, 0, &h->start_timeout_seconds))
        return false;
    const struct project *p = model_project(call_model(c), ret->project_id);
    if (!id_is_none(ret->project_id) && p != NULL && !p->is_deleted)
        return true;
    if (id_is_none(ret->project_id))
        call_reply_problem(c, 400, err_name(ERR_INVALID), "query parameter 'project_id' is missing");
    else
        call_reply_missing(c, "project");
    return false;
}

void deployments_on_headers(struct call *c)
{
    struct deployment_order order;
    if (upload_is_tar(c) && !read_query(c, &order))
        return;
    upload_begin(c);
}

static void uploaded(struct call *c, struct str digest, void *ctx)
{
    struct deployment_order *order = ctx;
    order->context_digest = digest;
    create(c, order);
}

void deployments_create(struct call *c)
{
    struct deployment_order *order = arena_alloc(&c->arena, sizeof(*order));
    if (!upload_is_tar(c)) {
        create_from_json(c);
        return;
    }
    if (!read_query(c, order)) /* again: the project may have gone while the body came */
        return;
    if (!upload_finish(c, uploaded, order))
        call_reply_problem(c, 400, err_name(ERR_INVALID), "the context is empty");
}

/* ---- status ---- */

struct change {
    struct id id, new_id;
    struct str status, requested_by;
};

static enum err change_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct change *x = args;
    if (str_eq_c(x->status, "cancelled"))
        return decide_cancel_deployment(d, x->id, out, err);
    if (str_eq_c(x->status, "stopped"))
        return decide_stop_deployment(d, x->id, out, err);
    if (str_eq_c(x->status, "live"))
        return decide_repeat_deployment(d, x->id, x->requested_by, out, &x->new_id, err);
    return err_set(err, ERR_INVALID,
                   "field 'status' must be 'cancelled', 'stopped' or 'live' (a new deployment like this one)");
}

static void changed(struct call *c, void *args, size_t events_n)
{
    const struct change *x = args;
    (void)events_n;
    if (id_is_none(x->new_id)) {
        reply_deployment(c, 200, x->id);
        return;
    }
    call_location(c, "/v1/deployments/", x->new_id);
    reply_deployment(c, 201, x->new_id);
}

void deployment_put_status(struct call *c)
{
    struct status_document body;
    struct change *x = arena_alloc(&c->arena, sizeof(*x));
    if (!call_id(c, "id", "deployment", &x->id) || !call_read(c, &STATUS_WIRE, &body))
        return;
    x->status = body.status;
    x->requested_by = str_from(c->caller.id);
    call_submit(c, change_decide, x, changed);
}
