#include "crypto/host_name.h"

/* 63 (RFC 1035, 2.3.4). */
#define LABEL_LEN_MAX 63

static enum err wrong(struct str name, const char *why, struct errinfo *err)
{
    size_t shown = name.len > HOST_NAME_LEN_MAX ? HOST_NAME_LEN_MAX : name.len;
    return err_set(err, ERR_INVALID, "host name '%.*s' %s", (int)shown, name.ptr == NULL ? "" : name.ptr, why);
}

static const char *label_fault(struct str label)
{
    if (label.len == 0)
        return "has an empty label";
    if (label.len > LABEL_LEN_MAX)
        return "has a label of more than 63 characters";
    if (label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return "has a label with a hyphen at its end";
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return "has other characters than a-z, 0-9 and hyphen";
    }
    return NULL;
}

static bool only_digits(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return true;
}

enum err host_name_check(struct str name, bool allow_wildcard, struct errinfo *err)
{
    if (name.len == 0)
        return err_set(err, ERR_INVALID, "host name is empty");
    if (name.len > HOST_NAME_LEN_MAX)
        return wrong(name, "has more than 253 characters", err);
    struct str rest = name, label = {NULL, 0};
    bool wildcard = str_starts(name, STR("*."));
    if (wildcard && !allow_wildcard)
        return wrong(name, "is a wildcard, which is not allowed here", err);
    if (wildcard)
        rest = str_slice(name, 2, name.len);
    int labels_n = 0;
    while (str_next(&rest, '.', &label)) {
        const char *why = label_fault(label);
        if (why != NULL)
            return wrong(name, why, err);
        labels_n++;
    }
    if (wildcard && labels_n < 2)
        return wrong(name, "is a wildcard right below a top-level domain", err);
    if (only_digits(label))
        return wrong(name, "ends with a number", err);
    return OK;
}

bool host_name_matches(struct str pattern, struct str name)
{
    if (!str_starts(pattern, STR("*.")))
        return str_eq(pattern, name);
    size_t dot = str_find(name, '.');
    return dot > 0 && dot < name.len && str_eq(str_slice(pattern, 1, pattern.len), str_slice(name, dot, name.len));
}
