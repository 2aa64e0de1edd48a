#include "install/health.h"

#include <stdio.h>

#include "base/json.h"
#include "base/own.h"
#include "net/http_client.h"

struct runner health_runner(const struct home *h, const struct installation_node *n, struct runner_texts *t)
{
    (void)snprintf(t->uri, sizeof(t->uri), "slipform://%.*s/node/%.*s", STR_ARG(h->inst.name), STR_ARG(n->name));
    return (struct runner){.agent_url = home_agent_url(h, n, t->url),
                           .peer_uri = t->uri,
                           .ca_file = home_path(h, t->ca, "ca/ca.crt"),
                           .cert_file = home_path(h, t->cert, "operator/client.crt"),
                           .key_file = home_path(h, t->key, "operator/client.key")};
}

enum err health_agents(const struct home *h, struct errinfo *err)
{
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        struct runner_texts t;
        struct runner r = health_runner(h, home_node(h, i), &t);
        enum err rc = runner_is_well(&r, err);
        if (rc != OK)
            return err_wrap(err, rc, "node-agent of '%.*s'", STR_ARG(home_node(h, i)->name));
    }
    return OK;
}

enum err health_programs(const struct home *h, const struct bootstrap_instance *list, size_t n, struct errinfo *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct installation_node *node = home_node_by_name(h, list[i].node);
        if (node == NULL)
            return err_set(err, ERR_INVALID, "no node '%.*s' in the inventory", STR_ARG(list[i].node));
        struct runner_texts t;
        struct runner r = health_runner(h, node, &t);
        AUTO(arena) struct arena a = {0};
        struct instance_resource got;
        enum err rc = runner_get(&r, list[i].instance_id, &a, &got, err);
        if (rc != OK)
            return err_wrap(err, rc, "%.*s on '%.*s'", STR_ARG(list[i].name), STR_ARG(list[i].node));
        if (!str_eq(got.status, STR("running")) || !str_eq(got.health, STR("NOMINAL")))
            return err_set(err, ERR_UNAVAILABLE, "%.*s on '%.*s' is %.*s %.*s%s%.*s", STR_ARG(list[i].name),
                           STR_ARG(list[i].node), STR_ARG(got.status), STR_ARG(got.health),
                           got.cause.len > 0 ? ": " : "", STR_ARG(got.cause));
    }
    return OK;
}

static enum err get(const struct home *h, const struct installation_node *n, const char *path, json_t **ret,
                    struct errinfo *err)
{
    char url[256], base[96], ca[PATH_SIZE], cert[PATH_SIZE], key[PATH_SIZE];
    (void)snprintf(url, sizeof(url), "%s%s", home_operator_local_url(h, n, base), path);
    struct http_call_options o = {.url = url,
                                  .connect_timeout_ms = 2000,
                                  .total_timeout_ms = 5000,
                                  .ca_file = home_path(h, ca, "ca/ca.crt"),
                                  .cert_file = home_path(h, cert, "operator/client.crt"),
                                  .key_file = home_path(h, key, "operator/client.key")};
    AUTO(http_result) struct http_result result = {0};
    enum err rc = http_fetch(&o, NULL, &result);
    if (rc != OK) {
        *err = result.err;
        return rc;
    }
    return json_parse(buf_str(&result.body), ret, err);
}

static enum err node_is_ready(const json_t *items, const struct installation_node *n, struct errinfo *err)
{
    size_t i = 0;
    json_t *item = NULL;
    json_array_foreach(items, i, item)
    {
        if (!str_eq(json_member_str(item, "name"), n->name))
            continue;
        struct str status = json_member_str(item, "status"), cause = json_member_str(item, "cause");
        bool can_run = home_is_operator(n) || json_array_size(json_object_get(item, "runtimes")) > 0;
        if (str_eq(status, STR("ready")) && can_run)
            return OK;
        return err_set(err, ERR_UNAVAILABLE, "node '%.*s' is %.*s%s%.*s", STR_ARG(n->name), STR_ARG(status),
                       cause.len > 0 ? ": " : "", STR_ARG(cause));
    }
    return err_set(err, ERR_UNAVAILABLE, "node '%.*s' has not joined", STR_ARG(n->name));
}

enum err health_control(const struct home *h, struct errinfo *err)
{
    auto_json json_t *nodes = NULL;
    enum err rc = OK;
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        auto_json json_t *ready = NULL;
        if (!home_is_operator(n))
            continue;
        rc = get(h, n, "/readyz", &ready, err);
        if (rc == OK && nodes == NULL)
            rc = get(h, n, "/v1/nodes", &nodes, err);
        if (rc != OK)
            return err_wrap(err, rc, "management-api of '%.*s'", STR_ARG(n->name));
    }
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        rc = node_is_ready(json_object_get(nodes, "items"), home_node(h, i), err);
        if (rc != OK)
            return rc;
    }
    return OK;
}
