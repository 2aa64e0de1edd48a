/* slipform deploy: project, context, deployment, and then wait, with what happens on stderr. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "cli/client.h"
#include "cli/context.h"
#include "cli/project.h"
#include "cli/verbs.h"

const struct flag DEPLOY_FLAGS[] = {
    {"project", FLAG_TEXT, "P", "name of the project; made when there is none (required)"},
    {"instances", FLAG_COUNT, "N", "at least so many microVMs (default 3)"},
    {"drain-seconds", FLAG_COUNT, "S", "old instances go this long after the switch (default 300)"},
    {"port", FLAG_COUNT, "N", "port that the program listens on, given to it as $PORT (default 8080)"},
    {"start-timeout", FLAG_COUNT, "S", "an instance that is not healthy by then has failed (default 120)"},
    {"runtime", FLAG_TEXT, "R", "qemu, null: instead of the best that the pre-flight proved"},
    {"detach", FLAG_BOOL, "", "don't wait until it is live"},
    {0},
};

/* 30 minutes: a build's limit and a boot's, with room (chosen). */
enum { WAIT_SECONDS_MAX = 1800 };

static enum err find_or_make_project(struct cli *c, const char *name, json_t **ret_project, struct errinfo *err)
{
    enum err rc = project_find(c, name, ret_project, err);
    if (rc != ERR_NOT_FOUND)
        return rc;
    AUTO(buf) struct buf body = {0};
    buf_add_c(&body, "{\"name\":");
    buf_add_json_string(&body, str_from(name));
    buf_add_char(&body, '}');
    return client_call(c, &(struct client_call){.method = "POST", .path = "/v1/projects", .body = buf_str(&body)},
                       ret_project, err);
}

static enum err create(struct cli *c, const json_t *project, const char *folder, json_t **ret_deployment,
                       struct errinfo *err)
{
    auto_close int fd = -1;
    uint64_t size = 0;
    enum err rc = context_pack(folder, &fd, &size, err);
    if (rc != OK)
        return rc;
    cli_say(c, "packed '%s': %.1f KiB", folder, (double)size / 1024);
    AUTO(buf) struct buf path = {0};
    buf_addf(&path, "/v1/deployments?project_id=%.*s", STR_ARG(json_member_str(project, "project_id")));
    static const char *const COUNTS[][2] = {{"instances", "instances"},
                                            {"drain-seconds", "drain_seconds"},
                                            {"port", "port"},
                                            {"start-timeout", "health_start_timeout_seconds"}};
    for (size_t i = 0; i < sizeof(COUNTS) / sizeof(COUNTS[0]); i++)
        if (cli_flag(c, COUNTS[i][0]))
            buf_addf(&path, "&%s=%s", COUNTS[i][1], cli_text(c, COUNTS[i][0]));
    const char *runtime = cli_text(c, "runtime");
    if (runtime != NULL) {
        if (strspn(runtime, "abcdefghijklmnopqrstuvwxyz") != strlen(runtime))
            return err_set(err, ERR_INVALID, "'%s' is no runtime: qemu, null", runtime);
        buf_addf(&path, "&runtime=%s", runtime);
    }
    return client_call(c,
                       &(struct client_call){.method = "POST",
                                             .path = path.ptr,
                                             .content_type = "application/x-tar",
                                             .upload_fd = fd,
                                             .upload_size_bytes = size,
                                             .timeout_ms = 300000},
                       ret_deployment, err);
}

static bool is_final(struct str status)
{
    static const char *const FINAL[] = {"live", "failed", "cancelled", "stopped", "draining"};
    for (size_t i = 0; i < sizeof(FINAL) / sizeof(FINAL[0]); i++)
        if (str_eq_c(status, FINAL[i]))
            return true;
    return false;
}

/* What the builder has said since the last look. */
static void show_build_log(struct cli *c, const char *id, size_t *shown)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "/v1/deployments/%s/logs?format=json", id);
    auto_json json_t *doc = NULL;
    if (client_call(c, &(struct client_call){.path = path}, &doc, &(struct errinfo){0}) != OK)
        return;
    const json_t *items = json_object_get(doc, "items");
    for (; *shown < json_array_size(items); (*shown)++) {
        const json_t *line = json_array_get(items, *shown);
        cli_say(c, "  | %.*s", STR_ARG(json_member_str(line, "text")));
    }
}

/* Ask once a second until the deployment has come to an end, saying each change. */
static enum err wait_until_final(struct cli *c, json_t **deployment, struct errinfo *err)
{
    char path[128], id[64], last[512] = "";
    (void)str_copy_to(json_member_str(*deployment, "deployment_id"), id, sizeof(id));
    (void)snprintf(path, sizeof(path), "/v1/deployments/%s", id);
    size_t shown = 0;
    for (int second = 0; second < WAIT_SECONDS_MAX; second++) {
        struct str status = json_member_str(*deployment, "status"), cause = json_member_str(*deployment, "cause");
        char now[512];
        (void)snprintf(now, sizeof(now), "%.*s%s%.*s", STR_ARG(status), cause.len > 0 ? ": " : "", STR_ARG(cause));
        if (strcmp(now, last) != 0)
            cli_say(c, "%s", now);
        memcpy(last, now, sizeof(last));
        if (str_eq(status, STR("building")))
            show_build_log(c, id, &shown);
        if (is_final(status))
            return OK;
        sleep(1);
        json_t *next = NULL;
        enum err rc = client_call(c, &(struct client_call){.path = path}, &next, err);
        if (rc == ERR_UNAVAILABLE || rc == ERR_IO)
            continue; /* the control plane restarts, perhaps while it answered: the deployment goes on */
        if (rc != OK)
            return rc;
        json_decref(*deployment);
        *deployment = next;
    }
    return err_set(err, ERR_UNAVAILABLE, "deployment '%s' is not live after %d minutes: 'slipform status %s' says why",
                   id, WAIT_SECONDS_MAX / 60, id);
}

static int report(struct cli *c, const json_t *deployment)
{
    struct str status = json_member_str(deployment, "status"), id = json_member_str(deployment, "deployment_id");
    if (c->json) {
        static const char *const KEYS[] = {"deployment_id", "project_id", "status", "url", "host", "cause"};
        auto_json json_t *doc = json_object();
        for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
            json_t *v = json_object_get(deployment, KEYS[i]);
            json_object_set_new(doc, KEYS[i], v != NULL ? json_incref(v) : json_null());
        }
        auto_free char *text = json_format(doc);
        (void)puts(text);
    } else if (str_eq(status, STR("live"))) {
        (void)printf("%.*s\n", STR_ARG(json_member_str(deployment, "url")));
    }
    if (str_eq(status, STR("live")) || cli_flag(c, "detach"))
        return 0;
    if (!c->json)
        (void)fprintf(stderr, "slipform: deployment %.*s %.*s: %.*s ('slipform logs %.*s' tells more)\n", STR_ARG(id),
                      STR_ARG(status), STR_ARG(json_member_str(deployment, "cause")), STR_ARG(id));
    return 1;
}

int verb_deploy(struct cli *c)
{
    const char *name = cli_text(c, "project");
    if (name == NULL)
        return (void)cli_failf(c, ERR_INVALID,
                               "'deploy' needs --project NAME: which application this is a version of; made when it is "
                               "new ('slipform projects' lists them)"),
               2;
    struct errinfo err;
    auto_json json_t *project = NULL, *deployment = NULL;
    enum err rc = find_or_make_project(c, name, &project, &err);
    if (rc == OK)
        rc = create(c, project, c->args_n > 0 ? c->args[0] : ".", &deployment, &err);
    if (rc == OK && !cli_flag(c, "detach"))
        rc = wait_until_final(c, &deployment, &err);
    return rc == OK ? report(c, deployment) : cli_fail(c, &err);
}
