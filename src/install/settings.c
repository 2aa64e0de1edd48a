#include "install/settings.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "install/files.h"
#include "install/log_place.h"
#include "install/nats.h"
#include "install/s3_server.h"
#include "os/file.h"

/* A settings file under construction: one flat YAML mapping. Texts are written as JSON strings, which are YAML. */
static void put(struct buf *b, const char *name, const char *value)
{
    buf_addf(b, "%s: ", name);
    buf_add_json_string(b, str_from(value));
    buf_add_char(b, '\n');
}

static void put_int(struct buf *b, const char *name, int64_t value)
{
    buf_addf(b, "%s: %lld\n", name, (long long)value);
}

static void put_path(struct buf *b, const char *name, const struct home *h, const char *below)
{
    char path[PATH_SIZE];
    put(b, name, home_path(h, path, "%s", below));
}

/* Replace the file when its text differs. */
static enum err write_file(const char *path, struct buf *text, bool *ret_changed, struct errinfo *err)
{
    AUTO(buf) struct buf was = {0};
    if (file_read(path, 65536, &was, NULL) == OK && str_eq(buf_str(&was), buf_str(text)))
        return OK;
    *ret_changed = true;
    return file_replace(path, buf_str(text), 0644, err);
}

/* Operators by their addresses on the fabric, `first` (may be NULL) before the others, by `first_url`. */
static void put_operators(const struct home *h, const char *name, const struct installation_node *first,
                          const char *first_url, struct buf *b)
{
    char url[96];
    const char *comma = "";
    buf_addf(b, "%s: [", name);
    if (first != NULL) {
        buf_addf(b, "\"%s\"", first_url);
        comma = ", ";
    }
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        if (!home_is_operator(n) || n == first)
            continue;
        buf_addf(b, "%s\"%s\"", comma, home_operator_url(h, n, url));
        comma = ", ";
    }
    buf_add_c(b, "]\n");
}

/* Whom a host asks first: operators by its own number, so that they share the load. */
static const struct installation_node *operator_of(const struct home *h, const struct installation_node *n)
{
    int64_t skip = n->number % (int64_t)home_operators_n(h);
    for (size_t i = 0; i < h->inst.nodes.n; i++)
        if (home_is_operator(home_node(h, i)) && skip-- == 0)
            return home_node(h, i);
    return NULL;
}

char *settings_blobs(const struct home *h, const struct installation_node *n)
{
    char cache[PATH_SIZE];
    home_path(h, cache, "nodes/%.*s/blob-cache", STR_ARG(n->name));
    return mem_printf("%.*s;cache=%s", STR_ARG(h->inst.blobs), cache);
}

/* Where contexts and images are. A home that had a folder before it had a bucket goes on with its folder. */
static void put_blobs(const struct home *h, const struct installation_node *n, struct buf *b)
{
    char endpoint[96], path[PATH_SIZE], cache[PATH_SIZE];
    if (h->inst.blobs.len > 0) {
        auto_free char *spec = settings_blobs(h, n);
        put(b, "blobs", spec);
        return;
    }
    if (!s3_server_is_wanted(h) || !folder_is_empty(home_path(h, path, "blobs"))) {
        buf_addf(b, "blobs: \"folder;path=%s\"\n", home_path(h, path, "blobs"));
        return;
    }
    buf_addf(b,
             "blobs: \"s3;endpoint=%s;bucket=" S3_SERVER_BUCKET ";region=" S3_SERVER_REGION
             ";cache=%s;credentials=%s\"\n",
             s3_server_endpoint(h, endpoint), home_path(h, cache, "nodes/%.*s/blob-cache", STR_ARG(n->name)),
             s3_server_credentials(h, path));
}

/* Hints of news: the server of its own host first, or of the operator that it asks first. */
static void put_nats(const struct home *h, const struct installation_node *node, struct buf *b)
{
    char url[96];
    const char *comma = "";
    const struct installation_node *own = home_is_operator(node) ? node : operator_of(h, node);
    if (!nats_is_wanted(h))
        return;
    buf_add_c(b, "nats_servers: [");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < h->inst.nodes.n; i++) {
            const struct installation_node *n = home_node(h, i);
            if (!home_is_operator(n) || (n == own) != (round == 0))
                continue;
            buf_addf(b, "%s\"%s\"", comma, nats_url(h, n, url));
            comma = ", ";
        }
    }
    buf_add_c(b, "]\n");
}

static void platform_settings(const struct home *h, const struct installation_node *n, bool is_public, struct buf *b)
{
    char spec[LOG_SPEC_SIZE], address[64];
    int64_t port = is_public ? h->inst.public_api_port : h->inst.management_api_port;
    buf_addf(b, "listen: [\"127.0.0.1:%lld\"", (long long)port);
    if (!is_public || n->has_namespace)
        buf_addf(b, ", \"[%s]:%lld\"", home_fabric_address(h, n, address), (long long)port);
    buf_add_c(b, "]\n");
    put(b, "event_store", log_spec_on(h, n, spec));
    put_blobs(h, n, b);
    bool is_on_server = !home_store_is(h, "files");
    if (!is_on_server)
        put_path(b, "logs_folder", h, "logs");
    put_path(b, "token_hash_file", h, "ca/operator-token.sha256");
    put_path(b, "seal_key_file", h, "ca/seal.key");
    if (!is_public) {
        if (!is_on_server)
            put_path(b, "streams_folder", h, "log/streams");
        if (!is_on_server)
            put_path(b, "statistics_folder", h, "log/statistics");
        put_path(b, "certificates_folder", h, "certificates");
        put_path(b, "ca_cert_file", h, "ca/ca.crt");
        put_path(b, "ca_key_file", h, "ca/ca.key");
    }
    buf_addf(b, "app_domain: %.*s\n", STR_ARG(h->inst.app_domain));
    put_int(b, "edge_https_port", h->inst.edge_https_port);
    put_nats(h, n, b);
}

static void notifier_settings(const struct home *h, const struct installation_node *n, struct buf *b)
{
    char spec[LOG_SPEC_SIZE];
    put(b, "event_store", log_spec_on(h, n, spec));
    put_nats(h, n, b);
}

static void edge_settings(const struct home *h, const struct up_options *o, const struct installation_node *n,
                          struct buf *b)
{
    char text[PATH_SIZE], url[96];
    buf_addf(b, "node: %.*s\n", STR_ARG(n->name));
    put(b, "run_dir", home_path(h, text, "run/%.*s", STR_ARG(files_run_name(n))));
    put_operators(h, "management_urls", n, home_operator_local_url(h, n, url), b);
    buf_addf(b, "edge_https: \"[::]:%lld\"\nedge_http: \"[::]:%lld\"\n", (long long)h->inst.edge_https_port,
             (long long)h->inst.edge_http_port);
    put_int(b, "https_public_port", h->inst.edge_https_port);
    buf_addf(b, "region: %.*s\n", STR_ARG(h->inst.region));
    put_nats(h, n, b);
    (void)snprintf(text, sizeof(text), "%.480s/envoy/envoy", o->cache_folder);
    put(b, "envoy_binary", text);
}

static void node_proxy_settings(const struct home *h, const struct up_options *o, const struct installation_node *n,
                                struct buf *b)
{
    char text[PATH_SIZE], below[64];
    buf_addf(b, "node: %.*s\n", STR_ARG(n->name));
    (void)snprintf(below, sizeof(below), "run/%.*s", STR_ARG(n->name));
    put_path(b, "run_dir", h, below);
    put_int(b, "proxy_port", h->inst.node_proxy_port);
    (void)snprintf(text, sizeof(text), "%.480s/envoy/envoy", o->cache_folder);
    put(b, "envoy_binary", text);
    put_int(b, "envoy_concurrency", 1); /* the workers share this machine */
}

static void builder_settings(const struct home *h, const struct up_options *o, const struct installation_node *n,
                             struct buf *b)
{
    char url[96];
    put_operators(h, "management_url", n, home_operator_local_url(h, n, url), b);
    put_blobs(h, n, b);
    put(b, "cache_folder", o->cache_folder);
}

enum { MIB = 1024 * 1024 };

/* What a host of this machine offers to instances: a share of what the machine has. */
static void capacity(const struct home *h, struct buf *b)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    int64_t hosts = (int64_t)h->inst.nodes.n, memory = (int64_t)pages * page;
    put_int(b, "vcpus", cpus < 1 ? 1 : cpus); /* each: they take turns */
    put_int(b, "memory_bytes", memory / hosts / MIB * MIB);
}

static void agent_settings(const struct home *h, const struct up_options *o, const struct installation_node *n,
                           struct buf *b)
{
    char path[PATH_SIZE], address[64], url[96], id[ID_TEXT_SIZE], text[64];
    buf_addf(b, "installation: %.*s\nnode_name: %.*s\nzone: %.*s\nregion: %.*s\nlabels: [%.*s]\nos_tag: \"%.*s\"\n",
             STR_ARG(h->inst.name), STR_ARG(n->name), STR_ARG(n->zone), STR_ARG(h->inst.region), STR_ARG(n->label),
             STR_ARG(h->inst.os_tag));
    id_format(n->node_id, id);
    put(b, "node_id", id);
    put(b, "home", home_path(h, path, "nodes/%.*s", STR_ARG(n->name)));
    put_path(b, "ca_file", h, "ca/ca.crt");
    put(b, "cert_file", home_path(h, path, "nodes/%.*s/identity/cert.pem", STR_ARG(n->name)));
    put(b, "key_file", home_path(h, path, "nodes/%.*s/identity/key.pem", STR_ARG(n->name)));
    put(b, "agent_url", home_agent_url(h, n, url));
    buf_addf(b, "listen: [\"[%s]:%lld\"]\n", home_fabric_address(h, n, address), (long long)h->inst.node_agent_port);
    const struct installation_node *first = home_is_operator(n) ? n : operator_of(h, n);
    put_operators(h, "management_api", first, home_operator_url(h, first, url), b);
    put_nats(h, n, b);
    put_path(b, "program_folder", h, "programs");
    put_path(b, "kernel_file", h, "programs/vmlinuz");
    put_path(b, "initramfs_file", h, "programs/initramfs.cpio");
    capacity(h, b);
    if (strcmp(o->runtime, "auto") != 0)
        buf_addf(b, "runtimes: [%s, host]\n", o->runtime);
    if (!str_eq_c(n->label, "worker"))
        return;
    (void)snprintf(text, sizeof(text), "%.*s:%llx::/64", STR_ARG(h->inst.prefix), (unsigned long long)n->number);
    put(b, "prefix", text);
    put(b, "fabric_interface", "slpfab");
    put_int(b, "proxy_port", h->inst.node_proxy_port);
}

static enum err write_node(const struct home *h, const struct up_options *o, const struct installation_node *n,
                           bool *ret_changed, struct errinfo *err)
{
    static const char *const CONTROL[] = {"management-api", "public-api", "edge-proxy", "image-builder",
                                          "active-notifier"};
    char path[PATH_SIZE];
    AUTO(buf) struct buf b = {0};
    agent_settings(h, o, n, &b);
    enum err rc = write_file(home_path(h, path, "nodes/%.*s/node-agent.yaml", STR_ARG(n->name)), &b, ret_changed, err);
    if (rc == OK && str_eq_c(n->label, "worker")) {
        buf_clear(&b);
        node_proxy_settings(h, o, n, &b);
        return write_file(home_path(h, path, "nodes/%.*s/settings/node-proxy.yaml", STR_ARG(n->name)), &b, ret_changed,
                          err);
    }
    for (size_t i = 0; rc == OK && i < sizeof(CONTROL) / sizeof(CONTROL[0]); i++) {
        buf_clear(&b);
        if (i < 2)
            platform_settings(h, n, i == 1, &b);
        else if (i == 2)
            edge_settings(h, o, n, &b);
        else if (i == 3)
            builder_settings(h, o, n, &b);
        else if (nats_is_wanted(h))
            notifier_settings(h, n, &b);
        else
            continue;
        rc = write_file(home_path(h, path, "nodes/%.*s/settings/%s.yaml", STR_ARG(n->name), CONTROL[i]), &b,
                        ret_changed, err);
    }
    return rc;
}

enum err settings_write_all(const struct home *h, const struct up_options *o, bool *ret_changed, struct errinfo *err)
{
    enum err rc = OK;
    for (size_t i = 0; rc == OK && i < h->inst.nodes.n; i++)
        rc = write_node(h, o, home_node(h, i), ret_changed, err);
    return rc;
}
