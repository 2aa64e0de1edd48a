#pragma once
/* platform/what_if_views.h - what a plan may have seen that the log does not hold, from what it decided.
 *
 *   edges     "every live edge knows the routes up to here" is all that a plan learns of them: so there is one
 * position, or nothing is known. Tried: what the recorded decision says it saw; all know all; nothing is known; each
 *             position at which one of the objects in question changed
 *   votes     how many replicas vote, and whose votes count: such that the recorded nodes, and no others, are lost and
 *             come back by "more than half"
 *   formats   as recorded
 * Only what_if.c includes it. Layer: platform. Pure. */
#include "platform/what_if.h"

/* 32 and 8: positions and edges that are tried; a plan waits for few projects at once (chosen). */
enum { VIEWS_MAX = 48, VIEW_POSITIONS_MAX = 32, VIEW_EDGES_MAX = 8 };

struct views {
    struct observations items[VIEWS_MAX]; /* the likeliest first */
    size_t n;
    struct arena *arena;
};
/* Of the plan that decided these events on this model at now_ms. Everything lives in the arena. *last_replicas_n: of
 * the plan before that says; changed. */
void views_of(const struct model *m, const struct event *events, size_t n, int64_t now_ms, int64_t *last_replicas_n,
              struct arena *a, struct views *ret);
/* More of them: positions of what these events are about. */
void views_add_positions(struct views *v, const struct model *m, const struct event *events, size_t n, int64_t now_ms);
/* Where nothing was decided: nothing is known of edges. */
struct observations view_quiet(const struct model *m, int64_t last_replicas_n, struct arena *a);
