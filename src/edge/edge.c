#include "edge/edge.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "crypto/ca.h"
#include "crypto/file.h"
#include "edge/certificates.h"
#include "edge/envoy/bootstrap.h"
#include "edge/envoy/process.h"
#include "edge/follower.h"
#include "edge/publish.h"
#include "edge/xds/server.h"
#include "os/file.h"

enum {
    IDENTITY_POLL_MS = 10000,        /* how soon a renewed certificate is noticed; chosen */
    PROBLEM_QUIET_US = 60 * 1000000, /* chosen */
    MAP_SIZE_MAX = 256 * 1024 * 1024 /* of routes.json: some 100,000 routes; chosen */
};

struct edge {
    struct edge_options options;
    struct route_map *map;
    struct catalogue *catalogue;
    struct publish *publish;
    struct xds_server *xds;
    struct certificates *certificates;
    struct follower *follower;
    struct envoy *envoy;
    uv_timer_t identity_timer;
    char *map_path;
    char *confirmed;     /* last cursor that was in force; routes.json has this or an older one */
    bool is_map_unsaved; /* changed since routes.json was written */
    struct timespec identity_mtime;
    int lock_fd;
    bool was_settled, is_stopping;
    int64_t document_us; /* when the newest document came */
    char last_problem[sizeof(((struct errinfo *)0)->msg)];
    int64_t problem_us;
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

/* The same problem again and again (the control plane is away) is said once a minute. */
static void log_problem(void *ctx, const struct errinfo *err)
{
    struct edge *e = ctx;
    int64_t now_us = clock_mono_us();
    if (strcmp(err->msg, e->last_problem) == 0 && now_us - e->problem_us < PROBLEM_QUIET_US)
        return;
    memcpy(e->last_problem, err->msg, sizeof(e->last_problem));
    e->problem_us = now_us;
    log_err(e->options.log, err, "edge");
}

/* ---- the map on disk: {"confirmed": cursor, "routes": document} ---- */

static enum err map_save(struct edge *e, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    buf_add_c(&text, "{\"confirmed\":");
    buf_add_json_string(&text, str_from(e->confirmed));
    buf_add_c(&text, ",\"routes\":");
    route_map_encode(e->map, &text);
    buf_add_c(&text, "}\n");
    return file_replace(e->map_path, buf_str(&text), 0600, err);
}

static enum err map_decode(struct edge *e, struct str text, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    AUTO(route_changes) struct route_changes changes = {0};
    enum err rc = json_parse(text, &doc, err);
    if (rc == OK)
        rc = route_map_apply(e->map, json_object_get(doc, "routes"), &changes, err);
    if (rc != OK)
        return rc;
    struct str confirmed = json_member_str(doc, "confirmed");
    free(e->confirmed);
    e->confirmed = mem_strndup(confirmed.ptr == NULL ? "" : confirmed.ptr, confirmed.len);
    return OK;
}

/* A damaged file is a loss that the control plane makes good: say so and go on without it. */
static void map_load(struct edge *e)
{
    AUTO(buf) struct buf text = {0};
    struct errinfo err = {0};
    enum err rc = file_read(e->map_path, MAP_SIZE_MAX, &text, &err);
    if (rc == OK)
        rc = map_decode(e, buf_str(&text), &err);
    if (rc == OK)
        log_info(e->options.log, "%zu routes from '%s'", route_map_count(e->map), e->map_path);
    else if (rc != ERR_NOT_FOUND)
        log_err(e->options.log, &err, "the map of an earlier life cannot be used");
}

/* ---- confirmation ---- */

/* What the control plane may count on: this document is on disk (on_document) and in force in Envoy. */
static void confirm_if_settled(struct edge *e)
{
    bool is_settled = xds_server_is_settled(e->xds);
    if (is_settled && !e->is_map_unsaved && e->follower != NULL &&
        strcmp(e->confirmed, route_map_cursor(e->map)) != 0) {
        free(e->confirmed);
        e->confirmed = mem_strdup(route_map_cursor(e->map));
        follower_confirm(e->follower, e->confirmed);
    }
    if (is_settled && !e->was_settled) {
        e->was_settled = true;
        e->options.on_ready(e->options.ctx, edge_is_ready(e));
    }
}

/* ---- callbacks ---- */

static enum err on_document(void *ctx, const json_t *document, struct errinfo *err)
{
    struct edge *e = ctx;
    AUTO(route_changes) struct route_changes changes = {0};
    auto_free char *cursor = mem_strdup(route_map_cursor(e->map));
    enum err rc = route_map_apply(e->map, document, &changes, err);
    if (rc != OK)
        return err_wrap(err, rc, "routes");
    if (strcmp(cursor, route_map_cursor(e->map)) != 0)
        e->document_us = clock_mono_us();
    if (changes.routes_n > 0) {
        e->is_map_unsaved = true;
        log_debug(e->options.log, "%zu routes and %zu hosts changed, cursor '%s'", changes.routes_n, changes.hosts_n,
                  route_map_cursor(e->map));
    }
    /* A cursor alone moves often (any event of the log) and is not worth a write: an older one only brings news again.
     */
    if (e->is_map_unsaved && (rc = map_save(e, err)) == OK)
        e->is_map_unsaved = false;
    publish_changes(e->publish, &changes);
    if (rc != OK)
        return err_wrap(err, rc, "save the map of routes"); /* so it is not confirmed; it comes again */
    xds_server_tick(e->xds);
    return OK;
}

static void on_certificate_wanted(void *ctx, struct str host, struct id certificate_id)
{
    struct edge *e = ctx;
    if (e->certificates != NULL)
        certificates_want(e->certificates, host, certificate_id);
}

static void on_certificate(void *ctx, struct str host, struct str chain_pem, struct str key_pem)
{
    struct edge *e = ctx;
    publish_certificate(e->publish, host, chain_pem, key_pem);
    if (e->xds != NULL)
        xds_server_tick(e->xds);
}

static void on_wanted(void *ctx, enum xds_type type, struct str name, bool is_held)
{
    struct edge *e = ctx;
    publish_wanted(e->publish, type, name, is_held);
}

static void on_event(void *ctx, const struct delta_event *event)
{
    struct edge *e = ctx;
    if (event->is_refusal)
        log_error(e->options.log, "envoy refused %zu resource(s) of type %s: %s", event->resources_n,
                  xds_type_name(event->type), event->text);
    e->options.on_event(e->options.ctx, event);
}

static void on_change(void *ctx)
{
    struct edge *e = ctx;
    if (e->xds != NULL && !e->is_stopping)
        confirm_if_settled(e);
}

static void on_live(void *ctx, bool is_live)
{
    struct edge *e = ctx;
    (void)is_live;
    e->options.on_ready(e->options.ctx, edge_is_ready(e));
}

bool edge_is_ready(const struct edge *e)
{
    return e->envoy != NULL && envoy_is_live(e->envoy) && e->was_settled && !e->is_stopping;
}

/* ---- certificates of our own ---- */

static enum err identity_publish(struct edge *e, struct errinfo *err)
{
    AUTO(buf) struct buf chain = {0}, ca = {0};
    AUTO(secret) struct buf key = {0};
    struct stat st;
    if (stat(e->options.cert_file, &st) == 0)
        e->identity_mtime = st.st_mtim;
    enum err rc = crypto_file_read(e->options.cert_file, &chain, err);
    if (rc == OK)
        rc = crypto_file_read(e->options.key_file, &key, err);
    if (rc == OK)
        rc = crypto_file_read(e->options.ca_file, &ca, err);
    if (rc == OK)
        publish_identity(e->publish, buf_str(&chain), buf_str(&key), buf_str(&ca));
    return rc;
}

static void on_identity_timer(uv_timer_t *timer)
{
    struct edge *e = timer->data;
    struct errinfo err = {0};
    struct stat st;
    if (stat(e->options.cert_file, &st) != 0 ||
        (st.st_mtim.tv_sec == e->identity_mtime.tv_sec && st.st_mtim.tv_nsec == e->identity_mtime.tv_nsec))
        return;
    if (identity_publish(e, &err) != OK)
        log_err(e->options.log, &err, "a renewed identity cannot be read");
    else
        xds_server_tick(e->xds);
}

static enum err fallback_make(const char *cert_file, const char *key_file, struct errinfo *err)
{
    auto_ca struct ca *ca = NULL;
    static const char *const NAMES[] = {"fallback.invalid"};
    const struct leaf_options leaf = {.dns_names = NAMES, .dns_names_n = 1, .server = true, .days = 3650};
    enum err rc = ca_create("slipform fallback", &ca, err);
    return rc != OK ? rc : ca_issue_files(ca, &leaf, cert_file, key_file, -1, -1, err);
}

/* What is shown to clients that name nobody's host: trusted by no one, so that they see an answer only if they insist.
 */
static enum err fallback_publish(struct edge *e, struct errinfo *err)
{
    AUTO(buf) struct buf chain = {0};
    AUTO(secret) struct buf key = {0};
    auto_free char *cert_file = mem_printf("%s/fallback.crt", e->options.state_dir),
                   *key_file = mem_printf("%s/fallback.key", e->options.state_dir);
    enum err rc = file_exists(cert_file) && file_exists(key_file) ? OK : fallback_make(cert_file, key_file, err);
    if (rc == OK)
        rc = crypto_file_read(cert_file, &chain, err);
    if (rc == OK)
        rc = crypto_file_read(key_file, &key, err);
    if (rc == OK)
        publish_fallback(e->publish, buf_str(&chain), buf_str(&key));
    return rc;
}

/* ---- life ---- */

static enum err open_folders(struct edge *e, struct errinfo *err)
{
    auto_free char *lock = mem_printf("%s/lock", e->options.run_dir);
    enum err rc = folder_make(e->options.state_dir, 0700, err);
    if (rc == OK)
        rc = folder_make(e->options.run_dir, 0700, err);
    if (rc == OK)
        rc = file_lock(lock, &e->lock_fd, err);
    return rc == ERR_CONFLICT ? err_wrap(err, rc, "another edge-proxy uses '%s'", e->options.run_dir) : rc;
}

static enum err open_content(struct edge *e, struct errinfo *err)
{
    const struct edge_options *o = &e->options;
    auto_free char *folder = mem_printf("%s/certificates", o->state_dir);
    const struct publish_options publish = {.catalogue = e->catalogue,
                                            .map = e->map,
                                            .shape = {.sticky_seconds = o->sticky_seconds},
                                            .on_certificate_wanted = on_certificate_wanted,
                                            .on_problem = log_problem,
                                            .ctx = e};
    const struct certificates_options certificates = {.loop = o->loop,
                                                      .client = o->client,
                                                      .call = o->call,
                                                      .urls = o->management_urls,
                                                      .urls_n = o->management_urls_n,
                                                      .folder = folder,
                                                      .on_certificate = on_certificate,
                                                      .on_problem = log_problem,
                                                      .ctx = e};
    e->publish = publish_new(&publish);
    publish_listeners(e->publish, &o->https, o->http.port == 0 ? NULL : &o->http, o->https_public_port);
    enum err rc = certificates_open(&certificates, &e->certificates, err);
    if (rc == OK)
        rc = identity_publish(e, err);
    if (rc == OK)
        rc = fallback_publish(e, err);
    if (rc == OK)
        map_load(e);
    return rc;
}

static enum err open_envoy(struct edge *e, struct errinfo *err)
{
    const struct edge_options *o = &e->options;
    auto_free char *xds_path = envoy_xds_path(o->run_dir), *bootstrap = bootstrap_edge(o->node_id, o->run_dir);
    const struct xds_server_options server = {.loop = o->loop,
                                              .path = xds_path,
                                              .catalogue = e->catalogue,
                                              .on_wanted = on_wanted,
                                              .on_event = on_event,
                                              .on_change = on_change,
                                              .ctx = e};
    const struct envoy_options envoy = {.loop = o->loop,
                                        .log = o->log,
                                        .binary = o->envoy_binary,
                                        .run_dir = o->run_dir,
                                        .bootstrap = bootstrap,
                                        .concurrency = o->envoy_concurrency,
                                        .on_live = on_live,
                                        .ctx = e};
    enum err rc = xds_server_open(&server, &e->xds, err);
    return rc == OK ? envoy_open(&envoy, &e->envoy, err) : rc;
}

static void open_follower(struct edge *e)
{
    const struct edge_options *o = &e->options;
    e->follower = follower_open(&(struct follower_options){.loop = o->loop,
                                                           .client = o->client,
                                                           .call = o->call,
                                                           .urls = o->management_urls,
                                                           .urls_n = o->management_urls_n,
                                                           .confirmed = e->confirmed,
                                                           .on_document = on_document,
                                                           .on_problem = log_problem,
                                                           .ctx = e});
}

static void on_closed(uv_handle_t *handle)
{
    struct edge *e = handle->data;
    void (*on_stopped)(void *) = e->on_stopped;
    void *ctx = e->stopped_ctx;
    publish_free(e->publish);
    catalogue_free(e->catalogue);
    route_map_free(e->map);
    free(e->map_path);
    free(e->confirmed);
    if (e->lock_fd >= 0)
        (void)close(e->lock_fd);
    free(e);
    if (on_stopped != NULL)
        on_stopped(ctx);
}

/* Envoy is gone, or never was: the rest follows. Handles that close later than the timer use nothing of ours. */
static void close_rest(void *ctx)
{
    struct edge *e = ctx;
    xds_server_close(e->xds);
    e->xds = NULL;
    uv_close((uv_handle_t *)&e->identity_timer, on_closed);
}

enum err edge_open(const struct edge_options *o, struct edge **ret_edge, struct errinfo *err)
{
    struct edge *e = mem_alloc(sizeof(*e));
    e->options = *o;
    e->lock_fd = -1;
    e->map = route_map_new();
    e->catalogue = catalogue_new();
    e->confirmed = mem_strdup("");
    e->map_path = mem_printf("%s/routes.json", o->state_dir);
    uv_timer_init(o->loop, &e->identity_timer);
    e->identity_timer.data = e;
    enum err rc = open_folders(e, err);
    if (rc == OK)
        rc = open_content(e, err);
    if (rc == OK)
        rc = open_envoy(e, err);
    if (rc != OK) {
        e->is_stopping = true;
        certificates_close(e->certificates);
        close_rest(e);
        return rc;
    }
    open_follower(e);
    uv_timer_start(&e->identity_timer, on_identity_timer, IDENTITY_POLL_MS, IDENTITY_POLL_MS);
    *ret_edge = e;
    return OK;
}

void edge_numbers(const struct edge *e, struct edge_numbers *ret_numbers)
{
    *ret_numbers = (struct edge_numbers){.answered_age_us = -1};
    if (e->is_stopping)
        return;
    int64_t now_us = clock_mono_us(), answered_us = follower_answered_us(e->follower);
    bool is_confirmed = strcmp(follower_confirmed(e->follower), route_map_cursor(e->map)) == 0;
    *ret_numbers = (struct edge_numbers){
        .routes = route_map_count(e->map),
        .hosts = route_map_hosts_count(e->map),
        .certificates_pending = certificates_pending(e->certificates),
        .envoy_restarts = envoy_restarts(e->envoy),
        .envoy_is_live = envoy_is_live(e->envoy),
        .envoy_was_adopted = envoy_was_adopted(e->envoy),
        .answered_age_us = answered_us == 0 ? -1 : now_us - answered_us,
        .unconfirmed_age_us = is_confirmed ? 0 : now_us - e->document_us,
        .streams = xds_server_streams(e->xds),
        .refused = xds_server_refused(e->xds),
        .is_settled = xds_server_is_settled(e->xds),
    };
    for (enum xds_type t = 0; t < XDS_TYPES_N; t++)
        ret_numbers->held[t] = xds_server_held(e->xds, t);
}

void edge_hint(struct edge *e)
{
    if (e->follower != NULL)
        follower_kick(e->follower);
}

void edge_stop(struct edge *e, unsigned grace_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    e->is_stopping = true;
    e->on_stopped = on_stopped;
    e->stopped_ctx = ctx;
    uv_timer_stop(&e->identity_timer);
    follower_close(TAKE(e->follower));
    certificates_close(TAKE(e->certificates));
    e->options.on_ready(e->options.ctx, false);
    envoy_stop(TAKE(e->envoy), grace_ms, close_rest, e);
}
