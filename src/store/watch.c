/* Being told of growth: inotify (by libuv) on the file that is written whenever the log grows. */
#include <uv.h>

#include "base/own.h"
#include "store/kind.h"

struct store_watch {
    uv_fs_event_t handle;
    store_changed_fn changed; /* NULL: not any more */
    void *ctx;
};

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status; /* a hint, whatever it says */
    struct store_watch *w = handle->data;
    if (w->changed != NULL)
        w->changed(w->ctx);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

enum err store_watch(struct store *s, struct uv_loop_s *loop, store_changed_fn changed, void *ctx,
                     struct store_watch **ret_watch, struct errinfo *err)
{
    auto_free char *path = s->kind->watch_path(s);
    *ret_watch = NULL;
    if (path == NULL)
        return OK;
    struct store_watch *w = mem_alloc(sizeof(*w));
    int rc = uv_fs_event_init(loop, &w->handle);
    if (rc < 0) {
        free(w);
        return err_set_os(err, ERR_IO, -rc, "watch '%s'", path);
    }
    w->handle.data = w;
    rc = uv_fs_event_start(&w->handle, on_event, path, 0);
    if (rc < 0) {
        store_unwatch(w);
        return err_set_os(err, ERR_IO, -rc, "watch '%s' (see fs.inotify.max_user_instances)", path);
    }
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
    uv_close((uv_handle_t *)&w->handle, on_closed);
}
