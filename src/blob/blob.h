#pragma once
/* blob/blob.h - content-addressed blobs: what is stored under a digest has that digest, whole or not at all.
 * Layer: blob (may use net, os). Blocking disk I/O: small documents from the loop, the rest from uv's pool or a child.
 * A bucket's calls block on the network: never from the loop, blob_put_begin, _write and _abort excepted (those touch
 * the local disk only). One handle may be used by several threads at once. Safe among processes on one folder or
 * bucket. A digest is text, "sha256:<64 lower-case hex>" (event/hash.h).
 *
 * The folder backend keeps <folder>/sha256/<first two hex>/<64 hex>, mode 0640, never changed after it appeared, of the
 * same owner as the folder (root may write for an unprivileged reader). A blob
 * is written to <folder>/tmp/, synced, renamed, and its folder synced: after a crash it is whole or absent.
 *
 * The S3 backend keeps <prefix>sha256/<first two hex>/<64 hex> in a bucket, and what it fetched or stored in a folder
 * of its own (cache), each checked against its digest before it is given out. docs/internals/blobs.md.
 *
 * A store is named by a text, "kind;key=value;...", that holds no secrets:
 *   folder;path=DIR
 *   s3;endpoint=URL;bucket=NAME;region=NAME;cache=DIR[;prefix=TEXT][;credentials=FILE][;cache_size=BYTES]
 *     [;part_size=BYTES][;attempts=N][;stall_s=N]
 * without credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN of the environment. */
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "event/hash.h"

struct blob_store;
struct blob_put;

/* The spec that a program's settings name: `blobs` (a spec), or `blob_folder` (a folder, as settings of 0.1 have it);
 * the other one is NULL. It is not opened. *ret_spec: free(). OK | ERR_INVALID none, both, no such kind */
must_check enum err blob_spec_of(const char *blobs, const char *blob_folder, char **ret_spec, struct errinfo *err);
/* The folder of this machine that it uses: of its blobs, or the cache of a bucket's. {NULL, 0}: none is named. */
struct str blob_spec_folder(const char *spec);
/* Open what spec names. A bucket is not asked yet: the store opens while it is away; blob_check asks. Credentials are
 * read here. *ret_store: blob_store_close.
 * OK | ERR_INVALID spec, credentials | ERR_DENIED others may read the file with the credentials | ERR_IO */
must_check enum err blob_store_open(const char *spec, struct blob_store **ret_store, struct errinfo *err);
/* Whether the store can be read: a bucket's answer is OK | ERR_DENIED which right is missing, keys, clock | ERR_INVALID
 * no such bucket, another region | ERR_UNAVAILABLE. A folder is OK. */
must_check enum err blob_check(struct blob_store *store, struct errinfo *err);
/* Create what is missing and remove what crashed writers left (not touched for an hour, and unlocked).
 * Returned: blob_store_close. OK | ERR_IO. */
must_check enum err blob_store_open_folder(const char *folder, struct blob_store **ret_store, struct errinfo *err);
void blob_store_close(struct blob_store *store);
/* The program stops: calls under way and to come that wait for the network end with ERR_CANCELLED, within a second.
 * From any thread. */
void blob_store_cancel(struct blob_store *store);
static inline void blob_store_cleanup(struct blob_store *const *store)
{
    blob_store_close(*store);
}
#define auto_blob_store __attribute__((cleanup(blob_store_cleanup)))

/* Begin to write a blob of at most size_max bytes. Returned: blob_put_finish or blob_put_abort. store is borrowed until
 * then. OK | ERR_IO. */
must_check enum err blob_put_begin(struct blob_store *store, uint64_t size_max, struct blob_put **ret_put,
                                   struct errinfo *err);
/* Append, on the local disk. OK | ERR_LIMIT more than size_max | ERR_IO. After an error only blob_put_abort is allowed.
 */
must_check enum err blob_put_write(struct blob_put *put, const void *bytes, size_t n, struct errinfo *err);
/* Durable under its digest when OK returns, and as young as if it were new (garbage.h); storing what is there already
 * is OK. Frees put in any case. expect      NULL, or the digest that the bytes must have: else ERR_CORRUPT and nothing
 * is stored ret_digest, ret_size_bytes  may be NULL */
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

/* --- addresses --- */
/* A URL where anybody may GET this blob for so many seconds (1 to 604,800; less when the credentials end before). The
 * URL is a secret as long as it is good: it goes to the one who asked, into no log. Costs no request.
 * OK | ERR_INVALID | ERR_NOT_FOUND this kind of store has no addresses: serve the bytes */
must_check enum err blob_presign(struct blob_store *store, const char *digest, unsigned seconds, struct buf *ret_url,
                                 struct errinfo *err);

/* --- two places, for garbage.h: what nobody uses is set aside before it is removed --- */
enum blob_place {
    BLOB_STORED,
    BLOB_ASIDE, /* not listed; blob_open and blob_stat bring it back */
};
struct blob_entry {
    char digest[DIGEST_TEXT_SIZE];
    uint64_t size_bytes;
    int64_t since_s; /* when it came to its place, or was put again; seconds since 1970 of the store's clock */
};
/* Not OK ends the walk. */
typedef enum err blob_entry_fn(const struct blob_entry *entry, void *ctx, struct errinfo *err);
must_check enum err blob_list_place(struct blob_store *store, enum blob_place place, blob_entry_fn *each, void *ctx,
                                    struct errinfo *err);
/* OK | ERR_NOT_FOUND not at this place | as blob_stat */
must_check enum err blob_stat_place(struct blob_store *store, enum blob_place place, const char *digest,
                                    struct blob_entry *ret, struct errinfo *err);
/* Likewise | ERR_LIMIT too big to be moved in a bucket */
must_check enum err blob_set_aside(struct blob_store *store, const char *digest, struct errinfo *err);
must_check enum err blob_bring_back(struct blob_store *store, const char *digest, struct errinfo *err);
/* Removes it for good where it is aside; the same digest that is stored stays. OK also when there was none. */
must_check enum err blob_remove_aside(struct blob_store *store, const char *digest, struct errinfo *err);
/* End uploads that crashed writers began and left, older than that. ret_n may be NULL: how many. */
must_check enum err blob_sweep(struct blob_store *store, int64_t older_than_s, uint64_t *ret_n, struct errinfo *err);
