#include "platform/events.h"

struct event *event_list_add(struct event_list *l, enum event_kind kind, struct id_source *ids)
{
    if (l->n == l->size) {
        size_t size = l->size == 0 ? 8 : l->size * 2;
        struct event *items = arena_alloc(l->arena, size * sizeof(*items));
        if (l->n > 0)
            memcpy(items, l->items, l->n * sizeof(*items));
        l->items = items;
        l->size = size;
    }
    struct event *e = &l->items[l->n++];
    memset(e, 0, sizeof(*e));
    e->kind = kind;
    e->id = id_next(ids);
    return e;
}
