/* Decisions about places and nodes. */
#include "platform/decide_check.h"
#include "platform/model_write.h"

/* 64 is a boot id with an agent's counter behind it, 16 labels or runtimes of a node are plenty (chosen). */
enum { BOOT_ID_MAX = 64, URL_MAX = 256, LISTS_MAX = 16 };

enum err decide_create_region(const struct decide *d, struct str name, struct event_list *out, struct id *ret_id,
                              struct errinfo *err)
{
    enum err rc = check_name("name", name, err);
    if (rc != OK)
        return rc;
    const struct region *same = model_region_by_name(d->model, name);
    if (same != NULL) {
        *ret_id = same->id;
        return err_set(err, ERR_CONFLICT, "region '%s' exists already", same->name);
    }
    *ret_id = id_next(d->ids);
    event_list_add(out, EVENT_CREATE_REGION, d->ids)->create_region =
        (struct create_region){*ret_id, arena_str(out->arena, name)};
    return OK;
}

enum err decide_create_zone(const struct decide *d, struct str region, struct str name, struct event_list *out,
                            struct id *ret_id, struct errinfo *err)
{
    enum err rc = check_name("name", name, err);
    if (rc != OK)
        return rc;
    const struct region *r = model_region_by_name(d->model, region);
    if (r == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no region '%.*s': create it first", STR_ARG(region));
    const struct zone *same = model_zone_by_name(d->model, r, name);
    if (same != NULL) {
        *ret_id = same->id;
        return err_set(err, ERR_CONFLICT, "region '%s' has a zone '%s' already", r->name, same->name);
    }
    *ret_id = id_next(d->ids);
    event_list_add(out, EVENT_CREATE_ZONE, d->ids)->create_zone =
        (struct create_zone){*ret_id, r->id, arena_str(out->arena, name)};
    return OK;
}

static enum err check_list(const char *field, struct strs list, struct errinfo *err)
{
    if (list.n > LISTS_MAX)
        return err_set(err, ERR_LIMIT, "'%s' has %zu entries: at most %d", field, list.n, LISTS_MAX);
    for (size_t i = 0; i < list.n; i++) {
        enum err rc = check_name(field, list.items[i], err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static enum err check_joining(const struct decide *d, const struct node_joining *c, const struct zone *zone,
                              struct errinfo *err)
{
    const struct node *n = model_node(d->model, c->node_id), *same = model_node_by_name(d->model, c->name);
    uint64_t prefix = 0;
    if (same != NULL && same != n)
        return err_set(err, ERR_CONFLICT, "a node named '%s' has joined already with another id: choose another name",
                       same->name);
    if (n != NULL && (same == NULL || n->zone != zone))
        return err_set(err, ERR_CONFLICT, "node '%s' cannot change its name or its zone: join with a new id", n->name);
    if (n != NULL && n->prefix[0] != '\0' && !str_eq_c(c->prefix, n->prefix))
        return err_set(err, ERR_CONFLICT, "node '%s' cannot change its prefix '%s'", n->name, n->prefix);
    if (c->prefix.len > 0 && !prefix_parse(c->prefix, &prefix))
        return err_set(err, ERR_INVALID, "'prefix' must be an IPv6 /64 like 'fd00:0:0:1::/64', not '%.*s'",
                       STR_ARG(c->prefix));
    MODEL_EACH (node, other, &d->model->nodes)
        if (c->prefix.len > 0 && other != n && other->prefix[0] != '\0' && other->prefix_u64 == prefix)
            return err_set(err, ERR_CONFLICT, "prefix '%s' belongs to node '%s'", other->prefix, other->name);
    return OK;
}

static bool strs_equal(struct strs a, const struct text_list *b)
{
    if (a.n != b->n)
        return false;
    for (uint32_t i = 0; i < b->n; i++)
        if (!str_eq_c(a.items[i], b->items[i]))
            return false;
    return true;
}

static bool joining_is_known(const struct decide *d, const struct node_joining *c)
{
    const struct node *n = model_node(d->model, c->node_id);
    return n != NULL && n->status != NODE_GONE && strs_equal(c->labels, &n->labels) &&
           str_eq_c(c->agent_url, n->agent_url) && str_eq_c(c->prefix, n->prefix);
}

enum err decide_join_node(const struct decide *d, const struct node_joining *c, struct event_list *out,
                          struct errinfo *err)
{
    enum err rc = check_name("name", c->name, err);
    if (rc == OK)
        rc = check_list("labels", c->labels, err);
    if (rc == OK)
        rc = check_text("agent_url", c->agent_url, URL_MAX, false, err);
    if (rc != OK)
        return rc;
    if (id_is_none(c->node_id))
        return err_set(err, ERR_INVALID, "'node_id' is missing");
    const struct region *region = model_region_by_name(d->model, c->region);
    if (region == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no region '%.*s': create it first", STR_ARG(c->region));
    const struct zone *zone = model_zone_by_name(d->model, region, c->zone);
    if (zone == NULL)
        return err_set(err, ERR_NOT_FOUND, "region '%s' has no zone '%.*s': create it first", region->name,
                       STR_ARG(c->zone));
    rc = check_joining(d, c, zone, err);
    if (rc != OK || joining_is_known(d, c))
        return rc;
    struct arena *a = out->arena;
    event_list_add(out, EVENT_JOIN_NODE, d->ids)->join_node = (struct join_node){c->node_id,
                                                                                 zone->id,
                                                                                 arena_str(a, c->name),
                                                                                 copy_strs(a, c->labels),
                                                                                 arena_str(a, c->prefix),
                                                                                 arena_str(a, c->agent_url)};
    return OK;
}

static enum err check_reported(const struct node_reported *c, enum node_status *ret_status, struct errinfo *err)
{
    enum err rc = check_text("boot_id", c->boot_id, BOOT_ID_MAX, false, err);
    if (rc == OK)
        rc = check_text("cause", c->cause, DECIDE_CAUSE_MAX, true, err);
    if (rc == OK)
        rc = check_list("runtimes", c->runtimes, err);
    if (rc != OK)
        return rc;
    if (c->boot_id.len == 0 || c->report_seq <= 0)
        return err_set(err, ERR_INVALID, "'boot_id' and 'report_seq' (from 1) are needed in every report");
    if (!node_status_parse(c->status, ret_status) || (*ret_status != NODE_JOINING && *ret_status != NODE_READY))
        return err_set(err, ERR_INVALID, "'status' must be 'joining' or 'ready', not '%.*s'", STR_ARG(c->status));
    if (c->capacity.vcpus < 0 || c->capacity.memory_bytes < 0 || c->capacity.disk_bytes < 0)
        return err_set(err, ERR_INVALID, "'capacity' must not be negative");
    return OK;
}

static bool node_is_as_reported(const struct node *n, const struct node_reported *c, enum node_status status)
{
    return n->status == status && str_eq_c(c->boot_id, n->boot_id) && str_eq_c(c->cause, n->cause) &&
           n->capacity.vcpus == c->capacity.vcpus && n->capacity.memory_bytes == c->capacity.memory_bytes &&
           n->capacity.disk_bytes == c->capacity.disk_bytes && strs_equal(c->runtimes, &n->runtimes);
}

static void node_status_event(const struct decide *d, const struct node_reported *c, enum node_status status,
                              struct event_list *out)
{
    struct arena *a = out->arena;
    event_list_add(out, EVENT_NODE_STATUS_CHANGE, d->ids)->node_status_change =
        (struct node_status_change){.node_id = c->node_id,
                                    .status = str_from(node_status_name(status)),
                                    .cause = arena_str(a, c->cause),
                                    .capacity = c->capacity,
                                    .runtimes = copy_strs(a, c->runtimes),
                                    .boot_id = arena_str(a, c->boot_id),
                                    .report_seq = c->report_seq};
}

static bool is_in(const struct node_reported *c, struct id instance_id)
{
    for (size_t i = 0; i < c->items_n; i++)
        if (id_eq(c->items[i].instance_id, instance_id))
            return true;
    return false;
}

/* A host that booted anew runs nothing that it does not report. */
static void after_boot(const struct decide *d, const struct node *n, const struct node_reported *c,
                       struct event_list *out)
{
    MODEL_EACH (instance, i, &n->instances) {
        bool ran = i->status == INSTANCE_STARTING || i->status == INSTANCE_RUNNING || i->status == INSTANCE_DRAINING;
        if (!ran || is_in(c, i->id))
            continue;
        enum instance_status next = i->status == INSTANCE_DRAINING ? INSTANCE_STOPPED
                                    : i->restart_never             ? INSTANCE_FAILED
                                                                   : INSTANCE_STARTING;
        struct event *e =
            emit_instance_status(out, d->ids, i, next, "", say(out, "node '%s' booted anew", n->name), (struct str){0});
        e->instance_status_change.node_id = n->id;
        e->instance_status_change.boot_id = arena_str(out->arena, c->boot_id);
        e->instance_status_change.report_seq = c->report_seq;
        e->instance_status_change.restarts = i->restarts;
    }
}

static void items_observed(const struct decide *d, const struct node_reported *c, struct event_list *out)
{
    for (size_t i = 0; i < c->items_n; i++) {
        struct instance_observed seen = c->items[i];
        seen.reporter_node_id = c->node_id;
        seen.boot_id = c->boot_id;
        seen.report_seq = c->report_seq;
        /* What is gone here, or cannot follow, is told to the agent by its desired state: not the heartbeat's error. */
        err_ignore(decide_instance_observed(d, &seen, out, NULL));
    }
}

static void trust_event(const struct decide *d, const struct node *n, struct str replica, struct event_list *out)
{
    event_list_add(out, EVENT_TRUST_NODE, d->ids)->trust_node =
        (struct trust_node){n->id, arena_str(out->arena, replica)};
}

enum err decide_node_reported(const struct decide *d, const struct node_reported *c, struct event_list *out,
                              struct errinfo *err)
{
    enum node_status status;
    enum err rc = check_reported(c, &status, err);
    if (rc != OK)
        return rc;
    const struct node *n = model_node(d->model, c->node_id);
    if (n == NULL)
        return not_found(err, "node", c->node_id);
    if (node_boot_is_past(n, c->boot_id) || node_boot_is_late(n, c->boot_id, c->report_seq))
        return err_set(err, ERR_CONFLICT, "node '%s' has booted since: this report is dropped", n->name);
    if (n->status == NODE_GONE)
        return err_set(err, ERR_CONFLICT, "node '%s' has left: join again first", n->name);
    size_t before = out->n;
    rc = decide_trust_node(d, n->id, c->replica, out, err);
    if (rc != OK)
        return rc;
    if (n->status == NODE_LOST) { /* the planner takes it back once enough replicas trust it */
        if (out->n == before && !n->is_heard_again)
            trust_event(d, n, c->replica, out);
        return OK;
    }
    bool is_new_boot = !str_eq_c(c->boot_id, n->boot_id);
    if (!is_new_boot && c->report_seq <= n->report_seq)
        return OK;
    if (n->status == NODE_DRAINING)
        status = NODE_DRAINING;
    if (!node_is_as_reported(n, c, status))
        node_status_event(d, c, status, out);
    if (is_new_boot)
        after_boot(d, n, c, out);
    items_observed(d, c, out);
    return OK;
}

enum err decide_suspect_node(const struct decide *d, struct id node_id, struct str replica, struct str cause,
                             struct event_list *out, struct errinfo *err)
{
    enum err rc = check_text("cause", cause, DECIDE_CAUSE_MAX, true, err);
    if (rc == OK)
        rc = check_name("replica", replica, err);
    if (rc != OK)
        return rc;
    const struct node *n = model_node(d->model, node_id);
    if (n == NULL)
        return not_found(err, "node", node_id);
    if (n->status == NODE_GONE)
        return OK;
    for (uint32_t i = 0; i < n->suspected_by.n; i++)
        if (str_eq_c(replica, n->suspected_by.items[i]))
            return OK;
    event_list_add(out, EVENT_SUSPECT_NODE, d->ids)->suspect_node =
        (struct suspect_node){node_id, arena_str(out->arena, replica), arena_str(out->arena, cause)};
    return OK;
}

enum err decide_trust_node(const struct decide *d, struct id node_id, struct str replica, struct event_list *out,
                           struct errinfo *err)
{
    const struct node *n = model_node(d->model, node_id);
    if (n == NULL)
        return not_found(err, "node", node_id);
    for (uint32_t i = 0; i < n->suspected_by.n; i++) {
        if (!str_eq_c(replica, n->suspected_by.items[i]))
            continue;
        trust_event(d, n, replica, out);
        return OK;
    }
    return OK;
}

static enum err find_there(const struct decide *d, struct id node_id, enum event_kind kind, struct str cause,
                           const struct node **ret, struct errinfo *err)
{
    *ret = model_node(d->model, node_id);
    if (*ret == NULL)
        return not_found(err, "node", node_id);
    enum err rc = check_format(d, kind, err);
    return rc != OK ? rc : check_text("cause", cause, DECIDE_CAUSE_MAX, true, err);
}

enum err decide_drain_node(const struct decide *d, struct id node_id, struct str cause, struct event_list *out,
                           struct errinfo *err)
{
    const struct node *n = NULL;
    enum err rc = find_there(d, node_id, EVENT_DRAIN_NODE, cause, &n, err);
    if (rc != OK || n->reported == NODE_DRAINING)
        return rc;
    if (n->status == NODE_GONE)
        return err_set(err, ERR_CONFLICT, "node '%s' has left: there is nothing to drain", n->name);
    event_list_add(out, EVENT_DRAIN_NODE, d->ids)->drain_node =
        (struct drain_node){n->id, cause.len > 0 ? arena_str(out->arena, cause) : STR("asked for by a person"),
                            because(out, "{\"rule\":\"asked for by a person\",\"instances\":%zu}", n->instances.n)};
    return OK;
}

enum err decide_undrain_node(const struct decide *d, struct id node_id, struct event_list *out, struct errinfo *err)
{
    const struct node *n = NULL;
    enum err rc = find_there(d, node_id, EVENT_DRAIN_NODE, STR(""), &n, err);
    if (rc != OK || n->reported != NODE_DRAINING)
        return rc;
    if (n->status != NODE_DRAINING)
        return err_set(err, ERR_CONFLICT, "node '%s' is %s: wait until it is back", n->name,
                       node_status_name(n->status));
    event_list_add(out, EVENT_NODE_STATUS_CHANGE, d->ids)->node_status_change =
        (struct node_status_change){.node_id = n->id,
                                    .status = str_from(node_status_name(NODE_READY)),
                                    .because = STR("{\"rule\":\"its drain was taken back by a person\"}")};
    return OK;
}

enum err decide_leave_node(const struct decide *d, struct id node_id, struct str cause, struct event_list *out,
                           struct errinfo *err)
{
    const struct node *n = NULL;
    enum err rc = find_there(d, node_id, EVENT_LEAVE_NODE, cause, &n, err);
    if (rc != OK || n->status == NODE_GONE)
        return rc;
    if (n->status != NODE_DRAINING && n->status != NODE_LOST)
        return err_set(err, ERR_CONFLICT, "node '%s' is %s: drain it first", n->name, node_status_name(n->status));
    if (n->instances.n > 0)
        return err_set(err, ERR_CONFLICT, "node '%s' still has %zu instances: wait until it has drained", n->name,
                       n->instances.n);
    event_list_add(out, EVENT_LEAVE_NODE, d->ids)->leave_node =
        (struct leave_node){n->id, cause.len > 0 ? arena_str(out->arena, cause) : STR("asked for by a person"),
                            STR("{\"rule\":\"asked for by a person\"}")};
    return OK;
}
