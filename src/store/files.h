#pragma once
/* store/files.h - inside of the files store: what its parts, files_*.c, share.
 * Layer: store. Format: docs/formats/event-log.md */
#include "store/head.h"
#include "store/index.h"
#include "store/kind.h"
#include "store/scan.h"

/* 4 s: an appender holds the lock for one write and one fdatasync (chosen). Less than the 5 s after which a replica has
 * lost sight of its log: who waited in vain can still answer. */
#define FILES_LOCK_WAIT_MS 4000u
/* 64 MiB: hashed in 30 to 150 ms when it is full; a year of a small installation is one (chosen). An append more than
 * that is the most that a segment has. */
#define FILES_SEGMENT_SIZE (64u * 1024u * 1024u)

/* 64 KiB: room for a hundred common events is room (chosen). Far below ENVELOPE_BATCH_SIZE_MAX, so that what a crash
 * leaves of a proof is a torn append like any other. */
#define FILES_PROOF_SIZE (64u * 1024u)

/* What is known of a segment, beside its first seq. */
struct files_part {
    struct index places;
    bool is_index_read; /* from its file, into places */
    bool is_start_known;
    struct scan_at start; /* the place before its first record */
};

struct files {
    int dir_fd, lock_fd, turn_fd, head_fd;
    int segment_fd; /* the last segment, for appending; in mode STORE_READ for looking at */
    struct head head;
    char head_bytes[HEAD_SIZE]; /* that `head` was decoded from */
    int good_slots;             /* of the head; 1: one is half-written (seen without the lock) or damaged */
    struct id boot;
    uint64_t lock_wait_ms, segment_size;
    uint64_t *segments; /* first seqs, rising */
    struct files_part *parts;
    size_t segments_n;
    bool is_locked;
    bool is_held;      /* the lock, by files_hold */
    bool is_failed;    /* an append met an error after which nobody knows what is on disk */
    bool has_unsealed; /* this handle went on in a new segment: the one before is to be sealed */
    struct buf lines;
    struct scan reader;
};

/* files_open.c */
enum err files_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err);
void files_close(struct store *s);

/* files_append.c, files_read.c: as struct store_kind has them */
enum err files_append(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                      struct store_record *ret_records, size_t *ret_taken, struct errinfo *err);
enum err files_hold(struct store *s, struct errinfo *err);
void files_release(struct store *s);
enum err files_prove(struct store *s, struct errinfo *err);
enum err files_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max, struct store_batch *ret,
                    struct errinfo *err);

/* files_lock.c. The exclusive lock. OK | ERR_UNAVAILABLE not in time | ERR_CANCELLED | ERR_IO */
must_check enum err files_lock(struct store *s, struct files *f, struct errinfo *err);
void files_unlock(struct files *f);

/* files_head.c */
/* The handle is failed. ERR_IO, with errno. */
must_check enum err files_fail(struct files *f, struct errinfo *err, const char *name, const char *what);
/* Read the head anew, and follow it into new segments. OK | ERR_CORRUPT | ERR_IO, also when the log was removed */
must_check enum err files_refresh(struct store *s, struct files *f, struct errinfo *err);
/* Under the lock: publish *next (its generation and boot are set here). OK | ERR_IO: failed */
must_check enum err files_publish(struct store *s, struct files *f, struct head *next, struct errinfo *err);
/* Of the last segment, of the head. OK | ERR_IO: failed */
must_check enum err files_truncate(struct store *s, struct files *f, uint64_t length, struct errinfo *err);
must_check enum err files_sync(struct store *s, struct files *f, struct errinfo *err);
must_check enum err files_sync_head(struct store *s, struct files *f, struct errinfo *err);

/* files_segments.c */
/* ERR_CORRUPT, at the segment that begins with that seq. */
must_check enum err files_folder_damage(struct store *s, uint64_t segment, const char *cause, struct errinfo *err);
/* Find the segments up to that of the head, and open the last. OK | ERR_CORRUPT | ERR_IO: failed */
must_check enum err files_follow(struct store *s, struct files *f, struct errinfo *err);
/* The same when opening. *ret_size: of the last. ERR_CORRUPT also when it is shorter than was durable. */
must_check enum err files_open_segments(struct store *s, struct files *f, uint64_t *ret_size, struct errinfo *err);
/* Under the lock: remove what a rotation left that did not come to its end. OK | ERR_CORRUPT it holds records | ERR_IO
 */
must_check enum err files_remove_unpublished(struct store *s, struct files *f, struct errinfo *err);
/* Under the lock: go on in a new segment. OK | ERR_UNAVAILABLE no space, nothing has happened | ERR_CORRUPT | ERR_IO */
must_check enum err files_rotate(struct store *s, struct files *f, struct errinfo *err);
/* Under the lock, before records are written: make durable that the head names this segment, if it is empty. OK |
 * ERR_IO
 */
must_check enum err files_enter(struct store *s, struct files *f, struct errinfo *err);
/* Segment number i, for reading: a descriptor, or -1 and errno. */
int files_open_segment(const struct store *s, const struct files *f, size_t i);

/* files_seal.c */
struct seal;
/* Seal what is not, without the lock. Returns how many. */
uint64_t files_seal_missing(struct store *s, struct files *f);
/* The seal of segment i, which is not the last. OK | ERR_NOT_FOUND | ERR_CORRUPT | ERR_IO */
must_check enum err files_seal_read(const struct store *s, const struct files *f, size_t i, struct seal *ret,
                                    struct errinfo *err);
/* Segment i against its seal, all of its bytes. OK, also without a seal | ERR_CORRUPT: see *ret_damage | ERR_IO */
must_check enum err files_seal_check(const struct store *s, const struct files *f, size_t i, bool *ret_is_sealed,
                                     struct store_damage *ret_damage, struct errinfo *err);

/* files_place.c */
/* The place before the first record of segment i, checked. false: not to be known without reading from further in front
 */
bool files_start(const struct store *s, struct files *f, size_t i, struct scan_at *ret);
/* A place from which to read on to the record behind after_seq, which there is: mostly less than INDEX_EVERY before. */
struct scan_at files_place(struct store *s, struct files *f, uint64_t after_seq);
/* The places of the last segment, if there are many new ones, into its index. */
void files_save_index(const struct store *s, struct files *f);
