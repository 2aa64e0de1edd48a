#include "control/preferred.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

size_t preferred_of(const struct strs *replicas, struct id what)
{
    size_t best = SIZE_MAX;
    struct id best_score = ID_NONE;
    for (size_t i = 0; i < replicas->n; i++) {
        char name[80];
        (void)snprintf(name, sizeof(name), "%.*s", STR_ARG(replicas->items[i]));
        struct id score = id_derive(what, name);
        if (best == SIZE_MAX || id_cmp(score, best_score) > 0) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

bool preferred_is(const struct strs *replicas, struct str self, struct id what)
{
    size_t best = preferred_of(replicas, what);
    return best == SIZE_MAX || str_eq(replicas->items[best], self);
}

/* ---- what was left ---- */

/* The object that an event is about: the first id of its payload; for an instance that is to be, whose id is another
 * one in each plan, its process. */
static struct id subject_of(const struct event *e)
{
    if (e->kind == EVENT_CREATE_INSTANCE)
        return e->create_instance.process_id;
    const struct field_table *t = event_kind_row(e->kind)->fields;
    struct id id = ID_NONE;
    for (size_t i = 0; i < t->fields_n; i++)
        if (t->fields[i].type == FIELD_ID) {
            memcpy(&id, (const char *)&e->create_region + t->fields[i].offset,
                   sizeof(id)); /* members share an address */
            break;
        }
    return id;
}

static uint64_t thing_of(const struct event *e)
{
    struct id id = subject_of(e);
    uint64_t what = 14695981039346656037u; /* FNV-1a: nobody chooses these ids to collide, and then little is lost */
    for (size_t i = 0; i < sizeof(id.bytes); i++)
        what = (what ^ id.bytes[i]) * 1099511628211u;
    return (what ^ (uint64_t)e->kind) * 1099511628211u;
}

static int by_what(const void *a, const void *b)
{
    const struct preferred_thing *x = a, *y = b;
    return x->what < y->what ? -1 : x->what > y->what;
}

/* Those of the plan, each with the instant since which it has been in every plan. */
static struct preferred_thing *things_of(const struct preferred_left *before, const struct event_list *plan,
                                         int64_t now_ms)
{
    struct preferred_thing *things = mem_calloc(plan->n, sizeof(*things));
    for (size_t i = 0; i < plan->n; i++) {
        things[i] = (struct preferred_thing){thing_of(&plan->items[i]), now_ms};
        const struct preferred_thing *known =
            before->things_n == 0 ? NULL
                                  : bsearch(&things[i], before->things, before->things_n, sizeof(*things), by_what);
        if (known != NULL)
            things[i].since_ms = known->since_ms;
    }
    qsort(things, plan->n, sizeof(*things), by_what);
    return things;
}

void preferred_done(struct preferred_left *l)
{
    free(l->things);
    *l = (struct preferred_left){0};
}

bool preferred_stands_in(struct preferred_left *l, const struct event_list *plan, int64_t now_ms, int64_t *ret_again_ms)
{
    *ret_again_ms = INT64_MAX;
    if (plan->n == 0) {
        preferred_done(l);
        return false;
    }
    if (l->things_n == 0)
        l->since_ms = now_ms;
    struct preferred_thing *things = things_of(l, plan, now_ms);
    free(l->things);
    l->things = things;
    l->things_n = plan->n;
    int64_t oldest_ms = now_ms;
    for (size_t i = 0; i < l->things_n; i++)
        oldest_ms = things[i].since_ms < oldest_ms ? things[i].since_ms : oldest_ms;
    if (now_ms - oldest_ms >= PREFERRED_LEAVES_MS || now_ms - l->since_ms >= PREFERRED_LEAVES_MS_MAX)
        return true;
    *ret_again_ms = oldest_ms + PREFERRED_LEAVES_MS;
    return false;
}
