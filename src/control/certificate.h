#pragma once
/* control/certificate.h - certificates that the control plane issues from the installation's local CA: one for each
 * host name that is routed, and short-lived identities of builders. Chain and key of a host are kept in files
 * <folder>/<certificate id>/{chain.pem,key.pem} (0600), written durably before the event names them.
 * Layer: control. Thread: loop; issuing is one signature (ECDSA P-256), well below a millisecond. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/id.h"

/* 90 days and renewal 30 days before the end: the habit of public CAs (chosen). */
#define CERTIFICATE_DAYS 90
#define CERTIFICATE_RENEW_BEFORE_S ((int64_t)30 * 86400)
/* A builder lives for minutes; ca_issue counts days. */
#define CERTIFICATE_BUILDER_DAYS 1

struct certificates;

/* ca_cert_file, ca_key_file NULL: issues nothing, only reads what is there. *ret is returned: certificates_close.
 * OK | ERR_NOT_FOUND, ERR_CORRUPT the CA's files | ERR_IO folder. */
must_check enum err certificates_open(const char *folder, const char *ca_cert_file, const char *ca_key_file,
                                      struct certificates **ret, struct errinfo *err);
void certificates_close(struct certificates *c); /* NULL is fine */
bool certificates_can_issue(const struct certificates *c);

/* Key and certificate of `host`, appended as PEM; the caller wipes ret_key_pem. ret_not_after is RFC 3339.
 * OK | ERR_INVALID host | ERR_UNAVAILABLE no CA here | ERR_IO. */
must_check enum err certificates_issue(struct certificates *c, const char *host, struct buf *ret_chain_pem,
                                       struct buf *ret_key_pem, char ret_not_after[static CLOCK_TEXT_SIZE],
                                       struct errinfo *err);
/* Keep them under an id, durably: before the event that names it. OK | ERR_IO. */
must_check enum err certificates_keep(const struct certificates *c, struct id certificate_id, struct str chain_pem,
                                      struct str key_pem, struct errinfo *err);
/* Append chain and key; the caller wipes ret_key_pem. OK | ERR_NOT_FOUND | ERR_IO. */
must_check enum err certificates_read(const struct certificates *c, struct id certificate_id, struct buf *ret_chain_pem,
                                      struct buf *ret_key_pem, struct errinfo *err);
/* A client certificate slipform://<installation>/<role>/<id>. OK | ERR_INVALID | ERR_UNAVAILABLE no CA here | ERR_IO.
 */
must_check enum err certificates_issue_identity(struct certificates *c, const char *installation, const char *role,
                                                const char *id, int days, struct buf *ret_cert_pem,
                                                struct buf *ret_key_pem, struct errinfo *err);
