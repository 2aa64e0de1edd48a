/* What is thrown away by time: lines of instances that are gone, statistics of instances that nobody reports. */
#include <stdlib.h>

#include "base/clock.h"
#include "control/parts.h"

#define LOOK_MS 600000
#define FIRST_LOOK_MS 60000

struct housekeeping {
    struct control *control;
    uv_timer_t timer;
};

/* A build's log is read as long as its image is listed, though the builder is gone. */
static bool is_known(void *ctx, struct id instance)
{
    const struct control *c = ctx;
    return model_instance(c->model, instance) != NULL || model_image_of_builder(c->model, instance) != NULL;
}

/* What the model names. Only what stands at the end of the log can say that something is not named. */
static bool mark_keys(void *ctx, const struct store_key *keys, size_t n, bool *used)
{
    const struct control *c = ctx;
    if (control_sight(c, NULL) != SIGHT_LIVE)
        return false;
    MODEL_EACH (secret, s, &c->model->secrets)
        keyring_mark(str_from(s->value), keys, n, used);
    MODEL_EACH (waiting, w, &c->model->waitlist)
        keyring_mark(str_from(w->email), keys, n, used);
    MODEL_EACH (user, u, &c->model->users) {
        keyring_mark(str_from(u->name), keys, n, used);
        keyring_mark(str_from(u->email), keys, n, used);
    }
    return true;
}

static void keys_swept(void *ctx, enum err rc, size_t dropped, const struct errinfo *err)
{
    const struct control *c = ctx;
    if (rc != OK)
        log_err(c->o.log, err, "keys that nothing names");
    else if (dropped > 0)
        log_info(c->o.log, "%zu keys that nothing names were dropped", dropped);
}

static void logs_swept(void *ctx, enum err rc, size_t n, const struct errinfo *err)
{
    const struct control *c = ctx;
    if (rc != OK)
        log_err(c->o.log, err, "throwing away old lines of instances");
    else if (n > 0)
        log_info(c->o.log, "lines of %zu instances that are gone were deleted", n);
}

static void look(uv_timer_t *timer)
{
    struct housekeeping *h = timer->data;
    struct control *c = h->control;
    if (!control_is_live(c))
        return;
    control_tell_checkpoint(c);
    if (c->keyring != NULL)
        keyring_sweep(c->keyring, KEYRING_GRACE_S, mark_keys, keys_swept, c);
    seen_forget_silent(c->seen, clock_mono_us() - CONTROL_STATISTICS_KEPT_S * (int64_t)1000000);
    if (c->statistics != NULL)
        statistics_forget_silent(c->statistics, clock_mono_us() - CONTROL_STATISTICS_KEPT_S * (int64_t)1000000);
    if (c->bulk == NULL)
        return;
    int64_t now_us = clock_wall_us();
    instance_logs_sweep(c->bulk, now_us, now_us - CONTROL_LOGS_KEPT_S * 1000000, is_known, logs_swept, c);
}

struct housekeeping *housekeeping_new(struct control *c)
{
    struct housekeeping *h = mem_alloc(sizeof(*h));
    h->control = c;
    h->timer.data = h;
    uv_timer_init(c->o.loop, &h->timer);
    uv_timer_start(&h->timer, look, FIRST_LOOK_MS, LOOK_MS);
    return h;
}

static void on_closed(uv_handle_t *handle)
{
    struct housekeeping *h = handle->data;
    struct control *c = h->control;
    free(h);
    control_part_closed(c);
}

void housekeeping_close(struct housekeeping *h)
{
    uv_close((uv_handle_t *)&h->timer, on_closed);
}
