/* One timer for every deadline, one queue into converge. A callback gives its input to the queue; the queue is drained
 * by whoever is outermost, so actions never run inside actions. */
#include "node/agent/agent.h"

#include <errno.h>
#include <pwd.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"
#include "node/agent/private.h"
#include "os/child.h"
#include "os/file.h"

/* What is left of a probe guest is still ending: --stop-all looks again, for 2 s (chosen). */
enum { SWEEP_AGAIN_MS = 50, SWEEPS_MAX = 40 };

struct queued {
    struct converge_input in;
    struct converge_want want;
    char owner[CONVERGE_OWNER_SIZE];
    char cause[CONVERGE_CAUSE_SIZE];
    struct id *ids;
    struct queued *next;
};

int64_t agent_now_ms(void)
{
    return clock_mono_us() / 1000;
}

bool agent_has_label(const struct agent *a, const char *label)
{
    for (size_t i = 0; i < a->o.labels_n; i++)
        if (strcmp(a->o.labels[i], label) == 0)
            return true;
    return false;
}

bool agent_is_installation(const struct agent *a, const char *owner)
{
    return strcmp(owner, a->o.installation) == 0;
}

size_t agent_instances_n(const struct agent *a)
{
    return converge_count(a->converge);
}

static void tick(uv_timer_t *timer);

void agent_wake_at(struct agent *a, int64_t at_ms)
{
    if (at_ms == INT64_MAX || a->is_stopping)
        return;
    int64_t in_ms = at_ms - agent_now_ms();
    uint64_t wait = in_ms < 1 ? 1 : (uint64_t)in_ms; /* 0 would keep the loop in its timers for ever */
    if (!uv_is_active((uv_handle_t *)&a->timer) || uv_timer_get_due_in(&a->timer) > wait)
        (void)uv_timer_start(&a->timer, tick, wait, 0);
}

static struct queued *queued_new(const struct converge_input *in)
{
    struct queued *q = mem_alloc(sizeof(*q));
    q->in = *in;
    if (in->want != NULL)
        q->want = *in->want;
    q->in.want = in->want == NULL ? NULL : &q->want;
    (void)snprintf(q->owner, sizeof(q->owner), "%s", in->owner == NULL ? "" : in->owner);
    q->in.owner = q->owner;
    (void)snprintf(q->cause, sizeof(q->cause), "%s", in->cause == NULL ? "" : in->cause);
    q->in.cause = q->cause;
    if (in->ids_n > 0) {
        q->ids = mem_calloc(in->ids_n, sizeof(*q->ids));
        memcpy(q->ids, in->ids, in->ids_n * sizeof(*q->ids));
    }
    q->in.ids = q->ids;
    return q;
}

/* The folder and the cgroup of a probe guest: the agent's own, or that of somebody who asks with --probe. */
static const char *const PROBES[] = {"probe", "probe-asked"};
enum { PROBES_N = 2 };

static char *probe_folder(const struct agent *a, size_t k)
{
    return mem_printf("%s/%s", a->o.home, PROBES[k]);
}

static char *probe_cgroup(const struct agent *a, size_t k)
{
    return mem_printf("slipform/%s-%s/%s/%s", a->o.installation, a->o.os_tag, a->o.node_name, PROBES[k]);
}

/* It dies with whoever probes; what may be left of it goes here. False: it is still ending. */
static bool sweep_probes(struct agent *a, struct errinfo *err)
{
    for (size_t k = 0; k < PROBES_N; k++) {
        auto_free char *folder = probe_folder(a, k), *cgroup = probe_cgroup(a, k);
        enum err rc = runtime_probe_sweep(&a->host, folder, cgroup, err);
        if (rc == ERR_CONFLICT && ++a->sweeps_n < SWEEPS_MAX)
            return false;
        if (rc != OK)
            log_err(a->o.log, err, "something is left of a probe guest");
    }
    return true;
}

static void end_stop_all(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    struct errinfo err = {0};
    enum err rc = OK;
    if (!sweep_probes(a, &err)) {
        (void)uv_timer_start(timer, end_stop_all, SWEEP_AGAIN_MS, 0);
        return;
    }
    resolver_stop(TAKE(a->resolver), true);
    if (a->network != NULL)
        rc = network_lower(a->network, &err);
    auto_free char *cgroup = mem_printf("slipform/%s-%s/%s/x", a->o.installation, a->o.os_tag, a->o.node_name);
    cgroup_prune(&a->host.cgroups, cgroup);
    a->o.on_end(a->o.ctx, rc, &err);
}

static void drain(struct agent *a)
{
    a->is_draining_queue = true;
    while (a->queue != NULL) {
        struct queued *q = a->queue;
        a->queue = q->next;
        if (a->queue == NULL)
            a->queue_end = &a->queue;
        q->in.at_ms = agent_now_ms();
        converge_step(a->converge, &q->in, &a->out);
        for (size_t i = 0; i < a->out.actions_n; i++)
            agent_act(a, &a->out.actions[i]);
        free(q->ids);
        free(q);
    }
    a->is_draining_queue = false;
    agent_wake_at(a, a->out.deadline_ms);
    if (a->is_halted && converge_is_quiet(a->converge) && !a->has_ended) {
        a->has_ended = true;
        (void)uv_timer_start(&a->ended, end_stop_all, 0, 0);
    }
}

void agent_give(struct agent *a, const struct converge_input *in)
{
    if (a->is_stopping)
        return;
    struct queued *q = queued_new(in);
    *a->queue_end = q;
    a->queue_end = &q->next;
    if (!a->is_draining_queue)
        drain(a);
}

static void tick(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    int64_t now_ms = agent_now_ms();
    struct instance *i, *next;
    HASH_ITER(hh, a->instances, i, next)
    {
        if (i->clean_at_ms <= now_ms)
            act_clean_again(i);
        check_tick(i, now_ms);
        report_instance_tick(i, now_ms);
    }
    report_tick(a, now_ms);
    agent_give(a, &(struct converge_input){.type = CONVERGE_TICK});
}

static void on_heartbeat(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    (void)uv_timer_start(timer, on_heartbeat, (uint64_t)pace_heartbeat_ms(&a->jitter), 0);
    report_node(a);
}

static void say_boot(struct agent *a)
{
    (void)snprintf(a->boot_id, sizeof(a->boot_id), "%.36s/%.16s", a->kernel_boot_id, a->incarnation);
}

void agent_incarnate(struct agent *a)
{
    uint8_t bytes[8];
    random_bytes(bytes, sizeof(bytes));
    hex_format(bytes, sizeof(bytes), a->incarnation);
    say_boot(a);
}

static enum err read_who(struct agent *a, struct errinfo *err)
{
    AUTO(arena) struct arena arena = {0};
    struct kept_agent kept = {0};
    enum err rc = boot_id_read(a->kernel_boot_id, err);
    if (rc != OK)
        return rc;
    rc = keep_read(a->o.home, "agent", &KEPT_AGENT_TABLE, &arena, &kept, err);
    if (rc == OK) {
        (void)str_copy_to(kept.incarnation, a->incarnation, sizeof(a->incarnation));
        a->report_seq = a->report_seq_kept = kept.report_seq;
        say_boot(a);
    } else if (rc == ERR_NOT_FOUND) {
        agent_incarnate(a);
    } else {
        return rc;
    }
    return OK;
}

static enum err read_host(struct agent *a, struct errinfo *err)
{
    a->host = (struct runtime_host){.loop = a->o.loop,
                                    .qemu_path = a->o.qemu_path,
                                    .kernel_path = a->o.kernel_path,
                                    .initramfs_path = a->o.initramfs_path};
    cgroup_detect(&a->host.cgroups);
    const struct passwd *user = getpwnam(a->o.run_as_user);
    if (user == NULL)
        return err_set(err, ERR_INVALID, "there is no user '%s': set 'run_as_user', or make it with useradd -r %s",
                       a->o.run_as_user, a->o.run_as_user);
    a->host.uid = user->pw_uid;
    a->host.gid = user->pw_gid;
    return OK;
}

static enum err open_network(struct agent *a, struct errinfo *err)
{
    if (a->o.prefix == NULL || a->o.prefix[0] == '\0')
        return OK;
    struct network_options o = {.installation = a->o.installation,
                                .tag = a->o.os_tag,
                                .fabric = a->o.fabric_interface,
                                .denied = a->o.denied,
                                .denied_n = a->o.denied_n,
                                .proxy_port = (uint16_t)a->o.proxy_port,
                                .table = (uint32_t)a->o.route_table};
    if (!ip_parse(str_from(a->o.prefix), &o.prefix))
        return err_set(err, ERR_INVALID, "prefix '%s' is not a network", a->o.prefix);
    return network_open(&o, &a->network, err);
}

/* With the guests that are adopted, so that what they are allowed is never missing. */
static enum err raise_network(struct agent *a, struct errinfo *err)
{
    if (a->network == NULL || a->o.stop_all)
        return OK;
    struct network_guest *guests = mem_calloc(HASH_COUNT(a->instances) + 1, sizeof(*guests));
    size_t n = 0;
    for (struct instance *i = a->instances; i != NULL; i = i->hh.next)
        if (i->has_guest && i->run != NULL)
            guests[n++] = i->guest;
    enum err rc = network_raise(a->network, guests, n, err);
    free(guests);
    if (rc != OK)
        return rc;
    auto_free char *folder = mem_printf("%s/resolver", a->o.home);
    struct resolver_options o = {.loop = a->o.loop,
                                 .log = a->o.log,
                                 .folder = folder,
                                 .listen = network_node_ip(a->network),
                                 .upstreams = a->o.resolvers,
                                 .upstreams_n = a->o.resolvers_n};
    return resolver_start(&o, &a->resolver, err);
}

/* --stop-all ends the resolver of an earlier run. */
static void find_resolver(struct agent *a)
{
    if (a->network == NULL)
        return;
    auto_free char *folder = mem_printf("%s/resolver", a->o.home);
    struct resolver_options o = {
        .loop = a->o.loop, .log = a->o.log, .folder = folder, .listen = network_node_ip(a->network)};
    a->resolver = resolver_adopt(&o);
}

static enum err open_images(struct agent *a, struct errinfo *err)
{
    auto_free char *folder = mem_printf("%s/images", a->o.home);
    struct image_cache_options o = {.loop = a->o.loop,
                                    .client = a->o.client,
                                    .folder = folder,
                                    .apis = a->o.management_apis,
                                    .apis_n = a->o.management_apis_n,
                                    .ca_file = a->o.ca_file,
                                    .cert_file = a->o.cert_file,
                                    .key_file = a->o.key_file,
                                    .peer_uri = a->peer_uri};
    return image_cache_open(&o, &a->images, err);
}

static void on_preflight(void *arg);

static struct preflight *new_preflight(struct agent *a)
{
    struct preflight_options o = {.loop = a->o.loop,
                                  .host = &a->host,
                                  .home = a->o.home,
                                  .probe_folder = a->probe_folder,
                                  .probe_cgroup = a->probe_cgroup,
                                  .is_sole = !a->o.probe, /* the agent's lock */
                                  .has_microvms = a->o.prefix != NULL && a->o.prefix[0] != '\0',
                                  .fabric = a->o.fabric_interface,
                                  .runtimes = a->o.runtimes,
                                  .runtimes_n = a->o.runtimes_n,
                                  .again = a->o.probe,
                                  .on_done = on_preflight,
                                  .arg = a};
    return preflight_start(&o);
}

/* A host that was too busy for the probe guest is asked again after 10 s, doubled up to 10 minutes (chosen). */
enum { PROBE_AGAIN_MS_MIN = 10000, PROBE_AGAIN_MS_MAX = 600000 };

static void on_probe_again(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    a->preflight_again = new_preflight(a);
}

static void probe_later(struct agent *a)
{
    a->probe_again_ms = a->probe_again_ms == 0                       ? PROBE_AGAIN_MS_MIN
                        : a->probe_again_ms * 2 > PROBE_AGAIN_MS_MAX ? PROBE_AGAIN_MS_MAX
                                                                     : a->probe_again_ms * 2;
    (void)uv_timer_start(&a->probe_again, on_probe_again, (uint64_t)a->probe_again_ms, 0);
    log_warn(a->o.log, "no microVM could be booted here, tried again in %lld s: %s",
             (long long)(a->probe_again_ms / 1000), preflight_failure(a->preflight));
}

static void on_preflight(void *arg)
{
    struct agent *a = arg;
    if (a->preflight_again != NULL) {
        preflight_free(a->preflight);
        a->preflight = TAKE(a->preflight_again);
    }
    a->host.kvm = preflight_has_kvm(a->preflight);
    struct strs runtimes = preflight_runtimes(a->preflight);
    if (a->o.probe) {
        a->o.on_probed(a->o.ctx, preflight_rows(a->preflight), runtimes);
        return;
    }
    log_info(a->o.log, "pre-flight done: %zu runtime(s), best is '%.*s'", runtimes.n,
             runtimes.n > 0 ? (int)runtimes.items[0].len : 4, runtimes.n > 0 ? runtimes.items[0].ptr : "none");
    if (preflight_failure(a->preflight) != NULL)
        probe_later(a);
    report_node(a);
    for (struct instance *i = a->instances; i != NULL; i = i->hh.next)
        if (i->waits_for_preflight)
            act_prepare_next(i);
}

static void begin_preflight(struct agent *a)
{
    a->probe_folder = probe_folder(a, a->o.probe);
    a->probe_cgroup = probe_cgroup(a, a->o.probe);
    a->preflight = new_preflight(a);
}

static enum err begin_work(struct agent *a, struct errinfo *err)
{
    if (a->o.stop_all) {
        find_resolver(a);
        a->is_halted = true;
        agent_give(a, &(struct converge_input){.type = CONVERGE_HALT});
        return OK;
    }
    begin_preflight(a);
    enum err rc = api_open(a, err);
    if (rc == OK)
        rc = event_channel_open(a, err);
    if (rc == OK && a->o.management_apis_n > 0)
        rc = desired_follow(a, err);
    if (rc != OK)
        return rc;
    a->join.is_wanted = a->o.management_apis_n > 0;
    (void)uv_timer_start(&a->heartbeat, on_heartbeat, 0, 0);
    if (a->o.on_ready != NULL)
        a->o.on_ready(a->o.ctx);
    return OK;
}

static enum err open_home(struct agent *a, struct errinfo *err)
{
    auto_free char *lock = mem_printf("%s/agent.lock", a->o.home);
    enum err rc = folder_make(a->instances_folder, 0755, err);
    if (rc == OK)
        rc = folder_make(a->tombstones_folder, 0700, err);
    if (rc != OK)
        return rc;
    rc = file_lock(lock, &a->lock_fd, err);
    if (rc == ERR_CONFLICT)
        return err_set(err, ERR_CONFLICT, "another node-agent works in '%s': stop it first", a->o.home);
    return rc;
}

static struct agent *agent_new(const struct agent_options *o)
{
    struct agent *a = mem_alloc(sizeof(*a));
    a->o = *o;
    a->lock_fd = -1;
    a->queue_end = &a->queue;
    a->converge = converge_new();
    a->out.deadline_ms = INT64_MAX;
    random_bytes(&a->jitter, sizeof(a->jitter));
    a->jitter |= 1;
    a->instances_folder = mem_printf("%s/instances", o->home);
    a->tombstones_folder = mem_printf("%s/tombstones", o->home);
    a->peer_uri = mem_printf("slipform://%s/control/*", o->installation);
    report_begin(a);
    (void)uv_timer_init(o->loop, &a->timer);
    (void)uv_timer_init(o->loop, &a->heartbeat);
    (void)uv_timer_init(o->loop, &a->ended);
    (void)uv_timer_init(o->loop, &a->probe_again);
    a->timer.data = a->heartbeat.data = a->ended.data = a->probe_again.data = a;
    return a;
}

enum err agent_start(const struct agent_options *o, struct agent **ret_agent, struct errinfo *err)
{
    struct agent *a = agent_new(o);
    *ret_agent = a;
    if (o->probe) {
        enum err host_rc = read_host(a, err);
        if (host_rc == OK)
            begin_preflight(a);
        return host_rc;
    }
    enum err rc = open_home(a, err);
    if (rc == OK)
        rc = read_who(a, err);
    if (rc == OK)
        rc = read_host(a, err);
    if (rc == OK)
        rc = open_network(a, err);
    if (rc == OK)
        rc = open_images(a, err);
    a->is_draining_queue = true; /* nothing is carried out before the network is up with what runs already */
    if (rc == OK)
        rc = instances_load(a, err);
    if (rc == OK)
        rc = raise_network(a, err);
    a->is_draining_queue = false;
    if (rc == OK)
        rc = begin_work(a, err);
    return rc;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct agent *a = h->data;
    if (--a->handles_open == 0 && a->on_stopped != NULL)
        a->on_stopped(a->on_stopped_ctx);
}

static void on_server_closed(void *ctx)
{
    struct agent *a = ctx;
    if (--a->handles_open == 0 && a->on_stopped != NULL)
        a->on_stopped(a->on_stopped_ctx);
}

void agent_stop(struct agent *a, void (*on_stopped)(void *ctx), void *ctx)
{
    a->is_stopping = true;
    a->on_stopped = on_stopped;
    a->on_stopped_ctx = ctx;
    a->handles_open = 4;
    if (a->follow != NULL)
        follow_stop(TAKE(a->follow));
    struct instance *i, *next;
    HASH_ITER(hh, a->instances, i, next)
    instance_drop(i); /* what it runs goes on */
    report_end(a);
    resolver_stop(TAKE(a->resolver), false);
    image_cache_free(TAKE(a->images));
    preflight_free(TAKE(a->preflight));
    preflight_free(TAKE(a->preflight_again));
    if (a->server != NULL) {
        a->handles_open++;
        http_server_close(TAKE(a->server), 1000, on_server_closed, a);
    }
    if (a->event_channel != NULL) {
        a->handles_open++;
        http_server_close(TAKE(a->event_channel), 0, on_server_closed, a);
    }
    uv_close((uv_handle_t *)&a->timer, on_handle_closed);
    uv_close((uv_handle_t *)&a->heartbeat, on_handle_closed);
    uv_close((uv_handle_t *)&a->ended, on_handle_closed);
    uv_close((uv_handle_t *)&a->probe_again, on_handle_closed);
}

void agent_free(struct agent *a)
{
    if (a == NULL)
        return;
    while (a->queue != NULL) {
        struct queued *q = a->queue;
        a->queue = q->next;
        free(q->ids);
        free(q);
    }
    network_close(a->network);
    converge_free(a->converge);
    converge_output_done(&a->out);
    if (a->lock_fd >= 0)
        (void)close(a->lock_fd);
    free(a->instances_folder);
    free(a->tombstones_folder);
    free(a->peer_uri);
    free(a->heartbeats);
    free(a->probe_folder);
    free(a->probe_cgroup);
    free(a);
}
