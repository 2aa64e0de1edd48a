/* Images: what deployments run, what builders report. */
#include "api/blobs.h"
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "api/upload.h"
#include "base/own.h"
#include "platform/decide.h"

static void collect(struct call *c, struct feed *f)
{
    const struct id *project_id = c->data;
    MODEL_EACH (image, i, &call_model(c)->images) {
        bool matches = id_is_none(*project_id) || (i->project != NULL && id_eq(i->project->id, *project_id));
        if (!matches || !feed_wants(f, i->id, i->changed_seq))
            continue;
        AUTO(arena) struct arena a = {0};
        struct image_resource resource;
        view_image(i, &a, &resource);
        feed_add(f, &IMAGE_RESOURCE_WIRE, i->id, &resource);
    }
    feed_remove_gone(c, f, OBJECT_IMAGE, ID_NONE);
}

void images_list(struct call *c)
{
    struct id *project_id = arena_alloc(&c->arena, sizeof(*project_id));
    c->data = project_id;
    if (call_query_id(c, "project_id", project_id))
        follow(c, collect);
}

/* NULL: answered. */
static const struct image *image_of(struct call *c)
{
    struct id id;
    if (!call_id(c, "id", "image", &id))
        return NULL;
    const struct image *i = model_image(call_model(c), id);
    if (i == NULL)
        call_reply_gone(c, OBJECT_IMAGE, id);
    return i;
}

void image_get(struct call *c)
{
    const struct image *i = image_of(c);
    if (i == NULL)
        return;
    struct image_resource resource;
    view_image(i, &c->arena, &resource);
    call_reply(c, &resource);
}

/* ---- building ---- */

struct order {
    struct str context_digest;
};
static const struct field ORDER_FIELDS[] = {
    FIELD_REQ(STR, order, context_digest, "context_digest", "sha256:… of a build context that is stored here"),
};
const struct field_table IMAGE_ORDER_WIRE = FIELD_TABLE(order, ORDER_FIELDS);

struct building {
    struct str context_digest;
    struct id id;
};

static enum err build_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct building *x = args;
    return decide_create_image(d, x->context_digest, out, &x->id, err);
}

static void ordered(struct call *c, void *args, size_t events_n)
{
    const struct building *x = args;
    struct image_resource resource;
    const struct image *i = model_image(call_model(c), x->id);
    if (i == NULL) {
        call_reply_missing(c, "image");
        return;
    }
    view_image(i, &c->arena, &resource);
    call_location(c, "/v1/images/", x->id);
    call_reply_status(c, events_n > 0 ? 201 : 200, &IMAGE_RESOURCE_WIRE, &resource);
}

static void build(struct call *c, struct str context_digest)
{
    struct building *x = arena_alloc(&c->arena, sizeof(*x));
    x->context_digest = context_digest;
    call_submit(c, build_decide, x, ordered);
}

static void uploaded(struct call *c, struct str digest, void *ctx)
{
    (void)ctx;
    build(c, digest);
}

static void context_is_there(struct call *c, void *ctx)
{
    const struct order *order = ctx;
    build(c, order->context_digest);
}

void images_on_headers(struct call *c)
{
    upload_begin(c);
}

void images_create(struct call *c)
{
    struct order *body = arena_alloc(&c->arena, sizeof(*body));
    if (upload_is_tar(c)) {
        if (!upload_finish(c, uploaded, NULL))
            call_reply_problem(c, 400, err_name(ERR_INVALID), "the context is empty");
        return;
    }
    if (call_read(c, &IMAGE_ORDER_WIRE, body))
        call_check_context(c, body->context_digest, context_is_there, body);
}

/* ---- what builders say ---- */

static enum err status_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    return decide_image_observed(d, args, out, err);
}

static void status_done(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 200, STR("{}"));
}

void image_put_status(struct call *c)
{
    const struct image *i = image_of(c);
    struct image_state body;
    struct id builder = ID_NONE;
    if (i == NULL)
        return;
    bool is_builder = c->caller.role == CALLER_BUILDER;
    if (is_builder && (!id_parse(str_from(c->caller.id), &builder) || !id_eq(builder, i->builder_instance_id))) {
        call_reply_problem(c, 403, err_name(ERR_DENIED), "builder '%s' does not build this image", c->caller.id);
        return;
    }
    if (!call_read(c, &IMAGE_STATE_WIRE, &body))
        return;
    struct image_observed *o = arena_alloc(&c->arena, sizeof(*o));
    *o = (struct image_observed){.image_id = i->id,
                                 .builder_instance_id = builder,
                                 .status = body.status,
                                 .digest = body.digest,
                                 .cause = body.cause,
                                 .size_bytes = body.size_bytes,
                                 .config = body.config};
    call_submit(c, status_decide, o, status_done);
}

void image_download(struct call *c)
{
    const struct image *i = image_of(c);
    if (i == NULL)
        return;
    if (i->status != IMAGE_READY)
        call_reply_problem(c, 409, err_name(ERR_CONFLICT), "the image is %s: it can be downloaded once it is ready",
                           image_status_name(i->status));
    else
        call_reply_blob(c, i->digest);
}

static enum err delete_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_delete_image(d, *id, out, err);
}

static void deleted(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 202, STR("{}"));
}

void image_delete(struct call *c)
{
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    if (call_id(c, "id", "image", id))
        call_submit(c, delete_decide, id, deleted);
}
