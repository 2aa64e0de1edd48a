#pragma once
/* control/secret.h - secrets as the log has them ({"sealed":"<key id>:…"}) and as an instance gets them.
 * Layer: control. */
#include "control/control.h"
#include "crypto/seal.h"

/* Append the sealed JSON of a value. OK | ERR_LIMIT too big | ERR_UNAVAILABLE no key is set up here. No error has the
 * value in it. */
must_check enum err secret_seal(const struct control *c, struct str value, struct buf *ret_sealed, struct errinfo *err);
/* Append the value of a sealed JSON; the caller wipes it. what: "secret 'X'", for errors.
 * OK | ERR_UNAVAILABLE no key here, or another one | ERR_CORRUPT */
must_check enum err secret_open(const struct control *c, const char *sealed, const char *what, struct buf *ret_value,
                                struct errinfo *err);
/* By which the same person is found again without being named: crypto/seal.h, seal_digest. OK | ERR_UNAVAILABLE */
must_check enum err secret_identity(const struct control *c, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE],
                                    struct errinfo *err);

/* The keys of values that have one of their own (control/keyring.h). NULL: none here, and *err says ERR_UNAVAILABLE. */
struct keyring;
struct keyring *control_keyring(const struct control *c, struct errinfo *err);
