/* When there is no room: saying why, and holding what becomes free for who has waited longest. */
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "platform/place_tree.h"

/* At most this many nodes are told one by one (chosen: a sentence that can be read). */
enum { TELL_NODES_MAX = 4 };

static const char *say_needs(struct arena *a, const struct wish *w, size_t n)
{
    const char *runtime = w->runtime.len == 0 || str_eq(w->runtime, STR("host"))
                              ? ""
                              : arena_printf(a, ", runtime '%.*s'", STR_ARG(w->runtime));
    if (w->needs->vcpus == 0 && w->needs->memory_bytes == 0)
        return arena_printf(a, "needs a ready node labelled '%s'%s", w->label, runtime);
    return arena_printf(a, "needs room for %zu x (%lld vcpus, %lld MiB%s) on ready nodes labelled '%s'", n,
                        (long long)w->needs->vcpus, (long long)(w->needs->memory_bytes >> 20), runtime, w->label);
}

static bool may_be_asked(const struct place *p, const struct wish *w)
{
    return p->is_open && place_group_may(p->group, w);
}

static size_t may_be_asked_n(const struct places *p, const struct wish *w)
{
    size_t n = 0;
    for (size_t i = 0; i < p->groups_n; i++)
        n += place_group_may(p->groups[i], w) ? p->groups[i]->open_n : 0;
    return n;
}

const char *places_say_why(struct places *p, const struct wish *w, size_t n)
{
    struct arena *a = p->arena;
    const char *text = "";
    size_t asked_n = may_be_asked_n(p, w), told_n = 0;
    if (asked_n == 0)
        return arena_printf(a,
                            "%s; there is none: add one, or see 'slipform nodes' for what is wrong with those that "
                            "are there",
                            say_needs(a, w, n));
    for (size_t i = 0; i < p->nodes.n && told_n < TELL_NODES_MAX; i++) {
        const struct place *at = p->nodes.items[i];
        if (!may_be_asked(at, w))
            continue;
        text = arena_printf(a, "%s%s'%s' %lld vcpus, %lld MiB", text, told_n > 0 ? "; " : "", at->node->name,
                            (long long)at->vcpus_free, (long long)(at->memory_free >> 20));
        told_n++;
    }
    return arena_printf(a, "%s; free on %zu: %s%s; add a node, ask for less, or stop something", say_needs(a, w, n),
                        asked_n, text, asked_n > told_n ? "; ..." : "");
}

bool places_has_room_for_one(struct places *p, const struct wish *w)
{
    struct placement at;
    size_t before = p->takes_n;
    bool has = places_take_some(p, w, 1, &at) == 1;
    places_give_back(p, before);
    return has;
}

bool places_may_fit_soon(const struct places *p, const struct wish *w)
{
    if (may_be_asked_n(p, w) == 0)
        return true;
    for (size_t i = 0; i < p->nodes.n; i++) {
        const struct place *at = p->nodes.items[i];
        if (may_be_asked(at, w) && at->memory_free + at->memory_leaving + at->memory_held >= w->needs->memory_bytes)
            return true;
    }
    return false;
}

/* The most memory free or about to be, then the lowest id. */
static int compare_soon(const void *a, const void *b)
{
    const struct place *pa = *(struct place *const *)a, *pb = *(struct place *const *)b;
    int64_t soon_a = pa->memory_free + pa->memory_leaving, soon_b = pb->memory_free + pb->memory_leaving;
    if (soon_a != soon_b)
        return soon_a > soon_b ? -1 : 1;
    return id_cmp(pa->id, pb->id);
}

uint64_t places_hold(struct places *p, const struct wish *w, size_t n)
{
    uint64_t which = 0;
    struct place **could = mem_calloc(p->nodes.n + 1, sizeof(struct place *));
    size_t could_n = 0;
    for (size_t i = 0; i < p->nodes.n; i++) {
        struct place *at = p->nodes.items[i];
        if (may_be_asked(at, w) && at->memory_all >= w->needs->memory_bytes && at->vcpus_all >= w->needs->vcpus)
            could[could_n++] = at;
    }
    qsort(could, could_n, sizeof(struct place *), compare_soon);
    size_t held_n = could_n < n ? could_n : n;
    for (size_t i = 0; i < held_n; i++) {
        int64_t wanted = w->needs->memory_bytes * (int64_t)((n + held_n - 1) / held_n);
        int64_t memory = could[i]->memory_free < wanted ? could[i]->memory_free : wanted;
        if (memory > 0) {
            places_take_here(p, could[i], ID_NONE, 0, memory);
            p->takes[p->takes_n - 1].is_hold = true;
            could[i]->memory_held += memory;
        }
        which = (which ^ map_hash(could[i]->id.bytes, sizeof(could[i]->id.bytes))) * UINT64_C(0x9e3779b97f4a7c15) + 1;
    }
    free(could);
    return which;
}
