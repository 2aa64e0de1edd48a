#pragma once
/* blob/blob.h - content-addressed blobs: what is stored under a digest has that digest, whole or not at all.
 * Layer: blob (may use net, os). Blocking disk I/O: small documents from the loop, the rest from uv's pool or a child.
 * Safe among processes on one folder. A digest is text, "sha256:<64 lower-case hex>" (event/hash.h).
 *
 * The folder backend keeps <folder>/sha256/<first two hex>/<64 hex>, mode 0640, never changed after it appeared, of the
 * same owner as the folder (root may write for an unprivileged reader). A blob
 * is written to <folder>/tmp/, synced, renamed, and its folder synced: after a crash it is whole or absent.
 * Only blob_store_open_folder knows of folders; everything else will hold for a bucket as well (its `open` fetches into
 * a local file first). */
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "event/hash.h"

struct blob_store;
struct blob_put;

/* Create what is missing and remove what crashed writers left (not touched for an hour, and unlocked).
 * Returned: blob_store_close. OK | ERR_IO. */
must_check enum err blob_store_open_folder(const char *folder, struct blob_store **ret_store, struct errinfo *err);
void blob_store_close(struct blob_store *store);
static inline void blob_store_cleanup(struct blob_store *const *store)
{
    blob_store_close(*store);
}
#define auto_blob_store __attribute__((cleanup(blob_store_cleanup)))

/* Begin to write a blob of at most size_max bytes. Returned: blob_put_finish or blob_put_abort. store is borrowed until
 * then. OK | ERR_IO. */
must_check enum err blob_put_begin(struct blob_store *store, uint64_t size_max, struct blob_put **ret_put,
                                   struct errinfo *err);
/* Append. OK | ERR_LIMIT more than size_max | ERR_IO. After an error only blob_put_abort is allowed. */
must_check enum err blob_put_write(struct blob_put *put, const void *bytes, size_t n, struct errinfo *err);
/* Durable under its digest when OK returns; storing what is there already is OK. Frees put in any case.
 *   expect      NULL, or the digest that the bytes must have: else ERR_CORRUPT and nothing is stored
 *   ret_digest, ret_size_bytes  may be NULL */
must_check enum err blob_put_finish(struct blob_put *put, const char *expect, char ret_digest[DIGEST_TEXT_SIZE],
                                    uint64_t *ret_size_bytes, struct errinfo *err);
/* Nothing was stored. NULL is fine. */
void blob_put_abort(struct blob_put *put);

/* begin, write, finish of everything that can be read from fd, from its position. */
must_check enum err blob_put_fd(struct blob_store *store, int fd, uint64_t size_max, const char *expect,
                                char ret_digest[DIGEST_TEXT_SIZE], uint64_t *ret_size_bytes, struct errinfo *err);
must_check enum err blob_put_bytes(struct blob_store *store, struct str bytes, const char *expect,
                                   char ret_digest[DIGEST_TEXT_SIZE], struct errinfo *err);

/* A descriptor for reading (O_CLOEXEC, at 0) and the size. Returned: close(). It stays readable when the blob is
 * deleted meanwhile. OK | ERR_NOT_FOUND | ERR_INVALID not a digest | ERR_IO. */
must_check enum err blob_open(struct blob_store *store, const char *digest, int *ret_fd, uint64_t *ret_size_bytes,
                              struct errinfo *err);
/* OK | ERR_NOT_FOUND | ERR_INVALID | ERR_IO. ret_size_bytes may be NULL. */
must_check enum err blob_stat(struct blob_store *store, const char *digest, uint64_t *ret_size_bytes,
                              struct errinfo *err);
/* Read the whole blob and compare: OK | ERR_CORRUPT its bytes are not what the digest says | as blob_open. */
must_check enum err blob_verify(struct blob_store *store, const char *digest, struct errinfo *err);
/* Deleting what is not there is OK. OK | ERR_INVALID | ERR_IO. */
must_check enum err blob_delete(struct blob_store *store, const char *digest, struct errinfo *err);
/* Call each with every digest, in order; not OK ends the walk with that. */
must_check enum err blob_list(struct blob_store *store,
                              enum err (*each)(const char *digest, uint64_t size_bytes, void *ctx, struct errinfo *err),
                              void *ctx, struct errinfo *err);
