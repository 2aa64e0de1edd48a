#pragma once
/* platform/snapshot_form.h - what snapshot.c (writing) and snapshot_decode.c share. Format: docs/formats/snapshot.md
 * Layer: platform. Pure. */
#include "platform/members.h"

#define SNAPSHOT_MAGIC "slipform model\n"
/* How a text is written: nothing, for the first time, or as the nth of those that were. */
enum text_form { TEXT_EMPTY, TEXT_NEW, TEXT_KNOWN };

/* Tombstones that are kept, of those ever made. */
static inline uint64_t tombstones_kept(const struct model *m)
{
    return m->tombstones_n < MODEL_TOMBSTONES_MAX ? m->tombstones_n : MODEL_TOMBSTONES_MAX;
}

/* The smallest number of bytes that an object of this table takes. */
static inline size_t members_size_min(const struct members *members)
{
    size_t size = 0;
    for (size_t i = 0; i < members->n; i++)
        if (members->items[i].kind < MEMBER_INDEX)
            size += members->items[i].kind == MEMBER_ID ? sizeof(struct id) : 1;
    assert(size > 0);
    return size;
}
