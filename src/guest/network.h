#pragma once
/* guest/network.h - the guest's one interface: addresses, routes, permanent neighbours, by rtnetlink.
 * Layer: guest. No daemon, no router advertisement, no duplicate address detection: the host has said it all. */
#include "wire/guest.h"

/* Loopback up; with addresses in the configuration also eth0. OK | ERR_INVALID an address | ERR_IO with the step */
must_check enum err network_set(const struct guest_config *c, struct errinfo *err);
