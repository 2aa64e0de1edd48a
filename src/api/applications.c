/* Event-sourced applications: a name and a version with types, streams, gateways and one process. What is put carries
 * event payloads, so its keys are camelCase, as in the log. */
#include "api/explain.h"
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "api/progress.h"
#include "base/clock.h"
#include "base/own.h"
#include "platform/decide_application.h"

/* ---- what is put ---- */

static const struct field TYPE_FIELDS[] = {
    FIELD_OPT(ID, create_type, type_id, "typeId", "left out: that of the name, or a fresh one"),
    FIELD_REQ(STR, create_type, name, "name", "name of the type"),
    FIELD_OPT(JSON, create_type, field_type_tags, "fieldTypeTags", "its fields"),
};
static const struct field_table TYPE_WIRE = FIELD_TABLE(create_type, TYPE_FIELDS);

static const struct field GATEWAY_FIELDS[] = {
    FIELD_OPT(ID, create_gateway, gateway_id, "gatewayId", "left out: that of the name, or a fresh one"),
    FIELD_REQ(STR, create_gateway, name, "name", "name of the gateway"),
    FIELD_OPT(JSON, create_gateway, config, "config", "its settings"),
};
static const struct field_table GATEWAY_WIRE = FIELD_TABLE(create_gateway, GATEWAY_FIELDS);

static const struct field LOG_FIELDS[] = {
    FIELD_OPT(ID, create_event_log, log_id, "logId", "left out: a fresh one"),
    FIELD_OPT(STR, create_event_log, partition_range, "partitionRange", "* (also when left out), or 00000000-7fffffff"),
    FIELD_OPT(TIME, create_event_log, start, "start", "event time from which it holds"),
};
static const struct field_table LOG_WIRE = FIELD_TABLE(create_event_log, LOG_FIELDS);

struct stream_document {
    struct create_stream stream;
    struct objects logs;
};
static const struct field STREAM_FIELDS[] = {
    FIELD_OPT(ID, stream_document, stream.stream_id, "streamId", "left out: that of name and version, or a fresh one"),
    FIELD_REQ(STR, stream_document, stream.name, "name", "name of the stream"),
    FIELD_OPT(STR, stream_document, stream.version, "version", "of its types"),
    FIELD_OPT(STRS, stream_document, stream.event_types, "eventTypes", "names of the types that it holds"),
    FIELD_OPT(STR, stream_document, stream.event_store, "eventStore", "left out: the platform keeps its logs"),
    FIELD_SUB(OBJECTS, stream_document, logs, "logs", LOG_WIRE, "left out: one of '*'"),
};
static const struct field_table STREAM_WIRE = FIELD_TABLE(stream_document, STREAM_FIELDS);

struct process_document {
    struct create_process process;
    bool expose;
    struct strs input_streams;
    struct str output_stream;
};
static const struct field PROCESS_FIELDS[] = {
    FIELD_REQ(STR, process_document, process.image_digest, "imageDigest", "of an image that is ready"),
    FIELD_OPT(STRS, process_document, process.availability_zones, "availabilityZones", "left out: any"),
    FIELD_OPT(IDS, process_document, process.input_stream_ids, "inputStreamIds", "streams that it folds, by id"),
    FIELD_OPT(STRS, process_document, input_streams, "inputStreams", "or by name"),
    FIELD_OPT(ID, process_document, process.output_stream_id, "outputStreamId", "the stream that it appends to, by id"),
    FIELD_OPT(STR, process_document, output_stream, "outputStream", "or by name"),
    FIELD_OPT(I64, process_document, process.instances_wanted, "instancesWanted", "each with its share of the input"),
    FIELD_OPT(I64, process_document, process.port, "port", "that it listens on; left out: none is checked"),
    FIELD_OPT(BOOL, process_document, expose, "expose",
              "true: edges lead https://<name>.<app domain> to it; left out: only its node reaches it"),
    FIELD_OPT(STR, process_document, process.runtime, "runtime", "left out: the best that isolates"),
    FIELD_OPT(JSON, process_document, process.config, "config", "its settings"),
    FIELD_OPT(JSON, process_document, process.secret_refs, "secretRefs", "secrets that it is given"),
    FIELD_SUB(OBJECT, process_document, process.resources, "resources", RESOURCES_TABLE, "of each instance"),
    FIELD_SUB(OBJECT, process_document, process.health, "health", HEALTH_CHECK_TABLE, "how health is checked"),
};
static const struct field_table PROCESS_WIRE = FIELD_TABLE(process_document, PROCESS_FIELDS);

struct application_document {
    struct objects types, streams, gateways;
    struct process_document process;
};
static const struct field APPLICATION_FIELDS[] = {
    FIELD_SUB(OBJECTS, application_document, types, "types", TYPE_WIRE, "payloads of CreateType"),
    FIELD_SUB(OBJECTS, application_document, streams, "streams", STREAM_WIRE, "payloads of CreateStream, and logs"),
    FIELD_SUB(OBJECTS, application_document, gateways, "gateways", GATEWAY_WIRE, "payloads of CreateGateway"),
    FIELD_SUB(OBJECT, application_document, process, "process", PROCESS_WIRE, "payload of CreateProcess"),
};
const struct field_table APPLICATION_WIRE = FIELD_TABLE(application_document, APPLICATION_FIELDS);

/* ---- what is shown ---- */

struct log_row {
    struct id log_id, stream_id;
    struct str stream, partition_range;
    bool is_output;
};
static const struct field LOG_ROW_FIELDS[] = {
    FIELD_REQ(ID, log_row, log_id, "log_id", "GET /v1/logs/{id}/events reads it"),
    FIELD_REQ(ID, log_row, stream_id, "stream_id", "its stream"),
    FIELD_REQ(STR, log_row, stream, "stream", "name of the stream"),
    FIELD_REQ(STR, log_row, partition_range, "partition_range", "what it holds"),
    FIELD_OPT(BOOL, log_row, is_output, "is_output", "the process appends to it"),
};
static const struct field_table LOG_ROW_WIRE = FIELD_TABLE(log_row, LOG_ROW_FIELDS);

struct application_resource {
    struct id process_id, image_id;
    struct str name, version, image_digest, status, url, route;
    int64_t instances_wanted, instances, instances_healthy;
    struct str health, events_per_second;
    int64_t lag_events;
    struct objects logs;
    struct explanation_text explanation;
};
static const struct field RESOURCE_FIELDS[] = {
    FIELD_REQ(STR, application_resource, name, "name", "of the application"),
    FIELD_REQ(STR, application_resource, version, "version", "of it"),
    FIELD_REQ(ID, application_resource, process_id, "process_id", "GET /v1/processes/{id}/timeline tells its story"),
    FIELD_OPT(ID, application_resource, image_id, "image_id", "what it runs"),
    FIELD_OPT(STR, application_resource, image_digest, "image_digest", "its digest"),
    FIELD_REQ(STR, application_resource, status, "status", "running, starting, or draining when it is being deleted"),
    FIELD_OPT(STR, application_resource, url, "url", "where edges lead to it; left out: it is not exposed"),
    FIELD_OPT(STR, application_resource, route, "route",
              "of an exposed one: serving, waiting (until all are healthy), or replaced by a later version"),
    FIELD_REQ(I64, application_resource, instances_wanted, "instances_wanted", "asked for"),
    FIELD_REQ(I64, application_resource, instances, "instances", "that there are"),
    FIELD_REQ(I64, application_resource, instances_healthy, "instances_healthy", "of them"),
    FIELD_OPT(STR, application_resource, health, "health", "the worst of its running instances: NOMINAL, …"),
    FIELD_OPT(I64, application_resource, lag_events, "lag_events", "of its input, not folded yet, as last reported"),
    FIELD_OPT(STR, application_resource, events_per_second, "events_per_second",
              "folded by all of them in the last minute, with one decimal; left out: none reports"),
    FIELD_SUB(OBJECTS, application_resource, logs, "logs", LOG_ROW_WIRE, "that it reads and appends to"),
    FIELD_SUB(OBJECT, application_resource, explanation, "explanation", EXPLANATION_WIRE,
              "why it is so; GET of one only"),
};
const struct field_table APPLICATION_RESOURCE_WIRE = FIELD_TABLE(application_resource, RESOURCE_FIELDS);

static bool uses(const struct process *p, struct id stream_id)
{
    if (id_eq(p->output_stream_id, stream_id))
        return true;
    for (uint32_t i = 0; i < p->input_stream_ids.n; i++)
        if (id_eq(p->input_stream_ids.items[i], stream_id))
            return true;
    return false;
}

static struct objects logs_of(const struct model *m, const struct process *p, struct arena *a)
{
    struct log_row *rows = arena_alloc(a, (m->definitions.n + 1) * sizeof(*rows));
    size_t n = 0;
    MODEL_EACH (definition, d, &m->definitions) {
        if (d->kind != EVENT_CREATE_EVENT_LOG || !uses(p, d->stream_id))
            continue;
        const struct definition *stream = model_definition(m, d->stream_id);
        rows[n++] = (struct log_row){.log_id = d->id,
                                     .stream_id = d->stream_id,
                                     .stream = str_from(stream == NULL ? "" : stream->name),
                                     .partition_range = str_from(d->text),
                                     .is_output = id_eq(p->output_stream_id, d->stream_id)};
    }
    return (struct objects){rows, n};
}

static void fill_route(const struct call *c, const struct process *p, struct arena *a, struct application_resource *ret)
{
    const struct control *control = c->api->o.control;
    if (p->host_label[0] == '\0')
        return;
    const char *host = p->hosts.n > 0 ? p->hosts.items[0] : process_host(p, control_settings(control)->app_domain, a);
    ret->url = view_url(control, host, a);
    ret->route = process_is_routed(call_model(c), p) ? STR("serving")
                 : p->route_seq == 0                 ? STR("waiting")
                                                     : STR("replaced");
}

static void fill(const struct call *c, const struct process *p, struct arena *a, struct application_resource *ret)
{
    const struct model *m = call_model(c);
    *ret = (struct application_resource){.process_id = p->id,
                                         .image_id = p->image_id,
                                         .name = str_from(p->name),
                                         .version = str_from(p->version),
                                         .image_digest = str_from(p->image_digest),
                                         .instances_wanted = p->instances_wanted,
                                         .instances = (int64_t)p->instances.n,
                                         .logs = logs_of(m, p, a)};
    int64_t serve_n = 0;
    MODEL_EACH (instance, i, &p->instances) {
        ret->instances_healthy += instance_is_healthy(i);
        serve_n += instance_serves(i);
    }
    fill_route(c, p, a, ret);
    struct progress_sum sum = progress_of(c->api->o.control, p);
    ret->health = str_from(health_name(sum.health));
    ret->lag_events = sum.lag_events;
    if (sum.reports_n > 0)
        ret->events_per_second = str_from(arena_printf(a, "%lld.%lld", (long long)(sum.events_per_minute / 60),
                                                       (long long)(sum.events_per_minute % 60 / 6)));
    ret->status = p->is_deleted ? STR("draining") : serve_n >= p->instances_wanted ? STR("running") : STR("starting");
}

static void collect(struct call *c, struct feed *f)
{
    const struct model *m = call_model(c);
    MODEL_EACH (process, p, &m->processes) {
        if (!process_is_application(p) || !feed_wants(f, p->id, p->changed_seq))
            continue;
        AUTO(arena) struct arena a = {0};
        struct application_resource resource;
        fill(c, p, &a, &resource);
        feed_add(f, &APPLICATION_RESOURCE_WIRE, p->id, &resource);
    }
    feed_remove_gone(c, f, OBJECT_PROCESS, ID_NONE);
}

void applications_list(struct call *c)
{
    follow(c, collect);
}

static struct str param(const struct call *c, const char *name)
{
    return str_from(http_request_param(c->r, name));
}

static void reply_application(struct call *c, int status, const struct process *p)
{
    struct application_resource resource;
    if (p == NULL) {
        call_reply_missing(c, "application of that name and version");
        return;
    }
    fill(c, p, &c->arena, &resource);
    resource.explanation = explanation_of(c, explain_application, p->id);
    call_reply_status(c, status, &APPLICATION_RESOURCE_WIRE, &resource);
}

void application_get(struct call *c)
{
    reply_application(c, 200, model_application(call_model(c), param(c, "name"), param(c, "version")));
}

void process_get(struct call *c)
{
    struct id id;
    if (!call_id(c, "id", "application's process", &id))
        return;
    const struct process *p = model_process(call_model(c), id);
    reply_application(c, 200, p != NULL && process_is_application(p) ? p : NULL);
}

/* ---- putting, deleting ---- */

struct put {
    struct application_put put;
    struct id process_id;
};

static enum err put_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct put *x = args;
    return decide_put_application(d, &x->put, out, &x->process_id, err);
}

static void was_put(struct call *c, void *args, size_t events_n)
{
    const struct put *x = args;
    reply_application(c, events_n > 0 ? 201 : 200, model_process(call_model(c), x->process_id));
}

static struct application_stream *streams_of(struct call *c, const struct objects *documents)
{
    struct application_stream *streams = arena_alloc(&c->arena, (documents->n + 1) * sizeof(*streams));
    const struct stream_document *from = documents->items;
    for (size_t i = 0; i < documents->n; i++)
        streams[i] =
            (struct application_stream){.stream = from[i].stream, .logs = from[i].logs.items, .logs_n = from[i].logs.n};
    return streams;
}

void application_put(struct call *c)
{
    struct application_document doc;
    if (!call_read(c, &APPLICATION_WIRE, &doc))
        return;
    struct put *x = arena_alloc(&c->arena, sizeof(*x));
    x->put = (struct application_put){.name = param(c, "name"),
                                      .version = param(c, "version"),
                                      .types = doc.types.items,
                                      .types_n = doc.types.n,
                                      .gateways = doc.gateways.items,
                                      .gateways_n = doc.gateways.n,
                                      .streams = streams_of(c, &doc.streams),
                                      .streams_n = doc.streams.n,
                                      .is_exposed = doc.process.expose,
                                      .process = doc.process.process,
                                      .input_streams = doc.process.input_streams,
                                      .output_stream = doc.process.output_stream};
    call_submit(c, put_decide, x, was_put);
}

struct deletion {
    struct str name, version;
};

static enum err delete_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct deletion *x = args;
    return decide_delete_application(d, x->name, x->version, out, err);
}

static void deleted(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    c->is_answered = true;
    http_respond_empty(c->r, 202);
}

void application_delete(struct call *c)
{
    struct deletion *x = arena_alloc(&c->arena, sizeof(*x));
    *x = (struct deletion){param(c, "name"), param(c, "version")};
    call_submit(c, delete_decide, x, deleted);
}

/* ---- the story of a process ---- */

struct timeline_row {
    struct event_time time;
    struct id instance_id;
    struct str node, what, health, cause, because;
};
static const struct field TIMELINE_FIELDS[] = {
    FIELD_REQ(TIME, timeline_row, time, "time", "when"),
    FIELD_OPT(ID, timeline_row, instance_id, "instance_id", "left out: the process itself"),
    FIELD_OPT(STR, timeline_row, node, "node", "where"),
    FIELD_REQ(STR, timeline_row, what, "what", "created, deleted, or a status"),
    FIELD_OPT(STR, timeline_row, health, "health", "NOMINAL, …"),
    FIELD_OPT(STR, timeline_row, cause, "cause", "why, for a person"),
    FIELD_OPT(JSON, timeline_row, because, "because", "what it was decided from"),
};
static const struct field_table TIMELINE_ROW_WIRE = FIELD_TABLE(timeline_row, TIMELINE_FIELDS);

struct timeline_document {
    struct objects items, instances;
};
static const struct field TIMELINE_DOCUMENT_FIELDS[] = {
    FIELD_SUB(OBJECTS, timeline_document, items, "items", TIMELINE_ROW_WIRE, "oldest first"),
    FIELD_SUB(OBJECTS, timeline_document, instances, "instances", PROGRESS_WIRE, "how far each of them is now"),
};
const struct field_table TIMELINE_WIRE = FIELD_TABLE(timeline_document, TIMELINE_DOCUMENT_FIELDS);

void process_timeline_get(struct call *c)
{
    struct id id;
    if (!call_id(c, "id", "process", &id))
        return;
    const struct process *p = model_process(call_model(c), id);
    if (p == NULL) {
        call_reply_missing(c, "process");
        return;
    }
    struct timeline t = process_timeline(p, &c->arena);
    struct timeline_row *rows = arena_alloc(&c->arena, (t.n + 1) * sizeof(*rows));
    for (size_t i = 0; i < t.n; i++) {
        const struct timeline_entry *e = &t.items[i];
        rows[i] = (struct timeline_row){.time = {e->at_ns, 0},
                                        .instance_id = e->instance_id,
                                        .node = str_from(e->node_name),
                                        .what = str_from(e->what),
                                        .health = str_from(e->health),
                                        .cause = str_from(e->cause),
                                        .because = str_from(e->because)};
    }
    struct timeline_document doc = {{rows, t.n}, progress_rows(c->api->o.control, p, &c->arena)};
    call_reply(c, &doc);
}
