#include "event/time.h"

#include "base/clock.h"

int event_time_cmp(struct event_time a, struct event_time b)
{
    if (a.instant_ns != b.instant_ns)
        return a.instant_ns < b.instant_ns ? -1 : 1;
    return a.tiebreak == b.tiebreak ? 0 : a.tiebreak < b.tiebreak ? -1 : 1;
}

struct event_time event_time_next(struct event_time last, int64_t now_ns)
{
    if (now_ns > last.instant_ns)
        return (struct event_time){now_ns, 0};
    return (struct event_time){last.instant_ns, last.tiebreak + 1};
}

static char *put_i64(char *p, int64_t v)
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char digits[20];
    int n = 0;
    do {
        digits[n++] = (char)('0' + u % 10);
        u /= 10;
    } while (u > 0);
    if (v < 0)
        *p++ = '-';
    while (n > 0)
        *p++ = digits[--n];
    *p = '\0';
    return p;
}

void event_time_format(struct event_time t, char ret_text[static EVENT_TIME_TEXT_SIZE])
{
    char *p = ret_text;
    if (t.instant_ns == INT64_MIN) {
        memcpy(p, "-inf", 4);
        p += 4;
    } else {
        int64_t us = t.instant_ns / 1000, ns = t.instant_ns % 1000;
        if (ns < 0) {
            ns += 1000;
            us--;
        }
        clock_format_us(us, p);
        p += strlen(p);
        if (ns != 0) {
            p--; /* over the Z */
            *p++ = (char)('0' + ns / 100);
            *p++ = (char)('0' + ns / 10 % 10);
            *p++ = (char)('0' + ns % 10);
            *p++ = 'Z';
        }
    }
    *p++ = '#';
    put_i64(p, t.tiebreak);
}

bool event_time_parse(struct str text, struct event_time *ret_time)
{
    size_t at = str_find(text, '#');
    if (at == text.len)
        return false;
    struct event_time t = {0};
    struct str instant = str_slice(text, 0, at);
    if (str_eq(instant, STR("-inf")))
        t.instant_ns = INT64_MIN;
    else if (!clock_parse_ns(instant, &t.instant_ns))
        return false;
    if (!str_parse_i64(str_slice(text, at + 1, text.len), &t.tiebreak))
        return false;
    *ret_time = t;
    return true;
}
