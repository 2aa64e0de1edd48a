#pragma once
/* base/mem.h - memory: allocation that cannot fail (it aborts: replay recovers), arenas for what dies together.
 * Layer: base. Sizes from outside are bounded before they come here. */
#include <stddef.h>

#include "base/str.h"

void *mem_alloc(size_t size);                                                 /* zeroed; free() */
void *mem_calloc(size_t n, size_t size);                                      /* zeroed; free() */
void *mem_realloc(void *p, size_t size);                                      /* new bytes are not zeroed */
char *mem_strdup(const char *s);                                              /* free() */
char *mem_strndup(const char *s, size_t n);                                   /* free() */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* free() */

/* Everything allocated from an arena is freed at once by arena_done. {0} is an empty arena. */
struct arena {
    struct arena_block *blocks;
};
void *arena_alloc(struct arena *a, size_t size);     /* zeroed, 16-byte aligned */
struct str arena_str(struct arena *a, struct str s); /* a copy, with a NUL behind it */
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t arena_size_bytes(const struct arena *a);
/* All that was allocated is gone, one block is kept for what comes: for a loop over many small things. */
void arena_reset(struct arena *a);
void arena_done(struct arena *a); /* {0} again */
static inline void arena_cleanup(struct arena *a)
{
    arena_done(a);
}
