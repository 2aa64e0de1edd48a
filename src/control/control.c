#include "control/control.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/own.h"
#include "base/random.h"
#include "control/parts.h"
#include "control/secret.h"
#include "net/dns_txt.h"

/* ---- what the runtime tells ---- */

static void on_live(void *ctx)
{
    struct control *c = ctx;
    c->live_mono_us = c->listens_mono_us = c->pulse_us = clock_mono_us();
    control_tell_checkpoint(c);
    log_info(c->o.log, "live at position %llu, folded from %llu", (unsigned long long)c->model->seq,
             (unsigned long long)c->checkpoint_seq);
    control_tell_state(c);
    control_kick(c);
}

static void on_change(void *ctx, const struct app_position *at)
{
    struct control *c = ctx;
    (void)at;
    for (struct control_listener *l = c->listeners, *next = NULL; l != NULL; l = next) {
        next = l->next; /* it may leave while it is told */
        l->on_change(l->ctx);
    }
    control_kick(c);
}

static void on_stalled(void *ctx, const struct errinfo *cause)
{
    struct control *c = ctx;
    log_err(c->o.log, cause, "the log cannot be folded any further: this process only reads from now on");
    control_tell_state(c);
}

/* app_wake_at's instant came: it is the planner's deadline. */
static void on_wake(void *ctx)
{
    control_kick(ctx);
}

void control_kick(struct control *c)
{
    if (c->is_closing || !control_is_live(c))
        return;
    if (c->planner != NULL)
        planner_look(c->planner);
    if (c->certifier != NULL)
        certifier_look(c->certifier);
}

void control_heard_edge(struct control *c)
{
    leases_tell_edges(c->leases);
    control_kick(c);
}

/* ---- garbage among blobs ---- */

/* Which replica collects: any id will do, if it is the same everywhere. */
static const struct id COLLECTION = {{'b', 'l', 'o', 'b', 's'}};

static bool may_collect(void *ctx)
{
    struct control *c = ctx;
    struct strs planners;
    leases_planners(c->leases, &planners);
    return planners.n > 0 && preferred_is(&planners, str_from(c->o.replica), COLLECTION) &&
           control_sight(c, NULL) == SIGHT_LIVE && !control_was_deaf(c);
}

static void look_for_collector(void *ctx)
{
    app_hint(((struct control *)ctx)->app);
}

static int64_t end_for_collector(void *ctx)
{
    return app_end_seen_us(((struct control *)ctx)->app);
}

static const struct model *model_for_collector(void *ctx)
{
    return ((struct control *)ctx)->model;
}

static void open_collector(struct control *c)
{
    if (c->o.blobs == NULL || !c->o.has_planner)
        return;
    c->collector = collector_new(&(struct collector_options){.loop = c->o.loop,
                                                             .store = c->o.blobs,
                                                             .log = c->o.log,
                                                             .every_ms = c->o.blob_collection_s * 1000,
                                                             /* two leases, and what a look takes */
                                                             .settle_us = (int64_t)c->o.node_timeout_ms * 2500,
                                                             .may = may_collect,
                                                             .look = look_for_collector,
                                                             .end_seen_us = end_for_collector,
                                                             .model = model_for_collector,
                                                             .ctx = c});
}

bool control_collected(const struct control *c, struct blob_collected *ret, uint64_t *ret_runs)
{
    if (c->collector != NULL)
        *ret = collector_counts(c->collector, ret_runs);
    return c->collector != NULL;
}

/* ---- opening and closing ---- */

/* Domains are proved where certificates are issued; without a resolver an operator proves them. */
static void open_prover(struct control *c, const struct sockaddr_storage *given)
{
    struct sockaddr_storage server;
    struct errinfo err = {0};
    if (!c->o.has_certificates)
        return;
    if (given != NULL)
        c->prover = prover_new(c, given);
    else if (dns_server_of_host(&server, &err) == OK)
        c->prover = prover_new(c, &server);
    else
        log_warn(c->o.log, "domains are not looked up: %s", err.msg);
}

static enum err open_log(struct control *c, struct errinfo *err)
{
    struct store *store = NULL;
    struct store_repair repair = {0};
    struct store_options open = {.mode = c->o.makes_log ? STORE_CREATE : STORE_APPEND};
    enum err rc = store_open(c->o.event_store, &open, &store, &repair, err);
    if (rc == ERR_NOT_FOUND)
        return err_wrap(err, rc, "the event log '%s' is not there: bring it back (a folder that is not mounted?)",
                        c->o.event_store);
    if (rc != OK)
        return err_wrap(err, rc, "open the event log '%s'", c->o.event_store);
    if (repair.cut_bytes > 0 || repair.adopted_records > 0)
        log_warn(c->o.log, "event log repaired: %llu bytes of an unfinished append cut off, %llu records adopted",
                 (unsigned long long)repair.cut_bytes, (unsigned long long)repair.adopted_records);
    struct app_options options = {.name = "platform", .on_wake = on_wake, .inputs = &store, .inputs_n = 1};
    control_fold_options(c, &options);
    rc = app_open(c->o.loop, &options, &c->app, err);
    if (rc != OK) {
        store_close(store);
        return rc;
    }
    c->reading = log_queue_new(c->o.loop, c->o.event_store, STORE_READ, ID_NONE);
    c->gateway = (struct gateway){
        .name = "control", .ctx = c, .on_live = on_live, .on_change = on_change, .on_stalled = on_stalled};
    app_add_gateway(c->app, &c->gateway);
    return OK;
}

static enum err open_files(struct control *c, struct errinfo *err)
{
    enum err rc = OK;
    if (c->o.certificates_folder != NULL)
        rc = certificates_open(c->o.certificates_folder, c->o.ca_cert_file, c->o.ca_key_file, &c->certificates, err);
    if (rc == OK && c->o.has_certificates && (c->certificates == NULL || !certificates_can_issue(c->certificates)))
        rc = err_set(err, ERR_INVALID,
                     "workload 'certificates' needs a folder for them, 'ca_cert_file' and 'ca_key_file'");
    return rc;
}

static void control_free(struct control *c)
{
    model_free(c->model);
    arena_done(&c->event_texts);
    seen_free(c->seen);
    certificates_close(c->certificates);
    seal_file_done(&c->seal_file);
    free(c);
}

/* Without the key file all but secrets goes on, and they do when it is back. */
static void open_keyring(struct control *c)
{
    struct errinfo err = {0};
    if (c->o.seal_key_file == NULL)
        return;
    seal_file_init(&c->seal_file, c->o.seal_key_file);
    if (seal_file_look(&c->seal_file, &err) != OK)
        log_err(c->o.log, &err, "secrets are neither sealed nor opened");
    c->keyring = keyring_new(c->o.loop, c->o.event_store, c->o.seal_key_file);
}

enum err control_open(const struct control_options *o, struct control **ret, struct errinfo *err)
{
    struct control *c = mem_alloc(sizeof(*c));
    if (!store_lease_name_is_fine(o->replica)) {
        free(c);
        return err_set(err, ERR_INVALID, "'%s' is no name of a replica: up to 63 letters, digits, '.', '_', '-'",
                       o->replica);
    }
    c->o = *o;
    c->o.settings.installation = str_from(o->installation);
    if (c->o.node_timeout_ms == 0)
        c->o.node_timeout_ms = CONTROL_NODE_TIMEOUT_MS_DEFAULT;
    c->model = model_new();
    c->seen = seen_new();
    random_bytes(c->ids.seed, sizeof(c->ids.seed));
    struct sockaddr_storage dns = {0};
    enum err rc = o->dns_server == NULL ? OK : dns_server_parse(str_from(o->dns_server), &dns, err);
    if (rc == OK)
        rc = open_files(c, err);
    if (rc == OK)
        rc = open_log(c, err);
    if (rc != OK) {
        control_free(c);
        return rc;
    }
    open_keyring(c);
    c->housekeeping = housekeeping_new(c);
    c->leases = leases_new(c);
    c->write_proof = write_proof_new(c);
    control_pulse_start(c);
    auto_free char *bulk_spec = bulk_queue_spec(o->event_store, o->logs_folder);
    if (bulk_spec != NULL)
        c->bulk = bulk_queue_new(o->loop, bulk_spec, &o->bulk_limits);
    c->stream_logs = stream_logs_new(o->loop, o->event_store, o->streams_folder);
    bool has_bulk = c->bulk != NULL && !str_starts(str_from(bulk_spec), STR("folder;"));
    if (has_bulk ? o->has_watchdog : o->statistics_folder != NULL)
        c->statistics = statistics_new(&(struct statistics_options){.loop = o->loop,
                                                                    .log = o->log,
                                                                    .folder = has_bulk ? NULL : o->statistics_folder,
                                                                    .bulk = has_bulk ? c->bulk : NULL,
                                                                    .writes = o->has_watchdog});
    if (o->has_planner)
        c->planner = planner_new(c);
    if (o->has_watchdog)
        c->watchdog = watchdog_new(c);
    if (o->has_certificates)
        c->certifier = certifier_new(c);
    open_prover(c, o->dns_server == NULL ? NULL : &dns);
    open_collector(c);
    *ret = c;
    return OK;
}

void control_part_closed(struct control *c)
{
    if (--c->closing_n > 0)
        return;
    void (*closed)(void *) = c->closed;
    void *ctx = c->closed_ctx;
    control_free(c);
    if (closed != NULL)
        closed(ctx);
}

static void part_closed(void *ctx)
{
    control_part_closed(ctx);
}

void control_close(struct control *c, void (*closed)(void *ctx), void *ctx)
{
    c->is_closing = true;
    c->closed = closed;
    c->closed_ctx = ctx;
    c->closing_n = 6u + (c->bulk != NULL) + (c->stream_logs != NULL) + (c->statistics != NULL) + (c->keyring != NULL) +
                   (c->planner != NULL) + (c->watchdog != NULL) + (c->certifier != NULL) + (c->prover != NULL) +
                   (c->collector != NULL);
    if (c->planner != NULL)
        planner_close(c->planner);
    if (c->watchdog != NULL)
        watchdog_close(c->watchdog);
    if (c->certifier != NULL)
        certifier_close(c->certifier);
    if (c->prover != NULL)
        prover_close(c->prover);
    if (c->collector != NULL)
        collector_close(TAKE(c->collector), part_closed, c);
    housekeeping_close(c->housekeeping);
    control_pulse_stop(c);
    leases_close(TAKE(c->leases));
    write_proof_close(TAKE(c->write_proof));
    if (c->bulk != NULL)
        bulk_queue_close(TAKE(c->bulk), part_closed, c);
    if (c->stream_logs != NULL)
        stream_logs_close(TAKE(c->stream_logs), part_closed, c);
    if (c->statistics != NULL)
        statistics_close(TAKE(c->statistics), part_closed, c);
    if (c->keyring != NULL)
        keyring_close(TAKE(c->keyring), part_closed, c);
    log_queue_close(c->reading, part_closed, c);
    app_close(c->app, part_closed, c);
}

/* ---- reading ---- */

const struct model *control_model(const struct control *c)
{
    return c->model;
}

const struct platform_settings *control_settings(const struct control *c)
{
    return &c->o.settings;
}

const char *control_installation(const struct control *c)
{
    return c->o.installation;
}

const char *control_replica(const struct control *c)
{
    return c->o.replica;
}

int control_edge_https_port(const struct control *c)
{
    return c->o.edge_https_port;
}

uv_loop_t *control_loop(const struct control *c)
{
    return c->o.loop;
}

const struct logger *control_logger(const struct control *c)
{
    return c->o.log;
}

struct seen *control_seen(const struct control *c)
{
    return c->seen;
}

struct statistics *control_statistics(const struct control *c)
{
    return c->statistics;
}

struct bulk_queue *control_logs(const struct control *c)
{
    return c->bulk;
}

struct stream_logs *control_stream_logs(const struct control *c)
{
    return c->stream_logs;
}

struct certificates *control_certificates(const struct control *c)
{
    return c->certificates;
}

struct keyring *control_keyring(const struct control *c, struct errinfo *err)
{
    if (c->keyring == NULL)
        err_ignore(err_set(err, ERR_UNAVAILABLE, "this replica has no key for secrets: set 'seal_key_file'"));
    return c->keyring;
}

bool control_is_live(const struct control *c)
{
    return app_is_live(c->app);
}

bool control_is_preferred(const struct control *c, struct id what)
{
    struct strs planners;
    leases_planners(c->leases, &planners);
    return preferred_is(&planners, str_from(c->o.replica), what);
}

struct control_counts control_counts(const struct control *c)
{
    struct app_counts app = app_counts(c->app);
    struct control_counts n = {.appends = app.appends, .conflicts = app.conflicts};
    if (c->planner != NULL)
        planner_count(c->planner, &n);
    return n;
}

struct app_position control_position(const struct control *c)
{
    return app_position(c->app);
}

int64_t control_clock_us(const struct control *c)
{
    return app_clock_us(c->app);
}

struct app *control_app(const struct control *c)
{
    return c->app;
}

void control_model_hash(struct control *c, char ret_text[static HASH_TEXT_SIZE])
{
    if (!c->is_hashed || c->hash_seq != c->model->seq) {
        uint8_t hash[HASH_SIZE];
        model_hash(c->model, hash);
        hex_format(hash, sizeof(hash), c->hash);
        c->hash_seq = c->model->seq;
        c->is_hashed = true;
    }
    memcpy(ret_text, c->hash, HASH_TEXT_SIZE);
}

void control_listen(struct control *c, struct control_listener *l)
{
    l->next = c->listeners;
    c->listeners = l;
}

void control_unlisten(struct control *c, struct control_listener *l)
{
    struct control_listener **at = &c->listeners;
    while (*at != NULL && *at != l)
        at = &(*at)->next;
    if (*at != NULL)
        *at = l->next;
}

void control_read_records(struct control *c, uint64_t after_seq, size_t n, log_read_fn done, void *ctx)
{
    log_queue_read(c->reading, after_seq, n, done, ctx);
}

/* ---- commands ---- */

struct decide control_decide(struct control *c)
{
    int64_t now_ms = control_clock_us(c) / 1000;
    c->ids.wall_ms = now_ms;
    return (struct decide){.model = c->model, .settings = &c->o.settings, .now_ms = now_ms, .ids = &c->ids};
}

void control_events_add(struct app_events *to, const struct event_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        app_events_add_event(to, &list->items[i]);
}

bool control_has_nothing_to_do(struct control *c, control_decide_fn decide, void *args)
{
    AUTO(arena) struct arena a = {0};
    struct event_list list = {.arena = &a};
    struct decide d = control_decide(c);
    return decide(&d, args, &list, NULL) == OK && list.n == 0;
}

struct submitted {
    struct control *control;
    control_decide_fn decide;
    void *args, *ctx;
    control_done_fn done;
    size_t events_n;
};

static enum err submitted_decide(void *ctx, const void *model, struct app_events *ret_events, struct errinfo *err)
{
    struct submitted *s = ctx;
    AUTO(arena) struct arena a = {0};
    struct event_list list = {.arena = &a};
    struct decide d = control_decide(s->control);
    (void)model; /* the control itself, whose model d names */
    enum err rc = s->decide(&d, s->args, &list, err);
    if (rc == OK)
        control_events_add(ret_events, &list);
    s->events_n = list.n;
    return rc;
}

static void submitted_done(void *ctx, enum err rc, const struct app_position *at, const struct errinfo *err)
{
    struct submitted *s = ctx;
    (void)at;
    s->done(s->ctx, rc, s->events_n, err);
    free(s);
}

void control_submit(struct control *c, control_decide_fn decide, void *args, control_done_fn done, void *ctx)
{
    struct submitted *s = mem_alloc(sizeof(*s));
    *s = (struct submitted){.control = c, .decide = decide, .args = args, .ctx = ctx, .done = done};
    app_emit(c->app, submitted_decide, s, submitted_done);
}
