#include "node/agent/pace.h"

/* xorshift64: spreading needs no better one. */
static uint64_t next(uint64_t *jitter)
{
    *jitter ^= *jitter << 13;
    *jitter ^= *jitter >> 7;
    *jitter ^= *jitter << 17;
    return *jitter;
}

static int64_t doubled(int64_t ms, int64_t ms_max, unsigned times)
{
    for (unsigned i = 0; i < times && ms < ms_max; i++)
        ms *= 2;
    return ms < ms_max ? ms : ms_max;
}

int64_t pace_heartbeat_ms(uint64_t *jitter)
{
    return PACE_HEARTBEAT_MS * 9 / 10 + (int64_t)(next(jitter) % (PACE_HEARTBEAT_MS / 5 + 1));
}

int64_t pace_retry_ms(unsigned failures_n, uint64_t *jitter)
{
    int64_t ms = doubled(PACE_RETRY_MS_MIN, PACE_RETRY_MS_MAX, failures_n);
    return ms / 2 + (int64_t)(next(jitter) % (uint64_t)(ms + 1));
}

unsigned pace_patience_ms(unsigned failures_n)
{
    return (unsigned)doubled(PACE_PATIENCE_MS_MIN, PACE_PATIENCE_MS_MAX, failures_n);
}
