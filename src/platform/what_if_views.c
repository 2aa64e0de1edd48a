#include "platform/what_if_views.h"

#include "base/json.h"
#include "base/own.h"
#include "platform/what_if_compare.h"

/* More names of voters than this, and all of them count: every choice among them is tried (chosen). */
enum { VOTERS_MAX = 8, REPLICAS_TRIED_MAX = 9 };

/* ---- votes ---- */

struct votes {
    const struct model *model;
    const struct event *events; /* the head of the plan: what was said of nodes */
    size_t n;
    struct str names[VOTERS_MAX]; /* of all whose votes stand */
    size_t names_n;
    bool has_many; /* more than that */
};

static bool is_about_votes(const struct event *ev)
{
    return ev->kind == EVENT_NODE_STATUS_CHANGE ||
           (ev->kind == EVENT_INSTANCE_STATUS_CHANGE && str_eq(what_if_rule(ev), STR("votes")));
}

static void add_voter(struct votes *v, const char *name)
{
    for (size_t i = 0; i < v->names_n; i++)
        if (str_eq_c(v->names[i], name))
            return;
    if (v->names_n == VOTERS_MAX)
        v->has_many = true;
    else
        v->names[v->names_n++] = str_from(name);
}

/* Of the voters in `who`, a bit each. */
static int64_t counted(const struct votes *v, const struct node *n, unsigned who)
{
    int64_t votes = 0;
    if (v->has_many)
        return n->suspected_by.n;
    for (uint32_t i = 0; i < n->suspected_by.n; i++)
        for (size_t k = 0; k < v->names_n; k++)
            votes += (who >> k & 1) != 0 && str_eq_c(v->names[k], n->suspected_by.items[i]);
    return votes;
}

/* What was said of it: NULL, nothing. */
static const struct event *said_of(const struct votes *v, const struct node *n)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct event *ev = &v->events[i];
        if (ev->kind == EVENT_NODE_STATUS_CHANGE && id_eq(ev->node_status_change.node_id, n->id))
            return ev;
        const struct instance *one = ev->kind == EVENT_INSTANCE_STATUS_CHANGE
                                         ? model_instance(v->model, ev->instance_status_change.instance_id)
                                         : NULL;
        if (one != NULL && one->node == n)
            return ev;
    }
    return NULL;
}

/* A whole number behind a key of its because; -1: it does not say. */
static int64_t number_of(const struct event *ev, struct str key)
{
    struct str because =
        ev->kind == EVENT_NODE_STATUS_CHANGE ? ev->node_status_change.because : ev->instance_status_change.because;
    const char *at = because.len == 0 ? NULL : memmem(because.ptr, because.len, key.ptr, key.len);
    struct str rest =
        at == NULL ? (struct str){0} : str_slice(because, (size_t)(at - because.ptr) + key.len, because.len);
    size_t n = 0;
    int64_t number = -1;
    while (n < rest.len && rest.ptr[n] >= '0' && rest.ptr[n] <= '9')
        n++;
    return str_parse_i64(str_slice(rest, 0, n), &number) ? number : -1;
}

/* With n replicas that vote, of whom `who` count: was what was said of this node, and only that, to be said? */
static bool explains_node(const struct votes *v, const struct node *n, int64_t replicas_n, unsigned who)
{
    const struct event *said = said_of(v, n);
    int64_t votes = counted(v, n, who), said_votes = said == NULL ? -1 : number_of(said, STR("\"suspectedBy\":"));
    bool is_suspected = votes * 2 > replicas_n;
    if (said_votes >= 0 && said_votes != votes)
        return false;
    if (said == NULL)
        return n->status == NODE_GONE || (n->status == NODE_LOST ? is_suspected || !n->is_heard_again : !is_suspected);
    bool is_lost = said->kind == EVENT_INSTANCE_STATUS_CHANGE ||
                   str_eq_c(said->node_status_change.status, node_status_name(NODE_LOST));
    return is_lost == is_suspected;
}

static bool explains(const struct votes *v, int64_t replicas_n, unsigned who)
{
    MODEL_EACH (node, n, &v->model->nodes)
        if (!explains_node(v, n, replicas_n, who))
            return false;
    return true;
}

/* Everybody's votes first, then those of fewer. */
static bool find_voters(const struct votes *v, int64_t replicas_n, unsigned *ret_who)
{
    unsigned all = (1u << v->names_n) - 1;
    for (unsigned left = 0; left <= all; left++)
        if (explains(v, replicas_n, all & ~left)) {
            *ret_who = all & ~left;
            return true;
        }
    *ret_who = all;
    return false;
}

static void set_votes(struct votes *v, int64_t last_n, int64_t *ret_n, unsigned *ret_who)
{
    int64_t said_n = v->n == 0 ? -1 : number_of(&v->events[0], STR("\"replicas\":"));
    *ret_n = said_n >= 0 ? said_n : last_n;
    if (find_voters(v, *ret_n, ret_who) || said_n >= 0)
        return;
    for (int64_t n = 0; n <= REPLICAS_TRIED_MAX; n++)
        if (find_voters(v, n == 0 ? PLAN_REPLICAS_UNKNOWN : n, ret_who)) {
            *ret_n = n == 0 ? PLAN_REPLICAS_UNKNOWN : n;
            return;
        }
}

static struct strs voters(const struct votes *v, unsigned who, struct arena *a)
{
    struct strs names = {arena_alloc(a, (v->names_n + 1) * sizeof(struct str)), 0};
    if (v->has_many || who == (1u << v->names_n) - 1)
        return (struct strs){0}; /* all count */
    for (size_t k = 0; k < v->names_n; k++)
        if ((who >> k & 1) != 0)
            names.items[names.n++] = v->names[k];
    if (names.n == 0)
        names.items[names.n++] = STR("-"); /* no replica has this name: nobody's votes count */
    return names;
}

static void look_at_votes(const struct model *m, const struct event *events, size_t n, int64_t *last_n, struct arena *a,
                          struct observations *ret)
{
    struct votes v = {.model = m, .events = events};
    bool is_any = false;
    unsigned who = 0;
    while (v.n < n && is_about_votes(&events[v.n]))
        v.n++;
    MODEL_EACH (node, node, &m->nodes) {
        is_any = is_any || node->suspected_by.n > 0 || node->status == NODE_LOST;
        for (uint32_t i = 0; i < node->suspected_by.n; i++)
            add_voter(&v, node->suspected_by.items[i]);
    }
    ret->replicas_n = *last_n;
    if (!is_any && v.n == 0)
        return;
    set_votes(&v, *last_n, &ret->replicas_n, &who);
    ret->replicas = voters(&v, who, a);
    if (v.n > 0)
        *last_n = ret->replicas_n;
}

/* ---- edges ---- */

static void add(struct views *v, const struct edge_observed *edges, size_t n, int64_t live_since_ms)
{
    if (v->n == VIEWS_MAX)
        return;
    struct observations seen = v->n == 0 ? (struct observations){0} : v->items[0]; /* votes, formats */
    seen.edges = edges;
    seen.edges_n = n;
    seen.live_since_ms = live_since_ms;
    v->items[v->n++] = seen;
}

/* "edges" of a because: exactly what was seen. */
static void add_exact(struct views *v, struct str because, int64_t now_ms)
{
    auto_json json_t *doc = NULL;
    if (memmem(because.ptr, because.len, "\"edges\":[", 9) == NULL || json_parse(because, &doc, NULL) != OK)
        return;
    const json_t *list = json_object_get(doc, "edges");
    size_t n = json_array_size(list);
    struct edge_observed *edges = arena_alloc(v->arena, (n + 1) * sizeof(*edges));
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(list, i);
        edges[i] =
            (struct edge_observed){.name = arena_str(v->arena, json_member_str(e, "name")),
                                   .confirmed_seq = (uint64_t)json_integer_value(json_object_get(e, "confirmedSeq")),
                                   .seen_ms = now_ms - json_integer_value(json_object_get(e, "silentMs"))};
    }
    add(v, edges, n, WHAT_IF_EDGES_KNOWN);
    if (str_eq(json_member_str(doc, "rule"), STR("an edge does not confirm")))
        add(v, edges, n, now_ms); /* nor need it know all edges */
}

/* Edges that somebody was said to wait for: they have not switched yet. The one that has confirmed most stands first,
 * as the one that is named is the first that is behind. */
struct named {
    struct edge_observed edges[VIEW_EDGES_MAX];
    size_t n;
};

static void name_edge(struct named *named, struct str name, uint64_t route_seq, int64_t now_ms)
{
    size_t k = 0;
    while (k < named->n && !str_eq(named->edges[k].name, name))
        k++;
    if (k == VIEW_EDGES_MAX || route_seq == 0)
        return;
    if (k == named->n)
        named->edges[named->n++] = (struct edge_observed){name, route_seq - 1, now_ms};
    else if (route_seq - 1 < named->edges[k].confirmed_seq)
        named->edges[k].confirmed_seq = route_seq - 1;
    for (; k > 0 && named->edges[k].confirmed_seq > named->edges[k - 1].confirmed_seq; k--) {
        struct edge_observed e = named->edges[k];
        named->edges[k] = named->edges[k - 1];
        named->edges[k - 1] = e;
    }
}

static struct named edges_named(const struct model *m, const struct event *events, size_t n, int64_t now_ms)
{
    struct named named = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        const struct deployment_status_change *e = &events[i].deployment_status_change;
        if (events[i].kind != EVENT_DEPLOYMENT_STATUS_CHANGE || !str_starts(e->cause, STR(CAUSE_WAITS_EDGE)))
            continue;
        struct str name = str_slice(e->cause, sizeof(CAUSE_WAITS_EDGE) - 1, e->cause.len);
        const struct process *d = model_process(m, e->deployment_id);
        if (d != NULL)
            name_edge(&named, str_slice(name, 0, str_find(name, '\'')), d->replaced_seq, now_ms);
    }
    return named;
}

void views_of(const struct model *m, const struct event *events, size_t n, int64_t now_ms, int64_t *last_replicas_n,
              struct arena *a, struct views *ret)
{
    struct observations seen = {
        .format_min = n > 0 && events[0].kind == EVENT_RAISE_FORMAT ? events[0].raise_format.format : m->format};
    look_at_votes(m, events, n, last_replicas_n, a, &seen);
    *ret = (struct views){.arena = a};
    ret->items[0] = seen; /* taken over by what is added */
    ret->n = 1;
    for (size_t i = 0; i < n && ret->n == 1; i++) {
        if (events[i].kind == EVENT_DEPLOYMENT_STATUS_CHANGE)
            add_exact(ret, events[i].deployment_status_change.because, now_ms);
        if (events[i].kind == EVENT_INSTANCE_STATUS_CHANGE)
            add_exact(ret, events[i].instance_status_change.because, now_ms);
    }
    struct named named = edges_named(m, events, n, now_ms);
    if (named.n > 0) {
        struct edge_observed *edges = arena_alloc(a, sizeof(named.edges));
        memcpy(edges, named.edges, sizeof(named.edges));
        add(ret, edges, named.n, WHAT_IF_EDGES_KNOWN);
    }
    add(ret, NULL, 0, WHAT_IF_EDGES_KNOWN);
    add(ret, NULL, 0, WHAT_IF_EDGES_UNKNOWN);
    memmove(&ret->items[0], &ret->items[1], --ret->n * sizeof(ret->items[0]));
}

static const struct process *process_of(const struct model *m, const struct event *ev)
{
    struct id id = decision_about(ev);
    const struct instance *i = model_instance(m, id);
    return i != NULL ? i->process : model_process(m, id);
}

struct positions {
    uint64_t items[VIEW_POSITIONS_MAX]; /* falling */
    size_t n;
};

static void add_position(struct positions *p, uint64_t seq)
{
    size_t k = 0;
    while (k < p->n && p->items[k] > seq)
        k++;
    if (seq == 0 || p->n == VIEW_POSITIONS_MAX || (k < p->n && p->items[k] == seq))
        return;
    memmove(&p->items[k + 1], &p->items[k], (p->n++ - k) * sizeof(p->items[0]));
    p->items[k] = seq;
}

void views_add_positions(struct views *v, const struct model *m, const struct event *events, size_t n, int64_t now_ms)
{
    struct positions p = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        const struct process *d = process_of(m, &events[i]);
        const struct instance *instance = model_instance(m, decision_about(&events[i]));
        if (instance != NULL)
            add_position(&p, instance->withdraw_seq);
        if (d != NULL && d->project != NULL) {
            add_position(&p, d->replaced_seq);
            add_position(&p, d->project->route_seq);
        }
    }
    struct named named = edges_named(m, events, n, now_ms);
    for (size_t i = 0; i < p.n; i++) {
        struct edge_observed *edges = arena_alloc(v->arena, sizeof(named.edges) + sizeof(*edges));
        memcpy(edges, named.edges, sizeof(named.edges));
        edges[named.n] = (struct edge_observed){STR("an edge"), p.items[i], now_ms};
        add(v, edges, named.n + 1, WHAT_IF_EDGES_KNOWN);
    }
}

struct observations view_quiet(const struct model *m, int64_t last_replicas_n, struct arena *a)
{
    struct observations seen = {.format_min = m->format, .live_since_ms = WHAT_IF_EDGES_UNKNOWN};
    look_at_votes(m, NULL, 0, &last_replicas_n, a, &seen);
    return seen;
}
