#pragma once
/* platform/key_index.h - objects by something else than their id: a host, a name, the id of another object. For finding
 * only: a hash table, so nothing may ever depend on the order in it; what needs an order walks the id_index.
 * Several objects may stand under one key, and other keys under the same hash: whoever finds compares.
 * The hash has no secret: who may choose keys can make a few of them slow to find, no slower than a walk.
 * Layer: platform. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "event/id.h"

struct key_index {
    struct key_slot {
        uint64_t key;
        void *object; /* NULL: empty; not owned */
    } *slots;         /* open addressing */
    size_t n, size;   /* size: a power of two, or 0 */
};

uint64_t key_of_str(struct str s);
uint64_t key_of_id(struct id id);
void key_index_add(struct key_index *x, uint64_t key, void *object);          /* it must not be there yet */
void key_index_remove(struct key_index *x, uint64_t key, const void *object); /* nothing when it is not there */
/* The next object under this key; *at is 0 at first. NULL: no more. Not across a change. */
void *key_index_next(const struct key_index *x, uint64_t key, size_t *at);
bool key_index_has(const struct key_index *x, uint64_t key, const void *object);
void key_index_done(struct key_index *x);
