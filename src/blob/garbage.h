#pragma once
/* blob/garbage.h - removes blobs that nobody uses, and never one that is used. docs/decisions/blob-garbage.md.
 * Layer: blob. One collection at a time over a store; writers and readers go on meanwhile.
 *
 * What nobody uses and has lain for `grace` is set aside; what lies aside for `grace` more and still nobody uses is
 * removed there. A writer stores under the stored name only, so no removal can hit what was stored again; and a reader
 * or the next collection brings back what was set aside by a decision that was overtaken. */
#include "blob/blob.h"

/* A day (chosen). Above the longest way from a blob's storing to the event that names it, by far: a build has an hour.
 * A bucket's put does not send again what is younger than 12 h, so less than that is refused. */
#define BLOB_GRACE_DEFAULT_S ((int64_t)24 * 3600)
#define BLOB_GRACE_MIN_S ((int64_t)13 * 3600)

enum blob_fate { BLOB_KEEP, BLOB_PUT_ASIDE, BLOB_COME_BACK, BLOB_REMOVE };
/* The rule. Pure. A time in the future (a clock went back) is young. */
enum blob_fate blob_fate(enum blob_place place, bool is_used, int64_t since_s, int64_t now_s, int64_t grace_s);

struct blob_collection {
    int64_t now_s; /* on the store's clock, before the log was read for is_used or earlier */
    int64_t grace_s;
    /* Whether anything that is remembered names it: asked again for each step that takes something away, so answer from
     * the newest state. Not OK, like "this is not known now", ends the collection, and nothing was removed for it. */
    enum err (*is_used)(const char *digest, void *ctx, bool *ret_used, struct errinfo *err);
    void *ctx;
};
struct blob_collected {
    uint64_t kept, put_aside, came_back, removed, removed_bytes, uploads_ended;
};
/* OK | ERR_INVALID grace | what is_used or the store said; *ret says how far it came. */
must_check enum err blob_collect(struct blob_store *store, const struct blob_collection *c, struct blob_collected *ret,
                                 struct errinfo *err);
