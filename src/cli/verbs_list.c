/* The verbs that show a list: projects, ps, nodes, images. */
#include <stdio.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/past.h"
#include "cli/rows.h"
#include "cli/table.h"
#include "cli/verbs.h"

/* List `path`, each item in the shape of `keys`. */
static int show(struct cli *c, enum api api, const char *path, const char *const *keys, size_t keys_n,
                const struct column *columns)
{
    struct errinfo err;
    auto_json json_t *items = NULL, *rows = json_array();
    if (client_list(c, api, path, &items, &err) != OK)
        return cli_fail(c, &err);
    for (size_t i = 0; i < json_array_size(items); i++)
        json_array_append_new(rows, row_shape(json_array_get(items, i), keys, keys_n));
    return rows_print(c, rows, columns);
}

int verb_projects(struct cli *c)
{
    static const char *const KEYS[] = {"project_id", "name", "slug", "url", "live_deployment_id", "instances_wanted"};
    static const struct column COLUMNS[] = {{"PROJECT", "name", COLUMN_TEXT},
                                            {"URL", "url", COLUMN_TEXT},
                                            {"INSTANCES", "instances_wanted", COLUMN_TEXT},
                                            {"LIVE DEPLOYMENT", "live_deployment_id", COLUMN_TEXT},
                                            {0}};
    return show(c, API_PUBLIC, "/v1/projects", KEYS, sizeof(KEYS) / sizeof(KEYS[0]), COLUMNS);
}

int verb_images(struct cli *c)
{
    static const char *const KEYS[] = {"image_id", "digest", "size_bytes", "status", "cause"};
    static const struct column COLUMNS[] = {{"IMAGE", "image_id", COLUMN_TEXT},  {"STATUS", "status", COLUMN_TEXT},
                                            {"SIZE", "size_bytes", COLUMN_SIZE}, {"DIGEST", "digest", COLUMN_TEXT},
                                            {"CAUSE", "cause", COLUMN_TEXT},     {0}};
    return show(c, API_MANAGEMENT, "/v1/images", KEYS, sizeof(KEYS) / sizeof(KEYS[0]), COLUMNS);
}

static void show_preflight(const json_t *rows)
{
    size_t i = 0;
    json_t *node = NULL;
    json_array_foreach(rows, i, node)
    {
        size_t k = 0;
        json_t *check = NULL;
        json_array_foreach(json_object_get(node, "preflight"), k, check)
        {
            if (json_is_true(json_object_get(check, "ok")))
                continue;
            (void)printf("%.*s: %.*s: %.*s%s%.*s\n", STR_ARG(json_member_str(node, "name")),
                         STR_ARG(json_member_str(check, "check")), STR_ARG(json_member_str(check, "detail")),
                         json_member_str(check, "hint").len > 0 ? "; " : "", STR_ARG(json_member_str(check, "hint")));
        }
    }
}

/* Its id from its name, or the id itself. Empty: there is none. */
static struct str node_id(const json_t *items, const char *node)
{
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *row = json_array_get(items, i);
        if (str_eq_c(json_member_str(row, "name"), node) || str_eq_c(json_member_str(row, "node_id"), node))
            return json_member_str(row, "node_id");
    }
    return (struct str){0};
}

/* drain, undrain, leave. */
static int node_verb(struct cli *c, const char *verb, const char *node)
{
    static const struct {
        const char *verb, *method, *below;
    } VERBS[] = {{"drain", "POST", "/drain"}, {"undrain", "DELETE", "/drain"}, {"leave", "DELETE", ""}};
    struct errinfo err;
    auto_json json_t *items = NULL, *doc = NULL;
    size_t v = 0;
    while (v < 3 && strcmp(VERBS[v].verb, verb) != 0)
        v++;
    if (v == 3 || node == NULL)
        return cli_failf(c, ERR_INVALID,
                         "'nodes %s': say 'nodes drain NODE', 'nodes undrain NODE' or 'nodes leave NODE'", verb);
    if (client_list(c, API_MANAGEMENT, "/v1/nodes", &items, &err) != OK)
        return cli_fail(c, &err);
    struct str id = node_id(items, node);
    if (id.len == 0)
        return cli_failf(c, ERR_NOT_FOUND, "there is no node '%s': 'slipform nodes' lists them", node);
    char path[128];
    (void)snprintf(path, sizeof(path), "/v1/nodes/%.*s%s", STR_ARG(id), VERBS[v].below);
    if (client_call(c, &(struct client_call){.api = API_MANAGEMENT, .method = VERBS[v].method, .path = path}, &doc,
                    &err) != OK)
        return cli_fail(c, &err);
    auto_free char *status = table_cell(doc, "status"), *text = json_format(doc);
    if (c->json)
        (void)puts(text);
    else
        (void)printf("node '%s' is %s; 'slipform status %.*s' says how far it is\n", node, status, STR_ARG(id));
    return 0;
}

int verb_nodes(struct cli *c)
{
    if (c->args_n > 0)
        return node_verb(c, c->args[0], c->args_n > 1 ? c->args[1] : NULL);
    static const char *const KEYS[] = {"node_id",  "name", "zone",     "region",    "status",   "cause",
                                       "capacity", "used", "runtimes", "preflight", "last_seen"};
    static const struct column COLUMNS[] = {{"NODE", "name", COLUMN_TEXT},
                                            {"ZONE", "zone", COLUMN_TEXT},
                                            {"STATUS", "status", COLUMN_TEXT},
                                            {"VCPUS", "capacity.vcpus", COLUMN_TEXT},
                                            {"MEMORY", "capacity.memory_bytes", COLUMN_SIZE},
                                            {"USED", "used.memory_bytes", COLUMN_SIZE},
                                            {"RUNTIMES", "runtimes", COLUMN_TEXT},
                                            {"SEEN", "last_seen", COLUMN_AGE},
                                            {"CAUSE", "cause", COLUMN_TEXT},
                                            {0}};
    struct errinfo err;
    auto_json json_t *items = NULL, *rows = json_array();
    if (client_list(c, API_MANAGEMENT, "/v1/nodes", &items, &err) != OK)
        return cli_fail(c, &err);
    for (size_t i = 0; i < json_array_size(items); i++)
        json_array_append_new(rows, row_shape(json_array_get(items, i), KEYS, sizeof(KEYS) / sizeof(KEYS[0])));
    int rc = rows_print(c, rows, COLUMNS);
    if (!c->json)
        show_preflight(rows);
    return rc;
}

const struct flag PS_FLAGS[] = {
    {"at", FLAG_TEXT, "T", "as it was at this instant (RFC 3339) or position of the log"},
    {0},
};

static json_t *rows_at(const struct cli *c, const char *at, struct errinfo *err)
{
    struct model *m = NULL;
    if (past_fold(c, at, &m, err) != OK)
        return NULL;
    json_t *rows = past_rows(m, PAST_INSTANCES);
    model_free(m);
    return rows;
}

int verb_ps(struct cli *c)
{
    static const struct column COLUMNS[] = {{"INSTANCE", "instance_id", COLUMN_TEXT}, {"OF", "name", COLUMN_TEXT},
                                            {"OWNER", "owner", COLUMN_TEXT},          {"NODE", "node", COLUMN_TEXT},
                                            {"RUNTIME", "runtime", COLUMN_TEXT},      {"STATUS", "status", COLUMN_TEXT},
                                            {"HEALTH", "health", COLUMN_TEXT},        {"ADDRESS", "ipv6", COLUMN_TEXT},
                                            {"RESTARTS", "restarts", COLUMN_TEXT},    {"SINCE", "since", COLUMN_AGE},
                                            {"CAUSE", "cause", COLUMN_TEXT},          {0}};
    bool is_partial = false;
    struct errinfo err;
    const char *at = cli_text(c, "at");
    auto_json json_t *rows = at != NULL ? rows_at(c, at, &err) : rows_instances(c, &is_partial);
    if (rows == NULL)
        return cli_fail(c, &err);
    if (is_partial && json_array_size(rows) == 0)
        return cli_failf(c, ERR_UNAVAILABLE,
                         "neither the control plane nor a node-agent of '%s' answers: 'slipform up' "
                         "raises them",
                         c->home.path);
    if (is_partial)
        cli_say(c, "slipform: the control plane does not answer; this is what the node-agents say");
    return rows_print(c, rows, COLUMNS);
}
