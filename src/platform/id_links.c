#include "platform/id_links.h"

#include "base/map.h"
#include "base/mem.h"

struct id_links_from {
    struct id from;
    struct id *to;
    size_t n, size;
    UT_hash_handle hh;
};

static struct id_links_from *head_of(const struct id_links *l, struct id from)
{
    struct id_links_from *h = NULL;
    HASH_FIND(hh, l->heads, &from, sizeof(from), h);
    return h;
}

static size_t position(const struct id_links_from *h, struct id to)
{
    size_t from = 0, end = h->n;
    while (from < end) {
        size_t mid = from + (end - from) / 2;
        if (id_cmp(h->to[mid], to) < 0)
            from = mid + 1;
        else
            end = mid;
    }
    return from;
}

void id_links_add(struct id_links *l, struct id from, struct id to)
{
    struct id_links_from *h = head_of(l, from);
    if (h == NULL) {
        h = mem_alloc(sizeof(*h));
        h->from = from;
        HASH_ADD(hh, l->heads, from, sizeof(h->from), h);
    }
    size_t at = position(h, to);
    if (at < h->n && id_eq(h->to[at], to))
        return;
    if (h->n == h->size) {
        h->size = h->size == 0 ? 1 : h->size * 2;
        h->to = mem_realloc(h->to, h->size * sizeof(*h->to));
    }
    memmove(&h->to[at + 1], &h->to[at], (h->n - at) * sizeof(*h->to));
    h->to[at] = to;
    h->n++;
    l->n++;
}

void id_links_remove(struct id_links *l, struct id from, struct id to)
{
    struct id_links_from *h = head_of(l, from);
    size_t at = h == NULL ? 0 : position(h, to);
    if (h == NULL || at == h->n || !id_eq(h->to[at], to))
        return;
    memmove(&h->to[at], &h->to[at + 1], (h->n - at - 1) * sizeof(*h->to));
    h->n--;
    l->n--;
    if (h->n > 0)
        return;
    HASH_DEL(l->heads, h);
    free(h->to);
    free(h);
}

const struct id *id_links_find(const struct id_links *l, struct id from, size_t *ret_n)
{
    const struct id_links_from *h = head_of(l, from);
    *ret_n = h == NULL ? 0 : h->n;
    return h == NULL ? NULL : h->to;
}

void id_links_done(struct id_links *l)
{
    struct id_links_from *h = NULL, *next = NULL;
    HASH_ITER(hh, l->heads, h, next)
    {
        HASH_DEL(l->heads, h);
        free(h->to);
        free(h);
    }
    *l = (struct id_links){0};
}

size_t id_links_size_bytes(const struct id_links *l)
{
    return HASH_COUNT(l->heads) * (sizeof(struct id_links_from) + 2 * sizeof(struct id)) + l->n * sizeof(struct id);
}
