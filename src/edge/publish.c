#include "edge/publish.h"

#include <ctype.h>

#include "base/mem.h"
#include "base/own.h"
#include "edge/xds/proto_json.h"

struct publish {
    struct publish_options options;
    struct buf fallback_chain, fallback_key;
    size_t unknown_n;
};

struct publish *publish_new(const struct publish_options *o)
{
    struct publish *p = mem_alloc(sizeof(*p));
    p->options = *o;
    return p;
}

void publish_free(struct publish *p)
{
    if (p == NULL)
        return;
    buf_done(&p->fallback_chain);
    buf_done(&p->fallback_key);
    free(p);
}

/* Takes doc. */
static void put(struct publish *p, enum xds_type type, struct str name, json_t *doc, struct str needs)
{
    AUTO(buf) struct buf bytes = {0};
    struct errinfo err = {0};
    if (proto_json_encode(str_from(xds_type_url(type)), doc, &bytes, &err) == OK)
        (void)catalogue_put(p->options.catalogue, type, name, buf_str(&bytes), needs);
    else
        p->options.on_problem(p->options.ctx, &err);
    json_decref(doc);
}

void publish_listeners(struct publish *p, const struct resource_listener *https, const struct resource_listener *http,
                       int64_t https_public_port)
{
    struct str host = str_slice(STR(ROLLOUT_PLACEHOLDER), strlen(RESOURCE_HOST_PREFIX), strlen(ROLLOUT_PLACEHOLDER));
    put(p, XDS_ROUTES, STR(RESOURCE_ROUTES), resource_routes(), STR(""));
    put(p, XDS_VIRTUAL_HOST, STR(ROLLOUT_PLACEHOLDER), resource_gone_host(host), STR(""));
    put(p, XDS_LISTENER, STR("https"), resource_listener_https(https), STR(""));
    if (http != NULL)
        put(p, XDS_LISTENER, STR("http"), resource_listener_http(http, https_public_port), STR(""));
    else
        (void)catalogue_put_absent(p->options.catalogue, XDS_LISTENER, STR("http"));
}

static void put_certificate(struct publish *p, struct str name, struct str chain_pem, struct str key_pem)
{
    put(p, XDS_SECRET, name, resource_secret_certificate(name, chain_pem, key_pem), STR(""));
}

void publish_identity(struct publish *p, struct str chain_pem, struct str key_pem, struct str ca_pem)
{
    put_certificate(p, STR(SECRET_IDENTITY), chain_pem, key_pem);
    put(p, XDS_SECRET, STR(SECRET_TRUST), resource_secret_trust(STR(SECRET_TRUST), ca_pem), STR(""));
}

void publish_fallback(struct publish *p, struct str chain_pem, struct str key_pem)
{
    buf_clear(&p->fallback_chain);
    buf_clear(&p->fallback_key);
    buf_add_str(&p->fallback_chain, chain_pem);
    buf_add_str(&p->fallback_key, key_pem);
    put_certificate(p, STR(SECRET_FALLBACK), chain_pem, key_pem);
}

/* Host names come as clients wrote them: lower case for the map. Returned: free(). */
static char *lower(struct str name)
{
    char *text = mem_strndup(name.ptr, name.len);
    for (char *c = text; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    return text;
}

void publish_certificate(struct publish *p, struct str host, struct str chain_pem, struct str key_pem)
{
    put_certificate(p, host, chain_pem, key_pem);
}

/* ---- routes ---- */

static void put_cluster(struct publish *p, const struct route *r)
{
    char name[ID_TEXT_SIZE];
    id_format(r->route_id, name);
    put(p, XDS_CLUSTER, str_from(name), resource_cluster(r), STR(""));
    put(p, XDS_ENDPOINTS, str_from(name), resource_endpoints(r), STR(""));
}

/* A host that some client wants, with all that it needs. `name` is the resource's, as the client wrote it. */
static void put_host(struct publish *p, const struct route *r, struct str name)
{
    char cluster[ID_TEXT_SIZE];
    auto_free char *host = lower(str_slice(name, strlen(RESOURCE_HOST_PREFIX), name.len));
    id_format(r->route_id, cluster);
    put_cluster(p, r);
    put(p, XDS_VIRTUAL_HOST, name, resource_virtual_host(&p->options.shape, r, str_from(host)), str_from(cluster));
}

static bool may_be_unknown(struct publish *p)
{
    if (p->unknown_n >= PUBLISH_UNKNOWN_MAX)
        return false;
    p->unknown_n++;
    return true;
}

static void wanted_host(struct publish *p, struct str name, bool is_held)
{
    struct str prefix = STR(RESOURCE_HOST_PREFIX);
    if (!str_starts(name, prefix)) {
        (void)catalogue_put_absent(p->options.catalogue, XDS_VIRTUAL_HOST, name);
        return;
    }
    auto_free char *host = lower(str_slice(name, prefix.len, name.len));
    const struct route *r = route_map_find_host(p->options.map, str_from(host));
    if (r != NULL)
        put_host(p, r, name);
    else if (is_held)
        put(p, XDS_VIRTUAL_HOST, name, resource_gone_host(str_from(host)), STR(""));
    else if (may_be_unknown(p))
        (void)catalogue_put_absent(p->options.catalogue, XDS_VIRTUAL_HOST, name);
}

static const struct route_host *find_host(const struct route *r, struct str host)
{
    const struct route_host *hosts = r->hosts.items;
    for (size_t i = 0; i < r->hosts.n; i++)
        if (str_eq(hosts[i].host, host))
            return &hosts[i];
    return NULL;
}

static void put_fallback(struct publish *p, struct str name)
{
    put_certificate(p, name, buf_str(&p->fallback_chain), buf_str(&p->fallback_key));
}

/* A certificate for the name that a client sent: its own, or the fallback when nobody has that name (yet). */
static void wanted_certificate(struct publish *p, struct str name)
{
    auto_free char *host = lower(name);
    const struct route *r = route_map_find_host(p->options.map, str_from(host));
    const struct route_host *h = r == NULL ? NULL : find_host(r, str_from(host));
    if (h != NULL && !id_is_none(h->certificate_id))
        p->options.on_certificate_wanted(p->options.ctx, name, h->certificate_id);
    else if (r != NULL || may_be_unknown(p))
        put_fallback(p, name);
}

static void wanted_cluster(struct publish *p, enum xds_type type, struct str name)
{
    struct id id;
    const struct route *r = id_parse(name, &id) ? route_map_find(p->options.map, id) : NULL;
    if (r != NULL)
        put_cluster(p, r);
    else
        (void)catalogue_put_absent(p->options.catalogue, type, name);
}

void publish_wanted(struct publish *p, enum xds_type type, struct str name, bool is_held)
{
    switch (type) {
    case XDS_VIRTUAL_HOST: wanted_host(p, name, is_held); break;
    case XDS_SECRET: wanted_certificate(p, name); break;
    case XDS_CLUSTER:
    case XDS_ENDPOINTS: wanted_cluster(p, type, name); break;
    case XDS_LISTENER:
    case XDS_ROUTES:
    case XDS_TYPES_N: (void)catalogue_put_absent(p->options.catalogue, type, name); break;
    }
}

/* ---- changes ---- */

static void change_route(struct publish *p, struct id route_id)
{
    char name[ID_TEXT_SIZE];
    id_format(route_id, name);
    const struct route *r = route_map_find(p->options.map, route_id);
    if (catalogue_find(p->options.catalogue, XDS_CLUSTER, str_from(name)) == NULL)
        return; /* cold: nobody has asked for it */
    if (r != NULL) {
        put_cluster(p, r);
        return;
    }
    (void)catalogue_put_absent(p->options.catalogue, XDS_CLUSTER, str_from(name));
    (void)catalogue_put_absent(p->options.catalogue, XDS_ENDPOINTS, str_from(name));
}

static void change_host(struct publish *p, struct str host)
{
    auto_free char *name = mem_printf(RESOURCE_HOST_PREFIX "%.*s", STR_ARG(host));
    const struct route *r = route_map_find_host(p->options.map, host);
    const struct resource *known = catalogue_find(p->options.catalogue, XDS_VIRTUAL_HOST, str_from(name));
    if (known != NULL && r != NULL)
        put_host(p, r, str_from(name));
    else if (known != NULL && known->is_present)
        put(p, XDS_VIRTUAL_HOST, str_from(name), resource_gone_host(host), STR(""));
    if (r != NULL && catalogue_find(p->options.catalogue, XDS_SECRET, host) != NULL)
        wanted_certificate(p, host);
}

void publish_changes(struct publish *p, const struct route_changes *changes)
{
    for (size_t i = 0; i < changes->routes_n; i++)
        change_route(p, changes->routes[i]);
    for (size_t i = 0; i < changes->hosts_n; i++)
        change_host(p, changes->hosts[i]);
}
