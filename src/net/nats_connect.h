#pragma once
/* net/nats_connect.h - connects libnats to one of several servers. Layer: net. Blocks.
 * libnats 3.4 looks for "[fd12::1]", brackets and all, in the certificate of a server with such an address, and so
 * refuses each: servers are tried one after the other here, each with the name that is to be found in its certificate.
 */
#include <stddef.h>

#include <nats/nats.h>

/* NUL-terminated */
#define NATS_HOST_SIZE 256u
/* "fd12::1" of "tls://[fd12::1]:4222"; "nats.example.org" of "tls://nats.example.org". False: too long, or none. */
bool nats_host_of(const char *url, char ret[static NATS_HOST_SIZE]);

/* Try servers[first % n] and the next ones, until one lets us in; each gets the time-out of `o`.
 *   o  all but servers and expected name, which are set here    ret  set when NATS_OK: natsConnection_Destroy
 * Returns what the last one said (nats_GetLastError has more). */
natsStatus nats_connect_any(natsOptions *o, const char *const *servers, size_t n, size_t first, natsConnection **ret);
