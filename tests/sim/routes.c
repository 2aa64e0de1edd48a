/* What replicas tell edges: the document of GET /v1/routes, as src/api makes it of the model. */
#include "sim.h"

#include "wire/route.h"

static struct objects hosts_of(struct world *w, const struct text_list *hosts)
{
    struct route_host *items = arena_alloc(&w->arena, (hosts->n + 1) * sizeof(*items));
    for (uint32_t i = 0; i < hosts->n; i++)
        items[i] = (struct route_host){.host = str_from(hosts->items[i])};
    return (struct objects){items, hosts->n};
}

static struct objects endpoints_of(struct world *w, const struct instance *const *instances, size_t n)
{
    struct route_endpoint *items = arena_alloc(&w->arena, (n + 1) * sizeof(*items));
    for (size_t i = 0; i < n; i++)
        items[i] = (struct route_endpoint){.instance_id = instances[i]->id,
                                           .address = str_from(instances[i]->address),
                                           .port = instances[i]->process->port,
                                           .node = str_from(instances[i]->node->name),
                                           .node_dns = str_from(instances[i]->node->name),
                                           .healthy = true};
    return (struct objects){items, n};
}

static void add(struct buf *b, bool *is_first, const struct route *r)
{
    buf_add_c(b, *is_first ? "" : ",");
    *is_first = false;
    fields_encode(&ROUTE_WIRE, r, b);
}

static void add_items(struct world *w, const struct model *m, uint64_t since, bool is_full, struct buf *b)
{
    const struct instance *to[ENDPOINTS_MAX];
    bool is_first = true;
    MODEL_EACH (project, p, &m->projects) {
        if (p->live == NULL || p->is_deleted || (!is_full && p->route_seq <= since))
            continue;
        size_t n = project_endpoints(p, to, ENDPOINTS_MAX);
        add(b, &is_first,
            &(struct route){p->id, str_from(p->slug), p->live->id, hosts_of(w, &p->hosts), endpoints_of(w, to, n)});
    }
    MODEL_EACH (process, p, &m->processes) {
        if (p->edges_seq == 0 || !process_is_routed(m, p) || (!is_full && p->edges_seq <= since))
            continue;
        size_t n = process_endpoints(p, to, ENDPOINTS_MAX);
        add(b, &is_first,
            &(struct route){p->id, str_from(p->host_label), p->id, hosts_of(w, &p->hosts), endpoints_of(w, to, n)});
    }
}

static void add_removed(struct world *w, const struct model *m, uint64_t since, struct buf *b)
{
    struct id removed[ENDPOINTS_MAX];
    char text[ID_TEXT_SIZE];
    size_t n = model_removed(m, OBJECT_ROUTE, ID_NONE, since, removed, ENDPOINTS_MAX);
    if (n > ENDPOINTS_MAX)
        broken(w, RULE_bounded, "a cursor is very old, or routes come and go");
    for (size_t i = 0; i < n; i++) {
        id_format(removed[i], text);
        buf_addf(b, "%s\"%s\"", i == 0 ? "" : ",", text);
    }
}

struct str routes_document(struct world *w, const struct model *m, uint64_t since, bool is_full)
{
    AUTO(buf) struct buf b = {0};
    if (!is_full && m->routes_seq <= since)
        return STR("");
    buf_addf(&b, "{\"cursor\":\"%" PRIu64 "\",\"full\":%s,\"items\":[", m->seq, is_full ? "true" : "false");
    add_items(w, m, since, is_full, &b);
    buf_add_c(&b, "],\"removed\":[");
    if (!is_full)
        add_removed(w, m, since, &b);
    buf_add_c(&b, "]}");
    return arena_str(&w->arena, buf_str(&b));
}
