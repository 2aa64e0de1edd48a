#pragma once
/* crypto/cert.h - what a certificate says. Layer: crypto. */
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "crypto/identity.h"

/* 64 KiB: a leaf of ours has about 1 KiB, a public chain 4 to 8 (chosen, never measured). */
#define CERT_PEM_SIZE_MAX (64u * 1024u)

struct cert_info {
    int64_t not_before_s, not_after_s;     /* since 1970-01-01 UTC */
    char serial[41];                       /* lower-case hex, at most 20 bytes (RFC 5280) */
    char sha256[65];                       /* fingerprint of the DER, lower-case hex */
    const char *common_name;               /* "" when there is none */
    const char **uris, **dns_names, **ips; /* SANs; all texts are in the arena */
    size_t uris_n, dns_names_n, ips_n;
    bool is_ca, is_server, is_client;
};

/* The first certificate of a PEM text. OK | ERR_INVALID not a certificate, or too big. */
must_check enum err cert_info_read(struct str pem, struct arena *arena, struct cert_info *ret_info,
                                   struct errinfo *err);
/* The one slipform:// URI SAN of a DER certificate. Says nothing about trust: verify the chain first.
 * OK | ERR_NOT_FOUND no such SAN | ERR_INVALID not a certificate, two such SANs, or a malformed one. */
must_check enum err cert_identity(const void *der, size_t size, struct identity *ret_identity, struct errinfo *err);
/* Certificate and key belong together, and the certificate chains to the CA and is valid at now_s (0: wall clock).
 * OK | ERR_INVALID says what does not fit | ERR_NOT_FOUND | ERR_IO. */
must_check enum err cert_files_check(const char *cert_file, const char *key_file, const char *ca_file, int64_t now_s,
                                     struct errinfo *err);
