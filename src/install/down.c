/* install_down, install_uninstall. */
#include <stdio.h>
#include <unistd.h>

#include "base/own.h"
#include "install/host_network.h"
#include "install/supervise.h"
#include "install/up.h"
#include "os/cgroup.h"
#include "os/file.h"
#include "os/run.h"

/* 120 s: a worker with many guests gives each its grace, side by side (chosen). */
enum { STOP_ALL_TIMEOUT_MS = 120000 };

/* Its agent's own way to end everything of its node, inside that node's namespace. */
static enum err stop_all(const struct home *h, const struct installation_node *n, struct errinfo *err)
{
    char program[PATH_SIZE], config[PATH_SIZE], ns[128];
    home_path(h, program, "programs/node-agent");
    home_path(h, config, "nodes/%.*s/node-agent.yaml", STR_ARG(n->name));
    if (!file_exists(program) || !file_exists(config))
        return OK; /* it never came that far */
    home_namespace(h, n, ns);
    char ns_path[192];
    (void)snprintf(ns_path, sizeof(ns_path), "/run/netns/%s", ns);
    if (n->has_namespace && !file_exists(ns_path))
        return OK;
    const char *argv[] = {program, "--config", config, "--stop-all", NULL};
    enum err rc = run_program(
        &(struct run_options){.argv = argv, .netns = n->has_namespace ? ns : NULL, .timeout_ms = STOP_ALL_TIMEOUT_MS},
        NULL, err);
    return rc == OK ? OK : err_wrap(err, rc, "stopping what runs on '%.*s'", STR_ARG(n->name));
}

static enum err stop_nodes(const struct home *h, const char *label, struct errinfo *err)
{
    enum err rc = OK;
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        const struct installation_node *n = home_node(h, i);
        struct errinfo why;
        enum err one = str_eq_c(n->label, label) ? stop_all(h, n, &why) : OK;
        if (one != OK && rc == OK) { /* the others are stopped all the same */
            rc = one;
            if (err != NULL)
                *err = why;
        }
    }
    return rc;
}

/* Empty parents that agents and builders left behind. */
static void prune_cgroups(const struct home *h)
{
    struct cgroup_host cgroups;
    cgroup_detect(&cgroups);
    for (size_t i = 0; i < h->inst.nodes.n; i++) {
        char name[256];
        (void)snprintf(name, sizeof(name), "slipform/%.*s-%.*s/%.*s/x", STR_ARG(h->inst.name), STR_ARG(h->inst.os_tag),
                       STR_ARG(home_node(h, i)->name));
        cgroup_prune(&cgroups, name);
    }
    char build[128];
    (void)snprintf(build, sizeof(build), "slipform/%.*s/build/x", STR_ARG(h->inst.name));
    cgroup_prune(&cgroups, build);
}

enum err install_down(const struct home *h, void (*say)(void *ctx, const char *text), void *ctx, struct errinfo *err)
{
    if (geteuid() != 0)
        return err_set(err, ERR_DENIED, "'slipform down' needs root: run it with sudo");
    char path[PATH_SIZE];
    auto_close int lock = -1;
    enum err rc = file_lock(home_path(h, path, "run/install.lock"), &lock, err);
    if (rc == ERR_CONFLICT)
        return err_set(err, rc, "another 'slipform up' or 'down' is at work in '%s': wait for it to end", h->path);
    say(ctx, "node-agents");
    if (rc == OK)
        rc = supervise_stop(h, err);
    if (rc != OK)
        return rc;
    say(ctx, "control plane and edge"); /* first: so that nothing is declared lost */
    enum err stopped = stop_nodes(h, "control", err);
    say(ctx, "instances of the workers");
    if (stopped == OK)
        stopped = stop_nodes(h, "worker", err);
    if (stopped == OK)
        stopped = supervise_stop_services(h, err);
    say(ctx, "network");
    struct errinfo why;
    rc = host_network_down(h, &why);
    prune_cgroups(h);
    if (stopped == OK && rc != OK)
        *err = why;
    return stopped != OK ? stopped : rc;
}

enum err install_uninstall(const struct home *h, void (*say)(void *ctx, const char *text), void *ctx,
                           struct errinfo *err)
{
    enum err rc = install_down(h, say, ctx, err);
    if (rc != OK)
        return rc;
    say(ctx, h->path);
    return folder_remove(h->path, err);
}
