#include "crypto/seal.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>

#include "base/encode.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "crypto/file.h"
#include "event/hash.h"

#define NONCE_SIZE crypto_secretbox_NONCEBYTES
#define TAG_SIZE crypto_secretbox_MACBYTES
static_assert(crypto_secretbox_KEYBYTES == sizeof(((struct seal_key *)0)->bytes), "the key fits");

static void set_id(struct seal_key *key)
{
    uint8_t digest[HASH_SIZE];
    hash_bytes(key->bytes, sizeof(key->bytes), digest);
    hex_format(digest, 8, key->id);
}

void seal_key_wipe(struct seal_key *key)
{
    sodium_memzero(key, sizeof(*key));
}

bool seal_key_from_hex(struct str hex, struct seal_key *ret)
{
    if (!hex_parse(hex, ret->bytes, sizeof(ret->bytes)))
        return false;
    set_id(ret);
    return true;
}

enum err seal(const struct seal_key *key, struct str plain, struct buf *ret_sealed, struct errinfo *err)
{
    if (plain.len > SEAL_PLAIN_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "a secret of %zu bytes is more than %u", plain.len, SEAL_PLAIN_SIZE_MAX);
    size_t size = NONCE_SIZE + TAG_SIZE + plain.len;
    auto_free uint8_t *box = mem_alloc(size);
    random_bytes(box, NONCE_SIZE);
    int rc = crypto_secretbox_easy(box + NONCE_SIZE, (const uint8_t *)(plain.ptr == NULL ? "" : plain.ptr), plain.len,
                                   box, key->bytes);
    assert(rc == 0);
    buf_addf(ret_sealed, "%s:", key->id);
    base64url_add(ret_sealed, box, size);
    return OK;
}

void seal_digest(const struct seal_key *key, struct str text, char ret[static SEAL_DIGEST_TEXT_SIZE])
{
    static const char PURPOSE[] = "slipform identity:"; /* the key seals, too */
    uint8_t digest[32];
    char hex[2 * sizeof(digest) + 1];
    AUTO(buf) struct buf all = {0};
    buf_add_c(&all, PURPOSE);
    buf_add(&all, text.ptr, text.len);
    int rc =
        crypto_generichash(digest, sizeof(digest), (const uint8_t *)all.ptr, all.len, key->bytes, sizeof(key->bytes));
    assert(rc == 0);
    hex_format(digest, sizeof(digest), hex);
    (void)snprintf(ret, SEAL_DIGEST_TEXT_SIZE, "hmac:%s", hex);
}

static enum err open_box(const struct seal_key *key, struct str box, struct buf *ret_plain, struct errinfo *err)
{
    if (box.len < NONCE_SIZE + TAG_SIZE || box.len > NONCE_SIZE + TAG_SIZE + SEAL_PLAIN_SIZE_MAX)
        return err_set(err, ERR_INVALID, "a sealed text has the wrong size");
    size_t size = box.len - NONCE_SIZE - TAG_SIZE;
    const uint8_t *bytes = (const uint8_t *)box.ptr;
    auto_free uint8_t *plain = mem_alloc(size + 1);
    if (crypto_secretbox_open_easy(plain, bytes + NONCE_SIZE, box.len - NONCE_SIZE, bytes, key->bytes) != 0)
        return err_set(err, ERR_CORRUPT, "a sealed text is damaged or forged");
    buf_add(ret_plain, plain, size);
    sodium_memzero(plain, size);
    return OK;
}

enum err unseal(const struct seal_key *key, struct str sealed, struct buf *ret_plain, struct errinfo *err)
{
    size_t colon = str_find(sealed, ':');
    uint8_t id[8];
    AUTO(buf) struct buf box = {0};
    if (colon == sealed.len || !hex_parse(str_slice(sealed, 0, colon), id, sizeof(id)) ||
        sealed.len > 2 * SEAL_PLAIN_SIZE_MAX || !base64url_parse(str_slice(sealed, colon + 1, sealed.len), &box))
        return err_set(err, ERR_INVALID, "not a sealed text");
    if (!str_eq_c(str_slice(sealed, 0, colon), key->id))
        return err_set(err, ERR_NOT_FOUND, "sealed under key '%.*s', which is not here", (int)colon, sealed.ptr);
    return open_box(key, buf_str(&box), ret_plain, err);
}

bool seal_key_id(struct str sealed, char ret[static 17])
{
    uint8_t id[8];
    size_t colon = str_find(sealed, ':');
    return colon < sealed.len && hex_parse(str_slice(sealed, 0, colon), id, sizeof(id)) &&
           str_copy_to(str_slice(sealed, 0, colon), ret, 17);
}

void seal_key_random(struct seal_key *ret)
{
    random_bytes(ret->bytes, sizeof(ret->bytes));
    set_id(ret);
}

enum err seal_key_wrap(const struct seal_key *under, const struct seal_key *key, struct buf *ret_wrapped,
                       struct errinfo *err)
{
    return seal(under, (struct str){(const char *)key->bytes, sizeof(key->bytes)}, ret_wrapped, err);
}

enum err seal_key_unwrap(const struct seal_key *under, struct str wrapped, const char *id, struct seal_key *ret,
                         struct errinfo *err)
{
    AUTO(secret) struct buf bytes = {0};
    struct seal_key key;
    enum err rc = unseal(under, wrapped, &bytes, err);
    if (rc != OK)
        return rc;
    if (bytes.len != sizeof(key.bytes))
        return err_set(err, ERR_CORRUPT, "key '%s' has the wrong size", id);
    memcpy(key.bytes, bytes.ptr, sizeof(key.bytes));
    set_id(&key);
    if (strcmp(key.id, id) == 0)
        *ret = key;
    else
        rc = err_set(err, ERR_CORRUPT, "what stands as key '%s' is another key", id);
    seal_key_wipe(&key);
    return rc;
}
