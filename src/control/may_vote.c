/* When a replica may vote: the rule of watchdog.c alone, so that the simulator runs it too. */
#include "control/watchdog.h"

int64_t watchdog_fresh_us(const struct watchdog_rules *r)
{
    return r->timeout_us / 2;
}

static bool is_cut_off(size_t fresh_n, size_t nodes_n)
{
    return fresh_n * 2 < nodes_n;
}

/* Who was cut off, or has just started, hears its nodes again one after the other: thousands need longer than the
 * timeout to connect, and those that are not there yet are waited for as long as others still come. */
static bool are_arriving(struct watchdog_rules *r, int64_t now_us, size_t fresh_n, size_t nodes_n)
{
    if (is_cut_off(fresh_n, nodes_n)) {
        r->is_arriving = true;
        r->arrived_n = fresh_n;
        r->arrived_us = r->arriving_since_us = now_us;
    } else if (fresh_n > r->arrived_n) {
        r->arrived_n = fresh_n;
        r->arrived_us = now_us;
    }
    if (fresh_n == nodes_n || now_us - r->arrived_us >= r->timeout_us ||
        now_us - r->arriving_since_us >= WATCHDOG_ARRIVAL_TIMEOUTS_MAX * r->timeout_us)
        r->is_arriving = false;
    return r->is_arriving;
}

bool watchdog_may_vote(struct watchdog_rules *r, int64_t now_us, int64_t live_us, size_t fresh_n, size_t nodes_n)
{
    /* Before the first look: since it went live. A loop that stood still right then was as deaf. */
    int64_t before_us = r->last_tick_us != 0 ? r->last_tick_us : live_us;
    if (before_us != 0 && now_us - before_us > r->tick_us + r->late_us)
        r->late_at_us = now_us;
    r->last_tick_us = now_us;
    if (are_arriving(r, now_us, fresh_n, nodes_n))
        return false;
    if (live_us == 0 || now_us - live_us < r->timeout_us)
        return false;
    if (r->late_at_us != 0 && now_us - r->late_at_us < r->timeout_us)
        return false;
    return !is_cut_off(fresh_n, nodes_n);
}
