#pragma once
/* crypto/seal.h - small secrets sealed under a key (libsodium secretbox: XSalsa20-Poly1305).
 * Layer: crypto. A sealed text is "<key id>:<base64url of nonce and box>", as events carry it. */
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* 64 KiB: keys of certificates, tokens, environment values; bigger things are blobs (chosen). */
#define SEAL_PLAIN_SIZE_MAX (64u * 1024u)

struct seal_key {
    uint8_t bytes[32];
    char id[17]; /* 8 bytes of a hash of the key, hex: names it, tells nothing of it */
};

/* 64 hex digits. false: they are not. Files of keys: crypto/seal_keys.h. */
bool seal_key_from_hex(struct str hex, struct seal_key *ret);
void seal_key_wipe(struct seal_key *key);
/* Append the sealed text. OK | ERR_LIMIT plain is too big. */
must_check enum err seal(const struct seal_key *key, struct str plain, struct buf *ret_sealed, struct errinfo *err);
/* "hmac:<64 hex digits>": the same text gives the same digest under the same key, and nobody without the key can try
 * texts against it (BLAKE2b, keyed). */
#define SEAL_DIGEST_TEXT_SIZE 70
void seal_digest(const struct seal_key *key, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE]);
/* Append the plain bytes; the caller wipes them (secret_done).
 * OK | ERR_INVALID malformed | ERR_NOT_FOUND sealed under another key (says its id) | ERR_CORRUPT forged or damaged. */
must_check enum err unseal(const struct seal_key *key, struct str sealed, struct buf *ret_plain, struct errinfo *err);
/* The id of the key that a sealed text names. false: not a sealed text. */
bool seal_key_id(struct str sealed, char ret[static 17]);
/* A new random key that is in no file. */
void seal_key_random(struct seal_key *ret);
/* Append `key`, sealed under another: what a store may have. */
must_check enum err seal_key_wrap(const struct seal_key *under, const struct seal_key *key, struct buf *ret_wrapped,
                                  struct errinfo *err);
/* The key of that id. OK | ERR_INVALID | ERR_NOT_FOUND wrapped under another key | ERR_CORRUPT damaged, or another's:
 * somebody exchanged two */
must_check enum err seal_key_unwrap(const struct seal_key *under, struct str wrapped, const char *id,
                                    struct seal_key *ret, struct errinfo *err);
