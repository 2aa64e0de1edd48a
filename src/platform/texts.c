#include "platform/texts.h"

#include <assert.h>

#include "base/mem.h"
#include "event/hash.h"
#include "platform/journal.h"

struct text_entry {
    uint32_t hash, len, refs;
    char bytes[];
};

static const char EMPTY[] = "";

static struct text_entry *entry_of(const char *text)
{
    return (struct text_entry *)((uintptr_t)text - offsetof(struct text_entry, bytes));
}

static size_t slot_of(const struct texts *t, uint32_t hash)
{
    return hash & (t->slots_n - 1);
}

static void place(struct texts *t, struct text_entry *e)
{
    size_t i = slot_of(t, e->hash);
    while (t->slots[i] != NULL)
        i = (i + 1) & (t->slots_n - 1);
    t->slots[i] = e;
}

/* At most three quarters full, so that a search ends soon. */
static void grow(struct texts *t)
{
    if (t->used_n * 4 < t->slots_n * 3)
        return;
    struct text_entry **old = t->slots;
    size_t old_n = t->slots_n;
    t->slots_n = old_n == 0 ? 64 : old_n * 2;
    t->slots = mem_calloc(t->slots_n, sizeof(*t->slots));
    for (size_t i = 0; i < old_n; i++)
        if (old[i] != NULL)
            place(t, old[i]);
    free(old);
}

static const char *taken(struct texts *t, const struct text_entry *e)
{
    if (t->journal != NULL)
        journal_text(t->journal, e->bytes);
    return e->bytes;
}

const char *texts_ref(struct texts *t, struct str s)
{
    const char *nul = s.len == 0 ? NULL : memchr(s.ptr, '\0', s.len);
    if (nul != NULL)
        s.len = (size_t)(nul - s.ptr);
    if (s.len == 0)
        return EMPTY;
    assert(s.len < UINT32_MAX);
    grow(t);
    uint32_t hash = crc32c(0, s.ptr, s.len);
    for (size_t i = slot_of(t, hash); t->slots[i] != NULL; i = (i + 1) & (t->slots_n - 1)) {
        struct text_entry *e = t->slots[i];
        if (e->hash == hash && e->len == s.len && memcmp(e->bytes, s.ptr, s.len) == 0) {
            e->refs++;
            return taken(t, e);
        }
    }
    struct text_entry *e = mem_alloc(sizeof(*e) + s.len + 1);
    *e = (struct text_entry){.hash = hash, .len = (uint32_t)s.len, .refs = 1};
    memcpy(e->bytes, s.ptr, s.len);
    place(t, e);
    t->used_n++;
    return taken(t, e);
}

const char *texts_again(struct texts *t, const char *text)
{
    if (text[0] == '\0')
        return EMPTY;
    struct text_entry *e = entry_of(text);
    e->refs++;
    return taken(t, e);
}

/* Linear probing without tombstones: what stands behind a freed slot is placed anew, up to the next gap. */
static void take_out(struct texts *t, struct text_entry *e)
{
    size_t i = slot_of(t, e->hash), mask = t->slots_n - 1;
    while (t->slots[i] != e)
        i = (i + 1) & mask;
    t->slots[i] = NULL;
    for (i = (i + 1) & mask; t->slots[i] != NULL; i = (i + 1) & mask) {
        struct text_entry *next = t->slots[i];
        t->slots[i] = NULL;
        place(t, next);
    }
    t->used_n--;
}

void texts_unref(struct texts *t, const char *text)
{
    if (text == NULL || text[0] == '\0' || t->journal != NULL)
        return;
    struct text_entry *e = entry_of(text);
    assert(e->refs > 0);
    if (--e->refs > 0)
        return;
    take_out(t, e);
    free(e);
}

void texts_set(struct texts *t, const char **member, struct str s)
{
    const char *fresh = texts_ref(t, s);
    texts_unref(t, *member);
    *member = fresh;
}

uint64_t texts_refs(const struct texts *t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t->slots_n; i++)
        n += t->slots[i] == NULL ? 0 : t->slots[i]->refs;
    return n;
}

size_t texts_size_bytes(const struct texts *t)
{
    size_t size = t->slots_n * sizeof(*t->slots);
    for (size_t i = 0; i < t->slots_n; i++)
        if (t->slots[i] != NULL)
            size += sizeof(struct text_entry) + t->slots[i]->len + 1;
    return size;
}

void texts_done(struct texts *t)
{
    for (size_t i = 0; i < t->slots_n; i++)
        free(t->slots[i]);
    free(t->slots);
    *t = (struct texts){0};
}

void text_list_add(struct texts *t, struct text_list *list, struct str s)
{
    size_t size = list->n * sizeof(*list->items);
    list->items = journal_resize(t->journal, list->items, size, size + sizeof(*list->items));
    list->items[list->n++] = texts_ref(t, s);
}

void text_list_remove(struct texts *t, struct text_list *list, const char *text)
{
    size_t size = list->n * sizeof(*list->items);
    for (uint32_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i], text) == 0) {
            list->items = journal_resize(t->journal, list->items, size, size);
            texts_unref(t, list->items[i]);
            memmove(&list->items[i], &list->items[i + 1], (list->n - i - 1u) * sizeof(*list->items));
            list->n--;
            return;
        }
}

void text_list_clear(struct texts *t, struct text_list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        texts_unref(t, list->items[i]);
    journal_free(t->journal, list->items);
    *list = (struct text_list){0};
}

bool text_list_has(const struct text_list *list, const char *text)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}
