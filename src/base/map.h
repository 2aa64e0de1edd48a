#pragma once
/* base/map.h - hash maps: uthash, with a hash function that clang's warnings accept (its own one falls through switch
 * labels). Include this instead of <uthash.h>. Layer: base. Pure. */
#include <stddef.h>
#include <stdint.h>

/* FNV-1a, 32 bits. Unkeyed: bound what strangers can put into a map. */
static inline unsigned map_hash(const void *key, size_t n)
{
    const unsigned char *bytes = key;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return hash;
}

#define HASH_FUNCTION(key_, n_, ret_hash_) ((ret_hash_) = map_hash((key_), (n_)))
#include <uthash.h> /* IWYU pragma: export */

#ifdef __clang_analyzer__
/* The analyzer cannot see that a list's links agree with each other; this much of a deletion it can follow. */
#undef HASH_DELETE
#define HASH_DELETE(hh, head, delptr) ((head) = (head) == (delptr) ? (delptr)->hh.next : (head))
#endif
