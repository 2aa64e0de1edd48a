#pragma once
/* install/identity.h - the installation's CA, who is who on its hosts, and the operator. Layer: install.
 * What exists and is still good for 30 days stays as it is. */
#include "bootstrap/prod_bootstrap.h"
#include "install/installation.h"

/* CA, operator's certificate and token, one certificate per node-agent, one per instance of the bootstrap log.
 * uid, gid: of the unprivileged user that host programs run as; their keys belong to it.
 * OK | ERR_IO | ERR_CORRUPT a CA that does not fit its key */
must_check enum err identity_write_all(const struct home *h, const struct bootstrap_instance *instances,
                                       size_t instances_n, int uid, int gid, struct errinfo *err);
