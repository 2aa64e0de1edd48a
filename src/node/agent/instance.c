/* An instance as the agent holds it: its spec, its folders, what is kept of it, and how others see it. */
#include <inttypes.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/mem.h"
#include "base/own.h"
#include "event/hash.h"
#include "node/agent/private.h"
#include "os/file.h"

struct instance *instance_find(const struct agent *a, struct id id)
{
    struct instance *i;
    HASH_FIND(hh, a->instances, &id, sizeof(id), i);
    return i;
}

bool instance_is_host(const struct instance *i)
{
    return str_eq_c(i->spec.runtime, "host") ||
           (i->spec.runtime.len == 0 && i->spec.artifact_url.len > 0 && i->spec.image_digest.len == 0);
}

static void add_file_hash(struct hash *h, const char *path)
{
    AUTO(buf) struct buf bytes = {0};
    struct errinfo ignored;
    if (file_read(path, 256u * 1024 * 1024, &bytes, &ignored) == OK) /* a program; ours are a few MB */
        hash_add(h, bytes.ptr, bytes.len);
}

/* Of all that a host program is made of, so that another one replaces it in place; what it is asked to do (desired)
 * is no part. A microVM's spec is fixed by its id. */
static uint64_t revision_of(const struct instance *i)
{
    if (!instance_is_host(i))
        return 0;
    struct instance_spec spec = i->spec;
    spec.desired = (struct str){0};
    AUTO(buf) struct buf text = {0};
    fields_encode(&INSTANCE_SPEC_WIRE, &spec, &text);
    struct hash *h = hash_new();
    hash_add(h, text.ptr, text.len);
    struct str program = spec.artifact_url;
    if (str_starts(program, STR("file:"))) {
        auto_free char *path = mem_printf("%s/%.*s", i->agent->o.program_folder, (int)program.len - 5, program.ptr + 5);
        add_file_hash(h, path);
    }
    auto_free char *settings = mem_printf("%s/settings/%.*s.yaml", i->agent->o.home, STR_ARG(spec.name));
    add_file_hash(h, settings);
    uint8_t digest[HASH_SIZE];
    uint64_t revision;
    hash_finish(h, digest);
    memcpy(&revision, digest, sizeof(revision));
    return revision == 0 ? 1 : revision;
}

static struct instance *instance_new(struct agent *a, struct id id)
{
    struct instance *i = mem_alloc(sizeof(*i));
    i->agent = a;
    i->id = id;
    id_format(id, i->id_text);
    i->folder = mem_printf("%s/%s", a->instances_folder, i->id_text);
    i->run_folder = mem_printf("%s/run", i->folder);
    i->data_folder = mem_printf("%s/data", i->folder);
    /* With the tag: ids of the bootstrap log are fixed, and two installations may live on one machine. */
    i->cgroup = mem_printf("slipform/%s-%s/%s/%s", a->o.installation, a->o.os_tag, a->o.node_name, i->id_text);
    i->check.at_ms = i->clean_at_ms = INT64_MAX;
    i->since_status = CONVERGE_STATUS_STARTING;
    clock_format_us(clock_wall_us(), i->since);
    HASH_ADD(hh, a->instances, id, sizeof(i->id), i);
    return i;
}

struct instance *instance_put(struct agent *a, struct id id, struct arena *arena, const struct instance_spec *spec)
{
    struct instance *i = instance_find(a, id);
    if (i == NULL)
        i = instance_new(a, id);
    arena_done(&i->arena);
    i->arena = *arena;
    *arena = (struct arena){0};
    i->spec = *spec;
    i->revision = revision_of(i);
    return i;
}

void instance_drop(struct instance *i)
{
    check_end(i);
    report_cancel(i);
    if (i->ops != NULL)
        i->ops->free(i->run);
    image_wait_cancel(i->image_wait);
    if (i->secrets_call != NULL)
        http_call_cancel(i->secrets_call);
    line_log_close(i->lines);
    HASH_DEL(i->agent->instances, i);
    arena_done(&i->arena);
    secrets_forget(i);
    arena_done(&i->umbilical.arena);
    free(i->folder);
    free(i->run_folder);
    free(i->data_folder);
    free(i->cgroup);
    free(i->image_path);
    free(i->cert_file);
    free(i->key_file);
    free(i);
}

enum err instance_keep_spec(const struct instance *i, struct errinfo *err)
{
    enum err rc = folder_make(i->folder, 0755, err);
    return rc != OK ? rc : keep_write(i->folder, "spec", &INSTANCE_SPEC_WIRE, &i->spec, err);
}

enum err instance_keep_state(const struct instance *i, struct errinfo *err)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    if (v == NULL)
        return OK;
    char revision[17], mac[MAC_TEXT_SIZE] = "", ipv4[IP_TEXT_SIZE] = "";
    (void)snprintf(revision, sizeof(revision), "%016" PRIx64, v->want.revision);
    struct kept_state kept = {.status = str_from(converge_status_name(v->status)),
                              .health = str_from(converge_health_name(v->health)),
                              .cause = str_from(v->cause),
                              .since = str_from(i->since),
                              .was_started = v->was_started,
                              .is_failed = v->is_failed,
                              .is_finished = v->is_finished,
                              .is_removing = v->is_removing,
                              .leaves_tombstone = v->leaves_tombstone,
                              .restarts = v->restarts,
                              .boot_ms = v->boot_ms,
                              .revision = str_from(revision)};
    if (i->has_guest) {
        mac_format(i->guest.mac, mac);
        ip_format(&i->guest.ipv4, ipv4);
        kept.tap = str_from(i->guest.tap);
        kept.mac = str_from(mac);
        kept.ipv4 = str_from(ipv4);
    }
    return keep_write(i->folder, "state", &KEPT_STATE_TABLE, &kept, err);
}

static void want_owner(const struct instance *i, struct converge_want *want)
{
    (void)str_copy_to(i->spec.owner, want->owner, sizeof(want->owner)); /* bounded when accepted */
}

struct converge_want instance_want(const struct instance *i)
{
    const struct instance_spec *s = &i->spec;
    bool host = instance_is_host(i);
    struct converge_want want = {
        .desired = str_eq_c(s->desired, "stopped")    ? CONVERGE_STOPPED
                   : str_eq_c(s->desired, "draining") ? CONVERGE_DRAINING
                                                      : CONVERGE_RUNNING,
        .restart_never = str_eq_c(s->restart, "never"),
        .grace_ms = s->stop_grace_seconds * 1000,
        /* A program of the platform may replay for a long time: it is not ended for that. */
        .start_timeout_ms = host ? -1 : s->health.start_timeout_seconds * 1000,
        .no_crash_limit = str_eq_c(s->owner, "bootstrap"),
        .revision = i->revision,
        .halt_rank = host ? 0 : 1,
    };
    want_owner(i, &want);
    return want;
}

/* The network that it had when the agent went, so that its tap is kept. */
static void guest_restore(struct instance *i, const struct kept_state *kept)
{
    struct errinfo ignored;
    struct ip ipv6, ipv4;
    if (i->agent->network == NULL || kept->tap.len == 0 || !ip_parse(i->spec.address, &ipv6) ||
        network_guest_plan(i->agent->network, i->id, &ipv6, &i->guest, &ignored) != OK)
        return;
    if (ip_parse(kept->ipv4, &ipv4))
        i->guest.ipv4 = ipv4;
    i->has_guest = true;
}

static bool adopt(struct instance *i)
{
    struct errinfo err;
    struct str name = i->spec.runtime.len > 0 ? i->spec.runtime : STR("host");
    AUTO(buf) struct buf kept = {0};
    auto_free char *path = mem_printf("%s/runtime", i->folder);
    if (file_read(path, 32, &kept, &err) == OK)
        name = str_trim(buf_str(&kept));
    i->ops = runtime_find(name);
    if (i->ops == NULL)
        return false;
    AUTO(arena) struct arena arena = {0};
    struct runtime_facts facts;
    act_facts(i, &arena, &facts);
    struct runtime_events events = act_events(i);
    enum err rc = i->ops->adopt(&i->agent->host, &facts, &events, &i->run, &err);
    if (rc != OK && rc != ERR_NOT_FOUND)
        log_err(i->agent->o.log, &err, "instance '%s' cannot be found again", i->id_text);
    return rc == OK;
}

static void load_one(struct agent *a, const char *name)
{
    struct arena arena = {0};
    struct instance_spec spec = {0};
    struct kept_state kept = {0};
    struct errinfo err;
    struct id id;
    if (!id_parse(str_from(name), &id))
        return;
    auto_free char *folder = mem_printf("%s/%s", a->instances_folder, name);
    if (keep_read(folder, "spec", &INSTANCE_SPEC_WIRE, &arena, &spec, &err) != OK) {
        log_err(a->o.log, &err, "instance '%s' is left alone", name);
        arena_done(&arena);
        return;
    }
    enum err rc = keep_read(folder, "state", &KEPT_STATE_TABLE, &arena, &kept, &err);
    if (rc != OK && rc != ERR_NOT_FOUND)
        log_err(a->o.log, &err, "the state of instance '%s' is lost", name);
    struct instance *i = instance_put(a, id, &arena, &spec);
    if (kept.since.len > 0)
        (void)str_copy_to(kept.since, i->since, sizeof(i->since));
    guest_restore(i, &kept);
    auto_free char *log_folder = mem_printf("%s/log", i->folder);
    if (line_log_open(log_folder, id, 0, &i->lines, &err) != OK)
        log_err(a->o.log, &err, "output of instance '%s' is not kept", name);
    bool is_up = adopt(i);
    if (is_up && kept.revision.len == 16) /* of what runs; what is on disk now counts when it is asked for again */
        i->revision = strtoull(kept.revision.ptr, NULL, 16);
    struct converge_want want = instance_want(i);
    auto_free char *cause = mem_printf("%.*s", STR_ARG(kept.cause));
    i->attempt = 1;
    agent_give(a, &(struct converge_input){
                      .type = CONVERGE_KEPT,
                      .id = id,
                      .want = &want,
                      .cause = cause,
                      .kept = {.is_up = is_up,
                               .was_started = kept.was_started,
                               .was_healthy = str_eq_c(kept.health, "NOMINAL"),
                               .is_failed = kept.is_failed,
                               .is_finished = kept.is_finished,
                               .is_removing = kept.is_removing,
                               .is_tombstone = kept.leaves_tombstone,
                               .restarts = kept.restarts},
                  });
    if (is_up)
        check_begin(i);
}

static void load_tombstones(struct agent *a)
{
    char **names = NULL;
    size_t n = 0;
    struct errinfo err;
    if (folder_list(a->tombstones_folder, &names, &n, &err) != OK)
        return;
    for (size_t k = 0; k < n; k++) {
        AUTO(buf) struct buf owner = {0};
        auto_free char *path = mem_printf("%s/%s", a->tombstones_folder, names[k]);
        struct id id;
        if (!id_parse(str_from(names[k]), &id) || file_read(path, CONVERGE_OWNER_SIZE, &owner, &err) != OK)
            continue;
        auto_free char *text = mem_printf("%.*s", STR_ARG(str_trim(buf_str(&owner))));
        agent_give(a, &(struct converge_input){.type = CONVERGE_BURY, .id = id, .owner = text});
    }
    folder_list_free(names);
}

enum err instances_load(struct agent *a, struct errinfo *err)
{
    char **names = NULL;
    size_t n = 0;
    enum err rc = folder_list(a->instances_folder, &names, &n, err);
    if (rc != OK)
        return rc;
    load_tombstones(a);
    for (size_t k = 0; k < n; k++)
        load_one(a, names[k]);
    folder_list_free(names);
    return OK;
}

void instance_statistics_fill(const struct instance *i, struct instance_statistics *ret, struct arena *arena)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    struct cgroup_usage usage = {0};
    struct errinfo ignored;
    *ret = (struct instance_statistics){0};
    ret->restarts = v == NULL ? 0 : v->restarts;
    ret->boot_ms = v == NULL ? 0 : v->boot_ms;
    if (i->ops == NULL)
        return;
    ret->runtime = str_from(i->ops->name);
    if (i->run == NULL)
        return;
    ret->pid = i->ops->pid(i->run);
    ret->accelerated = i->ops->is_accelerated(i->run);
    if (cgroup_usage(&i->agent->host.cgroups, i->cgroup, &usage, &ignored) == OK) {
        ret->memory_bytes = usage.memory_bytes;
        ret->cpu_ms = usage.cpu_us / 1000;
    }
    auto_free char *url = check_metrics_url(i);
    if (url != NULL)
        ret->metrics_url = arena_str(arena, str_from(url));
}

/* A program that was never healthy, or ended: what it said last often is the cause. */
struct str instance_cause(const struct instance *i, struct arena *arena)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    if (v == NULL)
        return (struct str){0};
    bool ended = v->health == CONVERGE_HEALTH_TIMEOUT || v->health == CONVERGE_HEALTH_EXIT;
    const char *last = i->lines == NULL ? "" : line_log_last(i->lines);
    if (!ended || v->cause[0] == '\0' || last[0] == '\0')
        return arena_str(arena, str_from(v->cause));
    return str_from(arena_printf(arena, "%s; last output: %s", v->cause, last));
}

void instance_resource_fill(const struct instance *i, struct instance_resource *ret, struct arena *arena)
{
    const struct converge_view *v = converge_find(i->agent->converge, i->id);
    const struct agent *a = i->agent;
    *ret = (struct instance_resource){
        .instance_id = i->id,
        .deployment_id = i->spec.deployment_id,
        .project = i->spec.project,
        .node_id = a->o.node_id,
        .node = str_from(a->o.node_name),
        .zone = str_from(a->o.zone),
        .region = str_from(a->o.region),
        .owner = i->spec.owner,
        .desired = i->spec.desired.len == 0 ? STR("running") : i->spec.desired,
        .status = str_from(v == NULL ? "starting" : converge_status_name(v->status)),
        .health = str_from(v == NULL ? "" : converge_health_name(v->health)),
        .cause = instance_cause(i, arena),
        .since = str_from(i->since),
        .ipv6 = i->spec.address,
        .port = i->spec.port,
        .spec = i->spec,
    };
    instance_statistics_fill(i, &ret->statistics, arena);
}
