/* The fold: one event changes the model, or is refused and changes nothing. Here: the order of events, places,
 * definitions and certificates. Nodes, instances and deployments have files of their own. */
#include "platform/model_write.h"

#include <arpa/inet.h>

enum err refuse_missing(struct errinfo *err, const char *what, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return err_set(err, ERR_CORRUPT, "%s '%s' does not exist", what, text);
}

enum err refuse_twice(struct errinfo *err, const char *what, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return err_set(err, ERR_CORRUPT, "%s '%s' exists already", what, text);
}

void id_list_set(struct model *m, struct id_list *list, struct ids ids)
{
    journal_free(m->journal, list->items);
    *list = (struct id_list){.n = (uint32_t)ids.n};
    if (ids.n == 0)
        return;
    list->items = journal_alloc(m->journal, ids.n * sizeof(*list->items));
    memcpy(list->items, ids.items, ids.n * sizeof(*list->items));
}

void text_list_set(struct texts *t, struct text_list *list, struct strs strs)
{
    struct text_list fresh = {0};
    for (size_t i = 0; i < strs.n; i++)
        text_list_add(t, &fresh, strs.items[i]);
    text_list_clear(t, list);
    *list = fresh;
}

static uint64_t read_u64(const uint8_t bytes[static 8])
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | bytes[i];
    return v;
}

bool address_parse(const char *text, uint64_t *ret_prefix, uint64_t *ret_host)
{
    struct in6_addr address;
    if (inet_pton(AF_INET6, text, &address) != 1)
        return false;
    *ret_prefix = read_u64(address.s6_addr);
    *ret_host = read_u64(address.s6_addr + 8);
    return true;
}

bool prefix_parse(struct str text, uint64_t *ret_prefix)
{
    char address[INET6_ADDRSTRLEN];
    uint64_t host = 0;
    if (!str_ends(text, STR("/64")) || !str_copy_to(str_slice(text, 0, text.len - 3), address, sizeof(address)))
        return false;
    return address_parse(address, ret_prefix, &host) && host == 0;
}

static enum err apply_create_region(struct model *m, const struct create_region *e, struct errinfo *err)
{
    if (model_region(m, e->region_id) != NULL)
        return refuse_twice(err, "region", e->region_id);
    if (model_region_by_name(m, e->name) != NULL)
        return err_set(err, ERR_CORRUPT, "a region named '%.*s' exists already", STR_ARG(e->name));
    struct region *r = object_new(m, region);
    *r = (struct region){e->region_id, model_next_seq(m), texts_ref(&m->texts, e->name)};
    index_add(m, &m->regions, r);
    return OK;
}

static enum err apply_create_zone(struct model *m, const struct create_zone *e, struct errinfo *err)
{
    const struct region *region = model_region(m, e->region_id);
    if (model_zone(m, e->zone_id) != NULL)
        return refuse_twice(err, "zone", e->zone_id);
    if (region == NULL)
        return refuse_missing(err, "region", e->region_id);
    if (model_zone_by_name(m, region, e->name) != NULL)
        return err_set(err, ERR_CORRUPT, "region '%s' has a zone '%.*s' already", region->name, STR_ARG(e->name));
    struct zone *z = object_new(m, zone);
    *z = (struct zone){e->zone_id, model_next_seq(m), texts_ref(&m->texts, e->name), region};
    index_add(m, &m->zones, z);
    return OK;
}

static enum err define(struct model *m, struct id id, enum event_kind kind, struct str name, struct str text,
                       struct definition **ret, struct errinfo *err)
{
    if (id_index_find(&m->definitions, id) != NULL)
        return refuse_twice(err, event_kind_row(kind)->name, id);
    struct definition *d = object_new(m, definition);
    *d = (struct definition){.id = id,
                             .changed_seq = model_next_seq(m),
                             .kind = kind,
                             .name = texts_ref(&m->texts, name),
                             .text = texts_ref(&m->texts, text),
                             .version = ""};
    index_add(m, &m->definitions, d);
    changes_add(m->changes, CHANGE_DEFINITION, id, ID_NONE);
    *ret = d;
    return OK;
}

static enum err apply_create_stream(struct model *m, const struct create_stream *e, struct errinfo *err)
{
    struct definition *d = NULL;
    enum err rc = define(m, e->stream_id, EVENT_CREATE_STREAM, e->name, e->event_store, &d, err);
    if (rc != OK)
        return rc;
    d->version = texts_ref(&m->texts, e->version);
    text_list_set(&m->texts, &d->event_types, e->event_types);
    return OK;
}

static enum err apply_create_event_log(struct model *m, const struct create_event_log *e, struct errinfo *err)
{
    const struct definition *stream = id_index_find(&m->definitions, e->stream_id);
    if (stream == NULL || stream->kind != EVENT_CREATE_STREAM)
        return refuse_missing(err, "stream", e->stream_id);
    struct definition *d = NULL;
    enum err rc = define(m, e->log_id, EVENT_CREATE_EVENT_LOG, STR(""), e->partition_range, &d, err);
    if (rc != OK)
        return rc;
    d->stream_id = e->stream_id;
    d->start = e->start;
    return OK;
}

void certificate_drop(struct model *m, const struct certificate *c)
{
    bury(m, OBJECT_CERTIFICATE, c->id, ID_NONE);
    index_remove(m, &m->certificates, c->id);
    keys_remove(m, KEY_CERTIFICATE_HOST, c);
    object_free(m, certificate, c);
}

static enum err apply_issue_certificate(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct issue_certificate *e = &ev->issue_certificate;
    if (id_index_find(&m->certificates, e->certificate_id) != NULL)
        return refuse_twice(err, "certificate", e->certificate_id);
    const struct certificate *old = model_certificate_by_host(m, e->host);
    if (old != NULL) /* one a host: the newest */
        certificate_drop(m, old);
    struct certificate *c = object_new(m, certificate);
    *c = (struct certificate){e->certificate_id, model_next_seq(m), texts_ref(&m->texts, e->host),
                              texts_ref(&m->texts, e->not_after), ev->time.instant_ns};
    index_add(m, &m->certificates, c);
    keys_add(m, KEY_CERTIFICATE_HOST, c);
    changes_add(m->changes, OBJECT_CERTIFICATE, c->id, ID_NONE);
    size_t at = 0;
    const struct key_index *hosts = &m->keys[KEY_PROJECT_HOST];
    for (const struct project *p; (p = key_index_next(hosts, key_of_str(e->host), &at)) != NULL;)
        if (text_list_has(&p->hosts, c->host))
            touch_route(m, p);
    MODEL_EACH (process, p, &m->processes)
        if (text_list_has(&p->hosts, c->host))
            touch_edges(m, p);
    if (model_domain_by_host(m, e->host) != NULL) /* it may be led to its project now */
        touch_domain(m, model_domain_by_host(m, e->host));
    retain_certificates(m, ev->time.instant_ns);
    return OK;
}

static enum err apply_kind(struct model *m, const struct event *ev, struct errinfo *err)
{
    struct definition *d = NULL;
    switch (ev->kind) {
    case EVENT_CREATE_REGION: return apply_create_region(m, &ev->create_region, err);
    case EVENT_CREATE_ZONE: return apply_create_zone(m, &ev->create_zone, err);
    case EVENT_CREATE_TYPE:
        return define(m, ev->create_type.type_id, ev->kind, ev->create_type.name, ev->create_type.field_type_tags, &d,
                      err);
    case EVENT_CREATE_GATEWAY:
        return define(m, ev->create_gateway.gateway_id, ev->kind, ev->create_gateway.name, ev->create_gateway.config,
                      &d, err);
    case EVENT_CREATE_STREAM: return apply_create_stream(m, &ev->create_stream, err);
    case EVENT_CREATE_EVENT_LOG: return apply_create_event_log(m, &ev->create_event_log, err);
    case EVENT_ISSUE_CERTIFICATE: return apply_issue_certificate(m, ev, err);
    case EVENT_JOIN_NODE:
    case EVENT_NODE_STATUS_CHANGE:
    case EVENT_SUSPECT_NODE:
    case EVENT_TRUST_NODE:
    case EVENT_DRAIN_NODE:
    case EVENT_LEAVE_NODE: return apply_node_event(m, ev, err);
    case EVENT_CREATE_INSTANCE:
    case EVENT_DELETE_INSTANCE:
    case EVENT_INSTANCE_STATUS_CHANGE: return apply_instance_event(m, ev, err);
    case EVENT_CREATE_PROCESS:
    case EVENT_DELETE_PROCESS:
    case EVENT_CREATE_PROJECT:
    case EVENT_DELETE_PROJECT:
    case EVENT_CREATE_IMAGE:
    case EVENT_IMAGE_STATUS_CHANGE:
    case EVENT_CREATE_DEPLOYMENT:
    case EVENT_DEPLOYMENT_STATUS_CHANGE:
    case EVENT_ROUTE_DEPLOYMENT: return apply_deployment_event(m, ev, err);
    case EVENT_DELETE_IMAGE: return apply_delete_image(m, &ev->delete_image, err);
    case EVENT_REBUILD_IMAGE: return apply_rebuild_image(m, ev, err);
    case EVENT_SCALE_PROCESS:
    case EVENT_SET_SCALING_RULE: return apply_scaling_event(m, ev, err);
    case EVENT_UPDATE_PROJECT:
    case EVENT_ATTACH_DOMAIN:
    case EVENT_VERIFY_DOMAIN:
    case EVENT_DETACH_DOMAIN:
    case EVENT_SET_SECRET:
    case EVENT_UNSET_SECRET: return apply_project_event(m, ev, err);
    case EVENT_CREATE_USER:
    case EVENT_JOIN_WAITLIST:
    case EVENT_ERASE_SUBJECT: return apply_subject_event(m, ev, err);
    case EVENT_RAISE_FORMAT:
    case EVENT_SET_ASIDE: return apply_log_event(m, ev, err);
    case EVENT_INSTANCE_PROGRESS:
    case EVENT_INSTANCE_IOPW: return OK; /* statistics: no decision folds them */
    case EVENT_KIND_MAX_: break;
    }
    return err_set(err, ERR_CORRUPT, "unknown kind of event %d", (int)ev->kind);
}

enum err model_apply(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (event_time_cmp(ev->time, m->time) <= 0) {
        char at[EVENT_TIME_TEXT_SIZE], last[EVENT_TIME_TEXT_SIZE];
        event_time_format(ev->time, at);
        event_time_format(m->time, last);
        return err_set(err, ERR_CORRUPT, "time '%s' is not after '%s' of the event before", at, last);
    }
    enum err rc = apply_kind(m, ev, err);
    if (rc != OK)
        return err_wrap(err, rc, "%s", ev->kind < EVENT_KIND_MAX_ ? event_kind_row(ev->kind)->name : "event");
    m->seq++;
    m->time = ev->time;
    return OK;
}
