#include "platform/id_index.h"

#include <assert.h>

#include "base/mem.h"

static struct id id_of(const void *object)
{
    return *(const struct id *)object;
}

/* Where id stands or would stand. */
static size_t position(const struct id_index *x, struct id id)
{
    if (x->n > 0 && id_cmp(id_of(x->items[x->n - 1]), id) < 0)
        return x->n; /* the newest: the usual case of an addition */
    size_t from = 0, to = x->n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (id_cmp(id_of(x->items[mid]), id) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

const void *id_index_find(const struct id_index *x, struct id id)
{
    size_t at = position(x, id);
    return at < x->n && id_eq(id_of(x->items[at]), id) ? x->items[at] : NULL;
}

void id_index_add(struct id_index *x, void *object)
{
    if (x->n == x->size) {
        x->size = x->size == 0 ? 4 : x->size + x->size / 2 + 1;
        x->items = mem_realloc(x->items, x->size * sizeof(*x->items));
    }
    size_t at = position(x, id_of(object));
    assert(at == x->n || !id_eq(id_of(x->items[at]), id_of(object)));
    memmove(&x->items[at + 1], &x->items[at], (x->n - at) * sizeof(*x->items));
    x->items[at] = object;
    x->n++;
}

void id_index_remove(struct id_index *x, struct id id)
{
    size_t at = position(x, id);
    if (at == x->n || !id_eq(id_of(x->items[at]), id))
        return;
    memmove(&x->items[at], &x->items[at + 1], (x->n - at - 1) * sizeof(*x->items));
    x->n--;
}

void id_index_done(struct id_index *x)
{
    free(x->items);
    *x = (struct id_index){0};
}
