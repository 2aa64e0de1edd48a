/* Effects of gateways: pending from the event that asks for them until the log says that they are done.
 *
 * Happy path: effects_on_event -> waits in its object's queue -> effects_step, live: carry_out -> app_effect_done(OK)
 * -> finished: SlipformEffectDone is due -> folded: effects_settled. Failures: an error -> again after a back-off, the
 * object's later ones wait; APP_EFFECT_TRIES of them -> parked, out of the queue. Settled by another replica while it
 * is under way here: the run is orphaned, its end changes nothing. */
#include "app/effects.h"

#include "app/inside.h"
#include "base/own.h"

struct app_effects {
    struct {
        struct str object, what;
    } *items;
    size_t n, size;
    struct arena texts;
};

struct app_item {
    UT_hash_handle hh;          /* by id */
    TAILQ_ENTRY(app_item) link; /* in its object's queue, or parked, or finished */
    struct app *app;
    struct app_gateway *gw;
    struct app_object *object; /* NULL: parked or finished */
    struct app_effect e;       /* texts owned */
    struct app_effect_run *run;
    struct errinfo why;
    uint64_t parked_until_ms;
    bool is_parked, was_left;
};

struct app_object {
    UT_hash_handle hh; /* by name */
    TAILQ_ENTRY(app_object) link;
    struct app_objects *list; /* ready or later; NULL: its first effect is under way */
    struct str name;          /* owned */
    struct app_items items;
    uint64_t next_ms;
};

struct app_effect_run {
    struct app_item *item; /* NULL: orphaned */
};

void app_effects_add(struct app_effects *e, struct str object, struct str what)
{
    if (e->n == e->size) {
        e->size = e->size == 0 ? 4 : e->size * 2;
        e->items = mem_realloc(e->items, e->size * sizeof(*e->items));
    }
    e->items[e->n].object = arena_str(&e->texts, object);
    e->items[e->n++].what = arena_str(&e->texts, what);
}

static struct str copy_of(struct str s)
{
    return (struct str){mem_strndup(s.ptr == NULL ? "" : s.ptr, s.len), s.len};
}

static void free_text(struct str s)
{
    free((void *)(uintptr_t)s.ptr);
}

/* --- queues --- */

static void object_move(struct app_object *o, struct app_objects *to)
{
    if (o->list != NULL)
        TAILQ_REMOVE(o->list, o, link);
    o->list = to;
    if (to != NULL)
        TAILQ_INSERT_TAIL(to, o, link);
}

static struct app_object *object_of(struct app_gateway *gw, struct str name)
{
    struct app_object *o = NULL;
    HASH_FIND(hh, gw->objects, name.ptr, name.len, o);
    if (o != NULL)
        return o;
    o = mem_alloc(sizeof(*o));
    *o = (struct app_object){.name = copy_of(name)};
    TAILQ_INIT(&o->items);
    HASH_ADD_KEYPTR(hh, gw->objects, o->name.ptr, o->name.len, o);
    return o;
}

static void queue_item(struct app_item *item)
{
    struct app_object *o = item->object = object_of(item->gw, item->e.object);
    bool is_first = TAILQ_EMPTY(&o->items);
    TAILQ_INSERT_TAIL(&o->items, item, link);
    if (is_first)
        object_move(o, &item->gw->ready);
}

/* Out of its object's queue; the next one's turn. */
static void unqueue_item(struct app_item *item)
{
    struct app_object *o = item->object;
    bool was_first = TAILQ_FIRST(&o->items) == item;
    TAILQ_REMOVE(&o->items, item, link);
    item->object = NULL;
    if (TAILQ_EMPTY(&o->items)) {
        object_move(o, NULL);
        HASH_DEL(item->gw->objects, o);
        free_text(o->name);
        free(o);
    } else if (was_first) {
        object_move(o, &item->gw->ready);
    }
}

void effects_add_item(struct app *a, struct app_gateway *gw, const struct app_effect *e)
{
    struct app_item *item = NULL;
    HASH_FIND(hh, a->items, &e->id, sizeof(e->id), item);
    if (item != NULL)
        return;
    item = mem_alloc(sizeof(*item));
    *item = (struct app_item){.app = a, .gw = gw, .e = *e};
    item->e.object = copy_of(e->object);
    item->e.what = copy_of(e->what);
    HASH_ADD(hh, a->items, e.id, sizeof(item->e.id), item);
    gw->items_n++;
    queue_item(item);
}

static void orphan(struct app_item *item)
{
    if (item->run == NULL)
        return;
    item->run->item = NULL;
    item->run = NULL;
    item->gw->running_n--;
}

static void unpark(struct app_item *item)
{
    TAILQ_REMOVE(&item->gw->parked, item, link);
    item->gw->parked_n--;
    item->is_parked = false;
}

static void discard(struct app *a, struct app_item *item)
{
    orphan(item);
    if (item->object != NULL)
        unqueue_item(item);
    else if (item->is_parked)
        unpark(item);
    else
        TAILQ_REMOVE(&item->gw->finished, item, link);
    item->gw->items_n--;
    HASH_DEL(a->items, item);
    free_text(item->e.object);
    free_text(item->e.what);
    free(item);
}

/* --- folding --- */

void effects_on_event(struct app *a, size_t input, const struct store_record *r)
{
    struct app_position cause = {a->inputs[input].log, r->seq, r->e.sum};
    for (size_t i = 0; i < a->gateways_n; i++) {
        const struct gateway *g = a->gateways[i]->g;
        if (g == NULL || g->effects == NULL)
            continue;
        struct app_effects wanted = {0};
        g->effects(g->ctx, a->opt.model, r, &wanted);
        for (size_t k = 0; k < wanted.n; k++) {
            auto_free char *name = mem_printf("effect/%s/%zu", g->name, k);
            effects_add_item(a, a->gateways[i],
                             &(struct app_effect){.cause = cause,
                                                  .index = (unsigned)k,
                                                  .id = id_derive(fold_cause_id(r), name),
                                                  .object = wanted.items[k].object,
                                                  .what = wanted.items[k].what});
        }
        arena_done(&wanted.texts);
        free(wanted.items);
    }
}

void effects_settled(struct app *a, struct id id)
{
    struct app_item *item = NULL;
    if (a->items == NULL)
        return;
    HASH_FIND(hh, a->items, &id, sizeof(id), item);
    if (item != NULL)
        discard(a, item);
}

void effects_clear(struct app *a)
{
    struct app_item *item = NULL, *next = NULL;
    HASH_ITER(hh, a->items, item, next)
    discard(a, item);
}

void effects_each(const struct app *a, void (*f)(void *ctx, const char *gateway, const struct app_effect *e), void *ctx)
{
    for (const struct app_item *item = a->items; item != NULL; item = item->hh.next)
        if (item->gw->g != NULL)
            f(ctx, item->gw->g->name, &item->e);
}

/* --- carrying out --- */

static void finish(struct app *a, struct app_item *item)
{
    unqueue_item(item);
    TAILQ_INSERT_TAIL(&item->gw->finished, item, link);
    AUTO(buf) struct buf payload = {0};
    buf_add_c(&payload, "{\"gateway\":");
    buf_add_json_string(&payload, str_from(item->gw->g == NULL ? "" : item->gw->g->name));
    buf_add_char(&payload, '}');
    due_add(a, item->e.id, STR("SlipformEffectDone"), buf_str(&payload));
    due_left(a, item->e.id);
}

static void fail(struct app *a, struct app_item *item)
{
    unsigned failures = item->e.tries % APP_EFFECT_TRIES;
    uint64_t now = uv_now(a->loop);
    if (failures == 0) {
        unqueue_item(item);
        item->is_parked = true;
        item->parked_until_ms = now + a->opt.effect_parked_ms;
        TAILQ_INSERT_TAIL(&item->gw->parked, item, link);
        item->gw->parked_n++;
        return;
    }
    item->object->next_ms = now + (a->opt.effect_back_off_ms << (failures - 1));
    object_move(item->object, &item->gw->later);
}

void app_effect_done(struct app_effect_run *run, enum err rc, const struct errinfo *err)
{
    struct app_item *item = run->item;
    free(run);
    if (item == NULL)
        return;
    struct app *a = item->app;
    item->run = NULL;
    item->gw->running_n--;
    if (rc == OK) {
        finish(a, item);
    } else {
        item->why = err == NULL ? (struct errinfo){.code = rc} : *err;
        app_note_error(a, &item->why);
        fail(a, item);
    }
    app_soon(a);
}

static void carry_out(struct app *a, struct app_gateway *gw, struct app_object *o)
{
    struct app_item *item = TAILQ_FIRST(&o->items);
    if (!item->was_left && !is_preferred(a, id_derive(ID_NONE, o->name.ptr))) {
        item->was_left = true;
        o->next_ms = uv_now(a->loop) + APP_NOT_PREFERRED_MS;
        object_move(o, &gw->later);
        return;
    }
    object_move(o, NULL);
    struct app_effect_run *run = mem_alloc(sizeof(*run));
    run->item = item;
    item->run = run;
    item->e.tries++;
    gw->running_n++;
    gw->g->carry_out(gw->g->ctx, &item->e, run);
}

static void wake_later(struct app_gateway *gw, uint64_t now, uint64_t *next)
{
    for (struct app_object *o = TAILQ_FIRST(&gw->later), *after = NULL; o != NULL; o = after) {
        after = TAILQ_NEXT(o, link);
        if (o->next_ms <= now)
            object_move(o, &gw->ready);
        else if (o->next_ms < *next)
            *next = o->next_ms;
    }
    /* Parked in the order of their instants. */
    struct app_item *item = NULL;
    while ((item = TAILQ_FIRST(&gw->parked)) != NULL && item->parked_until_ms <= now) {
        unpark(item);
        queue_item(item);
    }
    if (item != NULL && item->parked_until_ms < *next)
        *next = item->parked_until_ms;
}

static void on_effects_timer(uv_timer_t *timer)
{
    app_tick(timer->data);
}

void effects_step(struct app *a)
{
    if (a->items == NULL || a->state != APP_LIVE)
        return;
    uint64_t now = uv_now(a->loop), next = UINT64_MAX;
    for (size_t i = 0; i < a->gateways_n && a->state == APP_LIVE; i++) {
        struct app_gateway *gw = a->gateways[i];
        if (gw->g == NULL || gw->g->carry_out == NULL || !gw->is_told_live)
            continue;
        wake_later(gw, now, &next);
        struct app_object *o = NULL;
        while (a->state == APP_LIVE && gw->running_n < APP_EFFECTS_AT_ONCE && (o = TAILQ_FIRST(&gw->ready)) != NULL)
            carry_out(a, gw, o);
        wake_later(gw, now, &next); /* what failed at once */
    }
    if (next != UINT64_MAX)
        (void)uv_timer_start(&a->effects_timer, on_effects_timer, next - now, 0);
}

/* --- status --- */

struct app_effects_counts app_effects_counts(const struct app *a, const char *gateway)
{
    for (size_t i = 0; i < a->gateways_n; i++) {
        const struct app_gateway *gw = a->gateways[i];
        if (gw->g != NULL && strcmp(gw->g->name, gateway) == 0)
            return (struct app_effects_counts){gw->items_n, gw->running_n, gw->parked_n};
    }
    return (struct app_effects_counts){0};
}

void app_each_parked(const struct app *a, app_parked_fn f, void *ctx)
{
    for (size_t i = 0; i < a->gateways_n; i++) {
        const struct app_gateway *gw = a->gateways[i];
        const struct app_item *item = NULL;
        if (gw->g != NULL)
            TAILQ_FOREACH(item, &gw->parked, link)
        f(ctx, gw->g->name, &item->e, &item->why);
    }
}

enum err app_retry_parked(struct app *a, struct id id, struct errinfo *err)
{
    size_t n = 0;
    for (size_t i = 0; i < a->gateways_n; i++) {
        struct app_item *next = NULL;
        for (struct app_item *item = TAILQ_FIRST(&a->gateways[i]->parked); item != NULL; item = next) {
            next = TAILQ_NEXT(item, link);
            if (!id_is_none(id) && !id_eq(id, item->e.id))
                continue;
            unpark(item);
            queue_item(item);
            n++;
        }
    }
    app_soon(a);
    return n > 0 ? OK : err_set(err, ERR_NOT_FOUND, "%s has no such parked effect", a->name);
}
