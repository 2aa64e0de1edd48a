#pragma once
/* app/partition.h - which of the events an instance of a process folds: ranges of a hash of their partition key.
 * Layer: app. Pure. Instances with disjoint ranges that cover all fold every event exactly once together.
 *
 * The hash is the first 4 bytes, big-endian, of the SHA-256 of the key; a range is "*" (all) or two hexadecimal numbers
 * of 8 digits, both inclusive: "00000000-7fffffff". The key is the event's id (16 bytes) unless the process says
 * otherwise (app_options.partition_key). */
#include "base/err.h"
#include "base/str.h"

struct app_range {
    uint32_t from, to; /* both inclusive */
};
#define APP_RANGE_ALL ((struct app_range){0, UINT32_MAX})
#define APP_RANGE_TEXT_SIZE 18

uint32_t app_partition_hash(const void *key, size_t n);
bool app_range_has(struct app_range r, uint32_t hash);
/* OK | ERR_INVALID with what it should look like */
must_check enum err app_range_parse(struct str text, struct app_range *ret, struct errinfo *err);
void app_range_format(struct app_range r, char ret_text[static APP_RANGE_TEXT_SIZE]);
/* The i-th of n ranges of equal size that cover all. 0 <= i < n */
struct app_range app_range_of(uint32_t i, uint32_t n);
