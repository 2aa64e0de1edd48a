/* What converge asks for, carried out. PREPARE is a chain: runtime, identity, image, tap; each step that has to wait
 * comes back to act_prepare_next(). CLEAN undoes it: route, tap, the runtime's leftovers. */
#include <assert.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"
#include "node/agent/private.h"
#include "os/file.h"

/* Processes of an ended instance that are still ending. */
static const int64_t CLEAN_AGAIN_MS = 100;
static const int64_t GRACE_MS_DEFAULT = 10000;

static void give(struct instance *i, enum converge_input_type type, bool ok, bool for_good, const char *cause)
{
    agent_give(i->agent,
               &(struct converge_input){
                   .type = type, .id = i->id, .attempt = i->attempt, .ok = ok, .for_good = for_good, .cause = cause});
}

static void prepare_fail(struct instance *i, bool for_good, const char *cause)
{
    give(i, CONVERGE_PREPARED, false, for_good, cause);
}

static bool is_proved(const struct agent *a, const char *name)
{
    struct strs proved = preflight_runtimes(a->preflight);
    for (size_t i = 0; i < proved.n; i++)
        if (str_eq_c(proved.items[i], name))
            return true;
    return false;
}

/* The one that is named, or the best that was proved. False: it has to wait, or it has failed. */
static bool choose_runtime(struct instance *i)
{
    struct agent *a = i->agent;
    struct str name = i->spec.runtime;
    if (name.len == 0 && instance_is_host(i))
        name = STR("host");
    i->ops = name.len == 0 ? NULL : runtime_find(name);
    if (name.len > 0 && i->ops == NULL) {
        auto_free char *cause = mem_printf("this node has no runtime '%.*s'", STR_ARG(name));
        prepare_fail(i, true, cause);
        return false;
    }
    if (i->ops != NULL && !i->ops->is_isolated)
        return true; /* allowed when it was accepted */
    if (a->preflight == NULL || !preflight_is_done(a->preflight)) {
        i->waits_for_preflight = true;
        return false;
    }
    struct strs proved = preflight_runtimes(a->preflight);
    for (size_t k = 0; i->ops == NULL && k < proved.n; k++) {
        i->ops = runtime_find(proved.items[k]);
        i->ops = i->ops != NULL && i->ops->is_isolated ? i->ops : NULL;
    }
    if (i->ops != NULL && is_proved(a, i->ops->name))
        return true;
    prepare_fail(i, true, "the pre-flight of this node has proved no such runtime for microVMs: see its rows");
    return false;
}

static void on_image(void *arg, const char *path, const struct errinfo *err)
{
    struct instance *i = arg;
    i->image_wait = NULL;
    if (path == NULL) {
        prepare_fail(i, err->code == ERR_INVALID, err->msg);
        return;
    }
    i->image_path = mem_strdup(path);
    act_prepare_next(i);
}

static void fetch_image(struct instance *i)
{
    struct image_ref ref = {.image_id = i->spec.image_id, .size_bytes = i->spec.image_size_bytes};
    if (!str_copy_to(i->spec.image_digest, ref.digest, sizeof(ref.digest)) || ref.digest[0] == '\0') {
        prepare_fail(i, true, "the instance names no image digest, and microVMs run nothing else");
        return;
    }
    i->image_path = image_cache_find(i->agent->images, ref.digest);
    if (i->image_path != NULL)
        act_prepare_next(i);
    else if (i->image_wait == NULL)
        i->image_wait = image_cache_get(i->agent->images, &ref, on_image, i);
}

static enum err connect_guest(struct instance *i, struct errinfo *err)
{
    struct agent *a = i->agent;
    struct ip ipv6;
    if (a->network == NULL)
        return err_set(err, ERR_INVALID, "this node has no prefix, so it runs no microVMs");
    if (!ip_parse(i->spec.address, &ipv6))
        return err_set(err, ERR_INVALID, "'%.*s' is not an address", STR_ARG(i->spec.address));
    enum err rc = network_guest_plan(a->network, i->id, &ipv6, &i->guest, err);
    if (rc != OK)
        return rc;
    i->has_guest = true;
    rc = instance_keep_state(i, err); /* so that the tap is found again, whatever happens */
    return rc != OK ? rc : network_guest_add(a->network, &i->guest, err);
}

void act_prepare_next(struct instance *i)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    if (v == NULL || v->phase != CONVERGE_PHASE_PREPARING || v->attempt != i->attempt)
        return;
    struct errinfo err = {0};
    i->waits_for_preflight = false;
    if (!choose_runtime(i))
        return;
    if (secrets_are_missing(i)) {
        secrets_fetch(i);
        return;
    }
    if (i->ops->wants_image && i->image_path == NULL) {
        fetch_image(i);
        return;
    }
    enum err rc = i->ops->wants_tap ? connect_guest(i, &err) : OK;
    give(i, CONVERGE_PREPARED, rc == OK, rc == ERR_INVALID, err.msg);
}

static void do_prepare(struct instance *i, uint32_t attempt)
{
    i->attempt = attempt;
    secrets_forget(i);
    free(TAKE(i->image_path));
    act_prepare_next(i);
}

static void on_line(void *arg, enum runtime_stream stream, struct str text)
{
    struct instance *i = arg;
    if (i->lines == NULL)
        return;
    line_log_add(i->lines, runtime_stream_name(stream), text, clock_wall_us());
    report_logs(i);
}

static void on_started(void *arg)
{
    check_soon(arg);
}

static void on_exit_of(void *arg, const struct runtime_exit *how)
{
    struct instance *i = arg;
    check_end(i);
    give(i, CONVERGE_EXITED, how->is_known && how->ok, false, how->cause);
}

struct runtime_events act_events(struct instance *i)
{
    return (struct runtime_events){.on_line = on_line, .on_started = on_started, .on_exit = on_exit_of, .arg = i};
}

/* NULL-terminated, in the arena. */
struct env {
    struct arena *arena;
    const char **items;
    size_t n;
};
enum { ENV_PLATFORM_MAX = 24 };

static void env_add(struct env *e, const char *name, struct str value)
{
    assert(e->n < ENV_PLATFORM_MAX);
    e->items[e->n++] = arena_printf(e->arena, "%s=%.*s", name, STR_ARG(value));
}

static void env_add_id(struct env *e, const char *name, struct id id)
{
    char text[ID_TEXT_SIZE] = "";
    if (!id_is_none(id))
        id_format(id, text);
    env_add(e, name, str_from(text));
}

static void env_of_guest(struct env *e, const struct instance *i)
{
    const struct instance_spec *s = &i->spec;
    env_add(e, "PORT", str_from(arena_printf(e->arena, "%lld", (long long)(s->port == 0 ? 8080 : s->port))));
    env_add(e, "SLIPFORM_INSTANCE_ID", str_from(i->id_text));
    env_add_id(e, "SLIPFORM_DEPLOYMENT_ID", s->deployment_id);
    env_add(e, "SLIPFORM_PROJECT", s->project);
    env_add(e, "SLIPFORM_REGION", s->region.len > 0 ? s->region : str_from(i->agent->o.region));
    env_add(e, "SLIPFORM_ZONE", s->zone.len > 0 ? s->zone : str_from(i->agent->o.zone));
    char address[EVENT_CHANNEL_ADDRESS_SIZE];
    if (i->agent->network != NULL) {
        event_channel_address(i->agent, address);
        env_add(e, "SLIPFORM_EVENTS", str_from(arena_printf(e->arena, "http://%s", address)));
    }
}

static char *metrics_file(const struct instance *i)
{
    return mem_printf("%s/metrics-address", i->data_folder);
}

static void env_of_host(struct env *e, const struct instance *i)
{
    const struct agent *a = i->agent;
    auto_free char *metrics = metrics_file(i);
    AUTO(buf) struct buf workloads = {0};
    for (size_t k = 0; k < i->spec.workloads.n; k++)
        buf_addf(&workloads, "%s%.*s", k > 0 ? "," : "", STR_ARG(i->spec.workloads.items[k]));
    env_add(e, "PATH", STR("/usr/sbin:/usr/bin:/sbin:/bin"));
    env_add(e, "HOME", str_from(i->data_folder));
    env_add(e, "SLIPFORM_INSTALLATION", str_from(a->o.installation));
    env_add(e, "SLIPFORM_INSTANCE_ID", str_from(i->id_text));
    env_add(e, "SLIPFORM_NODE", str_from(a->o.node_name));
    env_add(e, "SLIPFORM_STATE_DIR", str_from(i->data_folder));
    env_add(e, "SLIPFORM_METRICS_ADDRESS_FILE", str_from(metrics));
    if (workloads.len > 0)
        env_add(e, "SLIPFORM_WORKLOADS", buf_str(&workloads));
    if (a->o.ca_file != NULL)
        env_add(e, "SLIPFORM_CA_FILE", str_from(a->o.ca_file));
    if (i->cert_file != NULL) {
        env_add(e, "SLIPFORM_CERT_FILE", str_from(i->cert_file));
        env_add(e, "SLIPFORM_KEY_FILE", str_from(i->key_file));
    }
}

static const char *const *env_of(const struct instance *i, struct arena *arena)
{
    struct env e = {.arena = arena,
                    .items = arena_alloc(arena, (ENV_PLATFORM_MAX + i->secrets_env.n + 1) * sizeof(*e.items))};
    if (i->ops != NULL && i->ops->is_isolated)
        env_of_guest(&e, i);
    else
        env_of_host(&e, i);
    for (size_t k = 0; k < i->secrets_env.n; k++)
        e.items[e.n++] = arena_printf(arena, "%.*s", STR_ARG(i->secrets_env.items[k]));
    return e.items;
}

static void facts_of_guest(const struct instance *i, struct arena *arena, struct runtime_facts *f)
{
    static const uint8_t GATEWAY_MAC[MAC_SIZE] = NETWORK_GATEWAY_MAC;
    char text[IP_TEXT_SIZE], mac[MAC_TEXT_SIZE];
    struct ip node = network_node_ip(i->agent->network);
    f->tap = i->guest.tap;
    memcpy(f->mac, i->guest.mac, sizeof(f->mac));
    ip_format(&i->guest.ipv6, text);
    f->ipv6_address = arena_strdup(arena, text);
    f->ipv6_gateway = "fe80::1";
    ip_format(&i->guest.ipv4, text);
    f->ipv4_address = arena_strdup(arena, text);
    f->ipv4_gateway = NETWORK_GATEWAY_IPV4;
    mac_format(GATEWAY_MAC, mac);
    f->gateway_mac = arena_strdup(arena, mac);
    ip_format(&node, text);
    f->resolver = arena_strdup(arena, text);
}

/* The program's settings: those of its spec, or the installer's for that program. */
static const char *config_path(const struct instance *i, struct arena *arena)
{
    if (i->spec.config.len > 0)
        return arena_printf(arena, "%s/config.yaml", i->folder);
    const char *path = arena_printf(arena, "%s/settings/%.*s.yaml", i->agent->o.home, STR_ARG(i->spec.name));
    return file_exists(path) ? path : NULL;
}

void act_facts(const struct instance *i, struct arena *arena, struct runtime_facts *ret_facts)
{
    struct runtime_facts f = {
        .spec = &i->spec,
        .state_dir = i->run_folder,
        .env = env_of(i, arena),
        .image_path = i->image_path,
        .hostname = arena_printf(arena, "%.*s-%.8s", STR_ARG(i->spec.project), i->id_text + ID_TEXT_SIZE - 9),
        .cgroup = i->cgroup};
    if (i->has_guest && i->agent->network != NULL)
        facts_of_guest(i, arena, &f);
    if (str_starts(i->spec.artifact_url, STR("file:"))) {
        struct str program = str_slice(i->spec.artifact_url, 5, i->spec.artifact_url.len);
        f.program_path = arena_printf(arena, "%s/%.*s", i->agent->o.program_folder, STR_ARG(program));
        f.config_path = config_path(i, arena);
        f.work_dir = i->data_folder;
    }
    *ret_facts = f;
}

/* Its folder and files, readable by the user that it runs as. */
static enum err prepare_folders(struct instance *i, struct errinfo *err)
{
    const struct agent *a = i->agent;
    bool unprivileged = str_eq_c(i->spec.run_as, "slipform");
    uid_t uid = unprivileged ? a->host.uid : 0;
    gid_t gid = unprivileged ? a->host.gid : 0;
    enum err rc = folder_make_owned(i->data_folder, 0750, uid, gid, err);
    if (rc == OK && i->spec.config.len > 0) {
        auto_free char *path = mem_printf("%s/config.yaml", i->folder);
        auto_free char *text = mem_printf("%.*s\n", STR_ARG(i->spec.config));
        rc = file_replace_owned(path, str_from(text), 0640, 0, a->host.gid, err);
    }
    auto_free char *metrics = metrics_file(i);
    auto_free char *runtime = mem_printf("%s/runtime", i->folder);
    if (rc == OK)
        rc = file_remove(metrics, err); /* of an earlier run */
    if (rc == OK)
        rc = file_replace(runtime, str_from(i->ops->name), 0600, err);
    return rc;
}

static void do_start(struct instance *i)
{
    AUTO(arena) struct arena arena = {0};
    struct runtime_facts facts;
    struct errinfo err = {0};
    if (i->lines == NULL) {
        auto_free char *folder = mem_printf("%s/log", i->folder);
        if (line_log_open(folder, i->id, 0, &i->lines, &err) != OK)
            log_err(i->agent->o.log, &err, "output of instance '%s' is not kept", i->id_text);
    }
    enum err rc = prepare_folders(i, &err);
    act_facts(i, &arena, &facts);
    struct runtime_events events = act_events(i);
    if (rc == OK)
        rc = i->ops->start(&i->agent->host, &facts, &events, &i->run, &err);
    give(i, CONVERGE_STARTED, rc == OK, rc == ERR_INVALID, err.msg);
    if (rc == OK)
        check_begin(i);
}

static void do_stop(struct instance *i, bool now)
{
    if (i->run == NULL)
        give(i, CONVERGE_EXITED, false, false, "it is gone");
    else if (now)
        i->ops->kill(i->run);
    else
        i->ops->stop(i->run, i->spec.stop_grace_seconds > 0 ? i->spec.stop_grace_seconds * 1000 : GRACE_MS_DEFAULT);
}

/* It starts again in place: children of a host program (Envoy) stay for it to adopt. Otherwise nothing stays. */
static bool comes_again(const struct instance *i)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    return v != NULL && !i->agent->is_halted && !v->is_removing && !v->is_failed && !v->is_finished &&
           v->want.desired != CONVERGE_STOPPED;
}

void act_clean_again(struct instance *i)
{
    struct errinfo err = {0};
    enum err rc = OK;
    i->clean_at_ms = INT64_MAX;
    if (i->ops != NULL && comes_again(i))
        rc = i->ops->clean(&i->agent->host, i->run_folder, i->cgroup, &err);
    else if (i->ops != NULL)
        rc = i->ops->destroy(&i->agent->host, i->run_folder, i->cgroup, &err);
    if (rc == ERR_CONFLICT) {
        i->clean_at_ms = agent_now_ms() + CLEAN_AGAIN_MS;
        agent_wake_at(i->agent, i->clean_at_ms);
        return;
    }
    if (rc != OK)
        log_err(i->agent->o.log, &err, "something is left of instance '%s'", i->id_text);
    give(i, CONVERGE_CLEANED, true, false, NULL);
}

static void do_clean(struct instance *i)
{
    struct errinfo err = {0};
    check_end(i);
    i->waits_for_preflight = false;
    image_wait_cancel(TAKE(i->image_wait));
    if (i->secrets_call != NULL)
        http_call_cancel(TAKE(i->secrets_call));
    if (i->has_guest && i->agent->network != NULL && network_guest_remove(i->agent->network, &i->guest, &err) != OK)
        log_err(i->agent->o.log, &err, "instance '%s'", i->id_text);
    i->has_guest = false;
    if (i->ops != NULL)
        i->ops->free(TAKE(i->run));
    act_clean_again(i);
}

static void do_report(struct instance *i)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    struct errinfo err = {0};
    if (v == NULL)
        return;
    if (v->status != i->since_status) {
        i->since_status = v->status;
        clock_format_us(clock_wall_us(), i->since);
        log_info(i->agent->o.log, "instance '%s' (%.*s) is %s%s%s", i->id_text, STR_ARG(i->spec.name),
                 converge_status_name(v->status), v->cause[0] == '\0' ? "" : ": ", v->cause);
    }
    if (instance_keep_state(i, &err) != OK)
        log_err(i->agent->o.log, &err, "instance '%s'", i->id_text);
    report_state(i);
}

static bool image_is_used(void *arg, const char *digest)
{
    const struct agent *a = arg;
    for (const struct instance *i = a->instances; i != NULL; i = i->hh.next)
        if (str_eq_c(i->spec.image_digest, digest))
            return true;
    return false;
}

static void do_forget(struct instance *i, const struct converge_action *action)
{
    struct agent *a = i->agent;
    struct errinfo err = {0};
    enum err rc = OK;
    if (action->tombstone) {
        auto_free char *path = mem_printf("%s/%s", a->tombstones_folder, i->id_text);
        rc = file_replace(path, str_from(action->owner), 0600, &err);
    }
    if (rc == OK)
        rc = folder_remove(i->folder, &err);
    if (rc != OK)
        log_err(a->o.log, &err, "instance '%s' comes back after a restart", i->id_text);
    log_info(a->o.log, "instance '%s' (%.*s) is removed", i->id_text, STR_ARG(i->spec.name));
    instance_drop(i);
    image_cache_collect(a->images, image_is_used, a);
}

static void do_unbury(const struct agent *a, struct id id)
{
    char text[ID_TEXT_SIZE];
    struct errinfo err = {0};
    id_format(id, text);
    auto_free char *path = mem_printf("%s/%s", a->tombstones_folder, text);
    if (file_remove(path, &err) != OK)
        log_err(a->o.log, &err, "tombstone '%s'", text);
}

void agent_act(struct agent *a, const struct converge_action *action)
{
    struct instance *i = instance_find(a, action->id);
    if (action->type == CONVERGE_DO_UNBURY)
        do_unbury(a, action->id);
    if (i == NULL)
        return;
    switch (action->type) {
    case CONVERGE_DO_PREPARE: do_prepare(i, action->attempt); break;
    case CONVERGE_DO_START: do_start(i); break;
    case CONVERGE_DO_STOP: do_stop(i, false); break;
    case CONVERGE_DO_KILL: do_stop(i, true); break;
    case CONVERGE_DO_CLEAN: do_clean(i); break;
    case CONVERGE_DO_REPORT: do_report(i); break;
    case CONVERGE_DO_FORGET: do_forget(i, action); break;
    case CONVERGE_DO_UNBURY: break;
    }
}
