/* Projects: somebody's applications. */
#include <stdio.h>

#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/own.h"
#include "event/hash.h"
#include "platform/decide.h"

/* A digest in quotes. */
enum { ETAG_SIZE = DIGEST_TEXT_SIZE + 2 };

static uint64_t last_change(const struct project *p)
{
    uint64_t seq = p->changed_seq > p->route_seq ? p->changed_seq : p->route_seq;
    return p->live != NULL && p->live->scaled_seq > seq ? p->live->scaled_seq : seq;
}

static void collect(struct call *c, struct feed *f)
{
    MODEL_EACH (project, p, &call_model(c)->projects) {
        if (!feed_wants(f, p->id, last_change(p)))
            continue;
        if (p->is_deleted) {
            feed_remove(f, p->id);
            continue;
        }
        AUTO(arena) struct arena a = {0};
        struct project_resource resource;
        view_project(c->api->o.control, p, &a, &resource);
        feed_add(f, &PROJECT_RESOURCE_WIRE, p->id, &resource);
    }
    feed_remove_gone(c, f, OBJECT_PROJECT, ID_NONE);
}

void projects_list(struct call *c)
{
    follow(c, collect);
}

/* Of what is stored, without what instances do: the same on every replica. */
static void etag_of(const struct project_resource *resource, char ret[static ETAG_SIZE])
{
    AUTO(buf) struct buf text = {0};
    uint8_t hash[HASH_SIZE];
    char digest[DIGEST_TEXT_SIZE];
    fields_encode(&PROJECT_RESOURCE_WIRE, resource, &text);
    hash_bytes(text.ptr, text.len, hash);
    hash_digest_format(hash, digest);
    (void)snprintf(ret, ETAG_SIZE, "\"%s\"", digest);
}

static void reply_project(struct call *c, int status, struct id id)
{
    const struct project *p = model_project(call_model(c), id);
    if (p == NULL || p->is_deleted) {
        call_reply_missing(c, "project");
        return;
    }
    struct project_resource resource;
    char etag[ETAG_SIZE];
    view_project(c->api->o.control, p, &c->arena, &resource);
    etag_of(&resource, etag);
    http_respond_header(c->r, "ETag", etag);
    call_reply_status(c, status, &PROJECT_RESOURCE_WIRE, &resource);
}

const struct project *project_of(struct call *c)
{
    struct id id;
    const struct project *p = model_project_by_slug(call_model(c), str_from(http_request_param(c->r, "id")));
    if (p != NULL)
        return p;
    if (!call_id(c, "id", "project", &id))
        return NULL;
    p = model_project(call_model(c), id);
    if (p != NULL && !p->is_deleted)
        return p;
    call_reply_missing(c, "project");
    return NULL;
}

void project_get(struct call *c)
{
    const struct project *p = project_of(c);
    if (p != NULL)
        reply_project(c, 200, p->id);
}

struct create {
    struct str name;
    struct id id;
};

static enum err create_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct create *x = args;
    return decide_create_project(d, x->name, out, &x->id, err);
}

static void created(struct call *c, void *args, size_t events_n)
{
    const struct create *x = args;
    (void)events_n;
    call_location(c, "/v1/projects/", x->id);
    reply_project(c, 201, x->id);
}

void projects_create(struct call *c)
{
    struct project_create body;
    if (!call_read(c, &PROJECT_CREATE_WIRE, &body))
        return;
    struct create *x = arena_alloc(&c->arena, sizeof(*x));
    x->name = body.name;
    call_submit(c, create_decide, x, created);
}

static enum err delete_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_delete_project(d, *id, out, err);
}

static void deleted(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 202, STR("{}"));
}

void project_delete(struct call *c)
{
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    const struct project *p = project_of(c);
    if (p == NULL)
        return;
    *id = p->id;
    call_submit(c, delete_decide, id, deleted);
}

/* ---- settings, and how many run ---- */

struct patch {
    struct control *control;
    struct project_update update;
    struct scaling_set scaling;
    struct str if_match; /* empty: whatever it is now */
    bool sets_scaling, is_stale;
};

static bool is_matched(const struct patch *x, const struct project *p, struct arena *a)
{
    struct project_resource resource;
    char etag[ETAG_SIZE];
    if (x->if_match.len == 0 || str_eq(x->if_match, STR("*")))
        return true;
    view_project(x->control, p, a, &resource);
    etag_of(&resource, etag);
    return str_eq_c(x->if_match, etag);
}

/* All of it or nothing: what is live is scaled, and the next deployment begins with as many. */
static enum err patch_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct patch *x = args;
    const struct project *p = model_project(d->model, x->update.project_id);
    x->is_stale = p != NULL && !p->is_deleted && !is_matched(x, p, out->arena);
    if (x->is_stale)
        return OK;
    enum err rc = decide_update_project(d, &x->update, out, err);
    if (rc == OK && x->sets_scaling)
        rc = decide_set_scaling_rule(d, &x->scaling, out, err);
    if (rc == OK && x->update.instances != 0 && p != NULL && p->live != NULL)
        rc = decide_scale_process(d, p->live->id, x->update.instances, STR("asked for by a person"), STR(""), out, err);
    return rc;
}

static void patched(struct call *c, void *args, size_t events_n)
{
    const struct patch *x = args;
    (void)events_n;
    if (x->is_stale)
        call_reply_problem(c, 412, "precondition-failed",
                           "the project has changed since you read it: read it again, then decide");
    else
        reply_project(c, 200, x->update.project_id);
}

void project_patch(struct call *c)
{
    struct project_patch body;
    const struct project *p = project_of(c);
    if (p == NULL || !call_read(c, &PROJECT_PATCH_WIRE, &body))
        return;
    struct patch *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct patch){.control = c->api->o.control,
                        .if_match = str_from(http_request_header(c->r, "If-Match")),
                        .sets_scaling = call_body_has(c, "scaling")};
    x->update = (struct project_update){.project_id = p->id,
                                        .name = body.name,
                                        .repository = body.repository,
                                        .branch = body.branch,
                                        .instances = body.instances,
                                        .drain_seconds = body.drain_seconds,
                                        .port = body.port,
                                        .resources = body.resources,
                                        .cleared = body.cleared};
    x->scaling = (struct scaling_set){.project_id = p->id,
                                      .metric = body.scaling.metric,
                                      .instances_min = body.scaling.min,
                                      .instances_max = body.scaling.max,
                                      .target_percent = body.scaling.target_percent,
                                      .cool_down_seconds = body.scaling.cool_down_seconds};
    if (x->sets_scaling && body.instances != 0)
        call_reply_problem(c, 400, err_name(ERR_INVALID),
                           "'instances' and 'scaling' cannot change at once: the rule first, then how many");
    else
        call_submit(c, patch_decide, x, patched);
}
