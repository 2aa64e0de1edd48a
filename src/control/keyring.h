#pragma once
/* control/keyring.h - the keys that sealed values are opened with: one for each value, in the store's table of keys
 * beside the log, wrapped under the installation's key. A value whose key was dropped is erased, wherever its bytes
 * are. Layer: control. Thread: loop; the store is asked in uv's pool, with a handle of its own, one job after the
 * other.
 *
 * Nothing is kept in memory from one job to the next: what was dropped is opened by no replica from then on.
 * Order: a key is durable before its value is handed out, so before any event has it; it is dropped after the event
 * that ends it is durable. What dies in between leaves a key that nothing names: keyring_sweep. */
#include <uv.h>

#include "crypto/seal_keys.h"
#include "store/store.h"

struct keyring;

/* Texts are copied. The key file (crypto/seal_keys.h) is read by the first job, and again when it was replaced: a
 * rotation, or a file that comes back, needs no restart. The store is opened by the first job, too.
 * Returned: keyring_close. */
struct keyring *keyring_new(uv_loop_t *loop, const char *spec, const char *key_file);
/* What is queued is still done and answered; then closed(ctx), from the loop or from inside. */
void keyring_close(struct keyring *k, void (*closed)(void *ctx), void *ctx);

/* Seal a value (copied, and wiped) under a new key. sealed: {"sealed":"<key id>:…"}, lent for the call; its key is
 * durable. Names the value within KEYRING_GRACE_S, or its key is gone again.
 * OK | ERR_LIMIT | ERR_UNAVAILABLE no key file | ERR_DENIED, ERR_IO, ERR_UNAVAILABLE of the store. done is called once,
 * never from inside. */
typedef void (*keyring_sealed_fn)(void *ctx, enum err rc, struct str sealed, const struct errinfo *err);
void keyring_seal(struct keyring *k, struct str value, keyring_sealed_fn done, void *ctx);

/* Open values, those under a key of the file itself too (as older releases sealed).
 *   sealed  {"sealed":…}, copied    what  "secret 'X'", for errors; copied
 *   values  lent for the call, and wiped behind it; one for each in order
 * OK | ERR_NOT_FOUND the key of one is gone: it was erased | ERR_UNAVAILABLE it takes a key file that is not here |
 * ERR_CORRUPT | of the store. The first error ends it. */
struct keyring_value {
    struct str sealed, what;
    bool may_be_erased; /* then its value is {NULL,0}, and no error */
};
typedef void (*keyring_opened_fn)(void *ctx, enum err rc, const struct str *values, size_t n,
                                  const struct errinfo *err);
void keyring_open(struct keyring *k, const struct keyring_value *sealed, size_t n, keyring_opened_fn done, void *ctx);

/* Drop the key of a sealed value (copied), if it has one of its own: when the event that ends it is durable. A failure
 * is left to the sweep. */
void keyring_drop(struct keyring *k, struct str sealed);

/* The same for n values, and say when it is done: nobody opens them from then on. done may be called from inside, when
 * none has a key of its own. OK | of the store: what is left is dropped by the sweep */
typedef void (*keyring_erased_fn)(void *ctx, enum err rc, const struct errinfo *err);
void keyring_erase(struct keyring *k, const struct str *sealed, size_t n, keyring_erased_fn done, void *ctx);

/* A key that nothing names is dropped when it is so old: until then its event may be on its way (chosen; an event
 * follows its key within seconds). */
#define KEYRING_GRACE_S 3600
/* Drop every key that nothing names and that was written more than grace_s ago (by the store's clock); wrap anew what
 * is not under the current key of the file, as far as it can be opened. A retired key goes when no value names it and
 * nothing was wrapped under it any more.
 *   mark  called in the loop for each page, in order of names: set used[i] where the model names keys[i]. false: it
 *         cannot be told now, nothing more is dropped
 *   done  may be NULL. Nothing, when one is under way already. */
typedef bool (*keyring_mark_fn)(void *ctx, const struct store_key *keys, size_t n, bool *used);
typedef void (*keyring_swept_fn)(void *ctx, enum err rc, size_t dropped, const struct errinfo *err);
void keyring_sweep(struct keyring *k, int64_t grace_s, keyring_mark_fn mark, keyring_swept_fn done, void *ctx);
/* For a mark: the sealed value (JSON) names a key of this page, or one that is retired. */
void keyring_mark(struct str sealed, const struct store_key *keys, size_t n, bool *used);
