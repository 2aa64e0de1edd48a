#include "platform/describe.h"

void process_describe(const struct process *p, struct buf *out)
{
    if (p == NULL) {
        buf_add_char(out, '?');
        return;
    }
    buf_add_c(out, p->project == NULL ? p->name : p->project->slug);
    if (p->project != NULL)
        buf_addf(out, "/%lld", (long long)p->number);
}

static void add_node(const struct model *m, struct id id, struct buf *out)
{
    const struct node *n = model_node(m, id);
    buf_add_c(out, n == NULL ? "?" : n->name);
}

static void add_instance(const struct model *m, struct id id, struct buf *out)
{
    const struct instance *i = model_instance(m, id);
    process_describe(i == NULL ? NULL : i->process, out);
    buf_addf(out, " on %s", i == NULL || i->node == NULL ? "?" : i->node->name);
}

static void add_project(const struct model *m, struct id id, struct buf *out)
{
    const struct project *p = model_project(m, id);
    buf_add_c(out, p == NULL ? "?" : p->slug);
}

static void add_image(const struct model *m, struct id id, struct buf *out)
{
    MODEL_EACH (process, p, &m->processes)
        if (id_eq(p->image_id, id)) {
            process_describe(p, out);
            return;
        }
    buf_add_c(out, "?");
}

static void add_status(struct str status, struct str cause, struct buf *out)
{
    buf_addf(out, ": %.*s", STR_ARG(status));
    if (cause.len > 0)
        buf_addf(out, " (%.*s)", STR_ARG(cause));
}

static void describe_instance(const struct model *m, const struct event *ev, struct buf *out)
{
    if (ev->kind == EVENT_CREATE_INSTANCE) {
        const struct create_instance *e = &ev->create_instance;
        process_describe(model_process(m, e->process_id), out);
        buf_add_c(out, " on ");
        if (id_is_none(e->node_id))
            buf_add_str(out, e->runner_url);
        else
            add_node(m, e->node_id, out);
        buf_addf(out, "%s%.*s", e->address.len == 0 ? "" : " at ", STR_ARG(e->address));
    } else if (ev->kind == EVENT_DELETE_INSTANCE) {
        add_instance(m, ev->delete_instance.instance_id, out);
    } else {
        const struct instance_status_change *e = &ev->instance_status_change;
        add_instance(m, e->instance_id, out);
        buf_addf(out, ": %.*s", STR_ARG(e->status));
        if (e->health.len > 0)
            buf_addf(out, " %.*s", STR_ARG(e->health));
        if (e->desired.len > 0)
            buf_addf(out, ", to be %.*s%s", STR_ARG(e->desired), e->withdraw ? " once edges have withdrawn it" : "");
        if (e->cause.len > 0)
            buf_addf(out, " (%.*s)", STR_ARG(e->cause));
    }
}

static void describe_deployment(const struct model *m, const struct event *ev, struct buf *out)
{
    if (ev->kind == EVENT_ROUTE_DEPLOYMENT) {
        process_describe(model_process(m, ev->route_deployment.deployment_id), out);
        for (size_t i = 0; i < ev->route_deployment.hosts.n; i++)
            buf_addf(out, " %.*s", STR_ARG(ev->route_deployment.hosts.items[i]));
    } else if (ev->kind == EVENT_CREATE_DEPLOYMENT) {
        add_project(m, ev->create_deployment.project_id, out);
    } else if (ev->kind == EVENT_DEPLOYMENT_STATUS_CHANGE) {
        const struct deployment_status_change *e = &ev->deployment_status_change;
        process_describe(model_process(m, e->deployment_id), out);
        add_status(e->status, e->cause, out);
    } else if (ev->kind == EVENT_CREATE_IMAGE) {
        add_image(m, ev->create_image.image_id, out);
    } else if (ev->kind == EVENT_IMAGE_STATUS_CHANGE) {
        add_image(m, ev->image_status_change.image_id, out);
        add_status(ev->image_status_change.status, ev->image_status_change.cause, out);
    }
}

static void describe_node(const struct model *m, const struct event *ev, struct buf *out)
{
    if (ev->kind == EVENT_JOIN_NODE) {
        buf_add_str(out, ev->join_node.name);
    } else if (ev->kind == EVENT_NODE_STATUS_CHANGE) {
        add_node(m, ev->node_status_change.node_id, out);
        add_status(ev->node_status_change.status, ev->node_status_change.cause, out);
    } else if (ev->kind == EVENT_SUSPECT_NODE) {
        add_node(m, ev->suspect_node.node_id, out);
        buf_addf(out, " by %.*s", STR_ARG(ev->suspect_node.replica));
    } else if (ev->kind == EVENT_TRUST_NODE) {
        add_node(m, ev->trust_node.node_id, out);
        buf_addf(out, " by %.*s", STR_ARG(ev->trust_node.replica));
    } else if (ev->kind == EVENT_DRAIN_NODE) {
        add_node(m, ev->drain_node.node_id, out);
    } else if (ev->kind == EVENT_LEAVE_NODE) {
        add_node(m, ev->leave_node.node_id, out);
    }
}

static void add_domain(const struct model *m, struct id id, struct buf *out)
{
    const struct domain *d = id_index_find(&m->domains, id);
    buf_add_c(out, d == NULL ? "?" : d->host);
}

static void describe_rule(const struct model *m, const struct set_scaling_rule *e, struct buf *out)
{
    if (!id_is_none(e->project_id))
        add_project(m, e->project_id, out);
    else
        process_describe(model_process(m, e->process_id), out);
    buf_addf(out, " %lld to %lld", (long long)e->instances_min, (long long)e->instances_max);
}

static void describe_subject(const struct model *m, const struct event *ev, struct buf *out)
{
    switch (ev->kind) {
    case EVENT_JOIN_NODE:
    case EVENT_NODE_STATUS_CHANGE:
    case EVENT_SUSPECT_NODE:
    case EVENT_TRUST_NODE:
    case EVENT_DRAIN_NODE:
    case EVENT_LEAVE_NODE: describe_node(m, ev, out); return;
    case EVENT_CREATE_INSTANCE:
    case EVENT_DELETE_INSTANCE:
    case EVENT_INSTANCE_STATUS_CHANGE: describe_instance(m, ev, out); return;
    case EVENT_CREATE_DEPLOYMENT:
    case EVENT_DEPLOYMENT_STATUS_CHANGE:
    case EVENT_ROUTE_DEPLOYMENT:
    case EVENT_CREATE_IMAGE:
    case EVENT_IMAGE_STATUS_CHANGE: describe_deployment(m, ev, out); return;
    case EVENT_CREATE_REGION: buf_add_str(out, ev->create_region.name); return;
    case EVENT_CREATE_ZONE: buf_add_str(out, ev->create_zone.name); return;
    case EVENT_CREATE_TYPE: buf_add_str(out, ev->create_type.name); return;
    case EVENT_CREATE_GATEWAY: buf_add_str(out, ev->create_gateway.name); return;
    case EVENT_CREATE_STREAM: buf_add_str(out, ev->create_stream.name); return;
    case EVENT_CREATE_EVENT_LOG: buf_add_str(out, ev->create_event_log.partition_range); return;
    case EVENT_CREATE_PROCESS: buf_add_str(out, ev->create_process.name); return;
    case EVENT_DELETE_PROCESS: process_describe(model_process(m, ev->delete_process.process_id), out); return;
    case EVENT_CREATE_PROJECT: buf_add_str(out, ev->create_project.slug); return;
    case EVENT_DELETE_PROJECT: add_project(m, ev->delete_project.project_id, out); return;
    case EVENT_ISSUE_CERTIFICATE: buf_add_str(out, ev->issue_certificate.host); return;
    case EVENT_RAISE_FORMAT: buf_addf(out, "to %lld", (long long)ev->raise_format.format); return;
    case EVENT_SET_ASIDE:
        buf_addf(out, "record %lld (%.*s)", (long long)ev->set_aside.seq, STR_ARG(ev->set_aside.reason));
        return;
    case EVENT_DELETE_IMAGE: add_image(m, ev->delete_image.image_id, out); return;
    case EVENT_REBUILD_IMAGE:
        add_image(m, ev->rebuild_image.image_id, out);
        buf_addf(out, " (%.*s)", STR_ARG(ev->rebuild_image.cause));
        return;
    case EVENT_SCALE_PROCESS:
        process_describe(model_process(m, ev->scale_process.process_id), out);
        buf_addf(out, " to %lld", (long long)ev->scale_process.instances_wanted);
        return;
    case EVENT_SET_SCALING_RULE: describe_rule(m, &ev->set_scaling_rule, out); return;
    case EVENT_UPDATE_PROJECT: add_project(m, ev->update_project.project_id, out); return;
    case EVENT_ATTACH_DOMAIN: buf_add_str(out, ev->attach_domain.host); return;
    case EVENT_VERIFY_DOMAIN:
        add_domain(m, ev->verify_domain.domain_id, out);
        add_status(ev->verify_domain.status, ev->verify_domain.cause, out);
        return;
    case EVENT_DETACH_DOMAIN: add_domain(m, ev->detach_domain.domain_id, out); return;
    case EVENT_SET_SECRET: buf_add_str(out, ev->set_secret.name); return;
    case EVENT_UNSET_SECRET:
    case EVENT_CREATE_USER:
    case EVENT_JOIN_WAITLIST:
    case EVENT_ERASE_SUBJECT: return; /* nothing that a person may read */
    case EVENT_INSTANCE_PROGRESS: add_instance(m, ev->instance_progress.instance_id, out); return;
    case EVENT_INSTANCE_IOPW: add_instance(m, ev->instance_iopw.instance_id, out); return;
    case EVENT_KIND_MAX_: return;
    }
}

void event_describe(const struct model *m, const struct event *ev, struct buf *out)
{
    buf_addf(out, "%s ", event_kind_row(ev->kind)->name);
    describe_subject(m, ev, out);
}
