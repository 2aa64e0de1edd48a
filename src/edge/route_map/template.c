#include "edge/route_map/template.h"

#include <assert.h>

#include "base/json.h"
#include "base/mem.h"

/* The value that a placeholder stands for (borrowed), NULL for anything else. */
static json_t *placeholder_value(const json_t *node, const json_t *values)
{
    struct str text = {json_string_value(node), json_string_length(node)};
    if (text.ptr == NULL || text.len < 3 || text.ptr[0] != '@' || text.ptr[text.len - 1] != '@')
        return NULL;
    char name[64];
    bool fits = str_copy_to(str_slice(text, 1, text.len - 1), name, sizeof(name));
    assert(fits);
    json_t *value = json_object_get(values, name);
    assert(value != NULL && "every placeholder has a value");
    return value;
}

static void fill(json_t *node, const json_t *values)
{
    const char *key;
    json_t *child;
    void *tmp;
    size_t i;
    json_object_foreach_safe(node, tmp, key, child)
    {
        json_t *value = placeholder_value(child, values);
        if (value != NULL)
            json_object_set(node, key, value);
        else
            fill(child, values);
    }
    if (!json_is_array(node))
        return;
    json_array_foreach(node, i, child)
    {
        json_t *value = placeholder_value(child, values);
        if (value != NULL)
            json_array_set(node, i, value);
        else
            fill(child, values);
    }
}

json_t *template_fill(const char *text, json_t *values)
{
    json_t *doc = NULL;
    enum err rc = json_parse(str_from(text), &doc, NULL);
    assert(rc == OK && "templates are our own");
    err_ignore(rc); /* asserted above */
    fill(doc, values);
    json_decref(values);
    return doc;
}
