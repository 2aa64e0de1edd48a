/* How this replica is, as a document: what a person asks first when something is wrong with the control plane. */
#include "base/clock.h"
#include "base/own.h"
#include "control/edges.h"
#include "control/parts.h"
#include "control/sight.h"
#include "control/view.h"

/* "postgres" of "postgres;log=…" */
static struct str kind_of(const char *spec)
{
    size_t n = strcspn(spec, ";");
    return (struct str){spec, n};
}

static struct str text_of(const struct errinfo *e, struct arena *a)
{
    return e == NULL || e->code == OK ? (struct str){NULL, 0} : arena_str(a, str_from(e->msg));
}

static int64_t ms_since(int64_t at_us)
{
    return (clock_mono_us() - at_us) / 1000;
}

static void store_view(const struct control *c, struct arena *a, struct replica_store *ret)
{
    struct app_counts n = app_counts(c->app);
    *ret = (struct replica_store){
        .kind = kind_of(c->o.event_store),
        .has_appended = n.appended_us != 0,
        .append_us = n.append_took_us,
        .append_ms_ago = n.appended_us != 0 ? ms_since(n.appended_us) : 0,
        .append_error = text_of(app_append_trouble(c->app), a),
        .read_error = text_of(app_trouble(c->app), a),
    };
}

static struct objects leases_view(const struct control *c, struct arena *a)
{
    size_t n = 0;
    const struct store_lease *all = leases_known(c->leases, &n);
    struct replica_lease *rows = arena_alloc(a, (n + 1) * sizeof(*rows));
    struct strs planners;
    leases_planners(c->leases, &planners);
    size_t first = preferred_of(&planners, control_position(c).log);
    for (size_t i = 0; i < n; i++) {
        struct str name = arena_str(a, str_from(all[i].name));
        rows[i] = (struct replica_lease){.replica = name,
                                         .until = view_time_ns(all[i].until_us * 1000, a),
                                         .left_ms = (all[i].until_us - control_clock_us(c)) / 1000,
                                         .format = all[i].format,
                                         .votes = !all[i].abstains,
                                         .plans = all[i].plans,
                                         .goes_first = first != SIZE_MAX && str_eq(planners.items[first], name)};
    }
    return (struct objects){rows, n};
}

static struct objects votes_view(const struct control *c, struct arena *a)
{
    struct replica_vote *rows = arena_alloc(a, (c->model->nodes.n + 1) * sizeof(*rows));
    size_t n = 0;
    MODEL_EACH (node, node, &c->model->nodes) {
        if (node->suspected_by.n == 0)
            continue;
        struct strs by = {arena_alloc(a, node->suspected_by.n * sizeof(struct str)), node->suspected_by.n};
        for (size_t i = 0; i < by.n; i++)
            by.items[i] = view_text(node->suspected_by.items[i]);
        rows[n++] =
            (struct replica_vote){node->id, view_text(node->name), str_from(node_status_name(node->status)), by};
    }
    return (struct objects){rows, n};
}

static struct objects edges_view(const struct control *c, struct arena *a)
{
    int64_t now_ms = clock_mono_us() / 1000;
    size_t own_n = 0, n = 0;
    const struct edge_observed *own = control_edges(c, now_ms, a, &own_n);
    const struct edge_observed *all =
        edges_observe(leases_edges(c->leases), own, own_n, now_ms, c->o.settings.edge_live_seconds * 1000, a, &n);
    struct replica_edge *rows = arena_alloc(a, (n + 1) * sizeof(*rows));
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct replica_edge){all[i].name, (int64_t)all[i].confirmed_seq, now_ms - all[i].seen_ms};
    return (struct objects){rows, n};
}

void view_replica(struct control *c, struct arena *a, struct replica_resource *ret)
{
    struct errinfo why = {0};
    struct app_position at = control_position(c);
    struct control_counts n = control_counts(c);
    char position[APP_CURSOR_TEXT_SIZE];
    bool is_ready = control_is_ready(c, &why);
    enum sight sight = control_sight(c, NULL);
    int64_t end_us = app_end_seen_us(c->app);
    uint64_t end_seq = app_end_seq(c->app);
    app_cursor_format(&at, position);
    *ret = (struct replica_resource){
        .replica = view_text(c->o.replica),
        .state = str_from(!is_ready && sight == SIGHT_LIVE ? "read-only" : sight_name(sight)),
        .cause = is_ready ? (struct str){NULL, 0} : text_of(&why, a),
        .position = arena_str(a, str_from(position)),
        .seq = (int64_t)at.seq,
        .lag_events = end_seq > at.seq ? (int64_t)(end_seq - at.seq) : 0,
        .end_seen_ms_ago = end_us == INT64_MIN ? -1 : ms_since(end_us),
        .plans = c->planner != NULL && sight == SIGHT_LIVE,
        .votes = c->may_vote && sight == SIGHT_LIVE,
        .appends = (int64_t)n.appends,
        .conflicts = (int64_t)n.conflicts,
        .plans_own = (int64_t)n.plans,
        .plans_left = (int64_t)n.plans_left,
        .plans_stood_in = (int64_t)n.plans_stood_in,
        .leases = leases_view(c, a),
        .votes_list = votes_view(c, a),
        .edges = edges_view(c, a),
    };
    ret->goes_first = ret->plans && control_is_preferred(c, at.log);
    store_view(c, a, &ret->store);
}
