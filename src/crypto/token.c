#include "crypto/token.h"

#include <assert.h>
#include <sodium.h>

#include "base/encode.h"
#include "base/random.h"
#include "event/hash.h"

#define TOKEN_RANDOM_SIZE 32

void token_new(char ret_text[static TOKEN_TEXT_SIZE])
{
    uint8_t bytes[TOKEN_RANDOM_SIZE];
    random_bytes(bytes, sizeof(bytes));
    struct buf text = {0};
    buf_add_c(&text, TOKEN_PREFIX);
    base64url_add(&text, bytes, sizeof(bytes));
    bool fits = str_copy_to(buf_str(&text), ret_text, TOKEN_TEXT_SIZE);
    assert(fits);
    sodium_memzero(bytes, sizeof(bytes));
    sodium_memzero(text.ptr, text.size);
    buf_done(&text);
}

bool token_is_well_formed(struct str text)
{
    if (text.len != TOKEN_TEXT_SIZE - 1 || !str_starts(text, STR(TOKEN_PREFIX)))
        return false;
    for (size_t i = sizeof(TOKEN_PREFIX) - 1; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return true;
}

void token_hash(struct str text, char ret_hex[static TOKEN_HASH_TEXT_SIZE])
{
    uint8_t digest[HASH_SIZE];
    static_assert(HASH_SIZE == TOKEN_HASH_SIZE, "SHA-256");
    hash_bytes(text.ptr, text.len, digest);
    hex_format(digest, sizeof(digest), ret_hex);
}

bool token_matches(struct str text, const char *hash_hex)
{
    uint8_t stored[TOKEN_HASH_SIZE], digest[TOKEN_HASH_SIZE];
    if (hash_hex == NULL || !token_is_well_formed(text) || !hex_parse(str_from(hash_hex), stored, sizeof(stored)))
        return false;
    hash_bytes(text.ptr, text.len, digest);
    return sodium_memcmp(stored, digest, sizeof(stored)) == 0;
}

bool secret_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.ptr, b.ptr, a.len) == 0);
}
