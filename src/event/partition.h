#pragma once
/* event/partition.h - shares of a log as events name them: "*" (all of it) or a range of the 32-bit hash of an event's
 * partition key, both ends included, as "00000000-7fffffff". Ranges that are disjoint and cover all have every event
 * exactly once together. The hash is the first 4 bytes, big-endian, of the SHA-256 of the key.
 * Layer: event. Pure. */
#include "base/err.h"
#include "base/str.h"

struct partition {
    uint32_t first, last; /* first <= last */
};
#define PARTITION_ALL ((struct partition){0, UINT32_MAX})
#define PARTITION_TEXT_SIZE 18

/* "*" or eight lower-case hex digits, a dash, eight more, in order. An empty text is "*", as in logs that do not say.
 */
bool partition_parse(struct str text, struct partition *ret);
/* "*" when it is all. */
void partition_format(struct partition p, char ret_text[static PARTITION_TEXT_SIZE]);
/* Part i of n even ones: together all, none twice. 0 <= i < n. */
struct partition partition_split(uint32_t i, uint32_t n);
/* The hash of a key of n bytes. */
uint32_t partition_hash(const void *key, size_t n);
bool partition_has(struct partition p, uint32_t hash);
/* What both have. False: nothing. */
bool partition_intersect(struct partition a, struct partition b, struct partition *ret);
