/* Being told of growth: inotify (by libuv) on the file that is written whenever the log grows, or the kind's own word,
 * which may come from any thread and is brought to the loop, or a call that waits at the platform, or a descriptor that
 * threads of a client library write to, or the time. */
#include <sys/eventfd.h>

#include <uv.h>

#include "base/own.h"
#include "store/kind.h"
#include "store/remote_watch.h"

struct store_watch {
    union {
        uv_handle_t any;
        uv_fs_event_t file;
        uv_async_t told;
        uv_timer_t every;
        uv_poll_t news;
    } handle;
    struct remote_watch *remote; /* with the platform's word, else NULL: then there is no handle */
    struct store *store;         /* with the kind's own word, else NULL */
    store_changed_fn changed;    /* NULL: not any more */
    void *ctx;
};

static void tell(const struct store_watch *w)
{
    if (w->changed != NULL)
        w->changed(w->ctx);
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status; /* a hint, whatever it says */
    tell(handle->data);
}

static void on_told(uv_async_t *handle)
{
    tell(handle->data);
}

static void on_time(uv_timer_t *handle)
{
    tell(handle->data);
}

static void on_news(uv_poll_t *handle, int status, int events)
{
    const struct store_watch *w = handle->data;
    eventfd_t many = 0;
    (void)status, (void)events;
    (void)eventfd_read(w->store->news_fd, &many); /* however many: one look finds all */
    tell(w);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_grown(void *ctx)
{
    struct store_watch *w = ctx;
    (void)uv_async_send(&w->handle.told); /* cannot fail on an open handle */
}

static int watch_file(struct store_watch *w, struct uv_loop_s *loop, const char *path)
{
    int rc = uv_fs_event_init(loop, &w->handle.file);
    if (rc < 0) {
        free(w);
        return rc;
    }
    w->handle.any.data = w;
    rc = uv_fs_event_start(&w->handle.file, on_event, path, 0);
    if (rc < 0)
        store_unwatch(w);
    return rc;
}

static int watch_store(struct store_watch *w, struct uv_loop_s *loop, struct store *s)
{
    int rc = uv_async_init(loop, &w->handle.told, on_told);
    if (rc < 0) {
        free(w);
        return rc;
    }
    w->handle.any.data = w;
    w->store = s;
    s->changed_ctx = w;
    s->changed = on_grown;
    return 0;
}

static int watch_time(struct store_watch *w, struct uv_loop_s *loop, unsigned every_ms)
{
    (void)uv_timer_init(loop, &w->handle.every); /* neither can fail */
    w->handle.any.data = w;
    (void)uv_timer_start(&w->handle.every, on_time, every_ms, every_ms);
    return 0;
}

static int watch_news(struct store_watch *w, struct uv_loop_s *loop, struct store *s)
{
    int rc = uv_poll_init(loop, &w->handle.news, s->news_fd);
    if (rc < 0) {
        free(w);
        return rc;
    }
    w->handle.any.data = w;
    w->store = s;
    rc = uv_poll_start(&w->handle.news, UV_READABLE, on_news);
    if (rc < 0)
        store_unwatch(w);
    return rc;
}

static void on_remote(void *ctx)
{
    tell(ctx);
}

enum err store_watch(struct store *s, struct uv_loop_s *loop, store_changed_fn changed, void *ctx,
                     struct store_watch **ret_watch, struct errinfo *err)
{
    auto_free char *path = s->kind->watch_path == NULL ? NULL : s->kind->watch_path(s);
    auto_free char *url = s->kind->watch_url == NULL ? NULL : s->kind->watch_url(s);
    *ret_watch = NULL;
    bool has_news = s->kind->has_news && s->news_fd >= 0;
    unsigned every_ms = s->kind->watch_every_ms;
    if (path == NULL && url == NULL && !s->kind->tells && !has_news && every_ms == 0)
        return OK;
    struct store_watch *w = mem_alloc(sizeof(*w));
    if (url != NULL)
        w->remote = remote_watch_new(loop, url, &s->known_seq, on_remote, w);
    int rc = 0;
    if (url == NULL)
        rc = has_news       ? watch_news(w, loop, s)
             : every_ms > 0 ? watch_time(w, loop, every_ms)
             : path == NULL ? watch_store(w, loop, s)
                            : watch_file(w, loop, path);
    if (rc < 0)
        return err_set_os(err, ERR_IO, -rc, "watch '%s' (see fs.inotify.max_user_instances)", s->name);
    w->changed = changed;
    w->ctx = ctx;
    *ret_watch = w;
    return OK;
}

void store_unwatch(struct store_watch *w)
{
    if (w == NULL)
        return;
    w->changed = NULL;
    if (w->store != NULL)
        w->store->changed = NULL;
    if (w->remote != NULL) {
        remote_watch_free(w->remote);
        free(w);
        return;
    }
    uv_close(&w->handle.any, on_closed);
}
