/* Places: regions, zones, and the nodes in them. */
#include "api/explain.h"
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"
#include "platform/decide.h"

struct region_document {
    struct id region_id;
    struct str name;
};
static const struct field REGION_FIELDS[] = {
    FIELD_OPT(ID, region_document, region_id, "region_id", "region; given by the answer"),
    FIELD_REQ(STR, region_document, name, "name", "e.g. eu-central-1"),
};
const struct field_table REGION_WIRE = FIELD_TABLE(region_document, REGION_FIELDS);

struct zone_document {
    struct id zone_id;
    struct str region, name;
};
static const struct field ZONE_FIELDS[] = {
    FIELD_OPT(ID, zone_document, zone_id, "zone_id", "zone; given by the answer"),
    FIELD_REQ(STR, zone_document, region, "region", "name of its region"),
    FIELD_REQ(STR, zone_document, name, "name", "e.g. a"),
};
const struct field_table ZONE_WIRE = FIELD_TABLE(zone_document, ZONE_FIELDS);

/* ---- regions and zones ---- */

static void collect_regions(struct call *c, struct feed *f)
{
    MODEL_EACH (region, r, &call_model(c)->regions) {
        struct region_document doc = {r->id, view_text(r->name)};
        if (feed_wants(f, r->id, r->changed_seq))
            feed_add(f, &REGION_WIRE, r->id, &doc);
    }
}

void regions_list(struct call *c)
{
    follow(c, collect_regions);
}

static void collect_zones(struct call *c, struct feed *f)
{
    MODEL_EACH (zone, z, &call_model(c)->zones) {
        struct zone_document doc = {z->id, view_text(z->region->name), view_text(z->name)};
        if (feed_wants(f, z->id, z->changed_seq))
            feed_add(f, &ZONE_WIRE, z->id, &doc);
    }
}

void zones_list(struct call *c)
{
    follow(c, collect_zones);
}

static enum err region_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct region_document *r = args;
    return decide_create_region(d, r->name, out, &r->region_id, err);
}

static void region_done(struct call *c, void *args, size_t events_n)
{
    (void)events_n;
    call_reply(c, args);
}

void regions_create(struct call *c)
{
    struct region_document *r = arena_alloc(&c->arena, sizeof(*r));
    if (call_read(c, &REGION_WIRE, r))
        call_submit(c, region_decide, r, region_done);
}

static enum err zone_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    struct zone_document *z = args;
    return decide_create_zone(d, z->region, z->name, out, &z->zone_id, err);
}

void zones_create(struct call *c)
{
    struct zone_document *z = arena_alloc(&c->arena, sizeof(*z));
    if (call_read(c, &ZONE_WIRE, z))
        call_submit(c, zone_decide, z, region_done);
}

/* ---- nodes ---- */

static void collect_nodes(struct call *c, struct feed *f)
{
    MODEL_EACH (node, n, &call_model(c)->nodes) {
        if (!feed_wants(f, n->id, n->changed_seq))
            continue;
        AUTO(arena) struct arena a = {0};
        struct node_resource resource;
        view_node(c->api->o.control, n, &a, &resource);
        feed_add(f, &NODE_RESOURCE_WIRE, n->id, &resource);
    }
    feed_remove_gone(c, f, OBJECT_NODE, ID_NONE);
}

void nodes_list(struct call *c)
{
    follow(c, collect_nodes);
}

static void reply_node(struct call *c, int status, struct id id)
{
    const struct node *n = model_node(call_model(c), id);
    if (n == NULL) {
        call_reply_missing(c, "node");
        return;
    }
    struct node_resource resource;
    view_node(c->api->o.control, n, &c->arena, &resource);
    resource.explanation = explanation_of(c, explain_node, n->id);
    call_reply_status(c, status, &NODE_RESOURCE_WIRE, &resource);
}

void node_get(struct call *c)
{
    struct id id;
    if (call_id(c, "id", "node", &id))
        reply_node(c, 200, id);
}

static enum err join_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    return decide_join_node(d, args, out, err);
}

static void joined(struct call *c, void *args, size_t events_n)
{
    const struct node_joining *j = args;
    seen_node_alive(control_seen(c->api->o.control), j->node_id, clock_mono_us(), clock_wall_us());
    call_location(c, "/v1/nodes/", j->node_id);
    reply_node(c, events_n > 0 ? 201 : 200, j->node_id);
}

static bool labels_differ(const struct node *n, struct strs labels)
{
    bool differ = n->labels.n != labels.n;
    for (size_t i = 0; !differ && i < labels.n; i++)
        differ = !str_eq_c(labels.items[i], n->labels.items[i]);
    return differ;
}

/* Labels say what a node is trusted with (builds, root programs): its own certificate is not enough to change them. */
static bool may_join(struct call *c, const struct node_join *body)
{
    if (c->caller.role != CALLER_NODE)
        return true;
    const struct node *known = model_node(control_model(c->api->o.control), body->node_id);
    if (!str_eq_c(body->name, c->caller.id))
        call_reply_problem(c, 403, err_name(ERR_DENIED), "the certificate is that of node '%s', the body says '%.*s'",
                           c->caller.id, STR_ARG(body->name));
    else if (known != NULL && labels_differ(known, body->labels))
        call_reply_problem(c, 403, err_name(ERR_DENIED), "a node does not change its own labels: an operator does");
    else
        return true;
    return false;
}

void nodes_join(struct call *c)
{
    struct node_join body;
    if (!call_read(c, &NODE_JOIN_WIRE, &body))
        return;
    if (!may_join(c, &body))
        return;
    struct node_joining *j = arena_alloc(&c->arena, sizeof(*j));
    *j = (struct node_joining){.node_id = body.node_id,
                               .name = body.name,
                               .zone = body.zone,
                               .region = body.region,
                               .labels = body.labels,
                               .prefix = body.prefix,
                               .agent_url = body.agent_url};
    call_submit(c, join_decide, j, joined);
}

/* ---- heartbeats ---- */

struct heartbeat {
    struct node_reported report;
    struct instance_observed *items;
};

static enum err report_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct heartbeat *h = args;
    return decide_node_reported(d, &h->report, out, err);
}

static void reported(struct call *c, void *args, size_t events_n)
{
    (void)args;
    (void)events_n;
    call_reply_text(c, 200, STR("{}"));
}

static struct heartbeat *heartbeat_new(struct call *c, struct id node_id, const struct node_report *body)
{
    const struct instance_report *seen = body->instances.items;
    struct heartbeat *h = arena_alloc(&c->arena, sizeof(*h));
    h->items = arena_alloc(&c->arena, (body->instances.n + 1) * sizeof(*h->items));
    for (size_t i = 0; i < body->instances.n; i++) {
        h->items[i] = (struct instance_observed){.instance_id = seen[i].instance_id,
                                                 .reporter_node_id = node_id,
                                                 .observed = seen[i].status,
                                                 .health = seen[i].health,
                                                 .boot_id = body->boot_id,
                                                 .report_seq = body->report_seq,
                                                 .restarts = seen[i].statistics.restarts};
        seen_instance_statistics(control_seen(c->api->o.control), seen[i].instance_id, &seen[i].statistics,
                                 clock_mono_us());
    }
    h->report = (struct node_reported){.node_id = node_id,
                                       .replica = str_from(control_replica(c->api->o.control)),
                                       .boot_id = body->boot_id,
                                       .status = body->status,
                                       .cause = body->cause,
                                       .report_seq = body->report_seq,
                                       .capacity = body->capacity,
                                       .runtimes = body->runtimes,
                                       .items = h->items,
                                       .items_n = body->instances.n};
    return h;
}

/* What is not live answers 503, though it hears: what it hears could not be recorded. */
static bool sees_all(const struct call *c)
{
    return control_sight(c->api->o.control, NULL) == SIGHT_LIVE;
}

/* Nearly every heartbeat tells what the model holds already. It is answered at once, without a turn in the queue of
 * commands, a look at the store, and a connection that waits meanwhile. */
static void reply_known(struct call *c)
{
    call_position(c);
    reported(c, NULL, 0);
}

void node_put_status(struct call *c)
{
    struct id id;
    if (!call_id(c, "id", "node", &id))
        return;
    const struct node *n = model_node(call_model(c), id);
    if (n == NULL) {
        call_reply_problem(c, 404, err_name(ERR_NOT_FOUND), "this node has not joined: POST /v1/nodes first");
        return;
    }
    if (strcmp(n->name, c->caller.id) != 0) {
        call_reply_problem(c, 403, err_name(ERR_DENIED), "the certificate is that of node '%s'", c->caller.id);
        return;
    }
    struct arena kept = {0}; /* seen keeps the report until the next one */
    struct node_report body;
    struct errinfo err = {0};
    if (call_decode(c, &NODE_REPORT_WIRE, &kept, &body, &err) != OK) {
        arena_done(&kept);
        call_reply_error(c, &err);
        return;
    }
    struct control *control = c->api->o.control;
    struct heartbeat *h = heartbeat_new(c, id, &body);
    bool is_known = sees_all(c) && control_has_nothing_to_do(control, report_decide, h);
    if (!is_known) { /* the command may outlive the kept one */
        struct node_report *own = arena_alloc(&c->arena, sizeof(*own));
        err_ignore(call_decode(c, &NODE_REPORT_WIRE, &c->arena, own, NULL)); /* it was good a moment ago */
        h = heartbeat_new(c, id, own);
    }
    (void)seen_node_report(control_seen(control), id, &body, &kept, clock_mono_us(), clock_wall_us());
    if (is_known)
        reply_known(c);
    else
        call_submit(c, report_decide, h, reported);
    control_heard_node(control, id); /* behind it in the queue: a program that has ended is judged no more */
}

/* ---- drains ---- */

static enum err drain_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_drain_node(d, *id, STR(""), out, err);
}

static enum err undrain_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_undrain_node(d, *id, out, err);
}

static enum err leave_decide(const struct decide *d, void *args, struct event_list *out, struct errinfo *err)
{
    const struct id *id = args;
    return decide_leave_node(d, *id, STR(""), out, err);
}

static void node_changed(struct call *c, void *args, size_t events_n)
{
    const struct id *id = args;
    (void)events_n;
    reply_node(c, 202, *id);
}

static void node_submit(struct call *c, control_decide_fn decide)
{
    struct id *id = arena_alloc(&c->arena, sizeof(*id));
    if (call_id(c, "id", "node", id))
        call_submit(c, decide, id, node_changed);
}

void node_drain(struct call *c)
{
    node_submit(c, drain_decide);
}

void node_undrain(struct call *c)
{
    node_submit(c, undrain_decide);
}

void node_leave(struct call *c)
{
    node_submit(c, leave_decide);
}
