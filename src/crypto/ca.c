#include "crypto/ca.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "crypto/file.h"
#include "crypto/host_name.h"
#include "crypto/identity.h"
#include "crypto/openssl.h"

/* 5 minutes: hosts' clocks may differ by that much and still talk (chosen). */
#define CLOCK_SKEW_S (5 * 60)
/* X.520's upper bound of a common name (RFC 5280, ub-common-name). */
#define COMMON_NAME_LEN_MAX 64

struct ca {
    X509 *cert;
    EVP_PKEY *key;
    struct buf pem;
};

enum err openssl_err(struct errinfo *err, enum err code, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    enum err rc = err_set(err, code, "%s: %s", what, reason == NULL ? "OpenSSL gave no reason" : reason);
    ERR_clear_error();
    return rc;
}

static int no_passphrase(char *text, int size, int writing, void *ctx)
{
    (void)text, (void)size, (void)writing, (void)ctx;
    return -1; /* never ask on a terminal */
}

static BIO *bio_of(struct str pem)
{
    return pem.len > INT_MAX ? NULL : BIO_new_mem_buf(pem.ptr == NULL ? "" : pem.ptr, (int)pem.len);
}

X509 *openssl_x509_from_pem(struct str pem)
{
    auto_bio BIO *bio = bio_of(pem);
    return bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
}

EVP_PKEY *openssl_key_from_pem(struct str pem)
{
    auto_bio BIO *bio = bio_of(pem);
    return bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
}

static void bio_take(BIO *bio, struct buf *out)
{
    char *bytes = NULL;
    long n = BIO_get_mem_data(bio, &bytes);
    if (n > 0)
        buf_add(out, bytes, (size_t)n);
}

static bool cert_to_pem(X509 *cert, struct buf *out)
{
    auto_bio BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1)
        return false;
    bio_take(bio, out);
    return true;
}

static bool key_to_pem(EVP_PKEY *key, struct buf *out)
{
    auto_bio BIO *bio = BIO_new(BIO_s_secmem());
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return false;
    bio_take(bio, out);
    return true;
}

static bool set_serial(X509 *cert)
{
    uint8_t bytes[CA_SERIAL_SIZE];
    random_bytes(bytes, sizeof(bytes));
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and always of the same length */
    BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

static bool set_common_name(X509 *cert, const char *common_name)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1,
                                      0) == 1;
}

static bool set_validity(X509 *cert, int64_t from_s, int64_t to_s)
{
    return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)from_s) != NULL &&
           ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)to_s) != NULL;
}

static bool add_ext(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

/* A certificate without extensions; valid from 5 minutes ago. NULL when OpenSSL failed. */
static X509 *cert_new(EVP_PKEY *key, const char *common_name, X509 *issuer, int64_t now_s, int64_t end_s)
{
    auto_x509 X509 *cert = X509_new();
    if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
        !set_common_name(cert, common_name) || !set_validity(cert, now_s - CLOCK_SKEW_S, end_s) ||
        X509_set_pubkey(cert, key) != 1 ||
        X509_set_issuer_name(cert, X509_get_subject_name(issuer == NULL ? cert : issuer)) != 1)
        return NULL;
    return TAKE(cert);
}

static bool make_root(struct ca *ca, const char *common_name, int64_t now_s)
{
    ca->key = EVP_EC_gen("P-256");
    if (ca->key == NULL)
        return false;
    ca->cert = cert_new(ca->key, common_name, NULL, now_s, now_s + (int64_t)CA_DAYS * OPENSSL_DAY_S);
    return ca->cert != NULL && add_ext(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_ext(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
           add_ext(ca->cert, ca->cert, NID_subject_key_identifier, "hash") &&
           X509_sign(ca->cert, ca->key, EVP_sha256()) > 0 && cert_to_pem(ca->cert, &ca->pem);
}

static enum err common_name_check(struct str name, struct errinfo *err)
{
    bool ok = name.len >= 1 && name.len <= COMMON_NAME_LEN_MAX;
    for (size_t i = 0; ok && i < name.len; i++)
        ok = name.ptr[i] >= 0x20 && name.ptr[i] < 0x7f;
    if (!ok)
        return err_set(err, ERR_INVALID, "common name '%.*s' is not 1 to 64 printable ASCII characters",
                       (int)(name.len > 80 ? 80 : name.len), name.ptr == NULL ? "" : name.ptr);
    return OK;
}

enum err ca_create(const char *common_name, struct ca **ret_ca, struct errinfo *err)
{
    enum err rc = common_name_check(str_from(common_name), err);
    if (rc != OK)
        return rc;
    auto_ca struct ca *ca = mem_alloc(sizeof(*ca));
    if (!make_root(ca, common_name, clock_wall_us() / 1000000))
        return openssl_err(err, ERR_IO, "make a certificate authority");
    *ret_ca = TAKE(ca);
    return OK;
}

enum err ca_load(const char *cert_file, const char *key_file, struct ca **ret_ca, struct errinfo *err)
{
    auto_ca struct ca *ca = mem_alloc(sizeof(*ca));
    AUTO(secret) struct buf key_pem = {0};
    enum err rc = crypto_file_read(cert_file, &ca->pem, err);
    if (rc == OK)
        rc = crypto_file_read(key_file, &key_pem, err);
    if (rc != OK)
        return rc;
    ca->cert = openssl_x509_from_pem(buf_str(&ca->pem));
    if (ca->cert == NULL || X509_check_ca(ca->cert) != 1) {
        ERR_clear_error();
        return err_set(err, ERR_CORRUPT, "'%s' holds no CA certificate", cert_file);
    }
    ca->key = openssl_key_from_pem(buf_str(&key_pem));
    if (ca->key == NULL || X509_check_private_key(ca->cert, ca->key) != 1) {
        ERR_clear_error();
        return err_set(err, ERR_CORRUPT, "'%s' does not hold the key of '%s'", key_file, cert_file);
    }
    *ret_ca = TAKE(ca);
    return OK;
}

enum err ca_save(const struct ca *ca, const char *cert_file, const char *key_file, struct errinfo *err)
{
    AUTO(secret) struct buf key_pem = {0};
    if (!key_to_pem(ca->key, &key_pem))
        return openssl_err(err, ERR_IO, "encode the CA's key");
    enum err rc = crypto_file_write(key_file, buf_str(&key_pem), 0600, -1, -1, err);
    if (rc == OK)
        rc = crypto_file_write(cert_file, buf_str(&ca->pem), 0644, -1, -1, err);
    return rc;
}

void ca_free(struct ca *ca)
{
    if (ca == NULL)
        return;
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    buf_done(&ca->pem);
    free(ca);
}

struct str ca_cert_pem(const struct ca *ca)
{
    return buf_str(&ca->pem);
}

/* ---- leaves ---- */

static enum err san_uri(const char *uri, struct buf *sans, struct errinfo *err)
{
    struct identity identity;
    enum err rc = identity_parse(str_from(uri), &identity, err);
    if (rc == OK)
        buf_addf(sans, "%sURI:%s", sans->len > 0 ? "," : "", uri);
    return rc;
}

static enum err san_dns(const char *name, bool allow_wildcard, struct buf *sans, struct errinfo *err)
{
    enum err rc = host_name_check(str_from(name), allow_wildcard, err);
    if (rc == OK)
        buf_addf(sans, "%sDNS:%s", sans->len > 0 ? "," : "", name);
    return rc;
}

static enum err san_ip(const char *ip, struct buf *sans, struct errinfo *err)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, ip, bytes) != 1 && inet_pton(AF_INET6, ip, bytes) != 1)
        return err_set(err, ERR_INVALID, "'%.64s' is not an IP address", ip);
    buf_addf(sans, "%sIP:%s", sans->len > 0 ? "," : "", ip);
    return OK;
}

/* The names are safe in OpenSSL's comma-separated syntax because the checks above let no comma, colon or space in. */
static enum err sans_format(const struct leaf_options *o, struct buf *ret_sans, struct errinfo *err)
{
    size_t n = o->uris_n + o->dns_names_n + o->ips_n;
    if (n == 0 || n > LEAF_SANS_MAX)
        return err_set(err, ERR_INVALID, "a certificate needs 1 to %d names, not %zu", LEAF_SANS_MAX, n);
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < o->uris_n; i++)
        rc = san_uri(o->uris[i], ret_sans, err);
    for (size_t i = 0; rc == OK && i < o->dns_names_n; i++)
        rc = san_dns(o->dns_names[i], o->allow_wildcard, ret_sans, err);
    for (size_t i = 0; rc == OK && i < o->ips_n; i++)
        rc = san_ip(o->ips[i], ret_sans, err);
    return rc;
}

static void common_name_choose(const struct leaf_options *o, char ret_name[static COMMON_NAME_LEN_MAX + 1])
{
    const char *first = o->common_name;
    if (first == NULL)
        first = o->uris_n > 0 ? o->uris[0] : o->dns_names_n > 0 ? o->dns_names[0] : o->ips[0];
    (void)snprintf(ret_name, COMMON_NAME_LEN_MAX + 1, "%s", first);
}

static X509 *leaf_new(const struct ca *ca, const struct leaf_options *o, const char *sans, EVP_PKEY *key)
{
    char common_name[COMMON_NAME_LEN_MAX + 1];
    common_name_choose(o, common_name);
    int64_t now_s = o->now_s != 0 ? o->now_s : clock_wall_us() / 1000000;
    int64_t end_s = now_s + (int64_t)o->days * OPENSSL_DAY_S, root_end_s = openssl_time_s(X509_get0_notAfter(ca->cert));
    auto_x509 X509 *cert = cert_new(key, common_name, ca->cert, now_s, end_s < root_end_s ? end_s : root_end_s);
    const char *usage = o->server && o->client ? "serverAuth,clientAuth" : o->server ? "serverAuth" : "clientAuth";
    if (cert == NULL || !add_ext(cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_ext(cert, ca->cert, NID_key_usage, "critical,digitalSignature") ||
        !add_ext(cert, ca->cert, NID_ext_key_usage, usage) ||
        !add_ext(cert, ca->cert, NID_subject_key_identifier, "hash") ||
        !add_ext(cert, ca->cert, NID_authority_key_identifier, "keyid:always") ||
        !add_ext(cert, ca->cert, NID_subject_alt_name, sans) || X509_sign(cert, ca->key, EVP_sha256()) <= 0)
        return NULL;
    return TAKE(cert);
}

static enum err leaf_options_check(const struct leaf_options *o, struct errinfo *err)
{
    if (!o->server && !o->client)
        return err_set(err, ERR_INVALID, "a certificate needs a use: server, client or both");
    if (o->days < 1 || o->days > CA_DAYS)
        return err_set(err, ERR_INVALID, "a certificate's days must be 1 to %d, not %d", CA_DAYS, o->days);
    return o->common_name == NULL ? OK : common_name_check(str_from(o->common_name), err);
}

enum err ca_issue(const struct ca *ca, const struct leaf_options *o, struct buf *ret_cert_pem, struct buf *ret_key_pem,
                  struct errinfo *err)
{
    AUTO(buf) struct buf sans = {0};
    enum err rc = leaf_options_check(o, err);
    if (rc == OK)
        rc = sans_format(o, &sans, err);
    if (rc != OK)
        return rc;
    auto_pkey EVP_PKEY *key = EVP_EC_gen("P-256");
    auto_x509 X509 *cert = key == NULL ? NULL : leaf_new(ca, o, sans.ptr, key);
    AUTO(secret) struct buf key_pem = {0};
    if (cert == NULL || !key_to_pem(key, &key_pem) || !cert_to_pem(cert, ret_cert_pem))
        return openssl_err(err, ERR_IO, "issue a certificate");
    buf_add_str(ret_key_pem, buf_str(&key_pem));
    return OK;
}

enum err ca_issue_files(const struct ca *ca, const struct leaf_options *o, const char *cert_file, const char *key_file,
                        int uid, int gid, struct errinfo *err)
{
    AUTO(buf) struct buf cert_pem = {0};
    AUTO(secret) struct buf key_pem = {0};
    enum err rc = ca_issue(ca, o, &cert_pem, &key_pem, err);
    if (rc == OK)
        rc = crypto_file_write(key_file, buf_str(&key_pem), 0600, uid, gid, err);
    if (rc == OK)
        rc = crypto_file_write(cert_file, buf_str(&cert_pem), 0644, uid, gid, err);
    return rc;
}
