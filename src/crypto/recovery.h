#pragma once
/* crypto/recovery.h - recovery.key: what of an installation is on no other machine, under a passphrase.
 * Format: docs/formats/recovery.md. Layer: crypto. Argon2id for the passphrase, XChaCha20-Poly1305 for the rest
 * (libsodium); what is said in clear (whose, when, which keys) is authenticated with it. */
#include "base/buf.h"
#include "base/err.h"

/* Of the passphrase: at least 12 bytes (chosen: a code has 150 bits, a person's phrase should have several words). */
#define RECOVERY_PASSPHRASE_MIN 12u
#define RECOVERY_PASSPHRASE_MAX 1024u
/* 1 MiB: a CA, keys, an installation.json of a hundred nodes (chosen). */
#define RECOVERY_SIZE_MAX (1024u * 1024u)

/* What a guess costs. */
struct recovery_cost {
    uint64_t passes, memory_bytes;
};
/* 3 passes over 256 MiB: libsodium's "moderate"; 0.7 s on one core here. */
extern const struct recovery_cost RECOVERY_COST;

struct recovery {
    char installation[64], made[40]; /* RFC 3339 */
    char key_id[17], ca_id[17]; /* of the current sealing key; of the CA's certificate: names them, tells nothing */
    struct buf ca_cert, ca_key; /* PEM */
    struct buf seal_keys;       /* text of ca/seal.key */
    struct buf installation_json;
};
void recovery_done(struct recovery *r); /* wipes */
static inline void recovery_cleanup(struct recovery *r)
{
    recovery_done(r);
}
/* By which a certificate is named: 8 bytes of a hash, hex. */
void recovery_ca_id(struct str cert_pem, char ret[static 17]);

/* Append the file's text. OK | ERR_INVALID passphrase too short or too long | ERR_LIMIT */
must_check enum err recovery_seal(const struct recovery *r, struct str passphrase, const struct recovery_cost *cost,
                                  struct buf *ret_text, struct errinfo *err);
/* What stands in clear: the names and ids; the rest is empty. Not authenticated yet. OK | ERR_CORRUPT no such file */
must_check enum err recovery_peek(struct str text, struct recovery *ret, struct errinfo *err);
/* *ret: recovery_done. OK | ERR_CORRUPT no such file | ERR_DENIED not this passphrase, or the file was changed
 * | ERR_LIMIT it asks for more memory than 1 GiB or more passes than 16 */
must_check enum err recovery_open(struct str text, struct str passphrase, struct recovery *ret, struct errinfo *err);

/* A random code of 150 bits to be printed and typed: "xxxxx-xxxxx-…", digits and lower-case letters without i, l, o, u.
 */
#define RECOVERY_CODE_SIZE 36
void recovery_code(char ret[static RECOVERY_CODE_SIZE]);
