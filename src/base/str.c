#include "base/str.h"

bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

bool str_eq_c(struct str a, const char *b)
{
    return str_eq(a, str_from(b));
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    if (c != 0)
        return c;
    return a.len == b.len ? 0 : a.len < b.len ? -1 : 1;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.ptr + s.len - suffix.len, suffix.ptr, suffix.len) == 0);
}

size_t str_find(struct str s, char c)
{
    const char *at = s.len == 0 ? NULL : memchr(s.ptr, c, s.len);
    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

size_t str_rfind(struct str s, char c)
{
    const char *at = s.len == 0 ? NULL : memrchr(s.ptr, c, s.len);
    return at == NULL ? s.len : (size_t)(at - s.ptr);
}

bool str_next(struct str *rest, char sep, struct str *ret_part)
{
    if (rest->ptr == NULL)
        return false;
    size_t at = str_find(*rest, sep);
    *ret_part = str_slice(*rest, 0, at);
    *rest = at == rest->len ? (struct str){NULL, 0} : str_slice(*rest, at + 1, rest->len);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool str_parse_u64(struct str s, uint64_t max, uint64_t *ret_value)
{
    if (s.len == 0)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *ret_value = v;
    return true;
}

bool str_parse_i64(struct str s, int64_t *ret_value)
{
    bool is_negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t v = 0;
    if (!str_parse_u64(is_negative ? str_slice(s, 1, s.len) : s, (uint64_t)INT64_MAX + (is_negative ? 1 : 0), &v))
        return false;
    *ret_value = is_negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool str_copy_to(struct str s, char *dst, size_t size)
{
    if (s.len >= size || (s.len > 0 && memchr(s.ptr, '\0', s.len) != NULL)) {
        dst[0] = '\0';
        return false;
    }
    if (s.len > 0)
        memcpy(dst, s.ptr, s.len);
    dst[s.len] = '\0';
    return true;
}
