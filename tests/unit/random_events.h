#pragma once
/* Random events of every kind, made from the catalogue's own tables, so that a new kind comes by itself. Ids are mostly
 * such as have been used under the same key; texts are of a small vocabulary for their key. Many events are refused by
 * the model (which is a case, too): `accepted` counts those that were not, by kind. */
#include "base/own.h"
#include "event/catalogue.h"
#include "platform/model.h"

#define RANDOM_IDS_MAX 48

struct random_ids {
    char key[32];
    struct id items[RANDOM_IDS_MAX];
    size_t n;
};

struct random_events {
    uint64_t state;
    struct random_ids pools[64];
    size_t pools_n;
    int64_t time_ns;
    uint64_t ids_n;
    size_t accepted[EVENT_KIND_MAX_], refused;
};

static inline uint64_t random_u64(struct random_events *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state;
}

static inline uint64_t random_below(struct random_events *r, uint64_t n)
{
    return (random_u64(r) >> 11) % n;
}

static inline struct random_events random_events(uint64_t seed)
{
    return (struct random_events){.state = seed * 0x9e3779b97f4a7c15u + 1, .time_ns = INT64_C(1800000000000000000)};
}

/* The same id under every name that it goes by. */
static inline const char *random_key(const char *name)
{
    static const char *const SAME[][2] = {
        {"deploymentId", "processId"}, {"outputStreamId", "streamId"},      {"inputStreamIds", "streamId"},
        {"logIds", "logId"},           {"builderInstanceId", "instanceId"}, {"userId", "subjectId"},
        {"entryId", "subjectId"}};
    for (size_t i = 0; i < sizeof(SAME) / sizeof(SAME[0]); i++)
        if (strcmp(name, SAME[i][0]) == 0)
            return SAME[i][1];
    return name;
}

static inline struct random_ids *random_pool(struct random_events *r, const char *name)
{
    const char *key = random_key(name);
    size_t k = 0;
    while (k < r->pools_n && strcmp(r->pools[k].key, key) != 0)
        k++;
    assert(k < sizeof(r->pools) / sizeof(r->pools[0]) && strlen(key) < sizeof(r->pools[k].key));
    struct random_ids *pool = &r->pools[k];
    if (k == r->pools_n) {
        memcpy(pool->key, key, strlen(key) + 1);
        r->pools_n++;
    }
    return pool;
}

static inline struct id random_new_id(struct random_events *r)
{
    struct id id = {0};
    uint64_t n = ++r->ids_n, noise = random_u64(r);
    bool is_late = random_below(r, 4) == 0; /* some ids are not the newest */
    for (int i = 0; i < 8; i++) {
        id.bytes[i] = (uint8_t)(is_late ? noise >> (8 * i) & 1 : n >> (56 - 8 * i));
        id.bytes[8 + i] = (uint8_t)(noise >> (56 - 8 * i));
    }
    return id;
}

/* It begins with one of these words. */
static inline bool random_is(const char *name, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strncmp(name, *words, strlen(*words)) == 0)
            return true;
    return false;
}

/* It was accepted: others may name its id from now on; that of what was deleted mostly not any more. */
static inline void random_keep(struct random_events *r, const struct event *e)
{
    const struct event_kind_row *row = event_kind_row(e->kind);
    r->accepted[e->kind]++;
    bool is_end = random_is(row->name, (const char *const[]){"Delete", "Detach", "Unset", "Erase", "Leave", NULL});
    for (size_t k = 0; k < row->fields->fields_n && !is_end; k++) {
        const struct field *f = &row->fields->fields[k];
        struct id id = ID_NONE;
        if (f->type == FIELD_ID)
            id = *(const struct id *)(const void *)((const char *)&e->create_region + f->offset);
        struct random_ids *pool = id_is_none(id) ? NULL : random_pool(r, f->name);
        bool is_known = pool == NULL;
        for (size_t i = 0; pool != NULL && i < pool->n; i++)
            is_known = is_known || id_eq(pool->items[i], id);
        if (!is_known)
            pool->items[pool->n < RANDOM_IDS_MAX ? pool->n++ : random_below(r, RANDOM_IDS_MAX)] = id;
    }
    if (!is_end || random_below(r, 8) == 0)
        return;
    struct random_ids *pool = random_pool(r, row->fields->fields[0].name);
    for (size_t i = 0; i < pool->n; i++)
        if (id_eq(pool->items[i],
                  *(const struct id *)(const void *)((const char *)&e->create_region + row->fields->fields[0].offset)))
            pool->items[i] = pool->items[--pool->n];
}

static inline struct id random_id(struct random_events *r, const char *name, bool is_required)
{
    struct random_ids *pool = random_pool(r, name);
    if (!is_required && random_below(r, 3) == 0)
        return ID_NONE;
    bool is_new = pool->n == 0 || random_below(r, 6) == 0;
    return is_new ? random_new_id(r) : pool->items[random_below(r, pool->n)];
}

static inline struct str random_word(struct random_events *r, struct arena *a, const char *prefix, uint64_t n)
{
    return str_from(arena_printf(a, "%s%llu", prefix, (unsigned long long)random_below(r, n)));
}

static inline struct str random_of(struct random_events *r, const char *const *words, size_t n)
{
    return str_from(words[random_below(r, n)]);
}
#define RANDOM_OF(r, ...)                                                                                              \
    random_of(r, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static inline struct str random_text(struct random_events *r, struct arena *a, const char *key, bool is_required)
{
    if (strcmp(key, "status") == 0)
        return RANDOM_OF(r, "pending", "starting", "running", "draining", "stopped", "failed", "lost", "suspended",
                         "queued", "building", "live", "cancelled", "joining", "ready", "gone", "NOMINAL", "verified",
                         "serving");
    if (strcmp(key, "health") == 0)
        return RANDOM_OF(r, "", "NOMINAL", "NOMINAL", "WARNING", "ERROR", "EXIT");
    if (strcmp(key, "desired") == 0)
        return RANDOM_OF(r, "", "", "running", "stopped", "deleted");
    if (strcmp(key, "bootId") == 0)
        return random_below(r, 2) == 0 ? STR("") : random_word(r, a, "boot", 14);
    if (strcmp(key, "prefix") == 0)
        return random_below(r, 2) == 0
                   ? STR("")
                   : str_from(arena_printf(a, "fd00:0:0:%llu::/64", (unsigned long long)random_below(r, 9)));
    if (strcmp(key, "address") == 0)
        return random_below(r, 2) == 0
                   ? STR("")
                   : str_from(arena_printf(a, "fd00:0:0:%llu::%llx", (unsigned long long)random_below(r, 9),
                                           (unsigned long long)random_below(r, 4000)));
    if (strcmp(key, "runnerUrl") == 0)
        return random_below(r, 2) == 0 ? STR("") : random_word(r, a, "node:name", 40);
    if (strcmp(key, "restart") == 0)
        return RANDOM_OF(r, "", "always", "never");
    if (strcmp(key, "name") == 0 || strcmp(key, "host") == 0 || strcmp(key, "slug") == 0)
        return random_word(r, a, key, 40);
    if (strcmp(key, "replica") == 0)
        return random_word(r, a, key, 4);
    if (!is_required && random_below(r, 3) == 0)
        return STR("");
    return random_word(r, a, key, random_below(r, 8) == 0 ? 1000000 : 5);
}

static inline void random_struct(struct random_events *r, struct arena *a, const struct field_table *t, void *to);

static inline void random_field(struct random_events *r, struct arena *a, const struct field *f, void *at)
{
    size_t n = random_below(r, 4);
    switch (f->type) {
    case FIELD_STR: *(struct str *)at = random_text(r, a, f->name, f->required); break;
    case FIELD_ID: *(struct id *)at = random_id(r, f->name, f->required); break;
    case FIELD_I64: *(int64_t *)at = (int64_t)random_below(r, random_below(r, 4) == 0 ? 1000000 : 40); break;
    case FIELD_BOOL: *(bool *)at = random_below(r, 2) == 0; break;
    case FIELD_TIME:
        *(struct event_time *)at = (struct event_time){(int64_t)random_below(r, 1000000), (int32_t)n};
        break;
    case FIELD_JSON:
        *(struct str *)at = n == 0   ? STR("")
                            : n == 1 ? random_word(r, a, "1", 7)
                                     : str_from(arena_printf(a, "{\"sealed\":\"k%d:\"}", (int)random_below(r, 9)));
        break;
    case FIELD_STRS:
        *(struct strs *)at = (struct strs){arena_alloc(a, 4 * sizeof(struct str)), n};
        for (size_t i = 0; i < n; i++)
            ((struct strs *)at)->items[i] = strcmp(f->name, "hosts") == 0 ? random_word(r, a, "host", 40)
                                            : strcmp(f->name, "cleared") == 0
                                                ? RANDOM_OF(r, "port", "branch", "resources", "repository")
                                                : random_word(r, a, f->name, 6);
        break;
    case FIELD_IDS:
        n = random_below(r, 2);
        *(struct ids *)at = (struct ids){arena_alloc(a, 4 * sizeof(struct id)), n};
        for (size_t i = 0; i < n; i++)
            ((struct ids *)at)->items[i] = random_id(r, f->name, true);
        break;
    case FIELD_OBJECT: random_struct(r, a, f->table, at); break;
    case FIELD_OBJECTS:
        *(struct objects *)at = (struct objects){arena_alloc(a, 4 * f->table->size), n};
        for (size_t i = 0; i < n; i++)
            random_struct(r, a, f->table, (char *)((struct objects *)at)->items + i * f->table->size);
        break;
    }
}

static inline void random_struct(struct random_events *r, struct arena *a, const struct field_table *t, void *to)
{
    for (size_t i = 0; i < t->fields_n; i++)
        random_field(r, a, &t->fields[i], (char *)to + t->fields[i].offset);
}

/* What the tables cannot know: an event that is about two things that belong together. */
static inline void random_fit(struct random_events *r, const struct model *m, struct event *e)
{
    if (random_below(r, 8) == 0)
        return;
    if (e->kind == EVENT_INSTANCE_STATUS_CHANGE && !id_is_none(e->instance_status_change.node_id)) {
        const struct instance *i = model_instance(m, e->instance_status_change.instance_id);
        e->instance_status_change.node_id = i == NULL || i->node == NULL ? ID_NONE : i->node->id;
    }
    if (e->kind == EVENT_ROUTE_DEPLOYMENT) {
        size_t from = m->processes.n == 0 ? 0 : random_below(r, m->processes.n);
        for (size_t i = from; i < m->processes.n; i++) {
            const struct process *d = m->processes.items[i];
            if (d->project != NULL && (d->status == DEPLOYMENT_STARTING || d->status == DEPLOYMENT_LIVE)) {
                e->route_deployment.deployment_id = d->id;
                break;
            }
        }
        const struct process *p = model_deployment(m, e->route_deployment.deployment_id);
        e->route_deployment.project_id = p == NULL ? e->route_deployment.project_id : p->project->id;
        for (size_t i = random_below(r, 3) == 0 ? from : m->processes.n; i < m->processes.n; i++) {
            const struct process *d = m->processes.items[i];
            if (process_is_application(d) && d->host_label[0] != '\0' && !d->is_deleted) {
                e->route_deployment.deployment_id = d->id;
                e->route_deployment.project_id = ID_NONE;
            }
        }
    }
    if (e->kind == EVENT_DEPLOYMENT_STATUS_CHANGE)
        e->deployment_status_change.status =
            RANDOM_OF(r, "building", "starting", "starting", "live", "live", "draining", "stopped", "failed");
    if (e->kind == EVENT_CREATE_PROCESS) {
        const struct process *p = model_deployment(m, e->create_process.process_id);
        e->create_process.project_id = p == NULL ? ID_NONE : p->project->id;
    }
    if (e->kind == EVENT_IMAGE_STATUS_CHANGE)
        e->image_status_change.status = RANDOM_OF(r, "building", "ready", "failed");
    if (e->kind == EVENT_VERIFY_DOMAIN)
        e->verify_domain.status = RANDOM_OF(r, "pending", "verified", "serving", "failed");
    if (e->kind == EVENT_DELETE_IMAGE)
        for (size_t i = m->images.n == 0 ? 0 : random_below(r, m->images.n); i < m->images.n; i++) {
            const struct image *image = m->images.items[i];
            if (image->status != IMAGE_BUILDING && model_user_of_image(m, image) == NULL)
                e->delete_image.image_id = image->id;
        }
    if (e->kind == EVENT_RAISE_FORMAT)
        e->raise_format.format = m->format + 1;
    if (e->kind == EVENT_SET_ASIDE && m->passed.n > 0)
        e->set_aside.seq = (int64_t)((const struct passed_record *)m->passed.items[random_below(r, m->passed.n)])->seq;
    if (e->kind == EVENT_SET_SCALING_RULE && random_below(r, 2) == 0)
        e->set_scaling_rule.process_id = ID_NONE;
    if (e->kind == EVENT_CREATE_INSTANCE && random_below(r, 2) == 0)
        e->create_instance.address = STR("");
}

/* One event, in the arena; its time is after the one before it. */
static inline struct event random_event(struct random_events *r, const struct model *m, struct arena *a)
{
    static const enum event_kind OFTEN[] = {
        EVENT_INSTANCE_STATUS_CHANGE, EVENT_NODE_STATUS_CHANGE,  EVENT_CREATE_INSTANCE, EVENT_DEPLOYMENT_STATUS_CHANGE,
        EVENT_ROUTE_DEPLOYMENT,       EVENT_IMAGE_STATUS_CHANGE, EVENT_CREATE_PROCESS,  EVENT_CREATE_DEPLOYMENT};
    struct event e = {0};
    e.kind = random_below(r, 3) > 0 ? OFTEN[random_below(r, sizeof(OFTEN) / sizeof(OFTEN[0]))]
                                    : (enum event_kind)random_below(r, EVENT_KIND_MAX_);
    r->time_ns += (int64_t)random_below(r, 1000000000);
    e.time = (struct event_time){r->time_ns, (int32_t)random_below(r, 3)};
    e.time = event_time_cmp(e.time, m->time) > 0 ? e.time : event_time_next(m->time, r->time_ns);
    if (e.kind == EVENT_DELETE_PROJECT && random_below(r, 4) > 0)
        e.kind = EVENT_CREATE_PROJECT;
    const struct event_kind_row *row = event_kind_row(e.kind);
    random_struct(r, a, row->fields, &e.create_region); /* a union: all payloads begin here */
    if (row->fields->fields[0].type == FIELD_ID &&
        random_is(row->name, (const char *const[]){"Create", "Attach", "JoinW", "SetSec", NULL}) &&
        random_below(r, 4) > 0)
        *(struct id *)((char *)&e.create_region + row->fields->fields[0].offset) = random_new_id(r);
    random_fit(r, m, &e);
    return e;
}

/* Fold n of them. */
static inline void random_fold(struct random_events *r, struct model *m, size_t n)
{
    AUTO(arena) struct arena a = {0};
    for (size_t i = 0; i < n; i++) {
        struct event e = random_event(r, m, &a);
        if (model_apply(m, &e, NULL) == OK)
            random_keep(r, &e);
        else
            r->refused++;
        if (random_below(r, 200) == 0)
            model_pass_over(m, EVENT_TIME_MIN);
    }
}
