#pragma once
/* control/watchdog.h - when this replica may vote about nodes. Layer: control. The rule alone, without a clock. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct watchdog_rules {
    int64_t timeout_us;   /* a node is not heard after that long */
    int64_t tick_us;      /* between two looks */
    int64_t late_us;      /* a look that comes this much later: the loop was late */
    int64_t last_tick_us; /* kept by watchdog_may_vote; 0: none yet */
    int64_t late_at_us;   /* likewise */
};

/* A look at now_us (monotonic). live_us: when this replica went live, 0: it has not. heard_n of nodes_n nodes that are
 * neither gone nor lost were heard within the timeout. */
bool watchdog_may_vote(struct watchdog_rules *r, int64_t now_us, int64_t live_us, size_t heard_n, size_t nodes_n);
