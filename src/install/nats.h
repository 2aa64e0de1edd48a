#pragma once
/* install/nats.h - the nats-servers of an installation on one machine, one on each operator's host. Layer: install.
 *
 * They carry hints of news (active-notifier) and, where the log is in JetStream, the log. Each listens on its host's
 * address on the fabric only; clients and the servers among each other show certificates of the installation's CA, and
 * what a client may do follows from the identity in its one (notifier/authorization.h). Who is let in follows from the
 * inventory: `up` writes it anew and the servers read it again. */
#include "install/services.h"

/* One per operator, where the inventory has the ports. */
struct service nats_service(const struct home *h, const struct installation_node *n);
bool nats_is_wanted(const struct home *h);

/* "tls://[fd12::1]:4222", "http://[fd12::1]:8222" (no client certificate; nothing of the log is to be seen there, and
 * guests do not reach the fabric). */
const char *nats_url(const struct home *h, const struct installation_node *n, char ret[static 96]);
const char *nats_monitor_url(const struct home *h, const struct installation_node *n, char ret[static 96]);

/* Identities beside those of programs: of a server; of who keeps the log in JetStream on an operator. */
#define NATS_ROLE "nats"
#define NATS_ROLE_STORE "log"
/* A second one of every server, by which they know each other. */
#define NATS_ROUTES_ID "routes"
void nats_store_files(const struct home *h, const struct installation_node *n, char ret_cert[static PATH_SIZE],
                      char ret_key[static PATH_SIZE]);
