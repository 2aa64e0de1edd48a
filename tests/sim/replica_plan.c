/* What a replica plans, and whether it is its turn: leases tell who is there. */
#include "sim.h"

enum { RENEW_MS = LEASE_MS / 5 };

/* ---- Leases (as control/leases.c has them) ---- */

static bool leases_are_fresh(const struct world *w, const struct replica *r)
{
    return w->now_ms - r->leases.at_ms < LEASE_MS;
}

void replica_renews_lease(struct world *w, struct replica *r)
{
    struct leases_known now;
    if (w->now_ms < r->next_lease_ms)
        return;
    r->next_lease_ms = w->now_ms + RENEW_MS;
    if (!store_lease_renew(w, r, &now))
        return;
    if (!leases_are_fresh(w, r))
        r->told_since_ms = w->now_ms;
    r->must_plan = r->must_plan || now.voters != r->leases.voters || now.planners != r->leases.planners ||
                   now.format_min != r->leases.format_min;
    r->leases = now;
}

static struct strs names_of(struct world *w, unsigned who, struct str names[static REPLICAS_MAX])
{
    struct strs s = {names, 0};
    for (size_t i = 0; i < w->replicas_n; i++)
        if ((who & 1u << i) != 0)
            names[s.n++] = w->replicas[i].name_str;
    return s;
}

/* ---- Whose turn it is ---- */

/* Those who see the same replicas agree on one of them. */
static void check_preferred(struct world *w, const struct replica *r, unsigned planners)
{
    unsigned me = 1 + (unsigned)(r - w->replicas), *known = &w->preferred_of[planners];
    checked(w, RULE_preferred);
    if (planners == 0)
        return;
    if (*known != 0 && *known != me)
        broken(w, RULE_preferred, "replicas %s and %s both take themselves for preferred", w->replicas[*known - 1].name,
               r->name);
    *known = me;
}

static bool is_mine(struct world *w, struct replica *r, const struct plan *p, int64_t now_ms)
{
    struct str names[REPLICAS_MAX];
    unsigned who = leases_are_fresh(w, r) ? r->leases.planners : 0;
    struct strs planners = names_of(w, who, names);
    int64_t again_ms;
    if (preferred_is(&planners, r->name_str, w->log_id)) {
        check_preferred(w, r, who);
        preferred_done(&r->left);
        r->left_since_ms = 0;
        return true;
    }
    bool stands_in = preferred_stands_in(&r->left, &p->events, w->now_ms, &again_ms);
    r->left_since_ms = p->events.n == 0 ? 0 : r->left_since_ms == 0 ? w->now_ms : r->left_since_ms;
    if (p->events.n > 0)
        happened(w, stands_in ? OUTCOME_plan_stood_in : OUTCOME_plan_left);
    checked(w, RULE_preferred);
    if (stands_in && w->now_ms - r->left_since_ms < PREFERRED_LEAVES_MS)
        broken(w, RULE_preferred, "replica %s appends at once what it should have left to another", r->name);
    if (again_ms != INT64_MAX && now_ms + again_ms - w->now_ms < r->plan_at_ms)
        r->plan_at_ms = now_ms + again_ms - w->now_ms;
    return stands_in;
}

/* ---- Plans ---- */

/* What changed leads to the same as everything. */
static void check_from_scratch(struct world *w, const struct replica *r, int64_t now_ms,
                               const struct observations *seen, struct id_source ids, const struct plan *p)
{
    AUTO(arena) struct arena a = {0};
    struct plan other = {.events = {.arena = &a}};
    model_plan(r->model, &w->settings, now_ms, seen, &ids, &other);
    checked(w, RULE_plan_from_scratch);
    bool is_same = other.events.n == p->events.n && other.deadline_ms == p->deadline_ms;
    for (size_t i = 0; is_same && i < p->events.n; i++) {
        AUTO(buf) struct buf x = {0}, y = {0};
        event_encode_payload(&p->events.items[i], &x);
        event_encode_payload(&other.events.items[i], &y);
        if (p->events.items[i].kind != other.events.items[i].kind || !str_eq(buf_str(&x), buf_str(&y)))
            broken(w, RULE_plan_from_scratch, "replica %s plans from what changed: %s; and from everything: %s",
                   r->name, x.ptr, y.ptr);
    }
    if (!is_same)
        broken(w, RULE_plan_from_scratch,
               "replica %s plans %zu events from what changed (again in %lld ms), %zu from everything (%lld ms)",
               r->name, p->events.n, (long long)(p->deadline_ms - now_ms), other.events.n,
               (long long)(other.deadline_ms - now_ms));
}

/* Its own ears, and what the others tell: as control/planner.c has it. */
static int64_t listens_since_ms(const struct world *w, const struct replica *r)
{
    if (!leases_are_fresh(w, r))
        return w->now_ms;
    return r->listens_since_ms > r->told_since_ms ? r->listens_since_ms : r->told_since_ms;
}

void replica_plans(struct world *w, struct replica *r)
{
    int64_t now_ms = replica_clock_ms(w, r);
    if (!r->must_plan && r->planned_seq == r->model->seq && now_ms < r->plan_at_ms)
        return;
    struct str names[REPLICAS_MAX];
    struct strs voters = names_of(w, leases_are_fresh(w, r) ? r->leases.voters : 0, names);
    size_t edges_n = 0;
    struct edge_observed *edges = edges_observe(&r->told, r->edges, r->edges_n, w->now_ms,
                                                w->settings.edge_live_seconds * 1000, &w->arena, &edges_n);
    for (size_t i = 0; i < edges_n; i++)
        edges[i].seen_ms += now_ms - w->now_ms;
    struct observations seen = {.edges = edges,
                                .edges_n = edges_n,
                                .live_since_ms = now_ms - (w->now_ms - listens_since_ms(w, r)),
                                .format_min = leases_are_fresh(w, r) ? r->leases.format_min : 0,
                                .replicas_n = voters.n > 0 ? (int64_t)voters.n : PLAN_REPLICAS_UNKNOWN,
                                .replicas = voters};
    if (seen.format_min < EVENT_FORMAT && r->model->format < EVENT_FORMAT)
        happened(w, OUTCOME_format_held_back);
    struct plan p = {.events = {.arena = &w->arena}};
    w->ids.wall_ms = w->now_ms + r->clock_offset_ms;
    struct id_source ids = w->ids;
    plan_next(r->plan_state, r->model, &w->settings, now_ms, &seen, &w->ids, &p);
    check_from_scratch(w, r, now_ms, &seen, ids, &p);
    r->batch = p.events;
    r->base_seq = r->planned_seq = r->model->seq;
    r->planned_replicas_n = seen.replicas_n;
    r->planned_format_min = seen.format_min;
    r->planned_voters = leases_are_fresh(w, r) ? r->leases.voters : 0;
    r->plan_at_ms = p.deadline_ms;
    r->must_plan = false;
    r->job = NULL;
    r->state = is_mine(w, r, &p, now_ms) && p.events.n > 0 ? IS_DECIDED : NOTHING_IN_FLIGHT;
    checked(w, RULE_plan_rests);
    if (p.events.n == 0 && p.deadline_ms <= now_ms)
        broken(w, RULE_plan_rests, "the plan of replica %s has nothing to do and wants to run again at once", r->name);
}
