#pragma once
/* store/scan.h - reads the records of a log in order and checks each against the one before.
 * Layer: store. */
#include "store/store.h"

/* A place between two records, and what the next one is checked against. {.time = EVENT_TIME_MIN}: the beginning. */
struct scan_at {
    uint64_t seq; /* of the record before */
    uint32_t sum;
    struct event_time time;
    size_t segment;  /* index */
    uint64_t offset; /* bytes from the start of that segment */
};

struct scan {
    const struct store_disk *disk; /* borrowed; NULL: the kernel's */
    int dir_fd;                    /* borrowed; segments are opened below it */
    const char *single;            /* or this one file, of others: sums and ids may be missing. Borrowed */
    const uint64_t *segments;      /* first seqs, rising; borrowed */
    size_t segments_n;
    uint64_t end_offset; /* the last segment is read up to here */
    struct scan_at at;

    int fd; /* -1: none */
    size_t fd_segment;
    uint64_t fd_size;
    struct buf chunk; /* bytes of the segment from chunk_offset on */
    uint64_t chunk_offset;
};

void scan_init(struct scan *s);
void scan_done(struct scan *s);
/* Go on from there. Cheap when it is where the scan is already. */
void scan_seek(struct scan *s, struct scan_at at);
/* Files may have grown or come: open and read anew. */
void scan_forget(struct scan *s);
/* The next record. *ret is lent until the next call. *ret_size: of its line with the newline; 0: at the end, no record.
 * OK | ERR_CORRUPT: *ret_damage says where; the scan stays before it | ERR_IO */
must_check enum err scan_next(struct scan *s, struct envelope *ret, size_t *ret_size, struct store_damage *ret_damage,
                              struct errinfo *err);
/* "00000000000000000001.jsonl" */
#define SEGMENT_NAME_SIZE 32
void segment_name(uint64_t first_seq, char ret_name[static SEGMENT_NAME_SIZE]);
/* First seqs of the segments in a folder, rising. *ret: returned. OK | ERR_IO */
must_check enum err segments_list(int dir_fd, uint64_t **ret, size_t *ret_n, struct errinfo *err);
