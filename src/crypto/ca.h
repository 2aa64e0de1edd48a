#pragma once
/* crypto/ca.h - a certificate authority of an installation: ECDSA P-256 (OpenSSL), PEM in and out.
 * Layer: crypto. Thread: any, one at a time. Private keys leave only as PEM in a buffer of the caller's or as a file of
 * mode 0600; PEM buffers with keys are wiped by secret_done (crypto/file.h). */
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct ca;

/* 10 years: outlives hosts; renewing a root means touching every one (chosen). */
#define CA_DAYS 3650
/* 16 random bytes of serial (CA/Browser forum asks for 64 bits at least). */
#define CA_SERIAL_SIZE 16
/* SANs of a leaf in all (chosen; bounds what a caller can ask for). */
#define LEAF_SANS_MAX 64

/* A new self-signed root, path length 0, key usage certSign and crlSign. *ret_ca is returned: ca_free.
 *   common_name  1..64 bytes of printable ASCII
 * OK | ERR_INVALID common_name | ERR_IO OpenSSL failed. */
must_check enum err ca_create(const char *common_name, struct ca **ret_ca, struct errinfo *err);
/* From PEM files. OK | ERR_NOT_FOUND a file is missing | ERR_CORRUPT not PEM, not a CA, or the key is another's |
 * ERR_IO. */
must_check enum err ca_load(const char *cert_file, const char *key_file, struct ca **ret_ca, struct errinfo *err);
/* Write both durably; the key file first, mode 0600, the certificate 0644. Existing files are replaced.
 * OK | ERR_IO: the certificate file is whole, old or new. */
must_check enum err ca_save(const struct ca *ca, const char *cert_file, const char *key_file, struct errinfo *err);
void ca_free(struct ca *ca);
/* PEM of the root certificate; lent while ca lives. */
struct str ca_cert_pem(const struct ca *ca);

struct leaf_options {
    const char *common_name; /* for people only; NULL: the first SAN, cut to 64 bytes */
    const char *const *uris; /* URI SANs: identities of programs (checked by identity_parse) */
    size_t uris_n;
    const char *const *dns_names; /* checked by host_name_check; `*.` only with allow_wildcard */
    size_t dns_names_n;
    const char *const *ips; /* IPv4 or IPv6 literals without brackets */
    size_t ips_n;
    bool server, client; /* extended key usage; at least one */
    bool allow_wildcard;
    int days;      /* 1..3650; never beyond the root's own end */
    int64_t now_s; /* seconds since 1970; 0: the wall clock. Valid from 5 minutes before it (clock skew) */
};

/* A new key and its certificate, signed by ca. Both outputs are PEM, appended; the caller wipes ret_key_pem.
 * OK | ERR_INVALID says which name is wrong | ERR_IO OpenSSL failed; outputs untouched unless OK. */
must_check enum err ca_issue(const struct ca *ca, const struct leaf_options *o, struct buf *ret_cert_pem,
                             struct buf *ret_key_pem, struct errinfo *err);
/* ca_issue into files, durably: key (0600), then certificate (0644), owned by uid and gid (-1: unchanged). A reader may
 * see a new key beside an old certificate if we die between the two: issue again. */
must_check enum err ca_issue_files(const struct ca *ca, const struct leaf_options *o, const char *cert_file,
                                   const char *key_file, int uid, int gid, struct errinfo *err);

static inline void ca_cleanup_(struct ca **ca)
{
    ca_free(*ca);
}
#define auto_ca __attribute__((cleanup(ca_cleanup_)))
