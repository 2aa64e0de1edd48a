/* The journal of a trial, and taking everything in it back, last first.
 * Normal course: model_trial_begin makes it -> folds write into it -> model_trial_end walks it backwards, lets go of
 * the texts that were taken, frees the memory that was asked for. An object's image does not hold its indexes: those
 * are taken back one entry at a time, so that their arrays may grow meanwhile. An image may be put back into an object
 * that is new in the trial: it is freed only afterwards. */
#include "platform/journal.h"

#define MODEL_WRITE_MEMORY
#include "platform/members.h"
#include "platform/model_trial.h"
#include "platform/model_write.h"

enum entry_kind { ENTRY_NEW, ENTRY_OBJECT, ENTRY_BYTES, ENTRY_ADDED, ENTRY_REMOVED, ENTRY_KEYED, ENTRY_UNKEYED };

struct entry {
    enum entry_kind kind;
    void *at;                      /* the object, the bytes, or the table */
    const struct members *members; /* NEW, OBJECT */
    size_t image, size;            /* OBJECT, BYTES: where in images */
    void *object;                  /* ADDED, REMOVED, KEYED, UNKEYED */
    uint64_t key;                  /* KEYED, UNKEYED */
};

struct pointers {
    void **items;
    size_t n, size;
};

struct journal {
    struct entry *entries;
    size_t entries_n, entries_size;
    char *images;
    size_t images_n, images_size;
    struct pointers memory, texts;
    const void **known; /* a set of objects with an image: open addressing, a power of two */
    size_t known_n, known_size;
};

/* Room for n more of an array. */
static void *grown(void *items, size_t used, size_t more, size_t *size, size_t item_size)
{
    if (used + more <= *size)
        return items;
    *size = (used + more) * 2 + 16;
    return mem_realloc(items, *size * item_size);
}

static void pointers_add(struct pointers *p, void *item)
{
    p->items = grown(p->items, p->n, 1, &p->size, sizeof(*p->items));
    p->items[p->n++] = item;
}

static struct entry *entry_add(struct journal *j, enum entry_kind kind, void *at)
{
    j->entries = grown(j->entries, j->entries_n, 1, &j->entries_size, sizeof(*j->entries));
    struct entry *e = &j->entries[j->entries_n++];
    *e = (struct entry){.kind = kind, .at = at};
    return e;
}

static void entry_image(struct journal *j, struct entry *e, size_t size)
{
    j->images = grown(j->images, j->images_n, size, &j->images_size, 1);
    memcpy(j->images + j->images_n, e->at, size);
    e->image = j->images_n;
    e->size = size;
    j->images_n += size;
}

static size_t known_slot(const struct journal *j, const void *object)
{
    size_t i = (size_t)((uintptr_t)object >> 4) * (size_t)0x9e3779b97f4a7c15u & (j->known_size - 1);
    while (j->known[i] != NULL && j->known[i] != object)
        i = (i + 1) & (j->known_size - 1);
    return i;
}

static void known_grow(struct journal *j)
{
    const void **old = j->known;
    size_t old_size = j->known_size;
    j->known_size = old_size == 0 ? 64 : old_size * 2;
    j->known = mem_calloc(j->known_size, sizeof(*j->known));
    for (size_t i = 0; i < old_size; i++)
        if (old[i] != NULL)
            j->known[known_slot(j, old[i])] = old[i];
    free(old);
}

/* True: it was not there yet. */
static bool known_add(struct journal *j, const void *object)
{
    if (j->known_n * 2 >= j->known_size)
        known_grow(j);
    size_t i = known_slot(j, object);
    if (j->known[i] != NULL)
        return false;
    j->known[i] = object;
    j->known_n++;
    return true;
}

/* ---- writing it ---- */

void *journal_alloc(struct journal *j, size_t size)
{
    void *p = mem_alloc(size);
    if (j != NULL)
        pointers_add(&j->memory, p);
    return p;
}

void journal_free(struct journal *j, void *p)
{
    if (j == NULL)
        free(p);
}

void *journal_resize(struct journal *j, void *p, size_t old_size, size_t new_size)
{
    if (new_size == 0) {
        journal_free(j, p);
        return NULL;
    }
    if (j == NULL)
        return new_size == old_size ? p : mem_realloc(p, new_size);
    void *copy = journal_alloc(j, new_size);
    if (old_size > 0)
        memcpy(copy, p, old_size < new_size ? old_size : new_size);
    return copy;
}

void journal_new(struct journal *j, void *object, const struct members *members)
{
    entry_add(j, ENTRY_NEW, object)->members = members;
}

void journal_object(struct journal *j, void *object, const struct members *members)
{
    if (!known_add(j, object))
        return;
    struct entry *e = entry_add(j, ENTRY_OBJECT, object);
    e->members = members;
    entry_image(j, e, members->size);
}

void journal_bytes(struct journal *j, void *at, size_t size)
{
    entry_image(j, entry_add(j, ENTRY_BYTES, at), size);
}

void journal_index_add(struct journal *j, struct id_index *x, void *object)
{
    entry_add(j, ENTRY_ADDED, x)->object = object;
}

void journal_index_remove(struct journal *j, struct id_index *x, struct id id)
{
    const void *object = id_index_find(x, id);
    if (object != NULL)
        entry_add(j, ENTRY_REMOVED, x)->object = (void *)(uintptr_t)object;
}

void journal_key_add(struct journal *j, struct key_index *x, uint64_t key, void *object)
{
    struct entry *e = entry_add(j, ENTRY_KEYED, x);
    e->key = key;
    e->object = object;
}

void journal_key_remove(struct journal *j, struct key_index *x, uint64_t key, void *object)
{
    if (!key_index_has(x, key, object))
        return;
    struct entry *e = entry_add(j, ENTRY_UNKEYED, x);
    e->key = key;
    e->object = object;
}

void journal_text(struct journal *j, const char *text)
{
    pointers_add(&j->texts, (void *)(uintptr_t)text);
}

/* ---- taking it back ---- */

static void put_back(const struct entry *e, const char *image)
{
    for (size_t i = 0; i < e->members->n; i++) {
        const struct member *m = &e->members->items[i];
        if (m->kind != MEMBER_INDEX && m->kind != MEMBER_OBJECTS && m->kind != MEMBER_OUTSIDE)
            memcpy(member_at(m, e->at), image + m->offset, m->size);
    }
}

static void indexes_done(const struct entry *e)
{
    for (size_t i = 0; i < e->members->n; i++)
        if (e->members->items[i].kind == MEMBER_INDEX)
            id_index_done(member_at(&e->members->items[i], e->at));
}

static void take_back(const struct journal *j, const struct entry *e)
{
    switch (e->kind) {
    case ENTRY_NEW: indexes_done(e); break;
    case ENTRY_OBJECT: put_back(e, j->images + e->image); break;
    case ENTRY_BYTES: memcpy(e->at, j->images + e->image, e->size); break;
    case ENTRY_ADDED: id_index_remove(e->at, *(const struct id *)e->object); break;
    case ENTRY_REMOVED: id_index_add(e->at, e->object); break;
    case ENTRY_KEYED: key_index_remove(e->at, e->key, e->object); break;
    case ENTRY_UNKEYED: key_index_add(e->at, e->key, e->object); break;
    }
}

static void journal_done(struct journal *j)
{
    free(j->entries);
    free(j->images);
    free(j->memory.items);
    free(j->texts.items);
    free(j->known);
    free(j);
}

void model_trial_begin(struct model *m)
{
    assert(m->journal == NULL);
    m->journal = m->texts.journal = mem_alloc(sizeof(*m->journal));
    journal_object(m->journal, m, &MEMBERS_model);
    changes_trial_begin(m->changes);
}

void model_trial_end(struct model *m)
{
    struct journal *j = m->journal;
    assert(j != NULL);
    for (size_t i = j->entries_n; i > 0; i--)
        take_back(j, &j->entries[i - 1]);
    m->journal = m->texts.journal = NULL;
    for (size_t i = 0; i < j->texts.n; i++)
        texts_unref(&m->texts, j->texts.items[i]);
    for (size_t i = 0; i < j->memory.n; i++)
        free(j->memory.items[i]);
    journal_done(j);
    changes_trial_end(m->changes);
}
