#pragma once
/* crypto/openssl.h - small helpers over OpenSSL, private to crypto/. Layer: crypto. */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/buf.h"
#include "base/err.h"

/* ERR code with "<what>: <OpenSSL's first reason>"; empties OpenSSL's queue. */
must_check enum err openssl_err(struct errinfo *err, enum err code, const char *what);

static inline void x509_cleanup_(X509 **p)
{
    X509_free(*p);
}
static inline void pkey_cleanup_(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}
static inline void bio_cleanup_(BIO **p)
{
    BIO_free(*p);
}
#define auto_x509 __attribute__((cleanup(x509_cleanup_)))
#define auto_pkey __attribute__((cleanup(pkey_cleanup_)))
#define auto_bio __attribute__((cleanup(bio_cleanup_)))

/* First certificate, first private key of a PEM text; NULL when there is none. Returned: X509_free, EVP_PKEY_free. */
X509 *openssl_x509_from_pem(struct str pem);
EVP_PKEY *openssl_key_from_pem(struct str pem);

#define OPENSSL_DAY_S (24 * 60 * 60)
/* Seconds since 1970; 0 when t is malformed. */
int64_t openssl_time_s(const ASN1_TIME *t);
