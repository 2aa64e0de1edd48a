#include "install/log_place.h"

#include <stdio.h>

#include "install/database.h"

const char *log_spec(const struct home *h, enum log_rights rights, char ret[static LOG_SPEC_SIZE])
{
    char path[PATH_SIZE];
    bool is_owner = rights == LOG_AS_OWNER;
    if (home_store_is(h, "postgres"))
        (void)snprintf(ret, LOG_SPEC_SIZE,
                       "postgres;host=%s;dbname=" DATABASE_NAME ";user=%s;installation=%.*s;log=platform%s",
                       home_path(h, path, DATABASE_SOCKET_FOLDER), is_owner ? DATABASE_OWNER : DATABASE_REPLICA,
                       STR_ARG(h->inst.name), is_owner ? ";rights=owner;replicas=" DATABASE_REPLICA : "");
    else
        (void)snprintf(ret, LOG_SPEC_SIZE, "files;path=%s", home_path(h, path, "log/platform"));
    return ret;
}
