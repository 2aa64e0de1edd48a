#pragma once
/* crypto/token.h - bearer tokens: "slip_" and 32 random bytes as base64url. Only the SHA-256 of a token is stored.
 * Layer: crypto. */
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define TOKEN_PREFIX "slip_"
/* 5 + 43 + NUL. */
#define TOKEN_TEXT_SIZE 49
#define TOKEN_HASH_SIZE 32
#define TOKEN_HASH_TEXT_SIZE 65

void token_new(char ret_text[static TOKEN_TEXT_SIZE]);
/* Prefix, length and alphabet. */
bool token_is_well_formed(struct str text);
/* What to store: SHA-256 of the whole text, as lower-case hex. */
void token_hash(struct str text, char ret_hex[static TOKEN_HASH_TEXT_SIZE]);
/* Constant-time: text's hash is hash_hex. False for anything malformed. */
bool token_matches(struct str text, const char *hash_hex);
/* Constant-time for equal lengths. */
bool secret_eq(struct str a, struct str b);
