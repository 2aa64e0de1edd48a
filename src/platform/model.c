/* The model's memory: made, freed, measured. */
#include "platform/model.h"

#define MODEL_WRITE_MEMORY
#include "base/mem.h"
#include "platform/members.h"
#include "platform/model_write.h"

struct model *model_new(void)
{
    struct model *m = mem_alloc(sizeof(*m));
    m->time = EVENT_TIME_MIN;
    m->format = 1;
    m->kept = MODEL_RETENTION;
    m->changes = changes_new();
    m->asked = changes_new();
    return m;
}

void *members_new(struct model *m, const struct members *members)
{
    void *object = journal_alloc(m->journal, members->size);
    members_init(members, object);
    if (m->journal != NULL)
        journal_new(m->journal, object, members);
    return object;
}

void members_free(struct model *m, const struct members *members, const void *object)
{
    void *gone = (void *)(uintptr_t)object;
    members_done(m->journal, &m->texts, members, gone);
    journal_free(m->journal, gone);
}

/* Texts are freed all at once afterwards; here only objects and arrays. */
static void objects_free(const struct member *all, struct model *m)
{
    struct id_index *x = member_at(all, m);
    for (size_t i = 0; i < x->n; i++) {
        members_done(NULL, NULL, all->of, x->items[i]);
        free(x->items[i]);
    }
    id_index_done(x);
}

void model_free(struct model *m)
{
    if (m == NULL)
        return;
    assert(m->journal == NULL);
    for (size_t i = 0; i < MEMBERS_model.n; i++)
        if (MEMBERS_model.items[i].kind == MEMBER_OBJECTS)
            objects_free(&MEMBERS_model.items[i], m);
    for (int kind = 0; kind < KEY_KIND_MAX_; kind++)
        key_index_done(&m->keys[kind]);
    texts_done(&m->texts);
    free(m->tombstones);
    changes_free(m->changes);
    changes_free(m->asked);
    free(m);
}

static size_t index_size(const struct id_index *x, size_t object_size)
{
    return x->size * ID_INDEX_ITEM_SIZE + x->n * object_size;
}

size_t model_size_bytes(const struct model *m)
{
    size_t size = sizeof(*m) + texts_size_bytes(&m->texts);
    size += index_size(&m->nodes, sizeof(struct node)) + index_size(&m->projects, sizeof(struct project));
    size += index_size(&m->processes, sizeof(struct process)) + index_size(&m->images, sizeof(struct image));
    size += index_size(&m->instances, sizeof(struct instance)) + index_size(&m->zones, sizeof(struct zone));
    size += index_size(&m->regions, sizeof(struct region)) + index_size(&m->definitions, sizeof(struct definition));
    size += index_size(&m->certificates, sizeof(struct certificate));
    size += changes_size_bytes(m->changes) + changes_size_bytes(m->asked);
    for (int kind = 0; kind < KEY_KIND_MAX_; kind++)
        size += m->keys[kind].size * sizeof(*m->keys[kind].slots);
    size += index_size(&m->domains, sizeof(struct domain)) + index_size(&m->users, sizeof(struct user));
    size += index_size(&m->waitlist, sizeof(struct waiting)) + index_size(&m->secrets, sizeof(struct secret));
    size += index_size(&m->passed, sizeof(struct passed_record));
    size += m->tombstones == NULL ? 0 : MODEL_TOMBSTONES_MAX * sizeof(*m->tombstones);
    MODEL_EACH (instance, i, &m->instances)
        size += i->history_n * sizeof(*i->history) + 3 * sizeof(void *); /* a list item or two, its nodes' index */
    MODEL_EACH (node, n, &m->nodes)
        size += index_size(&n->instances, 0);
    MODEL_EACH (process, p, &m->processes)
        size += index_size(&p->instances, 0) + p->gone_n * sizeof(*p->gone);
    return size;
}
