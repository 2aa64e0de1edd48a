#include "event/fields.h"

#include <assert.h>

#include "base/json.h"
#include "base/own.h"
#include "event/fields_read.h"

struct decoder {
    struct arena *arena;
    char path[128];
    struct errinfo *err;
};

static enum err decode_table(struct decoder *d, const struct field_table *t, const json_t *doc, char *value);

static enum err wrong(struct decoder *d, const char *what)
{
    return err_set(d->err, ERR_INVALID, "field '%s' must be %s", d->path, what);
}

static enum err decode_text(struct decoder *d, const json_t *v, struct str *ret)
{
    if (!json_is_string(v))
        return wrong(d, "a string");
    *ret = arena_str(d->arena, (struct str){json_string_value(v), json_string_length(v)});
    return OK;
}

static enum err decode_id(struct decoder *d, const json_t *v, struct id *ret)
{
    if (!json_is_string(v) || !id_parse((struct str){json_string_value(v), json_string_length(v)}, ret))
        return wrong(d, "an id (UUID)");
    return OK;
}

static enum err decode_list(struct decoder *d, const struct field *f, const json_t *v, void *member)
{
    if (!json_is_array(v))
        return wrong(d, "a list");
    size_t n = json_array_size(v), at = strlen(d->path);
    if (n > FIELDS_LIST_MAX)
        return wrong(d, "a list of at most 10000");
    size_t size = f->type == FIELD_STRS  ? sizeof(struct str)
                  : f->type == FIELD_IDS ? sizeof(struct id)
                                         : f->table->size;
    char *items = arena_alloc(d->arena, n * size);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(v, i);
        (void)snprintf(d->path + at, sizeof(d->path) - at, "[%zu]", i);
        void *to = items + i * size;
        enum err rc = f->type == FIELD_STRS  ? decode_text(d, item, to)
                      : f->type == FIELD_IDS ? decode_id(d, item, to)
                                             : decode_table(d, f->table, item, to);
        if (rc != OK)
            return rc;
    }
    d->path[at] = '\0';
    struct objects list = {items, n}; /* strs, ids and objects have this one shape */
    memcpy(member, &list, sizeof(list));
    return OK;
}

static enum err decode_member(struct decoder *d, const struct field *f, const json_t *v, void *member)
{
    switch (f->type) {
    case FIELD_STR: return decode_text(d, v, member);
    case FIELD_ID: return decode_id(d, v, member);
    case FIELD_I64:
        if (!json_is_integer(v))
            return wrong(d, "an integer");
        *(int64_t *)member = json_integer_value(v);
        return OK;
    case FIELD_BOOL:
        if (!json_is_boolean(v))
            return wrong(d, "true or false");
        *(bool *)member = json_is_true(v);
        return OK;
    case FIELD_TIME:
        if (!json_is_string(v) || !event_time_parse((struct str){json_string_value(v), json_string_length(v)}, member))
            return wrong(d, "an event time like '2026-11-22T12:00:00.000001Z#0'");
        return OK;
    case FIELD_JSON: {
        auto_free char *text = json_format(v);
        *(struct str *)member = arena_str(d->arena, str_from(text));
        return OK;
    }
    case FIELD_STRS:
    case FIELD_IDS:
    case FIELD_OBJECTS: return decode_list(d, f, v, member);
    case FIELD_OBJECT: return decode_table(d, f->table, v, member);
    }
    assert(0 && "unknown field type");
    return ERR_INVALID;
}

static enum err decode_table(struct decoder *d, const struct field_table *t, const json_t *doc, char *value)
{
    if (!json_is_object(doc))
        return wrong(d, "an object");
    memset(value, 0, t->size);
    size_t at = strlen(d->path);
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        (void)snprintf(d->path + at, sizeof(d->path) - at, at == 0 ? "%s" : ".%s", f->name);
        const json_t *v = json_object_get(doc, f->name);
        if (v == NULL || json_is_null(v)) {
            if (f->required)
                return err_set(d->err, ERR_INVALID, "field '%s' is missing", d->path);
            continue;
        }
        enum err rc = decode_member(d, f, v, value + f->offset);
        if (rc != OK)
            return rc;
    }
    d->path[at] = '\0';
    return OK;
}

enum err fields_decode(const struct field_table *t, const json_t *doc, struct arena *a, void *ret_struct,
                       struct errinfo *err)
{
    struct decoder d = {.arena = a, .err = err};
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "'%s' must be a JSON object", t->name);
    return decode_table(&d, t, doc, ret_struct);
}

enum err fields_parse(const struct field_table *t, struct str text, struct arena *a, void *ret_struct,
                      struct errinfo *err)
{
    return fields_read(t, text, a, ret_struct) ? OK : fields_parse_tree(t, text, a, ret_struct, err);
}

enum err fields_parse_tree(const struct field_table *t, struct str text, struct arena *a, void *ret_struct,
                           struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    enum err rc = json_parse(text, &doc, err);
    if (rc != OK)
        return rc;
    return fields_decode(t, doc, a, ret_struct, err);
}

static bool is_empty(const struct field *f, const void *member)
{
    switch (f->type) {
    case FIELD_STR:
    case FIELD_JSON: return ((const struct str *)member)->len == 0;
    case FIELD_ID: return id_is_none(*(const struct id *)member);
    case FIELD_I64: return *(const int64_t *)member == 0;
    case FIELD_BOOL: return !*(const bool *)member;
    case FIELD_TIME: {
        const struct event_time *t = member;
        return t->instant_ns == 0 && t->tiebreak == 0;
    }
    case FIELD_STRS:
    case FIELD_IDS:
    case FIELD_OBJECTS: return ((const struct objects *)member)->n == 0;
    case FIELD_OBJECT:
        for (size_t i = 0; i < f->table->fields_n; i++)
            if (!is_empty(&f->table->fields[i], (const char *)member + f->table->fields[i].offset))
                return false;
        return true;
    }
    return false;
}

static void encode_id(struct id id, struct buf *out)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    buf_addf(out, "\"%s\"", text);
}

static void encode_member(const struct field *f, const void *member, struct buf *out)
{
    switch (f->type) {
    case FIELD_STR: buf_add_json_string(out, *(const struct str *)member); return;
    case FIELD_ID: encode_id(*(const struct id *)member, out); return;
    case FIELD_I64: buf_addf(out, "%lld", (long long)*(const int64_t *)member); return;
    case FIELD_BOOL: buf_add_c(out, *(const bool *)member ? "true" : "false"); return;
    case FIELD_TIME: {
        char text[EVENT_TIME_TEXT_SIZE];
        event_time_format(*(const struct event_time *)member, text);
        buf_addf(out, "\"%s\"", text);
        return;
    }
    case FIELD_JSON: {
        struct str text = *(const struct str *)member;
        buf_add_str(out, text.len == 0 ? STR("null") : text);
        return;
    }
    case FIELD_OBJECT: fields_encode(f->table, member, out); return;
    case FIELD_STRS:
    case FIELD_IDS:
    case FIELD_OBJECTS: {
        const struct objects *list = member;
        buf_add_char(out, '[');
        for (size_t i = 0; i < list->n; i++) {
            if (i > 0)
                buf_add_char(out, ',');
            if (f->type == FIELD_STRS)
                buf_add_json_string(out, ((const struct str *)list->items)[i]);
            else if (f->type == FIELD_IDS)
                encode_id(((const struct id *)list->items)[i], out);
            else
                fields_encode(f->table, (const char *)list->items + i * f->table->size, out);
        }
        buf_add_char(out, ']');
        return;
    }
    }
}

void fields_encode(const struct field_table *t, const void *value, struct buf *out)
{
    bool is_first = true;
    buf_add_char(out, '{');
    for (size_t i = 0; i < t->fields_n; i++) {
        const struct field *f = &t->fields[i];
        const void *member = (const char *)value + f->offset;
        if (!f->required && is_empty(f, member))
            continue;
        if (!is_first)
            buf_add_char(out, ',');
        is_first = false;
        buf_addf(out, "\"%s\":", f->name);
        encode_member(f, member, out);
    }
    buf_add_char(out, '}');
}

json_t *fields_to_json(const struct field_table *t, const void *value)
{
    AUTO(buf) struct buf text = {0};
    fields_encode(t, value, &text);
    json_t *doc = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
    assert(doc != NULL);
    return doc;
}
