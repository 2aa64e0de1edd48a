#include "cli/rows.h"

#include <stdio.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/table.h"

json_t *row_shape(const json_t *row, const char *const *keys, size_t keys_n)
{
    json_t *out = json_object();
    for (size_t i = 0; i < keys_n; i++) {
        json_t *v = json_object_get(row, keys[i]);
        json_object_set_new(out, keys[i], v != NULL ? json_incref(v) : json_null());
    }
    return out;
}

enum err agent_call(const struct cli *c, const struct installation_node *n, const char *path, json_t **ret_doc,
                    struct errinfo *err)
{
    char url[96], uri[192];
    home_agent_url(&c->home, n, url);
    (void)snprintf(uri, sizeof(uri), "slipform://%.*s/node/%.*s", STR_ARG(c->home.inst.name), STR_ARG(n->name));
    return client_call(c, &(struct client_call){.url = url, .peer_uri = uri, .path = path, .timeout_ms = 5000}, ret_doc,
                       err);
}

static const char *const PS_KEYS[] = {"instance_id", "deployment_id", "project",  "name",   "node_id", "node", "zone",
                                      "owner",       "desired",       "status",   "health", "ipv6",    "port", "pid",
                                      "runtime",     "accelerated",   "restarts", "cause",  "since"};

/* An instance_resource as a row of `ps`: members of spec and statistics beside the others. */
static json_t *ps_row(const json_t *resource)
{
    auto_json json_t *flat = json_deep_copy(resource);
    const json_t *spec = json_object_get(resource, "spec"), *statistics = json_object_get(resource, "statistics");
    static const char *const FROM_SPEC[] = {"name", "owner", "runtime", "desired", "project", "deployment_id", "zone"};
    for (size_t i = 0; i < sizeof(FROM_SPEC) / sizeof(FROM_SPEC[0]); i++) {
        json_t *v = json_object_get(spec, FROM_SPEC[i]);
        if (v != NULL && json_object_get(flat, FROM_SPEC[i]) == NULL)
            json_object_set(flat, FROM_SPEC[i], v);
    }
    static const char *const FROM_STATISTICS[] = {"pid", "restarts", "runtime"};
    for (size_t i = 0; i < sizeof(FROM_STATISTICS) / sizeof(FROM_STATISTICS[0]); i++) {
        json_t *v = json_object_get(statistics, FROM_STATISTICS[i]);
        if (v != NULL)
            json_object_set(flat, FROM_STATISTICS[i], v);
    }
    if (json_object_get(flat, "restarts") == NULL)
        json_object_set_new(flat, "restarts", json_integer(0));
    json_object_set_new(flat, "accelerated", json_boolean(json_is_true(json_object_get(statistics, "accelerated"))));
    return row_shape(flat, PS_KEYS, sizeof(PS_KEYS) / sizeof(PS_KEYS[0]));
}

static void add_from_agent(const struct cli *c, const struct installation_node *n, bool all_owners, json_t *rows)
{
    auto_json json_t *doc = NULL;
    if (agent_call(c, n, "/v1/instances", &doc, &(struct errinfo){0}) != OK)
        return;
    char node_id[ID_TEXT_SIZE];
    id_format(n->node_id, node_id);
    size_t i = 0;
    json_t *item = NULL;
    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        auto_json json_t *row = ps_row(item);
        if (!all_owners && !str_eq(json_member_str(row, "owner"), STR("bootstrap")))
            continue;
        json_object_set_new(row, "node_id", json_string(node_id));
        json_object_set_new(row, "node", json_from_str(n->name));
        json_object_set_new(row, "zone", json_from_str(n->zone));
        json_array_append(rows, row);
    }
}

json_t *rows_instances(const struct cli *c, bool *ret_partial)
{
    json_t *rows = json_array();
    auto_json json_t *items = NULL;
    struct errinfo err;
    *ret_partial = client_list(c, API_MANAGEMENT, "/v1/instances", &items, &err) != OK;
    for (size_t i = 0; i < c->home.inst.nodes.n; i++)
        add_from_agent(c, home_node(&c->home, i), *ret_partial, rows);
    for (size_t i = 0; i < json_array_size(items); i++)
        json_array_append_new(rows, ps_row(json_array_get(items, i)));
    return rows;
}

int rows_print(const struct cli *c, const json_t *rows, const struct column *columns)
{
    if (c->json) {
        auto_free char *text = json_format(rows);
        (void)puts(text);
    } else {
        table_print(rows, columns);
    }
    return 0;
}
