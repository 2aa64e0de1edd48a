/* The verbs that raise and end an installation: up, down, uninstall, supervise, bootstrap. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/own.h"
#include "bootstrap/prod_bootstrap.h"
#include "cli/verbs.h"
#include "install/supervise.h"
#include "install/up.h"

const struct flag TOWER_FLAGS[] = {
    {"tower", FLAG_TEXT, "NAME", "which installation: dev-0 (default), dev-1, or a folder with inventory and log"},
    {0},
};
const struct flag BOOTSTRAP_FLAGS[] = {
    {"check", FLAG_TEXT, "PATH", "report every bad line of a bootstrap log with its reason"},
    {"dry-run", FLAG_BOOL, "", "show what PATH (default: the log of dev-0) would start, and where"},
    {0},
};

static void say_step(void *ctx, const char *text)
{
    const struct cli *c = ctx;
    (void)fprintf(stderr, c->stderr_is_tty ? "\033[36m›\033[0m %s\n" : "%s\n", text);
}

/* A folder (it has a slash), or a name: tower/<name> beside the build folder of a clone, or below the share folder of a
 * package. */
static const char *tower_folder(const char *flag, const struct cli *c, char ret[static PATH_SIZE])
{
    const char *given = flag != NULL ? flag : getenv("SLIPFORM_TOWER");
    if (given == NULL || given[0] == '\0')
        given = "dev-0";
    if (strchr(given, '/') != NULL) {
        (void)snprintf(ret, PATH_SIZE, "%s", given);
        return ret;
    }
    (void)snprintf(ret, PATH_SIZE, "%.400s/../tower/%.64s", c->exe_folder, given);
    if (access(ret, F_OK) != 0)
        (void)snprintf(ret, PATH_SIZE, "/usr/share/slipform/tower/%.64s", given);
    return ret;
}

int verb_up(struct cli *c)
{
    char tower[PATH_SIZE];
    const char *cache = getenv("SLIPFORM_CACHE"), *runtime = getenv("SLIPFORM_RUNTIME"),
               *store = getenv("SLIPFORM_STORE");
    struct up_options o = {.exe_folder = c->exe_folder,
                           .tower_folder = tower_folder(cli_text(c, "tower"), c, tower),
                           .cache_folder = cache != NULL && cache[0] != '\0' ? cache : "/var/cache/slipform",
                           .runtime = runtime != NULL && runtime[0] != '\0' ? runtime : "auto",
                           .store = store != NULL && store[0] != '\0' ? store : NULL,
                           .say = say_step,
                           .ctx = c};
    struct errinfo err;
    bool did_nothing = false;
    if (install_up(&c->home, &o, &did_nothing, &err) != OK)
        return cli_fail(c, &err);
    if (c->json)
        return verb_status(c);
    char url[96], public_url[96];
    (void)printf("%s %.*s in '%s'\n", did_nothing ? "Healthy already:" : "Up:", STR_ARG(c->home.inst.name),
                 c->home.path);
    (void)printf("  management API  %s\n  public API      %s\n  applications    https://<project>.%.*s:%lld\n",
                 home_management_url(&c->home, url), home_public_url(&c->home, public_url),
                 STR_ARG(c->home.inst.app_domain), (long long)c->home.inst.edge_https_port);
    return 0;
}

int verb_down(struct cli *c)
{
    struct errinfo err;
    const char *tower = cli_text(c, "tower");
    if (tower != NULL && strchr(tower, '/') == NULL && c->home.inst.name.len > 0 && !str_eq_c(c->home.inst.name, tower))
        return cli_failf(c, ERR_CONFLICT, "in '%s' is the installation '%.*s', not '%s': nothing was stopped",
                         c->home.path, STR_ARG(c->home.inst.name), tower);
    if (install_down(&c->home, say_step, c, &err) != OK)
        return cli_fail(c, &err);
    cli_say(c, "down; the data stays in '%s'", c->home.path);
    return 0;
}

int verb_uninstall(struct cli *c)
{
    struct errinfo err;
    if (install_uninstall(&c->home, say_step, c, &err) != OK)
        return cli_fail(c, &err);
    cli_say(c, "gone: '%s'", c->home.path);
    return 0;
}

int verb_supervise(struct cli *c)
{
    struct errinfo err;
    return supervise_run(&c->home, &err) == OK ? 0 : cli_fail(c, &err);
}

static void check_line(void *ctx, const struct bootstrap_line *l)
{
    json_t *row = json_object();
    json_object_set_new(row, "line", json_integer((json_int_t)l->line));
    json_object_set_new(row, "ok", json_boolean(l->ok));
    json_object_set_new(row, "cause", l->ok ? json_null() : json_from_str(str_from(l->cause)));
    json_array_append_new(ctx, row);
}

static int check(struct cli *c, const char *path)
{
    struct errinfo err;
    uint64_t bad = 0;
    auto_json json_t *rows = json_array();
    if (bootstrap_check(path, check_line, rows, &bad, &err) != OK)
        return cli_fail(c, &err);
    if (c->json) {
        auto_free char *text = json_format(rows);
        (void)puts(text);
        return bad == 0 ? 0 : 1;
    }
    size_t i = 0;
    json_t *row = NULL;
    json_array_foreach(rows, i, row)
    {
        if (!json_is_true(json_object_get(row, "ok")))
            (void)printf("line %lld: %.*s\n", (long long)json_integer_value(json_object_get(row, "line")),
                         STR_ARG(json_member_str(row, "cause")));
    }
    (void)printf("%zu lines, %llu bad\n", json_array_size(rows), (unsigned long long)bad);
    return bad == 0 ? 0 : 1;
}

static int dry_run(struct cli *c, const char *path)
{
    struct errinfo err;
    AUTO(arena) struct arena a = {0};
    struct bootstrap_instance *list = NULL;
    size_t n = 0;
    if (bootstrap_instances(path, &a, &list, &n, &err) != OK)
        return cli_fail(c, &err);
    auto_json json_t *rows = json_array();
    for (size_t i = 0; i < n; i++) {
        char id[ID_TEXT_SIZE];
        id_format(list[i].instance_id, id);
        auto_free char *action = mem_printf("start %.*s as %s", STR_ARG(list[i].name), id);
        json_t *row = json_object();
        json_object_set_new(row, "step", json_integer((json_int_t)i + 1));
        json_object_set_new(row, "host", json_from_str(list[i].node));
        json_object_set_new(row, "action", json_string(action));
        json_array_append_new(rows, row);
        if (!c->json)
            (void)printf("%2zu  %-6.*s %s\n", i + 1, STR_ARG(list[i].node), action);
    }
    if (c->json) {
        auto_free char *text = json_format(rows);
        (void)puts(text);
    }
    return 0;
}

int verb_bootstrap(struct cli *c)
{
    if (cli_flag(c, "check"))
        return check(c, cli_text(c, "check"));
    if (cli_flag(c, "dry-run")) {
        char tower[PATH_SIZE], path[PATH_SIZE];
        (void)snprintf(path, sizeof(path), "%.480s/bootstrap.jsonl", tower_folder(NULL, c, tower));
        return dry_run(c, c->args_n > 0 ? c->args[0] : path);
    }
    (void)cli_failf(c, ERR_INVALID,
                    "'bootstrap' needs --check PATH or --dry-run ('slipform up' runs it on this machine)");
    return 2;
}
