#pragma once
/* install/inventory.h - the hosts of an installation, as its inventory.yaml names them. Layer: install. */
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* 64 (chosen): an inventory is the bootstrap's hosts, not a fleet. */
#define INVENTORY_NODES_MAX 64
/* 2,000 bytes of a spec (chosen): three servers with their files have some 500. */
#define INVENTORY_SPEC_MAX 2000

struct inventory_node {
    char *name, *zone, *label;
    bool has_namespace; /* in a network namespace of this machine, else the machine itself */
};
struct inventory_ports {
    uint16_t edge_http, edge_https, management_api, public_api, node_agent, node_proxy;
    /* 0: none. nats: of a nats-server on each operator, for clients, for each other, for monitoring; s3 */
    uint16_t nats, nats_routes, nats_monitor, s3;
};
struct inventory {
    char *installation, *region, *app_domain;
    /* Of the platform's log: "files", "postgres", "jetstream", or a spec ("postgres;host=…") of servers that are there;
     * NULL: files */
    char *store;
    char *blobs; /* a spec ("s3;endpoint=…", without cache) of a bucket that is there; NULL: none */
    struct inventory_node *nodes;
    unsigned nodes_n;
    struct inventory_ports ports;
};

/* OK | ERR_NOT_FOUND | ERR_INVALID naming file and member. Returned: inventory_free. */
must_check enum err inventory_load(const char *file, struct inventory **ret, struct errinfo *err);
void inventory_free(struct inventory *inv);
/* Another store than the file names. */
void inventory_set_store(struct inventory *inv, const char *store);
