#include "crypto/recovery.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "crypto/file.h"
#include "event/hash.h"

#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES
#define KEY_SIZE crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define SALT_SIZE crypto_pwhash_argon2id_SALTBYTES

enum { VERSION = 1, PASSES_MAX = 16, MEMORY_MAX = 1024 * 1024 * 1024 };

const struct recovery_cost RECOVERY_COST = {crypto_pwhash_argon2id_OPSLIMIT_MODERATE,
                                            crypto_pwhash_argon2id_MEMLIMIT_MODERATE};

struct envelope_of {
    struct recovery_cost cost;
    uint8_t salt[SALT_SIZE];
};

void recovery_done(struct recovery *r)
{
    buf_done(&r->ca_cert);
    secret_done(&r->ca_key);
    secret_done(&r->seal_keys);
    buf_done(&r->installation_json);
    sodium_memzero(r, sizeof(*r));
}

void recovery_ca_id(struct str cert_pem, char ret[static 17])
{
    uint8_t digest[HASH_SIZE];
    hash_bytes(cert_pem.ptr, cert_pem.len, digest);
    hex_format(digest, 8, ret);
}

void recovery_code(char ret[static RECOVERY_CODE_SIZE])
{
    static const char LETTERS[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint8_t bytes[RECOVERY_CODE_SIZE];
    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < RECOVERY_CODE_SIZE - 1; i++)
        ret[i] = LETTERS[bytes[i] % 32];
    for (size_t i = 5; i < RECOVERY_CODE_SIZE - 1; i += 6)
        ret[i] = '-';
    ret[RECOVERY_CODE_SIZE - 1] = '\0';
    sodium_memzero(bytes, sizeof(bytes));
}

/* ---- the parts ---- */

struct part {
    const char *name;
    size_t at; /* of its buf in struct recovery */
};
static const struct part PARTS[] = {{"ca_cert", offsetof(struct recovery, ca_cert)},
                                    {"ca_key", offsetof(struct recovery, ca_key)},
                                    {"seal_keys", offsetof(struct recovery, seal_keys)},
                                    {"installation", offsetof(struct recovery, installation_json)}};
enum { PARTS_N = sizeof(PARTS) / sizeof(PARTS[0]) };

static void put_parts(const struct recovery *r, struct buf *ret)
{
    size_t size = 0;
    for (size_t i = 0; i < PARTS_N; i++)
        size += ((const struct buf *)(const void *)((const char *)r + PARTS[i].at))->len + 64;
    buf_reserve(ret, size); /* at once: nothing is left behind by growing */
    for (size_t i = 0; i < PARTS_N; i++) {
        const struct buf *b = (const void *)((const char *)r + PARTS[i].at);
        buf_addf(ret, "%s %zu\n", PARTS[i].name, b->len);
        buf_add(ret, b->ptr, b->len);
    }
}

/* Parts that a later release adds are passed over. */
static enum err take_parts(struct str rest, struct recovery *ret, struct errinfo *err)
{
    while (rest.len > 0) {
        size_t line = str_find(rest, '\n'), space = str_find(str_slice(rest, 0, line), ' ');
        uint64_t size = 0;
        if (line == rest.len || space == line ||
            !str_parse_u64(str_slice(rest, space + 1, line), rest.len - line - 1, &size))
            return err_set(err, ERR_CORRUPT, "what is in the recovery key is no list of parts");
        for (size_t i = 0; i < PARTS_N; i++)
            if (str_eq_c(str_slice(rest, 0, space), PARTS[i].name)) {
                struct buf *b = (void *)((char *)ret + PARTS[i].at);
                buf_clear(b);
                buf_add_str(b, str_slice(rest, line + 1, line + 1 + size));
            }
        rest = str_slice(rest, line + 1 + size, rest.len);
    }
    if (ret->seal_keys.len == 0 || ret->ca_cert.len == 0 || ret->ca_key.len == 0)
        return err_set(err, ERR_CORRUPT, "the recovery key lacks the CA or the sealing keys");
    return OK;
}

/* ---- in clear, and authenticated ---- */

static void add_said(const struct recovery *r, const struct envelope_of *e, struct buf *ret)
{
    char salt[2 * SALT_SIZE + 1];
    hex_format(e->salt, SALT_SIZE, salt);
    buf_addf(ret, "slipform recovery %d\n%s\n%s\n%s\n%s\nargon2id13 %" PRIu64 " %" PRIu64 "\n%s\n", VERSION,
             r->installation, r->made, r->key_id, r->ca_id, e->cost.passes, e->cost.memory_bytes, salt);
}

static enum err derive(struct str passphrase, const struct envelope_of *e, uint8_t ret[static KEY_SIZE],
                       struct errinfo *err)
{
    if (crypto_pwhash(ret, KEY_SIZE, passphrase.ptr, passphrase.len, e->salt, e->cost.passes,
                      (size_t)e->cost.memory_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return err_set(err, ERR_LIMIT, "there is no %" PRIu64 " MiB of memory for Argon2id",
                       e->cost.memory_bytes / 1024 / 1024);
    return OK;
}

static void add_text(const struct recovery *r, const struct envelope_of *e, const uint8_t *box, size_t size,
                     struct buf *ret)
{
    AUTO(buf) struct buf text = {0};
    char salt[2 * SALT_SIZE + 1];
    hex_format(e->salt, SALT_SIZE, salt);
    base64url_add(&text, box, size);
    buf_addf(ret, "{\"kind\":\"slipform recovery\",\"version\":%d,\"installation\":", VERSION);
    buf_add_json_string(ret, str_from(r->installation));
    buf_addf(ret,
             ",\"made\":\"%s\",\"key_id\":\"%s\",\"ca_id\":\"%s\",\"kdf\":\"argon2id13\",\"passes\":%" PRIu64
             ",\"memory_bytes\":%" PRIu64 ",\"salt\":\"%s\",\"box\":\"%s\"}\n",
             r->made, r->key_id, r->ca_id, e->cost.passes, e->cost.memory_bytes, salt, text.ptr);
}

enum err recovery_seal(const struct recovery *r, struct str passphrase, const struct recovery_cost *cost,
                       struct buf *ret_text, struct errinfo *err)
{
    struct envelope_of e = {.cost = *cost};
    uint8_t key[KEY_SIZE];
    AUTO(secret) struct buf plain = {0};
    AUTO(buf) struct buf said = {0};
    if (passphrase.len < RECOVERY_PASSPHRASE_MIN || passphrase.len > RECOVERY_PASSPHRASE_MAX)
        return err_set(err, ERR_INVALID, "a passphrase has %u to %u bytes", RECOVERY_PASSPHRASE_MIN,
                       RECOVERY_PASSPHRASE_MAX);
    random_bytes(e.salt, sizeof(e.salt));
    enum err rc = derive(passphrase, &e, key, err);
    if (rc != OK)
        return rc;
    put_parts(r, &plain);
    if (plain.len > RECOVERY_SIZE_MAX / 2) {
        sodium_memzero(key, sizeof(key));
        return err_set(err, ERR_LIMIT, "%zu bytes are too many for a recovery key", plain.len);
    }
    add_said(r, &e, &said);
    size_t size = NONCE_SIZE + plain.len + TAG_SIZE;
    auto_free uint8_t *box = mem_alloc(size);
    random_bytes(box, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(box + NONCE_SIZE, NULL, (const uint8_t *)plain.ptr, plain.len,
                                                     (const uint8_t *)said.ptr, said.len, NULL, box, key);
    sodium_memzero(key, sizeof(key));
    add_text(r, &e, box, size, ret_text);
    return OK;
}

static bool copy_member(const json_t *doc, const char *name, char *ret, size_t size)
{
    struct str s = json_member_str(doc, name);
    return s.len > 0 && str_copy_to(s, ret, size);
}

static enum err no_such_file(struct errinfo *err)
{
    return err_set(err, ERR_CORRUPT, "it is no recovery key of this version");
}

static enum err read_text(struct str text, struct recovery *r, struct envelope_of *e, struct buf *ret_box,
                          struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    *r = (struct recovery){0};
    if (text.len > RECOVERY_SIZE_MAX || json_parse(text, &doc, NULL) != OK ||
        !str_eq(json_member_str(doc, "kind"), STR("slipform recovery")) ||
        json_integer_value(json_object_get(doc, "version")) != VERSION ||
        !copy_member(doc, "installation", r->installation, sizeof(r->installation)) ||
        !copy_member(doc, "made", r->made, sizeof(r->made)) ||
        !copy_member(doc, "key_id", r->key_id, sizeof(r->key_id)) ||
        !copy_member(doc, "ca_id", r->ca_id, sizeof(r->ca_id)) ||
        !str_eq(json_member_str(doc, "kdf"), STR("argon2id13")) ||
        !hex_parse(json_member_str(doc, "salt"), e->salt, sizeof(e->salt)) ||
        !base64url_parse(json_member_str(doc, "box"), ret_box) || ret_box->len < NONCE_SIZE + TAG_SIZE)
        return no_such_file(err);
    json_int_t passes = json_integer_value(json_object_get(doc, "passes"));
    json_int_t memory = json_integer_value(json_object_get(doc, "memory_bytes"));
    if (passes < (json_int_t)crypto_pwhash_argon2id_OPSLIMIT_MIN ||
        memory < (json_int_t)crypto_pwhash_argon2id_MEMLIMIT_MIN)
        return no_such_file(err);
    if (passes > PASSES_MAX || memory > MEMORY_MAX)
        return err_set(err, ERR_LIMIT, "it asks for %lld passes over %lld MiB: more than %d over %d", (long long)passes,
                       (long long)memory / 1024 / 1024, PASSES_MAX, MEMORY_MAX / 1024 / 1024);
    e->cost = (struct recovery_cost){(uint64_t)passes, (uint64_t)memory};
    return OK;
}

enum err recovery_peek(struct str text, struct recovery *ret, struct errinfo *err)
{
    struct envelope_of e = {0};
    AUTO(buf) struct buf box = {0};
    return read_text(text, ret, &e, &box, err);
}

enum err recovery_open(struct str text, struct str passphrase, struct recovery *ret, struct errinfo *err)
{
    struct envelope_of e = {0};
    uint8_t key[KEY_SIZE];
    AUTO(buf) struct buf box = {0}, said = {0};
    AUTO(secret) struct buf plain = {0};
    enum err rc = read_text(text, ret, &e, &box, err);
    if (rc == OK)
        rc = derive(passphrase, &e, key, err);
    if (rc != OK)
        return rc;
    add_said(ret, &e, &said);
    const uint8_t *bytes = (const uint8_t *)box.ptr;
    unsigned long long size = 0;
    buf_reserve(&plain, box.len);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)plain.ptr, &size, NULL, bytes + NONCE_SIZE,
                                                   box.len - NONCE_SIZE, (const uint8_t *)said.ptr, said.len, bytes,
                                                   key) != 0)
        rc = err_set(err, ERR_DENIED, "it does not open: not this passphrase, or the file was changed");
    sodium_memzero(key, sizeof(key));
    plain.len = rc == OK ? (size_t)size : 0;
    if (rc == OK)
        rc = take_parts(buf_str(&plain), ret, err);
    if (rc != OK)
        recovery_done(ret);
    return rc;
}
