#pragma once
/* store/index.h - places in a segment, so that reading begins in its middle. Derived: lost, it is made again.
 * Layer: store. Format: docs/formats/event-log.md */
#include "store/disk.h"
#include "store/scan.h"

/* 256: one entry of some 150 bytes for that many records; at most 255 are read for nothing (chosen). */
#define INDEX_EVERY 256u
/* 64 MiB: an index of 400,000 entries, of a segment of 30 GB; a longer one is no index of ours. */
#define INDEX_SIZE_MAX (64u * 1024u * 1024u)

/* Of one segment: the places after every INDEX_EVERY-th record from its first on, none left out. {0}: none yet. */
struct index {
    struct scan_at *items;
    size_t n, size;
    size_t saved_n; /* of them in the file */
};
void index_done(struct index *x);
/* When it is the next place for the index of the segment that begins with first_seq. */
void index_add(struct index *x, uint64_t first_seq, const struct scan_at *at);
/* The last place that is not behind after_seq, or NULL. Lent. */
const struct scan_at *index_find(const struct index *x, uint64_t after_seq);

/* "00000000000000000001.index" of the segment that begins with that seq. */
void index_name(uint64_t first_seq, char ret_name[static SEGMENT_NAME_SIZE]);
/* Read the file of segment number `segment`. OK | ERR_NOT_FOUND | ERR_CORRUPT one entry is not as it was written |
 * ERR_IO; on an error *ret stays empty. What it says of the segment is still to be checked against the segment. */
must_check enum err index_load(const struct store_disk *d, int dir_fd, struct id log, uint64_t first_seq,
                               size_t segment, struct index *ret, struct errinfo *err);
/* Write it anew. Who calls holds the segment's lock. OK | ERR_IO */
must_check enum err index_save(const struct store_disk *d, int dir_fd, struct id log, uint64_t first_seq,
                               struct index *x, struct errinfo *err);
