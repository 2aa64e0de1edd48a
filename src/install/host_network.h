#pragma once
/* install/host_network.h - the network of an installation on one machine: a bridge (the fabric) in the machine's own
 * network namespace, one namespace per other host, routes to each worker's /64, IPv4 egress by NAT. Layer: install.
 *
 *   machine: bridge slp<tag>br  <prefix>::1, 100.127.<octet>.1     worker: slpfab  <prefix>::11, 100.127.<octet>.11
 *   route <prefix>:<number>::/64 via the worker                    default IPv4 route via the machine
 *   operators in a namespace have the same addresses and the same routes to the workers
 */
#include "install/installation.h"

/* Make what is missing, put right what is there. OK | ERR_IO naming the command that failed */
must_check enum err host_network_up(const struct home *h, struct errinfo *err);
/* Take away all of it; what is not there is no error. */
must_check enum err host_network_down(const struct home *h, struct errinfo *err);
/* Whether bridge and namespaces are there. */
bool host_network_is_up(const struct home *h);
