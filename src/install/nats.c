#include "install/nats.h"

#include <signal.h>
#include <stdio.h>

#include "base/own.h"
#include "event/hash.h"
#include "install/log_place.h"
#include "net/http_client.h"
#include "notifier/authorization.h"
#include "os/file.h"

/* 20 s: it hands over what it leads and writes its state (chosen). */
enum { NATS_STOP_MS = 20000, NATS_HEALTH_MS = 3000 };
/* A batch of 1 MiB with its envelope; NATS has 1 MiB (docs/operate.md). */
#define MAX_PAYLOAD "2MB"

bool nats_is_wanted(const struct home *h)
{
    return h->inst.nats_port != 0;
}

const char *nats_url(const struct home *h, const struct installation_node *n, char ret[static 96])
{
    char address[64];
    (void)snprintf(ret, 96, "tls://[%s]:%lld", home_fabric_address(h, n, address), (long long)h->inst.nats_port);
    return ret;
}

const char *nats_monitor_url(const struct home *h, const struct installation_node *n, char ret[static 96])
{
    char address[64];
    (void)snprintf(ret, 96, "http://[%s]:%lld", home_fabric_address(h, n, address),
                   (long long)h->inst.nats_monitor_port);
    return ret;
}

void nats_store_files(const struct home *h, const struct installation_node *n, char ret_cert[static PATH_SIZE],
                      char ret_key[static PATH_SIZE])
{
    home_path(h, ret_cert, "nodes/%.*s/identities/" NATS_ROLE_STORE "/cert.pem", STR_ARG(n->name));
    home_path(h, ret_key, "nodes/%.*s/identities/" NATS_ROLE_STORE "/key.pem", STR_ARG(n->name));
}

/* ---- files ---- */

/* Of the certificate: a renewed one makes a changed configuration, so that the server reads it. Empty: none yet. */
static void certificate_sum(const char *file, char ret[static DIGEST_TEXT_SIZE])
{
    uint8_t sum[HASH_SIZE];
    AUTO(buf) struct buf text = {0};
    ret[0] = '\0';
    if (file_read(file, 65536, &text, NULL) != OK)
        return;
    hash_bytes(text.ptr, text.len, sum);
    hash_digest_format(sum, ret);
}

static void put_tls(const struct home *h, const struct installation_node *n, const char *indent, struct buf *b)
{
    char cert[PATH_SIZE], key[PATH_SIZE], ca[PATH_SIZE], sum[DIGEST_TEXT_SIZE];
    home_path(h, cert, "nodes/%.*s/identities/" NATS_ROLE "/cert.pem", STR_ARG(n->name));
    home_path(h, key, "nodes/%.*s/identities/" NATS_ROLE "/key.pem", STR_ARG(n->name));
    home_path(h, ca, "ca/ca.crt");
    certificate_sum(cert, sum);
    /* 5 s for a handshake (chosen): the server's own 2 s are little on a machine that boots twelve guests. */
    buf_addf(b, "%stls {\n%s  cert_file: \"%s\" # %s\n%s  key_file: \"%s\"\n%s  ca_file: \"%s\"\n", indent, indent,
             cert, sum, indent, key, indent, ca);
    buf_addf(b, "%s  verify_and_map: true\n%s  timeout: 5\n%s}\n", indent, indent, indent);
}

/* Whoever shows a certificate with the identity of routes is a server: nobody else is given one. */
static void put_cluster(const struct home *h, const struct installation_node *n, struct buf *b)
{
    char address[64];
    const char *comma = "";
    buf_addf(b, "cluster {\n  name: \"%.*s\"\n  listen: \"[%s]:%lld\"\n  no_advertise: true\n", STR_ARG(h->inst.name),
             home_fabric_address(h, n, address), (long long)h->inst.nats_routes_port);
    put_tls(h, n, "  ", b);
    buf_addf(b, "  authorization { user: \"slipform://%.*s/" NATS_ROLE "/" NATS_ROUTES_ID "\", timeout: 5 }\n",
             STR_ARG(h->inst.name));
    buf_add_c(b, "  routes: [");
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *other = home_node(h, i);
        if (other == n || !home_is_operator(other))
            continue;
        buf_addf(b, "%s\"tls://[%s]:%lld\"", comma, home_fabric_address(h, other, address),
                 (long long)h->inst.nats_routes_port);
        comma = ", ";
    }
    buf_add_c(b, "]\n}\n");
}

static void config_format(const struct home *h, const struct service *s, struct buf *b)
{
    char address[64], store[PATH_SIZE];
    home_fabric_address(h, s->node, address);
    buf_addf(b, "server_name: \"%s\"\nlisten: \"[%s]:%lld\"\nhttp: \"[%s]:%lld\"\nmax_payload: " MAX_PAYLOAD "\n",
             s->name, address, (long long)h->inst.nats_port, address, (long long)h->inst.nats_monitor_port);
    put_tls(h, s->node, "", b);
    if (home_operators_n(h) > 1)
        put_cluster(h, s->node, b);
    if (home_store_is(h, "jetstream"))
        buf_addf(b, "jetstream { store_dir: \"%s\", sync_interval: always }\n",
                 home_path(h, store, "store/%s/data", s->name));
    buf_add_c(b, "include \"authorization.conf\"\n");
}

static void identity_of(const struct home *h, const char *role, struct str id, char ret[static 192])
{
    (void)snprintf(ret, 192, "slipform://%.*s/%s/%.*s", STR_ARG(h->inst.name), role, STR_ARG(id));
}

static void rights_format(const struct home *h, struct buf *b)
{
    char identity[192];
    auto_free char *installation = mem_strndup(h->inst.name.ptr, h->inst.name.len);
    bool keeps_log = home_store_is(h, "jetstream");
    authorization_begin(b);
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        authorization_add_node(&(struct audience_node){n->node_id, n->name, h->inst.region}, installation, b);
        if (!keeps_log || !home_is_operator(n))
            continue;
        identity_of(h, NATS_ROLE_STORE, n->name, identity);
        authorization_add_store(identity, LOG_STREAM, b);
    }
    if (keeps_log) {
        identity_of(h, "operator", STR("local"), identity);
        authorization_add_store(identity, LOG_STREAM, b);
    }
    authorization_end(b);
}

static enum err write_if_new(const char *path, const struct buf *text, bool *ret_changed, struct errinfo *err)
{
    AUTO(buf) struct buf was = {0};
    if (file_read(path, 1048576, &was, NULL) == OK && str_eq(buf_str(&was), buf_str(text)))
        return OK;
    *ret_changed = true;
    return file_replace(path, buf_str(text), 0644, err);
}

static enum err nats_create(const struct home *h, const struct service *s, int uid, int gid, bool *ret_changed,
                            struct errinfo *err)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf config = {0}, rights = {0};
    enum err rc = folder_make_owned(home_path(h, path, "store"), 0755, 0, 0, err);
    if (rc == OK)
        rc = folder_make_owned(home_path(h, path, "store/%s", s->name), 0750, (uid_t)uid, (gid_t)gid, err);
    if (rc != OK)
        return rc;
    config_format(h, s, &config);
    rights_format(h, &rights);
    rc = write_if_new(home_path(h, path, "store/%s/authorization.conf", s->name), &rights, ret_changed, err);
    return rc == OK ? write_if_new(home_path(h, path, "store/%s/nats.conf", s->name), &config, ret_changed, err) : rc;
}

/* ---- run ---- */

static enum err nats_command(const struct home *h, const struct service *s, struct arena *a,
                             struct service_command *ret, struct errinfo *err)
{
    char path[PATH_SIZE];
    (void)err;
    ret->argv[0] = arena_strdup(a, home_path(h, path, "programs/nats-server"));
    ret->argv[1] = "-c";
    ret->argv[2] = arena_strdup(a, home_path(h, path, "store/%s/nats.conf", s->name));
    return OK;
}

/* Where it keeps the log: also that it has caught up and knows a leader. */
static enum err nats_is_well(const struct home *h, const struct service *s, struct errinfo *err)
{
    char base[96], url[128];
    (void)snprintf(url, sizeof(url), "%s/healthz", nats_monitor_url(h, s->node, base));
    struct http_call_options o = {.url = url, .connect_timeout_ms = NATS_HEALTH_MS, .total_timeout_ms = NATS_HEALTH_MS};
    AUTO(http_result) struct http_result result = {0};
    if (http_fetch(&o, NULL, &result) == OK)
        return OK;
    return err_set(err, ERR_UNAVAILABLE, "%s", result.err.msg);
}

struct service nats_service(const struct home *h, const struct installation_node *n)
{
    bool keeps_log = home_store_is(h, "jetstream");
    struct service s = {.title = keeps_log ? "a nats-server, which keeps the log," : "a nats-server",
                        .node = n,
                        .stop_signal = SIGTERM,
                        .reload_signal = SIGHUP,
                        .stop_ms = NATS_STOP_MS,
                        .outlives_supervisor = keeps_log,
                        .create = nats_create,
                        .command = nats_command,
                        .is_well = nats_is_well};
    (void)snprintf(s.name, sizeof(s.name), "nats-%.*s", STR_ARG(n->name));
    (void)snprintf(s.log_file, sizeof(s.log_file), "store/%s/server.log", s.name);
    return s;
}
