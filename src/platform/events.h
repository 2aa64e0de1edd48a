#pragma once
/* platform/events.h - a list of events that somebody decided, to be appended as one batch, all or none.
 * Layer: platform. Pure. */
#include "event/catalogue.h"

struct event_list {
    struct arena *arena; /* borrowed: holds the items and every text in them; set by the caller */
    struct event *items; /* `id` is set, `time` is not: the store's clock gives it at the append */
    size_t n, size;
    int64_t now_ms; /* of the store's clock, when it was decided; 0: events do not say */
};

/* One more event of this kind with a fresh id, payload zeroed; lent until the next add. */
struct event *event_list_add(struct event_list *l, enum event_kind kind, struct id_source *ids);
