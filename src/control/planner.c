/* The planner: plan -> append -> fold -> plan again, until nothing is left to do; then at the model's deadline.
 * At most one plan is on its way; news that come meanwhile make it look once more.
 * Where several replicas plan, one of them is preferred for the log. The others plan too, a few times a second, but
 * append only what is still there a second later (control/preferred.h). */
#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/edges.h"
#include "control/parts.h"
#include "platform/plan_state.h"

/* A deadline that has passed already would make the loop spin if a plan had nothing for it (chosen). */
#define PLANNER_PAUSE_MIN_US 20000
/* After an error of the store (chosen). */
#define PLANNER_RETRY_US 1000000
/* A replica that leaves its plans to another one looks this often at most: its looks are for nothing as long as the
 * other one lives (chosen: four in the second that it waits). */
#define PLANNER_LOOK_US 250000

struct planner {
    struct control *control;
    struct plan_state *state;
    bool is_planning, look_again, is_closing;
    size_t events_n;
    int64_t deadline_ms;
    struct preferred_left left;   /* to the preferred replica */
    int64_t look_from_us;         /* monotonic: no look before then */
    bool is_left, is_standing_in; /* the plan on its way */
    uint64_t plans_n, left_n, stood_in_n;
};

struct planner *planner_new(struct control *c)
{
    struct planner *p = mem_alloc(sizeof(*p));
    p->control = c;
    p->state = plan_state_new();
    return p;
}

void planner_forget(struct planner *p)
{
    plan_state_reset(p->state);
}

static void planner_free(struct planner *p)
{
    struct control *c = p->control;
    plan_state_free(p->state);
    preferred_done(&p->left);
    free(p);
    control_part_closed(c);
}

void planner_close(struct planner *p)
{
    p->is_closing = true;
    if (!p->is_planning)
        planner_free(p);
}

struct edge_observed *control_edges(const struct control *c, int64_t now_ms, struct arena *a, size_t *ret_n)
{
    int64_t mono_us = clock_mono_us();
    *ret_n = seen_edges_n(c->seen);
    struct edge_observed *edges = arena_alloc(a, (*ret_n + 1) * sizeof(*edges));
    for (size_t i = 0; i < *ret_n; i++) {
        const struct seen_edge *e = seen_edge_at(c->seen, i);
        int64_t age_ms = e->polls_n > 0 ? 0 : (mono_us - e->heard_us) / 1000;
        edges[i] = (struct edge_observed){e->name, e->confirmed_seq, now_ms - age_ms};
    }
    return edges;
}

/* Since when it hears of all edges: its own ears, and what the others tell. */
static int64_t listens_since_us(struct control *c, int64_t mono_us)
{
    int64_t own_us = control_listens_us(c), told_us = leases_known_since_us(c->leases);
    if (told_us == INT64_MAX)
        return mono_us; /* nobody tells: there may be edges that others hear */
    return own_us > told_us ? own_us : told_us;
}

/* What the replicas heard of edges, and who votes. */
static void observe(struct control *c, int64_t now_ms, struct arena *a, struct observations *ret)
{
    int64_t mono_us = clock_mono_us();
    size_t own_n = 0;
    struct strs voters = {0};
    bool knows = leases_voters(c->leases, &voters);
    *ret = (struct observations){.live_since_ms = now_ms - (mono_us - listens_since_us(c, mono_us)) / 1000,
                                 .format_min = leases_format_min(c->leases),
                                 .replicas_n = knows ? (int64_t)voters.n : PLAN_REPLICAS_UNKNOWN,
                                 .replicas = voters};
    const struct edge_observed *own = control_edges(c, mono_us / 1000, a, &own_n);
    struct edge_observed *edges = edges_observe(leases_edges(c->leases), own, own_n, mono_us / 1000,
                                                c->o.settings.edge_live_seconds * 1000, a, &ret->edges_n);
    for (size_t i = 0; i < ret->edges_n; i++)
        edges[i].seen_ms += now_ms - mono_us / 1000; /* on the store's clock */
    ret->edges = edges;
}

/* Whether the plan is this replica's to append. Else it looks again when it would be. */
static bool is_mine(struct planner *p, const struct plan *plan, int64_t now_ms)
{
    int64_t mono_ms = clock_mono_us() / 1000, again_ms = INT64_MAX;
    p->is_standing_in = false;
    if (control_is_preferred(p->control, control_position(p->control).log)) {
        preferred_done(&p->left);
        return true;
    }
    p->look_from_us = clock_mono_us() + PLANNER_LOOK_US;
    p->is_standing_in = preferred_stands_in(&p->left, &plan->events, mono_ms, &again_ms);
    if (again_ms != INT64_MAX)
        p->deadline_ms = now_ms + again_ms - mono_ms;
    return p->is_standing_in;
}

static enum err plan_decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct planner *p = ctx;
    struct control *c = p->control;
    AUTO(arena) struct arena a = {0};
    struct observations seen;
    struct plan plan = {.events.arena = &a};
    struct decide d = control_decide(c);
    (void)model;
    (void)err;
    p->events_n = 0;
    p->is_left = p->is_standing_in = false;
    p->deadline_ms = d.now_ms + PLANNER_RETRY_US / 1000;
    if (control_sight(c, NULL) != SIGHT_LIVE)
        return OK; /* what it knows is old: the log would refuse it, if the log has moved */
    observe(c, d.now_ms, &a, &seen);
    plan_next(p->state, c->model, &c->o.settings, d.now_ms, &seen, &c->ids, &plan);
    p->deadline_ms = plan.deadline_ms;
    p->is_left = !is_mine(p, &plan, d.now_ms) && plan.events.n > 0;
    if (!p->is_left) {
        control_events_add(ret_events, &plan.events);
        p->events_n = plan.events.n;
    }
    return OK;
}

static void wake_at_deadline(const struct planner *p)
{
    int64_t at_us = INT64_MAX, soonest_us = control_clock_us(p->control) + PLANNER_PAUSE_MIN_US;
    if (p->deadline_ms != PLAN_NEVER)
        at_us = p->deadline_ms * 1000 > soonest_us ? p->deadline_ms * 1000 : soonest_us;
    app_wake_at(p->control->app, at_us);
}

static void plan_done(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    struct planner *p = ctx;
    struct control *c = p->control;
    (void)at;
    p->is_planning = false;
    p->left_n += p->is_left;
    p->stood_in_n += rc == OK && p->events_n > 0 && p->is_standing_in;
    p->plans_n += rc == OK && p->events_n > 0 && !p->is_standing_in;
    if (p->is_closing) {
        planner_free(p);
    } else if (rc != OK) {
        log_err(c->o.log, err, "a plan of %zu events could not be appended", p->events_n);
        app_wake_at(c->app, control_clock_us(c) + PLANNER_RETRY_US);
    } else if (p->events_n > 0 || p->look_again) {
        planner_look(p);
    } else {
        wake_at_deadline(p);
    }
}

/* A look is not due yet where others plan: it is put off, and then one for all that came meanwhile. */
static bool leaves_it(struct planner *p)
{
    int64_t wait_us = p->look_from_us - clock_mono_us();
    if (wait_us <= 0 || control_is_preferred(p->control, control_position(p->control).log))
        return false;
    app_wake_at(p->control->app, control_clock_us(p->control) + wait_us);
    return true;
}

void planner_count(const struct planner *p, struct control_counts *ret)
{
    ret->plans = p->plans_n;
    ret->plans_left = p->left_n;
    ret->plans_stood_in = p->stood_in_n;
}

void planner_look(struct planner *p)
{
    p->look_again = p->is_planning;
    if (p->is_planning || p->is_closing || leaves_it(p))
        return;
    p->is_planning = true;
    app_emit(p->control->app, plan_decide, p, plan_done);
}
