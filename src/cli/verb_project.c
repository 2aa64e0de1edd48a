/* The verbs about one project: scale, domains, secrets. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/project.h"
#include "cli/rows.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "wire/owned.h"

enum err project_find(const struct cli *c, const char *name, json_t **ret_project, struct errinfo *err)
{
    static const char *const NAMES[] = {"slug", "name", "project_id"};
    auto_json json_t *items = NULL;
    enum err rc = client_list(c, API_PUBLIC, "/v1/projects", &items, err);
    if (rc != OK)
        return rc;
    for (size_t n = 0; n < sizeof(NAMES) / sizeof(NAMES[0]); n++) {
        for (size_t i = 0; i < json_array_size(items); i++) {
            json_t *p = json_array_get(items, i);
            if (str_eq_c(json_member_str(p, NAMES[n]), name)) {
                *ret_project = json_incref(p);
                return OK;
            }
        }
    }
    return err_set(err, ERR_NOT_FOUND, "there is no project '%s': 'slipform projects' lists them", name);
}

/* A call below /v1/projects/{id} of the project that the first argument names. Returned doc: json_decref. */
static enum err project_call(struct cli *c, const char *method, const char *below, struct str body, json_t **ret_doc,
                             struct errinfo *err)
{
    auto_json json_t *project = NULL;
    enum err rc = project_find(c, c->args[0], &project, err);
    if (rc != OK)
        return rc;
    auto_free char *path = mem_printf("/v1/projects/%.*s%s", STR_ARG(json_member_str(project, "project_id")), below);
    return client_call(c, &(struct client_call){.method = method, .path = path, .body = body}, ret_doc, err);
}

static void print_json(const json_t *doc)
{
    auto_free char *text = json_format(doc);
    (void)puts(text);
}

int verb_scale(struct cli *c)
{
    struct errinfo err = {0};
    auto_json json_t *doc = NULL;
    int64_t n = 0;
    char body[64];
    if (!str_parse_i64(str_from(c->args[1]), &n) || n < 1)
        return cli_failf(c, ERR_INVALID, "'%s' is no number of instances", c->args[1]);
    (void)snprintf(body, sizeof(body), "{\"instances\":%lld}", (long long)n);
    if (project_call(c, "PATCH", "", str_from(body), &doc, &err) != OK)
        return cli_fail(c, &err);
    if (c->json) {
        print_json(doc);
        return 0;
    }
    struct str live = json_member_str(doc, "live_deployment_id"), name = json_member_str(doc, "name");
    if (live.len == 0)
        (void)printf("the next deployment of '%.*s' begins with %lld instances; nothing is live now\n", STR_ARG(name),
                     (long long)n);
    else
        (void)printf("'%.*s' has %lld instances from now on; 'slipform status %.*s' says how far that is\n",
                     STR_ARG(name), (long long)n, STR_ARG(live));
    return 0;
}

/* ---- domains ---- */

/* What is to be put into DNS, as it is typed there. */
static void print_domain(const json_t *d)
{
    auto_free char *host = table_cell(d, "host"), *status = table_cell(d, "status"), *change = table_cell(d, "change"),
                   *name = table_cell(d, "txt_name"), *value = table_cell(d, "txt_value"),
                   *target = table_cell(d, "target"), *url = table_cell(d, "url");
    (void)printf("'%s' is %s%s%s\n", host, status, url[0] != '\0' ? ": " : "", url);
    if (strcmp(status, "pending") == 0 || strcmp(status, "failed") == 0)
        (void)printf("  %s.  TXT    \"%s\"\n  %s.  CNAME  %s.\n", name, value, host, target);
    if (change[0] != '\0')
        (void)printf("  %s\n", change);
}

static int list_below(struct cli *c, const char *below, const struct column *columns)
{
    struct errinfo err = {0};
    auto_json json_t *doc = NULL;
    if (project_call(c, NULL, below, (struct str){0}, &doc, &err) != OK)
        return cli_fail(c, &err);
    return rows_print(c, json_object_get(doc, "items"), columns);
}

static int domain_verb(struct cli *c, const char *verb, const char *host)
{
    struct errinfo err = {0};
    auto_json json_t *doc = NULL;
    AUTO(buf) struct buf body = {0};
    bool is_add = strcmp(verb, "add") == 0, is_verify = strcmp(verb, "verify") == 0;
    if (host == NULL || (!is_add && !is_verify && strcmp(verb, "remove") != 0))
        return cli_failf(c, ERR_INVALID, "say 'domains PROJECT add HOST', 'verify HOST' or 'remove HOST'");
    if (strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != strlen(host))
        return cli_failf(c, ERR_INVALID, "'%s' is no host name: lower case letters, digits, dashes and dots", host);
    if (is_add)
        buf_addf(&body, "{\"host\":\"%s\"}", host);
    auto_free char *below =
        is_add ? mem_printf("/domains") : mem_printf("/domains/%s%s", host, is_verify ? "/verified" : "");
    if (project_call(c, is_add ? "POST" : is_verify ? "PUT" : "DELETE", below, buf_str(&body), &doc, &err) != OK)
        return cli_fail(c, &err);
    if (c->json)
        print_json(doc);
    else if (is_add || is_verify)
        print_domain(doc);
    else
        (void)printf("'%s' is no domain of '%s' any more\n", host, c->args[0]);
    return 0;
}

int verb_domains(struct cli *c)
{
    static const struct column COLUMNS[] = {{"HOST", "host", COLUMN_TEXT},      {"STATUS", "status", COLUMN_TEXT},
                                            {"SINCE", "since", COLUMN_AGE},     {"TXT RECORD", "txt_name", COLUMN_TEXT},
                                            {"SAYS", "txt_value", COLUMN_TEXT}, {"CNAME", "target", COLUMN_TEXT},
                                            {"CAUSE", "cause", COLUMN_TEXT},    {0}};
    if (c->args_n > 1)
        return domain_verb(c, c->args[1], c->args_n > 2 ? c->args[2] : NULL);
    return list_below(c, "/domains", COLUMNS);
}

/* ---- secrets ---- */

/* The value as it stands on stdin, without the newline at its end: neither argv nor the environment holds it. */
static enum err read_value(struct buf *ret, struct errinfo *err)
{
    char bytes[4096];
    ssize_t n = 0;
    while (ret->len <= SECRET_VALUE_MAX && (n = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0)
        buf_add(ret, bytes, (size_t)n);
    explicit_bzero(bytes, sizeof(bytes));
    if (n < 0)
        return err_set_os(err, ERR_IO, errno, "read the value from stdin");
    if (ret->len > 0 && ret->ptr[ret->len - 1] == '\n')
        ret->len--;
    if (ret->len == 0 || ret->len > SECRET_VALUE_MAX)
        return err_set(err, ERR_INVALID, "the value comes on stdin: 1 to %u bytes", SECRET_VALUE_MAX);
    if (memchr(ret->ptr, '\0', ret->len) != NULL)
        return err_set(err, ERR_INVALID, "the value has a NUL byte, which no environment can hold");
    return OK;
}

static int secret_set(struct cli *c, const char *name, const char *below)
{
    struct errinfo err = {0};
    auto_json json_t *doc = NULL;
    AUTO(buf) struct buf value = {0}, body = {0};
    if (isatty(STDIN_FILENO))
        cli_say(c, "the value of '%s', then Ctrl-D:", name);
    if (read_value(&value, &err) != OK)
        return cli_fail(c, &err);
    buf_add_c(&body, "{\"value\":");
    buf_add_json_string(&body, buf_str(&value));
    buf_add_char(&body, '}');
    enum err rc = project_call(c, "PUT", below, buf_str(&body), &doc, &err);
    if (value.ptr != NULL)
        explicit_bzero(value.ptr, value.size);
    if (body.ptr != NULL)
        explicit_bzero(body.ptr, body.size);
    if (rc != OK)
        return cli_fail(c, &err);
    if (c->json)
        print_json(doc);
    else
        (void)printf("'%s' is set: the next deployment of '%s' has it in its environment\n", name, c->args[0]);
    return 0;
}

int verb_secrets(struct cli *c)
{
    static const struct column COLUMNS[] = {
        {"NAME", "name", COLUMN_TEXT}, {"SET", "set", COLUMN_AGE}, {"IN WHAT IS LIVE", "is_live", COLUMN_TEXT}, {0}};
    const char *verb = c->args_n > 1 ? c->args[1] : "", *name = c->args_n > 2 ? c->args[2] : "";
    struct errinfo err = {0};
    if (c->args_n == 1)
        return list_below(c, "/secrets", COLUMNS);
    bool is_set = strcmp(verb, "set") == 0;
    if ((!is_set && strcmp(verb, "unset") != 0) || name[0] == '\0')
        return cli_failf(c, ERR_INVALID,
                         "say 'secrets PROJECT set NAME' (its value on stdin) or 'secrets PROJECT unset NAME'");
    if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != strlen(name))
        return cli_failf(c, ERR_INVALID, "'%s' is no name of a variable: letters, digits and '_'", name);
    auto_free char *below = mem_printf("/secrets/%s", name);
    if (is_set)
        return secret_set(c, name, below);
    if (project_call(c, "DELETE", below, (struct str){0}, NULL, &err) != OK)
        return cli_fail(c, &err);
    if (c->json)
        (void)puts("{}");
    else
        (void)printf("'%s' is unset: what starts from now on does not have it\n", name);
    return 0;
}
