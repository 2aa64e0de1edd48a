#pragma once
/* platform/replace_delay.h - how long after a failure an instance is replaced. Layer: platform. Pure. */
#include "platform/settings.h"

/* Seconds; longer after each failure of a series: 10, 20, 40, … up to replace_delay_seconds_max. */
static inline int64_t replace_delay(const struct platform_settings *s, uint32_t failures_n)
{
    int64_t delay = s->replace_delay_seconds;
    for (uint32_t i = 1; i < failures_n && delay < s->replace_delay_seconds_max; i++)
        delay *= 2;
    return delay < s->replace_delay_seconds_max ? delay : s->replace_delay_seconds_max;
}
