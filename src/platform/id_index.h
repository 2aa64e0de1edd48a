#pragma once
/* platform/id_index.h - objects by id, always in id order: a sorted array of pointers, and beside each the first eight
 * bytes of its id: a search looks at them, not at a cold object at each step.
 * Why no hash table: folds and plans must not depend on hash order, and new ids are UUIDv7 and so land at the end.
 * Every object begins with its struct id. Layer: platform. Pure. */
#include <stddef.h>
#include <stdint.h>

#include "event/id.h"

struct id_index {
    void **items; /* the array is owned, the objects are not; behind its `size` the heads of the ids */
    size_t n, size;
};
#define ID_INDEX_ITEM_SIZE (sizeof(void *) + sizeof(uint64_t)) /* of memory for each of `size` */

const void *id_index_find(const struct id_index *x, struct id id); /* NULL: not there */
void id_index_add(struct id_index *x, void *object);               /* its id must not be there yet */
void id_index_remove(struct id_index *x, struct id id);            /* nothing when it is not there */
void id_index_done(struct id_index *x);
