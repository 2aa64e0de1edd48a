#pragma once
/* app/replay.h - does a fold give the same model every time? Folds a log with two fresh models, or compares what two
 * builds wrote, and finds the first event after which they differ.
 * Layer: app. Blocks: for tools and tests, not for a loop. */
#include "app/app.h"
#include "event/hash.h"

/* How a model is made, folded, hashed, thrown away. */
struct replay_fold {
    const char *name; /* in texts */
    void *ctx;
    void *(*make)(void *ctx); /* empty */
    void (*discard)(void *model);
    enum err (*apply)(void *model, const struct store_record *record, struct errinfo *err);
    void (*hash)(const void *model, uint8_t ret_hash[static HASH_SIZE]);
};

struct replay_verdict {
    bool is_same;
    uint64_t events;            /* folded alike */
    uint64_t seq;               /* the first event after which they differ; 0: none */
    uint8_t hash[2][HASH_SIZE]; /* after `seq`, or at the end */
    char type[64];              /* of that event */
    char cause[512];            /* in words: the hashes differ, or one refused what the other took, and why */
};

/* Fold `log` with both and compare the hashes.
 *   every  events between two hashes, at least 1. More is quicker where hashing a model is dear; then, when they
 *          differ, both are folded again from the start and hashed after each event of that stretch
 * OK, also when they differ: see ret->is_same | ERR_INVALID every is 0 | what reading the log returned */
must_check enum err replay_compare(struct store *log, const struct replay_fold *a, const struct replay_fold *b,
                                   uint64_t every, struct replay_verdict *ret, struct errinfo *err);
/* The same fold twice. */
must_check enum err replay_twice(struct store *log, const struct replay_fold *fold, uint64_t every,
                                 struct replay_verdict *ret, struct errinfo *err);

/* Two builds: each writes a trace, one line "seq hash" for every `every`th event and the last; then they are compared.
 * A refused event ends the trace with a line "seq refused <cause>". Format: docs/formats/replay-trace.md */
must_check enum err replay_trace(struct store *log, const struct replay_fold *fold, uint64_t every, struct buf *out,
                                 struct errinfo *err);
/* ret->seq: the first line that differs. OK | ERR_INVALID one of them is no trace */
must_check enum err replay_trace_compare(struct str a, struct str b, struct replay_verdict *ret, struct errinfo *err);
