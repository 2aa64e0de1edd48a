/* Folds of projects, images, processes and deployments. A deployment is a process of a project: CreateDeployment begins
 * it, CreateProcess says what it runs once there is an image, RouteDeployment leads the project's hosts to it. */
#include "platform/model_write.h"

/* Which status may follow which: bit `to` of row `from`. The same again: another cause. */
#define TO(s) (1u << DEPLOYMENT_##s)
static const unsigned DEPLOYMENT_MOVES[DEPLOYMENT_STATUS_MAX_] = {
    [DEPLOYMENT_QUEUED] = TO(QUEUED) | TO(BUILDING) | TO(STARTING) | TO(FAILED) | TO(CANCELLED),
    [DEPLOYMENT_BUILDING] = TO(BUILDING) | TO(STARTING) | TO(FAILED) | TO(CANCELLED),
    [DEPLOYMENT_STARTING] = TO(STARTING) | TO(LIVE) | TO(FAILED) | TO(CANCELLED),
    [DEPLOYMENT_LIVE] = TO(LIVE) | TO(DRAINING),
    [DEPLOYMENT_DRAINING] = TO(DRAINING) | TO(STOPPED),
    [DEPLOYMENT_STOPPED] = 0,
    [DEPLOYMENT_FAILED] = 0,
    [DEPLOYMENT_CANCELLED] = 0,
};
#undef TO

/* ---- Projects ---- */

static enum err apply_create_project(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct create_project *e = &ev->create_project;
    if (model_project(m, e->project_id) != NULL)
        return refuse_twice(err, "project", e->project_id);
    if (e->slug.len == 0 || model_project_by_slug(m, e->slug) != NULL)
        return err_set(err, ERR_CORRUPT, "slug '%.*s' belongs to another project", STR_ARG(e->slug));
    struct project *p = object_new(m, project);
    *p = (struct project){.id = e->project_id,
                          .name = texts_ref(&m->texts, e->name),
                          .slug = texts_ref(&m->texts, e->slug),
                          .repository = "",
                          .branch = "",
                          .scaling = {.metric = ""},
                          .created_ns = ev->time.instant_ns};
    index_add(m, &m->projects, p);
    keys_add(m, KEY_PROJECT_SLUG, p);
    touch_project(m, p);
    return OK;
}

/* Nothing serves any more: edges forget the project's hosts. */
static void unroute(struct model *m, const struct project *was)
{
    if (was->live == NULL)
        return;
    struct project *p = project_edit(m, was);
    struct process *live = process_edit(m, p->live);
    touch_deployment(m, live);
    touch_route(m, p);
    bury(m, OBJECT_ROUTE, p->id, ID_NONE);
    live->replaced_seq = model_next_seq(m);
    live->drain_wait_seconds = p->is_deleted ? 0 : live->drain_seconds;
    p->live = NULL;
    keys_remove(m, KEY_PROJECT_HOST, p);
    text_list_clear(&m->texts, &p->hosts);
}

static enum err apply_delete_project(struct model *m, const struct delete_project *e, struct errinfo *err)
{
    const struct project *was = model_project(m, e->project_id);
    if (was == NULL || was->is_deleted)
        return refuse_missing(err, "project", e->project_id);
    struct project *p = project_edit(m, was);
    p->is_deleted = true;
    unroute(m, p);
    project_drop_domains(m, p);
    project_drop_secrets(m, p);
    bury(m, OBJECT_PROJECT, p->id, ID_NONE);
    touch_project(m, p);
    retain_of_project(m, p);
    return OK;
}

/* ---- Images ---- */

static enum err apply_create_image(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct create_image *e = &ev->create_image;
    if (model_image(m, e->image_id) != NULL)
        return refuse_twice(err, "image", e->image_id);
    if (!id_is_none(e->project_id) && model_project(m, e->project_id) == NULL)
        return refuse_missing(err, "project", e->project_id);
    if (!id_is_none(e->builder_instance_id) && model_instance(m, e->builder_instance_id) == NULL)
        return refuse_missing(err, "builder instance", e->builder_instance_id);
    if (!id_is_none(e->builder_instance_id) && model_image_of_builder(m, e->builder_instance_id) != NULL)
        return err_set(err, ERR_CORRUPT, "its builder builds another image already");
    struct image *i = object_new(m, image);
    *i = (struct image){.id = e->image_id,
                        .project = id_is_none(e->project_id) ? NULL : model_project(m, e->project_id),
                        .context_digest = texts_ref(&m->texts, e->context_digest),
                        .digest = "",
                        .cause = "",
                        .because = texts_ref(&m->texts, e->because),
                        .builder_instance_id = e->builder_instance_id,
                        .tries_n = !id_is_none(e->builder_instance_id),
                        .tried_ns = ev->time.instant_ns,
                        .created_ns = ev->time.instant_ns,
                        .since_ns = ev->time.instant_ns,
                        .config = {.workdir = "", .user = "", .stop_signal = ""}};
    index_add(m, &m->images, i);
    keys_add(m, KEY_IMAGE_BUILDER, i);
    touch_image(m, i);
    return OK;
}

static void image_becomes_ready(struct model *m, struct image *i, const struct image_status_change *e)
{
    struct texts *t = &m->texts;
    texts_set(t, &i->digest, e->digest);
    i->size_bytes = e->size_bytes;
    text_list_set(t, &i->config.entrypoint, e->config.entrypoint);
    text_list_set(t, &i->config.cmd, e->config.cmd);
    text_list_set(t, &i->config.env, e->config.env);
    texts_set(t, &i->config.workdir, e->config.workdir);
    texts_set(t, &i->config.user, e->config.user);
    texts_set(t, &i->config.stop_signal, e->config.stop_signal);
}

static enum err apply_image_status_change(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct image_status_change *e = &ev->image_status_change;
    const struct image *was = model_image(m, e->image_id);
    enum image_status status;
    if (was == NULL)
        return refuse_missing(err, "image", e->image_id);
    if (!image_status_parse(e->status, &status))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a status of an image", STR_ARG(e->status));
    if (was->status != IMAGE_BUILDING)
        return err_set(err, ERR_CORRUPT, "the image is %s and cannot become %s", image_status_name(was->status),
                       image_status_name(status));
    if (status == IMAGE_READY && e->digest.len == 0)
        return err_set(err, ERR_CORRUPT, "a ready image has a digest");
    struct image *i = image_edit(m, was);
    if (status == IMAGE_READY)
        image_becomes_ready(m, i, e);
    if (i->status != status)
        i->since_ns = ev->time.instant_ns;
    i->status = status;
    texts_set(&m->texts, &i->cause, e->cause);
    touch_image(m, i);
    retain_image(m, i);
    return OK;
}

/* ---- Processes ---- */

static enum err check_streams(const struct model *m, const struct create_process *e, struct errinfo *err)
{
    for (size_t i = 0; i <= e->input_stream_ids.n; i++) {
        bool is_output = i == e->input_stream_ids.n;
        struct id id = is_output ? e->output_stream_id : e->input_stream_ids.items[i];
        const struct definition *d = id_index_find(&m->definitions, id);
        if (!(is_output && id_is_none(id)) && (d == NULL || d->kind != EVENT_CREATE_STREAM))
            return refuse_missing(err, "stream", id);
    }
    return OK;
}

static struct process *process_new(struct model *m, struct id id)
{
    struct process *p = object_new(m, process);
    p->id = id;
    return p;
}

static void process_set_health(struct model *m, struct process *p, const struct health_check *h)
{
    texts_set(&m->texts, &p->health.path, h->path);
    p->health.interval_seconds = h->interval_seconds;
    p->health.timeout_seconds = h->timeout_seconds;
    p->health.start_timeout_seconds = h->start_timeout_seconds;
}

static void process_fill(struct model *m, struct process *p, const struct create_process *e)
{
    struct texts *t = &m->texts;
    texts_set(t, &p->name, e->name);
    texts_set(t, &p->version, e->version);
    texts_set(t, &p->artifact_url, e->artifact_url);
    texts_set(t, &p->config, e->config);
    texts_set(t, &p->secret_refs, e->secret_refs);
    texts_set(t, &p->runtime, e->runtime);
    texts_set(t, &p->because, e->because);
    if (p->project == NULL)
        texts_set(t, &p->host_label, e->host_label);
    texts_set(t, &p->image_digest, e->image_digest);
    text_list_set(t, &p->availability_zones, e->availability_zones);
    id_list_set(m, &p->input_stream_ids, e->input_stream_ids);
    process_set_health(m, p, &e->health);
    p->output_stream_id = e->output_stream_id;
    p->resources = e->resources;
    p->instances_wanted = p->instances_asked = e->instances_wanted;
    p->port = e->port;
    p->is_placed = true;
    if (!id_is_none(e->image_id) && !id_eq(e->image_id, p->image_id)) {
        keys_remove(m, KEY_PROCESS_IMAGE, p);
        p->image_id = e->image_id;
        keys_add(m, KEY_PROCESS_IMAGE, p);
    }
}

static enum err apply_create_process(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct create_process *e = &ev->create_process;
    const struct process *was = model_process(m, e->process_id);
    bool is_deployment = !id_is_none(e->project_id);
    if (is_deployment && (was == NULL || was->project == NULL || !id_eq(was->project->id, e->project_id)))
        return refuse_missing(err, "deployment", e->process_id);
    if (is_deployment && was->status != DEPLOYMENT_QUEUED && was->status != DEPLOYMENT_BUILDING)
        return err_set(err, ERR_CORRUPT, "the deployment is %s already", deployment_status_name(was->status));
    if (was != NULL && (!is_deployment || was->is_placed))
        return refuse_twice(err, "process", e->process_id);
    enum err rc = check_streams(m, e, err);
    if (rc != OK)
        return rc;
    struct process *p = was == NULL ? process_new(m, e->process_id) : process_edit(m, was);
    if (was == NULL) {
        p->created_seq = model_next_seq(m);
        p->created_ns = ev->time.instant_ns;
        index_add(m, &m->processes, p);
    }
    process_fill(m, p, e);
    touch_deployment(m, p);
    return OK;
}

void process_drop(struct model *m, const struct process *p)
{
    if (p->project != NULL)
        index_remove(m, &project_edit(m, p->project)->deployments, p->id);
    bury(m, OBJECT_PROCESS, p->id, p->project == NULL ? ID_NONE : p->project->id);
    index_remove(m, &m->processes, p->id);
    keys_remove(m, KEY_PROCESS_IMAGE, p);
    object_free(m, process, p);
}

/* Edges lead to it no more, but to the one before it, if that is still there. */
static void route_back(struct model *m, const struct process *p)
{
    bury(m, OBJECT_ROUTE, p->id, ID_NONE);
    m->routes_seq = model_next_seq(m);
    MODEL_EACH (process, other, &m->processes) {
        if (other == p || strcmp(other->host_label, p->host_label) != 0)
            continue;
        touch_deployment(m, other); /* a later version may have been in its way */
        if (process_is_routed(m, other))
            touch_edges(m, other);
    }
}

/* An application's instances drain first: it goes with the last of them. */
static enum err apply_delete_process(struct model *m, const struct delete_process *e, struct errinfo *err)
{
    const struct process *p = model_process(m, e->process_id);
    if (p == NULL)
        return refuse_missing(err, "process", e->process_id);
    if (p->instances.n > 0 && p->project != NULL)
        return err_set(err, ERR_CORRUPT, "process '%s' still has %zu instances", p->name, p->instances.n);
    if (p->is_deleted)
        return err_set(err, ERR_CORRUPT, "process '%s' is being deleted already", p->name);
    if (p->project != NULL && !deployment_is_over(p))
        return err_set(err, ERR_CORRUPT, "the deployment is %s", deployment_status_name(p->status));
    touch_deployment(m, p);
    bool was_routed = process_is_routed(m, p);
    process_edit(m, p)->is_deleted = true;
    if (was_routed)
        route_back(m, p);
    if (p->instances.n == 0) {
        process_drop(m, p);
        retain_images(m);
    }
    return OK;
}

/* ---- Deployments ---- */

static enum err apply_create_deployment(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct create_deployment *e = &ev->create_deployment;
    const struct project *project = model_project(m, e->project_id);
    if (model_process(m, e->deployment_id) != NULL)
        return refuse_twice(err, "deployment", e->deployment_id);
    if (project == NULL || project->is_deleted)
        return refuse_missing(err, "project", e->project_id);
    bool from_context = e->context_digest.len > 0;
    if (!from_context && model_image(m, e->image_id) == NULL)
        return refuse_missing(err, "image", e->image_id);
    struct process *p = process_new(m, e->deployment_id);
    p->project = project;
    p->name = texts_ref(&m->texts, str_from(project->slug));
    p->context_digest = texts_ref(&m->texts, e->context_digest);
    p->requested_by = texts_ref(&m->texts, e->requested_by);
    p->runtime = texts_ref(&m->texts, e->runtime);
    p->because = texts_ref(&m->texts, e->because);
    /* The image that will be built has an id that follows from the deployment's, so that no event has to tell it. */
    p->image_id = from_context ? id_derive(e->deployment_id, "image") : e->image_id;
    p->instances_wanted = e->instances_wanted;
    p->drain_seconds = e->drain_seconds;
    p->port = e->port;
    p->resources = e->resources;
    process_set_health(m, p, &e->health);
    p->created_seq = model_next_seq(m);
    p->created_ns = p->since_ns = p->said_ns = ev->time.instant_ns;
    p->number = ++project_edit(m, project)->deployments_n;
    index_add(m, &m->processes, p);
    index_add(m, &project_edit(m, project)->deployments, p);
    keys_add(m, KEY_PROCESS_IMAGE, p);
    touch_deployment(m, p);
    return OK;
}

static enum err check_deployment_status(const struct process *p, enum deployment_status status, struct errinfo *err)
{
    if ((DEPLOYMENT_MOVES[p->status] & 1u << status) == 0)
        return err_set(err, ERR_CORRUPT, "deployment of '%s' is %s and cannot become %s", p->name,
                       deployment_status_name(p->status), deployment_status_name(status));
    if (status == DEPLOYMENT_STARTING && !p->is_placed)
        return err_set(err, ERR_CORRUPT, "deployment of '%s' cannot start: it has no process", p->name);
    if (status == DEPLOYMENT_LIVE && p->project->live != p && p->status != DEPLOYMENT_LIVE)
        return err_set(err, ERR_CORRUPT, "deployment of '%s' cannot be live: nothing leads to it", p->name);
    if (p->project->live == p && status != DEPLOYMENT_LIVE && status != DEPLOYMENT_DRAINING)
        return err_set(err, ERR_CORRUPT, "deployment of '%s' serves: it can only drain", p->name);
    if (status == DEPLOYMENT_STOPPED && p->instances.n > 0)
        return err_set(err, ERR_CORRUPT, "deployment of '%s' still has %zu instances", p->name, p->instances.n);
    return OK;
}

static enum err apply_deployment_status_change(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct deployment_status_change *e = &ev->deployment_status_change;
    const struct process *was = model_deployment(m, e->deployment_id);
    enum deployment_status status;
    if (was == NULL)
        return refuse_missing(err, "deployment", e->deployment_id);
    if (!deployment_status_parse(e->status, &status))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a status of a deployment", STR_ARG(e->status));
    enum err rc = check_deployment_status(was, status, err);
    if (rc != OK)
        return rc;
    struct process *p = process_edit(m, was);
    if (status == DEPLOYMENT_DRAINING && p->project->live == p)
        unroute(m, p->project);
    if (p->status != status)
        p->since_ns = ev->time.instant_ns;
    if (status == DEPLOYMENT_DRAINING && e->edges_confirmed && !p->edges_confirmed) {
        p->edges_confirmed = true;
        p->drain_from_ns = ev->time.instant_ns;
    }
    p->status = status;
    p->said_ns = ev->time.instant_ns;
    texts_set(&m->texts, &p->cause, e->cause);
    texts_set(&m->texts, &p->status_because, e->because);
    touch_deployment(m, p);
    if (deployment_is_over(p))
        retain_of_project(m, p->project);
    return OK;
}

/* The hosts go on leading to the live one; its instances serve too. */
static enum err route_beside(struct model *m, const struct process *p, struct errinfo *err)
{
    const struct project *project = p->project;
    if (project->live == NULL || project->live == p || p->status != DEPLOYMENT_STARTING)
        return err_set(err, ERR_CORRUPT, "the deployment is %s and cannot serve beside another",
                       deployment_status_name(p->status));
    process_edit(m, p)->route_seq = model_next_seq(m);
    touch_deployment(m, p);
    touch_route(m, project);
    return OK;
}

/* Versions of an application go on side by side: only the route moves. */
static enum err route_application(struct model *m, const struct route_deployment *e, struct errinfo *err)
{
    const struct process *p = model_process(m, e->deployment_id);
    if (p == NULL || !process_is_application(p) || p->is_deleted)
        return refuse_missing(err, "application", e->deployment_id);
    if (p->host_label[0] == '\0')
        return err_set(err, ERR_CORRUPT, "application '%s' has no host", p->name);
    MODEL_EACH (process, other, &m->processes)
        if (other != p && strcmp(other->host_label, p->host_label) == 0 && process_is_routed(m, other))
            bury(m, OBJECT_ROUTE, other->id, ID_NONE);
    struct process *routed = process_edit(m, p);
    routed->route_seq = model_next_seq(m);
    text_list_set(&m->texts, &routed->hosts, e->hosts);
    touch_deployment(m, p);
    touch_edges(m, p);
    return OK;
}

static enum err apply_route_deployment(struct model *m, const struct route_deployment *e, struct errinfo *err)
{
    if (id_is_none(e->project_id))
        return route_application(m, e, err);
    const struct process *p = model_deployment(m, e->deployment_id);
    const struct project *project = model_project(m, e->project_id);
    if (p == NULL)
        return refuse_missing(err, "deployment", e->deployment_id);
    if (project == NULL || project->is_deleted)
        return refuse_missing(err, "project", e->project_id);
    if (p->project != project)
        return err_set(err, ERR_CORRUPT, "the deployment is of project '%s', not of '%s'", p->project->slug,
                       project->slug);
    if (p->status != DEPLOYMENT_STARTING && p->status != DEPLOYMENT_LIVE)
        return err_set(err, ERR_CORRUPT, "a deployment that is %s cannot serve", deployment_status_name(p->status));
    if (e->beside)
        return route_beside(m, p, err);
    if (project->live != NULL && project->live != p) {
        struct process *old = process_edit(m, project->live);
        old->replaced_seq = model_next_seq(m);
        old->drain_wait_seconds = p->drain_seconds;
        touch_deployment(m, old);
    }
    struct project *routed = project_edit(m, project);
    routed->live = p;
    keys_remove(m, KEY_PROJECT_HOST, routed);
    text_list_set(&m->texts, &routed->hosts, e->hosts);
    keys_add(m, KEY_PROJECT_HOST, routed);
    process_edit(m, p)->route_seq = model_next_seq(m);
    touch_deployment(m, p);
    touch_route(m, project);
    return OK;
}

enum err apply_deployment_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_CREATE_PROJECT)
        return apply_create_project(m, ev, err);
    if (ev->kind == EVENT_DELETE_PROJECT)
        return apply_delete_project(m, &ev->delete_project, err);
    if (ev->kind == EVENT_CREATE_IMAGE)
        return apply_create_image(m, ev, err);
    if (ev->kind == EVENT_IMAGE_STATUS_CHANGE)
        return apply_image_status_change(m, ev, err);
    if (ev->kind == EVENT_CREATE_PROCESS)
        return apply_create_process(m, ev, err);
    if (ev->kind == EVENT_DELETE_PROCESS)
        return apply_delete_process(m, &ev->delete_process, err);
    if (ev->kind == EVENT_CREATE_DEPLOYMENT)
        return apply_create_deployment(m, ev, err);
    if (ev->kind == EVENT_DEPLOYMENT_STATUS_CHANGE)
        return apply_deployment_status_change(m, ev, err);
    assert(ev->kind == EVENT_ROUTE_DEPLOYMENT);
    return apply_route_deployment(m, &ev->route_deployment, err);
}
