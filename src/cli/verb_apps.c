/* slipform apps: event-sourced applications; list them, deploy one, see its story, delete it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/own.h"
#include "cli/context.h"
#include "cli/rows.h"
#include "cli/table.h"
#include "cli/verbs.h"

const struct flag APPS_FLAGS[] = {
    {"application", FLAG_TEXT, "FILE",
     "what to deploy: name, version, types, streams, process (default application.json in DIR)"},
    {"detach", FLAG_BOOL, "", "don't wait until its instances run"},
    {0},
};

/* 30 minutes: a build's limit and a boot's, with room (chosen). */
enum { WAIT_SECONDS_MAX = 1800 };

static int list(struct cli *c)
{
    static const struct column COLUMNS[] = {{"APPLICATION", "name", COLUMN_TEXT},
                                            {"VERSION", "version", COLUMN_TEXT},
                                            {"STATUS", "status", COLUMN_TEXT},
                                            {"HEALTH", "health", COLUMN_TEXT},
                                            {"HEALTHY", "instances_healthy", COLUMN_TEXT},
                                            {"WANTED", "instances_wanted", COLUMN_TEXT},
                                            {"LAG", "lag_events", COLUMN_TEXT},
                                            {"EVENTS/S", "events_per_second", COLUMN_TEXT},
                                            {"URL", "url", COLUMN_TEXT},
                                            {"PROCESS", "process_id", COLUMN_TEXT},
                                            {0}};
    struct errinfo err;
    auto_json json_t *items = NULL;
    if (client_list(c, API_MANAGEMENT, "/v1/applications", &items, &err) != OK)
        return cli_fail(c, &err);
    return rows_print(c, items, COLUMNS);
}

/* Names become a path. */
static bool is_label(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n < 64 && text[n] == '\0';
}

static char *application_path(const char *name, const char *version)
{
    return mem_printf("/v1/applications/%s/%s", name, version);
}

/* ---- deploy ---- */

static enum err read_application(struct cli *c, const char *folder, json_t **ret_doc, struct errinfo *err)
{
    const char *given = cli_text(c, "application");
    auto_free char *path = given != NULL ? mem_strdup(given) : mem_printf("%s/application.json", folder);
    json_error_t why;
    *ret_doc = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (*ret_doc == NULL)
        return err_set(err, ERR_INVALID, "'%s', line %d: %s (--application names another file)", path, why.line,
                       why.text);
    const char *name = json_string_value(json_object_get(*ret_doc, "name")),
               *version = json_string_value(json_object_get(*ret_doc, "version"));
    if (name == NULL || version == NULL || !is_label(name) || !is_label(version))
        return err_set(err, ERR_INVALID, "'%s' must have 'name' and 'version': letters, digits, '.', '_' and '-'",
                       path);
    return OK;
}

static enum err order_image(struct cli *c, const char *folder, json_t **ret_image, struct errinfo *err)
{
    auto_close int fd = -1;
    uint64_t size = 0;
    enum err rc = context_pack(folder, &fd, &size, err);
    if (rc != OK)
        return rc;
    cli_say(c, "packed '%s': %.1f KiB", folder, (double)size / 1024);
    return client_call(c,
                       &(struct client_call){.api = API_MANAGEMENT,
                                             .method = "POST",
                                             .path = "/v1/images",
                                             .content_type = "application/x-tar",
                                             .upload_fd = fd,
                                             .upload_size_bytes = size,
                                             .timeout_ms = 300000},
                       ret_image, err);
}

/* GET path once a second until `member` is one of two; the other one is a failure for the caller to tell. */
static enum err wait_for(struct cli *c, const char *path, const char *one, const char *other, json_t **doc,
                         struct errinfo *err)
{
    char last[64] = "";
    for (int second = 0; second < WAIT_SECONDS_MAX; second++) {
        struct str status = json_member_str(*doc, "status");
        if (!str_eq_c(status, last) && str_copy_to(status, last, sizeof(last)))
            cli_say(c, "%s", last);
        if (str_eq_c(status, one) || str_eq_c(status, other))
            return OK;
        sleep(1);
        json_t *next = NULL;
        enum err rc = client_call(c, &(struct client_call){.api = API_MANAGEMENT, .path = path}, &next, err);
        if (rc == ERR_UNAVAILABLE)
            continue; /* the control plane restarts: what was asked for goes on */
        if (rc != OK)
            return rc;
        json_decref(*doc);
        *doc = next;
    }
    return err_set(err, ERR_UNAVAILABLE, "'%s' is not %s after %d minutes", path, one, WAIT_SECONDS_MAX / 60);
}

static enum err build(struct cli *c, const char *folder, char **ret_digest, struct errinfo *err)
{
    auto_json json_t *image = NULL;
    enum err rc = order_image(c, folder, &image, err);
    if (rc != OK)
        return rc;
    auto_free char *path = mem_printf("/v1/images/%.*s", STR_ARG(json_member_str(image, "image_id")));
    rc = wait_for(c, path, "ready", "failed", &image, err);
    if (rc != OK)
        return rc;
    struct str digest = json_member_str(image, "digest");
    if (!str_eq(json_member_str(image, "status"), STR("ready")))
        return err_set(err, ERR_INVALID, "the image could not be built: %.*s (GET %s/logs tells more)",
                       STR_ARG(json_member_str(image, "cause")), path);
    *ret_digest = mem_strndup(digest.ptr, digest.len);
    return OK;
}

static enum err put(struct cli *c, json_t *doc, const char *digest, const char *path, json_t **ret_application,
                    struct errinfo *err)
{
    auto_json json_t *body = json_copy(doc), *process = json_copy(json_object_get(doc, "process"));
    if (process == NULL)
        process = json_object();
    json_object_set_new(process, "imageDigest", json_string(digest));
    json_object_set(body, "process", process);
    (void)json_object_del(body, "name");
    (void)json_object_del(body, "version");
    auto_free char *text = json_format(body);
    return client_call(
        c, &(struct client_call){.api = API_MANAGEMENT, .method = "PUT", .path = path, .body = str_from(text)},
        ret_application, err);
}

static int deploy(struct cli *c)
{
    const char *folder = c->args_n > 1 ? c->args[1] : ".";
    struct errinfo err;
    auto_json json_t *doc = NULL, *application = NULL;
    auto_free char *digest = NULL;
    auto_free char *path = NULL;
    enum err rc = read_application(c, folder, &doc, &err);
    if (rc == OK)
        rc = build(c, folder, &digest, &err);
    if (rc == OK) {
        path = application_path(json_string_value(json_object_get(doc, "name")),
                                json_string_value(json_object_get(doc, "version")));
        rc = put(c, doc, digest, path, &application, &err);
    }
    if (rc == OK && !cli_flag(c, "detach"))
        rc = wait_for(c, path, "running", "draining", &application, &err);
    if (rc != OK)
        return cli_fail(c, &err);
    if (c->json) {
        auto_free char *text = json_format(application);
        (void)puts(text);
    } else {
        (void)printf("%.*s %.*s: process %.*s\n", STR_ARG(json_member_str(application, "name")),
                     STR_ARG(json_member_str(application, "version")),
                     STR_ARG(json_member_str(application, "process_id")));
        struct str url = json_member_str(application, "url");
        if (url.len > 0)
            (void)printf("%.*s\n", STR_ARG(url));
    }
    return 0;
}

/* ---- one application ---- */

/* How far each instance is: below its story. */
static void print_progress(const json_t *instances)
{
    static const struct column COLUMNS[] = {{"INSTANCE", "instance_id", COLUMN_TEXT},
                                            {"STATUS", "status", COLUMN_TEXT},
                                            {"HEALTH", "health", COLUMN_TEXT},
                                            {"CHECKPOINT", "progress.checkpoint", COLUMN_TEXT},
                                            {"LAG", "progress.lag_events", COLUMN_TEXT},
                                            {"IN", "progress.n_input_events_handled", COLUMN_TEXT},
                                            {"OUT", "progress.n_output_events", COLUMN_TEXT},
                                            {"PARKED", "progress.n_effects_parked", COLUMN_TEXT},
                                            {"ERRORS", "progress.n_errors", COLUMN_TEXT},
                                            {"FIRST ERROR", "progress.first_error.text", COLUMN_TEXT},
                                            {"LAST ERROR", "progress.last_error.text", COLUMN_TEXT},
                                            {0}};
    static const struct column WINDOWS[] = {{"  WINDOW", "start", COLUMN_TEXT},
                                            {"IN", "n_input_events_handled_ok", COLUMN_TEXT},
                                            {"OUT", "n_output_events", COLUMN_TEXT},
                                            {"ERRORS", "n_errors", COLUMN_TEXT},
                                            {0}};
    size_t i = 0;
    json_t *row = NULL;
    (void)puts("");
    table_print(instances, COLUMNS);
    json_array_foreach(instances, i, row)
    {
        const json_t *windows = json_object_get(json_object_get(row, "progress"), "windows");
        if (json_array_size(windows) == 0)
            continue;
        (void)printf("\n%.*s\n", STR_ARG(json_member_str(row, "instance_id")));
        table_print(windows, WINDOWS);
    }
}

static int timeline(struct cli *c, const char *path)
{
    static const struct column COLUMNS[] = {{"TIME", "time", COLUMN_TEXT},
                                            {"INSTANCE", "instance_id", COLUMN_TEXT},
                                            {"NODE", "node", COLUMN_TEXT},
                                            {"WHAT", "what", COLUMN_TEXT},
                                            {"HEALTH", "health", COLUMN_TEXT},
                                            {"CAUSE", "cause", COLUMN_TEXT},
                                            {0}};
    struct errinfo err;
    auto_json json_t *application = NULL, *doc = NULL;
    enum err rc = client_call(c, &(struct client_call){.api = API_MANAGEMENT, .path = path}, &application, &err);
    if (rc == OK) {
        auto_free char *of =
            mem_printf("/v1/processes/%.*s/timeline", STR_ARG(json_member_str(application, "process_id")));
        rc = client_call(c, &(struct client_call){.api = API_MANAGEMENT, .path = of}, &doc, &err);
    }
    if (rc != OK)
        return cli_fail(c, &err);
    if (c->json) {
        auto_free char *text = json_format(doc);
        (void)puts(text);
        return 0;
    }
    table_print(json_object_get(doc, "items"), COLUMNS);
    print_progress(json_object_get(doc, "instances"));
    return 0;
}

static int delete(struct cli *c, const char *path)
{
    struct errinfo err;
    enum err rc =
        client_call(c, &(struct client_call){.api = API_MANAGEMENT, .method = "DELETE", .path = path}, NULL, &err);
    return rc == OK ? 0 : cli_fail(c, &err);
}

int verb_apps(struct cli *c)
{
    if (c->args_n == 0)
        return list(c);
    if (strcmp(c->args[0], "deploy") == 0 && c->args_n <= 2)
        return deploy(c);
    bool is_deletion = strcmp(c->args[0], "delete") == 0;
    if ((!is_deletion && strcmp(c->args[0], "timeline") != 0) || c->args_n != 3 || !is_label(c->args[1]) ||
        !is_label(c->args[2]))
        return (void)cli_failf(c, ERR_INVALID,
                               "say 'apps', 'apps deploy [DIR]', 'apps timeline NAME VERSION' or 'apps "
                               "delete NAME VERSION'"),
               2;
    auto_free char *path = application_path(c->args[1], c->args[2]);
    return is_deletion ? delete (c, path) : timeline(c, path);
}
