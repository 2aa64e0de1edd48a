/* The plain form is what fields_encode writes, in any order of members: no white space, ASCII without escapes, every
 * member named by the table, once. Everything else is left to the tree (false), so this file decides nothing that
 * jansson would decide otherwise; it must only never say true where the tree says no, or something else. */
#include "event/fields_read.h"

#include "base/json.h"
#include "event/text.h"

/* 18 digits always fit into an int64_t; longer ones are jansson's to judge. */
#define PLAIN_DIGITS_MAX 18
/* One bit for each field of a table that was met. */
#define PLAIN_FIELDS_MAX 64u
/* 8: lists of a document are short; a longer one is copied a few times (chosen). */
#define LIST_ROOM_FIRST 8u

struct reader {
    const char *at, *end;
    struct arena *arena;
    int depth;
};

static bool read_table(struct reader *r, const struct field_table *t, char *value);

static bool take(struct reader *r, char c)
{
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool take_word(struct reader *r, const char *word, size_t len)
{
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return false;
    r->at += len;
    return true;
}

static bool take_string(struct reader *r, struct str *ret)
{
    if (!take(r, '"'))
        return false;
    const char *from = r->at;
    r->at += text_plain_span(from, (size_t)(r->end - from));
    *ret = (struct str){from, (size_t)(r->at - from)};
    return take(r, '"');
}

/* No leading zero, no "-0" (jansson writes it as 0). What follows is looked at by the caller: a comma or a bracket. */
static bool take_integer(struct reader *r, int64_t *ret)
{
    bool is_negative = take(r, '-');
    const char *from = r->at;
    int64_t v = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && r->at - from < PLAIN_DIGITS_MAX)
        v = v * 10 + (*r->at++ - '0');
    size_t n = (size_t)(r->at - from);
    if (n == 0 || (*from == '0' && (n > 1 || is_negative)))
        return false;
    *ret = is_negative ? -v : v;
    return true;
}

static bool skip_canonical(struct reader *r);

/* Keys rise strictly, so none stands twice and sorting them would change nothing. */
static bool skip_canonical_object(struct reader *r)
{
    struct str last = {NULL, 0}, key;
    if (take(r, '}'))
        return true;
    do {
        if (!take_string(r, &key) || !take(r, ':') || (last.ptr != NULL && str_cmp(last, key) >= 0) ||
            !skip_canonical(r))
            return false;
        last = key;
    } while (take(r, ','));
    return take(r, '}');
}

static bool skip_canonical_list(struct reader *r)
{
    if (take(r, ']'))
        return true;
    do
        if (!skip_canonical(r))
            return false;
    while (take(r, ','));
    return take(r, ']');
}

/* A value whose text is the one that json_format would make of it. */
static bool skip_canonical(struct reader *r)
{
    struct str text;
    int64_t number;
    if (r->at == r->end)
        return false;
    switch (*r->at) {
    case '"': return take_string(r, &text);
    case 't': return take_word(r, "true", 4);
    case 'f': return take_word(r, "false", 5);
    case 'n': return take_word(r, "null", 4);
    case '{':
    case '[': {
        bool is_object = *r->at++ == '{';
        if (++r->depth > JSON_DEPTH_MAX)
            return false;
        bool is_good = is_object ? skip_canonical_object(r) : skip_canonical_list(r);
        r->depth--;
        return is_good;
    }
    default: return take_integer(r, &number);
    }
}

static bool read_json(struct reader *r, struct str *ret)
{
    const char *from = r->at;
    if (!skip_canonical(r))
        return false;
    *ret = arena_str(r->arena, (struct str){from, (size_t)(r->at - from)});
    return true;
}

static bool read_text(struct reader *r, struct str *ret)
{
    struct str text;
    if (!take_string(r, &text))
        return false;
    *ret = arena_str(r->arena, text);
    return true;
}

static bool read_id(struct reader *r, struct id *ret)
{
    struct str text;
    return take_string(r, &text) && id_parse(text, ret);
}

static size_t item_size(const struct field *f)
{
    return f->type == FIELD_STRS ? sizeof(struct str) : f->type == FIELD_IDS ? sizeof(struct id) : f->table->size;
}

static bool read_item(struct reader *r, const struct field *f, void *item)
{
    if (f->type == FIELD_STRS)
        return read_text(r, item);
    return f->type == FIELD_IDS ? read_id(r, item) : read_table(r, f->table, item);
}

static bool read_list(struct reader *r, const struct field *f, void *member)
{
    size_t size = item_size(f), room = LIST_ROOM_FIRST, n = 0;
    if (!take(r, '[') || ++r->depth > JSON_DEPTH_MAX)
        return false;
    bool is_empty = take(r, ']');
    char *items = arena_alloc(r->arena, is_empty ? 0 : room * size);
    if (!is_empty) {
        do {
            if (n == FIELDS_LIST_MAX)
                return false;
            if (n == room) {
                char *more = arena_alloc(r->arena, 2 * room * size);
                memcpy(more, items, room * size);
                items = more;
                room *= 2;
            }
            if (!read_item(r, f, items + n++ * size))
                return false;
        } while (take(r, ','));
        if (!take(r, ']'))
            return false;
    }
    r->depth--;
    struct objects list = {items, n}; /* strs, ids and objects have this one shape */
    memcpy(member, &list, sizeof(list));
    return true;
}

static bool read_member(struct reader *r, const struct field *f, void *member)
{
    struct str text;
    switch (f->type) {
    case FIELD_STR: return read_text(r, member);
    case FIELD_ID: return read_id(r, member);
    case FIELD_I64: return take_integer(r, member);
    case FIELD_BOOL:
        *(bool *)member = r->at < r->end && *r->at == 't';
        return *(bool *)member ? take_word(r, "true", 4) : take_word(r, "false", 5);
    case FIELD_TIME: return take_string(r, &text) && event_time_parse(text, member);
    case FIELD_JSON: return read_json(r, member);
    case FIELD_STRS:
    case FIELD_IDS:
    case FIELD_OBJECTS: return read_list(r, f, member);
    case FIELD_OBJECT: return read_table(r, f->table, member);
    }
    return false;
}

/* Members mostly come in the order of the table, so the search goes on behind the last one. */
static size_t find_field(const struct field_table *t, struct str key, size_t from)
{
    for (size_t k = 0, i = from; k < t->fields_n; k++, i++) {
        i = i >= t->fields_n ? 0 : i;
        if (t->fields[i].name_len == key.len && memcmp(t->fields[i].name, key.ptr, key.len) == 0)
            return i;
    }
    return t->fields_n;
}

static bool read_members(struct reader *r, const struct field_table *t, char *value, uint64_t *seen)
{
    size_t next = 0;
    do {
        struct str key;
        if (!take_string(r, &key) || !take(r, ':'))
            return false;
        size_t i = find_field(t, key, next);
        if (i == t->fields_n || (*seen >> i & 1) != 0)
            return false;
        *seen |= UINT64_C(1) << i;
        next = i + 1;
        if (r->at < r->end && *r->at == 'n') { /* null is as good as absent */
            if (t->fields[i].required || !take_word(r, "null", 4))
                return false;
        } else if (!read_member(r, &t->fields[i], value + t->fields[i].offset)) {
            return false;
        }
    } while (take(r, ','));
    return take(r, '}');
}

static bool read_table(struct reader *r, const struct field_table *t, char *value)
{
    uint64_t seen = 0;
    if (t->fields_n > PLAIN_FIELDS_MAX || !take(r, '{') || ++r->depth > JSON_DEPTH_MAX)
        return false;
    memset(value, 0, t->size);
    if (!take(r, '}') && !read_members(r, t, value, &seen))
        return false;
    for (size_t i = 0; i < t->fields_n; i++)
        if (t->fields[i].required && (seen >> i & 1) == 0)
            return false;
    r->depth--;
    return true;
}

bool fields_read(const struct field_table *t, struct str text, struct arena *a, void *ret_struct)
{
    if (text.len == 0)
        return false;
    struct reader r = {.at = text.ptr, .end = text.ptr + text.len, .arena = a};
    return read_table(&r, t, ret_struct) && r.at == r.end;
}
