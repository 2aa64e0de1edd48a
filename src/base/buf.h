#pragma once
/* base/buf.h - owned, growing bytes. {0} is an empty buffer; ptr is NUL-terminated once something was added.
 * Layer: base. */
#include <stdarg.h>
#include <stddef.h>

#include "base/str.h"

struct buf {
    char *ptr; /* owned; NULL while nothing was added */
    size_t len, size;
};

void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_add_str(struct buf *b, struct str s);
void buf_add_c(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* A JSON string literal of s with its quotes; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json_string(struct buf *b, struct str s);
/* Drop the first n bytes. */
void buf_consume(struct buf *b, size_t n);
void buf_clear(struct buf *b); /* keeps the memory */
void buf_done(struct buf *b);
char *buf_take(struct buf *b); /* NUL-terminated, never NULL, free(); *b is {0} again */
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->ptr, b->len};
}
static inline void buf_cleanup(struct buf *b)
{
    buf_done(b);
}
