#include "base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *check(void *p)
{
    if (p == NULL) {
        (void)fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return check(calloc(1, size == 0 ? 1 : size));
}

void *mem_calloc(size_t n, size_t size)
{
    return check(calloc(n == 0 ? 1 : n, size == 0 ? 1 : size));
}

void *mem_realloc(void *p, size_t size)
{
    return check(realloc(p, size == 0 ? 1 : size));
}

char *mem_strdup(const char *s)
{
    return check(strdup(s));
}

char *mem_strndup(const char *s, size_t n)
{
    char *p = mem_alloc(n + 1);
    if (n > 0)
        memcpy(p, s, n);
    return p;
}

char *mem_printf(const char *fmt, ...)
{
    char *p = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&p, fmt, ap);
    va_end(ap);
    return check(n < 0 ? NULL : p);
}

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

/* 4 KiB: one page; a request's documents fit in a few (chosen, never measured). Each block is twice the last one up to
 * 64 KiB, for what reads a thousand records at once (bench-replay). */
enum { ARENA_BLOCK_SIZE = 4096, ARENA_BLOCK_SIZE_MAX = 65536 };

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        check(NULL);
    size_t need = (size + 15) & ~(size_t)15;
    struct arena_block *b = a->blocks;
    if (b == NULL || b->size - b->used < need) {
        size_t room = b == NULL                             ? ARENA_BLOCK_SIZE
                      : b->size >= ARENA_BLOCK_SIZE_MAX / 2 ? ARENA_BLOCK_SIZE_MAX
                                                            : b->size * 2;
        bool is_big = need > room;
        room = is_big ? need : room;
        struct arena_block *fresh = mem_alloc(sizeof(*fresh) + room);
        fresh->size = room;
        if (b != NULL && is_big) { /* keep filling the block that still has room */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->blocks = fresh;
        }
        b = fresh;
    }
    void *p = b->bytes + b->used;
    b->used += need;
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.len + 1);
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    return (struct str){p, s.len};
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = arena_alloc(a, n);
    memcpy(p, s, n);
    return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    assert(fmt != NULL); /* without it gcc 12 with UBSan warns of a null format */
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        check(NULL);
    char *p = arena_alloc(a, (size_t)n + 1);
    (void)vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

size_t arena_size_bytes(const struct arena *a)
{
    size_t sum = 0;
    for (const struct arena_block *b = a->blocks; b != NULL; b = b->next)
        sum += sizeof(*b) + b->size;
    return sum;
}

void arena_reset(struct arena *a)
{
    struct arena_block *kept = a->blocks;
    if (kept == NULL)
        return;
    struct arena older = {kept->next};
    arena_done(&older);
    kept->next = NULL;
    memset(kept->bytes, 0, kept->used);
    kept->used = 0;
}

void arena_done(struct arena *a)
{
    struct arena_block *b = a->blocks;
    while (b != NULL) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
    a->blocks = NULL;
}
