#include "daemon/settings.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <yaml.h>

#include "base/own.h"
#include "crypto/file.h"

struct loader {
    const struct setting *table;
    size_t n;
    struct arena *arena;
    char *settings;
    bool *is_set;       /* by file or environment */
    const char *folder; /* of the file, for relative paths; NULL: none */
};

/* ---- values ---- */

static void put_text(char *field, const char *text)
{
    memcpy(field, &text, sizeof(text));
}

static enum err set_int(const struct setting *s, const char *text, char *field, struct errinfo *err)
{
    int64_t value = 0, max = s->min == 0 && s->max == 0 ? INT64_MAX : s->max;
    if (!str_parse_i64(str_from(text), &value) || value < s->min || value > max)
        return err_set(err, ERR_INVALID, "'%s' is '%s', not a whole number from %lld to %lld", s->name, text,
                       (long long)s->min, (long long)max);
    memcpy(field, &value, sizeof(value));
    return OK;
}

static bool size_parse(struct str text, uint64_t *ret)
{
    static const struct {
        struct str suffix;
        unsigned shift;
    } UNITS[] = {{{"KiB", 3}, 10}, {{"MiB", 3}, 20}, {{"GiB", 3}, 30}, {{"TiB", 3}, 40}};
    unsigned shift = 0;
    for (size_t i = 0; i < sizeof(UNITS) / sizeof(UNITS[0]); i++)
        if (str_ends(text, UNITS[i].suffix)) {
            shift = UNITS[i].shift;
            text = str_slice(text, 0, text.len - UNITS[i].suffix.len);
            break;
        }
    uint64_t n = 0;
    if (!str_parse_u64(text, (uint64_t)INT64_MAX >> shift, &n))
        return false;
    *ret = n << shift;
    return true;
}

static enum err set_size(const struct setting *s, const char *text, char *field, struct errinfo *err)
{
    uint64_t value = 0;
    uint64_t min = (uint64_t)s->min, max = s->max == 0 ? (uint64_t)INT64_MAX : (uint64_t)s->max;
    if (!size_parse(str_from(text), &value) || value < min || value > max)
        return err_set(err, ERR_INVALID, "'%s' is '%s', not a size like 64KiB, 16MiB, 2GiB from %llu to %llu bytes",
                       s->name, text, (unsigned long long)min, (unsigned long long)max);
    memcpy(field, &value, sizeof(value));
    return OK;
}

static enum err set_bool(const struct setting *s, const char *text, char *field, struct errinfo *err)
{
    bool value = strcmp(text, "true") == 0;
    if (!value && strcmp(text, "false") != 0)
        return err_set(err, ERR_INVALID, "'%s' is '%s', not true or false", s->name, text);
    memcpy(field, &value, sizeof(value));
    return OK;
}

static enum err set_choice(const struct loader *l, const struct setting *s, const char *text, char *field,
                           struct errinfo *err)
{
    struct str rest = str_from(s->choices), choice;
    while (str_next(&rest, '|', &choice))
        if (str_eq_c(choice, text)) {
            put_text(field, arena_strdup(l->arena, text));
            return OK;
        }
    return err_set(err, ERR_INVALID, "'%s' is '%s', not one of %s", s->name, text, s->choices);
}

static const char *path_of(const struct loader *l, const char *text)
{
    if (text[0] == '/' || text[0] == '\0' || l->folder == NULL)
        return arena_strdup(l->arena, text);
    return arena_printf(l->arena, "%s/%s", l->folder, text);
}

static void list_add(const struct loader *l, char *field, struct str item)
{
    struct setting_list list;
    memcpy(&list, field, sizeof(list));
    const char **items = arena_alloc(l->arena, (list.n + 1) * sizeof(*items));
    for (size_t i = 0; i < list.n; i++)
        items[i] = list.items[i];
    items[list.n] = arena_str(l->arena, item).ptr;
    list = (struct setting_list){items, list.n + 1};
    memcpy(field, &list, sizeof(list));
}

static void list_clear(char *field)
{
    memset(field, 0, sizeof(struct setting_list));
}

static void set_list(const struct loader *l, const char *text, char *field)
{
    struct str rest = str_from(text), item;
    list_clear(field);
    while (str_next(&rest, ',', &item))
        if (str_trim(item).len > 0)
            list_add(l, field, str_trim(item));
}

static enum err set_value(const struct loader *l, const struct setting *s, const char *text, struct errinfo *err)
{
    char *field = l->settings + s->offset;
    switch (s->type) {
    case SETTING_TEXT: put_text(field, arena_strdup(l->arena, text)); return OK;
    case SETTING_PATH: put_text(field, path_of(l, text)); return OK;
    case SETTING_INT: return set_int(s, text, field, err);
    case SETTING_BOOL: return set_bool(s, text, field, err);
    case SETTING_SIZE: return set_size(s, text, field, err);
    case SETTING_LIST: set_list(l, text, field); return OK;
    case SETTING_CHOICE: return set_choice(l, s, text, field, err);
    }
    return err_set(err, ERR_INVALID, "'%s' has no type", s->name);
}

/* ---- the file ---- */

struct reader {
    yaml_parser_t parser;
    const char *file;
};

static enum err at_line(const struct reader *r, size_t line, enum err code, struct errinfo *err)
{
    return err_wrap(err, code, "%s:%zu", r->file, line + 1);
}

static enum err next_event(struct reader *r, yaml_event_t *ret, struct errinfo *err)
{
    if (yaml_parser_parse(&r->parser, ret) == 1)
        return OK;
    return err_set(err, ERR_INVALID, "%s:%zu: not YAML: %s", r->file, r->parser.problem_mark.line + 1,
                   r->parser.problem == NULL ? "unreadable" : r->parser.problem);
}

static enum err expect(struct reader *r, yaml_event_type_t type, const char *what, struct errinfo *err)
{
    yaml_event_t event;
    enum err rc = next_event(r, &event, err);
    if (rc != OK)
        return rc;
    if (event.type != type)
        rc = err_set(err, ERR_INVALID, "%s:%zu: expected %s", r->file, event.start_mark.line + 1, what);
    yaml_event_delete(&event);
    return rc;
}

static const struct setting *find_row(const struct loader *l, struct str name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq_c(name, l->table[i].name))
            return &l->table[i];
    return NULL;
}

static struct str scalar_str(const yaml_event_t *event)
{
    return (struct str){(const char *)event->data.scalar.value, event->data.scalar.length};
}

static enum err take_scalar(const struct loader *l, const struct setting *s, const yaml_event_t *event,
                            struct errinfo *err)
{
    struct str text = scalar_str(event);
    if (s->type == SETTING_LIST)
        return err_set(err, ERR_INVALID, "'%s' is a list: one `- value` a line below it", s->name);
    if (str_find(text, '\0') < text.len)
        return err_set(err, ERR_INVALID, "'%s' has a NUL in it", s->name);
    return set_value(l, s, arena_str(l->arena, text).ptr, err);
}

static enum err take_item(const struct loader *l, const struct setting *s, struct str item, struct errinfo *err)
{
    char *field = l->settings + s->offset;
    struct setting_list list;
    memcpy(&list, field, sizeof(list));
    if (str_find(item, '\0') < item.len)
        return err_set(err, ERR_INVALID, "'%s' has a NUL in it", s->name);
    if (list.n == SETTING_LIST_MAX)
        return err_set(err, ERR_INVALID, "'%s' has more than %d values", s->name, SETTING_LIST_MAX);
    list_add(l, field, item);
    return OK;
}

static enum err take_sequence(const struct loader *l, struct reader *r, const struct setting *s, struct errinfo *err)
{
    list_clear(l->settings + s->offset);
    for (;;) {
        yaml_event_t event;
        enum err rc = next_event(r, &event, err);
        if (rc != OK)
            return rc;
        bool is_end = event.type == YAML_SEQUENCE_END_EVENT;
        if (event.type == YAML_SCALAR_EVENT)
            rc = take_item(l, s, scalar_str(&event), err);
        if (rc != OK)
            rc = at_line(r, event.start_mark.line, rc, err);
        else if (event.type != YAML_SCALAR_EVENT && !is_end)
            rc = err_set(err, ERR_INVALID, "%s:%zu: '%s' is a list of plain values", r->file, event.start_mark.line + 1,
                         s->name);
        yaml_event_delete(&event);
        if (rc != OK || is_end)
            return rc;
    }
}

static enum err take_value(const struct loader *l, struct reader *r, const struct setting *s, struct errinfo *err)
{
    yaml_event_t event;
    enum err rc = next_event(r, &event, err);
    if (rc != OK)
        return rc;
    size_t line = event.start_mark.line;
    if (event.type == YAML_SCALAR_EVENT) {
        rc = take_scalar(l, s, &event, err);
        rc = rc == OK ? OK : at_line(r, line, rc, err);
    } else if (event.type == YAML_SEQUENCE_START_EVENT && s->type == SETTING_LIST) {
        rc = take_sequence(l, r, s, err);
    } else {
        rc = err_set(err, ERR_INVALID, "%s:%zu: '%s' is not a plain value", r->file, line + 1, s->name);
    }
    yaml_event_delete(&event);
    return rc;
}

/* One `name: value`; *ret_end at the end of the mapping. */
static enum err take_pair(const struct loader *l, struct reader *r, bool *ret_end, struct errinfo *err)
{
    yaml_event_t event;
    enum err rc = next_event(r, &event, err);
    if (rc != OK)
        return rc;
    *ret_end = event.type == YAML_MAPPING_END_EVENT;
    const struct setting *s = NULL;
    size_t line = event.start_mark.line + 1;
    if (*ret_end) {
        rc = OK;
    } else if (event.type != YAML_SCALAR_EVENT) {
        rc = err_set(err, ERR_INVALID, "%s:%zu: expected the name of a setting", r->file, line);
    } else if ((s = find_row(l, scalar_str(&event))) == NULL) {
        rc = err_set(err, ERR_INVALID, "%s:%zu: there is no setting '%.80s'", r->file, line,
                     (const char *)event.data.scalar.value);
    } else if (l->is_set[s - l->table]) {
        rc = err_set(err, ERR_INVALID, "%s:%zu: '%s' is there twice", r->file, line, s->name);
    }
    yaml_event_delete(&event);
    if (rc != OK || s == NULL)
        return rc;
    l->is_set[s - l->table] = true;
    return take_value(l, r, s, err);
}

static enum err read_mapping(const struct loader *l, struct reader *r, struct errinfo *err)
{
    yaml_event_t event;
    enum err rc = expect(r, YAML_STREAM_START_EVENT, "a YAML stream", err);
    if (rc == OK)
        rc = next_event(r, &event, err);
    if (rc != OK)
        return rc;
    bool is_empty = event.type == YAML_STREAM_END_EVENT;
    yaml_event_delete(&event);
    if (is_empty)
        return OK;
    rc = expect(r, YAML_MAPPING_START_EVENT, "`name: value` lines", err);
    for (bool end = false; rc == OK && !end;)
        rc = take_pair(l, r, &end, err);
    if (rc == OK)
        rc = expect(r, YAML_DOCUMENT_END_EVENT, "the end of the document", err);
    return rc == OK ? expect(r, YAML_STREAM_END_EVENT, "one document only", err) : rc;
}

static enum err read_file(struct loader *l, const char *file, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    enum err rc = crypto_file_read(file, &text, err);
    if (rc != OK)
        return rc;
    struct str path = str_from(file);
    size_t slash = str_rfind(path, '/');
    l->folder = slash == path.len ? "." : slash == 0 ? "/" : arena_str(l->arena, str_slice(path, 0, slash)).ptr;
    struct reader r = {.file = file};
    if (yaml_parser_initialize(&r.parser) != 1)
        return err_set(err, ERR_IO, "start the YAML parser");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.ptr == NULL ? "" : text.ptr), text.len);
    rc = read_mapping(l, &r, err);
    yaml_parser_delete(&r.parser);
    l->folder = NULL; /* the environment's paths are as they are */
    return rc;
}

/* ---- environment, defaults ---- */

static void environment_name(const struct setting *s, char *ret, size_t size)
{
    (void)snprintf(ret, size, "SLIPFORM_%s", s->name);
    for (char *c = ret; *c != '\0'; c++)
        *c = (char)toupper((unsigned char)*c);
}

static const char *environment_get(char *const *environment, const char *name)
{
    size_t n = strlen(name);
    for (; environment != NULL && *environment != NULL; environment++)
        if (strncmp(*environment, name, n) == 0 && (*environment)[n] == '=')
            return *environment + n + 1;
    return NULL;
}

static enum err set_one(const struct loader *l, const struct setting *s, char *const *environment, struct errinfo *err)
{
    char name[96];
    environment_name(s, name, sizeof(name));
    const char *text = environment_get(environment, name);
    if (text != NULL) {
        l->is_set[s - l->table] = true;
        enum err rc = set_value(l, s, text, err);
        return rc == OK ? OK : err_wrap(err, rc, "environment %s", name);
    }
    if (l->is_set[s - l->table])
        return OK;
    if (s->required)
        return err_set(err, ERR_INVALID, "setting '%s' is missing: %s; give it in the --config file or as %s", s->name,
                       s->doc, name);
    if (s->fallback == NULL)
        return OK;
    enum err rc = set_value(l, s, s->fallback, err);
    assert(rc == OK); /* a default of our own table */
    return rc;
}

enum err settings_load(const struct setting *table, size_t n, const char *file, char *const *environment,
                       struct arena *arena, void *ret_settings, size_t settings_size, struct errinfo *err)
{
    memset(ret_settings, 0, settings_size);
    struct loader l = {.table = table, .n = n, .arena = arena, .settings = ret_settings};
    l.is_set = arena_alloc(arena, n + 1);
    enum err rc = file == NULL ? OK : read_file(&l, file, err);
    for (size_t i = 0; rc == OK && i < n; i++)
        rc = set_one(&l, &table[i], environment, err);
    return rc;
}

void settings_help(const struct setting *table, size_t n, struct buf *out)
{
    static const char *const TYPES[] = {"text", "path", "number", "true or false", "size", "list", ""};
    for (size_t i = 0; i < n; i++) {
        const struct setting *s = &table[i];
        char name[96];
        bool has_default = s->fallback != NULL && s->fallback[0] != '\0';
        environment_name(s, name, sizeof(name));
        buf_addf(out, "  %-24s %s\n", s->name, s->doc);
        buf_addf(out, "  %-24s %s%s%s%s; %s\n", "", s->type == SETTING_CHOICE ? s->choices : TYPES[s->type],
                 s->required ? ", required" : "", has_default ? ", default " : "", has_default ? s->fallback : "",
                 name);
    }
}
