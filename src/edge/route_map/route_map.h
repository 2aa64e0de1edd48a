#pragma once
/* edge/route_map/route_map.h - the map of all routes: documents of GET /v1/routes in, projects by id and by host out.
 * Layer: edge. Pure. Documents: wire/route.h. */
#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "event/id.h"
#include "wire/route.h"

struct route_map;

/* What a document changed. Names are lent until the next apply. */
struct route_changes {
    struct id *routes; /* changed, added or gone */
    size_t routes_n;
    struct str *hosts; /* of those, before and after */
    size_t hosts_n;
    struct arena arena;
};
void route_changes_done(struct route_changes *c);
static inline void route_changes_cleanup(struct route_changes *c)
{
    route_changes_done(c);
}

struct route_map *route_map_new(void);
void route_map_free(struct route_map *m);
/* Take in one document {"items","removed","cursor","full"}; all or nothing. *ret_changes is filled on OK: done.
 * OK | ERR_INVALID naming the member that is wrong. */
must_check enum err route_map_apply(struct route_map *m, const json_t *document, struct route_changes *ret_changes,
                                    struct errinfo *err);
/* NULL: no such route. Lent until the next apply. */
const struct route *route_map_find(const struct route_map *m, struct id route_id);
/* The route that a host name (lower case) belongs to. When two claim it, the one that came last has it. */
const struct route *route_map_find_host(const struct route_map *m, struct str host);
size_t route_map_count(const struct route_map *m);
size_t route_map_hosts_count(const struct route_map *m);
/* Cursor of the last document; "" at first. Lent until the next apply. */
const char *route_map_cursor(const struct route_map *m);
/* The whole map as one document that route_map_apply takes ("full"). */
void route_map_encode(const struct route_map *m, struct buf *out);
