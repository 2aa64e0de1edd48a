#include "notifier/audience.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/own.h"

struct region {
    struct id region_id;
    char *name;
    UT_hash_handle hh;
};
struct zone {
    struct id zone_id, region_id;
    UT_hash_handle hh;
};
struct node {
    struct id node_id, zone_id;
    char *name;
    bool cares;
    UT_hash_handle hh;
};
struct instance {
    struct id instance_id, node_id;
    UT_hash_handle hh;
};
struct audience {
    struct region *regions;
    struct zone *zones;
    struct node *nodes;
    struct instance *instances;
    bool edges_care;
};

#define FIND(head, id_, ret) HASH_FIND(hh, head, &(id_), sizeof(struct id), ret)
#define ADD(head, member, item) HASH_ADD(hh, head, member, sizeof(struct id), item)

struct audience *audience_new(void)
{
    return mem_alloc(sizeof(struct audience));
}

static void node_free(struct audience *a, struct node *n)
{
    HASH_DELETE(hh, a->nodes, n);
    free(n->name);
    free(n);
}

static void instance_free(struct audience *a, struct instance *i)
{
    HASH_DELETE(hh, a->instances, i);
    free(i);
}

void audience_free(struct audience *a)
{
    if (a == NULL)
        return;
    for (struct region *r = a->regions, *next; r != NULL; r = next) {
        next = r->hh.next;
        HASH_DELETE(hh, a->regions, r);
        free(r->name);
        free(r);
    }
    for (struct zone *z = a->zones, *next; z != NULL; z = next) {
        next = z->hh.next;
        HASH_DELETE(hh, a->zones, z);
        free(z);
    }
    for (struct node *n = a->nodes, *next; n != NULL; n = next) {
        next = n->hh.next;
        node_free(a, n);
    }
    for (struct instance *i = a->instances, *next; i != NULL; i = next) {
        next = i->hh.next;
        instance_free(a, i);
    }
    free(a);
}

static void see_region(struct audience *a, const struct create_region *e)
{
    struct region *r = NULL;
    FIND(a->regions, e->region_id, r);
    if (r != NULL)
        return;
    r = mem_alloc(sizeof(*r));
    r->region_id = e->region_id;
    r->name = mem_strndup(e->name.ptr, e->name.len);
    ADD(a->regions, region_id, r);
}

static void see_zone(struct audience *a, const struct create_zone *e)
{
    struct zone *z = NULL;
    FIND(a->zones, e->zone_id, z);
    if (z != NULL)
        return;
    z = mem_alloc(sizeof(*z));
    z->zone_id = e->zone_id;
    z->region_id = e->region_id;
    ADD(a->zones, zone_id, z);
}

static void see_node(struct audience *a, const struct join_node *e)
{
    struct node *n = NULL;
    FIND(a->nodes, e->node_id, n);
    if (n != NULL)
        node_free(a, n);
    n = mem_alloc(sizeof(*n));
    n->node_id = e->node_id;
    n->zone_id = e->zone_id;
    n->name = mem_strndup(e->name.ptr, e->name.len);
    n->cares = true;
    ADD(a->nodes, node_id, n);
}

static void note_node(struct audience *a, struct id node_id)
{
    struct node *n = NULL;
    FIND(a->nodes, node_id, n);
    if (n != NULL)
        n->cares = true;
}

static void see_instance(struct audience *a, const struct create_instance *e)
{
    struct instance *i = NULL;
    FIND(a->instances, e->instance_id, i);
    if (i != NULL || id_is_none(e->node_id))
        return;
    i = mem_alloc(sizeof(*i));
    i->instance_id = e->instance_id;
    i->node_id = e->node_id;
    ADD(a->instances, instance_id, i);
    note_node(a, e->node_id);
}

static void note_instance(struct audience *a, struct id instance_id, bool is_gone)
{
    struct instance *i = NULL;
    FIND(a->instances, instance_id, i);
    if (i == NULL)
        return;
    note_node(a, i->node_id);
    if (is_gone)
        instance_free(a, i);
}

static void leave_node(struct audience *a, struct id node_id)
{
    struct node *n = NULL;
    FIND(a->nodes, node_id, n);
    if (n != NULL)
        node_free(a, n);
}

static void see(struct audience *a, const struct event *e)
{
    switch ((int)e->kind) {
    case EVENT_CREATE_REGION: see_region(a, &e->create_region); break;
    case EVENT_CREATE_ZONE: see_zone(a, &e->create_zone); break;
    case EVENT_JOIN_NODE: see_node(a, &e->join_node); break;
    case EVENT_DRAIN_NODE: note_node(a, e->drain_node.node_id); break;
    case EVENT_LEAVE_NODE: leave_node(a, e->leave_node.node_id); break;
    case EVENT_CREATE_INSTANCE: see_instance(a, &e->create_instance); break;
    case EVENT_DELETE_INSTANCE: note_instance(a, e->delete_instance.instance_id, true); break;
    case EVENT_INSTANCE_STATUS_CHANGE: note_instance(a, e->instance_status_change.instance_id, false); break;
    default: break; /* concerns no single node */
    }
}

void audience_see(struct audience *a, const struct envelope *e)
{
    AUTO(arena) struct arena arena = {0};
    struct event event;
    const struct event_kind_row *row = event_kind_find(e->type);
    if (row == NULL || event_kind_is_statistic(row->kind))
        return;
    a->edges_care = true;
    if (event_decode(e, &arena, &event, NULL) == OK)
        see(a, &event);
}

void audience_take(struct audience *a, void (*edge)(void *ctx, struct str region),
                   void (*node)(void *ctx, struct id node_id), void *ctx)
{
    for (const struct region *r = a->regions; r != NULL && a->edges_care; r = r->hh.next)
        if (edge != NULL)
            edge(ctx, str_from(r->name));
    a->edges_care = false;
    for (struct node *n = a->nodes; n != NULL; n = n->hh.next) {
        if (n->cares && node != NULL)
            node(ctx, n->node_id);
        n->cares = false;
    }
}

static struct str region_of(const struct audience *a, const struct node *n)
{
    struct zone *z = NULL;
    struct region *r = NULL;
    FIND(a->zones, n->zone_id, z);
    if (z != NULL)
        FIND(a->regions, z->region_id, r);
    return r != NULL ? str_from(r->name) : (struct str){"", 0};
}

void audience_nodes(const struct audience *a, void (*node)(void *ctx, const struct audience_node *n), void *ctx)
{
    for (const struct node *n = a->nodes; n != NULL; n = n->hh.next)
        node(ctx, &(struct audience_node){n->node_id, str_from(n->name), region_of(a, n)});
}
