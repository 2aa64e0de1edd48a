#include "control/write_proof.h"

#include <stdlib.h>

#include "base/clock.h"
#include "control/parts.h"
#include "control/sight.h"

struct write_proof {
    struct control *control;
    uv_work_t work;
    uint64_t failures; /* of appends, when it was begun: one that failed later is not made good by it */
    int64_t began_us, rests_until_us;
    enum err rc;
    bool is_busy, is_closing;
};

static void in_pool(uv_work_t *work)
{
    struct write_proof *w = work->data;
    struct store_options options = {.mode = STORE_APPEND};
    struct store *store = NULL;
    w->rc = store_open(w->control->o.event_store, &options, &store, NULL, NULL);
    if (w->rc == OK)
        w->rc = store_prove(store, NULL); /* why not is said already: as the append that failed has it */
    store_close(store);
}

static void end(struct write_proof *w)
{
    struct control *c = w->control;
    free(w);
    control_part_closed(c);
}

static void in_loop(uv_work_t *work, int status)
{
    struct write_proof *w = work->data;
    struct control *c = w->control;
    int64_t now_us = clock_mono_us();
    (void)status; /* it is never cancelled */
    w->is_busy = false;
    w->rests_until_us = now_us + (now_us - w->began_us);
    if (w->is_closing) {
        end(w);
        return;
    }
    if (w->rc != OK)
        return;
    app_append_proved(c->app, w->failures);
    control_tell_state(c);
}

void write_proof_look(struct write_proof *w)
{
    struct control *c = w->control;
    int64_t now_us = clock_mono_us();
    if (w->is_busy || w->is_closing || c->is_closing || now_us < w->rests_until_us ||
        app_append_trouble(c->app) == NULL || control_sight(c, NULL) != SIGHT_LIVE)
        return;
    w->is_busy = true;
    w->began_us = now_us;
    w->failures = app_append_failures(c->app);
    uv_queue_work(c->o.loop, &w->work, in_pool, in_loop);
}

struct write_proof *write_proof_new(struct control *c)
{
    struct write_proof *w = mem_alloc(sizeof(*w));
    *w = (struct write_proof){.control = c, .work.data = w};
    return w;
}

void write_proof_close(struct write_proof *w)
{
    w->is_closing = true;
    if (!w->is_busy)
        end(w);
}
