#pragma once
/* api/progress.h - how far the instances of an application are, as their programs said last. Layer: api. */
#include "control/control.h"

/* One row of GET /v1/processes/{id}/timeline, `instances`. */
extern const struct field_table PROGRESS_WIRE;
/* In the order of their ids; in the arena, texts are lent until the next heartbeat. */
struct objects progress_rows(const struct control *c, const struct process *p, struct arena *a);

struct progress_sum {
    enum health health; /* the worst of those that run */
    size_t reports_n;   /* instances that have said anything */
    int64_t lag_events, events_per_minute;
};
struct progress_sum progress_of(const struct control *c, const struct process *p);
