#pragma once
/* platform/plan_state.h - what a planner keeps between two plans, so that the cost of a plan follows what changed since
 * the last one and not what exists.
 *
 * It is derived: everything in it follows from the model (and from the observations of the last plan), so it may be
 * thrown away at any time; the next plan then looks at the whole model once. It is the shell's, one for each model that
 * is planned for; it holds no memory of the model and may outlive it. Which objects changed it learns from the model's
 * change list (platform/change_list.h), so it may also plan in the middle of a trial.
 *   - what is free on each node, in a tree for each zone and kind of node (platform/place.h)
 *   - which objects a rule must look at again: changed, or their time has come (a heap)
 *   - who waits for room, oldest first
 * plan_next() gives the same as a plan from scratch (test_plan: incremental_is_from_scratch).
 * Layer: platform. Pure. How it works: docs/internals/planning.md */
#include "platform/plan.h"

struct plan_state;
struct plan_state *plan_state_new(void);
void plan_state_free(struct plan_state *ps);
/* Begin again with the whole model. Also done by itself when plan_next is given another model, other settings than last
 * time, or one that has changed too much since. */
void plan_state_reset(struct plan_state *ps);
size_t plan_state_size_bytes(const struct plan_state *ps);

/* As model_plan (platform/plan.h), which is this with a fresh state. A plan is not thought to happen: what it gives
 * away is free again in the next one, unless its events have been folded by then. */
void plan_next(struct plan_state *ps, const struct model *m, const struct platform_settings *s, int64_t now_ms,
               const struct observations *seen, struct id_source *ids, struct plan *ret_plan);
