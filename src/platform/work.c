#include "platform/work.h"

#include <assert.h>

#include "base/mem.h"

enum { DIRTY, TIMED };
#define NOWHERE SIZE_MAX

static bool is_before(const struct work *a, const struct work *b, int which)
{
    if (which == TIMED)
        return a->at_ms < b->at_ms;
    if (a->class != b->class)
        return a->class < b->class;
    if (a->seq != b->seq)
        return a->seq < b->seq;
    int by_scope = id_cmp(a->scope, b->scope);
    return by_scope != 0 ? by_scope < 0 : id_cmp(a->key.id, b->key.id) < 0;
}

/* ---- Heaps that know where everything stands ---- */

static void put(struct work_heap *h, int which, size_t at, struct work *w)
{
    h->items[at] = w;
    w->heap_at[which] = at;
}

static void rise(struct work_heap *h, int which, size_t at)
{
    struct work *w = h->items[at];
    for (; at > 0 && is_before(w, h->items[(at - 1) / 2], which); at = (at - 1) / 2)
        put(h, which, at, h->items[(at - 1) / 2]);
    put(h, which, at, w);
}

static void sink(struct work_heap *h, int which, size_t at)
{
    struct work *w = h->items[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < h->n && is_before(h->items[child + 1], h->items[child], which))
            child++;
        if (child >= h->n || !is_before(h->items[child], w, which))
            break;
        put(h, which, at, h->items[child]);
        at = child;
    }
    put(h, which, at, w);
}

static void settle_at(struct work_heap *h, int which, size_t at)
{
    rise(h, which, at);
    sink(h, which, at);
}

static void heap_add(struct work_heap *h, int which, struct work *w)
{
    if (w->heap_at[which] == NOWHERE) {
        if (h->n == h->size) {
            h->size = h->size == 0 ? 64 : h->size * 2;
            h->items = mem_realloc(h->items, h->size * sizeof(struct work *));
        }
        put(h, which, h->n++, w);
    }
    /* It may have come nearer or gone further. */
    size_t at = w->heap_at[which];
    rise(h, which, at);
    sink(h, which, w->heap_at[which]);
}

static void heap_remove(struct work_heap *h, int which, struct work *w)
{
    size_t at = w->heap_at[which];
    if (at == NOWHERE)
        return;
    w->heap_at[which] = NOWHERE;
    struct work *last = h->items[--h->n];
    if (last == w)
        return;
    put(h, which, at, last);
    settle_at(h, which, at);
}

/* ---- Records ---- */

struct work *work_find(const struct work_list *l, struct work_key key)
{
    struct work *w = NULL;
    HASH_FIND(hh, l->all, &key, sizeof(key), w);
    return w;
}

static struct work *get(struct work_list *l, struct work_key key)
{
    struct work *w = work_find(l, key);
    if (w != NULL)
        return w;
    w = mem_alloc(sizeof(*w));
    w->key = key;
    w->at_ms = WORK_NEVER;
    w->heap_at[DIRTY] = w->heap_at[TIMED] = NOWHERE;
    HASH_ADD(hh, l->all, key, sizeof(w->key), w);
    return w;
}

static void link_waiting(struct work_list *l, struct work *w, unsigned i)
{
    w->before[i] = NULL;
    w->next[i] = l->waiting[i];
    if (w->next[i] != NULL)
        w->next[i]->before[i] = w;
    l->waiting[i] = w;
}

static void unlink_waiting(struct work_list *l, struct work *w, unsigned i)
{
    if (w->next[i] != NULL)
        w->next[i]->before[i] = w->before[i];
    if (w->before[i] != NULL)
        w->before[i]->next[i] = w->next[i];
    else
        l->waiting[i] = w->next[i];
}

static void set_waits(struct work_list *l, struct work *w, uint32_t waits)
{
    for (unsigned i = 0; i < WORK_WAITS_N; i++) {
        bool was = (w->waits >> i & 1u) != 0, is = (waits >> i & 1u) != 0;
        if (was && !is)
            unlink_waiting(l, w, i);
        else if (!was && is)
            link_waiting(l, w, i);
    }
    w->waits = waits;
}

static void set_time(struct work_list *l, struct work *w, int64_t at_ms)
{
    w->at_ms = at_ms;
    if (at_ms == WORK_NEVER)
        heap_remove(&l->heaps[TIMED], TIMED, w);
    else
        heap_add(&l->heaps[TIMED], TIMED, w);
}

static void forget(struct work_list *l, struct work *w)
{
    HASH_DEL(l->all, w);
    free(w);
}

void work_done(struct work_list *l)
{
    struct work *w = NULL, *next = NULL;
    HASH_ITER(hh, l->all, w, next)
    forget(l, w);
    free(l->heaps[DIRTY].items);
    free(l->heaps[TIMED].items);
    *l = (struct work_list){0};
}

void work_mark(struct work_list *l, struct work_key key, enum work_class class, uint64_t seq, struct id scope)
{
    struct work *w = get(l, key);
    w->class = class;
    w->seq = seq;
    w->scope = scope;
    heap_add(&l->heaps[DIRTY], DIRTY, w);
}

bool work_is_dirty(const struct work *w)
{
    return w->heap_at[DIRTY] != NOWHERE;
}

bool work_has(const struct work_list *l, struct work_key key)
{
    return work_find(l, key) != NULL;
}

void work_wait(struct work_list *l, struct work_key key, uint32_t waits)
{
    struct work *w = get(l, key);
    set_waits(l, w, w->waits | waits);
}

void work_drop(struct work_list *l, struct work_key key)
{
    struct work *w = work_find(l, key);
    if (w == NULL)
        return;
    heap_remove(&l->heaps[DIRTY], DIRTY, w);
    set_time(l, w, WORK_NEVER);
    set_waits(l, w, 0);
    forget(l, w);
}

void work_mark_due(struct work_list *l, int64_t now_ms)
{
    while (work_soonest(l) <= now_ms && l->heaps[TIMED].n > 0) {
        struct work *w = l->heaps[TIMED].items[0];
        set_time(l, w, WORK_NEVER);
        heap_add(&l->heaps[DIRTY], DIRTY, w);
    }
}

void work_unmark(struct work_list *l, struct work *w)
{
    heap_remove(&l->heaps[DIRTY], DIRTY, w);
}

void work_mark_waiting(struct work_list *l, uint32_t waits, enum work_class from)
{
    for (unsigned i = 0; i < WORK_WAITS_N; i++)
        for (struct work *w = (waits >> i & 1u) != 0 ? l->waiting[i] : NULL; w != NULL; w = w->next[i])
            if (w->class >= from)
                heap_add(&l->heaps[DIRTY], DIRTY, w);
}

struct work *work_first(const struct work_list *l)
{
    return l->heaps[DIRTY].n == 0 ? NULL : l->heaps[DIRTY].items[0];
}

void work_settle(struct work_list *l, struct work *w, int64_t at_ms, uint32_t waits)
{
    heap_remove(&l->heaps[DIRTY], DIRTY, w);
    set_time(l, w, at_ms);
    set_waits(l, w, waits);
    if (at_ms == WORK_NEVER && waits == 0)
        forget(l, w);
}

int64_t work_soonest(const struct work_list *l)
{
    return l->heaps[TIMED].n == 0 ? WORK_NEVER : l->heaps[TIMED].items[0]->at_ms;
}

size_t work_size_bytes(const struct work_list *l)
{
    return HASH_COUNT(l->all) * sizeof(struct work) +
           (l->heaps[DIRTY].size + l->heaps[TIMED].size) * sizeof(struct work *);
}
