#pragma once
/* event/text.h - what the readers of JSON text share: bytes of strings, taken many at once. Layer: event. Pure.
 * Private to event/. */
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/str.h"

/* How many of the n bytes at p stand for themselves in a JSON string and are ASCII: up to the first quote, backslash,
 * control byte or byte of a longer UTF-8 sequence. */
static inline size_t text_plain_span(const char *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(0x20);
    for (; i + 16 <= n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i_u *)(const void *)(p + i));
        /* Signed: 0x80 and above are below zero. */
        __m128i special = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
                                       _mm_cmplt_epi8(bytes, space));
        unsigned found = (unsigned)_mm_movemask_epi8(special);
        if (found != 0)
            return i + (size_t)__builtin_ctz(found);
    }
#endif
    while (i < n && (signed char)p[i] >= 0x20 && p[i] != '"' && p[i] != '\\')
        i++;
    return i;
}
