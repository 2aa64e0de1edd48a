#pragma once
/* edge/envoy/bootstrap.h - the configuration that an Envoy of ours starts with. Layer: edge. */
#include <stdint.h>

#include "base/err.h"

/* Of an edge: everything else comes by ADS from <run_dir>/xds.sock. Returned: JSON text, free(). */
char *bootstrap_edge(const char *node_id, const char *run_dir);

struct bootstrap_node {
    const char *node_id, *run_dir, *installation;
    int64_t port;            /* on ::1, where the node's rules lead what is meant for guests */
    const char *secrets_dir; /* holds identity.json and trust.json (bootstrap_node_secrets) */
};
/* Of a node-proxy: all there is, and no table of microVMs in it. Returned: JSON text, free(). */
char *bootstrap_node(const struct bootstrap_node *o);
/* Write (again) the files that lead Envoy to the node's certificate and CA; it reads them again at each replacement.
 * OK | ERR_IO */
must_check enum err bootstrap_node_secrets(const char *secrets_dir, const char *cert_file, const char *key_file,
                                           const char *ca_file, struct errinfo *err);
