#pragma once
/* install/database.h - the PostgreSQL server that an installation on one machine keeps for its log. Layer: install.
 *
 * A cluster of its own below <home>/store/postgres, run as the unprivileged user by the supervisor. It listens on a
 * Unix socket below the home and nowhere else: every namespace of this machine reaches that, no network does. Who
 * connects is who the kernel says (peer): root is administrator and owner of the tables, the user of the platform's
 * programs is the role that may append and read. There is no password. */
#include "install/installation.h"

#define DATABASE_NAME "slipform"
#define DATABASE_ADMIN "slipform_admin"
#define DATABASE_OWNER "slipform_owner"
#define DATABASE_REPLICA "slipform_replica"
#define DATABASE_SOCKET_FOLDER "run/postgres" /* below the home */

/* Make the cluster when there is none, and write its settings. OK | ERR_NOT_FOUND PostgreSQL is not installed
 * | ERR_INVALID the home's path is too long for a socket | ERR_IO */
must_check enum err database_create(const struct home *h, int uid, int gid, struct errinfo *err);
/* The server's path and arguments: ret_argv is NULL-terminated and points into `a`. OK | ERR_NOT_FOUND */
#define DATABASE_ARGV_MAX 8
must_check enum err database_command(const struct home *h, struct arena *a,
                                     const char *ret_argv[static DATABASE_ARGV_MAX], struct errinfo *err);
/* It answers. OK | ERR_UNAVAILABLE */
must_check enum err database_is_well(const struct home *h, struct errinfo *err);
/* Roles and database where they are missing; it must answer. Its tables are made by who opens the log as owner. */
must_check enum err database_prepare(const struct home *h, struct errinfo *err);
