/* What changed, and where: stamps on objects, and tombstones for what is gone. */
#include "platform/model_write.h"

void touch_node(struct model *m, const struct node *n)
{
    node_edit(m, n)->changed_seq = m->nodes_seq = model_next_seq(m);
    changes_add(m->changes, OBJECT_NODE, n->id, ID_NONE);
}

void touch_route(struct model *m, const struct project *p)
{
    project_edit(m, p)->route_seq = m->routes_seq = model_next_seq(m);
}

void touch_edges(struct model *m, const struct process *p)
{
    process_edit(m, p)->edges_seq = m->routes_seq = model_next_seq(m);
}

void touch_instance_state(struct model *m, const struct instance *i)
{
    instance_edit(m, i)->changed_seq = m->instances_seq = model_next_seq(m);
    changes_add(m->changes, OBJECT_INSTANCE, i->id, i->process->id);
    const struct project *project = i->process->project;
    if (project != NULL && (project->live == i->process || deployment_is_beside(i->process)))
        touch_route(m, project);
    else if (project == NULL && i->process->route_seq != 0)
        touch_edges(m, i->process);
}

void touch_asked(struct model *m, const struct node *n)
{
    if (n == NULL)
        return;
    node_edit(m, n)->instances_seq = model_next_seq(m);
    changes_add(m->asked, OBJECT_NODE, n->id, ID_NONE);
}

void touch_instance(struct model *m, const struct instance *i)
{
    touch_instance_state(m, i);
    touch_asked(m, i->node);
}

void touch_deployment(struct model *m, const struct process *p)
{
    process_edit(m, p)->changed_seq = model_next_seq(m);
    changes_add(m->changes, OBJECT_PROCESS, p->id, p->project == NULL ? ID_NONE : p->project->id);
    MODEL_EACH (instance, i, &p->instances)
        touch_instance(m, i);
    if (p->project != NULL)
        touch_project(m, p->project);
}

void touch_image(struct model *m, const struct image *i)
{
    image_edit(m, i)->changed_seq = m->images_seq = model_next_seq(m);
    changes_add(m->changes, OBJECT_IMAGE, i->id, ID_NONE);
}

void touch_project(struct model *m, const struct project *p)
{
    project_edit(m, p)->changed_seq = m->projects_seq = model_next_seq(m);
    changes_add(m->changes, OBJECT_PROJECT, p->id, ID_NONE);
}

void touch_domain(struct model *m, const struct domain *d)
{
    domain_edit(m, d)->changed_seq = model_next_seq(m);
    touch_project(m, d->project);
}

/* Ids are made in the order of time, and what is created is later than what was deleted before: one comparison tells
 * nearly always that a new instance is none of 4,096. After a snapshot or a trial it is made anew. */
static void note_buried(struct model *m, enum object_kind kind, struct id id)
{
    if (m->buried_n != m->tombstones_n) {
        size_t kept = m->tombstones_n < MODEL_TOMBSTONES_MAX ? m->tombstones_n : MODEL_TOMBSTONES_MAX;
        m->buried_newest = ID_NONE;
        for (size_t i = 0; i < kept; i++)
            if (m->tombstones[i].kind == OBJECT_INSTANCE && id_cmp(m->tombstones[i].id, m->buried_newest) > 0)
                m->buried_newest = m->tombstones[i].id;
    }
    if (kind == OBJECT_INSTANCE && id_cmp(id, m->buried_newest) > 0)
        m->buried_newest = id;
    m->buried_n = m->tombstones_n + 1;
}

void bury(struct model *m, enum object_kind kind, struct id id, struct id scope)
{
    if (m->tombstones == NULL)
        m->tombstones = journal_alloc(m->journal, MODEL_TOMBSTONES_MAX * sizeof(*m->tombstones));
    note_buried(m, kind, id);
    struct tombstone *slot = &m->tombstones[m->tombstones_n++ % MODEL_TOMBSTONES_MAX];
    if (m->journal != NULL)
        journal_bytes(m->journal, slot, sizeof(*slot));
    *slot = (struct tombstone){.seq = model_next_seq(m), .kind = kind, .id = id, .scope = scope};
}

void instance_remember(struct model *m, struct instance *i, int64_t at_ns)
{
    uint32_t n = i->history_n;
    bool is_full = n == INSTANCE_HISTORY_MAX;
    size_t size = n * sizeof(*i->history);
    i->history = journal_resize(m->journal, i->history, size, is_full ? size : size + sizeof(*i->history));
    if (is_full) {
        texts_unref(&m->texts, i->history[0].cause);
        memmove(i->history, i->history + 1, size - sizeof(*i->history));
        n--;
    }
    i->history[n] = (struct instance_history){
        .at_ns = at_ns, .cause = texts_ref(&m->texts, str_from(i->cause)), .status = i->status, .health = i->health};
    i->history_n = n + 1;
}

uint64_t model_asked_n(const struct model *m)
{
    return changes_n(m->asked);
}

bool model_asked_has(const struct model *m, uint64_t from)
{
    return changes_has(m->asked, from);
}

struct id model_asked_at(const struct model *m, uint64_t i)
{
    return changes_at(m->asked, i)->id;
}

bool model_can_follow(const struct model *m, uint64_t seq)
{
    if (seq > m->seq)
        return false;
    if (m->tombstones_n <= MODEL_TOMBSTONES_MAX)
        return true;
    /* The oldest one that is kept: a reader who has seen its position has missed none that was dropped. */
    return m->tombstones[m->tombstones_n % MODEL_TOMBSTONES_MAX].seq <= seq;
}

size_t model_removed(const struct model *m, enum object_kind kind, struct id scope, uint64_t seq, struct id *ret,
                     size_t max)
{
    size_t kept = m->tombstones_n < MODEL_TOMBSTONES_MAX ? m->tombstones_n : MODEL_TOMBSTONES_MAX, n = 0;
    for (size_t i = m->tombstones_n; i > m->tombstones_n - kept; i--) {
        const struct tombstone *t = &m->tombstones[(i - 1) % MODEL_TOMBSTONES_MAX];
        if (t->seq <= seq)
            break;
        if (t->kind != kind || (!id_is_none(scope) && !id_eq(t->scope, scope)))
            continue;
        if (n < max)
            ret[n] = t->id;
        n++;
    }
    return n;
}

static bool is_remembered_as_gone(const struct model *m, enum object_kind kind, struct id id)
{
    size_t kept = m->tombstones_n < MODEL_TOMBSTONES_MAX ? m->tombstones_n : MODEL_TOMBSTONES_MAX;
    for (size_t i = 0; i < kept; i++)
        if (m->tombstones[i].kind == kind && id_eq(m->tombstones[i].id, id))
            return true;
    return false;
}

static const char *kind_text(enum object_kind kind)
{
    switch (kind) {
    case OBJECT_PROCESS: return "deployment";
    case OBJECT_IMAGE: return "image";
    case OBJECT_PROJECT: return "project";
    case OBJECT_NODE: return "node";
    case OBJECT_INSTANCE: return "instance";
    case OBJECT_CERTIFICATE:
    case OBJECT_ROUTE:
    case OBJECT_DOMAIN:
    case OBJECT_SECRET:
    case OBJECT_WAITING:
    case OBJECT_KIND_MAX_: break;
    }
    return "object";
}

enum err model_missing(const struct model *m, enum object_kind kind, struct id id, struct errinfo *err)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    if (is_remembered_as_gone(m, kind, id))
        return err_set(err, ERR_NOT_FOUND,
                       "the %s '%s' is over and no longer kept: 'slipform events --of %s' tells what became of it, "
                       "'slipform status %s --at T' how it was",
                       kind_text(kind), text, text, text);
    return err_set(err, ERR_NOT_FOUND,
                   "there is no %s '%s' (of one that has long been over 'slipform events --of %s' tells)",
                   kind_text(kind), text, text);
}
