#pragma once
/* install/database.h - the PostgreSQL servers that an installation on one machine keeps for its log: a primary, and a
 * standby that has whatever is acknowledged. Layer: install.
 *
 * A cluster each below <home>/store/, run as the unprivileged user by the supervisor. They listen on a Unix socket
 * below the home and nowhere else: every namespace of this machine reaches that, no network does. Who connects is who
 * the kernel says (peer): root is administrator and owner of the tables, the user of the platform's programs is the
 * role that may append and read. There is no password.
 *
 * Happy path: `up` makes the primary, then the standby by a base backup, and once that has caught up the primary waits
 * for it at every commit. The primary fails for good: database_promote; `up` makes a standby of the other one. Which
 * one is the primary stands in <home>/store/primary, and the supervisor starts no other as one: that is the fence. */
#include "install/services.h"

#define DATABASE_NAME "slipform"
#define DATABASE_ADMIN "slipform_admin"
#define DATABASE_OWNER "slipform_owner"
#define DATABASE_REPLICA "slipform_replica"
#define DATABASE_STANDBY "slipform_standby" /* the role that a standby follows as */
#define DATABASE_FIRST "postgres"           /* the services, and their folders below store/ and run/ */
#define DATABASE_SECOND "postgres-2"

/* The primary and its standby. create: folders, settings, the primary's cluster when there is none (ERR_NOT_FOUND
 * PostgreSQL is not installed, ERR_INVALID the home's path is too long for a socket); prepare: roles and database where
 * they are missing, and the standby, which is waited for at every commit from then on. The log's tables are made by who
 * opens it as owner. */
void database_services(const struct home *h, struct service ret[static 2]);

const char *database_primary(const struct home *h); /* its name */

struct database_promotion {
    bool stops;    /* the primary, when it runs */
    bool may_lose; /* appends that were acknowledged while the standby was not waited for */
};
/* Let the standby take over: nobody starts the primary again, it has ended, the standby takes writes. Interrupted, the
 * same call goes on. *ret_name: the new primary; lent.
 * OK | ERR_CONFLICT the primary answers, the standby is not in step, or another 'up' or 'down' is at work
 *    | ERR_UNAVAILABLE the standby does not answer, or the primary does not end | ERR_IO */
must_check enum err database_promote(const struct home *h, const struct database_promotion *o, const char **ret_name,
                                     struct errinfo *err);
/* The primary acknowledges without a standby from now on, until the next `up`. OK | ERR_UNAVAILABLE | ERR_IO */
must_check enum err database_alone(const struct home *h, struct errinfo *err);
