#include "install/up.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "blob/blob.h"
#include "bootstrap/prod_bootstrap.h"
#include "install/files.h"
#include "install/health.h"
#include "install/host_network.h"
#include "install/identity.h"
#include "install/log_place.h"
#include "install/recovery.h"
#include "install/services.h"
#include "install/settings.h"
#include "install/supervise.h"
#include "os/file.h"
#include "os/run.h"
#include "store/store.h"

/* 180 s: four pre-flights that each boot a probe guest under emulation on two busy cores take 30 s here (measured by a
 * cold `make up`); the rest is room. */
enum { TIMEOUT_S_DEFAULT = 180 };

struct up {
    struct home *h;
    const struct up_options *o;
    struct arena arena;
    struct bootstrap_instance *instances;
    size_t instances_n;
    int uid, gid;
    bool programs_changed, settings_changed;
    char log_file[PATH_SIZE];
};

static void say(const struct up *u, const char *text)
{
    u->o->say(u->o->ctx, text);
}

static enum err lock_home(const struct home *h, int *ret_fd, struct errinfo *err)
{
    char path[PATH_SIZE];
    enum err rc = folder_make(home_path(h, path, "run"), 0755, err);
    if (rc == OK)
        rc = file_lock(home_path(h, path, "run/install.lock"), ret_fd, err);
    if (rc == ERR_CONFLICT)
        return err_set(err, rc, "another 'slipform up' or 'down' is at work in '%s': wait for it to end", h->path);
    return rc;
}

/* A log's store and a bucket (NULL: none), opened as the programs will: with files that their user can read. */
static enum err check_servers(const char *store_spec, const char *blobs_spec, struct errinfo *err)
{
    struct store *store = NULL;
    struct blob_store *blobs = NULL;
    int uid = 0, gid = 0;
    enum err rc = files_user(&uid, &gid, err);
    if (rc == OK)
        rc = files_act_as((uid_t)uid, (gid_t)gid, err);
    if (rc != OK)
        return rc;
    if (store_spec != NULL)
        rc = store_open(store_spec, &(struct store_options){.mode = STORE_APPEND}, &store, NULL, err);
    if (rc == OK && blobs_spec != NULL)
        rc = blob_store_open(blobs_spec, &blobs, err);
    if (rc == OK && blobs_spec != NULL)
        rc = blob_check(blobs, err);
    store_close(store);
    blob_store_close(blobs);
    enum err back = files_act_as(0, 0, rc == OK ? err : NULL);
    return rc == OK ? back
                    : err_wrap(err, rc,
                               "the inventory's servers, asked as user '" INSTALL_USER
                               "' (docs/operate.md, \"Servers of your own\")");
}

/* A log on servers of somebody else is there, and may be appended to, before the home says that it is in use. */
static enum err check_store(const struct inventory *inv, struct errinfo *err)
{
    return inv->store == NULL || strchr(inv->store, ';') == NULL ? OK : check_servers(inv->store, NULL, err);
}

/* As management-api and image-builder will use them. */
static enum err check_home(const struct home *h, struct errinfo *err)
{
    char spec[LOG_SPEC_SIZE];
    auto_free char *blobs = h->inst.blobs.len > 0 ? settings_blobs(h, home_first_operator(h)) : NULL;
    const char *store = home_store_is_elsewhere(h) ? log_spec(h, LOG_AS_REPLICA, spec) : NULL;
    return store == NULL && blobs == NULL ? OK : check_servers(store, blobs, err);
}

static enum err load_inventory(struct up *u, struct errinfo *err)
{
    char file[PATH_SIZE];
    (void)snprintf(u->log_file, sizeof(u->log_file), "%.480s/bootstrap.jsonl", u->o->tower_folder);
    struct inventory *inv = NULL;
    (void)snprintf(file, sizeof(file), "%.480s/inventory.yaml", u->o->tower_folder);
    enum err rc = inventory_load(file, &inv, err);
    if (rc == OK && u->o->store != NULL)
        inventory_set_store(inv, u->o->store);
    if (rc == OK && u->h->inst.name.len == 0)
        rc = check_store(inv, err);
    if (rc == OK && u->h->inst.name.len == 0)
        rc = home_create(u->h, inv, u->o->say, u->o->ctx, err);
    else if (rc == OK && !str_eq_c(u->h->inst.name, inv->installation))
        rc = err_set(err, ERR_CONFLICT,
                     "in '%s' is the installation '%.*s', and '%s' is of '%s': name that one's tower, or another "
                     "SLIPFORM_HOME",
                     u->h->path, STR_ARG(u->h->inst.name), file, inv->installation);
    else if (rc == OK && u->o->store != NULL && !home_store_is(u->h, u->o->store))
        rc = err_set(err, ERR_CONFLICT,
                     "the log of '%.*s' in '%s' is in '%.*s', chosen at its first 'up', and SLIPFORM_STORE says '%s': "
                     "unset it, or take another SLIPFORM_HOME (a log moves with 'slipform eventlog copy')",
                     STR_ARG(u->h->inst.name), u->h->path, STR_ARG(u->h->inst.store), u->o->store);
    else if (rc == OK)
        rc = home_complete(u->h, inv, u->o->say, u->o->ctx, err);
    inventory_free(inv);
    if (rc != OK)
        return rc;
    return bootstrap_instances(u->log_file, &u->arena, &u->instances, &u->instances_n, err);
}

static bool is_healthy(const struct up *u)
{
    struct errinfo why;
    return supervise_is_running(u->h) && host_network_is_up(u->h) && services_are_well(u->h, &why) == OK &&
           health_agents(u->h, &why) == OK && health_programs(u->h, u->instances, u->instances_n, &why) == OK &&
           health_control(u->h, &why) == OK;
}

/* Whether a process of this installation listens there: its programs and Envoys outlive agents and supervisor. */
static bool is_held_by_us(const struct up *u, int64_t port)
{
    char filter[32];
    (void)snprintf(filter, sizeof(filter), "sport = :%lld", (long long)port);
    const char *argv[] = {"ss", "-ltnpH", filter, NULL};
    AUTO(buf) struct buf out = {0};
    if (run_program(&(struct run_options){.argv = argv}, &out, NULL) != OK)
        return false;
    struct str rest = buf_str(&out), word;
    while (str_next(&rest, ',', &word)) { /* users:(("envoy",pid=12,fd=3)) */
        char path[64];
        AUTO(buf) struct buf command = {0};
        if (!str_starts(word, STR("pid=")))
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%.*s/cmdline", STR_ARG(str_slice(word, 4, word.len)));
        if (file_read(path, 65536, &command, NULL) == OK && command.len > 0 &&
            memmem(command.ptr, command.len, u->h->path, strlen(u->h->path)) != NULL)
            return true;
    }
    return false;
}

/* Ports of this machine must be free or ours: said before anything is started. One that is being closed gets 3 s. */
static enum err check_ports(const struct up *u, struct errinfo *err)
{
    const struct installation *inst = &u->h->inst;
    const struct {
        const char *name;
        int64_t port;
    } PORTS[] = {{"edge_http", inst->edge_http_port},
                 {"edge_https", inst->edge_https_port},
                 {"management_api", inst->management_api_port},
                 {"public_api", inst->public_api_port}};
    int64_t until_us = clock_mono_us() + 3000000;
    for (size_t i = 0; i < sizeof(PORTS) / sizeof(PORTS[0]); i++) {
        while (port_is_busy((uint16_t)PORTS[i].port) && !is_held_by_us(u, PORTS[i].port)) {
            if (clock_mono_us() > until_us)
                return err_set(err, ERR_CONFLICT,
                               "port %lld (%s) is in use by another program ('ss -ltnp sport = :%lld' names it): end "
                               "that, or choose another port in '%s/installation.json'",
                               (long long)PORTS[i].port, PORTS[i].name, (long long)PORTS[i].port, u->h->path);
            usleep(100000);
        }
    }
    return OK;
}

static enum err write_files(struct up *u, struct errinfo *err)
{
    enum err rc = files_user(&u->uid, &u->gid, err);
    if (rc == OK)
        rc = files_folders(u->h, u->uid, u->gid, err);
    if (rc == OK)
        rc = files_programs(u->h, u->o, &u->programs_changed, err);
    if (rc == OK)
        rc = identity_write_all(u->h, u->instances, u->instances_n, u->uid, u->gid, err);
    if (rc == OK)
        rc = recovery_keep(u->h, NULL, u->o->say, u->o->ctx, err);
    if (rc == OK)
        rc = services_create(u->h, u->uid, u->gid, err);
    return rc == OK ? settings_write_all(u->h, u->o, &u->settings_changed, err) : rc;
}

/* Which log this installation has had since its first `up`; none in homes of before, and while there was none. An empty
 * log in its place would have every node end what it runs. */
static enum err read_log_id(const struct home *h, struct id *ret_log, struct errinfo *err)
{
    char path[PATH_SIZE];
    AUTO(buf) struct buf text = {0};
    *ret_log = ID_NONE;
    if (!file_exists(home_path(h, path, "operator/log-id")))
        return OK;
    enum err rc = file_read(path, 256, &text, err);
    if (rc == OK && !id_parse(str_trim(buf_str(&text)), ret_log))
        return err_set(err, ERR_INVALID, "'%s' is not the id of a log", path);
    return rc;
}

static enum err write_log_id(const struct home *h, struct id log, struct errinfo *err)
{
    char path[PATH_SIZE], text[ID_TEXT_SIZE + 1];
    id_format(log, text);
    memcpy(text + ID_TEXT_SIZE - 1, "\n", 2);
    return file_replace(home_path(h, path, "operator/log-id"), str_from(text), 0644, err);
}

static enum err seed(struct up *u, struct errinfo *err)
{
    say(u, "region and zones in the event log");
    char spec[LOG_SPEC_SIZE];
    struct str zones[INVENTORY_NODES_MAX];
    for (size_t i = 0; i < u->h->inst.nodes.n; i++)
        zones[i] = home_node(u->h, i)->zone;
    struct id had, log;
    enum err rc = read_log_id(u->h, &had, err);
    if (rc == OK)
        rc = bootstrap_seed_places(log_spec(u->h, LOG_AS_OWNER, spec), had, u->h->inst.region, zones,
                                   u->h->inst.nodes.n, &log, err);
    if (rc == OK && id_is_none(had))
        rc = write_log_id(u->h, log, err);
    return rc == OK && home_store_is(u->h, "files") ? files_own_log(u->h, u->uid, u->gid, err) : rc;
}

/* Try `check` every 200 ms until it is OK or the deadline passes, saying now and then what it waits for. */
static enum err wait_until(struct up *u, enum err (*check)(struct up *u, struct errinfo *err), int64_t until_us,
                           struct errinfo *err)
{
    char said[sizeof(err->msg)] = "";
    int64_t said_us = clock_mono_us();
    for (;;) {
        enum err rc = check(u, err);
        int64_t now_us = clock_mono_us();
        if (rc == OK)
            return OK;
        if (now_us > until_us)
            return err_wrap(err, ERR_UNAVAILABLE, "it is not healthy in time ('slipform doctor' tells more)");
        if (now_us - said_us > 5000000 && strcmp(said, err->msg) != 0) {
            char text[600];
            (void)snprintf(text, sizeof(text), "waiting: %s", err->msg);
            say(u, text);
            memcpy(said, err->msg, sizeof(said));
            said_us = now_us;
        }
        usleep(200000);
    }
}

static enum err check_services(struct up *u, struct errinfo *err)
{
    return services_can_be_prepared(u->h, err);
}

/* A log in files, or of somebody else's servers, is there before anything runs; ours need the supervisor. */
static enum err start_log_and_agents(struct up *u, int64_t until_us, struct errinfo *err)
{
    char exe[PATH_SIZE];
    bool is_served = !home_store_is(u->h, "files") && !home_store_is_elsewhere(u->h);
    enum err rc = is_served ? OK : seed(u, err);
    if (rc == OK) {
        say(u, "supervisor and node-agents");
        rc = supervise_start(u->h, home_path(u->h, exe, "programs/slipform"), err);
    }
    if (rc == OK)
        rc = wait_until(u, check_services, until_us, err);
    if (rc == OK)
        rc = services_prepare(u->h, err);
    return rc == OK && is_served ? seed(u, err) : rc;
}

static enum err check_agents(struct up *u, struct errinfo *err)
{
    return health_agents(u->h, err);
}

static enum err check_all(struct up *u, struct errinfo *err)
{
    enum err rc = health_programs(u->h, u->instances, u->instances_n, err);
    return rc == OK ? health_control(u->h, err) : rc;
}

struct runner_slot {
    struct up *u;
    struct runner_texts texts;
};

static enum err find_runner(void *ctx, struct str name, struct runner *ret, struct errinfo *err)
{
    struct runner_slot *slot = ctx;
    const struct installation_node *n = home_node_by_name(slot->u->h, name);
    if (n == NULL)
        return err_set(err, ERR_NOT_FOUND, "the inventory has no node '%.*s'", STR_ARG(name));
    *ret = health_runner(slot->u->h, n, &slot->texts);
    return OK;
}

static void say_effect(void *ctx, const char *text)
{
    struct runner_slot *slot = ctx;
    char line[256];
    (void)snprintf(line, sizeof(line), "prod-bootstrap: %s", text);
    say(slot->u, line);
}

static enum err run_bootstrap(struct up *u, struct errinfo *err)
{
    struct runner_slot slot = {.u = u};
    char checkpoint[PATH_SIZE];
    struct bootstrap_options o = {.log_file = u->log_file,
                                  .checkpoint_file = home_path(u->h, checkpoint, "run/bootstrap.done"),
                                  .find_runner = find_runner,
                                  .say = say_effect,
                                  .ctx = &slot};
    return bootstrap_run(&o, err);
}

static enum err raise_it(struct up *u, struct errinfo *err)
{
    int64_t until_us = clock_mono_us() + (u->o->timeout_s == 0 ? TIMEOUT_S_DEFAULT : u->o->timeout_s) * 1000000;
    if (!supervise_is_running(u->h) && health_agents(u->h, err) != OK) {
        enum err rc = check_ports(u, err);
        if (rc != OK)
            return rc;
    }
    say(u, "user, folders, programs, certificates, settings");
    enum err rc = write_files(u, err);
    if (rc == OK)
        rc = check_home(u->h, err);
    /* New programs: agents are started anew and leave what runs; prod-bootstrap then has changed instances restarted.
     */
    if (rc == OK && (u->programs_changed || u->settings_changed))
        rc = supervise_stop(u->h, err);
    if (rc == OK) {
        say(u, "network: bridge, a namespace per worker, NAT");
        rc = host_network_up(u->h, err);
    }
    if (rc == OK)
        rc = start_log_and_agents(u, until_us, err);
    if (rc == OK)
        rc = wait_until(u, check_agents, until_us, err);
    if (rc == OK)
        rc = run_bootstrap(u, err);
    if (rc == OK) {
        say(u, "waiting for the platform and its nodes");
        rc = wait_until(u, check_all, until_us, err);
    }
    return rc;
}

enum err install_up(struct home *h, const struct up_options *o, bool *ret_did_nothing, struct errinfo *err)
{
    if (geteuid() != 0)
        return err_set(err, ERR_DENIED,
                       "'slipform up' needs root (it makes network namespaces and microVMs): run it with "
                       "sudo");
    auto_close int lock = -1;
    enum err rc = lock_home(h, &lock, err);
    if (rc != OK)
        return rc;
    struct up u = {.h = h, .o = o};
    rc = load_inventory(&u, err);
    bool was_healthy = rc == OK && is_healthy(&u);
    if (was_healthy)
        rc = write_files(&u, err);
    *ret_did_nothing = rc == OK && was_healthy && !u.programs_changed && !u.settings_changed;
    if (rc == OK && !*ret_did_nothing)
        rc = raise_it(&u, err);
    arena_done(&u.arena);
    return rc;
}
