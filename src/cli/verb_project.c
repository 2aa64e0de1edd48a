/* The verbs about one project: scale. */
#include <stdio.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/project.h"
#include "cli/table.h"
#include "cli/verbs.h"

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
