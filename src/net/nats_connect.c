#include "net/nats_connect.h"

#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "crypto/cert.h"
#include "crypto/file.h"

bool nats_host_of(const char *url, char ret[static NATS_HOST_SIZE])
{
    const char *at = strstr(url, "://");
    struct str rest = str_from(at != NULL ? at + 3 : url);
    struct str host =
        str_starts(rest, STR("[")) ? str_slice(rest, 1, str_find(rest, ']')) : str_slice(rest, 0, str_find(rest, ':'));
    return host.len > 0 && host.len < NATS_HOST_SIZE && str_copy_to(host, ret, NATS_HOST_SIZE);
}

static bool is_tls(const char *url)
{
    return strncmp(url, "tls://", 6) == 0;
}

static natsStatus set_server(natsOptions *o, const char *url)
{
    char host[NATS_HOST_SIZE];
    natsStatus st = nats_host_of(url, host) ? natsOptions_SetURL(o, url) : NATS_INVALID_ARG;
    if (st == NATS_OK && is_tls(url))
        st = natsOptions_SetExpectedHostname(o, host);
    return st;
}

natsStatus nats_connect_any(natsOptions *o, const char *const *servers, size_t n, size_t first, natsConnection **ret,
                            const char **ret_server)
{
    natsStatus st = NATS_NO_SERVER;
    for (size_t i = 0; i < n && st != NATS_OK; i++) {
        *ret_server = servers[(first + i) % n];
        st = set_server(o, *ret_server);
        if (st == NATS_OK)
            st = natsConnection_Connect(ret, o);
    }
    return st;
}

void nats_leave(natsConnection *conn, natsSubscription *const *subs, size_t n)
{
    natsConnection_Close(conn);
    for (size_t i = 0; i < n; i++)
        natsSubscription_Destroy(subs[i]);
    natsConnection_Destroy(conn);
}

/* ---- why not ---- */

#define DAY_SIZE 11u /* "2026-11-22" */
static const char *day_of(int64_t s, char text[static CLOCK_TEXT_SIZE])
{
    clock_format_us(s * 1000000, text);
    text[DAY_SIZE - 1] = '\0';
    return text;
}

/* What is wrong with our own certificate. Freed by the caller. */
static char *own_fault(const struct nats_files *f)
{
    AUTO(buf) struct buf pem = {0};
    AUTO(arena) struct arena arena = {0};
    struct cert_info info = {0};
    struct errinfo why = {0};
    char day[CLOCK_TEXT_SIZE];
    int64_t now_s = clock_wall_us() / 1000000;
    if (f->cert == NULL)
        return mem_strdup("no certificate of our own is named, which the server may ask for");
    if (crypto_file_read(f->cert, &pem, &why) != OK || cert_info_read(buf_str(&pem), &arena, &info, &why) != OK)
        return mem_printf("our certificate '%s' cannot be read: %s", f->cert, why.msg);
    if (now_s > info.not_after_s)
        return mem_printf("our certificate '%s' has expired on %s: renew it", f->cert, day_of(info.not_after_s, day));
    if (now_s < info.not_before_s)
        return mem_printf("our certificate '%s' begins on %s: are the clocks right?", f->cert,
                          day_of(info.not_before_s, day));
    if (!info.is_client)
        return mem_printf("our certificate '%s' is for another use: issue it anew, for clients "
                          "(extendedKeyUsage=clientAuth)",
                          f->cert);
    if (f->key != NULL && f->ca != NULL && cert_files_check(f->cert, f->key, f->ca, 0, &why) != OK)
        return mem_printf("our %s: issue it anew by the CA that the servers trust", why.msg);
    return mem_printf("our certificate '%s' is in its time and of the CA in '%s': does the server trust that one, and "
                      "does it know this identity? Its log says what it refused",
                      f->cert, f->ca == NULL ? "" : f->ca);
}

/* A server that does not like our certificate hangs up, in one of these ways. */
static bool may_be_ours(natsStatus st)
{
    return st == NATS_SSL_ERROR || st == NATS_PROTOCOL_ERROR || st == NATS_IO_ERROR || st == NATS_CONNECTION_CLOSED ||
           st == NATS_CONNECTION_AUTH_FAILED;
}

/* "": nothing more is known. Freed by the caller. */
static char *advice(natsStatus st, const char *said, const char *server, const struct nats_files *f)
{
    if (st == NATS_SECURE_CONNECTION_REQUIRED)
        return mem_strdup("; that server wants TLS: name it by tls://");
    if (!is_tls(server) && f->ca == NULL)
        return mem_strdup("");
    if (st == NATS_SECURE_CONNECTION_WANTED)
        return mem_strdup("; that server speaks without TLS: give it a 'tls' block, or name it by nats://");
    if (strstr(said, ":depth=") != NULL) /* of libnats' own look at the server's chain */
        return mem_printf("; that is the certificate of the server: it must be in its time, of the CA in '%s', and "
                          "have the server's name or address; renew it there and let the server read it "
                          "(nats-server --signal reload)",
                          f->ca == NULL ? "" : f->ca);
    if (!may_be_ours(st))
        return mem_strdup("");
    auto_free char *fault = own_fault(f);
    return mem_printf("; %s", fault);
}

enum err nats_connect_err(natsStatus st, const char *server, const struct nats_files *files, struct errinfo *err)
{
    const char *more = nats_GetLastError(NULL);
    bool is_denied = st == NATS_CONNECTION_AUTH_FAILED || st == NATS_NOT_PERMITTED || st == NATS_SSL_ERROR ||
                     st == NATS_SECURE_CONNECTION_WANTED || st == NATS_SECURE_CONNECTION_REQUIRED;
    bool is_said = more != NULL && *more != '\0';
    auto_free char *what_to_do = advice(st, is_said ? more : "", server, files);
    return err_set(err, is_denied ? ERR_DENIED : ERR_UNAVAILABLE, "connecting to NATS at '%s': %s%s%s%s", server,
                   natsStatus_GetText(st), is_said ? ": " : "", is_said ? more : "", what_to_do);
}
