#pragma once
/* control/secret.h - secrets as the log has them ({"sealed":"<key id>:…"}) and as an instance gets them.
 * Layer: control. */
#include "control/control.h"
#include "crypto/seal.h"

/* By which the same person is found again without being named: crypto/seal.h, seal_digest. Under
 * the identity key, which no rotation changes. OK | ERR_UNAVAILABLE */
must_check enum err secret_identity(struct control *c, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE],
                                    struct errinfo *err);

/* The keys of values that have one of their own (control/keyring.h). NULL: none here, and *err says ERR_UNAVAILABLE. */
struct keyring;
struct keyring *control_keyring(const struct control *c, struct errinfo *err);
