/* The jetstream store: what its spec says, and what the servers' monitoring says of their disks. */
#include "base/own.h"
#include "base/random.h"
#include "net/http_client.h"
#include "net/nats_connect.h"
#include "store/jetstream.h"

/* As NATS allows for a bucket and for a stream; longer ones are refused. */
#define NAME_SIZE_MAX 64u
#define SERVERS_MAX 16u
#define REPLICAS_MAX 5u /* the server's own */
/* Of several servers, one that lets nobody in, or reads nothing, is given up after (chosen). */
#define SERVER_TIMEOUT_MS 2000u
#define MONITOR_TIMEOUT_MS 2000u
#define MONITOR_ANSWER_MAX 1048576u

static bool is_key(struct str name)
{
    static const char *const KEYS[] = {"servers", "stream", "subject", "beside", "replicas", "monitor",   "sync",
                                       "ca",      "cert",   "key",     "creds",  "nkey",     "nkey_seed", "timeout_ms"};
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++)
        if (str_eq_c(name, KEYS[i]))
            return true;
    return false;
}

static enum err check_keys(const struct store *s, struct errinfo *err)
{
    struct str rest = str_from(s->spec), part, name;
    (void)str_next(&rest, ';', &part);
    while (str_next(&rest, ';', &part)) {
        struct str value = part;
        if (str_next(&value, '=', &name) && !is_key(name))
            return err_set(err, ERR_INVALID, "event store '%.*s…': '%.*s' is no key of kind jetstream", 16, s->spec,
                           STR_ARG(name));
    }
    return OK;
}

static bool is_name(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return text.len > 0 && text.len <= NAME_SIZE_MAX;
}

/* Names with dots between them, no wildcards. */
static bool is_subject(struct str text)
{
    struct str part;
    size_t n = 0;
    bool is_fine = !str_ends(text, STR("."));
    while (is_fine && str_next(&text, '.', &part)) {
        is_fine = is_name(part);
        n++;
    }
    return is_fine && n > 0;
}

static enum err check_servers(struct str servers, struct errinfo *err)
{
    struct str part;
    size_t n = 0;
    if (str_find(servers, '@') < servers.len)
        return err_set(err, ERR_INVALID,
                       "event store of kind jetstream: no user or password belongs in an address; "
                       "name a file by 'creds=FILE', or 'nkey=…' and 'nkey_seed=FILE'");
    while (str_next(&servers, ',', &part)) {
        if (!str_starts(part, STR("nats://")) && !str_starts(part, STR("tls://")))
            return err_set(err, ERR_INVALID,
                           "event store of kind jetstream: '%.*s' is no address of a server, use "
                           "nats://HOST:PORT or tls://HOST:PORT",
                           STR_ARG(part));
        n++;
    }
    if (n == 0 || n > SERVERS_MAX)
        return err_set(err, ERR_INVALID, "event store of kind jetstream needs 'servers=' with 1 to %u addresses",
                       SERVERS_MAX);
    return OK;
}

static enum err check_promise(const struct store *s, struct errinfo *err)
{
    struct str sync = store_spec_get(s, "sync");
    if (sync.len > 0 && !str_eq_c(sync, "promised"))
        return err_set(err, ERR_INVALID, "event store of kind jetstream: 'sync' can only be 'promised'");
    if (sync.len == 0 && store_spec_get(s, "monitor").len == 0)
        return err_set(err, ERR_INVALID,
                       "event store of kind jetstream needs 'monitor=http://HOST:PORT,…' of every server, to see that "
                       "they have 'sync_interval: always', or 'sync=promised' when you see to that yourself");
    return OK;
}

enum err jet_spec_read(const struct store *s, struct jet *j, struct errinfo *err)
{
    struct str servers = store_spec_get(s, "servers"), stream = store_spec_get(s, "stream"),
               subject = store_spec_get(s, "subject");
    enum err rc = check_keys(s, err);
    if (rc == OK)
        rc = check_servers(servers, err);
    if (rc == OK && !is_name(stream))
        rc = err_set(err, ERR_INVALID,
                     "event store of kind jetstream needs 'stream=NAME': up to %u letters, digits, "
                     "'_', '-'",
                     NAME_SIZE_MAX);
    if (rc == OK && subject.len > 0 && !is_subject(subject))
        rc = err_set(err, ERR_INVALID, "event store of kind jetstream: '%.*s' is no subject", STR_ARG(subject));
    if (rc == OK)
        rc = check_promise(s, err);
    if (rc == OK)
        rc = store_spec_number(s, "timeout_ms", 600000, JET_TIMEOUT_MS, &j->timeout_ms, err);
    if (rc == OK)
        rc = store_spec_number(s, "replicas", REPLICAS_MAX, 3, &j->replicas, err);
    if (rc != OK)
        return rc;
    j->servers = mem_strndup(servers.ptr, servers.len);
    j->stream = mem_strndup(stream.ptr, stream.len);
    j->subject = subject.len > 0 ? mem_strndup(subject.ptr, subject.len) : mem_printf("slipform.log.%s", j->stream);
    j->bucket = mem_printf("%s-leases", j->stream);
    j->keys = mem_printf("%s-keys", j->stream);
    return OK;
}

/* ---- options of the connection ---- */

static enum err nats_err(natsStatus st, const char *what, struct errinfo *err)
{
    return err_set(err, ERR_INVALID, "event store of kind jetstream: %s: %s", what, natsStatus_GetText(st));
}

static char *path_of(const struct store *s, const char *key)
{
    struct str text = store_spec_get(s, key);
    return text.len > 0 ? mem_strndup(text.ptr, text.len) : NULL;
}

static enum err set_tls(const struct store *s, natsOptions *o, struct errinfo *err)
{
    auto_free char *ca = path_of(s, "ca"), *cert = path_of(s, "cert"), *key = path_of(s, "key");
    natsStatus st = NATS_OK;
    if ((cert == NULL) != (key == NULL))
        return err_set(err, ERR_INVALID, "event store of kind jetstream: 'cert' and 'key' belong together");
    if (ca != NULL)
        st = natsOptions_LoadCATrustedCertificates(o, ca);
    if (st == NATS_OK && cert != NULL)
        st = natsOptions_LoadCertificatesChain(o, cert, key);
    if (st == NATS_OK && (ca != NULL || cert != NULL))
        st = natsOptions_SetSecure(o, true);
    return st == NATS_OK ? OK : nats_err(st, "reading the certificates that 'ca', 'cert', 'key' name", err);
}

static enum err set_credentials(const struct store *s, natsOptions *o, struct errinfo *err)
{
    auto_free char *creds = path_of(s, "creds"), *nkey = path_of(s, "nkey"), *seed = path_of(s, "nkey_seed");
    natsStatus st = NATS_OK;
    if ((nkey == NULL) != (seed == NULL))
        return err_set(err, ERR_INVALID, "event store of kind jetstream: 'nkey' and 'nkey_seed' belong together");
    if (creds != NULL)
        st = natsOptions_SetUserCredentialsFromFiles(o, creds, NULL);
    if (st == NATS_OK && nkey != NULL)
        st = natsOptions_SetNKeyFromSeed(o, nkey, seed);
    return st == NATS_OK ? OK : nats_err(st, "reading what 'creds' or 'nkey_seed' names", err);
}

/* Another one first each time: one that is up but cut off from the others is not asked again and again. */
enum err jet_spec_connect(const struct store *s, natsOptions *o, natsConnection **ret, struct errinfo *err)
{
    const struct jet *j = s->impl;
    const char *list[SERVERS_MAX], *server = "";
    AUTO(arena) struct arena a = {0};
    struct str rest = str_from(j->servers), part;
    size_t n = 0;
    uint8_t first = 0;
    while (n < SERVERS_MAX && str_next(&rest, ',', &part))
        list[n++] = arena_str(&a, part).ptr;
    random_bytes(&first, sizeof(first));
    natsStatus st = nats_connect_any(o, list, n, first, ret, &server);
    if (st == NATS_OK)
        return OK;
    auto_free char *ca = path_of(s, "ca"), *cert = path_of(s, "cert"), *key = path_of(s, "key");
    const struct nats_files files = {ca, cert, key};
    return err_wrap(err, nats_connect_err(st, server, &files, err), "log '%s'", s->name);
}

enum err jet_spec_options(const struct store *s, const struct jet *j, natsOptions **ret, struct errinfo *err)
{
    *ret = NULL;
    natsStatus st = natsOptions_Create(ret);
    int64_t bound_ms = j->timeout_ms > SERVER_TIMEOUT_MS ? SERVER_TIMEOUT_MS : (int64_t)j->timeout_ms;
    if (st == NATS_OK)
        st = natsOptions_SetTimeout(*ret, bound_ms);
    if (st == NATS_OK)
        st = natsOptions_SetWriteDeadline(*ret, bound_ms);
    if (st == NATS_OK)
        st = natsOptions_SetAllowReconnect(*ret, false); /* nothing is sent twice */
    if (st == NATS_OK)
        st = natsOptions_SetSendAsap(*ret, true);
    if (st == NATS_OK)
        st = natsOptions_SetName(*ret, "slipform");
    if (st != NATS_OK)
        return nats_err(st, "setting up the connection", err);
    enum err rc = set_tls(s, *ret, err);
    return rc == OK ? set_credentials(s, *ret, err) : rc;
}

/* ---- monitoring ---- */

/* OK | ERR_INVALID it does not sync | ERR_UNAVAILABLE */
static enum err ask_monitor(const struct store *s, struct str address, struct errinfo *err)
{
    auto_free char *url = mem_printf("%.*s/jsz", STR_ARG(address)), *ca = path_of(s, "ca");
    struct http_call_options call = {.url = url,
                                     .connect_timeout_ms = MONITOR_TIMEOUT_MS,
                                     .total_timeout_ms = MONITOR_TIMEOUT_MS,
                                     .answer_limit_bytes = MONITOR_ANSWER_MAX,
                                     .ca_file = str_starts(address, STR("https:")) ? ca : NULL};
    struct http_result answer __attribute__((cleanup(http_result_cleanup))) = {0};
    auto_json json_t *doc = NULL;
    if (http_fetch(&call, NULL, &answer) != OK)
        return err_set(err, ERR_UNAVAILABLE, "%s", answer.err.msg);
    enum err rc = json_parse(buf_str(&answer.body), &doc, err);
    if (rc != OK)
        return err_set(err, ERR_UNAVAILABLE, "the answer of '%s' is no JSON document", url);
    if (!json_is_true(json_object_get(json_object_get(doc, "config"), "sync_always")))
        return err_set(err, ERR_INVALID,
                       "the nats-server monitored at '%.*s' acknowledges what is not on disk yet: put 'sync_interval: "
                       "always' into the jetstream block of its configuration",
                       STR_ARG(address));
    return OK;
}

enum err jet_check_sync(const struct store *s, struct errinfo *err)
{
    struct str rest = store_spec_get(s, "monitor"), address;
    size_t asked = 0, good = 0;
    struct errinfo why = {0};
    while (str_next(&rest, ',', &address)) {
        enum err rc = ask_monitor(s, address, &why);
        if (rc == ERR_INVALID) {
            if (err != NULL)
                *err = why;
            return rc;
        }
        good += rc == OK;
        asked++;
    }
    if (asked > 0 && good * 2 <= asked)
        return err_set(err, ERR_UNAVAILABLE, "%zu of %zu monitoring addresses answer, needed are more than half: %s",
                       good, asked, why.msg);
    return OK;
}
