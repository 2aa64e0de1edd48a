#pragma once
/* install/installation.h - what an installation on this machine is: its name, addresses, ports and folders.
 * Chosen once by the first `up`, kept in <home>/installation.json, read by everything that comes later.
 * Layer: install. */
#include "event/fields.h"
#include "install/inventory.h"

/* 4 letters of [a-z0-9], random: in the names of our objects in the OS, so that two installations can live on one
 * machine. */
#define OS_TAG_SIZE 5
#define PATH_SIZE 512

struct installation_node {
    struct id node_id;
    struct str name, zone, label;
    bool has_namespace;
    int64_t number; /* 1…: its /64 is <prefix>:<number>::/64 */
};
struct installation {
    struct id installation_id;
    struct str name, region, app_domain, os_tag, created;
    /* Of the platform's log: "files" (also when empty), "postgres", "jetstream"; a spec: it is on servers that are not
     * ours */
    struct str store;
    struct str blobs;  /* a spec without cache: contexts and images are in a bucket that is not ours */
    struct str prefix; /* the random ULA /48, "fd12:3456:789a" */
    int64_t edge_http_port, edge_https_port, management_api_port, public_api_port, node_agent_port, node_proxy_port;
    /* 0: it has none. Of the nats-server of each operator, on the fabric; of the S3 server, on the machine's address
     * there */
    int64_t nats_port, nats_routes_port, nats_monitor_port, s3_port;
    int64_t fabric_ipv4_octet; /* hosts meet in 100.127.<octet>.0/24 */
    struct objects nodes;      /* of struct installation_node */
};

/* An open home. {0} before home_open. */
struct home {
    char path[PATH_SIZE];
    struct arena arena;
    struct installation inst; /* texts in the arena; name.len == 0: nothing was installed here yet */
};

/* Read <path>/installation.json when it is there. OK | ERR_CORRUPT | ERR_IO | ERR_INVALID path too long or not absolute
 */
must_check enum err home_open(const char *path, struct home *ret, struct errinfo *err);
void home_close(struct home *h);
/* Choose names, addresses and free ports after the inventory and write them. `say` gets a line for each port that had
 * to be another than the inventory's. */
must_check enum err home_create(struct home *h, const struct inventory *inv, void (*say)(void *ctx, const char *text),
                                void *ctx, struct errinfo *err);

/* What an older `up` did not know yet and the inventory has now: its ports are chosen and written. */
must_check enum err home_complete(struct home *h, const struct inventory *inv, void (*say)(void *ctx, const char *text),
                                  void *ctx, struct errinfo *err);

/* Paths below the home, NUL-terminated in the caller's buffer; printf-like. */
const char *home_path(const struct home *h, char ret[static PATH_SIZE], const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

const struct installation_node *home_node(const struct home *h, size_t i);
const struct installation_node *home_node_by_name(const struct home *h, struct str name); /* NULL */
/* The host's address on the fabric, "fd12:3456:789a::11"; the machine itself is "::1" of it. */
const char *home_fabric_address(const struct home *h, const struct installation_node *n, char ret[static 64]);
const char *home_fabric_ipv4(const struct home *h, const struct installation_node *n, char ret[static 32]);
/* "https://[…]:7610" of its node-agent. */
const char *home_agent_url(const struct home *h, const struct installation_node *n, char ret[static 96]);
/* For people: of the first operator. */
const char *home_management_url(const struct home *h, char ret[static 96]);
const char *home_public_url(const struct home *h, char ret[static 96]);

/* Operators: nodes that carry the control plane and an edge. The first one is by what people and the CLI reach it. */
bool home_is_operator(const struct installation_node *n);
/* NULL: there is no installation here. */
const struct installation_node *home_first_operator(const struct home *h);
size_t home_operators_n(const struct home *h);
/* Where programs of other hosts reach the management-api of an operator, "https://[fd12::12]:7600". */
const char *home_operator_url(const struct home *h, const struct installation_node *n, char ret[static 96]);
/* Where programs of the same host do: 127.0.0.1, but in a namespace, whose certificates are for the fabric. */
const char *home_operator_local_url(const struct home *h, const struct installation_node *n, char ret[static 96]);
/* The same of its public-api. */
const char *home_operator_public_url(const struct home *h, const struct installation_node *n, char ret[static 96]);
/* The servers of its log, or its folder, are this installation's own, and of that kind. */
bool home_store_is(const struct home *h, const char *kind);
/* Its log is on servers that somebody else runs: inst.store is a replica's spec. */
bool home_store_is_elsewhere(const struct home *h);
/* "files", "postgres", "jetstream", whoever runs it. */
struct str home_store_kind(const struct home *h);
/* "slipform-dev-0-ab12-w1" */
const char *home_namespace(const struct home *h, const struct installation_node *n, char ret[static 128]);
/* "slipform_dev_0_ab12" */
const char *home_table(const struct home *h, char ret[static 128]);
/* Whether somebody listens on the TCP port of this machine (any address). */
bool port_is_busy(uint16_t port);
