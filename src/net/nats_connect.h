#pragma once
/* net/nats_connect.h - connects libnats to one of several servers, and says why it could not. Layer: net. Blocks.
 * libnats 3.4 looks for "[fd12::1]", brackets and all, in the certificate of a server with such an address, and so
 * refuses each: servers are tried one after the other here, each with the name that is to be found in its certificate.
 */
#include <stddef.h>

#include <nats/nats.h>

#include "base/err.h"

/* NUL-terminated */
#define NATS_HOST_SIZE 256u
/* "fd12::1" of "tls://[fd12::1]:4222"; "nats.example.org" of "tls://nats.example.org". False: too long, or none. */
bool nats_host_of(const char *url, char ret[static NATS_HOST_SIZE]);

/* Try servers[first % n] and the next ones, until one lets us in; each gets the time-out of `o`.
 *   o  all but servers and expected name, which are set here    ret  set when NATS_OK: nats_leave
 *   ret_server  the one that was asked last; n > 0
 * Returns what the last one said (nats_GetLastError has more). */
natsStatus nats_connect_any(natsOptions *o, const char *const *servers, size_t n, size_t first, natsConnection **ret,
                            const char **ret_server);

/* Close the connection, then let its subscriptions and it go; what is NULL is none. In this order, as libnats 3.4 hands
 * a message to a subscription that it does not hold: destroyed while messages come in, it was used when it was gone.
 * Waits for the thread that reads. */
void nats_leave(natsConnection *conn, natsSubscription *const *subs, size_t n);

/* Files of our end of TLS. NULL: none is named. */
struct nats_files {
    const char *ca, *cert, *key;
};
/* Why nats_connect_any came to nothing, from the same thread: which server, what it or the library said, and, when it
 * is about a certificate, which one and what to do. A server that does not like our certificate hangs up behind the
 * handshake and tells its own log only: then our files are looked at.
 * ERR_DENIED a certificate, an identity | ERR_UNAVAILABLE anything else, also a hang-up */
must_check enum err nats_connect_err(natsStatus st, const char *server, const struct nats_files *files,
                                     struct errinfo *err);
