#pragma once
/* blob/kind.h - what a kind of blob store is to blob.c; private to blob/. Layer: blob.
 * Digests have been checked before they come here. Contracts are those of blob.h. */
#include "blob/blob.h"

struct blob_kind {
    void (*close)(struct blob_store *s);
    enum err (*check)(struct blob_store *s, struct errinfo *err);
    enum err (*put_begin)(struct blob_store *s, uint64_t size_max, struct blob_put **ret_put, struct errinfo *err);
    enum err (*put_write)(struct blob_put *p, const void *bytes, size_t n, struct errinfo *err);
    enum err (*put_finish)(struct blob_put *p, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                           uint64_t *ret_size_bytes, struct errinfo *err);
    void (*put_abort)(struct blob_put *p);
    /* open and stat look at BLOB_STORED only. */
    enum err (*open)(struct blob_store *s, const char *digest, int *ret_fd, uint64_t *ret_size_bytes,
                     struct errinfo *err);
    enum err (*stat)(struct blob_store *s, enum blob_place place, const char *digest, struct blob_entry *ret,
                     struct errinfo *err);
    /* To the other place, as young as if it had been stored now. ERR_NOT_FOUND: not at `from`. */
    enum err (*move)(struct blob_store *s, enum blob_place from, const char *digest, struct errinfo *err);
    enum err (*remove)(struct blob_store *s, enum blob_place place, const char *digest, struct errinfo *err);
    enum err (*list)(struct blob_store *s, enum blob_place place, blob_entry_fn *each, void *ctx, struct errinfo *err);
    /* NULL: there are no addresses. */
    enum err (*presign)(struct blob_store *s, const char *digest, unsigned seconds, struct buf *ret_url,
                        struct errinfo *err);
    void (*cancel)(struct blob_store *s); /* NULL: it waits for nobody */
    enum err (*sweep)(struct blob_store *s, int64_t older_than_s, uint64_t *ret_n, struct errinfo *err);
};

/* First member of each kind's own struct. */
struct blob_store {
    const struct blob_kind *kind;
};
struct blob_put {
    const struct blob_kind *kind;
};

/* The value of a key of "kind;key=value;..."; {NULL, 0}: not there. */
struct str blob_spec_get(const char *spec, const char *key);
/* kind s3. spec is borrowed for the call. */
must_check enum err blob_store_open_s3(const char *spec, struct blob_store **ret_store, struct errinfo *err);
