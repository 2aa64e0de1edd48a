#include "platform/change_list.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct changes {
    struct change_entry *items; /* grows up to CHANGES_MAX, then a ring */
    uint64_t n, trial_from;
    size_t size;
};

struct changes *changes_new(void)
{
    return mem_alloc(sizeof(struct changes));
}

void changes_free(struct changes *c)
{
    if (c == NULL)
        return;
    free(c->items);
    free(c);
}

void changes_add(struct changes *c, int kind, struct id id, struct id scope)
{
    if (c->n == c->size && c->size < CHANGES_MAX) {
        c->size = c->size == 0 ? 256 : c->size * 2;
        c->items = mem_realloc(c->items, c->size * sizeof(*c->items));
    }
    c->items[c->n++ % CHANGES_MAX] = (struct change_entry){.id = id, .scope = scope, .kind = kind};
}

void changes_trial_begin(struct changes *c)
{
    c->trial_from = c->n;
}

void changes_trial_end(struct changes *c)
{
    uint64_t end = c->n;
    if (end - c->trial_from > CHANGES_MAX / 2) { /* who has not read them yet starts over anyway */
        c->n += CHANGES_MAX;
        c->size = CHANGES_MAX;
        c->items = mem_realloc(c->items, c->size * sizeof(*c->items));
        return;
    }
    for (uint64_t i = c->trial_from; i < end; i++) {
        struct change_entry again = *changes_at(c, i);
        changes_add(c, again.kind, again.id, again.scope);
    }
}

uint64_t changes_n(const struct changes *c)
{
    return c->n;
}

bool changes_has(const struct changes *c, uint64_t from)
{
    return from <= c->n && c->n - from <= CHANGES_MAX;
}

const struct change_entry *changes_at(const struct changes *c, uint64_t i)
{
    assert(i < c->n && changes_has(c, i));
    return &c->items[i % CHANGES_MAX];
}

size_t changes_size_bytes(const struct changes *c)
{
    return sizeof(*c) + c->size * sizeof(*c->items);
}
