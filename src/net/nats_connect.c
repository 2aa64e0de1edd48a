#include "net/nats_connect.h"

#include <string.h>

#include "base/str.h"

bool nats_host_of(const char *url, char ret[static NATS_HOST_SIZE])
{
    const char *at = strstr(url, "://");
    struct str rest = str_from(at != NULL ? at + 3 : url);
    struct str host =
        str_starts(rest, STR("[")) ? str_slice(rest, 1, str_find(rest, ']')) : str_slice(rest, 0, str_find(rest, ':'));
    return host.len > 0 && host.len < NATS_HOST_SIZE && str_copy_to(host, ret, NATS_HOST_SIZE);
}

static natsStatus set_server(natsOptions *o, const char *url)
{
    char host[NATS_HOST_SIZE];
    natsStatus st = nats_host_of(url, host) ? natsOptions_SetURL(o, url) : NATS_INVALID_ARG;
    if (st == NATS_OK && strncmp(url, "tls://", 6) == 0)
        st = natsOptions_SetExpectedHostname(o, host);
    return st;
}

natsStatus nats_connect_any(natsOptions *o, const char *const *servers, size_t n, size_t first, natsConnection **ret)
{
    natsStatus st = NATS_NO_SERVER;
    for (size_t i = 0; i < n && st != NATS_OK; i++) {
        st = set_server(o, servers[(first + i) % n]);
        if (st == NATS_OK)
            st = natsConnection_Connect(ret, o);
    }
    return st;
}
