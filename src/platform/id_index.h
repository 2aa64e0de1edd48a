#pragma once
/* platform/id_index.h - objects by id, always in id order: a sorted array of pointers.
 * Why no hash table: folds and plans must not depend on hash order, new ids are UUIDv7 and so land at the end, and
 * eight bytes an object is as lean as it gets. Every object begins with its struct id. Layer: platform. Pure. */
#include <stddef.h>

#include "event/id.h"

struct id_index {
    void **items; /* the array is owned, the objects are not */
    size_t n, size;
};

const void *id_index_find(const struct id_index *x, struct id id); /* NULL: not there */
void id_index_add(struct id_index *x, void *object);               /* its id must not be there yet */
void id_index_remove(struct id_index *x, struct id id);            /* nothing when it is not there */
void id_index_done(struct id_index *x);
