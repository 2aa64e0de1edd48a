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

static void look(uv_timer_t *timer)
{
    struct housekeeping *h = timer->data;
    struct control *c = h->control;
    if (!control_is_live(c))
        return;
    control_tell_checkpoint(c);
    seen_forget_silent(c->seen, clock_mono_us() - CONTROL_STATISTICS_KEPT_S * (int64_t)1000000);
    if (c->statistics != NULL)
        statistics_forget_silent(c->statistics, clock_mono_us() - CONTROL_STATISTICS_KEPT_S * (int64_t)1000000);
    if (c->logs == NULL)
        return;
    size_t n = instance_logs_sweep(c->logs, clock_wall_us() / 1000000 - CONTROL_LOGS_KEPT_S, is_known, c);
    if (n > 0)
        log_info(c->o.log, "lines of %zu instances that are gone were deleted", n);
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
