#include "crypto/identity.h"

#include <assert.h>
#include <stdio.h>

static const struct str SCHEME = {"slipform://", 11};

static bool part_is_valid(struct str part, size_t size)
{
    if (part.len == 0 || part.len >= size)
        return false;
    for (size_t i = 0; i < part.len; i++) {
        char c = part.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
            return false;
    }
    /* "." and ".." would be eaten by anything that treats the name as a path. */
    return !str_eq(part, STR(".")) && !str_eq(part, STR(".."));
}

static enum err part_take(struct str part, const char *what, char *dst, size_t size, struct errinfo *err)
{
    if (!part_is_valid(part, size) || !str_copy_to(part, dst, size))
        return err_set(err, ERR_INVALID, "%s '%.*s' is not 1 to %zu of a-z 0-9 . _ -", what,
                       (int)(part.len > 80 ? 80 : part.len), part.ptr == NULL ? "" : part.ptr, size - 1);
    return OK;
}

static enum err parts_take(const struct str parts[3], struct identity *ret, struct errinfo *err)
{
    struct identity i = {0};
    enum err rc = part_take(parts[0], "installation", i.installation, sizeof(i.installation), err);
    if (rc == OK)
        rc = part_take(parts[1], "role", i.role, sizeof(i.role), err);
    if (rc == OK)
        rc = part_take(parts[2], "id", i.id, sizeof(i.id), err);
    if (rc == OK)
        *ret = i;
    return rc;
}

/* "slipform://a/b/c" into its three parts, whatever they hold. */
static bool split(struct str uri, struct str ret_parts[3])
{
    if (!str_starts(uri, SCHEME))
        return false;
    struct str rest = str_slice(uri, SCHEME.len, uri.len), extra;
    for (int i = 0; i < 3; i++)
        if (!str_next(&rest, '/', &ret_parts[i]))
            return false;
    return !str_next(&rest, '/', &extra);
}

enum err identity_parse(struct str uri, struct identity *ret_identity, struct errinfo *err)
{
    struct str parts[3];
    if (!split(uri, parts))
        return err_set(err, ERR_INVALID, "'%.*s' is not slipform://installation/role/id",
                       (int)(uri.len > 200 ? 200 : uri.len), uri.ptr == NULL ? "" : uri.ptr);
    return parts_take(parts, ret_identity, err);
}

enum err identity_make(const char *installation, const char *role, const char *id, struct identity *ret_identity,
                       struct errinfo *err)
{
    const struct str parts[3] = {str_from(installation), str_from(role), str_from(id)};
    return parts_take(parts, ret_identity, err);
}

void identity_format(const struct identity *i, char ret_uri[static IDENTITY_URI_SIZE])
{
    static_assert(11 + 2 * (IDENTITY_PART_SIZE - 1) + (IDENTITY_ROLE_SIZE - 1) + 2 + 1 <= IDENTITY_URI_SIZE, "fits");
    (void)snprintf(ret_uri, IDENTITY_URI_SIZE, "slipform://%s/%s/%s", i->installation, i->role, i->id);
}

static bool pattern_split(const char *pattern, struct str parts[3])
{
    if (pattern == NULL || !split(str_from(pattern), parts))
        return false;
    bool any_role = str_eq(parts[1], STR("*")), any_id = str_eq(parts[2], STR("*"));
    return part_is_valid(parts[0], IDENTITY_PART_SIZE) && (any_role || part_is_valid(parts[1], IDENTITY_ROLE_SIZE)) &&
           (any_id || (part_is_valid(parts[2], IDENTITY_PART_SIZE) && !any_role));
}

bool identity_matches(const struct identity *i, const char *pattern)
{
    struct str parts[3];
    if (!pattern_split(pattern, parts))
        return false;
    return str_eq_c(parts[0], i->installation) && (str_eq(parts[1], STR("*")) || str_eq_c(parts[1], i->role)) &&
           (str_eq(parts[2], STR("*")) || str_eq_c(parts[2], i->id));
}

enum err identity_pattern_check(const char *pattern, struct errinfo *err)
{
    struct str parts[3];
    if (!pattern_split(pattern, parts))
        return err_set(err, ERR_INVALID, "'%s' is not slipform://installation/role/id, with `*` for id or for both",
                       pattern == NULL ? "" : pattern);
    return OK;
}
