#include <gnutls/x509.h>

#include "net/http_private.h"

/* What is wrong with the chain (gnutls_certificate_status_t): 0 when it leads to the CA, is in its time and is meant
 * for clients. */
static unsigned faults_of(gnutls_session_t session)
{
    gnutls_typed_vdata_st data = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                  .data = (void *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0;
    return gnutls_certificate_verify_peers(session, &data, 1, &status) == 0 ? status : GNUTLS_CERT_INVALID;
}

bool http_tls_peer_is_verified(gnutls_session_t session)
{
    return faults_of(session) == 0;
}

static int refuse(gnutls_session_t session, gnutls_alert_description_t why)
{
    (void)gnutls_alert_send(session, GNUTLS_AL_FATAL, why); /* libmicrohttpd would only hang up */
    return -1;
}

static bool is_shown(gnutls_session_t session)
{
    unsigned n = 0;
    return gnutls_certificate_get_peers(session, &n) != NULL && n > 0;
}

int64_t http_tls_peer_ends_s(gnutls_session_t session)
{
    return is_shown(session) ? (int64_t)gnutls_certificate_expiration_time_peers(session) : INT64_MAX;
}

/* The other end can say no more than this word of what it did wrong. */
static gnutls_alert_description_t word_for(unsigned faults)
{
    if ((faults & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA)) != 0)
        return GNUTLS_A_UNKNOWN_CA;
    if ((faults & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED)) != 0)
        return GNUTLS_A_CERTIFICATE_EXPIRED;
    if ((faults & GNUTLS_CERT_PURPOSE_MISMATCH) != 0)
        return GNUTLS_A_UNSUPPORTED_CERTIFICATE;
    return GNUTLS_A_BAD_CERTIFICATE;
}

static int verify_shown(gnutls_session_t session)
{
    unsigned faults = is_shown(session) ? faults_of(session) : 0;
    return faults == 0 ? 0 : refuse(session, word_for(faults));
}

static int verify_required(gnutls_session_t session)
{
    return is_shown(session) ? verify_shown(session) : refuse(session, GNUTLS_A_CERTIFICATE_REQUIRED);
}

/* Required ones are only requested from GnuTLS, because it would hang up on their absence without a word; that
 * verify_required was asked is held again by http_request.c, before any request. */
void http_tls_begin(gnutls_session_t session, enum http_client_cert client_cert)
{
    switch (client_cert) {
    case HTTP_CLIENT_CERT_NONE: gnutls_certificate_server_set_request(session, GNUTLS_CERT_IGNORE); return;
    case HTTP_CLIENT_CERT_OPTIONAL: gnutls_session_set_verify_function(session, verify_shown); break;
    case HTTP_CLIENT_CERT_REQUIRED: gnutls_session_set_verify_function(session, verify_required); break;
    }
    gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
}
