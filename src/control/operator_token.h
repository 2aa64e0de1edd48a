#pragma once
/* control/operator_token.h - the bearer tokens of operators of this installation; only their hashes are kept.
 * Layer: control. Thread: loop. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "crypto/token.h"

/* Hashes of operators' tokens: a file with one 64-digit hash a line ('#' begins a comment). Looked at again when the
 * file has changed, so that a token can be added or taken back without a restart. */
struct operator_tokens {
    const char *file; /* borrowed; NULL: no tokens */
    int64_t changed_ns, size;
    char (*hashes)[TOKEN_HASH_TEXT_SIZE]; /* owned */
    size_t n;
};
void operator_tokens_done(struct operator_tokens *t);
/* Constant time over the hashes that are kept. A file that cannot be read keeps what was read before. */
bool operator_tokens_match(struct operator_tokens *t, struct str token);
