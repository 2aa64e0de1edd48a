#pragma once
/* event/id.h - 128-bit ids: UUIDv7 when we make them, any UUID when a log fixes them. The zero id is "none".
 * Layer: event. Pure: time and randomness come in. */
#include "base/str.h"

struct id {
    uint8_t bytes[16];
};

#define ID_NONE ((struct id){{0}})
#define ID_TEXT_SIZE 37

bool id_is_none(struct id a);
static inline bool id_eq(struct id a, struct id b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}
/* Bytewise, eight at a time: lookups by id are most of what a fold does. */
static inline int id_cmp(struct id a, struct id b)
{
    for (size_t at = 0; at < sizeof(a.bytes); at += sizeof(uint64_t)) {
        uint64_t x = 0, y = 0;
        memcpy(&x, a.bytes + at, sizeof(x));
        memcpy(&y, b.bytes + at, sizeof(y));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        x = __builtin_bswap64(x);
        y = __builtin_bswap64(y);
#endif
        if (x != y)
            return x < y ? -1 : 1;
    }
    return 0;
}
/* Lower-case with dashes. */
void id_format(struct id a, char ret_text[static ID_TEXT_SIZE]);
bool id_parse(struct str text, struct id *ret_id);
/* UUIDv7 (RFC 9562) of an instant and 10 random bytes. */
struct id id_make(int64_t wall_ms, const uint8_t random[static 10]);

/* A stream of ids for pure code: the shell fills in now and seed, id_next counts. Same input, same ids. */
struct id_source {
    int64_t wall_ms;
    uint8_t seed[16];
    uint64_t counter;
};
struct id id_next(struct id_source *s);
/* An id that follows from another and a name, the same on every replica (UUIDv8 of a SHA-256). */
struct id id_derive(struct id from, const char *name);
