#include "edge/node_proxy.h"

#include <sys/stat.h>

#include "base/mem.h"
#include "base/own.h"
#include "edge/envoy/bootstrap.h"
#include "edge/envoy/process.h"
#include "os/file.h"

enum { IDENTITY_POLL_MS = 10000 }; /* how soon a renewed certificate is noticed; chosen */

struct node_proxy {
    struct node_proxy_options options;
    struct envoy *envoy;
    uv_timer_t identity_timer;
    struct timespec identity_mtime;
    char *secrets_dir;
    int lock_fd;
    void (*on_stopped)(void *ctx);
    void *stopped_ctx;
};

bool node_proxy_is_live(const struct node_proxy *p)
{
    return p->envoy != NULL && envoy_is_live(p->envoy);
}

uint64_t node_proxy_envoy_restarts(const struct node_proxy *p)
{
    return p->envoy == NULL ? 0 : envoy_restarts(p->envoy);
}

/* Envoy watches the folder: replacing these files makes it read the certificate again. */
static enum err write_secrets(struct node_proxy *p, struct errinfo *err)
{
    struct stat st;
    if (stat(p->options.cert_file, &st) == 0)
        p->identity_mtime = st.st_mtim;
    return bootstrap_node_secrets(p->secrets_dir, p->options.cert_file, p->options.key_file, p->options.ca_file, err);
}

static void on_identity_timer(uv_timer_t *timer)
{
    struct node_proxy *p = timer->data;
    struct errinfo err = {0};
    struct stat st;
    if (stat(p->options.cert_file, &st) != 0 ||
        (st.st_mtim.tv_sec == p->identity_mtime.tv_sec && st.st_mtim.tv_nsec == p->identity_mtime.tv_nsec))
        return;
    if (write_secrets(p, &err) != OK)
        log_err(p->options.log, &err, "renew the identity");
}

static void on_live(void *ctx, bool is_live)
{
    struct node_proxy *p = ctx;
    p->options.on_ready(p->options.ctx, is_live);
}

static enum err open_envoy(struct node_proxy *p, struct errinfo *err)
{
    const struct node_proxy_options *o = &p->options;
    auto_free char *bootstrap = bootstrap_node(&(struct bootstrap_node){.node_id = o->node_id,
                                                                        .run_dir = o->run_dir,
                                                                        .installation = o->installation,
                                                                        .port = o->port,
                                                                        .secrets_dir = p->secrets_dir});
    const struct envoy_options envoy = {.loop = o->loop,
                                        .log = o->log,
                                        .binary = o->envoy_binary,
                                        .run_dir = o->run_dir,
                                        .bootstrap = bootstrap,
                                        .concurrency = o->envoy_concurrency,
                                        .on_live = on_live,
                                        .ctx = p};
    return envoy_open(&envoy, &p->envoy, err);
}

static enum err open_folders(struct node_proxy *p, struct errinfo *err)
{
    auto_free char *lock = mem_printf("%s/lock", p->options.run_dir);
    enum err rc = folder_make(p->secrets_dir, 0700, err);
    if (rc == OK)
        rc = file_lock(lock, &p->lock_fd, err);
    return rc == ERR_CONFLICT ? err_wrap(err, rc, "another node-proxy uses '%s'", p->options.run_dir) : rc;
}

static void on_closed(uv_handle_t *handle)
{
    struct node_proxy *p = handle->data;
    void (*on_stopped)(void *) = p->on_stopped;
    void *ctx = p->stopped_ctx;
    if (p->lock_fd >= 0)
        (void)close(p->lock_fd);
    free(p->secrets_dir);
    free(p);
    if (on_stopped != NULL)
        on_stopped(ctx);
}

static void close_rest(void *ctx)
{
    struct node_proxy *p = ctx;
    uv_close((uv_handle_t *)&p->identity_timer, on_closed);
}

enum err node_proxy_open(const struct node_proxy_options *o, struct node_proxy **ret_proxy, struct errinfo *err)
{
    struct node_proxy *p = mem_alloc(sizeof(*p));
    p->options = *o;
    p->lock_fd = -1;
    p->secrets_dir = mem_printf("%s/secrets", o->run_dir);
    uv_timer_init(o->loop, &p->identity_timer);
    p->identity_timer.data = p;
    enum err rc = open_folders(p, err);
    if (rc == OK)
        rc = write_secrets(p, err);
    if (rc == OK)
        rc = open_envoy(p, err);
    if (rc != OK) {
        close_rest(p);
        return rc;
    }
    uv_timer_start(&p->identity_timer, on_identity_timer, IDENTITY_POLL_MS, IDENTITY_POLL_MS);
    *ret_proxy = p;
    return OK;
}

void node_proxy_stop(struct node_proxy *p, unsigned grace_ms, void (*on_stopped)(void *ctx), void *ctx)
{
    p->on_stopped = on_stopped;
    p->stopped_ctx = ctx;
    uv_timer_stop(&p->identity_timer);
    envoy_stop(TAKE(p->envoy), grace_ms, close_rest, p);
}
