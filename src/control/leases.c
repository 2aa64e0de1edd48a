#include "control/leases.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/parts.h"

/* A lease lasts as long as a node is waited for: a replica that has not renewed it for that long has no say about
 * nodes. A fifth of it between two renewals leaves room for a slow store (chosen). */
enum { RENEWALS = 5 };

struct leases {
    struct control *control;
    uv_timer_t timer;
    uv_work_t work;
    struct store *store; /* NULL until the pool has opened it */
    int64_t ttl_us;
    struct store_lease mine, asked[STORE_LEASES_MAX], known[STORE_LEASES_MAX];
    size_t asked_n, known_n;
    struct str voters[STORE_LEASES_MAX], planners[STORE_LEASES_MAX];
    int64_t known_mono_us; /* when it was learnt; 0: never */
    enum err rc;
    struct errinfo err;
    bool is_busy, is_dropping, is_timer_closed, is_in_trouble, must_renew;
};

static void in_pool(uv_work_t *work)
{
    struct leases *l = work->data;
    struct store_options options = {.mode = STORE_APPEND};
    l->rc = l->store != NULL ? OK : store_open(l->control->o.event_store, &options, &l->store, NULL, &l->err);
    if (l->rc == OK && l->is_dropping)
        l->rc = store_lease_drop(l->store, l->mine.name, &l->err);
    else if (l->rc == OK)
        l->rc = store_lease_take(l->store, &l->mine, l->ttl_us, &l->err);
    if (l->rc == OK)
        l->rc = store_leases(l->store, l->asked, &l->asked_n, &l->err);
}

static void leases_free(struct leases *l)
{
    struct control *c = l->control;
    store_close(l->store);
    free(l);
    control_part_closed(c);
}

static bool is_same(const struct leases *l)
{
    bool same = l->known_mono_us != 0 && l->asked_n == l->known_n;
    for (size_t i = 0; same && i < l->asked_n; i++)
        same = strcmp(l->asked[i].name, l->known[i].name) == 0 && l->asked[i].abstains == l->known[i].abstains &&
               l->asked[i].plans == l->known[i].plans && l->asked[i].format == l->known[i].format;
    return same;
}

static void learn(struct leases *l)
{
    bool same = is_same(l);
    memcpy(l->known, l->asked, sizeof(l->known));
    l->known_n = l->asked_n;
    l->known_mono_us = clock_mono_us();
    if (!same)
        control_kick(l->control);
}

static void begin(struct leases *l);

static void in_loop(uv_work_t *work, int status)
{
    struct leases *l = work->data;
    (void)status; /* it is never cancelled */
    l->is_busy = false;
    if (l->is_timer_closed) {
        leases_free(l);
        return;
    }
    if (l->rc == OK)
        learn(l);
    else if (!l->is_in_trouble) /* once: the next look says the same */
        log_err(l->control->o.log, &l->err, "leases of the log's replicas");
    l->is_in_trouble = l->rc != OK;
    if (l->must_renew)
        begin(l);
}

static void begin(struct leases *l)
{
    if (l->is_busy)
        return;
    struct control *c = l->control;
    l->is_busy = true;
    l->must_renew = false;
    l->is_dropping = l->is_timer_closed;
    bool sees = !c->is_closing && control_sight(c, NULL) == SIGHT_LIVE && !control_was_deaf(c);
    l->mine.abstains = !c->may_vote || !sees;
    l->mine.plans = c->planner != NULL && sees;
    l->mine.format = EVENT_FORMAT;
    uv_queue_work(c->o.loop, &l->work, in_pool, in_loop);
}

static void on_tick(uv_timer_t *timer)
{
    begin(timer->data);
}

void leases_renew(struct leases *l)
{
    if (l == NULL || l->is_timer_closed)
        return;
    l->must_renew = l->is_busy;
    begin(l);
}

struct leases *leases_new(struct control *c)
{
    struct leases *l = mem_alloc(sizeof(*l));
    l->control = c;
    l->ttl_us = (int64_t)c->o.node_timeout_ms * 1000;
    l->work.data = l->timer.data = l;
    (void)str_copy_to(str_from(c->o.replica), l->mine.name, sizeof(l->mine.name));
    (void)uv_timer_init(c->o.loop, &l->timer);
    (void)uv_timer_start(&l->timer, on_tick, 0, (uint64_t)c->o.node_timeout_ms / RENEWALS);
    return l;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct leases *l = handle->data;
    l->is_timer_closed = true;
    begin(l); /* gives it back; when one is on its way, that one ends first and the lease runs out by itself */
}

void leases_close(struct leases *l)
{
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}

/* What was learnt longer ago than a lease lasts says nothing about who is there now. */
static bool is_fresh(const struct leases *l)
{
    return l->known_mono_us != 0 && clock_mono_us() - l->known_mono_us < l->ttl_us;
}

bool leases_voters(const struct leases *l, struct strs *ret_names)
{
    struct leases *own = (struct leases *)(uintptr_t)l; /* the list of texts is kept in it */
    if (l == NULL) {                                    /* given back */
        *ret_names = (struct strs){0};
        return false;
    }
    *ret_names = (struct strs){own->voters, 0};
    for (size_t i = 0; is_fresh(l) && i < l->known_n; i++)
        if (!l->known[i].abstains)
            own->voters[ret_names->n++] = str_from(l->known[i].name);
    return ret_names->n > 0;
}

void leases_planners(const struct leases *l, struct strs *ret_names)
{
    struct leases *own = (struct leases *)(uintptr_t)l; /* as above */
    *ret_names = (struct strs){0};
    if (l == NULL)
        return;
    ret_names->items = own->planners;
    for (size_t i = 0; is_fresh(l) && i < l->known_n; i++)
        if (l->known[i].plans)
            own->planners[ret_names->n++] = str_from(l->known[i].name);
}

int64_t leases_format_min(const struct leases *l)
{
    int64_t min = 0;
    if (l == NULL)
        return 0;
    for (size_t i = 0; is_fresh(l) && i < l->known_n; i++)
        min = i == 0 || l->known[i].format < min ? l->known[i].format : min;
    return min;
}
