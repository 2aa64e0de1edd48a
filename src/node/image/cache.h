#pragma once
/* node/image/cache.h - root file systems on this node, by digest: fetched once, however many wait for one.
 * Layer: node (uses net, os). Thread: loop.
 * <folder>/<hex>.erofs is whole and verified; <hex>.part is on its way and is gone on with after a break. */
#include <uv.h>

#include "base/err.h"
#include "event/id.h"
#include "net/http_client.h"

struct image_cache_options {
    uv_loop_t *loop;
    struct http_client *client; /* all borrowed while the cache lives, but `folder`, which is copied */
    const char *folder;
    const char *const *apis; /* "https://host:port", tried in turn */
    size_t apis_n;
    const char *ca_file, *cert_file, *key_file, *peer_uri;
};
/* What is asked for: by its id at the control plane, checked by its digest. */
struct image_ref {
    struct id image_id;
    char digest[72]; /* sha256:<hex> */
    int64_t size_bytes;
};

struct image_cache;
struct image_wait;
/* path is lent for the call; NULL when it failed (err says why; the waiter may ask again later). */
typedef void image_done_fn(void *arg, const char *path, const struct errinfo *err);

/* Makes the folder. *ret_cache is returned: image_cache_free. */
must_check enum err image_cache_open(const struct image_cache_options *o, struct image_cache **ret_cache,
                                     struct errinfo *err);
/* Stops what is under way; its callbacks are not called. Its loop work may end later: the loop has to run on. */
void image_cache_free(struct image_cache *c);
/* Path of an image that is there, or NULL. Returned: free(). Counts as a use. */
char *image_cache_find(struct image_cache *c, const char *digest);
/* done is called once, from the loop, never from inside. Returns the wait, valid until then. */
struct image_wait *image_cache_get(struct image_cache *c, const struct image_ref *ref, image_done_fn *done, void *arg);
void image_wait_cancel(struct image_wait *w);
/* When the disk is low (less than 10 % free): remove images that nobody uses, those used longest ago first. */
void image_cache_collect(struct image_cache *c, bool (*is_used)(void *arg, const char *digest), void *arg);
