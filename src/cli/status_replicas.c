#include "cli/status_replicas.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/client.h"
#include "cli/table.h"

/* As a replica that has not seen the log's end for so long (SIGHT_FRESH_MS): what is behind that long is worth a look.
 */
enum { BEHIND_MS = 5000 };

void status_problem(json_t *problems, const char *code, const char *title, const char *detail, const char *hint)
{
    json_t *p = json_object();
    json_object_set_new(p, "code", json_string(code));
    json_object_set_new(p, "title", json_string(title));
    json_object_set_new(p, "detail", json_from_str(str_from(detail)));
    json_object_set_new(p, "hint", json_string(hint));
    json_array_append_new(problems, p);
}

/* ---- one replica ---- */

static json_t *member_or_null(const json_t *doc, const char *key)
{
    json_t *value = json_object_get(doc, key);
    return value != NULL ? json_incref(value) : json_null();
}

/* GET of one of its documents; what it answers when it refuses, too. Returned, NULL: it does not answer. */
static json_t *ask(const struct cli *c, const char *url, const char *path, enum err *ret_rc, struct errinfo *err)
{
    json_t *doc = NULL, *problem = NULL;
    struct client_call call = {.url = url, .path = path, .timeout_ms = 5000, .ret_problem = &problem};
    *ret_rc = client_call(c, &call, &doc, err);
    if (*ret_rc == OK)
        return doc;
    json_decref(doc);
    return problem;
}

static void add_store_problems(const char *node, const json_t *said, json_t *problems)
{
    auto_free char *append = table_cell(said, "store.append_error"), *read = table_cell(said, "store.read_error"),
                   *lag = table_cell(said, "lag_events"), *ago = table_cell(said, "end_seen_ms_ago");
    char title[160];
    if (append[0] != '\0' || read[0] != '\0') {
        (void)snprintf(title, sizeof(title), "the replica on '%s' cannot %s the log", node,
                       read[0] != '\0' ? "read" : "append to");
        status_problem(problems, "store-failing", title, read[0] != '\0' ? read : append,
                       "it goes on by itself: look at the store, and at the way from that operator to it");
    }
    if (json_integer_value(json_object_get(said, "lag_events")) > 0 &&
        json_integer_value(json_object_get(said, "end_seen_ms_ago")) > BEHIND_MS) {
        auto_free char *detail = mem_printf("%s events behind, at the log's end %s ms ago", lag, ago);
        (void)snprintf(title, sizeof(title), "the replica on '%s' is behind the log", node);
        status_problem(problems, "replica-behind", title, detail,
                       "others answer; a host that is too busy, or a slow store");
    }
}

static void add_problems(const char *node, const json_t *said, json_t *problems)
{
    char title[160];
    const json_t *notifier = json_object_get(said, "notifier");
    add_store_problems(node, said, problems);
    if (json_is_true(json_object_get(notifier, "is_configured")) &&
        !json_is_true(json_object_get(notifier, "is_connected"))) {
        (void)snprintf(title, sizeof(title), "the replica on '%s' is connected to no nats-server", node);
        status_problem(problems, "notifier-away", title, "",
                       "news are found by asking, some 200 ms later; look at the nats-servers and the program's log");
    }
}

static json_t *replica_row(const struct cli *c, const struct installation_node *n, bool is_alone, json_t *problems,
                           json_t **ret_said)
{
    char url[96];
    enum err rc, said_rc;
    struct errinfo err, ignored;
    (void)home_operator_local_url(&c->home, n, url);
    auto_free char *node = mem_strndup(n->name.ptr, n->name.len);
    auto_json json_t *ready = ask(c, url, "/readyz", &rc, &err);
    auto_json json_t *said = ready != NULL ? ask(c, url, "/v1/replica", &said_rc, &ignored) : NULL;
    json_t *row = json_object(), *state = json_object_get(ready, "state");
    if (said != NULL && said_rc == OK) {
        json_object_update(row, said);
        add_problems(node, said, problems);
        *ret_said = json_incref(said);
    }
    json_object_set_new(row, "node", json_string(node));
    json_object_set_new(row, "zone", json_from_str(n->zone));
    json_object_set_new(row, "url", json_string(url));
    json_object_set_new(row, "status",
                        rc == OK        ? json_string("live")
                        : state != NULL ? json_incref(state)
                                        : json_string("down"));
    json_object_set_new(row, "seq", member_or_null(ready, "seq"));
    json_object_set_new(row, "model_hash", member_or_null(ready, "model_hash"));
    if (rc != OK && !is_alone) { /* else it is told as the control plane's */
        auto_free char *title = mem_printf("the replica of the control plane on '%s' is not live", node);
        status_problem(problems, "replica-down", title, err.msg, "the others go on; run 'slipform up'");
    }
    static const char *const ONCE[] = {"leases", "suspects", "edges"};
    for (size_t i = 0; i < sizeof(ONCE) / sizeof(ONCE[0]); i++)
        (void)json_object_del(row, ONCE[i]);
    return row;
}

/* ---- all ---- */

/* A replica's id as people know it: 'public-api on op2'. The id itself when its node-agent does not answer. */
static void add_name(const json_t *doc, struct str replica, struct buf *text)
{
    size_t i = 0;
    json_t *program = NULL;
    json_array_foreach(json_object_get(doc, "programs"), i, program)
    {
        if (!str_eq(json_member_str(program, "instance_id"), replica))
            continue;
        struct str name = json_member_str(program, "name"), node = json_member_str(program, "node");
        buf_addf(text, "%.*s on %.*s", STR_ARG(name), STR_ARG(node));
        return;
    }
    buf_add_str(text, replica);
}

static json_t *joined(const json_t *doc, const json_t *replicas)
{
    AUTO(buf) struct buf text = {0};
    size_t i = 0;
    json_t *replica = NULL;
    json_array_foreach(replicas, i, replica)
    {
        buf_addf(&text, "%s", i == 0 ? "" : ", ");
        add_name(doc, str_from(json_string_value(replica)), &text);
    }
    return json_from_str(buf_str(&text));
}

static void add_suspects(const json_t *doc, json_t *problems)
{
    const json_t *suspects = json_object_get(doc, "suspects");
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(suspects, i, row)
    {
        auto_json json_t *by = joined(doc, json_object_get(row, "suspected_by"));
        auto_free char *node = table_cell(row, "node"), *status = table_cell(row, "status");
        auto_free char *title = mem_printf("node '%s' is not heard by %s", node, json_string_value(by));
        auto_free char *detail = mem_printf(
            "it is %s%s", status,
            strcmp(status, "lost") == 0 ? "" : "; it is lost when more than half of the replicas that vote say so");
        status_problem(problems, "node-suspected", title, detail,
                       "all of them: the node or its agent is away; one of them: look at the way between the two");
    }
}

/* A list that is empty is left out of a document. */
static json_t *list_of(const json_t *doc, const char *key)
{
    json_t *list = json_object_get(doc, key);
    return list != NULL ? json_incref(list) : json_array();
}

void status_replicas(const struct cli *c, json_t *doc, json_t *problems)
{
    json_t *rows = json_array();
    auto_json json_t *said = NULL;
    for (size_t i = 0; i < c->home.inst.nodes.n; i++) {
        const struct installation_node *n = home_node(&c->home, i);
        json_t *one = NULL;
        if (!home_is_operator(n))
            continue;
        json_array_append_new(rows, replica_row(c, n, home_operators_n(&c->home) == 1, problems, &one));
        if (said == NULL)
            said = one;
        else
            json_decref(one);
    }
    json_object_set_new(doc, "replicas", rows);
    json_object_set_new(doc, "leases", list_of(said, "leases"));
    json_object_set_new(doc, "suspects", list_of(said, "suspects"));
    json_object_set_new(doc, "edges", list_of(said, "edges"));
    add_suspects(doc, problems);
}

/* ---- for people ---- */

static void set_text(json_t *row, const char *key, char *text)
{
    json_object_set_new(row, key, json_string(text));
    free(text);
}

static double seconds(const json_t *doc, const char *key)
{
    return (double)json_integer_value(json_object_get(doc, key)) / 1000;
}

static json_int_t number(const json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

/* What stands in its columns; a replica that does not answer has none of it. */
static void add_texts(json_t *row)
{
    const json_t *store = json_object_get(row, "store"), *notifier = json_object_get(row, "notifier");
    if (store == NULL)
        return;
    bool has_error = json_object_get(store, "append_error") != NULL || json_object_get(store, "read_error") != NULL;
    set_text(row, "text_lag",
             number(row, "end_seen_ms_ago") < 0 ? mem_strdup("?")
                                                : mem_printf("%lld, %.1f s ago", (long long)number(row, "lag_events"),
                                                             seconds(row, "end_seen_ms_ago")));
    set_text(row, "text_does",
             mem_printf("%s%s",
                        !json_is_true(json_object_get(row, "plans"))       ? "-"
                        : json_is_true(json_object_get(row, "goes_first")) ? "plans first"
                                                                           : "plans",
                        json_is_true(json_object_get(row, "votes")) ? ", votes" : ""));
    set_text(row, "text_plans",
             mem_printf("%lld/%lld/%lld", (long long)number(row, "plans_own"), (long long)number(row, "plans_stood_in"),
                        (long long)number(row, "plans_left")));
    set_text(row, "text_store",
             has_error ? mem_strdup("FAILS")
             : !json_is_true(json_object_get(store, "has_appended"))
                 ? mem_strdup("-")
                 : mem_printf("%.1f ms, %.0f s ago", (double)number(store, "append_us") / 1000,
                              seconds(store, "append_ms_ago")));
    set_text(row, "text_news",
             !json_is_true(json_object_get(notifier, "is_configured"))  ? mem_strdup("by asking")
             : !json_is_true(json_object_get(notifier, "is_connected")) ? mem_strdup("NATS AWAY")
             : number(notifier, "hint_ms_ago") < 0                      ? mem_strdup("none yet")
                                                   : mem_printf("%.1f s ago", seconds(notifier, "hint_ms_ago")));
}

static void print_rows(const json_t *rows, const struct column *columns)
{
    if (json_array_size(rows) == 0)
        return;
    table_print(rows, columns);
    (void)puts("");
}

static void print_replicas(const json_t *doc)
{
    static const struct column REPLICAS[] = {{"REPLICA", "node", COLUMN_TEXT},
                                             {"ZONE", "zone", COLUMN_TEXT},
                                             {"STATUS", "status", COLUMN_TEXT},
                                             {"EVENT", "seq", COLUMN_TEXT},
                                             {"LAG, AT END", "text_lag", COLUMN_TEXT},
                                             {"DOES", "text_does", COLUMN_TEXT},
                                             {"PLANS OWN/FOR IT/LEFT", "text_plans", COLUMN_TEXT},
                                             {"CONFLICTS", "conflicts", COLUMN_TEXT},
                                             {"LAST APPEND", "text_store", COLUMN_TEXT},
                                             {"LAST NEWS", "text_news", COLUMN_TEXT},
                                             {0}};
    auto_json json_t *rows = json_deep_copy(json_object_get(doc, "replicas"));
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(rows, i, row) add_texts(row);
    print_rows(rows, REPLICAS);
}

static void print_leases(const json_t *doc)
{
    static const struct column LEASES[] = {
        {"LEASE OF", "text_of", COLUMN_TEXT}, {"HOLDS FOR", "text_left", COLUMN_TEXT},
        {"UNTIL", "until", COLUMN_TEXT},      {"VOTES", "votes", COLUMN_TEXT},
        {"PLANS", "plans", COLUMN_TEXT},      {"FIRST", "goes_first", COLUMN_TEXT},
        {"FORMAT", "format", COLUMN_TEXT},    {0}};
    auto_json json_t *rows = json_deep_copy(json_object_get(doc, "leases"));
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(rows, i, row)
    {
        AUTO(buf) struct buf of = {0};
        add_name(doc, json_member_str(row, "replica"), &of);
        json_object_set_new(row, "text_of", json_from_str(buf_str(&of)));
        set_text(row, "text_left", mem_printf("%.1f s", seconds(row, "left_ms")));
    }
    print_rows(rows, LEASES);
}

void status_replicas_print(const json_t *doc)
{
    static const struct column SUSPECTS[] = {{"NODE", "node", COLUMN_TEXT},
                                             {"STATUS", "status", COLUMN_TEXT},
                                             {"NOT HEARD BY", "text_by", COLUMN_TEXT},
                                             {0}};
    static const struct column EDGES[] = {{"EDGE", "edge", COLUMN_TEXT},
                                          {"ROUTES AS OF EVENT", "confirmed_seq", COLUMN_TEXT},
                                          {"HEARD", "text_heard", COLUMN_TEXT},
                                          {0}};
    auto_json json_t *suspects = json_deep_copy(json_object_get(doc, "suspects"));
    auto_json json_t *edges = json_deep_copy(json_object_get(doc, "edges"));
    size_t i = 0;
    json_t *row = NULL;
    print_replicas(doc);
    print_leases(doc);
    json_array_foreach(suspects, i, row)
        json_object_set_new(row, "text_by", joined(doc, json_object_get(row, "suspected_by")));
    print_rows(suspects, SUSPECTS);
    json_array_foreach(edges, i, row) set_text(row, "text_heard", mem_printf("%.1f s ago", seconds(row, "silent_ms")));
    print_rows(edges, EDGES);
}
