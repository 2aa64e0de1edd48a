/* What edges follow: routes, and the certificates of their hosts. */
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"

static void collect_project(struct call *c, struct feed *f, const struct project *p)
{
    AUTO(arena) struct arena a = {0};
    struct route route;
    if (feed_wants(f, p->id, p->route_seq) && view_route(c->api->o.control, p, &a, &route))
        feed_add(f, &ROUTE_WIRE, p->id, &route);
}

static void collect_application(struct call *c, struct feed *f, const struct process *p)
{
    AUTO(arena) struct arena a = {0};
    struct route route;
    if (p->edges_seq != 0 && feed_wants(f, p->id, p->edges_seq) &&
        view_application_route(c->api->o.control, p, &a, &route))
        feed_add(f, &ROUTE_WIRE, p->id, &route);
}

/* Projects and processes, both in the order of their ids: a feed is in that order. */
static void collect(struct call *c, struct feed *f)
{
    const struct model *m = call_model(c);
    if (!f->is_full && m->routes_seq <= f->since)
        return;
    size_t k = 0;
    MODEL_EACH (project, p, &m->projects) {
        for (; k < m->processes.n && id_cmp(((const struct process *)m->processes.items[k])->id, p->id) < 0; k++)
            collect_application(c, f, m->processes.items[k]);
        collect_project(c, f, p);
    }
    for (; k < m->processes.n; k++)
        collect_application(c, f, m->processes.items[k]);
    feed_remove_gone(c, f, OBJECT_ROUTE, ID_NONE);
}

/* A poll of an edge: it is live while one waits, and tells what its Envoy has acknowledged. */
struct poll {
    struct seen *seen;
    char edge[IDENTITY_PART_SIZE];
};

static void poll_end(void *data)
{
    struct poll *p = data;
    seen_edge_poll_end(p->seen, p->edge, clock_mono_us());
    free(p);
}

/* What the edge has confirmed: query parameter `confirmed`; where that is absent, its cursor. */
static uint64_t confirmed_seq(const struct call *c)
{
    struct app_position at, now = control_position(c->api->o.control);
    struct str text = call_query_str(c, "confirmed");
    if (text.ptr == NULL)
        text = call_query_str(c, "cursor");
    bool is_of_this_log = text.len > 0 && app_cursor_parse(text, &at, NULL) == OK && id_eq(at.log, now.log);
    return is_of_this_log ? at.seq : 0;
}

void routes_list(struct call *c)
{
    if (c->caller.role == CALLER_EDGE) {
        struct poll *p = mem_alloc(sizeof(*p));
        p->seen = control_seen(c->api->o.control);
        memcpy(p->edge, c->caller.id, sizeof(p->edge));
        c->data = p;
        c->data_free = poll_end;
        if (seen_edge_poll_begin(p->seen, p->edge, confirmed_seq(c), clock_mono_us()))
            control_heard_edge(c->api->o.control);
    }
    follow(c, collect);
}

void certificate_get(struct call *c)
{
    struct id id;
    struct control *control = c->api->o.control;
    if (!call_id(c, "id", "certificate", &id))
        return;
    const struct certificate *cert = id_index_find(&call_model(c)->certificates, id);
    if (cert == NULL || control_certificates(control) == NULL) {
        call_reply_missing(c, "certificate");
        return;
    }
    AUTO(buf) struct buf chain = {0};
    AUTO(buf) struct buf key = {0};
    struct errinfo err = {0};
    if (certificates_read(control_certificates(control), id, &chain, &key, &err) != OK) {
        call_reply_error(c, &err);
        return;
    }
    struct certificate_bundle bundle = {.certificate_id = id,
                                        .host = view_text(cert->host),
                                        .chain_pem = buf_str(&chain),
                                        .key_pem = buf_str(&key),
                                        .not_after = view_text(cert->not_after)};
    http_respond_header(c->r, "Cache-Control", "no-store");
    call_reply(c, &bundle);
}
