/* Decisions about event-sourced applications. Definitions first, since the process refers to them; whatever is there
 * already with the same content is taken as it is. */
#include "platform/decide_application.h"

#include "base/json.h"
#include "base/own.h"
#include "event/hash.h"
#include "event/partition.h"
#include "platform/decide_check.h"

struct putting {
    const struct decide *d;
    const struct application_put *c;
    struct event_list *out;
    struct id *stream_ids; /* of c->streams */
    struct errinfo *err;
};

static enum err check_label(const char *field, struct str text, struct errinfo *err)
{
    enum err rc = check_name(field, text, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                       c == '_' || c == '-';
        if (!is_fine)
            return err_set(err, ERR_INVALID, "'%s' must be letters, digits, '.', '_' and '-', not '%.*s'", field,
                           STR_ARG(text));
    }
    return OK;
}

/* *text in its canonical form, as it comes back from the log; empty stays empty. */
static enum err canonical(struct putting *p, const char *field, size_t max, struct str *text)
{
    if (text->len == 0)
        return OK;
    if (text->len > max)
        return err_set(p->err, ERR_LIMIT, "'%s' is %zu bytes long: at most %zu", field, text->len, max);
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(*text, &doc, p->err);
    if (rc != OK)
        return err_wrap(p->err, rc, "'%s'", field);
    auto_free char *compact = json_format(doc);
    *text = arena_str(p->out->arena, str_from(compact));
    return OK;
}

static bool same_texts(struct strs a, const struct text_list *b)
{
    if (a.n != b->n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!str_eq_c(a.items[i], b->items[i]))
            return false;
    return true;
}

/* ---- Types, gateways, streams ---- */

/* What is there already: by id when one is given, else by name. ERR_CONFLICT: it is something else, or not the same. */
static enum err find_known(struct putting *p, enum event_kind kind, const char *what, struct id id, struct str name,
                           const struct str *version, const struct definition **ret)
{
    const struct model *m = p->d->model;
    const struct definition *by_name = model_definition_by_name(m, kind, name, version);
    const struct definition *by_id = id_is_none(id) ? by_name : model_definition(m, id);
    if (by_id != by_name)
        return err_set(p->err, ERR_CONFLICT,
                       "%s '%.*s' is there with another id, or its id is something else's: leave the id out", what,
                       STR_ARG(name));
    *ret = by_name;
    return OK;
}

static enum err other_content(struct putting *p, const char *what, struct str name)
{
    return err_set(p->err, ERR_CONFLICT, "%s '%.*s' is there with other content: choose another name%s", what,
                   STR_ARG(name), what[0] == 's' ? " or version" : "");
}

static struct id or_fresh(struct putting *p, struct id id)
{
    return id_is_none(id) ? id_next(p->d->ids) : id;
}

static enum err put_type(struct putting *p, const struct create_type *t)
{
    const struct definition *known = NULL;
    struct str tags = t->field_type_tags;
    enum err rc = check_text("types.name", t->name, APPLICATION_TYPE_NAME_MAX, false, p->err);
    if (rc == OK && t->name.len == 0)
        rc = err_set(p->err, ERR_INVALID, "'types.name' is empty");
    if (rc == OK)
        rc = canonical(p, "types.fieldTypeTags", APPLICATION_JSON_MAX, &tags);
    if (rc == OK)
        rc = find_known(p, EVENT_CREATE_TYPE, "type", t->type_id, t->name, NULL, &known);
    if (rc != OK)
        return rc;
    if (known != NULL)
        return str_eq_c(tags, known->text) ? OK : other_content(p, "type", t->name);
    event_list_add(p->out, EVENT_CREATE_TYPE, p->d->ids)->create_type =
        (struct create_type){or_fresh(p, t->type_id), arena_str(p->out->arena, t->name), tags};
    return OK;
}

static enum err put_gateway(struct putting *p, const struct create_gateway *g)
{
    const struct definition *known = NULL;
    struct str config = g->config;
    enum err rc = check_label("gateways.name", g->name, p->err);
    if (rc == OK)
        rc = canonical(p, "gateways.config", APPLICATION_JSON_MAX, &config);
    if (rc == OK)
        rc = find_known(p, EVENT_CREATE_GATEWAY, "gateway", g->gateway_id, g->name, NULL, &known);
    if (rc != OK)
        return rc;
    if (known != NULL)
        return str_eq_c(config, known->text) ? OK : other_content(p, "gateway", g->name);
    event_list_add(p->out, EVENT_CREATE_GATEWAY, p->d->ids)->create_gateway =
        (struct create_gateway){or_fresh(p, g->gateway_id), arena_str(p->out->arena, g->name), config};
    return OK;
}

static struct str range_of(const struct application_stream *s, size_t i)
{
    return s->logs_n == 0 || s->logs[i].partition_range.len == 0 ? STR("*") : s->logs[i].partition_range;
}

static size_t logs_n(const struct application_stream *s)
{
    return s->logs_n == 0 ? 1 : s->logs_n;
}

/* The ranges of a stream's logs: no event in two of them. */
static enum err check_logs(struct putting *p, const struct application_stream *s)
{
    struct partition a, b, both;
    if (s->logs_n > APPLICATION_LOGS_MAX)
        return err_set(p->err, ERR_LIMIT, "stream '%.*s' has %zu logs: at most %u", STR_ARG(s->stream.name), s->logs_n,
                       APPLICATION_LOGS_MAX);
    for (size_t i = 0; i < logs_n(s); i++) {
        if (!partition_parse(range_of(s, i), &a))
            return err_set(p->err, ERR_INVALID, "'partitionRange' must be '*' or like '00000000-7fffffff', not '%.*s'",
                           STR_ARG(range_of(s, i)));
        for (size_t k = 0; k < i; k++)
            if (partition_parse(range_of(s, k), &b) && partition_intersect(a, b, &both))
                return err_set(p->err, ERR_INVALID, "two logs of stream '%.*s' share a part of their ranges",
                               STR_ARG(s->stream.name));
    }
    return OK;
}

static bool same_logs(struct putting *p, const struct application_stream *s, struct id stream_id)
{
    size_t known_n = 0, same_n = 0;
    MODEL_EACH (definition, log, &p->d->model->definitions) {
        if (log->kind != EVENT_CREATE_EVENT_LOG || !id_eq(log->stream_id, stream_id))
            continue;
        known_n++;
        for (size_t i = 0; i < logs_n(s); i++) {
            struct partition a, b;
            same_n += partition_parse(range_of(s, i), &a) && partition_parse(str_from(log->text), &b) &&
                      a.first == b.first && a.last == b.last;
        }
    }
    return known_n == logs_n(s) && same_n == known_n;
}

static enum err check_stream(struct putting *p, const struct application_stream *s)
{
    enum err rc = check_label("streams.name", s->stream.name, p->err);
    if (rc == OK)
        rc = check_text("streams.version", s->stream.version, DECIDE_NAME_MAX, false, p->err);
    if (rc == OK)
        rc = check_text("streams.eventStore", s->stream.event_store, 1024, false, p->err);
    if (rc == OK && s->stream.event_types.n > APPLICATION_LIST_MAX)
        rc = err_set(p->err, ERR_LIMIT, "'streams.eventTypes' has %zu entries: at most %u", s->stream.event_types.n,
                     APPLICATION_LIST_MAX);
    for (size_t i = 0; rc == OK && i < s->stream.event_types.n; i++)
        rc = check_text("streams.eventTypes", s->stream.event_types.items[i], APPLICATION_TYPE_NAME_MAX, false, p->err);
    return rc == OK ? check_logs(p, s) : rc;
}

static enum err put_stream(struct putting *p, const struct application_stream *s, struct id *ret_id)
{
    const struct create_stream *c = &s->stream;
    const struct definition *known = NULL;
    struct arena *a = p->out->arena;
    enum err rc = check_stream(p, s);
    if (rc == OK)
        rc = find_known(p, EVENT_CREATE_STREAM, "stream", c->stream_id, c->name, &c->version, &known);
    if (rc != OK)
        return rc;
    if (known != NULL) {
        *ret_id = known->id;
        bool is_same = same_texts(c->event_types, &known->event_types) && str_eq_c(c->event_store, known->text) &&
                       same_logs(p, s, known->id);
        return is_same ? OK : other_content(p, "stream", c->name);
    }
    *ret_id = or_fresh(p, c->stream_id);
    event_list_add(p->out, EVENT_CREATE_STREAM, p->d->ids)->create_stream =
        (struct create_stream){*ret_id, arena_str(a, c->name), arena_str(a, c->version), copy_strs(a, c->event_types),
                               arena_str(a, c->event_store)};
    for (size_t i = 0; i < logs_n(s); i++) {
        struct id log_id = s->logs_n == 0 ? ID_NONE : s->logs[i].log_id;
        if (!id_is_none(log_id) && model_definition(p->d->model, log_id) != NULL)
            return err_set(p->err, ERR_CONFLICT, "the id of a log of stream '%.*s' is something else's",
                           STR_ARG(c->name));
        event_list_add(p->out, EVENT_CREATE_EVENT_LOG, p->d->ids)->create_event_log =
            (struct create_event_log){.stream_id = *ret_id,
                                      .log_id = or_fresh(p, log_id),
                                      .partition_range = arena_str(a, range_of(s, i)),
                                      .start = s->logs_n == 0 ? EVENT_TIME_MIN : s->logs[i].start};
    }
    return OK;
}

static enum err stands_twice(struct putting *p, const char *what, struct str name)
{
    return err_set(p->err, ERR_INVALID, "%s '%.*s' stands twice", what, STR_ARG(name));
}

static enum err put_definitions(struct putting *p)
{
    const struct application_put *c = p->c;
    enum err rc = OK;
    if (c->types_n > APPLICATION_LIST_MAX || c->gateways_n > APPLICATION_LIST_MAX ||
        c->streams_n > APPLICATION_LIST_MAX)
        return err_set(p->err, ERR_LIMIT, "at most %u types, gateways and streams each", APPLICATION_LIST_MAX);
    for (size_t i = 0; rc == OK && i < c->types_n; i++) {
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->types[i].name, c->types[k].name))
                return stands_twice(p, "type", c->types[i].name);
        rc = put_type(p, &c->types[i]);
    }
    for (size_t i = 0; rc == OK && i < c->gateways_n; i++) {
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->gateways[i].name, c->gateways[k].name))
                return stands_twice(p, "gateway", c->gateways[i].name);
        rc = put_gateway(p, &c->gateways[i]);
    }
    for (size_t i = 0; rc == OK && i < c->streams_n; i++) {
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->streams[i].stream.name, c->streams[k].stream.name))
                return stands_twice(p, "stream", c->streams[i].stream.name);
        rc = put_stream(p, &c->streams[i], &p->stream_ids[i]);
    }
    return rc;
}

/* ---- The process ---- */

static enum err stream_by_name(struct putting *p, struct str name, struct id *ret)
{
    for (size_t i = 0; i < p->c->streams_n; i++)
        if (str_eq(name, p->c->streams[i].stream.name)) {
            *ret = p->stream_ids[i];
            return OK;
        }
    const struct definition *known = model_definition_by_name(p->d->model, EVENT_CREATE_STREAM, name, NULL);
    if (known == NULL)
        return err_set(p->err, ERR_NOT_FOUND, "there is no stream '%.*s': put it with the application", STR_ARG(name));
    *ret = known->id;
    return OK;
}

static enum err check_stream_id(struct putting *p, struct id id)
{
    for (size_t i = 0; i < p->c->streams_n; i++)
        if (id_eq(id, p->stream_ids[i]))
            return OK;
    const struct definition *known = model_definition(p->d->model, id);
    return known != NULL && known->kind == EVENT_CREATE_STREAM ? OK : not_found(p->err, "stream", id);
}

static enum err resolve_streams(struct putting *p, struct create_process *e)
{
    const struct application_put *c = p->c;
    struct ids given = c->process.input_stream_ids;
    size_t n = given.n + c->input_streams.n;
    if (n > APPLICATION_LIST_MAX)
        return err_set(p->err, ERR_LIMIT, "%zu input streams: at most %u", n, APPLICATION_LIST_MAX);
    e->input_stream_ids = (struct ids){arena_alloc(p->out->arena, n * sizeof(struct id)), n};
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < n; i++) {
        struct id *to = &e->input_stream_ids.items[i];
        if (i < given.n) {
            *to = given.items[i];
            rc = check_stream_id(p, *to);
        } else {
            rc = stream_by_name(p, c->input_streams.items[i - given.n], to);
        }
        for (size_t k = 0; rc == OK && k < i; k++)
            if (id_eq(*to, e->input_stream_ids.items[k]))
                rc = err_set(p->err, ERR_INVALID, "an input stream stands twice");
    }
    if (rc == OK && c->output_stream.len > 0)
        rc = stream_by_name(p, c->output_stream, &e->output_stream_id);
    else if (rc == OK && !id_is_none(e->output_stream_id))
        rc = check_stream_id(p, e->output_stream_id);
    return rc;
}

static enum err find_image(struct putting *p, struct create_process *e)
{
    uint8_t digest[HASH_SIZE];
    if (e->artifact_url.len > 0)
        return err_set(p->err, ERR_DENIED, "'artifactUrl' is for the platform's own programs: say 'imageDigest'");
    if (!hash_digest_parse(e->image_digest, digest))
        return err_set(p->err, ERR_INVALID, "'imageDigest' must be 'sha256:' and 64 hex digits");
    const struct image *image = model_image_by_digest(p->d->model, e->image_digest);
    if (image == NULL)
        return err_set(p->err, ERR_NOT_FOUND, "there is no image '%.*s' that is ready: build or import it first",
                       STR_ARG(e->image_digest));
    e->image_id = image->id;
    return OK;
}

static enum err check_zones(struct putting *p, struct strs zones)
{
    if (zones.n > APPLICATION_LIST_MAX)
        return err_set(p->err, ERR_LIMIT, "'availabilityZones' has %zu entries: at most %u", zones.n,
                       APPLICATION_LIST_MAX);
    for (size_t i = 0; i < zones.n; i++) {
        bool is_there = false;
        MODEL_EACH (zone, z, &p->d->model->zones)
            is_there = is_there || str_eq_c(zones.items[i], z->name);
        if (!is_there)
            return err_set(p->err, ERR_NOT_FOUND, "there is no zone '%.*s'", STR_ARG(zones.items[i]));
    }
    return OK;
}

static enum err check_process(struct putting *p, struct create_process *e)
{
    enum err rc =
        check_process_sizes(p->d->settings, 1, e->instances_wanted, &e->resources, &e->health, e->port, p->err);
    if (rc == OK)
        rc = check_process_texts(e->runtime, &e->health, p->err);
    if (rc == OK)
        rc = check_zones(p, e->availability_zones);
    if (rc == OK)
        rc = canonical(p, "process.config", APPLICATION_CONFIG_MAX, &e->config);
    if (rc == OK)
        rc = canonical(p, "process.secretRefs", APPLICATION_JSON_MAX, &e->secret_refs);
    if (rc == OK)
        rc = find_image(p, e);
    return rc == OK ? resolve_streams(p, e) : rc;
}

static bool same_ids(struct ids a, const struct id_list *b)
{
    return a.n == b->n && (a.n == 0 || memcmp(a.items, b->items, a.n * sizeof(struct id)) == 0);
}

static bool same_process(const struct process *was, const struct create_process *e)
{
    return str_eq_c(e->image_digest, was->image_digest) && str_eq_c(e->config, was->config) &&
           str_eq_c(e->secret_refs, was->secret_refs) && str_eq_c(e->runtime, was->runtime) &&
           same_texts(e->availability_zones, &was->availability_zones) &&
           same_ids(e->input_stream_ids, &was->input_stream_ids) && id_eq(e->output_stream_id, was->output_stream_id) &&
           e->resources.vcpus == was->resources.vcpus && e->resources.memory_bytes == was->resources.memory_bytes &&
           e->resources.disk_bytes == was->resources.disk_bytes && e->instances_wanted == was->instances_asked &&
           str_eq_c(e->health.path, was->health.path) && e->health.interval_seconds == was->health.interval_seconds &&
           e->health.timeout_seconds == was->health.timeout_seconds &&
           e->health.start_timeout_seconds == was->health.start_timeout_seconds && e->port == was->port &&
           str_eq_c(e->host_label, was->host_label);
}

static int64_t or_default(int64_t asked, int64_t value)
{
    return asked != 0 ? asked : value;
}

static struct create_process process_of(struct putting *p)
{
    const struct platform_settings *s = p->d->settings;
    const struct create_process *c = &p->c->process;
    struct arena *a = p->out->arena;
    return (struct create_process){
        .name = arena_str(a, p->c->name),
        .version = arena_str(a, p->c->version),
        .artifact_url = c->artifact_url,
        .availability_zones = copy_strs(a, c->availability_zones),
        .output_stream_id = c->output_stream_id,
        .image_digest = arena_str(a, c->image_digest),
        .config = c->config,
        .secret_refs = c->secret_refs,
        .resources = {or_default(c->resources.vcpus, s->instance_vcpus),
                      or_default(c->resources.memory_bytes, s->instance_memory_bytes), c->resources.disk_bytes},
        .instances_wanted = or_default(c->instances_wanted, 1),
        .health = {arena_str(a, c->health.path), c->health.interval_seconds, c->health.timeout_seconds,
                   c->health.start_timeout_seconds},
        .port = or_default(c->port, s->port),
        .runtime = arena_str(a, c->runtime),
        .because = STR("{\"rule\":\"put by a person\"}"),
    };
}

/* The label under which edges lead to it: as a project's, and nobody else's. */
static enum err choose_host(struct putting *p, struct create_process *e)
{
    char label[DECIDE_NAME_MAX + 1];
    if (!project_slug(p->c->name, label))
        return err_set(p->err, ERR_INVALID, "name '%.*s' has no letter or digit to make a host name of",
                       STR_ARG(p->c->name));
    const struct project *project = model_project_by_slug(p->d->model, str_from(label));
    if (project != NULL)
        return err_set(p->err, ERR_CONFLICT,
                       "project '%s' has the host label '%s' already: choose another name, or put it without 'expose'",
                       project->name, label);
    const struct process *other = model_application_by_host_label(p->d->model, str_from(label));
    if (other != NULL && !str_eq_c(p->c->name, other->name))
        return err_set(p->err, ERR_CONFLICT,
                       "application '%s' has the host label '%s' already: choose another name, or put it without "
                       "'expose'",
                       other->name, label);
    e->host_label = arena_str(p->out->arena, str_from(label));
    return check_format(p->d, EVENT_RAISE_FORMAT, p->err); /* RouteDeployment without a project is of format 2 */
}

static enum err put_process(struct putting *p, struct id *ret_id)
{
    const struct model *m = p->d->model;
    struct create_process e = process_of(p);
    enum err rc = check_process(p, &e);
    if (rc == OK && p->c->is_exposed)
        rc = choose_host(p, &e);
    if (rc != OK)
        return rc;
    const struct process *was = model_application(m, p->c->name, p->c->version);
    if (was != NULL) {
        *ret_id = was->id;
        return same_process(was, &e) ? OK
                                     : err_set(p->err, ERR_CONFLICT,
                                               "version '%.*s' of '%.*s' is there with other content: put another "
                                               "version",
                                               STR_ARG(p->c->version), STR_ARG(p->c->name));
    }
    if (!id_is_none(p->c->process.process_id) && model_process(m, p->c->process.process_id) != NULL)
        return err_set(p->err, ERR_CONFLICT, "'processId' is another process's: leave it out");
    e.process_id = *ret_id = or_fresh(p, p->c->process.process_id);
    event_list_add(p->out, EVENT_CREATE_PROCESS, p->d->ids)->create_process = e;
    return OK;
}

/* The platform's own programs are processes too. */
static enum err check_not_ours(const struct model *m, struct str name, struct errinfo *err)
{
    if (model_process_by_name(m, name) != NULL || str_eq(name, STR("image-builder")))
        return err_set(err, ERR_DENIED, "'%.*s' is a program of the platform: choose another name", STR_ARG(name));
    return OK;
}

enum err decide_put_application(const struct decide *d, const struct application_put *c, struct event_list *out,
                                struct id *ret_id, struct errinfo *err)
{
    struct putting p = {.d = d, .c = c, .out = out, .err = err};
    size_t before = out->n;
    enum err rc = check_label("name", c->name, err);
    if (rc == OK)
        rc = check_label("version", c->version, err);
    if (rc == OK)
        rc = check_not_ours(d->model, c->name, err);
    if (rc != OK)
        return rc;
    p.stream_ids = arena_alloc(out->arena, c->streams_n * sizeof(*p.stream_ids));
    rc = put_definitions(&p);
    if (rc == OK)
        rc = put_process(&p, ret_id);
    if (rc != OK)
        out->n = before;
    return rc;
}

enum err decide_delete_application(const struct decide *d, struct str name, struct str version, struct event_list *out,
                                   struct errinfo *err)
{
    const struct process *p = model_application(d->model, name, version);
    if (p == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no version '%.*s' of an application '%.*s'", STR_ARG(version),
                       STR_ARG(name));
    if (p->instances.n > 0) { /* before this format a process went at once or not at all */
        enum err rc = check_format(d, EVENT_RAISE_FORMAT, err);
        if (rc != OK)
            return rc;
    }
    event_list_add(out, EVENT_DELETE_PROCESS, d->ids)->delete_process =
        (struct delete_process){p->id, STR("{\"rule\":\"deleted by a person\"}")};
    return OK;
}
