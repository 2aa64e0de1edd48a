/* Projects: somebody's applications. */
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/own.h"
#include "platform/decide.h"

static void collect(struct call *c, struct feed *f)
{
    MODEL_EACH (project, p, &call_model(c)->projects) {
        if (!feed_wants(f, p->id, p->changed_seq > p->route_seq ? p->changed_seq : p->route_seq))
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

static void reply_project(struct call *c, int status, struct id id)
{
    const struct project *p = model_project(call_model(c), id);
    if (p == NULL || p->is_deleted) {
        call_reply_missing(c, "project");
        return;
    }
    struct project_resource resource;
    view_project(c->api->o.control, p, &c->arena, &resource);
    call_reply_status(c, status, &PROJECT_RESOURCE_WIRE, &resource);
}

/* By id, or by slug: people type slugs. */
void project_get(struct call *c)
{
    struct id id;
    const struct project *p = model_project_by_slug(call_model(c), str_from(http_request_param(c->r, "id")));
    if (p != NULL)
        reply_project(c, 200, p->id);
    else if (call_id(c, "id", "project", &id))
        reply_project(c, 200, id);
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
    if (call_id(c, "id", "project", id))
        call_submit(c, delete_decide, id, deleted);
}

/* ---- settings ---- */

static enum err patch_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    return decide_update_project(d, args, out, err);
}

static void patched(struct call *c, void *args, size_t events_n)
{
    const struct project_update *x = args;
    (void)events_n;
    reply_project(c, 200, x->project_id);
}

void project_patch(struct call *c)
{
    struct project_patch body;
    struct id id;
    if (!call_id(c, "id", "project", &id) || !call_read(c, &PROJECT_PATCH_WIRE, &body))
        return;
    struct project_update *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct project_update){.project_id = id,
                                 .name = body.name,
                                 .repository = body.repository,
                                 .branch = body.branch,
                                 .instances = body.instances,
                                 .drain_seconds = body.drain_seconds,
                                 .port = body.port,
                                 .resources = body.resources,
                                 .cleared = body.cleared};
    call_submit(c, patch_decide, x, patched);
}
