#pragma once
/* net/peer.h - who is at the other end of a connection. Layer: net (uses crypto).
 * The name is read in one place, peer_read, from the certificate that TLS has verified; nothing else ever fills it. */
#include <stdbool.h>

#include "crypto/identity.h"

/* Text of an IPv6 address with a scope (INET6_ADDRSTRLEN + '%' + IF_NAMESIZE). */
#define PEER_IP_SIZE 64

struct peer {
    bool authenticated; /* a client certificate of our CA, with an identity in it; else the three names are "" */
    char installation[IDENTITY_PART_SIZE];
    char role[IDENTITY_ROLE_SIZE];
    char id[IDENTITY_PART_SIZE];
    char ip[PEER_IP_SIZE]; /* no port, no brackets; IPv4-mapped ones as IPv4; "" when unknown */
    int port;
};

/* authenticated, of this installation and role (id NULL: any id). */
bool peer_is(const struct peer *p, const char *installation, const char *role, const char *id);
