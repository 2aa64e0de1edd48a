#include "edge/route_map/route_map.h"

#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"

/* 1,024 hosts or instances of one project (chosen, never measured): bounds one message to an Envoy. */
#define ROUTE_LIST_MAX 1024

struct entry {
    struct id route_id;
    struct route route; /* in the arena */
    struct arena arena;
    UT_hash_handle hh;
};

struct host {
    char *name;
    struct id route_id;
    UT_hash_handle hh;
};

struct route_map {
    struct entry *routes;
    struct host *hosts;
    char *cursor;
};

struct route_map *route_map_new(void)
{
    struct route_map *m = mem_alloc(sizeof(*m));
    m->cursor = mem_strdup("");
    return m;
}

static void entry_free(struct entry *e)
{
    arena_done(&e->arena);
    free(e);
}

void route_map_free(struct route_map *m)
{
    struct entry *e, *e_tmp;
    struct host *h, *h_tmp;
    if (m == NULL)
        return;
    HASH_ITER(hh, m->routes, e, e_tmp)
    {
        HASH_DEL(m->routes, e);
        entry_free(e);
    }
    HASH_ITER(hh, m->hosts, h, h_tmp)
    {
        HASH_DEL(m->hosts, h);
        free(h->name);
        free(h);
    }
    free(m->cursor);
    free(m);
}

void route_changes_done(struct route_changes *c)
{
    free(c->routes);
    free(c->hosts);
    arena_done(&c->arena);
    *c = (struct route_changes){0};
}

static struct entry *entry_find(const struct route_map *m, struct id route_id)
{
    struct entry *e = NULL;
    HASH_FIND(hh, m->routes, &route_id, sizeof(route_id), e);
    return e;
}

const struct route *route_map_find(const struct route_map *m, struct id route_id)
{
    const struct entry *e = entry_find(m, route_id);
    return e == NULL ? NULL : &e->route;
}

static struct host *host_find(const struct route_map *m, struct str name)
{
    struct host *h = NULL;
    HASH_FIND(hh, m->hosts, name.ptr, name.len, h);
    return h;
}

const struct route *route_map_find_host(const struct route_map *m, struct str host)
{
    const struct host *h = host_find(m, host);
    return h == NULL ? NULL : route_map_find(m, h->route_id);
}

size_t route_map_count(const struct route_map *m)
{
    return HASH_COUNT(m->routes);
}

size_t route_map_hosts_count(const struct route_map *m)
{
    return HASH_COUNT(m->hosts);
}

const char *route_map_cursor(const struct route_map *m)
{
    return m->cursor;
}

static const struct route_host *hosts_of(const struct route *r)
{
    return r->hosts.items;
}

/* ---- a document into entries, before anything is changed ---- */

static enum err check_host(struct str host, struct errinfo *err)
{
    if (host.len == 0 || host.len > 253)
        return err_set(err, ERR_INVALID, "host name '%.*s' is not 1 to 253 bytes long", STR_ARG(host));
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return err_set(err, ERR_INVALID, "host name '%.*s' has other characters than a-z, 0-9, '-' and '.'",
                           STR_ARG(host));
    }
    return OK;
}

static enum err check_route(const struct route *r, struct errinfo *err)
{
    if (id_is_none(r->route_id))
        return err_set(err, ERR_INVALID, "route without an id");
    if (r->hosts.n > ROUTE_LIST_MAX || r->endpoints.n > ROUTE_LIST_MAX)
        return err_set(err, ERR_INVALID, "project '%.*s' has more than %d hosts or instances", STR_ARG(r->project),
                       ROUTE_LIST_MAX);
    for (size_t i = 0; i < r->hosts.n; i++) {
        enum err rc = check_host(hosts_of(r)[i].host, err);
        if (rc != OK)
            return rc;
    }
    const struct route_endpoint *endpoints = r->endpoints.items;
    for (size_t i = 0; i < r->endpoints.n; i++)
        if (endpoints[i].port < 1 || endpoints[i].port > 65535)
            return err_set(err, ERR_INVALID, "port %lld of project '%.*s' is not within 1 and 65535",
                           (long long)endpoints[i].port, STR_ARG(r->project));
    return OK;
}

static enum err entry_decode(const json_t *item, struct entry **ret_entry, struct errinfo *err)
{
    struct entry *e = mem_alloc(sizeof(*e));
    enum err rc = fields_decode(&ROUTE_WIRE, item, &e->arena, &e->route, err);
    if (rc == OK)
        rc = check_route(&e->route, err);
    if (rc != OK) {
        entry_free(e);
        return rc;
    }
    e->route_id = e->route.route_id;
    *ret_entry = e;
    return OK;
}

struct document {
    struct entry **entries;
    size_t entries_n;
    struct id *removed;
    size_t removed_n;
    const char *cursor;
    bool is_full;
};

static void document_cleanup(struct document *d)
{
    for (size_t i = 0; i < d->entries_n; i++)
        if (d->entries[i] != NULL)
            entry_free(d->entries[i]);
    free(d->entries);
    free(d->removed);
}

static enum err decode_removed(const json_t *removed, struct document *d, struct errinfo *err)
{
    const json_t *item;
    size_t i;
    d->removed = mem_calloc(json_array_size(removed) + 1, sizeof(*d->removed));
    json_array_foreach(removed, i, item)
    {
        struct str text = {json_string_value(item), json_string_length(item)};
        if (text.ptr == NULL || !id_parse(text, &d->removed[i]))
            return err_set(err, ERR_INVALID, "'removed[%zu]' is not an id", i);
        d->removed_n++;
    }
    return OK;
}

static enum err document_decode(const json_t *doc, struct document *d, struct errinfo *err)
{
    const json_t *items = json_object_get(doc, "items"), *removed = json_object_get(doc, "removed"), *item;
    size_t i;
    d->cursor = json_string_value(json_object_get(doc, "cursor"));
    if (!json_is_array(items) || d->cursor == NULL)
        return err_set(err, ERR_INVALID, "a document of routes needs 'items' and 'cursor'");
    if (removed != NULL && !json_is_array(removed))
        return err_set(err, ERR_INVALID, "'removed' must be a list");
    d->is_full = json_is_true(json_object_get(doc, "full"));
    d->entries = mem_calloc(json_array_size(items) + 1, sizeof(*d->entries));
    json_array_foreach(items, i, item)
    {
        enum err rc = entry_decode(item, &d->entries[i], err);
        if (rc != OK)
            return err_wrap(err, rc, "items[%zu]", i);
        d->entries_n++;
    }
    return removed == NULL ? OK : decode_removed(removed, d, err);
}

/* ---- changes ---- */

static void note_route(struct route_changes *c, struct id route_id)
{
    c->routes = mem_realloc(c->routes, (c->routes_n + 1) * sizeof(*c->routes));
    c->routes[c->routes_n++] = route_id;
}

static void note_host(struct route_changes *c, struct str host)
{
    c->hosts = mem_realloc(c->hosts, (c->hosts_n + 1) * sizeof(*c->hosts));
    c->hosts[c->hosts_n++] = arena_str(&c->arena, host);
}

static void host_claim(struct route_map *m, struct str name, struct id route_id)
{
    struct host *h = host_find(m, name);
    if (h == NULL) {
        h = mem_alloc(sizeof(*h));
        h->name = mem_strndup(name.ptr, name.len);
        HASH_ADD_KEYPTR(hh, m->hosts, h->name, name.len, h);
    }
    h->route_id = route_id;
}

static bool route_claims(const struct route *r, struct str name)
{
    for (size_t i = 0; i < r->hosts.n; i++)
        if (str_eq(hosts_of(r)[i].host, name))
            return true;
    return false;
}

/* The name goes back to another route that claims it too, or to nobody. Rare, so that a walk is good enough. */
static void host_release(struct route_map *m, struct str name, struct id route_id)
{
    struct host *h = host_find(m, name);
    if (h == NULL || !id_eq(h->route_id, route_id))
        return;
    struct entry *e, *tmp;
    HASH_ITER(hh, m->routes, e, tmp)
    if (!id_eq(e->route_id, route_id) && route_claims(&e->route, name)) {
        h->route_id = e->route_id;
        return;
    }
    HASH_DEL(m->hosts, h);
    free(h->name);
    free(h);
}

static void route_drop(struct route_map *m, struct id route_id, struct route_changes *c)
{
    struct entry *e = entry_find(m, route_id);
    if (e == NULL)
        return;
    note_route(c, route_id);
    for (size_t i = 0; i < e->route.hosts.n; i++) {
        note_host(c, hosts_of(&e->route)[i].host);
        host_release(m, hosts_of(&e->route)[i].host, route_id);
    }
    HASH_DEL(m->routes, e);
    entry_free(e);
}

static bool same_route(const struct route *a, const struct route *b)
{
    auto_free char *x = NULL, *y = NULL;
    struct buf bx = {0}, by = {0};
    fields_encode(&ROUTE_WIRE, a, &bx);
    fields_encode(&ROUTE_WIRE, b, &by);
    x = buf_take(&bx);
    y = buf_take(&by);
    return strcmp(x, y) == 0;
}

/* Names that the old one had and the new one lacks are released. */
static void route_put(struct route_map *m, struct entry *e, struct route_changes *c)
{
    struct entry *old = entry_find(m, e->route_id);
    if (old != NULL && same_route(&old->route, &e->route)) {
        entry_free(e);
        return;
    }
    note_route(c, e->route_id);
    if (old != NULL) {
        HASH_DEL(m->routes, old);
        for (size_t i = 0; i < old->route.hosts.n; i++) {
            struct str name = hosts_of(&old->route)[i].host;
            if (route_claims(&e->route, name))
                continue;
            note_host(c, name);
            host_release(m, name, e->route_id);
        }
        entry_free(old);
    }
    HASH_ADD(hh, m->routes, route_id, sizeof(e->route_id), e);
    for (size_t i = 0; i < e->route.hosts.n; i++) {
        note_host(c, hosts_of(&e->route)[i].host);
        host_claim(m, hosts_of(&e->route)[i].host, e->route_id);
    }
}

static bool document_has(const struct document *d, struct id route_id)
{
    for (size_t i = 0; i < d->entries_n; i++)
        if (id_eq(d->entries[i]->route_id, route_id))
            return true;
    return false;
}

/* `full`: what the document does not name is gone. */
static void drop_unnamed(struct route_map *m, const struct document *d, struct route_changes *c)
{
    struct entry *e, *tmp;
    HASH_ITER(hh, m->routes, e, tmp)
    if (!document_has(d, e->route_id))
        route_drop(m, e->route_id, c);
}

enum err route_map_apply(struct route_map *m, const json_t *document, struct route_changes *ret_changes,
                         struct errinfo *err)
{
    AUTO(document) struct document d = {0};
    *ret_changes = (struct route_changes){0};
    enum err rc = document_decode(document, &d, err);
    if (rc != OK)
        return rc;
    if (d.is_full)
        drop_unnamed(m, &d, ret_changes);
    for (size_t i = 0; i < d.removed_n; i++)
        route_drop(m, d.removed[i], ret_changes);
    for (size_t i = 0; i < d.entries_n; i++)
        route_put(m, TAKE(d.entries[i]), ret_changes);
    free(m->cursor);
    m->cursor = mem_strdup(d.cursor);
    return OK;
}

void route_map_encode(const struct route_map *m, struct buf *out)
{
    struct entry *e, *tmp;
    const char *between = "";
    buf_add_c(out, "{\"items\":[");
    HASH_ITER(hh, m->routes, e, tmp)
    {
        buf_add_c(out, between);
        fields_encode(&ROUTE_WIRE, &e->route, out);
        between = ",\n";
    }
    buf_add_c(out, "],\"removed\":[],\"cursor\":");
    buf_add_json_string(out, str_from(m->cursor));
    buf_add_c(out, ",\"full\":true}\n");
}
