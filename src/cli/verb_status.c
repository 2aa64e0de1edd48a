/* slipform status: the installation, or one deployment; slipform doctor: what is wrong and what to do. */
#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/past.h"
#include "cli/rows.h"
#include "cli/status_replicas.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "install/host_network.h"
#include "install/log_place.h"
#include "install/services.h"
#include "install/supervise.h"

static void set_path(json_t *doc, const char *key, const struct home *h, const char *below)
{
    char path[PATH_SIZE];
    json_object_set_new(doc, key, json_string(home_path(h, path, "%s", below)));
}

static json_t *endpoints_of(const struct cli *c)
{
    const struct home *h = &c->home;
    char url[96];
    json_t *e = json_object(), *agents = json_array();
    json_object_set_new(e, "management_api", json_string(home_management_url(h, url)));
    json_object_set_new(e, "public_api", json_string(home_public_url(h, url)));
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%lld", (long long)h->inst.edge_http_port);
    json_object_set_new(e, "edge_http", json_string(url));
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%lld", (long long)h->inst.edge_https_port);
    json_object_set_new(e, "edge_https", json_string(url));
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        char id[ID_TEXT_SIZE];
        id_format(n->node_id, id);
        json_t *row = json_object();
        json_object_set_new(row, "node_id", json_string(id));
        json_object_set_new(row, "name", json_from_str(n->name));
        json_object_set_new(row, "url", json_string(home_agent_url(h, n, url)));
        json_array_append_new(agents, row);
    }
    json_object_set_new(e, "node_agents", agents);
    return e;
}

/* n: NULL: of no node. */
static json_t *program_row(const char *name, struct str instance_id, const struct installation_node *n, json_int_t pid,
                           json_int_t restarts, struct str metrics_url)
{
    json_t *row = json_object();
    char node_id[ID_TEXT_SIZE] = "";
    if (n != NULL)
        id_format(n->node_id, node_id);
    json_object_set_new(row, "name", json_string(name));
    json_object_set_new(row, "instance_id", instance_id.len > 0 ? json_from_str(instance_id) : json_null());
    json_object_set_new(row, "node", n != NULL ? json_from_str(n->name) : json_null());
    json_object_set_new(row, "node_id", n != NULL ? json_string(node_id) : json_null());
    json_object_set_new(row, "pid", pid > 0 ? json_integer(pid) : json_null());
    json_object_set_new(row, "restarts", json_integer(restarts));
    json_object_set_new(row, "metrics_url", metrics_url.len > 0 ? json_from_str(metrics_url) : json_null());
    return row;
}

static void add_agents(const struct cli *c, json_t *programs, json_t *problems)
{
    AUTO(arena) struct arena a = {0};
    struct supervise_state state;
    supervise_state_read(&c->home, &a, &state);
    bool is_running = supervise_is_running(&c->home);
    json_array_append_new(programs, program_row("supervise", STR(""), NULL, is_running ? state.pid : 0, 0, STR("")));
    if (!is_running)
        status_problem(problems, "supervisor-down", "the supervisor is not running",
                       "node-agents that end are not started again", "run 'slipform up'");
    for (size_t i = 0; i < state.agents.n; i++) {
        const struct supervised *s = (const struct supervised *)state.agents.items + i;
        const struct installation_node *n = home_node_by_name(&c->home, s->name);
        struct str service = supervised_service(s);
        auto_free char *name = mem_printf("%.*s", STR_ARG(service.len > 0 ? service : STR("node-agent")));
        json_array_append_new(programs, program_row(name, STR(""), n, s->pid, s->restarts, STR("")));
    }
}

/* Programs of the bootstrap log, as the agents tell. */
static void add_instances(const struct cli *c, json_t *programs, json_t *problems)
{
    for (size_t k = 0; k < c->home.inst.nodes.n; k++) {
        const struct installation_node *n = home_node(&c->home, k);
        auto_json json_t *doc = NULL;
        struct errinfo err;
        char title[128];
        if (agent_call(c, n, "/v1/instances", &doc, &err) != OK) {
            (void)snprintf(title, sizeof(title), "the node-agent of '%.*s' does not answer", STR_ARG(n->name));
            status_problem(problems, "agent-down", title, err.msg,
                           "run 'slipform up'; its log is agent.log in its folder");
            continue;
        }
        size_t i = 0;
        json_t *item = NULL;
        json_array_foreach(json_object_get(doc, "items"), i, item)
        {
            if (!str_eq(json_member_str(item, "owner"), STR("bootstrap")))
                continue;
            const json_t *spec = json_object_get(item, "spec"), *statistics = json_object_get(item, "statistics");
            auto_free char *name = table_cell(spec, "name");
            json_array_append_new(programs, program_row(name, json_member_str(item, "instance_id"), n,
                                                        json_integer_value(json_object_get(statistics, "pid")),
                                                        json_integer_value(json_object_get(statistics, "restarts")),
                                                        json_member_str(statistics, "metrics_url")));
            if (!str_eq(json_member_str(item, "health"), STR("NOMINAL"))) {
                auto_free char *cause = table_cell(item, "cause"), *status = table_cell(item, "status");
                (void)snprintf(title, sizeof(title), "%s on '%.*s' is %s", name, STR_ARG(n->name), status);
                status_problem(problems, "program-unhealthy", title, cause, "its log: 'slipform logs' with its id");
            }
        }
    }
}

/* It answers reads as the log once was, and refuses writes. */
static void add_read_only(const json_t *problem, json_t *problems)
{
    static const char *const HINTS[][2] = {
        {"stalled", "if the event can never be folded: 'slipform eventlog set-aside', see docs/operate.md; if a newer "
                    "version wrote it: upgrade this one; if the log is damaged: 'slipform eventlog verify'"},
        {"unseen", "it goes on by itself once the log can be read: look at the disk that it is on"},
        {"read-only", "it goes on by itself once the log can be written: look at the disk that it is on"}};
    auto_free char *state = table_cell(problem, "state"), *detail = table_cell(problem, "detail");
    const char *hint = HINTS[0][1];
    for (size_t i = 0; i < sizeof(HINTS) / sizeof(HINTS[0]); i++)
        hint = strcmp(state, HINTS[i][0]) == 0 ? HINTS[i][1] : hint;
    status_problem(problems, "control-plane-read-only",
                   "the control plane only reads: it answers from the position below, refuses writes, plans nothing",
                   detail, hint);
}

static void add_control(const struct cli *c, json_t *doc, json_t *problems)
{
    auto_json json_t *ready = NULL;
    auto_json json_t *problem = NULL;
    struct errinfo err;
    json_t *position = NULL, *hash = NULL;
    struct client_call call = {.api = API_MANAGEMENT, .path = "/readyz", .timeout_ms = 5000, .ret_problem = &problem};
    enum err rc = client_call(c, &call, &ready, &err);
    const json_t *said = rc == OK ? ready : problem;
    if (json_object_get(said, "seq") != NULL) {
        position = json_pack("{s:s, s:O}", "log", "platform", "seq", json_object_get(said, "seq"));
        hash = json_object_get(said, "model_hash");
    }
    if (rc != OK && position != NULL) {
        add_read_only(problem, problems);
    } else if (rc != OK) {
        status_problem(problems, "control-plane-down", "the control plane does not answer", err.msg,
                       "applications go on being served; run 'slipform up'");
    }
    json_object_set_new(doc, "position", position != NULL ? position : json_null());
    json_object_set_new(doc, "model_hash", hash != NULL ? json_incref(hash) : json_null());
}

/* What others wrote and the installation runs: each is asked. */
static json_t *services_rows(const struct cli *c, json_t *problems)
{
    struct service list[SERVICES_MAX];
    size_t n = services_of(&c->home, list);
    json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct service *s = &list[i];
        struct errinfo err;
        char told[SERVICE_TELL_SIZE] = "";
        bool is_well = s->is_well(&c->home, s, &err) == OK;
        json_t *row = json_object();
        json_object_set_new(row, "name", json_string(s->name));
        json_object_set_new(row, "node", s->node != NULL ? json_from_str(s->node->name) : json_null());
        json_object_set_new(row, "status", json_string(is_well ? "well" : "down"));
        if (s->tell != NULL)
            s->tell(&c->home, s, told);
        json_object_set_new(row, "is", told[0] != '\0' ? json_string(told) : json_null());
        json_object_set_new(row, "cause", is_well ? json_null() : json_from_str(str_from(err.msg)));
        json_array_append_new(rows, row);
        if (is_well)
            continue;
        auto_free char *title = mem_printf("%s ('%s') does not answer", s->title, s->name);
        auto_free char *hint = mem_printf("its log is %s in the home; 'slipform up' starts it again", s->log_file);
        status_problem(problems, "service-down", title, err.msg, hint);
    }
    return rows;
}

static json_t *logs_of(const struct cli *c, const json_t *position)
{
    char path[LOG_SPEC_SIZE];
    bool is_files = home_store_is(&c->home, "files");
    json_t *row = json_object(), *rows = json_array();
    json_t *log = json_object_get(position, "log"), *seq = json_object_get(position, "seq");
    json_object_set_new(row, "log_id", log != NULL ? json_incref(log) : json_null());
    json_object_set_new(row, "name", json_string("platform"));
    json_object_set_new(row, "store", json_from_str(home_store_kind(&c->home)));
    json_object_set_new(
        row, "path",
        json_string(is_files ? home_path(&c->home, path, "log/platform") : log_spec(&c->home, LOG_AS_REPLICA, path)));
    json_object_set_new(row, "seq", seq != NULL ? json_incref(seq) : json_null());
    json_array_append_new(rows, row);
    return rows;
}

static json_t *status_of(const struct cli *c)
{
    const struct home *h = &c->home;
    json_t *doc = json_object(), *problems = json_array(), *programs = json_array();
    json_object_set_new(doc, "installation", json_from_str(h->inst.name));
    json_object_set_new(doc, "version", json_string(SLIPFORM_VERSION));
    add_agents(c, programs, problems);
    add_instances(c, programs, problems);
    add_control(c, doc, problems);
    bool is_up = host_network_is_up(h);
    if (!is_up)
        status_problem(problems, "network-down", "the network of the installation is not there", "",
                       "run 'slipform up'");
    json_object_set_new(doc, "home", json_string(h->path));
    set_path(doc, "ca_file", h, "ca/ca.crt");
    set_path(doc, "token_file", h, "operator/token");
    set_path(doc, "client_cert_file", h, "operator/client.crt");
    set_path(doc, "client_key_file", h, "operator/client.key");
    json_object_set_new(doc, "endpoints", endpoints_of(c));
    json_object_set_new(doc, "logs", logs_of(c, json_object_get(doc, "position")));
    json_object_set_new(doc, "programs", programs);
    status_replicas(c, doc, problems);
    json_object_set_new(doc, "services", services_rows(c, problems));
    json_object_set_new(doc, "status",
                        json_string(!is_up && !supervise_is_running(h) ? "stopped"
                                    : json_array_size(problems) == 0   ? "healthy"
                                                                       : "degraded"));
    json_object_set_new(doc, "problems", problems);
    return doc;
}

static int installation_status(struct cli *c)
{
    auto_json json_t *doc = status_of(c);
    if (c->json) {
        auto_free char *text = json_format(doc);
        (void)puts(text);
        return 0;
    }
    static const struct column PROGRAMS[] = {{"PROGRAM", "name", COLUMN_TEXT},
                                             {"ON", "node", COLUMN_TEXT},
                                             {"INSTANCE", "instance_id", COLUMN_TEXT},
                                             {"PID", "pid", COLUMN_TEXT},
                                             {"RESTARTS", "restarts", COLUMN_TEXT},
                                             {"METRICS", "metrics_url", COLUMN_TEXT},
                                             {0}};
    auto_free char *status = table_cell(doc, "status"), *seq = table_cell(doc, "position.seq"),
                   *management = table_cell(doc, "endpoints.management_api"),
                   *public_api = table_cell(doc, "endpoints.public_api"),
                   *edge = table_cell(doc, "endpoints.edge_https");
    (void)printf("%.*s is %s, at event %s\n  management API  %s\n  public API      %s\n  edge            %s\n\n",
                 STR_ARG(c->home.inst.name), status, seq[0] != '\0' ? seq : "?", management, public_api, edge);
    status_replicas_print(doc);
    static const struct column SERVICES[] = {{"SERVICE", "name", COLUMN_TEXT},
                                             {"ON", "node", COLUMN_TEXT},
                                             {"STATUS", "status", COLUMN_TEXT},
                                             {"IS", "is", COLUMN_TEXT},
                                             {0}};
    if (json_array_size(json_object_get(doc, "services")) > 0) {
        table_print(json_object_get(doc, "services"), SERVICES);
        (void)puts("");
    }
    table_print(json_object_get(doc, "programs"), PROGRAMS);
    size_t i = 0;
    json_t *p = NULL;
    json_array_foreach(json_object_get(doc, "problems"), i, p)
    {
        (void)printf("%s%.*s\n  %.*s\n  what to do: %.*s\n", i == 0 ? "\n" : "", STR_ARG(json_member_str(p, "title")),
                     STR_ARG(json_member_str(p, "detail")), STR_ARG(json_member_str(p, "hint")));
    }
    return 0;
}

/* What has ids of its own, in the order in which they are asked about most. */
static const struct {
    enum api api;
    const char *path;
    const char *lines[14]; /* for people, ends with NULL */
} OBJECTS[] = {
    {API_PUBLIC,
     "/v1/deployments/",
     {"status", "cause", "project", "url", "instances_wanted", "instances_healthy", "image_id", "created", "since",
      "because"}},
    {API_MANAGEMENT,
     "/v1/instances/",
     {"status", "health", "cause", "project", "deployment_id", "node", "zone", "desired", "ipv6", "port", "since",
      "because"}},
    {API_MANAGEMENT,
     "/v1/nodes/",
     {"name", "status", "cause", "zone", "region", "labels", "runtimes", "agent_url", "last_seen"}},
    {API_MANAGEMENT,
     "/v1/processes/",
     {"name", "version", "status", "health", "url", "route", "instances_wanted", "instances_healthy", "lag_events",
      "events_per_second", "image_id", "process_id"}},
};
enum { OBJECTS_N = sizeof(OBJECTS) / sizeof(OBJECTS[0]) };

static void print_object(const json_t *doc, const char *const *lines)
{
    for (size_t i = 0; lines[i] != NULL; i++) {
        auto_free char *text = table_cell(doc, lines[i]);
        if (text[0] != '\0')
            (void)printf("%-18s %s\n", lines[i], text);
    }
    static const char *const EXPLAINED[][2] = {{"explanation.where", "where"},
                                               {"explanation.state", "state"},
                                               {"explanation.why", "why"},
                                               {"explanation.change", "what changes it"}};
    for (size_t i = 0; i < sizeof(EXPLAINED) / sizeof(EXPLAINED[0]); i++) {
        auto_free char *text = table_cell(doc, EXPLAINED[i][0]);
        if (text[0] != '\0')
            (void)printf("%s%-18s %s\n", i == 0 ? "\n" : "", EXPLAINED[i][1], text);
    }
}

/* An application by "NAME", its newest version that is not going, or by "NAME/VERSION". Returned, NULL: there is none.
 */
static enum err application_id(const struct cli *c, const char *text, char **ret_id, struct errinfo *err)
{
    const char *slash = strchr(text, '/');
    struct str name = slash == NULL ? str_from(text) : (struct str){text, (size_t)(slash - text)};
    auto_json json_t *items = NULL;
    enum err rc = client_list(c, API_MANAGEMENT, "/v1/applications", &items, err);
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(items, i, row) /* in the order in which they were put */
    {
        bool is_it = str_eq(json_member_str(row, "name"), name) &&
                     (slash == NULL ? !str_eq(json_member_str(row, "status"), STR("draining"))
                                    : str_eq_c(json_member_str(row, "version"), slash + 1));
        if (!is_it)
            continue;
        struct str id = json_member_str(row, "process_id");
        free(*ret_id);
        *ret_id = mem_strndup(id.ptr, id.len);
    }
    return rc;
}

static int object_status(struct cli *c, const char *given)
{
    char path[128];
    struct errinfo err = {0};
    struct id parsed;
    auto_free char *found = NULL;
    bool is_id = id_parse(str_from(given), &parsed);
    if (!is_id && application_id(c, given, &found, &err) != OK)
        return cli_fail(c, &err);
    const char *id = is_id ? given : found;
    if (id == NULL)
        return cli_failf(c, ERR_INVALID,
                         "'%s' is no application, and no id of a deployment, an instance or a node: 'slipform apps', "
                         "'slipform ps' and 'slipform nodes' list them",
                         given);
    for (size_t i = 0; i < OBJECTS_N; i++) {
        auto_json json_t *doc = NULL;
        (void)snprintf(path, sizeof(path), "%s%s", OBJECTS[i].path, id);
        enum err rc = client_call(c, &(struct client_call){.api = OBJECTS[i].api, .path = path}, &doc, &err);
        if (rc == ERR_NOT_FOUND)
            continue;
        if (rc != OK)
            return cli_fail(c, &err);
        if (c->json) {
            auto_free char *text = json_format(doc);
            (void)puts(text);
        } else {
            print_object(doc, OBJECTS[i].lines);
        }
        return 0;
    }
    return cli_failf(c, ERR_NOT_FOUND,
                     "there is no deployment, instance, node or application '%s' (any more): 'slipform events --of %s' "
                     "tells of what was, 'slipform status %s --at T' how it was",
                     id, id, id);
}

const struct flag STATUS_FLAGS[] = {
    {"at", FLAG_TEXT, "T", "as it was at this instant (RFC 3339) or position of the log"},
    {0},
};

static json_t *find_row(const json_t *rows, const char *id)
{
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(rows, i, row)
    {
        if (str_eq_c(json_member_str(row, "id"), id))
            return json_incref(row);
    }
    return NULL;
}

static json_t *past_doc(const struct model *m)
{
    char time[EVENT_TIME_TEXT_SIZE];
    past_time(m, time);
    json_t *doc =
        json_pack("{s:{s:s, s:I, s:s}}", "position", "log", "platform", "seq", (json_int_t)m->seq, "time", time);
    for (int kind = 0; kind < PAST_KIND_MAX_; kind++) {
        auto_free char *key = mem_printf("%ss", past_kind_name((enum past_kind)kind));
        json_object_set_new(doc, key, past_rows(m, (enum past_kind)kind));
    }
    return doc;
}

static void print_past(const json_t *doc)
{
    static const struct column NODES[] = {{"NODE", "name", COLUMN_TEXT},     {"ZONE", "zone", COLUMN_TEXT},
                                          {"STATUS", "status", COLUMN_TEXT}, {"INSTANCES", "instances", COLUMN_TEXT},
                                          {"CAUSE", "cause", COLUMN_TEXT},   {0}};
    static const struct column DEPLOYMENTS[] = {{"DEPLOYMENT", "id", COLUMN_TEXT},
                                                {"OF", "label", COLUMN_TEXT},
                                                {"STATUS", "status", COLUMN_TEXT},
                                                {"INSTANCES", "instances", COLUMN_TEXT},
                                                {"WANTED", "instances_wanted", COLUMN_TEXT},
                                                {"CAUSE", "cause", COLUMN_TEXT},
                                                {0}};
    auto_free char *seq = table_cell(doc, "position.seq"), *time = table_cell(doc, "position.time");
    (void)printf("at event %s, %s\n\n", seq, time);
    table_print(json_object_get(doc, "nodes"), NODES);
    (void)puts("");
    table_print(json_object_get(doc, "deployments"), DEPLOYMENTS);
}

/* One object of any kind, or all, as they were. */
static int past_status(struct cli *c, const char *at, const char *id)
{
    struct model *m = NULL;
    struct errinfo err;
    if (past_fold(c, at, &m, &err) != OK)
        return cli_fail(c, &err);
    auto_json json_t *doc = id == NULL ? past_doc(m) : NULL;
    for (int kind = 0; id != NULL && doc == NULL && kind < PAST_KIND_MAX_; kind++) {
        auto_json json_t *rows = past_rows(m, (enum past_kind)kind);
        doc = find_row(rows, id);
    }
    model_free(m);
    if (doc == NULL)
        return cli_failf(c, ERR_NOT_FOUND, "there was no '%s' at %s: 'slipform ps --at %s' lists what there was", id,
                         at, at);
    if (c->json || id != NULL) {
        auto_free char *text = json_format(doc);
        (void)puts(text);
    } else {
        print_past(doc);
    }
    return 0;
}

int verb_status(struct cli *c)
{
    const char *at = cli_text(c, "at");
    if (at != NULL)
        return past_status(c, at, c->args_n > 0 ? c->args[0] : NULL);
    return c->args_n > 0 ? object_status(c, c->args[0]) : installation_status(c);
}

static void add_check(json_t *rows, const char *check, bool ok, const char *detail, const char *hint)
{
    json_t *row = json_object();
    json_object_set_new(row, "check", json_string(check));
    json_object_set_new(row, "ok", json_boolean(ok));
    json_object_set_new(row, "detail", json_from_str(str_from(detail)));
    json_object_set_new(row, "hint", json_string(hint));
    json_array_append_new(rows, row);
}

static void check_machine(json_t *rows)
{
    bool is_root = geteuid() == 0;
    add_check(rows, "root", is_root, is_root ? "running as root" : "not root", "run with sudo");
    static const struct {
        const char *check, *path, *hint;
    } FILES[] = {{"tun", "/dev/net/tun", "load the kernel module 'tun'"},
                 {"ip", "/usr/sbin/ip", "run 'tools/setup'"},
                 {"nft", "/usr/sbin/nft", "run 'tools/setup'"},
                 {"qemu", "/usr/bin/qemu-system-x86_64", "run 'tools/setup'"},
                 {"kvm-device", "/dev/kvm",
                  "microVMs run under emulation, slower; 'slipform nodes' says whether a guest ran with it"}};
    for (size_t i = 0; i < sizeof(FILES) / sizeof(FILES[0]); i++)
        add_check(rows, FILES[i].check, access(FILES[i].path, F_OK) == 0, FILES[i].path, FILES[i].hint);
}

int verb_doctor(struct cli *c)
{
    auto_json json_t *rows = json_array();
    check_machine(rows);
    if (c->home.inst.name.len > 0) {
        auto_json json_t *status = status_of(c);
        size_t i = 0;
        json_t *p = NULL;
        json_array_foreach(json_object_get(status, "problems"), i, p)
        {
            auto_free char *code = table_cell(p, "code"), *title = table_cell(p, "title"),
                           *detail = table_cell(p, "detail"), *hint = table_cell(p, "hint");
            auto_free char *text = mem_printf("%s%s%s", title, detail[0] != '\0' ? ": " : "", detail);
            add_check(rows, code, false, text, hint);
        }
        add_check(rows, "installation", json_array_size(json_object_get(status, "problems")) == 0, c->home.path,
                  "see the rows above");
    } else {
        add_check(rows, "installation", false, "there is none", "run 'make up'");
    }
    static const struct column COLUMNS[] = {{"CHECK", "check", COLUMN_TEXT},
                                            {"OK", "ok", COLUMN_TEXT},
                                            {"DETAIL", "detail", COLUMN_TEXT},
                                            {"WHAT TO DO", "hint", COLUMN_TEXT},
                                            {0}};
    return rows_print(c, rows, COLUMNS);
}
