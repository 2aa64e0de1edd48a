/* Documents of GET /v1/routes, one a line, as an edge folds them; the whole map written again is the same map. */
#include "base/json.h"
#include "edge/route_map/route_map.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size}, line;
    struct route_map *m = route_map_new(), *back = route_map_new();
    while (str_next(&text, '\n', &line)) {
        auto_json json_t *doc = NULL;
        if (json_parse(line, &doc, NULL) != OK)
            continue;
        struct route_changes changes = {0};
        if (route_map_apply(m, doc, &changes, NULL) == OK)
            route_changes_done(&changes);
    }
    AUTO(buf) struct buf whole = {0};
    route_map_encode(m, &whole);
    auto_json json_t *doc = NULL;
    struct route_changes changes = {0};
    assert(json_parse(buf_str(&whole), &doc, NULL) == OK);
    assert(route_map_apply(back, doc, &changes, NULL) == OK);
    route_changes_done(&changes);
    assert(route_map_count(m) == route_map_count(back) && route_map_hosts_count(m) == route_map_hosts_count(back));
    route_map_free(m);
    route_map_free(back);
    return 0;
}
