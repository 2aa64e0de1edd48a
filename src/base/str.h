#pragma once
/* base/str.h - borrowed bytes with a length. Not NUL-terminated unless the function that gave it says so.
 * Layer: base. Pure. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *ptr; /* may be NULL when len is 0 */
    size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).len, ((s).ptr == NULL ? "" : (s).ptr)

static inline struct str str_from(const char *s)
{
    return (struct str){s, s == NULL ? 0 : strlen(s)};
}
static inline struct str str_slice(struct str s, size_t from, size_t to)
{
    return (struct str){from == 0 ? s.ptr : s.ptr + from, to - from}; /* C17 adds not even 0 to NULL */
}
static inline bool str_is_empty(struct str s)
{
    return s.len == 0;
}
bool str_eq(struct str a, struct str b);
bool str_eq_c(struct str a, const char *b);
int str_cmp(struct str a, struct str b); /* bytewise; a prefix comes first */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Index of byte c, or s.len. */
size_t str_find(struct str s, char c);
size_t str_rfind(struct str s, char c);
/* Cut the part before `sep` off *rest (all of it when there is no sep). False when *rest was already used up. */
bool str_next(struct str *rest, char sep, struct str *ret_part);
struct str str_trim(struct str s); /* ASCII white space off both ends */
/* Decimal digits only, no sign, no spaces, within [0, max]. */
bool str_parse_u64(struct str s, uint64_t max, uint64_t *ret_value);
bool str_parse_i64(struct str s, int64_t *ret_value);
/* Copy with a NUL; false (and an empty string) when it does not fit or holds a NUL. */
bool str_copy_to(struct str s, char *dst, size_t size);
