/* What is queued becomes one append: each command decided on the model that holds, tentatively, the events of those
 * before it.
 *
 * Happy path: trial_begin -> for each: decide, apply its events -> trial_end. A command that is refused, or whose event
 * the model would refuse, adds nothing; what was applied of it is taken back by beginning the trial again with the
 * events before it. Without trial functions only the first command that adds events may look at the model; what follows
 * it in the batch are events whatever the model says. */
#include "app/inside.h"

#include "base/own.h"

/* Members of a line beside type and payload, at least: time, id, sum and their names. */
enum { LINE_REST = 130 };

void events_clear(struct app_events *e)
{
    e->n = 0;
    arena_done(&e->texts);
}

void events_done(struct app_events *e)
{
    events_clear(e);
    free(e->items);
    *e = (struct app_events){0};
}

void batch_clear(struct app *a)
{
    struct app_batch *b = &a->batch;
    events_clear(&b->events);
    b->groups_n = b->taken = b->size_bytes = b->commands_n = 0;
}

void batch_done(struct app *a)
{
    events_done(&a->batch.events);
    free(a->batch.groups);
    free(a->batch.parts);
}

static void add_group(struct app_batch *b, size_t from, struct app_command *of)
{
    if (b->groups_n == b->groups_size) {
        b->groups_size = b->groups_size == 0 ? 16 : b->groups_size * 2;
        b->groups = mem_realloc(b->groups, b->groups_size * sizeof(*b->groups));
    }
    b->groups[b->groups_n++] = (struct app_group){from, b->events.n - from, of};
    for (size_t i = from; i < b->events.n; i++)
        b->size_bytes += b->events.items[i].type.len + b->events.items[i].payload.len + LINE_REST;
}

/* --- on trial --- */

/* Its time is about that which the store will give it: behind the one before it. */
static enum err try_event(struct app *a, size_t i, struct errinfo *err)
{
    struct store_event *e = &a->batch.events.items[i];
    e->time = event_time_next(i == 0 ? a->last_time : e[-1].time, app_clock_us(a) * 1000);
    struct store_record r = {.seq = app_output(a)->at.seq + 1 + i,
                             .e = {.time = e->time, .type = e->type, .id = e->id, .payload = e->payload}};
    return fold_is_ours(e->type) || !fold_in_range(a, &r) ? OK : a->opt.apply(a->opt.model, &r, err);
}

/* Apply events [from, n) tentatively. An error: the trial stands as it was before them. */
static enum err try_events(struct app *a, size_t from, struct errinfo *err)
{
    if (a->opt.trial_begin == NULL)
        return OK;
    enum err rc = OK;
    for (size_t i = from; i < a->batch.events.n && rc == OK; i++)
        rc = try_event(a, i, err);
    if (rc == OK)
        return OK;
    a->opt.trial_end(a->opt.model);
    a->opt.trial_begin(a->opt.model);
    for (size_t i = 0; i < from; i++)
        err_ignore(try_event(a, i, NULL)); /* it was taken before */
    err->code = ERR_INVALID;               /* of whoever asked for it, not of the log */
    return err_wrap(err, ERR_INVALID, "the event would be refused");
}

/* --- what is due --- */

/* Half of an append at most, so that commands get on. */
static void take_dues(struct app *a)
{
    struct app_batch *b = &a->batch;
    timers_fire(a);
    for (struct app_due *d = due_next(a, NULL); d != NULL && b->size_bytes < ENVELOPE_BATCH_SIZE_MAX / 2;
         d = due_next(a, d)) {
        size_t from = b->events.n;
        struct errinfo err = {0};
        app_events_add(&b->events, d->type, d->id, d->payload);
        if (try_events(a, from, &err) == OK) {
            add_group(b, from, NULL);
            continue;
        }
        b->events.n = from;
        due_refused(a, d, &err);
    }
}

/* --- commands --- */

/* What fires with this batch cannot be taken back by it. */
static bool fires_now(const struct app *a, struct id timer)
{
    const struct app_batch *b = &a->batch;
    for (size_t i = 0; i < b->groups_n && b->groups[i].of == NULL; i++)
        if (id_eq(b->events.items[b->groups[i].from].id, timer))
            return true;
    return false;
}

static enum err decide_given(struct app *a, struct app_command *c, struct errinfo *err)
{
    if (!id_is_none(c->timer) && (!timers_has(a, c->timer) || fires_now(a, c->timer))) {
        char text[ID_TEXT_SIZE];
        id_format(c->timer, text);
        return err_set(err, ERR_NOT_FOUND, "there is no timer '%s' any more", text);
    }
    if (c->holds != NULL && !c->holds(c->ctx, a->opt.model))
        return err_set(err, ERR_CONFLICT, "%s is not in the state that this was asked for", a->name);
    for (size_t i = 0; i < c->given.n; i++)
        app_events_add(&a->batch.events, c->given.items[i].type, c->given.items[i].id, c->given.items[i].payload);
    return OK;
}

enum taking { TAKEN, STOP_BEFORE, MUST_SEARCH };

/* A command that is known by its id: was it there before? *ret_answered: it was, and has its answer. */
static enum taking look_up(struct app *a, struct app_command *c, const struct app_command *in_batch, bool *ret_answered)
{
    *ret_answered = false;
    if (id_is_none(c->once))
        return TAKEN;
    struct store_pos pos;
    enum ids_answer known = ids_find(&a->ids, c->once, &pos);
    if (known == IDS_FOUND) {
        c->rc = OK;
        c->found = pos;
        *ret_answered = true;
        return TAKEN;
    }
    if (known == IDS_UNKNOWN && (!c->is_searched || c->searched_seq < a->ids.since_seq))
        return MUST_SEARCH;
    const struct app_command *same = NULL;
    HASH_FIND(hh, in_batch, &c->once, sizeof(c->once), same);
    return same != NULL ? STOP_BEFORE : TAKEN; /* it is found in the log then */
}

static bool looks_at_model(const struct app_command *c)
{
    return c->decide != NULL || c->holds != NULL || !id_is_none(c->timer);
}

/* The command's events are behind the batch's, or it has an error. */
static void decide(struct app *a, struct app_command *c)
{
    struct app_batch *b = &a->batch;
    size_t from = b->events.n;
    c->err = (struct errinfo){0};
    if (c->decide != NULL) {
        b->events.base = from;
        c->rc = c->decide(c->ctx, a->opt.model, &b->events, &c->err);
        b->events.base = 0;
    } else {
        c->rc = decide_given(a, c, &c->err);
    }
    if (c->rc == OK)
        c->rc = try_events(a, from, &c->err);
    if (c->rc != OK)
        b->events.n = from;
}

static enum taking take_command(struct app *a, struct app_command *c, struct app_command **in_batch)
{
    struct app_batch *b = &a->batch;
    size_t from = b->events.n;
    bool is_answered = false;
    if (a->opt.trial_begin == NULL && looks_at_model(c) && from > 0)
        return STOP_BEFORE;
    enum taking taking = look_up(a, c, *in_batch, &is_answered);
    if (taking != TAKEN)
        return taking;
    c->found = is_answered ? c->found : (struct store_pos){0};
    if (!is_answered) {
        c->attempts++;
        decide(a, c);
    }
    c->answer_at = (struct store_pos){b->events.n, 0};
    if (b->events.n > from)
        add_group(b, from, c);
    if (b->events.n > from && !id_is_none(c->once))
        HASH_ADD(hh, *in_batch, once, sizeof(c->once), c);
    b->commands_n++;
    return TAKEN;
}

void batch_decide(struct app *a, struct app_command **ret_search)
{
    struct app_batch *b = &a->batch;
    batch_clear(a);
    *ret_search = NULL;
    if (a->opt.trial_begin != NULL)
        a->opt.trial_begin(a->opt.model);
    take_dues(a);
    struct app_command *c = NULL, *in_batch = NULL; /* known by an id */
    TAILQ_FOREACH(c, &a->commands, link)
    {
        if (b->size_bytes >= ENVELOPE_BATCH_SIZE_MAX)
            break;
        enum taking taking = take_command(a, c, &in_batch);
        if (taking == MUST_SEARCH && b->commands_n == 0 && b->events.n == 0)
            *ret_search = c;
        if (taking != TAKEN)
            break;
    }
    HASH_CLEAR(hh, in_batch);
    if (a->opt.trial_begin != NULL)
        a->opt.trial_end(a->opt.model);
}
