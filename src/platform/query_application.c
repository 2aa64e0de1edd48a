/* Looking up what applications consist of, and the timeline of a process. */
#include "platform/model.h"

bool process_is_application(const struct process *p)
{
    return p->project == NULL && p->image_digest[0] != '\0';
}

const struct process *model_application(const struct model *m, struct str name, struct str version)
{
    MODEL_EACH (process, p, &m->processes)
        if (process_is_application(p) && !p->is_deleted && str_eq_c(name, p->name) && str_eq_c(version, p->version))
            return p;
    return NULL;
}

const struct process *model_application_by_host_label(const struct model *m, struct str label)
{
    const struct process *newest = NULL;
    MODEL_EACH (process, p, &m->processes)
        if (!p->is_deleted && str_eq_c(label, p->host_label) && p->host_label[0] != '\0' &&
            (newest == NULL || p->created_seq > newest->created_seq))
            newest = p;
    return newest;
}

bool process_is_routed(const struct model *m, const struct process *p)
{
    if (p->project != NULL || p->host_label[0] == '\0' || p->route_seq == 0 || p->is_deleted)
        return false;
    MODEL_EACH (process, other, &m->processes)
        if (other->route_seq > p->route_seq && !other->is_deleted && strcmp(other->host_label, p->host_label) == 0)
            return false;
    return true;
}

const struct definition *model_definition(const struct model *m, struct id id)
{
    return id_index_find(&m->definitions, id);
}

const struct definition *model_definition_by_name(const struct model *m, enum event_kind kind, struct str name,
                                                  const struct str *version)
{
    const struct definition *newest = NULL;
    MODEL_EACH (definition, d, &m->definitions) {
        if (d->kind != kind || !str_eq_c(name, d->name) || (version != NULL && !str_eq_c(*version, d->version)))
            continue;
        if (newest == NULL || d->changed_seq > newest->changed_seq)
            newest = d;
    }
    return newest;
}

const struct domain *model_domain_by_host(const struct model *m, struct str host)
{
    size_t at = 0;
    for (const struct domain *d; (d = key_index_next(&m->keys[KEY_DOMAIN_HOST], key_of_str(host), &at)) != NULL;)
        if (str_eq_c(host, d->host))
            return d;
    return NULL;
}

bool domain_is_proved(const struct domain *d)
{
    return d->status == DOMAIN_VERIFIED || d->status == DOMAIN_SERVING;
}

const struct secret *model_secret_by_name(const struct model *m, const struct project *project, struct str name)
{
    size_t at = 0;
    uint64_t key = key_of_secret(project, name);
    for (const struct secret *s; (s = key_index_next(&m->keys[KEY_SECRET_NAME], key, &at)) != NULL;)
        if (s->project == project && str_eq_c(name, s->name))
            return s;
    return NULL;
}

const struct user *model_user_by_identity(const struct model *m, struct str identity)
{
    size_t at = 0;
    for (const struct user *u; (u = key_index_next(&m->keys[KEY_USER_IDENTITY], key_of_str(identity), &at)) != NULL;)
        if (!u->is_erased && str_eq_c(identity, u->identity))
            return u;
    return NULL;
}

const struct process *model_user_of_image(const struct model *m, const struct image *i)
{
    size_t at = 0;
    for (const struct process *p; (p = key_index_next(&m->keys[KEY_PROCESS_IMAGE], key_of_id(i->id), &at)) != NULL;) {
        bool is_over = p->project != NULL && deployment_is_over(p);
        if (!is_over && id_eq(p->image_id, i->id))
            return p;
    }
    return NULL;
}

bool model_image_is_named(const struct model *m, struct id image_id)
{
    size_t at = 0;
    for (const struct process *p; (p = key_index_next(&m->keys[KEY_PROCESS_IMAGE], key_of_id(image_id), &at)) != NULL;)
        if (id_eq(p->image_id, image_id))
            return true;
    return false;
}

bool image_is_settled(const struct model *m, const struct image *i)
{
    return i->status != IMAGE_BUILDING && model_instance(m, i->builder_instance_id) == NULL;
}

bool deployment_is_quiet(const struct process *d)
{
    return deployment_is_over(d) && d->instances.n == 0;
}

bool deployment_is_settled(const struct model *m, const struct process *d)
{
    if (!deployment_is_quiet(d))
        return false;
    const struct image *image = model_image(m, d->image_id);
    return image == NULL || image_is_settled(m, image);
}

/* ---- Timeline ---- */

static size_t timeline_bound(const struct process *p)
{
    size_t n = 3 + 3 * (size_t)p->gone_n;
    MODEL_EACH (instance, i, &p->instances)
        n += 1 + i->history_n;
    return n;
}

static void add(struct timeline *t, struct timeline_entry e)
{
    const char **texts[] = {&e.node_name, &e.what, &e.health, &e.cause, &e.because};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (*texts[i] == NULL)
            *texts[i] = "";
    t->items[t->n++] = e;
}

static void add_gone(struct timeline *t, const struct gone_instance *g)
{
    struct timeline_entry e = {.instance_id = g->id, .node_name = g->node_name};
    e.at_ns = g->created_ns;
    e.what = "created";
    add(t, e);
    e.at_ns = g->status_ns;
    e.what = instance_status_name((enum instance_status)g->status);
    e.health = health_name((enum health)g->health);
    e.cause = g->cause;
    add(t, e);
    add(t, (struct timeline_entry){.at_ns = g->deleted_ns,
                                   .instance_id = g->id,
                                   .node_name = g->node_name,
                                   .what = "deleted",
                                   .because = g->because});
}

static void add_instance(struct timeline *t, const struct instance *i)
{
    const char *node = i->node == NULL ? "" : i->node->name;
    bool is_whole = i->history[0].at_ns == i->created_ns; /* the first entry is the creation itself */
    if (!is_whole)
        add(t, (struct timeline_entry){.at_ns = i->created_ns,
                                       .instance_id = i->id,
                                       .node_name = node,
                                       .what = "created",
                                       .because = i->because});
    for (uint32_t k = 0; k < i->history_n; k++) {
        const struct instance_history *h = &i->history[k];
        bool is_creation = k == 0 && is_whole;
        add(t, (struct timeline_entry){.at_ns = h->at_ns,
                                       .instance_id = i->id,
                                       .node_name = node,
                                       .what = is_creation ? "created"
                                                           : instance_status_name((enum instance_status)h->status),
                                       .health = health_name((enum health)h->health),
                                       .cause = h->cause,
                                       .because = is_creation ? i->because : ""});
    }
}

static int order(const struct timeline_entry *x, const struct timeline_entry *y)
{
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return id_cmp(x->instance_id, y->instance_id);
}

/* Entries of one object are added in their order: equal times keep it (insertion sort). */
static void sort_stable(struct timeline *t)
{
    for (size_t i = 1; i < t->n; i++) { /* runs of each instance are sorted already: few moves */
        struct timeline_entry e = t->items[i];
        size_t k = i;
        for (; k > 0 && order(&t->items[k - 1], &e) > 0; k--)
            t->items[k] = t->items[k - 1];
        t->items[k] = e;
    }
}

struct timeline process_timeline(const struct process *p, struct arena *a)
{
    struct timeline t = {.items = arena_alloc(a, timeline_bound(p) * sizeof(*t.items))};
    add(&t, (struct timeline_entry){.at_ns = p->created_ns, .what = "created", .because = p->because});
    if (p->project != NULL && p->since_ns != p->created_ns)
        add(&t, (struct timeline_entry){.at_ns = p->since_ns,
                                        .what = deployment_status_name(p->status),
                                        .cause = p->cause,
                                        .because = p->status_because});
    for (uint32_t i = 0; i < p->gone_n; i++)
        add_gone(&t, &p->gone[i]);
    MODEL_EACH (instance, i, &p->instances)
        add_instance(&t, i);
    sort_stable(&t);
    return t;
}
