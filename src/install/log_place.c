#include "install/log_place.h"

#include <stdio.h>

#include "base/own.h"
#include "install/database.h"
#include "install/nats.h"

/* Each operator's nats-server keeps it: R3 whatever their number, as kind jetstream has it. */
static const char *jetstream_spec(const struct home *h, const struct installation_node *n, bool is_owner,
                                  char ret[static LOG_SPEC_SIZE])
{
    char url[96], ca[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE];
    AUTO(buf) struct buf servers = {0}, monitors = {0};
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *op = home_node(h, i);
        if (!home_is_operator(op))
            continue;
        buf_addf(&servers, "%s%s", servers.len > 0 ? "," : "", nats_url(h, op, url));
        buf_addf(&monitors, "%s%s", monitors.len > 0 ? "," : "", nats_monitor_url(h, op, url));
    }
    if (is_owner) {
        home_path(h, cert, "operator/client.crt");
        home_path(h, key, "operator/client.key");
    } else {
        nats_store_files(h, n, cert, key);
    }
    (void)snprintf(ret, LOG_SPEC_SIZE, "jetstream;servers=%s;stream=" LOG_STREAM ";monitor=%s;ca=%s;cert=%s;key=%s",
                   servers.ptr, monitors.ptr, home_path(h, ca, "ca/ca.crt"), cert, key);
    return ret;
}

static const char *spec(const struct home *h, const struct installation_node *n, bool is_owner,
                        char ret[static LOG_SPEC_SIZE])
{
    char path[PATH_SIZE], second[PATH_SIZE];
    if (home_store_is_elsewhere(h)) {
        (void)snprintf(ret, LOG_SPEC_SIZE, "%.*s", STR_ARG(h->inst.store));
        return ret;
    }
    if (home_store_is(h, "jetstream"))
        return jetstream_spec(h, n, is_owner, ret);
    if (home_store_is(h, "postgres"))
        (void)snprintf(ret, LOG_SPEC_SIZE,
                       "postgres;host=%s,%s;dbname=" DATABASE_NAME ";user=%s;installation=%.*s;log=platform%s",
                       home_path(h, path, "run/" DATABASE_FIRST), home_path(h, second, "run/" DATABASE_SECOND),
                       is_owner ? DATABASE_OWNER : DATABASE_REPLICA, STR_ARG(h->inst.name),
                       is_owner ? ";rights=owner;replicas=" DATABASE_REPLICA : "");
    else
        (void)snprintf(ret, LOG_SPEC_SIZE, "files;path=%s", home_path(h, path, "log/platform"));
    return ret;
}

const char *log_spec(const struct home *h, enum log_rights rights, char ret[static LOG_SPEC_SIZE])
{
    return spec(h, home_first_operator(h), rights == LOG_AS_OWNER, ret);
}

const char *log_spec_on(const struct home *h, const struct installation_node *n, char ret[static LOG_SPEC_SIZE])
{
    return spec(h, n, false, ret);
}
