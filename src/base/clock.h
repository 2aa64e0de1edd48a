#pragma once
/* base/clock.h - the clocks of this host, and instants as text. Layer: base. Pure rooms must not call the readers. */
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

int64_t clock_wall_us(void); /* since 1970-01-01 UTC; may jump */
int64_t clock_mono_us(void); /* never jumps, survives no reboot */

#define CLOCK_TEXT_SIZE 32
/* "2026-11-22T12:00:00.000001Z" */
void clock_format_us(int64_t wall_us, char ret_text[static CLOCK_TEXT_SIZE]);
/* RFC 3339 in UTC ("Z"), years 1678 to 2261, up to 9 fraction digits; nanoseconds since 1970. */
bool clock_parse_ns(struct str text, int64_t *ret_ns);
