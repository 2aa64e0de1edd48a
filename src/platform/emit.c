#include "platform/emit.h"
#include "base/json.h"
#include "base/own.h"

#include <stdarg.h>

struct str because(struct event_list *l, const char *fmt, ...)
{
    AUTO(buf) struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(buf_str(&text), &doc, NULL);
    assert(rc == OK); /* ours: written a few lines away */
    if (l->now_ms != 0)
        json_object_set_new(doc, "nowMs", json_integer(l->now_ms));
    auto_free char *canonical = json_format(doc);
    return arena_str(l->arena, str_from(canonical));
}

const char *cut(struct event_list *l, const char *text, size_t max)
{
    size_t n = strlen(text);
    if (n <= max)
        return text;
    for (n = max; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
        n--; /* UTF-8: not in the middle of a character */
    return arena_str(l->arena, (struct str){text, n}).ptr;
}

struct str say(struct event_list *l, const char *fmt, ...)
{
    AUTO(buf) struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    return arena_str(l->arena, buf_str(&text));
}

const char *quoted(struct event_list *l, const char *text)
{
    AUTO(buf) struct buf out = {0};
    buf_add_json_string(&out, str_from(text));
    return arena_str(l->arena, buf_str(&out)).ptr;
}

const char *id_text(struct event_list *l, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    return arena_strdup(l->arena, text);
}

struct event *emit_deployment_status(struct event_list *l, struct id_source *ids, const struct process *d,
                                     enum deployment_status status, struct str cause, struct str because)
{
    struct event *e = event_list_add(l, EVENT_DEPLOYMENT_STATUS_CHANGE, ids);
    e->deployment_status_change = (struct deployment_status_change){
        .deployment_id = d->id, .status = str_from(deployment_status_name(status)), .cause = cause, .because = because};
    return e;
}

struct event *emit_instance_status(struct event_list *l, struct id_source *ids, const struct instance *i,
                                   enum instance_status status, const char *desired, struct str cause,
                                   struct str because)
{
    struct event *e = event_list_add(l, EVENT_INSTANCE_STATUS_CHANGE, ids);
    e->instance_status_change = (struct instance_status_change){.instance_id = i->id,
                                                                .status = str_from(instance_status_name(status)),
                                                                .desired = str_from(desired),
                                                                .cause = cause,
                                                                .because = because};
    return e;
}

/* An edge may lead to it: it serves, or did a moment ago. */
static bool may_be_routed(const struct instance *i)
{
    bool is_told =
        i->status == INSTANCE_DRAINING && i->wanted != DESIRED_RUNNING; /* else it drains with its deployment */
    if (is_told)
        return i->withdraw_seq != 0;
    bool may_serve = i->status == INSTANCE_RUNNING || i->status == INSTANCE_STARTING ||
                     i->status == INSTANCE_DRAINING || i->status == INSTANCE_SUSPENDED;
    bool has_left = i->process->status == DEPLOYMENT_DRAINING && i->process->edges_confirmed;
    return may_serve && i->process->route_seq != 0 && !has_left;
}

struct event *emit_instance_end(struct event_list *l, struct id_source *ids, const struct instance *i,
                                const char *desired, struct str cause, struct str because)
{
    bool may_run = i->status != INSTANCE_STOPPED && i->status != INSTANCE_FAILED && i->status != INSTANCE_LOST;
    enum instance_status next = may_run ? INSTANCE_DRAINING : (enum instance_status)i->status;
    return emit_instance_status(l, ids, i, next, desired, cause, because);
}

void emit_instance_withdrawal(struct event_list *l, struct id_source *ids, const struct instance *i,
                              const char *desired, struct str cause, struct str because)
{
    struct event *e = emit_instance_end(l, ids, i, desired, cause, because);
    e->instance_status_change.withdraw = may_be_routed(i);
}

void emit_instance_removal(struct event_list *l, struct id_source *ids, const struct instance *i, struct str cause,
                           struct str because)
{
    emit_instance_withdrawal(l, ids, i, "deleted", cause, because);
}

struct event *emit_delete_instance(struct event_list *l, struct id_source *ids, const struct instance *i,
                                   struct str because)
{
    struct event *e = event_list_add(l, EVENT_DELETE_INSTANCE, ids);
    e->delete_instance = (struct delete_instance){.instance_id = i->id, .because = because};
    return e;
}

struct event *emit_create_instance(struct event_list *l, struct id_source *ids, struct id process_id, struct str owner,
                                   const struct placement *at, struct str because)
{
    struct event *e = event_list_add(l, EVENT_CREATE_INSTANCE, ids);
    e->create_instance = (struct create_instance){.instance_id = id_next(ids),
                                                  .process_id = process_id,
                                                  .node_id = at->node->id,
                                                  .owner = owner,
                                                  .runtime = str_from(at->runtime),
                                                  .address = str_from(at->address),
                                                  .because = because};
    return e;
}

/* The process of all builders: of a bootstrap log, or made now with an id that every replica would choose. */
static struct id builder_process(struct event_list *l, struct id_source *ids, const struct model *m)
{
    const struct process *known = model_process_by_name(m, STR(BUILDER_PROGRAM));
    if (known != NULL)
        return known->id;
    struct id id = id_derive(ID_NONE, "process " BUILDER_PROGRAM);
    for (size_t i = 0; i < l->n; i++) /* another build of this list has made it */
        if (l->items[i].kind == EVENT_CREATE_PROCESS && id_eq(l->items[i].create_process.process_id, id))
            return id;
    event_list_add(l, EVENT_CREATE_PROCESS, ids)->create_process =
        (struct create_process){.process_id = id,
                                .name = STR(BUILDER_PROGRAM),
                                .artifact_url = STR("file:" BUILDER_PROGRAM),
                                .runtime = STR("host"),
                                .because = because(l, "{\"rule\":\"first build\"}")};
    return id;
}

/* One that runs once, whatever becomes of it. */
static struct id emit_builder(struct event_list *l, struct id_source *ids, struct id process_id, struct str owner,
                              const struct placement *at, struct str because)
{
    struct event *e = emit_create_instance(l, ids, process_id, owner, at, because);
    e->create_instance.restart = STR("never");
    return e->create_instance.instance_id;
}

void emit_rebuild(struct event_list *l, struct id_source *ids, struct str owner, const struct build *build,
                  const struct placement *at, struct str cause)
{
    struct id builder_id = emit_builder(l, ids, build->builder_process, owner, at, build->because);
    event_list_add(l, EVENT_REBUILD_IMAGE, ids)->rebuild_image =
        (struct rebuild_image){build->image_id, builder_id, cause, build->because};
}

struct id emit_build(struct event_list *l, struct id_source *ids, const struct model *m, struct str owner,
                     const struct build *build, const struct placement *at)
{
    struct id process_id = id_is_none(build->builder_process) ? builder_process(l, ids, m) : build->builder_process;
    struct id builder_id = emit_builder(l, ids, process_id, owner, at, build->because);
    event_list_add(l, EVENT_CREATE_IMAGE, ids)->create_image =
        (struct create_image){.image_id = build->image_id,
                              .project_id = build->project_id,
                              .context_digest = build->context_digest,
                              .builder_instance_id = builder_id,
                              .because = build->because};
    return builder_id;
}
