#pragma once
/* store/bulk_kind.h - what a kind of bulk store provides; for the files of this room only.
 * Layer: store. tests/unit/test_bulk.c is the contract. */
#include "base/map.h"
#include "store/bulk.h"

struct store;

/* What is known of a series that was written by this handle. */
struct bulk_known {
    char name[BULK_NAME_SIZE];
    int64_t last;
    uint64_t message, bytes, mark; /* of kind jetstream: of its last message */
    UT_hash_handle hh;
};

struct bulk {
    const struct bulk_kind *kind;
    struct bulk_limits limits;
    struct bulk_known *known;
    char *path;        /* of kind folder */
    struct store *log; /* of the others: their connection */
};

struct bulk_kind {
    const char *name;
    enum err (*open)(struct bulk *b, const char *spec, struct errinfo *err);
    /* Append a chunk whose last number is `last`, if the series' last is k->last, which moves on. ERR_CONFLICT: it was
     * not; k->last is what it is. */
    enum err (*put)(struct bulk *b, struct bulk_known *k, struct str chunk, int64_t last, uint64_t size_max,
                    struct errinfo *err);
    /* Set k->last. */
    enum err (*end)(struct bulk *b, struct bulk_known *k, struct errinfo *err);
    /* Chunks, the first of which may begin with lines up to c->after; its hint is moved, c->after is not. */
    enum err (*read)(struct bulk *b, struct bulk_cursor *c, size_t size_max, struct buf *ret, struct errinfo *err);
    enum err (*tail)(struct bulk *b, struct bulk_cursor *c, size_t size, struct errinfo *err);
    enum err (*drop)(struct bulk *b, const char *series, struct errinfo *err);
    enum err (*idle)(struct bulk *b, int64_t before_us, const char *after, char ret[static BULK_PAGE][BULK_NAME_SIZE],
                     size_t *ret_n, struct errinfo *err);
    enum err (*sweep)(struct bulk *b, int64_t now_us, struct errinfo *err);
};
extern const struct bulk_kind BULK_FOLDER, BULK_JETSTREAM, BULK_POSTGRES;

/* The number of a line. False: it says none. */
bool bulk_line_seq(struct str line, int64_t *ret);
