#include "base/json.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/own.h"

static bool too_deep(struct str text)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

enum err json_parse(struct str text, json_t **ret_doc, struct errinfo *err)
{
    if (too_deep(text))
        return err_set(err, ERR_INVALID, "JSON is nested deeper than %d", JSON_DEPTH_MAX);
    json_error_t why;
    json_t *doc =
        json_loadb(text.ptr == NULL ? "" : text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (doc == NULL)
        return err_set(err, ERR_INVALID, "line %d column %d: %s", why.line, why.column, why.text);
    *ret_doc = doc;
    return OK;
}

char *json_format(const json_t *doc)
{
    char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    return text == NULL ? mem_strdup("null") : text;
}

void json_add_to(struct buf *b, const json_t *doc, bool newline)
{
    auto_free char *text = json_format(doc);
    buf_add_c(b, text);
    if (newline)
        buf_add_char(b, '\n');
}

struct str json_member_str(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_string(v))
        return (struct str){NULL, 0};
    return (struct str){json_string_value(v), json_string_length(v)};
}

json_t *json_from_str(struct str s)
{
    json_t *v = json_stringn(s.ptr == NULL ? "" : s.ptr, s.len);
    if (v != NULL)
        return v;
    AUTO(buf) struct buf b = {0};
    buf_add_json_string(&b, s);
    return json_loadb(b.ptr, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}
