/* Folds of nodes: they join, report, are suspected and trusted. */
#include "platform/model_write.h"

/* Which status may follow which: bit `to` of row `from`. */
#define TO(s) (1u << NODE_##s)
static const unsigned NODE_MOVES[NODE_STATUS_MAX_] = {
    [NODE_JOINING] = TO(JOINING) | TO(READY) | TO(DRAINING) | TO(LOST) | TO(GONE),
    [NODE_READY] = TO(READY) | TO(JOINING) | TO(DRAINING) | TO(LOST) | TO(GONE),
    [NODE_DRAINING] = TO(DRAINING) | TO(READY) | TO(JOINING) | TO(LOST) | TO(GONE),
    [NODE_GONE] = TO(JOINING),
    [NODE_LOST] = TO(LOST) | TO(JOINING) | TO(READY) | TO(DRAINING) | TO(GONE),
};
enum { TO_DRAINING = TO(DRAINING) };
#undef TO

/* Another node that has this /64 already. */
static const struct node *prefix_taken(const struct model *m, uint64_t prefix, struct id but)
{
    size_t at = 0;
    for (const struct node *n; (n = key_index_next(&m->keys[KEY_NODE_PREFIX], key_of_prefix(prefix), &at)) != NULL;)
        if (n->prefix_u64 == prefix && !id_eq(n->id, but))
            return n;
    return NULL;
}

static void node_describe(struct model *m, const struct node *was, const struct join_node *e, uint64_t prefix)
{
    struct node *n = node_edit(m, was);
    texts_set(&m->texts, &n->agent_url, e->agent_url);
    keys_remove(m, KEY_NODE_PREFIX, n);
    texts_set(&m->texts, &n->prefix, e->prefix);
    n->prefix_u64 = prefix;
    keys_add(m, KEY_NODE_PREFIX, n);
    text_list_set(&m->texts, &n->labels, e->labels);
    touch_node(m, n);
}

/* Instances of a log that names its nodes ("node:<name>") find theirs when it joins. */
static void adopt_named(struct model *m, struct node *n)
{
    MODEL_EACH (instance, i, &m->instances) {
        struct str url = str_from(i->runner_url);
        if (i->node != NULL || !str_starts(url, STR("node:")) || !str_eq_c(str_slice(url, 5, url.len), n->name))
            continue;
        instance_edit(m, i)->node = n;
        index_add(m, &n->instances, instance_edit(m, i));
        touch_instance(m, i);
    }
}

/* It had left: its agent's next report says whether it is ready. */
static void node_returns(struct model *m, const struct node *was, int64_t now_ns)
{
    struct node *n = node_edit(m, was);
    n->status = n->reported = NODE_JOINING;
    n->since_ns = now_ns;
    texts_set(&m->texts, &n->cause, STR(""));
}

/* Joining again, with the same name and zone, changes labels and addresses: an agent's port may move. */
static enum err apply_join_node(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct join_node *e = &ev->join_node;
    const struct zone *zone = model_zone(m, e->zone_id);
    const struct node *was = model_node(m, e->node_id);
    const struct node *same_name = model_node_by_name(m, e->name);
    uint64_t prefix = 0;
    if (zone == NULL)
        return refuse_missing(err, "zone", e->zone_id);
    if (same_name != NULL && same_name != was)
        return err_set(err, ERR_CORRUPT, "a node named '%s' exists already", same_name->name);
    if (e->prefix.len > 0 && !prefix_parse(e->prefix, &prefix))
        return err_set(err, ERR_CORRUPT, "prefix '%.*s' is not an IPv6 /64", STR_ARG(e->prefix));
    if (e->prefix.len > 0 && prefix_taken(m, prefix, e->node_id) != NULL)
        return err_set(err, ERR_CORRUPT, "prefix '%.*s' belongs to node '%s'", STR_ARG(e->prefix),
                       prefix_taken(m, prefix, e->node_id)->name);
    if (was != NULL) {
        if (same_name == NULL || was->zone != zone)
            return err_set(err, ERR_CORRUPT, "node '%s' cannot change its name or its zone", was->name);
        if (was->prefix[0] != '\0' && !str_eq_c(e->prefix, was->prefix))
            return err_set(err, ERR_CORRUPT, "node '%s' cannot change its prefix '%s'", was->name, was->prefix);
        node_describe(m, was, e, prefix);
        if (was->status == NODE_GONE)
            node_returns(m, was, ev->time.instant_ns);
        return OK;
    }
    struct node *n = object_new(m, node);
    *n = (struct node){.id = e->node_id, .zone = zone, .host_next = NODE_HOST_FIRST, .since_ns = ev->time.instant_ns};
    n->cause = n->boot_id = n->agent_url = n->prefix = "";
    n->name = texts_ref(&m->texts, e->name);
    index_add(m, &m->nodes, n);
    keys_add(m, KEY_NODE_NAME, n);
    node_describe(m, n, e, prefix);
    adopt_named(m, n);
    return OK;
}

/* A new boot: reports of the one before come too late from now on. */
static void node_boots(struct model *m, struct node *n, struct str boot_id)
{
    if (boot_id.len == 0 || str_eq_c(boot_id, n->boot_id))
        return;
    if (n->boot_id[0] != '\0') {
        if (n->past_boots.n == NODE_PAST_BOOTS_MAX)
            text_list_remove(&m->texts, &n->past_boots, n->past_boots.items[0]);
        text_list_add(&m->texts, &n->past_boots, str_from(n->boot_id));
    }
    texts_set(&m->texts, &n->boot_id, boot_id);
    n->report_seq = 0;
}

bool node_boot_is_past(const struct node *n, struct str boot_id)
{
    for (uint32_t i = 0; i < n->past_boots.n; i++)
        if (str_eq_c(boot_id, n->past_boots.items[i]))
            return true;
    return false;
}

/* What stands behind the kernel's boot id: whose numbers these are. Empty: it does not say. */
static struct str home_of(struct str boot_id)
{
    const char *slash = boot_id.len == 0 ? NULL : memchr(boot_id.ptr, '/', boot_id.len);
    return slash == NULL ? STR("") : str_slice(boot_id, (size_t)(slash - boot_id.ptr), boot_id.len);
}

bool node_boot_is_late(const struct node *n, struct str boot_id, int64_t report_seq)
{
    struct str home = home_of(boot_id), now = str_from(n->boot_id);
    if (home.len == 0 || str_eq(boot_id, now) || !str_eq(home, home_of(now)))
        return false;
    int64_t newest = n->report_seq;
    MODEL_EACH (instance, i, &n->instances)
        if (str_eq_c(now, i->boot_id) && i->report_seq > newest)
            newest = i->report_seq;
    return report_seq <= newest;
}

bool node_report_is_old(const struct node *n, struct str boot_id, int64_t report_seq, const char *last_boot_id,
                        int64_t last_seq)
{
    if (node_boot_is_past(n, boot_id))
        return true;
    return str_eq_c(boot_id, last_boot_id) && report_seq <= last_seq;
}

void node_hears(struct model *m, const struct node *n, struct str boot_id)
{
    if (!str_eq_c(boot_id, n->boot_id)) {
        node_boots(m, node_edit(m, n), boot_id);
        touch_node(m, n);
    }
}

static enum err apply_node_status_change(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct node_status_change *e = &ev->node_status_change;
    const struct node *was = model_node(m, e->node_id);
    enum node_status status;
    if (was == NULL)
        return refuse_missing(err, "node", e->node_id);
    if (!node_status_parse(e->status, &status))
        return err_set(err, ERR_CORRUPT, "'%.*s' is not a status of a node", STR_ARG(e->status));
    bool is_report = e->boot_id.len > 0;
    if (is_report && node_report_is_old(was, e->boot_id, e->report_seq, was->boot_id, was->report_seq))
        return OK;
    if ((NODE_MOVES[was->status] & 1u << status) == 0)
        return err_set(err, ERR_CORRUPT, "node '%s' is %s and cannot become %s", was->name,
                       node_status_name(was->status), node_status_name(status));
    struct node *n = node_edit(m, was);
    if (is_report) {
        node_boots(m, n, e->boot_id);
        n->report_seq = e->report_seq;
        n->reported = status;
        n->capacity = e->capacity;
        text_list_set(&m->texts, &n->runtimes, e->runtimes);
    } else if (n->status == NODE_DRAINING && status == NODE_READY) {
        n->reported = status; /* a person takes the drain back */
    }
    if (n->status != status)
        n->since_ns = ev->time.instant_ns;
    bool was_lost = n->status == NODE_LOST;
    if (!was_lost || status != NODE_LOST)
        n->is_heard_again = false;
    n->status = status;
    texts_set(&m->texts, &n->cause, e->cause);
    touch_node(m, n);
    if (was_lost != (status == NODE_LOST)) /* what runs there is reachable, or is not */
        MODEL_EACH (instance, i, &n->instances)
            touch_instance(m, i);
    return OK;
}

static enum err apply_suspect_node(struct model *m, const struct suspect_node *e, struct errinfo *err)
{
    const struct node *was = model_node(m, e->node_id);
    if (was == NULL)
        return refuse_missing(err, "node", e->node_id);
    struct node *n = node_edit(m, was);
    const char *replica = texts_ref(&m->texts, e->replica);
    if (!text_list_has(&n->suspected_by, replica))
        text_list_add(&m->texts, &n->suspected_by, e->replica);
    texts_unref(&m->texts, replica);
    touch_node(m, n);
    return OK;
}

static enum err apply_trust_node(struct model *m, const struct trust_node *e, struct errinfo *err)
{
    const struct node *was = model_node(m, e->node_id);
    if (was == NULL)
        return refuse_missing(err, "node", e->node_id);
    struct node *n = node_edit(m, was);
    const char *replica = texts_ref(&m->texts, e->replica);
    text_list_remove(&m->texts, &n->suspected_by, replica);
    n->is_heard_again = n->status == NODE_LOST;
    texts_unref(&m->texts, replica);
    touch_node(m, n);
    return OK;
}

/* What it runs is moved by the planner. A lost node drains once it is back. */
static enum err apply_drain_node(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct drain_node *e = &ev->drain_node;
    const struct node *was = model_node(m, e->node_id);
    if (was == NULL)
        return refuse_missing(err, "node", e->node_id);
    bool is_lost = was->status == NODE_LOST;
    if (was->reported == NODE_DRAINING || (!is_lost && (NODE_MOVES[was->status] & TO_DRAINING) == 0))
        return err_set(err, ERR_CORRUPT, "node '%s' is %s and cannot drain", was->name, node_status_name(was->status));
    struct node *n = node_edit(m, was);
    n->reported = NODE_DRAINING;
    if (!is_lost) {
        n->status = NODE_DRAINING;
        n->since_ns = ev->time.instant_ns;
        texts_set(&m->texts, &n->cause, e->cause);
    }
    touch_node(m, n);
    return OK;
}

/* Its name, address range and history stay; it may join again. */
static enum err apply_leave_node(struct model *m, const struct event *ev, struct errinfo *err)
{
    const struct leave_node *e = &ev->leave_node;
    const struct node *was = model_node(m, e->node_id);
    if (was == NULL)
        return refuse_missing(err, "node", e->node_id);
    if (was->status == NODE_GONE)
        return err_set(err, ERR_CORRUPT, "node '%s' has left already", was->name);
    if (was->instances.n > 0)
        return err_set(err, ERR_CORRUPT, "node '%s' still has %zu instances", was->name, was->instances.n);
    struct node *n = node_edit(m, was);
    n->status = n->reported = NODE_GONE;
    n->is_heard_again = false;
    n->since_ns = ev->time.instant_ns;
    texts_set(&m->texts, &n->cause, e->cause);
    text_list_clear(&m->texts, &n->suspected_by);
    touch_node(m, n);
    retain_nodes(m);
    return OK;
}

enum err apply_node_event(struct model *m, const struct event *ev, struct errinfo *err)
{
    if (ev->kind == EVENT_JOIN_NODE)
        return apply_join_node(m, ev, err);
    if (ev->kind == EVENT_NODE_STATUS_CHANGE)
        return apply_node_status_change(m, ev, err);
    if (ev->kind == EVENT_SUSPECT_NODE)
        return apply_suspect_node(m, &ev->suspect_node, err);
    if (ev->kind == EVENT_DRAIN_NODE)
        return apply_drain_node(m, ev, err);
    if (ev->kind == EVENT_LEAVE_NODE)
        return apply_leave_node(m, ev, err);
    assert(ev->kind == EVENT_TRUST_NODE);
    return apply_trust_node(m, &ev->trust_node, err);
}
