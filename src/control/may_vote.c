/* When a replica may vote: the rule of watchdog.c alone, so that the simulator runs it too. */
#include "control/watchdog.h"

int64_t watchdog_fresh_us(const struct watchdog_rules *r)
{
    return r->timeout_us / 2;
}

bool watchdog_may_vote(struct watchdog_rules *r, int64_t now_us, int64_t live_us, size_t fresh_n, size_t nodes_n)
{
    /* Before the first look: since it went live. A loop that stood still right then was as deaf. */
    int64_t before_us = r->last_tick_us != 0 ? r->last_tick_us : live_us;
    if (before_us != 0 && now_us - before_us > r->tick_us + r->late_us)
        r->late_at_us = now_us;
    r->last_tick_us = now_us;
    if (live_us == 0 || now_us - live_us < r->timeout_us)
        return false;
    if (r->late_at_us != 0 && now_us - r->late_at_us < r->timeout_us)
        return false;
    return fresh_n * 2 >= nodes_n;
}
