/* Scheduled reads: which instant is next, and the read itself. When it may be done, inputs_next says: all inputs are
 * past the instant. */
#include "app/inside.h"

#include <inttypes.h>

#include "base/own.h"

int64_t schedule_next_us(const struct app *a)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < a->schedules_n; i++)
        if (a->schedules[i].next_us != INT64_MIN && a->schedules[i].next_us < next)
            next = a->schedules[i].next_us;
    return next;
}

void schedule_begin(struct app *a, int64_t instant_us)
{
    for (size_t i = 0; i < a->schedules_n; i++) {
        struct app_scheduled *s = &a->schedules[i];
        int64_t every = s->s.every_us;
        if (s->next_us == INT64_MIN) /* the first multiple at or behind it; instants are after 1970 */
            s->next_us = (instant_us + every - 1) / every * every;
    }
}

static void read_one(struct app *a, const struct app_scheduled *s, int64_t instant_us)
{
    struct app_events follow = {0};
    s->s.read(s->s.ctx, a->opt.model, instant_us, &follow);
    auto_free char *name = mem_printf("read/%s/%s/%s/%" PRId64, a->name, s->s.name, a->ranges_text, instant_us);
    struct id cause = id_derive(ID_NONE, name);
    for (size_t i = 0; i < follow.n; i++)
        due_add(a, app_follow_id(cause, i), follow.items[i].type, follow.items[i].payload);
    events_done(&follow);
}

void schedule_read(struct app *a)
{
    int64_t instant_us = schedule_next_us(a);
    a->read_us = instant_us;
    for (size_t i = 0; i < a->schedules_n; i++) {
        struct app_scheduled *s = &a->schedules[i];
        if (s->next_us != instant_us)
            continue;
        s->next_us += s->s.every_us;
        read_one(a, s, instant_us);
    }
}
