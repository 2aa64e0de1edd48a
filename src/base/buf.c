#include "base/buf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

void buf_reserve(struct buf *b, size_t more)
{
    assert(more < SIZE_MAX / 4);
    size_t need = b->len + more + 1;
    if (need <= b->size)
        return;
    size_t size = b->size < 64 ? 64 : b->size;
    while (size < need)
        size *= 2;
    b->ptr = mem_realloc(b->ptr, size);
    b->size = size;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    buf_reserve(b, n);
    assert(b->ptr != NULL);
    if (n > 0)
        memcpy(b->ptr + b->len, bytes, n);
    b->len += n;
    b->ptr[b->len] = '\0';
}

void buf_add_str(struct buf *b, struct str s)
{
    buf_add(b, s.ptr, s.len);
}

void buf_add_c(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    assert(fmt != NULL); /* without it gcc 12 with UBSan warns of a null format */
    va_list again;
    va_copy(again, ap);
    enum { MOSTLY_ENOUGH = 120 }; /* so that most texts are formatted once only */
    buf_reserve(b, MOSTLY_ENOUGH);
    int n = vsnprintf(b->ptr + b->len, MOSTLY_ENOUGH + 1, fmt, ap);
    assert(n >= 0);
    if (n > MOSTLY_ENOUGH) {
        buf_reserve(b, (size_t)n);
        (void)vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, again);
    }
    b->len += (size_t)n;
    va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

/* Length of the well-formed UTF-8 sequence at p (RFC 3629), 0 if there is none. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xf0 && p[0] <= 0xf4  ? 4
                 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
                                               : 0;
    if (len == 0 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

void buf_add_json_string(struct buf *b, struct str s)
{
    buf_add_char(b, '"');
    const unsigned char *p = (const unsigned char *)s.ptr;
    for (size_t i = 0; i < s.len;) {
        unsigned char c = p[i];
        size_t len = utf8_len(p + i, s.len - i);
        if (len == 0) {
            buf_add_c(b, "\xef\xbf\xbd");
            i++;
            continue;
        }
        if (c == '"' || c == '\\') {
            buf_add_char(b, '\\');
            buf_add_char(b, (char)c);
        } else if (c == '\n') {
            buf_add_c(b, "\\n");
        } else if (c == '\r') {
            buf_add_c(b, "\\r");
        } else if (c == '\t') {
            buf_add_c(b, "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            buf_addf(b, "\\u%04x", c);
        } else {
            buf_add(b, p + i, len);
        }
        i += len;
    }
    buf_add_char(b, '"');
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->ptr, b->ptr + n, b->len - n);
    b->len -= n;
    b->ptr[b->len] = '\0';
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->ptr != NULL)
        b->ptr[0] = '\0';
}

void buf_done(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){0};
}

char *buf_take(struct buf *b)
{
    if (b->ptr == NULL)
        buf_add(b, "", 0);
    char *p = b->ptr;
    *b = (struct buf){0};
    return p;
}
