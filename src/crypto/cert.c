#include "crypto/cert.h"

#include <arpa/inet.h>
#include <openssl/err.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/own.h"
#include "crypto/file.h"
#include "crypto/openssl.h"

int64_t openssl_time_s(const ASN1_TIME *t)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    bool ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;
    ASN1_TIME_free(epoch);
    return ok ? (int64_t)days * OPENSSL_DAY_S + seconds : 0;
}

static struct str asn1_str(const ASN1_STRING *s)
{
    int n = ASN1_STRING_length(s);
    return (struct str){(const char *)ASN1_STRING_get0_data(s), n > 0 ? (size_t)n : 0};
}

/* Text for arena; NULL when it holds a NUL (the old trick to make "good\0evil" pass a comparison). */
static const char *text_of(struct arena *arena, struct str s)
{
    return str_find(s, '\0') < s.len ? NULL : arena_str(arena, s).ptr;
}

static const char *ip_text(struct arena *arena, struct str bytes)
{
    char text[INET6_ADDRSTRLEN];
    int family = bytes.len == 4 ? AF_INET : AF_INET6;
    if ((bytes.len != 4 && bytes.len != 16) || inet_ntop(family, bytes.ptr, text, sizeof(text)) == NULL)
        return NULL;
    return arena_strdup(arena, text);
}

static void add_name(const GENERAL_NAME *name, struct arena *arena, struct cert_info *info)
{
    const char *text = NULL;
    if (name->type == GEN_URI && (text = text_of(arena, asn1_str(name->d.uniformResourceIdentifier))) != NULL)
        info->uris[info->uris_n++] = text;
    else if (name->type == GEN_DNS && (text = text_of(arena, asn1_str(name->d.dNSName))) != NULL)
        info->dns_names[info->dns_names_n++] = text;
    else if (name->type == GEN_IPADD && (text = ip_text(arena, asn1_str(name->d.iPAddress))) != NULL)
        info->ips[info->ips_n++] = text;
}

static void read_names(X509 *cert, struct arena *arena, struct cert_info *info)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int n = names == NULL ? 0 : sk_GENERAL_NAME_num(names);
    size_t size = ((size_t)n + 1) * sizeof(const char *);
    info->uris = arena_alloc(arena, size);
    info->dns_names = arena_alloc(arena, size);
    info->ips = arena_alloc(arena, size);
    for (int i = 0; i < n; i++)
        add_name(sk_GENERAL_NAME_value(names, i), arena, info);
    GENERAL_NAMES_free(names);
}

static const char *read_common_name(X509 *cert, struct arena *arena)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    int i = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    const X509_NAME_ENTRY *entry = i < 0 ? NULL : X509_NAME_get_entry(subject, i);
    const char *text = entry == NULL ? NULL : text_of(arena, asn1_str(X509_NAME_ENTRY_get_data(entry)));
    return text == NULL ? "" : text;
}

static void read_serial(X509 *cert, char *ret_text, size_t size)
{
    struct str serial = asn1_str(X509_get0_serialNumber(cert));
    if (serial.len * 2 < size)
        hex_format(serial.ptr, serial.len, ret_text);
}

static void read_all(X509 *cert, struct arena *arena, struct cert_info *info)
{
    *info = (struct cert_info){.not_before_s = openssl_time_s(X509_get0_notBefore(cert)),
                               .not_after_s = openssl_time_s(X509_get0_notAfter(cert)),
                               .common_name = read_common_name(cert, arena),
                               .is_ca = X509_check_ca(cert) == 1};
    read_serial(cert, info->serial, sizeof(info->serial));
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(cert, EVP_sha256(), digest, &n) == 1)
        hex_format(digest, n, info->sha256);
    uint32_t usage = X509_get_extended_key_usage(cert);
    info->is_server = (usage & XKU_SSL_SERVER) != 0;
    info->is_client = (usage & XKU_SSL_CLIENT) != 0;
    read_names(cert, arena, info);
}

enum err cert_info_read(struct str pem, struct arena *arena, struct cert_info *ret_info, struct errinfo *err)
{
    if (pem.len > CERT_PEM_SIZE_MAX)
        return err_set(err, ERR_INVALID, "certificate is bigger than %u bytes", CERT_PEM_SIZE_MAX);
    auto_x509 X509 *cert = openssl_x509_from_pem(pem);
    if (cert == NULL)
        return openssl_err(err, ERR_INVALID, "not a PEM certificate");
    read_all(cert, arena, ret_info);
    return OK;
}

static enum err identity_of_names(const GENERAL_NAMES *names, struct identity *ret_identity, struct errinfo *err)
{
    int found_n = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        struct str uri = asn1_str(name->d.uniformResourceIdentifier);
        if (!str_starts(uri, STR("slipform:")))
            continue;
        if (++found_n > 1)
            return err_set(err, ERR_INVALID, "the certificate has two slipform:// names");
        enum err rc = identity_parse(uri, ret_identity, err);
        if (rc != OK)
            return rc;
    }
    return found_n == 1 ? OK : err_set(err, ERR_NOT_FOUND, "the certificate has no slipform:// name");
}

enum err cert_identity(const void *der, size_t size, struct identity *ret_identity, struct errinfo *err)
{
    const unsigned char *p = der;
    auto_x509 X509 *cert = size > CERT_PEM_SIZE_MAX ? NULL : d2i_X509(NULL, &p, (long)size);
    if (cert == NULL)
        return openssl_err(err, ERR_INVALID, "not a DER certificate");
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (names == NULL)
        return err_set(err, ERR_NOT_FOUND, "the certificate has no slipform:// name");
    enum err rc = identity_of_names(names, ret_identity, err);
    GENERAL_NAMES_free(names);
    return rc;
}

static enum err chain_check(X509 *cert, X509 *ca, int64_t now_s, const char *cert_file, const char *ca_file,
                            struct errinfo *err)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    enum err rc = OK;
    if (store == NULL || ctx == NULL || X509_STORE_add_cert(store, ca) != 1 ||
        X509_STORE_CTX_init(ctx, store, cert, NULL) != 1) {
        rc = openssl_err(err, ERR_IO, "check a certificate");
    } else {
        X509_STORE_CTX_set_time(ctx, 0, (time_t)now_s);
        if (X509_verify_cert(ctx) != 1)
            rc = err_set(err, ERR_INVALID, "certificate '%s' is not valid under '%s': %s", cert_file, ca_file,
                         X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
    }
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}

static enum err x509_from_file(const char *file, X509 **ret_cert, struct errinfo *err)
{
    AUTO(buf) struct buf pem = {0};
    enum err rc = crypto_file_read(file, &pem, err);
    if (rc != OK)
        return rc;
    *ret_cert = openssl_x509_from_pem(buf_str(&pem));
    if (*ret_cert != NULL)
        return OK;
    ERR_clear_error();
    return err_set(err, ERR_INVALID, "'%s' holds no PEM certificate", file);
}

static enum err key_check(X509 *cert, const char *cert_file, const char *key_file, struct errinfo *err)
{
    AUTO(secret) struct buf pem = {0};
    enum err rc = crypto_file_read(key_file, &pem, err);
    if (rc != OK)
        return rc;
    auto_pkey EVP_PKEY *key = openssl_key_from_pem(buf_str(&pem));
    if (key != NULL && X509_check_private_key(cert, key) == 1)
        return OK;
    ERR_clear_error();
    return err_set(err, ERR_INVALID, "'%s' does not hold the key of certificate '%s'", key_file, cert_file);
}

enum err cert_files_check(const char *cert_file, const char *key_file, const char *ca_file, int64_t now_s,
                          struct errinfo *err)
{
    auto_x509 X509 *cert = NULL;
    auto_x509 X509 *ca = NULL;
    enum err rc = x509_from_file(cert_file, &cert, err);
    if (rc == OK)
        rc = key_check(cert, cert_file, key_file, err);
    if (rc == OK)
        rc = x509_from_file(ca_file, &ca, err);
    if (rc == OK)
        rc = chain_check(cert, ca, now_s != 0 ? now_s : clock_wall_us() / 1000000, cert_file, ca_file, err);
    return rc;
}
