#include "platform/keys.h"

#define MODEL_WRITE_MEMORY
#include "platform/members.h"
#include "platform/model_write.h"

uint64_t key_of_prefix(uint64_t prefix)
{
    struct id id = ID_NONE;
    memcpy(id.bytes, &prefix, sizeof(prefix));
    return key_of_id(id);
}

uint64_t key_of_secret(const struct project *project, struct str name)
{
    return key_of_str(name) ^ (project == NULL ? 0 : key_of_id(project->id));
}

/* Types that have one key of a kind, and where the model has them. */
#define OBJECTS_OF(member) offsetof(struct model, member)
static const size_t OBJECTS[KEY_KIND_MAX_] = {
    [KEY_NODE_NAME] = OBJECTS_OF(nodes),
    [KEY_NODE_PREFIX] = OBJECTS_OF(nodes),
    [KEY_PROJECT_SLUG] = OBJECTS_OF(projects),
    [KEY_PROJECT_HOST] = OBJECTS_OF(projects),
    [KEY_IMAGE_BUILDER] = OBJECTS_OF(images),
    [KEY_PROCESS_IMAGE] = OBJECTS_OF(processes),
    [KEY_CERTIFICATE_HOST] = OBJECTS_OF(certificates),
    [KEY_DOMAIN_HOST] = OBJECTS_OF(domains),
    [KEY_SECRET_NAME] = OBJECTS_OF(secrets),
    [KEY_USER_IDENTITY] = OBJECTS_OF(users),
    [KEY_WAITING_IDENTITY] = OBJECTS_OF(waitlist),
};

/* False: the object has none. */
static bool key_of(enum key_kind kind, const void *object, uint64_t *ret)
{
    switch (kind) {
    case KEY_NODE_NAME: *ret = key_of_str(str_from(((const struct node *)object)->name)); return true;
    case KEY_NODE_PREFIX:
        *ret = key_of_prefix(((const struct node *)object)->prefix_u64);
        return ((const struct node *)object)->prefix[0] != '\0';
    case KEY_PROJECT_SLUG: *ret = key_of_str(str_from(((const struct project *)object)->slug)); return true;
    case KEY_IMAGE_BUILDER:
        *ret = key_of_id(((const struct image *)object)->builder_instance_id);
        return !id_is_none(((const struct image *)object)->builder_instance_id);
    case KEY_PROCESS_IMAGE:
        *ret = key_of_id(((const struct process *)object)->image_id);
        return !id_is_none(((const struct process *)object)->image_id);
    case KEY_CERTIFICATE_HOST: *ret = key_of_str(str_from(((const struct certificate *)object)->host)); return true;
    case KEY_DOMAIN_HOST: *ret = key_of_str(str_from(((const struct domain *)object)->host)); return true;
    case KEY_SECRET_NAME: {
        const struct secret *s = object;
        *ret = key_of_secret(s->project, str_from(s->name));
        return true;
    }
    case KEY_USER_IDENTITY:
        *ret = key_of_str(str_from(((const struct user *)object)->identity));
        return !((const struct user *)object)->is_erased;
    case KEY_WAITING_IDENTITY: *ret = key_of_str(str_from(((const struct waiting *)object)->identity)); return true;
    case KEY_PROJECT_HOST:
    case KEY_KIND_MAX_: break;
    }
    return false;
}

static void add(struct model *m, enum key_kind kind, uint64_t key, const void *object)
{
    void *held = (void *)(uintptr_t)object;
    if (m->journal != NULL)
        journal_key_add(m->journal, &m->keys[kind], key, held);
    key_index_add(&m->keys[kind], key, held);
}

static void drop(struct model *m, enum key_kind kind, uint64_t key, const void *object)
{
    void *held = (void *)(uintptr_t)object;
    if (m->journal != NULL)
        journal_key_remove(m->journal, &m->keys[kind], key, held);
    key_index_remove(&m->keys[kind], key, held);
}

void keys_add(struct model *m, enum key_kind kind, const void *object)
{
    uint64_t key;
    if (kind == KEY_PROJECT_HOST) {
        const struct project *p = object;
        for (size_t i = 0; i < p->hosts.n; i++)
            add(m, kind, key_of_str(str_from(p->hosts.items[i])), p);
    } else if (key_of(kind, object, &key)) {
        add(m, kind, key, object);
    }
}

void keys_remove(struct model *m, enum key_kind kind, const void *object)
{
    uint64_t key;
    if (kind == KEY_PROJECT_HOST) {
        const struct project *p = object;
        for (size_t i = 0; i < p->hosts.n; i++)
            drop(m, kind, key_of_str(str_from(p->hosts.items[i])), p);
    } else if (key_of(kind, object, &key)) {
        drop(m, kind, key, object);
    }
}

void keys_make(struct model *m)
{
    for (int kind = 0; kind < KEY_KIND_MAX_; kind++) {
        const struct id_index *x = (const void *)((const char *)m + OBJECTS[kind]);
        for (size_t i = 0; i < x->n; i++)
            keys_add(m, (enum key_kind)kind, x->items[i]);
    }
}

bool keys_are_right(const struct model *m)
{
    struct model again = *m;
    bool same = true;
    memset(again.keys, 0, sizeof(again.keys));
    again.journal = NULL;
    keys_make(&again);
    for (int kind = 0; kind < KEY_KIND_MAX_; kind++) {
        same &= again.keys[kind].n == m->keys[kind].n;
        for (size_t i = 0; i < again.keys[kind].size; i++) {
            const struct key_slot *s = &again.keys[kind].slots[i];
            if (s->object != NULL)
                same &= key_index_has(&m->keys[kind], s->key, s->object);
        }
        key_index_done(&again.keys[kind]);
    }
    return same;
}
