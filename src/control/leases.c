#include "control/leases.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "control/edges.h"
#include "control/parts.h"

/* A lease lasts as long as a node is waited for: a replica that has not renewed it for that long has no say about
 * nodes. A fifth of it between two renewals leaves room for a slow store (chosen). */
enum { RENEWALS = 5 };
/* Between two that tell of edges: many edges confirm one switch within a second (chosen). */
#define TELL_MS 500

struct leases {
    struct control *control;
    uv_timer_t timer;
    uv_work_t work;
    struct store *store; /* NULL until the pool has opened it */
    int64_t ttl_us;
    struct store_lease mine, asked[STORE_LEASES_MAX], known[STORE_LEASES_MAX];
    size_t asked_n, known_n;
    struct str voters[STORE_LEASES_MAX], planners[STORE_LEASES_MAX];
    int64_t known_mono_us, known_since_us; /* when it was learnt; since when without a gap; 0: never */
    int64_t begun_us;
    struct edges_heard edges;
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
    edges_heard_done(&l->edges);
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

/* What was learnt longer ago than a lease lasts says nothing about who is there now. */
static bool is_fresh(const struct leases *l)
{
    return l->known_mono_us != 0 && clock_mono_us() - l->known_mono_us < l->ttl_us;
}

static int64_t live_ms(const struct leases *l)
{
    return l->control->o.settings.edge_live_seconds * 1000;
}

/* A lease that is listed holds now: what it says does, too. */
static bool hear_edges(struct leases *l)
{
    bool is_news = false;
    int64_t now_ms = clock_mono_us() / 1000;
    for (const struct store_lease *known = l->known; known < l->known + l->known_n; known++)
        if (strcmp(known->name, l->mine.name) != 0)
            is_news |= edges_hear(&l->edges, str_from(known->name), str_from(known->text), now_ms);
    edges_forget(&l->edges, now_ms - live_ms(l));
    return is_news;
}

static void learn(struct leases *l)
{
    bool same = is_same(l);
    if (!is_fresh(l))
        l->known_since_us = clock_mono_us();
    memcpy(l->known, l->asked, l->asked_n * sizeof(l->known[0]));
    l->known_n = l->asked_n;
    l->known_mono_us = clock_mono_us();
    if (hear_edges(l) || !same)
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

/* What this replica hears of edges itself. */
static void tell_edges(struct leases *l)
{
    AUTO(arena) struct arena a = {0};
    size_t n = 0;
    const struct edge_observed *edges = control_edges(l->control, clock_mono_us() / 1000, &a, &n);
    edges_tell(edges, n, clock_mono_us() / 1000, live_ms(l), l->mine.text, sizeof(l->mine.text));
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
    l->begun_us = clock_mono_us();
    tell_edges(l);
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

void leases_tell_edges(struct leases *l)
{
    if (l == NULL || l->is_timer_closed || uv_is_closing((uv_handle_t *)&l->timer))
        return;
    int64_t since_ms = (clock_mono_us() - l->begun_us) / 1000;
    uint64_t every_ms = (uint64_t)l->control->o.node_timeout_ms / RENEWALS;
    uint64_t in_ms = since_ms >= TELL_MS ? 0 : (uint64_t)(TELL_MS - since_ms);
    if (!l->is_busy && uv_timer_get_due_in(&l->timer) <= in_ms)
        return; /* it is told as soon as that anyway */
    (void)uv_timer_start(&l->timer, on_tick, in_ms, every_ms);
}

const struct edges_heard *leases_edges(const struct leases *l)
{
    return l == NULL ? NULL : &l->edges;
}

int64_t leases_known_since_us(const struct leases *l)
{
    return l != NULL && is_fresh(l) ? l->known_since_us : INT64_MAX;
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

const struct store_lease *leases_known(const struct leases *l, size_t *ret_n)
{
    *ret_n = l != NULL && is_fresh(l) ? l->known_n : 0;
    return l == NULL ? NULL : l->known;
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
