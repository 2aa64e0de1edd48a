#pragma once
/* store/files.h - inside of the files store: what its opening (files_open.c), appending and reading (files.c) share.
 * Layer: store. Format: docs/formats/event-log.md */
#include "store/head.h"
#include "store/kind.h"
#include "store/scan.h"

/* 256: one index entry of 48 bytes for that many records; at most 255 are read for nothing (chosen). */
#define FILES_INDEX_EVERY 256u
/* 5 s: an appender holds the lock for one write and one fdatasync (chosen). */
#define FILES_LOCK_WAIT_MS 5000u

struct files {
    int dir_fd, lock_fd, turn_fd, head_fd;
    int segment_fd; /* the last segment, for appending; -1: read only */
    struct head head;
    char head_bytes[HEAD_SIZE]; /* that `head` was decoded from */
    int good_slots;             /* of the head; 1: one is half-written (seen without the lock) or damaged */
    struct id boot;
    uint64_t lock_wait_ms;
    uint64_t *segments;
    size_t segments_n;
    bool is_held;   /* the lock, by files_hold */
    bool is_failed; /* an append met an error after which nobody knows what is on disk */
    struct buf lines;
    struct scan reader;
    struct scan_at *index; /* places after every FILES_INDEX_EVERY-th record that was read, rising */
    size_t index_n, index_size;
};

enum err files_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err);
void files_close(struct store *s);
/* The exclusive lock. OK | ERR_UNAVAILABLE not in time | ERR_CANCELLED | ERR_IO */
must_check enum err files_lock(struct store *s, struct files *f, struct errinfo *err);
void files_unlock(struct files *f);
/* Read the head anew. OK | ERR_CORRUPT | ERR_IO, also when the log was removed */
must_check enum err files_refresh(struct store *s, struct files *f, struct errinfo *err);
/* Under the lock: publish *next (its generation and boot are set here). OK | ERR_IO: failed */
must_check enum err files_publish(struct store *s, struct files *f, struct head *next, struct errinfo *err);
must_check enum err files_truncate(struct store *s, struct files *f, uint64_t length, struct errinfo *err);
must_check enum err files_sync(struct store *s, struct files *f, struct errinfo *err);
