#include "cli/past.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "bootstrap/fold_record.h"
#include "install/log_place.h"
#include "platform/describe.h"
#include "store/store.h"

/* Where to stop: an instant, or a number of events. */
struct until {
    bool is_position;
    uint64_t seq;
    int64_t ns;
};

static enum err until_parse(const char *at, struct until *ret, struct errinfo *err)
{
    *ret = (struct until){0};
    if (str_parse_u64(str_from(at), UINT64_MAX / 2, &ret->seq)) {
        ret->is_position = true;
        return OK;
    }
    return clock_parse_ns(str_from(at), &ret->ns)
               ? OK
               : err_set(err, ERR_INVALID,
                         "'%s' is neither an instant like 2026-11-22T12:00:00Z nor a position: 'slipform events' shows "
                         "both",
                         at);
}

/* *ret_more false: the next event is later than asked for. */
static enum err fold_batch(struct store *store, struct model *m, const struct store_batch *batch,
                           const struct until *until, bool *ret_more, struct errinfo *err)
{
    for (size_t i = 0; i < batch->n; i++) {
        const struct store_record *r = &batch->items[i];
        *ret_more = until->is_position ? r->seq <= until->seq : r->e.time.instant_ns <= until->ns;
        if (!*ret_more)
            return OK;
        enum err rc = fold_record(store, m, r, err);
        if (rc != OK)
            return err_wrap(err, rc, "event %llu", (unsigned long long)r->seq);
    }
    *ret_more = batch->n > 0;
    return OK;
}

static enum err fold(struct store *store, struct model *m, const struct until *until, struct errinfo *err)
{
    for (bool more = true; more;) {
        AUTO(store_batch) struct store_batch batch = {0};
        enum err rc = store_read(store, m->seq, 0, ENVELOPE_BATCH_SIZE_MAX, &batch, err);
        if (rc == OK)
            rc = fold_batch(store, m, &batch, until, &more, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

enum err past_fold(const struct cli *c, const char *at, struct model **ret_model, struct errinfo *err)
{
    char spec[LOG_SPEC_SIZE];
    struct until until;
    struct store *store = NULL;
    enum err rc = until_parse(at, &until, err);
    if (rc != OK)
        return rc;
    rc = store_open(log_spec(&c->home, LOG_AS_REPLICA, spec), &(struct store_options){.mode = STORE_READ}, &store, NULL,
                    err);
    if (rc != OK)
        return err_wrap(err, rc, "the log of '%s'", c->home.path);
    struct model *m = model_new();
    rc = fold(store, m, &until, err);
    store_close(store);
    if (rc == OK && until.is_position && until.seq > m->seq)
        rc = err_set(err, ERR_NOT_FOUND, "the log ends at event %llu, before %llu", (unsigned long long)m->seq,
                     (unsigned long long)until.seq);
    if (rc == OK)
        *ret_model = m;
    else
        model_free(m);
    return rc;
}

void past_time(const struct model *m, char ret_text[static EVENT_TIME_TEXT_SIZE])
{
    ret_text[0] = '\0';
    if (m->seq > 0)
        event_time_format(m->time, ret_text);
}

/* ---- rows ---- */

static void set_id(json_t *row, const char *key, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    json_object_set_new(row, key, id_is_none(id) ? json_null() : json_string(text));
}

/* Texts of the model come from outside: bytes that are no UTF-8 would not be JSON. */
static void set_text(json_t *row, const char *key, const char *text)
{
    json_object_set_new(row, key, text == NULL || text[0] == '\0' ? json_null() : json_from_str(str_from(text)));
}

static void set_instant(json_t *row, const char *key, int64_t ns)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format_us(ns / 1000, text);
    json_object_set_new(row, key, ns == 0 ? json_null() : json_string(text));
}

static json_t *row_new(json_t *rows, struct id id, const char *id_key, const char *label)
{
    json_t *row = json_object();
    json_array_append_new(rows, row);
    set_id(row, "id", id);
    set_id(row, id_key, id);
    set_text(row, "label", label);
    return row;
}

static void add_node(json_t *rows, const struct node *n)
{
    json_t *row = row_new(rows, n->id, "node_id", n->name);
    set_text(row, "name", n->name);
    set_text(row, "zone", n->zone->name);
    set_text(row, "region", n->zone->region->name);
    set_text(row, "status", node_status_name(n->status));
    set_text(row, "cause", n->cause);
    json_object_set_new(row, "instances", json_integer((json_int_t)n->instances.n));
}

static void add_project(json_t *rows, const struct project *p)
{
    if (p->is_deleted)
        return;
    json_t *row = row_new(rows, p->id, "project_id", p->slug);
    set_text(row, "name", p->name);
    set_text(row, "slug", p->slug);
    set_id(row, "live_deployment_id", p->live == NULL ? ID_NONE : p->live->id);
}

static void add_deployment(json_t *rows, const struct process *p)
{
    AUTO(buf) struct buf label = {0};
    if (p->project == NULL)
        return;
    process_describe(p, &label);
    buf_add_char(&label, '\0');
    json_t *row = row_new(rows, p->id, "deployment_id", label.ptr);
    set_text(row, "project", p->project->slug);
    set_text(row, "status", deployment_status_name(p->status));
    set_text(row, "cause", p->cause);
    json_object_set_new(row, "instances_wanted", json_integer(p->instances_wanted));
    json_object_set_new(row, "instances", json_integer((json_int_t)p->instances.n));
    set_instant(row, "since", p->since_ns);
    set_text(row, "because", p->status_because);
}

static void add_instance(json_t *rows, const struct instance *i)
{
    const struct project *project = i->process->project;
    json_t *row = row_new(rows, i->id, "instance_id", project != NULL ? project->slug : i->process->name);
    set_id(row, "deployment_id", project != NULL ? i->process->id : ID_NONE);
    set_text(row, "project", project != NULL ? project->slug : NULL);
    set_text(row, "name", project != NULL ? project->slug : i->process->name);
    set_id(row, "node_id", i->node != NULL ? i->node->id : ID_NONE);
    set_text(row, "node", i->node != NULL ? i->node->name : NULL);
    set_text(row, "zone", i->node != NULL ? i->node->zone->name : NULL);
    set_text(row, "owner", i->owner);
    set_text(row, "desired", desired_name(instance_desired(i)));
    set_text(row, "status", instance_status_name((enum instance_status)i->status));
    set_text(row, "health", health_name((enum health)i->health));
    set_text(row, "ipv6", i->address);
    json_object_set_new(row, "port", json_integer(i->process->port));
    json_object_set_new(row, "pid", json_null());
    set_text(row, "runtime", i->runtime[0] != '\0' ? i->runtime : i->process->runtime);
    json_object_set_new(row, "accelerated", json_null());
    json_object_set_new(row, "restarts", json_integer(i->restarts));
    set_text(row, "cause", i->cause);
    set_instant(row, "since", i->since_ns);
    set_text(row, "because", i->because);
}

static void add_image(json_t *rows, const struct image *i)
{
    json_t *row = row_new(rows, i->id, "image_id", i->project != NULL ? i->project->slug : NULL);
    set_text(row, "digest", i->digest);
    json_object_set_new(row, "size_bytes", json_integer(i->size_bytes));
    set_text(row, "status", image_status_name(i->status));
    set_text(row, "cause", i->cause);
}

static const char *const KIND_NAMES[] = {"node", "project", "deployment", "instance", "image"};

const char *past_kind_name(enum past_kind kind)
{
    return KIND_NAMES[kind];
}

json_t *past_rows(const struct model *m, enum past_kind kind)
{
    json_t *rows = json_array();
    switch (kind) {
    case PAST_NODES:
        MODEL_EACH (node, n, &m->nodes)
            add_node(rows, n);
        break;
    case PAST_PROJECTS:
        MODEL_EACH (project, p, &m->projects)
            add_project(rows, p);
        break;
    case PAST_DEPLOYMENTS:
        MODEL_EACH (process, p, &m->processes)
            add_deployment(rows, p);
        break;
    case PAST_INSTANCES:
        MODEL_EACH (instance, i, &m->instances)
            add_instance(rows, i);
        break;
    case PAST_IMAGES:
        MODEL_EACH (image, i, &m->images)
            add_image(rows, i);
        break;
    case PAST_KIND_MAX_: break;
    }
    return rows;
}
