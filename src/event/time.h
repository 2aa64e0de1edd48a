#pragma once
/* event/time.h - event time: an instant and a tiebreaker, "2026-11-22T12:00:00.000001Z#0".
 * Layer: event. Pure. Order: instant, then tiebreaker as a number. */
#include "base/str.h"

struct event_time {
    int64_t instant_ns; /* since 1970-01-01 UTC */
    int64_t tiebreak;
};

/* "-inf#-1": before everything. */
#define EVENT_TIME_MIN ((struct event_time){INT64_MIN, -1})
#define EVENT_TIME_TEXT_SIZE 56

int event_time_cmp(struct event_time a, struct event_time b);
/* The time of the next event of a log: `now_ns`, never before `last`; the tiebreaker rises when the instant is equal.
 */
struct event_time event_time_next(struct event_time last, int64_t now_ns);
/* 6 fraction digits, 9 when the instant is finer than a microsecond. */
void event_time_format(struct event_time t, char ret_text[static EVENT_TIME_TEXT_SIZE]);
bool event_time_parse(struct str text, struct event_time *ret_time);
