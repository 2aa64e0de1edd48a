/* The watchdog: this replica's votes about nodes. A node that was not heard for the timeout is suspected; one that is
 * heard again is trusted (its heartbeat's command says so at once, see decide_node_reported). The fold counts votes.
 *
 * It abstains - votes nothing - for one timeout after it went live (nobody had time to report), for one timeout after
 * its own loop was late (then it was deaf, not they silent), while fewer than half of the nodes are fresh (then it is
 * more likely that it is cut off than that they are all gone), and after that for as long as they still come back. Of a
 * node that has just joined, or come back, it votes nothing for one timeout either: the log may say so before the
 * node's first report to this replica is there. */
#include "control/watchdog.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "control/parts.h"

#define TICK_MS 1000

/* A node that counts, since when it does. */
struct counted {
    struct id node_id;
    int64_t since_us, looked_us; /* as of the last look: else it did not count then */
    UT_hash_handle hh;
};

struct watchdog {
    struct control *control;
    uv_timer_t timer;
    struct watchdog_rules rules;
    struct counted *counted;
};

static bool counts(const struct node *n)
{
    return n->status != NODE_GONE && n->status != NODE_LOST;
}

static bool is_heard(const struct control *c, struct id node_id, int64_t now_us, int64_t within_us)
{
    const struct seen_node *s = seen_node_find(c->seen, node_id);
    return s != NULL && now_us - s->heard_us <= within_us;
}

static void counts_at(struct watchdog *w, struct id node_id, int64_t now_us)
{
    struct counted *k = NULL;
    HASH_FIND(hh, w->counted, &node_id, sizeof(node_id), k);
    if (k == NULL) {
        k = mem_alloc(sizeof(*k));
        *k = (struct counted){.node_id = node_id, .since_us = now_us};
        HASH_ADD(hh, w->counted, node_id, sizeof(k->node_id), k);
    }
    k->looked_us = now_us;
}

/* Those that did not count at that look, any more. */
static void forget_before(struct watchdog *w, int64_t look_us)
{
    struct counted *k = NULL, *next = NULL;
    HASH_ITER(hh, w->counted, k, next)
    {
        if (k->looked_us >= look_us)
            continue;
        HASH_DEL(w->counted, k);
        free(k);
    }
}

/* Has it counted for so long that it would have been heard? */
static bool had_time(const struct watchdog *w, struct id node_id, int64_t now_us)
{
    const struct counted *k = NULL;
    HASH_FIND(hh, w->counted, &node_id, sizeof(node_id), k);
    return k != NULL && now_us - k->since_us > w->rules.timeout_us;
}

struct vote {
    struct control *control;
    int64_t timeout_us;
    struct id node_id;
    struct str replica;
    bool suspect;
    char cause[96];
};

static enum err vote_decide(const struct decide *d, void *ctx, struct event_list *out, struct errinfo *err)
{
    const struct vote *v = ctx;
    /* It may have waited for the store: what was true when it was queued is looked at again. */
    bool is_stale = !v->control->may_vote || control_was_deaf(v->control) ||
                    control_sight(v->control, NULL) != SIGHT_LIVE ||
                    is_heard(v->control, v->node_id, clock_mono_us(), v->timeout_us);
    if (v->suspect && is_stale)
        return OK;
    return v->suspect ? decide_suspect_node(d, v->node_id, v->replica, str_from(v->cause), out, err)
                      : decide_trust_node(d, v->node_id, v->replica, out, err);
}

static void vote_done(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    (void)rc; /* the next tick votes again if it is still needed */
    (void)events_n;
    (void)err;
    free(ctx);
}

static void vote(struct watchdog *w, const struct node *n, bool suspect)
{
    struct control *c = w->control;
    struct vote *v = mem_alloc(sizeof(*v));
    *v = (struct vote){.control = c,
                       .timeout_us = w->rules.timeout_us,
                       .node_id = n->id,
                       .replica = str_from(c->o.replica),
                       .suspect = suspect};
    (void)snprintf(v->cause, sizeof(v->cause), "no report for %d s", c->o.node_timeout_ms / 1000);
    log_warn(c->o.log, "node '%s' is %s", n->name, suspect ? "suspected: it does not report" : "trusted again");
    control_submit(c, vote_decide, v, vote_done, v);
}

static void on_tick(uv_timer_t *timer)
{
    struct watchdog *w = timer->data;
    struct control *c = w->control;
    int64_t now_us = clock_mono_us();
    size_t nodes_n = 0, fresh_n = 0;
    MODEL_EACH (node, n, &c->model->nodes) {
        if (counts(n)) {
            nodes_n++;
            counts_at(w, n->id, now_us);
            fresh_n += is_heard(c, n->id, now_us, watchdog_fresh_us(&w->rules));
        }
    }
    forget_before(w, now_us);
    c->may_vote =
        watchdog_may_vote(&w->rules, now_us, c->live_mono_us, fresh_n, nodes_n) && control_sight(c, NULL) == SIGHT_LIVE;
    if (fresh_n * 2 < nodes_n) /* who is cut off does not know either which edges are there; who was deaf: sight.c */
        c->listens_mono_us = now_us;
    if (!c->may_vote)
        return;
    MODEL_EACH (node, n, &c->model->nodes) {
        bool heard = is_heard(c, n->id, now_us, w->rules.timeout_us);
        bool suspected = text_list_has(&n->suspected_by, c->o.replica);
        bool is_silent = counts(n) && !heard && had_time(w, n->id, now_us);
        if ((is_silent && !suspected) || (heard && suspected))
            vote(w, n, !heard);
    }
}

struct watchdog *watchdog_new(struct control *c)
{
    struct watchdog *w = mem_alloc(sizeof(*w));
    w->control = c;
    w->rules.timeout_us = (int64_t)c->o.node_timeout_ms * 1000;
    w->rules.tick_us = TICK_MS * 1000;
    w->rules.late_us = w->rules.timeout_us / 3;
    w->timer.data = w;
    uv_timer_init(c->o.loop, &w->timer);
    uv_timer_start(&w->timer, on_tick, TICK_MS, TICK_MS);
    return w;
}

static void on_closed(uv_handle_t *handle)
{
    struct watchdog *w = handle->data;
    struct control *c = w->control;
    forget_before(w, INT64_MAX);
    free(w);
    control_part_closed(c);
}

void watchdog_close(struct watchdog *w)
{
    uv_close((uv_handle_t *)&w->timer, on_closed);
}
