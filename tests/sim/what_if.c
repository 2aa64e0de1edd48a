/* Every plan of a story is made again from the log alone, and has to say what was written: `slipform what-if` without
 * options, over what the simulator's replicas decided between crashes, partitions and clocks that jump. */
#include "platform/what_if.h"
#include "sim.h"

static void on_differs(void *ctx, const struct what_if_difference *d)
{
    struct world *w = ctx;
    AUTO(buf) struct buf was = {0}, is = {0};
    buf_add_c(&was, "nothing");
    buf_add_c(&is, "nothing");
    if (d->change == WHAT_IF_REASON)
        return;
    if (d->recorded != NULL) {
        buf_clear(&was);
        event_describe(d->model, d->recorded, &was);
    }
    if (d->instead != NULL) {
        buf_clear(&is);
        event_describe(d->model, d->instead, &is);
    }
    broken(w, RULE_what_if, "after event %" PRIu64 " of the log was decided: %s; from the log alone: %s", d->seq,
           was.ptr, is.ptr);
}

static void take(struct world *w, struct what_if *what_if, const struct envelope *e)
{
    AUTO(arena) struct arena a = {0};
    struct errinfo err = {0};
    struct event ev;
    enum err rc = event_decode(e, &a, &ev, &err);
    if (rc == OK)
        rc = what_if_event(what_if, &ev, e->more, &err);
    if (rc != OK)
        broken(w, RULE_what_if, "%s", err.msg);
}

void check_what_if(struct world *w)
{
    struct model *m = model_new();
    m->kept = w->oracle->kept;
    struct what_if_own own;
    struct errinfo err = {0};
    what_if_own_init(&own, &w->settings);
    struct what_if *what_if = what_if_new(
        &(struct what_if_options){.model = m, .candidate = what_if_own_planner(&own), .differs = on_differs, .ctx = w});
    struct str rest = {w->store.bytes.ptr, w->store.durable_size};
    uint32_t sum = 0;
    while (rest.len > 0 && !w->store.rot.is_there) {
        struct envelope e;
        size_t end = str_find(rest, '\n');
        if (envelope_decode(str_slice(rest, 0, end), sum, &e, &err) != OK)
            broken(w, RULE_what_if, "%s", err.msg);
        take(w, what_if, &e);
        sum = e.sum;
        rest = str_slice(rest, end + 1, rest.len);
    }
    if (what_if_end(what_if, &err) != OK)
        broken(w, RULE_what_if, "%s", err.msg);
    w->coverage->rules[RULE_what_if] += what_if_counts(what_if)->plans;
    what_if_free(what_if);
    what_if_own_done(&own);
    model_free(m);
}
