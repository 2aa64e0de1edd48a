#include "install/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/own.h"
#include "crypto/ca.h"
#include "crypto/cert.h"
#include "crypto/file.h"
#include "crypto/seal_keys.h"
#include "crypto/token.h"
#include "install/nats.h"
#include "os/file.h"

/* 398 days: the most that browsers accept of public certificates, taken for ours too; written anew by an `up` within
 * the last 30 days. */
enum { LEAF_DAYS = 398, RENEW_DAYS = 30 };

struct names {
    char uri[192], dns[192], fabric[64];
    char more_uri[192]; /* a second identity; empty: none */
    const char *uris[2], *dns_names[3], *ips[3];
    size_t dns_n, ips_n;
};

static bool is_good(const char *cert, const char *key, const char *ca)
{
    int64_t later_s = clock_wall_us() / 1000000 + (int64_t)RENEW_DAYS * 86400;
    return cert_files_check(cert, key, ca, later_s, NULL) == OK;
}

static enum err issue(const struct home *h, const struct ca *ca, const struct names *n, const char *folder,
                      const char *base, int uid, int gid, struct errinfo *err)
{
    char cert[PATH_SIZE], key[PATH_SIZE], ca_file[PATH_SIZE];
    (void)snprintf(cert, sizeof(cert), "%s/%s.%s", folder, base, strcmp(base, "client") == 0 ? "crt" : "pem");
    if (strcmp(base, "client") == 0)
        (void)snprintf(key, sizeof(key), "%s/client.key", folder);
    else
        (void)snprintf(key, sizeof(key), "%s/key.pem", folder);
    home_path(h, ca_file, "ca/ca.crt");
    if (is_good(cert, key, ca_file))
        return OK;
    struct leaf_options o = {.uris = n->uris,
                             .uris_n = n->more_uri[0] != '\0' ? 2 : 1,
                             .dns_names = n->dns_names,
                             .dns_names_n = n->dns_n,
                             .ips = n->ips,
                             .ips_n = n->ips_n,
                             .server = true,
                             .client = true,
                             .days = LEAF_DAYS};
    enum err rc = folder_make_owned(folder, 0750, 0, gid < 0 ? 0 : (gid_t)gid, err);
    return rc == OK ? ca_issue_files(ca, &o, cert, key, uid, gid, err) : rc;
}

static void name_it(struct names *n, const struct home *h, const char *role, struct str id)
{
    *n = (struct names){0};
    (void)snprintf(n->uri, sizeof(n->uri), "slipform://%.*s/%s/%.*s", STR_ARG(h->inst.name), role, STR_ARG(id));
    n->uris[0] = n->uri;
}

static void reach_it_at(struct names *n, const struct home *h, const struct installation_node *node)
{
    n->ips[n->ips_n++] = home_fabric_address(h, node, n->fabric);
    if (!node->has_namespace) {
        n->ips[n->ips_n++] = "127.0.0.1";
        n->ips[n->ips_n++] = "::1";
        n->dns_names[n->dns_n++] = "localhost";
    }
}

static enum err write_agent(const struct home *h, const struct ca *ca, const struct installation_node *node,
                            struct errinfo *err)
{
    struct names n;
    char folder[PATH_SIZE];
    name_it(&n, h, "node", node->name);
    reach_it_at(&n, h, node);
    return issue(h, ca, &n, home_path(h, folder, "nodes/%.*s/identity", STR_ARG(node->name)), "cert", -1, -1, err);
}

/* The role of a platform program. */
static const char *role_of(struct str program)
{
    if (str_eq(program, STR("edge-proxy")))
        return "edge";
    if (str_eq(program, STR("node-proxy")))
        return "node-proxy";
    if (str_eq(program, STR("active-notifier")))
        return "notifier"; /* says on NATS what moved, and nothing to anybody else */
    if (str_eq(program, STR("public-api")))
        return "public-api"; /* node-agents obey the role control: what faces users does not have it */
    return "control";
}

static enum err write_instance(const struct home *h, const struct ca *ca, const struct bootstrap_instance *i, int uid,
                               int gid, struct errinfo *err)
{
    const struct installation_node *node = home_node_by_name(h, i->node);
    if (node == NULL)
        return err_set(err, ERR_INVALID,
                       "the bootstrap log places '%.*s' on node '%.*s', which the inventory does not have",
                       STR_ARG(i->name), STR_ARG(i->node));
    struct names n;
    char folder[PATH_SIZE], id[ID_TEXT_SIZE];
    const char *role = role_of(i->name);
    name_it(&n, h, role, node->name);
    reach_it_at(&n, h, node);
    if (strcmp(role, "node-proxy") == 0) {
        (void)snprintf(n.dns, sizeof(n.dns), "%.*s.node.%.*s", STR_ARG(node->name), STR_ARG(h->inst.name));
        n.dns_names[n.dns_n++] = n.dns;
    }
    id_format(i->instance_id, id);
    home_path(h, folder, "nodes/%.*s/identities/%s", STR_ARG(node->name), id);
    return issue(h, ca, &n, folder, "cert", uid, gid, err);
}

/* Of a nats-server, and of who keeps the log in it on the same host. */
static enum err write_nats(const struct home *h, const struct ca *ca, const struct installation_node *node, int uid,
                           int gid, struct errinfo *err)
{
    struct names n;
    char folder[PATH_SIZE];
    if (!nats_is_wanted(h) || !home_is_operator(node))
        return OK;
    name_it(&n, h, NATS_ROLE, node->name);
    n.ips[n.ips_n++] = home_fabric_address(h, node, n.fabric);
    (void)snprintf(n.more_uri, sizeof(n.more_uri), "slipform://%.*s/" NATS_ROLE "/" NATS_ROUTES_ID,
                   STR_ARG(h->inst.name));
    n.uris[1] = n.more_uri;
    home_path(h, folder, "nodes/%.*s/identities/" NATS_ROLE, STR_ARG(node->name));
    enum err rc = issue(h, ca, &n, folder, "cert", uid, gid, err);
    if (rc != OK || !home_store_is(h, "jetstream"))
        return rc;
    name_it(&n, h, NATS_ROLE_STORE, node->name);
    home_path(h, folder, "nodes/%.*s/identities/" NATS_ROLE_STORE, STR_ARG(node->name));
    return issue(h, ca, &n, folder, "cert", uid, gid, err);
}

static enum err write_operator(const struct home *h, const struct ca *ca, int gid, struct errinfo *err)
{
    struct names n;
    char folder[PATH_SIZE], token_file[PATH_SIZE], hash_file[PATH_SIZE];
    name_it(&n, h, "operator", STR("local"));
    enum err rc = issue(h, ca, &n, home_path(h, folder, "operator"), "client", -1, -1, err);
    if (rc != OK || (file_exists(home_path(h, token_file, "operator/token")) &&
                     file_exists(home_path(h, hash_file, "ca/operator-token.sha256"))))
        return rc;
    home_path(h, hash_file, "ca/operator-token.sha256");
    char token[TOKEN_TEXT_SIZE], hash[TOKEN_HASH_TEXT_SIZE];
    token_new(token);
    token_hash(str_from(token), hash);
    rc = crypto_file_write(hash_file, str_from(hash), 0640, -1, gid, err);
    if (rc == OK)
        rc = crypto_file_write(token_file, str_from(token), 0600, -1, -1, err);
    explicit_bzero(token, sizeof(token));
    return rc;
}

static enum err open_ca(const struct home *h, int uid, int gid, struct ca **ret, struct errinfo *err)
{
    char cert[PATH_SIZE], key[PATH_SIZE], name[128];
    home_path(h, cert, "ca/ca.crt");
    home_path(h, key, "ca/ca.key");
    if (file_exists(cert) && file_exists(key))
        return ca_load(cert, key, ret, err);
    char tag[OS_TAG_SIZE];
    (void)str_copy_to(h->inst.os_tag, tag, sizeof(tag));
    (void)snprintf(name, sizeof(name), "slipform %.*s %s", STR_ARG(h->inst.name), tag);
    enum err rc = ca_create(name, ret, err);
    if (rc == OK)
        rc = ca_save(*ret, cert, key, err);
    /* The control plane issues certificates for host names, so its user may read the key. */
    AUTO(secret) struct buf pem = {0};
    if (rc == OK)
        rc = crypto_file_read(key, &pem, err);
    return rc == OK ? crypto_file_write(key, buf_str(&pem), 0400, uid, gid, err) : rc;
}

/* The keys that sealed values in the log are under: made once. */
static enum err write_seal_keys(const struct home *h, int uid, int gid, struct errinfo *err)
{
    char file[PATH_SIZE];
    struct seal_keys keys;
    if (file_exists(home_path(h, file, "ca/seal.key")))
        return OK;
    seal_keys_random(&keys);
    /* The control plane seals and opens them, so its user may read the file. */
    enum err rc = seal_keys_save(&keys, file, uid, gid, err);
    seal_keys_wipe(&keys);
    return rc;
}

/* An installation that had its CA and its keys and lost them is not given others, under which nothing is found. */
static enum err check_not_lost(const struct home *h, struct errinfo *err)
{
    static const char *const NAMES[] = {"ca/ca.crt", "ca/ca.key", "ca/seal.key"};
    char path[PATH_SIZE];
    if (!file_exists(home_path(h, path, "operator/token"))) /* written behind them */
        return OK;
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (!file_exists(home_path(h, path, "%s", NAMES[i])))
            return err_set(err, ERR_NOT_FOUND,
                           "'%s' is lost: 'slipform recovery restore FILE' brings it back. If there is no such file: "
                           "docs/operate.md, \"Without a recovery key\"",
                           path);
    return OK;
}

enum err identity_write_all(const struct home *h, const struct bootstrap_instance *instances, size_t instances_n,
                            int uid, int gid, struct errinfo *err)
{
    char folder[PATH_SIZE];
    auto_ca struct ca *ca = NULL;
    enum err rc = check_not_lost(h, err);
    if (rc == OK)
        rc = folder_make(home_path(h, folder, "ca"), 0755, err);
    if (rc == OK)
        rc = folder_make(home_path(h, folder, "operator"), 0700, err);
    if (rc == OK)
        rc = open_ca(h, uid, gid, &ca, err);
    if (rc == OK)
        rc = write_seal_keys(h, uid, gid, err);
    if (rc == OK)
        rc = write_operator(h, ca, gid, err);
    for (size_t i = 0; rc == OK && i < h->inst.nodes.n; i++)
        rc = write_agent(h, ca, home_node(h, i), err);
    for (size_t i = 0; rc == OK && i < h->inst.nodes.n; i++)
        rc = write_nats(h, ca, home_node(h, i), uid, gid, err);
    for (size_t i = 0; rc == OK && i < instances_n; i++)
        rc = write_instance(h, ca, &instances[i], uid, gid, err);
    return rc == OK ? OK : err_wrap(err, rc, "while writing identities");
}
