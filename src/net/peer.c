#include "net/peer.h"

#include <assert.h>
#include <string.h>

#include "crypto/cert.h"
#include "net/http_private.h"

static void copy_identity(const struct identity *i, struct peer *p)
{
    static_assert(sizeof(p->installation) == sizeof(i->installation) && sizeof(p->role) == sizeof(i->role) &&
                      sizeof(p->id) == sizeof(i->id),
                  "the parts fit");
    memcpy(p->installation, i->installation, sizeof(p->installation));
    memcpy(p->role, i->role, sizeof(p->role));
    memcpy(p->id, i->id, sizeof(p->id));
    p->authenticated = true;
}

bool peer_read(gnutls_session_t session, const struct sockaddr *address, struct peer *ret_peer)
{
    *ret_peer = (struct peer){.authenticated = false};
    http_address_format(address, ret_peer->ip, &ret_peer->port);
    unsigned n = 0;
    const gnutls_datum_t *chain = session == NULL ? NULL : gnutls_certificate_get_peers(session, &n);
    if (chain == NULL || n == 0 || !http_tls_peer_is_verified(session))
        return false;
    struct identity identity;
    if (cert_identity(chain[0].data, chain[0].size, &identity, NULL) == OK)
        copy_identity(&identity, ret_peer);
    return true;
}

bool peer_is(const struct peer *p, const char *installation, const char *role, const char *id)
{
    return p->authenticated && strcmp(p->installation, installation) == 0 && strcmp(p->role, role) == 0 &&
           (id == NULL || strcmp(p->id, id) == 0);
}
