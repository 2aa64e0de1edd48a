#pragma once
/* edge/route_map/catalogue.h - what an Envoy should have, as far as anybody has asked for it: one entry per resource,
 * present (version, bytes) or known to be absent. A name without an entry is undecided: whoever owns the catalogue is
 * asked for it (rollout_wanted). So the catalogue holds the hot part of the map, not the map. Layer: edge. Pure. */
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/* The order is that in which changes are sent: what is named before what names it. */
enum xds_type { XDS_SECRET, XDS_CLUSTER, XDS_ENDPOINTS, XDS_LISTENER, XDS_ROUTES, XDS_VIRTUAL_HOST, XDS_TYPES_N };

/* "cluster", "endpoints", … for metrics and logs. */
const char *xds_type_name(enum xds_type type);
/* "type.googleapis.com/envoy.config.cluster.v3.Cluster", … */
const char *xds_type_url(enum xds_type type);
/* False for a type that we don't serve. */
bool xds_type_find(struct str url, enum xds_type *ret_type);

#define VERSION_TEXT_SIZE 17 /* 16 hex digits of the SHA-256 of the bytes: the same after a restart of ours */

struct resource {
    const char *name;
    bool is_present;
    char version[VERSION_TEXT_SIZE]; /* "" when absent */
    const char *bytes;               /* the encoded message; owned by the catalogue */
    size_t size;
    const char *needs; /* virtual hosts: name of the cluster that must be there first; NULL: none */
};

struct catalogue;
struct catalogue *catalogue_new(void);
void catalogue_free(struct catalogue *c);
/* Set (add or replace). bytes are copied; needs may be NULL. True when that changed anything. */
bool catalogue_put(struct catalogue *c, enum xds_type type, struct str name, struct str bytes, struct str needs);
/* Say that there is no such resource. True when that changed anything. */
bool catalogue_put_absent(struct catalogue *c, enum xds_type type, struct str name);
/* NULL: undecided. Lent until the catalogue changes. */
const struct resource *catalogue_find(const struct catalogue *c, enum xds_type type, struct str name);
/* Walk one type in no particular order. */
void catalogue_each(const struct catalogue *c, enum xds_type type, void (*each)(void *ctx, const struct resource *r),
                    void *ctx);
