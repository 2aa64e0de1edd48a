#pragma once
/* control/watchdog.h - when this replica may vote about nodes. Layer: control. The rule alone, without a clock. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nodes that come back one after the other are waited for at most so many timeouts (chosen: 5 minutes; two replicas on
 * two cores hear 10,000 again within one). */
#define WATCHDOG_ARRIVAL_TIMEOUTS_MAX 20

struct watchdog_rules {
    int64_t timeout_us;   /* a node is not heard after that long */
    int64_t tick_us;      /* between two looks */
    int64_t late_us;      /* a look that comes this much later: the loop was late */
    int64_t last_tick_us; /* kept by watchdog_may_vote; 0: none yet */
    int64_t late_at_us;   /* likewise */
    bool is_arriving;     /* likewise, as the rest: fewer than half were fresh, and since then they come back */
    size_t arrived_n;     /* the most that were fresh at a time since then */
    int64_t arrived_us;   /* when there were first so many */
    int64_t arriving_since_us;
};

/* A node that was heard within so long is fresh: half of the timeout. Who is cut off misses its nodes one after the
 * other, as their reports would have come; when the first of them has been silent for the timeout, the others must not
 * count as heard any more. An agent reports every third of the default timeout. */
int64_t watchdog_fresh_us(const struct watchdog_rules *r);

/* A look at now_us (monotonic). live_us: when this replica went live, 0: it has not. fresh_n of nodes_n nodes that are
 * neither gone nor lost are fresh. Once fewer than half were, it waits until all are, or until no more have come for a
 * timeout. */
bool watchdog_may_vote(struct watchdog_rules *r, int64_t now_us, int64_t live_us, size_t fresh_n, size_t nodes_n);
