#include "edge/envoy/bootstrap.h"

#include <jansson.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "edge/envoy/process.h"
#include "edge/route_map/template.h"
#include "edge/templates.h"
#include "os/file.h"

/* Takes doc. Returned. */
static char *text_of(json_t *doc)
{
    char *text = json_format(doc);
    json_decref(doc);
    return text;
}

char *bootstrap_edge(const char *node_id, const char *run_dir)
{
    auto_free char *admin = envoy_admin_path(run_dir), *xds = envoy_xds_path(run_dir);
    return text_of(template_fill(TEMPLATE_EDGE_BOOTSTRAP_JSON,
                                 json_pack("{s:s,s:s,s:s}", "node_id", node_id, "admin_path", admin, "xds_path", xds)));
}

char *bootstrap_node(const struct bootstrap_node *o)
{
    auto_free char *admin = envoy_admin_path(o->run_dir), *prefix = mem_printf("slipform://%s/edge/", o->installation),
                   *identity = mem_printf("%s/identity.json", o->secrets_dir),
                   *trust = mem_printf("%s/trust.json", o->secrets_dir);
    return text_of(template_fill(TEMPLATE_NODE_BOOTSTRAP_JSON,
                                 json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:s}", "node_id", o->node_id, "admin_path", admin,
                                           "port", (json_int_t)o->port, "edge_uri_prefix", prefix, "identity_path",
                                           identity, "trust_path", trust, "secrets_dir", o->secrets_dir)));
}

/* Takes secret. */
static enum err write_secret(const char *folder, const char *name, json_t *secret, struct errinfo *err)
{
    auto_free char *path = mem_printf("%s/%s.json", folder, name);
    auto_free char *text = text_of(json_pack("{s:[o]}", "resources", secret));
    return file_replace(path, str_from(text), 0600, err);
}

enum err bootstrap_node_secrets(const char *secrets_dir, const char *cert_file, const char *key_file,
                                const char *ca_file, struct errinfo *err)
{
    static const char TYPE[] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    enum err rc =
        write_secret(secrets_dir, "identity",
                     json_pack("{s:s,s:s,s:{s:{s:s},s:{s:s}}}", "@type", TYPE, "name", "identity", "tls_certificate",
                               "certificate_chain", "filename", cert_file, "private_key", "filename", key_file),
                     err);
    if (rc != OK)
        return rc;
    return write_secret(secrets_dir, "trust",
                        json_pack("{s:s,s:s,s:{s:{s:s}}}", "@type", TYPE, "name", "trust", "validation_context",
                                  "trusted_ca", "filename", ca_file),
                        err);
}
