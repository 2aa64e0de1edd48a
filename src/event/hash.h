#pragma once
/* event/hash.h - SHA-256 (OpenSSL) for content and model hashes, CRC-32C for records. Layer: event. Pure. */
#include "base/str.h"

#define HASH_SIZE 32
#define HASH_TEXT_SIZE 65
/* "sha256:<64 hex>" and its NUL. */
#define DIGEST_TEXT_SIZE 72

struct hash;
struct hash *hash_new(void);
void hash_add(struct hash *h, const void *bytes, size_t n);
void hash_finish(struct hash *h, uint8_t ret_digest[static HASH_SIZE]); /* frees h */
void hash_bytes(const void *bytes, size_t n, uint8_t ret_digest[static HASH_SIZE]);
void hash_digest_format(const uint8_t digest[static HASH_SIZE], char ret_text[static DIGEST_TEXT_SIZE]);
/* "sha256:" and exactly 64 lower-case hex digits. */
bool hash_digest_parse(struct str text, uint8_t ret_digest[static HASH_SIZE]);

/* CRC-32C (Castagnoli, RFC 3720 B.4) of bytes, going on from `crc` (0 to begin). */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);
/* The same without the processor's own instruction for it: what crc32c does where there is none. */
uint32_t crc32c_by_table(uint32_t crc, const void *bytes, size_t n);
/* "crc32c:" and exactly 8 hex digits, as the sum of a record is written. */
bool crc32c_parse(struct str text, uint32_t *ret);
