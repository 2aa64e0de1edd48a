#pragma once
/* app/checkpoint.h - a file that says "the fold has done everything up to here", with the model's bytes or without.
 * Layer: app. Pure: no. A checkpoint saves time and nothing else: one that does not fit is thrown away, the log is
 * replayed. Format: docs/formats/checkpoint.md */
#include "base/buf.h"
#include "base/err.h"
#include "event/hash.h"
#include "event/id.h"
#include "store/store.h"

/* 256 MiB: a model's bytes are read into memory (chosen, never measured; test_app: checkpoint_limits). */
#define CHECKPOINT_SIZE_MAX 268435456u

struct checkpoint {
    struct id log;                 /* incarnation of the log */
    struct store_pos pos;          /* the last event that is in it */
    uint64_t format;               /* of bytes: the fold's own number, raised when the model changes its shape */
    uint8_t model_hash[HASH_SIZE]; /* of the model at pos; zeros: none */
    struct str bytes;              /* opaque; may be empty */
};

/* Write it, whole or not at all (temporary file, fsync, rename, fsync of the folder). OK | ERR_LIMIT | ERR_IO, the old
 * one stays */
must_check enum err checkpoint_save(const char *path, const struct checkpoint *c, struct errinfo *err);
/* Read the one that fits: this incarnation of this log holds a record pos.seq with pos.sum, and the format is ours.
 *   log     open, borrowed     bytes  receives the bytes; ret->bytes is lent from it
 * OK | ERR_NOT_FOUND there is none, or err says why it does not fit: replay from the start | ERR_IO */
must_check enum err checkpoint_load(const char *path, struct store *log, uint64_t format, struct buf *bytes,
                                    struct checkpoint *ret, struct errinfo *err);
