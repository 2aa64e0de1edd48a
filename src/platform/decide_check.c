#include "platform/decide_check.h"

#include "base/json.h"

/* NULL: not UTF-8. */
static json_t *json_from_valid(struct str text)
{
    return json_stringn(text.len == 0 ? "" : text.ptr, text.len);
}

enum err check_text(const char *field, struct str text, size_t max, bool lines, struct errinfo *err)
{
    if (text.len > max)
        return err_set(err, ERR_LIMIT, "'%s' is %zu bytes long: at most %zu", field, text.len, max);
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t' || c == '\r'))) || c == 0x7f)
            return err_set(err, ERR_INVALID, "'%s' has a control character at byte %zu", field, i);
    }
    auto_json json_t *utf8 = json_from_valid(text);
    if (utf8 == NULL)
        return err_set(err, ERR_INVALID, "'%s' is not UTF-8", field);
    return OK;
}

enum err check_name(const char *field, struct str text, struct errinfo *err)
{
    if (str_is_empty(str_trim(text)))
        return err_set(err, ERR_INVALID, "'%s' is empty", field);
    return check_text(field, text, DECIDE_NAME_MAX, false, err);
}
