/* The runtime that starts nothing and says that it runs: for tests of scale. It is adopted like any other. */
#include "base/own.h"
#include "node/runtime/common.h"
#include "os/file.h"

struct null_instance {
    struct runtime_instance base;
    struct runtime_events events;
    uv_timer_t timer;
    char *state_dir;
    bool is_started, is_stopping, has_ended;
};

static struct null_instance *of(struct runtime_instance *i)
{
    return (struct null_instance *)(void *)i;
}

static void on_timer(uv_timer_t *timer)
{
    struct null_instance *n = timer->data;
    if (n->is_stopping) {
        n->has_ended = true;
        err_ignore(runtime_mark_remove(n->state_dir, NULL)); /* adopt would find it again: no harm */
        n->events.on_exit(n->events.arg, &(struct runtime_exit){.is_known = true, .ok = true, .cause = "stopped"});
    } else if (!n->is_started) {
        n->is_started = true;
        n->events.on_started(n->events.arg);
    }
}

static void watch(const struct runtime_host *host, const struct runtime_facts *facts,
                  const struct runtime_events *events, struct runtime_instance **ret)
{
    struct null_instance *n = mem_alloc(sizeof(*n));
    n->base.ops = &RUNTIME_NULL;
    n->events = *events;
    n->state_dir = mem_strdup(facts->state_dir);
    (void)uv_timer_init(host->loop, &n->timer);
    n->timer.data = n;
    (void)uv_timer_start(&n->timer, on_timer, 0, 0);
    *ret = &n->base;
}

static enum err null_start(const struct runtime_host *host, const struct runtime_facts *facts,
                           const struct runtime_events *events, struct runtime_instance **ret_instance,
                           struct errinfo *err)
{
    enum err rc = folder_make(facts->state_dir, 0700, err);
    if (rc != OK || (rc = runtime_mark_child(facts->state_dir, "null", (struct child_ref){0}, false, err)) != OK)
        return rc;
    watch(host, facts, events, ret_instance);
    return OK;
}

static enum err null_adopt(const struct runtime_host *host, const struct runtime_facts *facts,
                           const struct runtime_events *events, struct runtime_instance **ret_instance,
                           struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    struct runtime_mark mark;
    enum err rc = runtime_mark_read(facts->state_dir, "null", &a, &mark, err);
    if (rc == OK)
        watch(host, facts, events, ret_instance);
    return rc;
}

static void null_kill(struct runtime_instance *i)
{
    struct null_instance *n = of(i);
    if (n->has_ended)
        return;
    n->is_stopping = true;
    (void)uv_timer_start(&n->timer, on_timer, 0, 0);
}

static void null_stop(struct runtime_instance *i, int64_t grace_ms)
{
    (void)grace_ms;
    null_kill(i);
}

static pid_t null_pid(const struct runtime_instance *i)
{
    (void)i;
    return 0;
}

static bool null_is_accelerated(const struct runtime_instance *i)
{
    (void)i;
    return false;
}

static void on_closed(uv_handle_t *handle)
{
    struct null_instance *n = handle->data;
    free(n->state_dir);
    free(n);
}

static void null_free(struct runtime_instance *i)
{
    if (i != NULL)
        uv_close((uv_handle_t *)&of(i)->timer, on_closed);
}

static enum err null_clean(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                           struct errinfo *err)
{
    (void)host, (void)cgroup;
    return runtime_mark_remove(state_dir, err);
}

const struct runtime_ops RUNTIME_NULL = {
    .name = "null",
    .start = null_start,
    .adopt = null_adopt,
    .stop = null_stop,
    .kill = null_kill,
    .pid = null_pid,
    .is_accelerated = null_is_accelerated,
    .free = null_free,
    .clean = null_clean,
    .destroy = runtime_destroy,
};
