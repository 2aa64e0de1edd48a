#pragma once
/* store/chain.h - follows the sums of a segment's records without reading what they say: as fast as the checksum.
 * Layer: store. */
#include "store/disk.h"
#include "store/index.h"

struct hash;

/* Go from *at to byte `until` of the file, record by record, each against the sum of the one before; *at stands behind
 * the last good one. A record is not looked into: its time need not rise, its JSON need not be well-formed.
 *   first_seq  of the segment
 *   places  NULL, or gets the places on the way     hash  NULL, or gets the bytes; then *at is the segment's start
 *   ret_is_whole  *at reached `until`; false: what is behind *at is damaged, or the file ends there
 * OK | ERR_IO */
must_check enum err chain_follow(const struct store_disk *d, int fd, uint64_t first_seq, uint64_t until,
                                 struct scan_at *at, struct index *places, struct hash *hash, bool *ret_is_whole,
                                 struct errinfo *err);
/* Does a record with that sum end at byte `offset` of the file (or is it the start)? */
bool chain_is_at(const struct store_disk *d, int fd, uint64_t offset, uint32_t sum);
