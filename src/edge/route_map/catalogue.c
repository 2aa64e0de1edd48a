#include "edge/route_map/catalogue.h"

#include <assert.h>

#include "base/encode.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"

struct entry {
    struct resource resource;
    char *name, *bytes, *needs;
    UT_hash_handle hh;
};

struct catalogue {
    struct entry *types[XDS_TYPES_N];
};

static const struct {
    const char *name, *url;
} TYPES[XDS_TYPES_N] = {
    [XDS_SECRET] = {"secret", "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"},
    [XDS_CLUSTER] = {"cluster", "type.googleapis.com/envoy.config.cluster.v3.Cluster"},
    [XDS_ENDPOINTS] = {"endpoints", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"},
    [XDS_LISTENER] = {"listener", "type.googleapis.com/envoy.config.listener.v3.Listener"},
    [XDS_ROUTES] = {"routes", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"},
    [XDS_VIRTUAL_HOST] = {"virtual_host", "type.googleapis.com/envoy.config.route.v3.VirtualHost"},
};

const char *xds_type_name(enum xds_type type)
{
    return TYPES[type].name;
}

const char *xds_type_url(enum xds_type type)
{
    return TYPES[type].url;
}

bool xds_type_find(struct str url, enum xds_type *ret_type)
{
    for (enum xds_type t = 0; t < XDS_TYPES_N; t++)
        if (str_eq_c(url, TYPES[t].url)) {
            *ret_type = t;
            return true;
        }
    return false;
}

struct catalogue *catalogue_new(void)
{
    return mem_alloc(sizeof(struct catalogue));
}

void catalogue_free(struct catalogue *c)
{
    if (c == NULL)
        return;
    for (size_t t = 0; t < XDS_TYPES_N; t++) {
        struct entry *e, *tmp;
        HASH_ITER(hh, c->types[t], e, tmp)
        {
            HASH_DEL(c->types[t], e);
            free(e->name);
            free(e->bytes);
            free(e->needs);
            free(e);
        }
    }
    free(c);
}

static struct entry *find(const struct catalogue *c, enum xds_type type, struct str name)
{
    struct entry *e = NULL;
    HASH_FIND(hh, c->types[type], name.ptr, name.len, e);
    return e;
}

static struct entry *find_or_add(struct catalogue *c, enum xds_type type, struct str name)
{
    struct entry *e = find(c, type, name);
    if (e != NULL)
        return e;
    e = mem_alloc(sizeof(*e));
    e->name = mem_strndup(name.ptr, name.len);
    e->resource.name = e->name;
    HASH_ADD_KEYPTR(hh, c->types[type], e->name, name.len, e);
    return e;
}

bool catalogue_put(struct catalogue *c, enum xds_type type, struct str name, struct str bytes, struct str needs)
{
    uint8_t digest[HASH_SIZE];
    char version[VERSION_TEXT_SIZE];
    hash_bytes(bytes.ptr, bytes.len, digest);
    hex_format(digest, 8, version);
    struct entry *e = find_or_add(c, type, name);
    if (e->resource.is_present && strcmp(e->resource.version, version) == 0)
        return false;
    free(e->bytes);
    free(e->needs);
    e->bytes = mem_alloc(bytes.len + 1);
    memcpy(e->bytes, bytes.ptr, bytes.len);
    e->needs = str_is_empty(needs) ? NULL : mem_strndup(needs.ptr, needs.len);
    e->resource.is_present = true;
    e->resource.bytes = e->bytes;
    e->resource.size = bytes.len;
    e->resource.needs = e->needs;
    memcpy(e->resource.version, version, sizeof(version));
    return true;
}

bool catalogue_put_absent(struct catalogue *c, enum xds_type type, struct str name)
{
    bool is_known = find(c, type, name) != NULL;
    struct entry *e = find_or_add(c, type, name);
    if (is_known && !e->resource.is_present)
        return false;
    free(TAKE(e->bytes));
    free(TAKE(e->needs));
    e->resource = (struct resource){.name = e->name};
    return true;
}

const struct resource *catalogue_find(const struct catalogue *c, enum xds_type type, struct str name)
{
    struct entry *e = find(c, type, name);
    return e == NULL ? NULL : &e->resource;
}

void catalogue_each(const struct catalogue *c, enum xds_type type, void (*each)(void *ctx, const struct resource *r),
                    void *ctx)
{
    struct entry *e, *tmp;
    HASH_ITER(hh, c->types[type], e, tmp)
    each(ctx, &e->resource);
}
