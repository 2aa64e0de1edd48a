/* The agent's API: documents in, documents out. Everything that it changes is on disk before it is answered. */
#include <sys/utsname.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "node/agent/private.h"

enum auth { AUTH_ANY, AUTH_CONTROL };
enum { LOG_TAIL_MAX = 64 * 1024 };

static enum err authorize(struct http_request *r, const struct http_route *route, void *ctx, struct errinfo *err)
{
    const struct agent *a = ctx;
    const struct peer *p = http_request_peer(r);
    if (!p->authenticated)
        return err_set(err, ERR_DENIED, "a certificate of this installation is needed");
    if (route->auth == AUTH_ANY || peer_is(p, a->o.installation, "operator", NULL) ||
        peer_is(p, a->o.installation, "control", NULL))
        return OK;
    return err_set(err, ERR_DENIED, "role '%s' of '%s' may not use a node-agent: role operator or control of '%s' may",
                   p->role, p->installation, a->o.installation);
}

static void on_done(const struct http_exchange *x, void *ctx)
{
    const struct agent *a = ctx;
    if (a->o.on_request != NULL)
        a->o.on_request(a->o.ctx, x);
}

static void get_health(struct http_request *r, void *ctx)
{
    (void)ctx;
    http_respond_bytes(r, 200, "application/json", STR("{\"status\":\"ok\"}\n"));
}

static void respond_table(struct http_request *r, int status, const struct field_table *table, const void *value)
{
    AUTO(buf) struct buf body = {0};
    fields_encode(table, value, &body);
    buf_add_char(&body, '\n');
    http_respond_bytes(r, status, "application/json", buf_str(&body));
}

static void respond_instance(struct http_request *r, int status, const struct instance *i)
{
    AUTO(arena) struct arena arena = {0};
    struct instance_resource doc;
    instance_resource_fill(i, &doc, &arena);
    respond_table(r, status, &INSTANCE_RESOURCE_WIRE, &doc);
}

/* NULL: answered with what is wrong. */
static struct instance *named(struct http_request *r, const struct agent *a)
{
    struct id id;
    const char *text = http_request_param(r, "id");
    if (!id_parse(str_from(text), &id)) {
        http_respond_problem(r, 400, ERR_INVALID, "the id in the path is not a UUID");
        return NULL;
    }
    struct instance *i = instance_find(a, id);
    if (i == NULL)
        http_respond_problem(r, 404, ERR_NOT_FOUND, "this node has no such instance");
    return i;
}

static void list_instances(struct http_request *r, void *ctx)
{
    const struct agent *a = ctx;
    AUTO(arena) struct arena arena = {0};
    AUTO(buf) struct buf body = {0};
    buf_add_c(&body, "{\"items\":[");
    for (const struct instance *i = a->instances; i != NULL; i = i->hh.next) {
        struct instance_resource doc;
        instance_resource_fill(i, &doc, &arena);
        buf_add_c(&body, i == a->instances ? "" : ",");
        fields_encode(&INSTANCE_RESOURCE_WIRE, &doc, &body);
    }
    buf_add_c(&body, "]}\n");
    http_respond_bytes(r, 200, "application/json", buf_str(&body));
}

static void post_instance(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    struct arena arena = {0};
    struct instance_spec spec;
    struct errinfo err = {0};
    bool is_new = false;
    enum err rc = fields_parse(&INSTANCE_SPEC_WIRE, http_request_body(r), &arena, &spec, &err);
    struct id id = spec.instance_id;
    if (rc == OK)
        rc = desired_accept(a, &arena, &spec, &is_new, &err);
    arena_done(&arena);
    if (rc != OK) {
        http_respond_error(r, &err);
        return;
    }
    const struct instance *i = instance_find(a, id);
    auto_free char *location = mem_printf("/v1/instances/%s", i->id_text);
    http_respond_header(r, "Location", location);
    respond_instance(r, is_new ? 201 : 200, i);
}

static void get_instance(struct http_request *r, void *ctx)
{
    const struct instance *i = named(r, ctx);
    if (i != NULL)
        respond_instance(r, 200, i);
}

static void get_logs(struct http_request *r, void *ctx)
{
    const struct instance *i = named(r, ctx);
    if (i == NULL)
        return;
    AUTO(buf) struct buf lines = {0};
    if (i->lines != NULL)
        line_log_tail(i->lines, LOG_TAIL_MAX, &lines);
    http_respond_bytes(r, 200, "application/x-ndjson", buf_str(&lines));
}

static void put_state(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    struct instance *i = named(r, a);
    if (i == NULL)
        return;
    struct arena arena = {0};
    struct instance_state state;
    struct errinfo err = {0};
    bool is_new = false;
    enum err rc = fields_parse(&INSTANCE_STATE_WIRE, http_request_body(r), &arena, &state, &err);
    if (rc == OK && state.desired.len == 0)
        rc = err_set(&err, ERR_INVALID, "field 'desired' is required");
    if (rc == OK) {
        AUTO(buf) struct buf text = {0};
        struct instance_spec spec;
        fields_encode(&INSTANCE_SPEC_WIRE, &i->spec, &text); /* a copy whose memory is its own */
        struct str desired = state.desired;
        rc = fields_parse(&INSTANCE_SPEC_WIRE, buf_str(&text), &arena, &spec, &err);
        spec.desired = desired;
        if (rc == OK)
            rc = desired_accept(a, &arena, &spec, &is_new, &err);
    }
    arena_done(&arena);
    if (rc != OK)
        http_respond_error(r, &err);
    else
        respond_instance(r, 200, i);
}

static void delete_instance(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    struct id id;
    if (id_parse(str_from(http_request_param(r, "id")), &id) && converge_is_deleted(a->converge, id)) {
        http_respond_empty(r, 202); /* it is on its way, or gone */
        return;
    }
    const struct instance *i = named(r, a);
    if (i == NULL)
        return;
    agent_give(a, &(struct converge_input){.type = CONVERGE_REMOVE, .id = i->id, .tombstone = true});
    http_respond_empty(r, 202);
}

static void wipe_owner(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    const char *owner = http_request_query(r, "owner");
    if (owner == NULL || (strcmp(owner, "bootstrap") != 0 && !agent_is_installation(a, owner))) {
        http_respond_problem(r, 400, ERR_INVALID, "name the owner to wipe: '?owner=bootstrap' or the installation");
        return;
    }
    log_warn(a->o.log, "all instances of owner '%s' are removed, as asked", owner);
    agent_give(a, &(struct converge_input){.type = CONVERGE_WIPE, .owner = owner});
    http_respond_empty(r, 202);
}

static json_t *node_info(struct agent *a)
{
    AUTO(arena) struct arena arena = {0};
    struct node_report report;
    report_node_fill(a, &report, &arena);
    struct utsname host = {0};
    (void)uname(&host);
    struct str *labels = arena_alloc(&arena, (a->o.labels_n + 1) * sizeof(*labels));
    for (size_t i = 0; i < a->o.labels_n; i++)
        labels[i] = str_from(a->o.labels[i]);
    struct node_join join = {.node_id = a->o.node_id,
                             .name = str_from(a->o.node_name),
                             .zone = str_from(a->o.zone),
                             .region = str_from(a->o.region),
                             .labels = {labels, a->o.labels_n},
                             .prefix = str_from(a->o.prefix),
                             .agent_url = str_from(a->o.agent_url)};
    json_t *doc = fields_to_json(&NODE_JOIN_WIRE, &join);
    report.instances = (struct objects){0};
    auto_json json_t *rest = fields_to_json(&NODE_REPORT_WIRE, &report);
    (void)json_object_update_missing(doc, rest);
    (void)json_object_del(doc, "report_seq");
    (void)json_object_set_new(doc, "installation", json_string(a->o.installation));
    (void)json_object_set_new(doc, "version", json_string(SLIPFORM_VERSION));
    (void)json_object_set_new(doc, "kernel", json_string(host.release));
    (void)json_object_set_new(doc, "machine", json_string(host.machine));
    return doc;
}

static void get_info(struct http_request *r, void *ctx)
{
    auto_json json_t *doc = node_info(ctx);
    http_respond_json(r, 200, doc);
}

static void get_resources(struct http_request *r, void *ctx)
{
    struct agent *a = ctx;
    AUTO(arena) struct arena arena = {0};
    struct node_report report;
    report_node_fill(a, &report, &arena);
    struct node_report shown = {.capacity = report.capacity, .used = report.used, .instances = report.instances};
    auto_json json_t *doc = fields_to_json(&NODE_REPORT_WIRE, &shown);
    static const char *const NOT_HERE[] = {"boot_id", "report_seq", "status"};
    for (size_t i = 0; i < sizeof(NOT_HERE) / sizeof(NOT_HERE[0]); i++)
        (void)json_object_del(doc, NOT_HERE[i]);
    if (json_object_get(doc, "instances") == NULL)
        (void)json_object_set_new(doc, "instances", json_array());
    http_respond_json(r, 200, doc);
}

static const struct http_route ROUTES[] = {
    {.method = "GET", .pattern = "/v1/health", .handler = get_health, .auth = AUTH_ANY, .doc = "It answers"},
    {.method = "GET",
     .pattern = "/v1/instances",
     .handler = list_instances,
     .auth = AUTH_CONTROL,
     .doc = "Instances of this node"},
    {.method = "POST",
     .pattern = "/v1/instances",
     .handler = post_instance,
     .auth = AUTH_CONTROL,
     .doc = "Run an instance; idempotent by its id"},
    {.method = "DELETE",
     .pattern = "/v1/instances",
     .handler = wipe_owner,
     .auth = AUTH_CONTROL,
     .doc = "Wipe one owner: its instances and tombstones"},
    {.method = "GET",
     .pattern = "/v1/instances/{id}",
     .handler = get_instance,
     .auth = AUTH_CONTROL,
     .doc = "One instance"},
    {.method = "DELETE",
     .pattern = "/v1/instances/{id}",
     .handler = delete_instance,
     .auth = AUTH_CONTROL,
     .doc = "Stop it and forget it; its id is not used again"},
    {.method = "PUT",
     .pattern = "/v1/instances/{id}/state",
     .handler = put_state,
     .auth = AUTH_CONTROL,
     .doc = "Set what is desired of it"},
    {.method = "GET",
     .pattern = "/v1/instances/{id}/logs",
     .handler = get_logs,
     .auth = AUTH_CONTROL,
     .doc = "Its newest output"},
    {.method = "GET",
     .pattern = "/v1/node/info",
     .handler = get_info,
     .auth = AUTH_CONTROL,
     .doc = "Identity, kernel and pre-flight"},
    {.method = "GET",
     .pattern = "/v1/node/resources",
     .handler = get_resources,
     .auth = AUTH_CONTROL,
     .doc = "Capacity, what is used, and by whom"},
};

enum err api_open(struct agent *a, struct errinfo *err)
{
    struct http_server_options o = {.loop = a->o.loop,
                                    .listen = a->o.listen,
                                    .listen_n = a->o.listen_n,
                                    .routes = ROUTES,
                                    .routes_n = sizeof(ROUTES) / sizeof(ROUTES[0]),
                                    .ctx = a,
                                    .authorize = authorize,
                                    .on_done = on_done,
                                    .cert_file = a->o.cert_file,
                                    .key_file = a->o.key_file,
                                    .ca_file = a->o.ca_file,
                                    .client_cert = HTTP_CLIENT_CERT_REQUIRED};
    return http_server_open(&o, &a->server, err);
}
