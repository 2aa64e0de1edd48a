/* Decisions about deployments: asked for, cancelled, stopped, repeated. */
#include "event/hash.h"
#include "platform/decide_check.h"

static enum err check_sizes(const struct platform_settings *s, const struct create_deployment *e, struct errinfo *err)
{
    enum err rc =
        check_process_sizes(s, s->instances_min, e->instances_wanted, &e->resources, &e->health, e->port, err);
    return rc != OK ? rc : check_range("drain_seconds", e->drain_seconds, 0, s->drain_seconds_max, err);
}

static enum err check_texts(const struct create_deployment *e, struct errinfo *err)
{
    enum err rc = check_process_texts(e->runtime, &e->health, err);
    return rc != OK ? rc : check_text("requested_by", e->requested_by, 256, false, err);
}

/* Either a context to build or an image to run, not both. */
static enum err check_source(const struct model *m, const struct create_deployment *e, struct errinfo *err)
{
    uint8_t digest[HASH_SIZE];
    if ((e->context_digest.len > 0) != id_is_none(e->image_id))
        return err_set(err, ERR_INVALID, "say either 'context_digest' (build this) or 'image_id' (run this)");
    if (e->context_digest.len > 0)
        return hash_digest_parse(e->context_digest, digest)
                   ? OK
                   : err_set(err, ERR_INVALID, "'context_digest' must be 'sha256:' and 64 hex digits");
    const struct image *image = model_image(m, e->image_id);
    if (image == NULL)
        return model_missing(m, OBJECT_IMAGE, e->image_id, err);
    if (image->status == IMAGE_FAILED)
        return err_set(err, ERR_CONFLICT, "the build of this image failed (%s): deploy its sources again",
                       image->cause);
    return OK;
}

static int64_t or_default(int64_t asked, int64_t value)
{
    return asked != 0 ? asked : value;
}

/* When nobody says how many: as many as were found to be needed, where that is measured. */
static int64_t instances_of(const struct project *p)
{
    bool is_scaled = p->scaling.max > 0 && p->live != NULL;
    return is_scaled ? p->live->instances_wanted : p->instances_wanted;
}

enum err decide_create_deployment(const struct decide *d, const struct deployment_create *c, struct event_list *out,
                                  struct id *ret_id, struct errinfo *err)
{
    const struct platform_settings *s = d->settings;
    struct arena *a = out->arena;
    const struct project *p = model_project(d->model, c->project_id);
    if (p == NULL || p->is_deleted)
        return not_found(err, "project", c->project_id);
    struct create_deployment e = {
        .deployment_id = id_next(d->ids),
        .project_id = p->id,
        .context_digest = c->context_digest,
        .image_id = c->image_id,
        .instances_wanted = or_default(or_default(c->instances, instances_of(p)), s->instances_min),
        .drain_seconds = c->drain_seconds == -1 ? or_default(p->drain_seconds, s->drain_seconds) : c->drain_seconds,
        .port = or_default(or_default(c->port, p->port), s->port),
        .runtime = c->runtime,
        .resources = {or_default(or_default(c->resources.vcpus, p->resources.vcpus), s->instance_vcpus),
                      or_default(or_default(c->resources.memory_bytes, p->resources.memory_bytes),
                                 s->instance_memory_bytes),
                      or_default(c->resources.disk_bytes, p->resources.disk_bytes)},
        .health = c->health,
        .requested_by = c->requested_by,
    };
    enum err rc = check_sizes(s, &e, err);
    if (rc == OK)
        rc = check_texts(&e, err);
    if (rc == OK)
        rc = check_source(d->model, &e, err);
    if (rc != OK)
        return rc;
    e.context_digest = arena_str(a, e.context_digest);
    e.runtime = arena_str(a, e.runtime);
    e.health.path = arena_str(a, e.health.path);
    e.requested_by = arena_str(a, e.requested_by);
    *ret_id = e.deployment_id;
    event_list_add(out, EVENT_CREATE_DEPLOYMENT, d->ids)->create_deployment = e;
    return OK;
}

/* NULL: it is not there, or over already; *ret_rc says which. */
static const struct process *find_unfinished(const struct decide *d, struct id deployment_id, enum err *ret_rc,
                                             struct errinfo *err)
{
    const struct process *p = model_deployment(d->model, deployment_id);
    if (p != NULL && !deployment_is_over(p))
        return p;
    *ret_rc = p == NULL ? model_missing(d->model, OBJECT_PROCESS, deployment_id, err)
                        : err_set(err, ERR_CONFLICT, "the deployment is %s already", deployment_status_name(p->status));
    return NULL;
}

enum err decide_cancel_deployment(const struct decide *d, struct id deployment_id, struct event_list *out,
                                  struct errinfo *err)
{
    enum err rc = ERR_NOT_FOUND;
    const struct process *p = find_unfinished(d, deployment_id, &rc, err);
    if (p == NULL)
        return rc;
    if (p->status == DEPLOYMENT_LIVE || p->status == DEPLOYMENT_DRAINING)
        return err_set(err, ERR_CONFLICT, "the deployment is %s: deploy another version, or stop it",
                       deployment_status_name(p->status));
    emit_deployment_status(out, d->ids, p, DEPLOYMENT_CANCELLED, STR("cancelled by a person"), (struct str){0});
    return OK;
}

enum err decide_stop_deployment(const struct decide *d, struct id deployment_id, struct event_list *out,
                                struct errinfo *err)
{
    enum err rc = ERR_NOT_FOUND;
    const struct process *p = find_unfinished(d, deployment_id, &rc, err);
    if (p == NULL)
        return rc;
    if (p->status == DEPLOYMENT_DRAINING)
        return OK;
    if (p->status != DEPLOYMENT_LIVE)
        return decide_cancel_deployment(d, deployment_id, out, err);
    emit_deployment_status(out, d->ids, p, DEPLOYMENT_DRAINING, STR("stopped by a person"), (struct str){0});
    return OK;
}

enum err decide_repeat_deployment(const struct decide *d, struct id deployment_id, struct str requested_by,
                                  struct event_list *out, struct id *ret_id, struct errinfo *err)
{
    const struct process *p = model_deployment(d->model, deployment_id);
    if (p == NULL)
        return model_missing(d->model, OBJECT_PROCESS, deployment_id, err);
    const struct image *image = model_image(d->model, p->image_id);
    if (image == NULL || image->status != IMAGE_READY)
        return err_set(err, ERR_CONFLICT, "the deployment has no image to run again: deploy its sources");
    struct deployment_create c = {.project_id = p->project->id,
                                  .image_id = image->id,
                                  .instances = p->instances_wanted,
                                  .drain_seconds = p->drain_seconds,
                                  .port = p->port,
                                  .runtime = str_from(p->runtime),
                                  .resources = p->resources,
                                  .health = {.path = str_from(p->health.path),
                                             .interval_seconds = p->health.interval_seconds,
                                             .timeout_seconds = p->health.timeout_seconds,
                                             .start_timeout_seconds = p->health.start_timeout_seconds},
                                  .requested_by = requested_by};
    return decide_create_deployment(d, &c, out, ret_id, err);
}
