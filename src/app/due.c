/* Events that must stand in the output log and do not yet: consequences, timers that are over, effects that are done.
 * Each has an id that follows from its cause, so whoever folds the log knows which of them are there; batch.c takes
 * what is due with the next append. One that the model would refuse is kept and tried again later: its cause may go
 * away. */
#include "app/inside.h"

/* Chosen: a refused consequence is a fault in the process, not in a hurry. */
#define REFUSED_MS 10000u

static struct str copy_of(struct str s)
{
    return (struct str){mem_strndup(s.ptr == NULL ? "" : s.ptr, s.len), s.len};
}

static void discard(struct app *a, struct app_due *d)
{
    HASH_DEL(a->dues, d);
    TAILQ_REMOVE(&a->due_list, d, link);
    free((void *)(uintptr_t)d->type.ptr);
    free((void *)(uintptr_t)d->payload.ptr);
    free(d);
}

void due_add(struct app *a, struct id id, struct str type, struct str payload)
{
    struct app_due *d = NULL;
    HASH_FIND(hh, a->dues, &id, sizeof(id), d);
    if (d != NULL)
        return;
    d = mem_alloc(sizeof(*d));
    *d = (struct app_due){.id = id, .type = copy_of(type), .payload = copy_of(payload)};
    HASH_ADD(hh, a->dues, id, sizeof(d->id), d);
    TAILQ_INSERT_TAIL(&a->due_list, d, link);
}

void due_on_event(struct app *a, struct id id)
{
    struct app_due *d = NULL;
    if (a->dues == NULL)
        return;
    HASH_FIND(hh, a->dues, &id, sizeof(id), d);
    if (d != NULL)
        discard(a, d);
}

bool is_preferred(const struct app *a, struct id id)
{
    return a->opt.is_preferred == NULL || a->opt.is_preferred(a->opt.model, id);
}

static void on_due_timer(uv_timer_t *timer)
{
    app_tick(timer->data);
}

static void look_again_at(struct app *a, uint64_t ms)
{
    uint64_t now = uv_now(a->loop);
    (void)uv_timer_start(&a->due_timer, on_due_timer, ms > now ? ms - now : 0, 0);
}

struct app_due *due_next(struct app *a, struct app_due *after)
{
    uint64_t now = uv_now(a->loop), next = UINT64_MAX;
    struct app_due *d = after == NULL ? TAILQ_FIRST(&a->due_list) : TAILQ_NEXT(after, link);
    for (; d != NULL && now >= a->dues_rest_ms; d = TAILQ_NEXT(d, link)) {
        if (d->not_before_ms == 0)
            d->not_before_ms = now + (is_preferred(a, d->id) ? 0 : APP_NOT_PREFERRED_MS);
        if (d->not_before_ms <= now)
            return d;
        if (d->not_before_ms < next)
            next = d->not_before_ms;
    }
    if (d != NULL)
        next = a->dues_rest_ms;
    if (next != UINT64_MAX)
        look_again_at(a, next);
    return NULL;
}

void due_left(struct app *a, struct id id)
{
    struct app_due *d = NULL;
    HASH_FIND(hh, a->dues, &id, sizeof(id), d);
    if (d != NULL && d->not_before_ms == 0)
        d->not_before_ms = 1;
}

void due_refused(struct app *a, struct app_due *d, const struct errinfo *why)
{
    d->is_refused = true;
    d->not_before_ms = uv_now(a->loop) + REFUSED_MS;
    char id[ID_TEXT_SIZE];
    id_format(d->id, id);
    err_ignore(err_set(&a->due_why, why->code, "'%.*s' %s, which must follow, cannot be written: %s", STR_ARG(d->type),
                       id, why->msg));
}

size_t app_due_n(const struct app *a, const struct errinfo **ret_why)
{
    *ret_why = NULL;
    struct app_due *d = NULL;
    TAILQ_FOREACH(d, &a->due_list, link)
    if (d->is_refused)
        *ret_why = &a->due_why;
    return HASH_COUNT(a->dues);
}

void due_done(struct app *a)
{
    while (!TAILQ_EMPTY(&a->due_list))
        discard(a, TAILQ_FIRST(&a->due_list));
}
