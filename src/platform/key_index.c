#include "platform/key_index.h"

#include "base/mem.h"

/* FNV-1a, 64 bits, and its high bits mixed into the low ones that choose a slot. */
static uint64_t hash(const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 32;
}

uint64_t key_of_str(struct str s)
{
    return hash(s.ptr, s.len);
}

uint64_t key_of_id(struct id id)
{
    uint64_t a, b;
    memcpy(&a, id.bytes, sizeof(a));
    memcpy(&b, id.bytes + sizeof(a), sizeof(b));
    uint64_t h = a * UINT64_C(0x9e3779b97f4a7c15) ^ b; /* the random bits are the high ones: down with them */
    h = (h ^ h >> 32) * UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 32;
}

static void put(struct key_index *x, uint64_t key, void *object)
{
    size_t at = key & (x->size - 1);
    while (x->slots[at].object != NULL)
        at = (at + 1) & (x->size - 1);
    x->slots[at] = (struct key_slot){key, object};
}

void key_index_add(struct key_index *x, uint64_t key, void *object)
{
    if (x->n * 4 >= x->size * 3) { /* three quarters full: a search ends soon */
        struct key_slot *old = x->slots;
        size_t old_size = x->size;
        x->size = old_size == 0 ? 8 : old_size * 2;
        x->slots = mem_calloc(x->size, sizeof(*x->slots));
        for (size_t i = 0; i < old_size; i++)
            if (old[i].object != NULL)
                put(x, old[i].key, old[i].object);
        free(old);
    }
    put(x, key, object);
    x->n++;
}

/* What stands behind a freed slot, up to the next gap, moves up if it is looked for from there or before: one pass, so
 * that thousands of one key cost no more than their number. */
void key_index_remove(struct key_index *x, uint64_t key, const void *object)
{
    if (x->size == 0)
        return;
    size_t mask = x->size - 1, at = key & mask;
    while (x->slots[at].object != NULL && (x->slots[at].object != object || x->slots[at].key != key))
        at = (at + 1) & mask;
    if (x->slots[at].object == NULL)
        return;
    x->n--;
    size_t gap = at;
    for (at = (at + 1) & mask; x->slots[at].object != NULL; at = (at + 1) & mask) {
        size_t past_home = (at - x->slots[at].key) & mask;
        if (past_home < ((at - gap) & mask))
            continue;
        x->slots[gap] = x->slots[at];
        gap = at;
    }
    x->slots[gap] = (struct key_slot){0};
}

void *key_index_next(const struct key_index *x, uint64_t key, size_t *at)
{
    if (x->size == 0)
        return NULL;
    size_t mask = x->size - 1;
    for (; x->slots[(key + *at) & mask].object != NULL; (*at)++)
        if (x->slots[(key + *at) & mask].key == key)
            return x->slots[(key + (*at)++) & mask].object;
    return NULL;
}

bool key_index_has(const struct key_index *x, uint64_t key, const void *object)
{
    size_t at = 0;
    const void *found = key_index_next(x, key, &at);
    while (found != NULL && found != object)
        found = key_index_next(x, key, &at);
    return found != NULL;
}

void key_index_done(struct key_index *x)
{
    free(x->slots);
    *x = (struct key_index){0};
}
