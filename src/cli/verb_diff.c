/* slipform diff T1 T2: what became of nodes, projects, deployments, instances and images between two instants. */
#include <stdio.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/past.h"
#include "cli/rows.h"
#include "cli/table.h"
#include "cli/verbs.h"

/* Members that follow from others or from the clock say nothing new. */
static bool is_told(const char *key)
{
    static const char *const QUIET[] = {"id", "label", "since", "because", "instances"};
    for (size_t i = 0; i < sizeof(QUIET) / sizeof(QUIET[0]); i++)
        if (strcmp(key, QUIET[i]) == 0)
            return false;
    return true;
}

static json_t *change_new(enum past_kind kind, const json_t *row, const char *change)
{
    json_t *x = json_object();
    json_object_set_new(x, "kind", json_string(past_kind_name(kind)));
    json_object_set(x, "id", json_object_get(row, "id"));
    json_object_set(x, "name", json_object_get(row, "label"));
    json_object_set_new(x, "change", json_string(change));
    return x;
}

static void add_text(struct buf *out, const char *key, const json_t *from, const json_t *to)
{
    auto_json json_t *two = json_pack("{s:O?, s:O?}", "from", from, "to", to);
    auto_free char *before = table_cell(two, "from"), *after = table_cell(two, "to");
    buf_addf(out, "%s%s ", out->len > 0 ? ", " : "", key);
    if (before[0] != '\0')
        buf_addf(out, "%s -> ", before);
    buf_addf(out, "%s", after[0] != '\0' ? after : "-");
}

/* Members that differ, `before` and `after` them; NULL when none does. */
static json_t *changed(enum past_kind kind, json_t *from, json_t *to)
{
    AUTO(buf) struct buf text = {0};
    auto_json json_t *before = json_object(), *after = json_object();
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(to, key, value)
    {
        json_t *was = json_object_get(from, key);
        if (!is_told(key) || json_equal(was, value))
            continue;
        json_object_set(before, key, was);
        json_object_set(after, key, value);
        add_text(&text, key, was, value);
    }
    if (text.len == 0)
        return NULL;
    json_t *x = change_new(kind, to, "changed");
    json_object_set(x, "before", before);
    json_object_set(x, "after", after);
    json_object_set_new(x, "what", json_from_str(buf_str(&text)));
    return x;
}

static json_t *appeared(enum past_kind kind, const json_t *row, bool is_new)
{
    json_t *x = change_new(kind, row, is_new ? "added" : "removed");
    json_t *status = json_object_get(row, "status");
    json_object_set_new(x, is_new ? "after" : "before", json_deep_copy(row));
    if (status != NULL)
        json_object_set(x, "what", status);
    return x;
}

/* Both lists are in id order. */
static void compare(enum past_kind kind, const json_t *from, const json_t *to, json_t *changes)
{
    size_t f = 0, t = 0;
    while (f < json_array_size(from) || t < json_array_size(to)) {
        json_t *was = json_array_get(from, f), *is = json_array_get(to, t);
        int order = was == NULL ? 1 : is == NULL ? -1 : str_cmp(json_member_str(was, "id"), json_member_str(is, "id"));
        json_t *x = order == 0 ? changed(kind, was, is) : appeared(kind, order < 0 ? was : is, order > 0);
        if (x != NULL)
            json_array_append_new(changes, x);
        f += order <= 0;
        t += order >= 0;
    }
}

int verb_diff(struct cli *c)
{
    static const struct column COLUMNS[] = {{"KIND", "kind", COLUMN_TEXT}, {"ID", "id", COLUMN_TEXT},
                                            {"NAME", "name", COLUMN_TEXT}, {"CHANGE", "change", COLUMN_TEXT},
                                            {"WHAT", "what", COLUMN_TEXT}, {0}};
    struct model *models[2] = {NULL, NULL};
    struct errinfo err;
    enum err rc = past_fold(c, c->args[0], &models[0], &err);
    if (rc == OK)
        rc = past_fold(c, c->args[1], &models[1], &err);
    if (rc == OK && models[0]->seq > models[1]->seq)
        rc = err_set(&err, ERR_INVALID, "'%s' is later than '%s': give the earlier one first", c->args[0], c->args[1]);
    auto_json json_t *changes = json_array();
    for (int kind = 0; rc == OK && kind < PAST_KIND_MAX_; kind++) {
        auto_json json_t *from = past_rows(models[0], (enum past_kind)kind),
                         *to = past_rows(models[1], (enum past_kind)kind);
        compare((enum past_kind)kind, from, to, changes);
    }
    for (int i = 0; i < 2; i++)
        model_free(models[i]);
    return rc == OK ? rows_print(c, changes, COLUMNS) : cli_fail(c, &err);
}
