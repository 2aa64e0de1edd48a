#include "base/clock.h"

#include <stdio.h>
#include <time.h>

int64_t clock_wall_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Days since 1970-01-01 of a Gregorian date (the usual era arithmetic: 400-year eras of 146097 days). */
static int64_t days_from_date(int64_t y, int64_t m, int64_t d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void date_from_days(int64_t days, int *y, int *m, int *d)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097, doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    *d = (int)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int)(yoe + era * 400 + (*m <= 2));
}

void clock_format_us(int64_t wall_us, char ret_text[static CLOCK_TEXT_SIZE])
{
    int64_t us = wall_us % 1000000, seconds = wall_us / 1000000;
    if (us < 0) {
        us += 1000000;
        seconds--;
    }
    int64_t days = seconds / 86400, rest = seconds % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int y = 0, m = 0, d = 0;
    date_from_days(days, &y, &m, &d);
    const unsigned parts[] = {(unsigned)y % 10000u,       (unsigned)m,           (unsigned)d, (unsigned)(rest / 3600),
                              (unsigned)(rest / 60 % 60), (unsigned)(rest % 60), (unsigned)us};
    static const char WIDTHS[] = {4, 2, 2, 2, 2, 2, 6}, BEHIND[] = "--T::.Z";
    char *p = ret_text;
    for (size_t i = 0; i < sizeof(WIDTHS); i++) { /* each event has its time: not by printf */
        p += WIDTHS[i];
        for (unsigned k = 1, left = parts[i]; k <= (unsigned)WIDTHS[i]; k++, left /= 10)
            *(p - k) = (char)('0' + left % 10);
        *p++ = BEHIND[i];
    }
    *p = '\0';
}

static bool digits(struct str s, size_t at, size_t n, int64_t *ret)
{
    int64_t v = 0;
    if (at + n > s.len)
        return false;
    for (size_t i = at; i < at + n; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        v = v * 10 + (s.ptr[i] - '0');
    }
    *ret = v;
    return true;
}

static int64_t days_in_month(int64_t y, int64_t m)
{
    static const int DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return DAYS[m - 1] + (m == 2 && is_leap);
}

bool clock_parse_ns(struct str text, int64_t *ret_ns)
{
    int64_t y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0, ns = 0;
    if (!digits(text, 0, 4, &y) || !digits(text, 5, 2, &mo) || !digits(text, 8, 2, &d) || !digits(text, 11, 2, &h) ||
        !digits(text, 14, 2, &mi) || !digits(text, 17, 2, &s) || text.len < 20)
        return false;
    if (text.ptr[4] != '-' || text.ptr[7] != '-' || text.ptr[10] != 'T' || text.ptr[13] != ':' || text.ptr[16] != ':')
        return false;
    if (y < 1678 || y > 2261 || mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo) || h > 23 || mi > 59 || s > 59)
        return false;
    size_t at = 19;
    if (text.ptr[at] == '.') {
        size_t from = ++at;
        int64_t unit = 100000000;
        for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++, unit /= 10)
            ns += unit * (text.ptr[at] - '0');
        if (at == from || at - from > 9)
            return false;
    }
    if (at + 1 != text.len || text.ptr[at] != 'Z')
        return false;
    *ret_ns = ((days_from_date(y, mo, d) * 24 + h) * 60 + mi) * 60000000000 + s * 1000000000 + ns;
    return true;
}
