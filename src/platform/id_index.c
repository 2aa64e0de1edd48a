#include "platform/id_index.h"

#include <assert.h>
#include <endian.h>

#include "base/mem.h"

static struct id id_of(const void *object)
{
    return *(const struct id *)object;
}

/* Orders as id_cmp does, as far as it goes. */
static uint64_t head_of(struct id id)
{
    uint64_t head = 0;
    memcpy(&head, id.bytes, sizeof(head));
    return be64toh(head);
}

static uint64_t *heads_of(const struct id_index *x)
{
    return (void *)(x->items + x->size);
}

/* The first that is not below head. No branch depends on a comparison: none of them could be foreseen. */
static size_t first_of_head(const uint64_t *heads, size_t n, uint64_t head)
{
    const uint64_t *at = heads;
    for (; n > 1; n -= n / 2)
        at += (at[n / 2 - 1] < head) * (n / 2);
    return (size_t)(at - heads) + (*at < head);
}

/* Where id stands or would stand. */
static size_t position(const struct id_index *x, struct id id)
{
    if (x->n == 0)
        return 0;
    uint64_t head = head_of(id);
    const uint64_t *heads = heads_of(x);
    if (heads[x->n - 1] < head)
        return x->n; /* the newest: the usual case of an addition */
    size_t from = first_of_head(heads, x->n, head), to = x->n;
    if (from + 1 >= to || heads[from + 1] != head)
        to = from + (heads[from] == head); /* one, or none, of that head */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (heads[mid] == head && id_cmp(id_of(x->items[mid]), id) < 0)
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

static void grow(struct id_index *x)
{
    struct id_index more = {.n = x->n, .size = x->size == 0 ? 4 : x->size + x->size / 2 + 1};
    more.items = mem_alloc(more.size * ID_INDEX_ITEM_SIZE);
    if (x->n > 0) {
        memcpy(more.items, x->items, x->n * sizeof(*x->items));
        memcpy(heads_of(&more), heads_of(x), x->n * sizeof(uint64_t));
    }
    free(x->items);
    *x = more;
}

void id_index_add(struct id_index *x, void *object)
{
    if (x->n == x->size)
        grow(x);
    size_t at = position(x, id_of(object));
    uint64_t *heads = heads_of(x);
    assert(at == x->n || !id_eq(id_of(x->items[at]), id_of(object)));
    memmove(&x->items[at + 1], &x->items[at], (x->n - at) * sizeof(*x->items));
    memmove(&heads[at + 1], &heads[at], (x->n - at) * sizeof(*heads));
    x->items[at] = object;
    heads[at] = head_of(id_of(object));
    x->n++;
}

void id_index_remove(struct id_index *x, struct id id)
{
    size_t at = position(x, id);
    if (at == x->n || !id_eq(id_of(x->items[at]), id))
        return;
    uint64_t *heads = heads_of(x);
    memmove(&x->items[at], &x->items[at + 1], (x->n - at - 1) * sizeof(*x->items));
    memmove(&heads[at], &heads[at + 1], (x->n - at - 1) * sizeof(*heads));
    x->n--;
}

void id_index_done(struct id_index *x)
{
    free(x->items);
    *x = (struct id_index){0};
}
