#pragma once
/* install/database.h - the PostgreSQL server that an installation on one machine keeps for its log. Layer: install.
 *
 * A cluster of its own below <home>/store/postgres, run as the unprivileged user by the supervisor. It listens on a
 * Unix socket below the home and nowhere else: every namespace of this machine reaches that, no network does. Who
 * connects is who the kernel says (peer): root is administrator and owner of the tables, the user of the platform's
 * programs is the role that may append and read. There is no password. */
#include "install/services.h"

#define DATABASE_NAME "slipform"
#define DATABASE_ADMIN "slipform_admin"
#define DATABASE_OWNER "slipform_owner"
#define DATABASE_REPLICA "slipform_replica"
#define DATABASE_SOCKET_FOLDER "run/postgres" /* below the home */

/* "postgres". create: makes the cluster when there is none, and writes its settings (ERR_NOT_FOUND PostgreSQL is not
 * installed, ERR_INVALID the home's path is too long for a socket); prepare: roles and database where they are missing.
 * Its tables are made by who opens the log as owner. */
struct service database_service(void);
