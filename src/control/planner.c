/* The planner: plan -> append -> fold -> plan again, until nothing is left to do; then at the model's deadline.
 * At most one plan is on its way; news that come meanwhile make it look once more. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/parts.h"
#include "platform/plan_state.h"

/* A deadline that has passed already would make the loop spin if a plan had nothing for it (chosen). */
#define PLANNER_PAUSE_MIN_US 20000
/* After an error of the store (chosen). */
#define PLANNER_RETRY_US 1000000

struct planner {
    struct control *control;
    struct plan_state *state;
    bool is_planning, look_again, is_closing;
    size_t events_n;
    int64_t deadline_ms;
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
    free(p);
    control_part_closed(c);
}

void planner_close(struct planner *p)
{
    p->is_closing = true;
    if (!p->is_planning)
        planner_free(p);
}

/* What this replica heard of edges, on the store's clock. */
static void observe(const struct control *c, int64_t now_ms, struct arena *a, struct observations *ret)
{
    int64_t mono_us = clock_mono_us();
    size_t n = seen_edges_n(c->seen);
    struct edge_observed *edges = arena_alloc(a, (n + 1) * sizeof(*edges));
    for (size_t i = 0; i < n; i++) {
        const struct seen_edge *e = seen_edge_at(c->seen, i);
        int64_t age_ms = e->polls_n > 0 ? 0 : (mono_us - e->heard_us) / 1000;
        edges[i] = (struct edge_observed){e->name, e->confirmed_seq, now_ms - age_ms};
    }
    struct strs voters = {0};
    bool knows = leases_voters(c->leases, &voters);
    *ret = (struct observations){.edges = edges,
                                 .edges_n = n,
                                 .live_since_ms = now_ms - (mono_us - c->listens_mono_us) / 1000,
                                 .format_min = leases_format_min(c->leases),
                                 .replicas_n = knows ? (int64_t)voters.n : PLAN_REPLICAS_UNKNOWN,
                                 .replicas = voters};
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
    observe(c, d.now_ms, &a, &seen);
    plan_next(p->state, c->model, &c->o.settings, d.now_ms, &seen, &c->ids, &plan);
    control_events_add(ret_events, &plan.events);
    p->events_n = plan.events.n;
    p->deadline_ms = plan.deadline_ms;
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

void planner_look(struct planner *p)
{
    p->look_again = p->is_planning;
    if (p->is_planning || p->is_closing)
        return;
    p->is_planning = true;
    app_emit(p->control->app, plan_decide, p, plan_done);
}
