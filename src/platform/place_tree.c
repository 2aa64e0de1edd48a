#include "platform/place_tree.h"

#include "base/mem.h"

static bool copy_fits(const struct text_list_copy *copy, const struct text_list *list)
{
    if (copy->n != list->n)
        return false;
    for (size_t i = 0; i < copy->n; i++)
        if (strcmp(copy->items[i], list->items[i]) != 0)
            return false;
    return true;
}

static struct text_list_copy copy_list(const struct text_list *list)
{
    struct text_list_copy copy = {.items = mem_calloc(list->n + 1u, sizeof(const char *)), .n = list->n};
    for (size_t i = 0; i < copy.n; i++)
        copy.items[i] = mem_strdup(list->items[i]);
    return copy;
}

static void copy_free(struct text_list_copy *copy)
{
    for (size_t i = 0; i < copy->n; i++)
        free((char *)(uintptr_t)copy->items[i]);
    free(copy->items);
}

bool place_group_fits(const struct place_group *g, const struct node *n)
{
    return id_eq(g->zone_id, n->zone->id) && g->has_prefix == (n->prefix[0] != '\0') &&
           copy_fits(&g->labels, &n->labels) && copy_fits(&g->runtimes, &n->runtimes);
}

struct place_group *place_group_new(const struct node *n)
{
    struct place_group *g = mem_alloc(sizeof(*g));
    *g = (struct place_group){.zone_id = n->zone->id,
                              .region_id = n->zone->region->id,
                              .zone_name = mem_strdup(n->zone->name),
                              .labels = copy_list(&n->labels),
                              .runtimes = copy_list(&n->runtimes),
                              .has_prefix = n->prefix[0] != '\0'};
    return g;
}

void place_group_free(struct place_group *g)
{
    copy_free(&g->labels);
    copy_free(&g->runtimes);
    free(g->zone_name);
    free(g->slots);
    free(g->winners);
    free(g->vcpus);
    free(g);
}

static bool may_be_chosen(const struct place *p)
{
    return p->is_open && !p->is_lifted;
}

static uint32_t better(const struct place_group *g, uint32_t a, uint32_t b)
{
    if (a == PLACE_NOBODY || b == PLACE_NOBODY)
        return a == PLACE_NOBODY ? b : a;
    const struct place *pa = g->slots[a], *pb = g->slots[b];
    if (pa->memory_free != pb->memory_free)
        return pa->memory_free > pb->memory_free ? a : b;
    return id_cmp(pa->id, pb->id) < 0 ? a : b;
}

static void set_leaf(struct place_group *g, size_t slot)
{
    const struct place *p = slot < g->n ? g->slots[slot] : NULL;
    bool may = p != NULL && may_be_chosen(p);
    g->winners[g->size + slot] = may ? (uint32_t)slot : PLACE_NOBODY;
    g->vcpus[g->size + slot] = may ? p->vcpus_free : INT64_MIN;
}

static void play(struct place_group *g, size_t at)
{
    g->winners[at] = better(g, g->winners[2 * at], g->winners[2 * at + 1]);
    g->vcpus[at] = g->vcpus[2 * at] > g->vcpus[2 * at + 1] ? g->vcpus[2 * at] : g->vcpus[2 * at + 1];
}

static void update_slot(struct place_group *g, size_t slot)
{
    set_leaf(g, slot);
    for (size_t at = (g->size + slot) / 2; at > 0; at /= 2)
        play(g, at);
}

static void resize(struct place_group *g, size_t size)
{
    g->size = size;
    g->slots = mem_realloc(g->slots, size * sizeof(struct place *));
    g->winners = mem_realloc(g->winners, 2 * size * sizeof(*g->winners));
    g->vcpus = mem_realloc(g->vcpus, 2 * size * sizeof(*g->vcpus));
    for (size_t slot = 0; slot < size; slot++)
        set_leaf(g, slot);
    for (size_t at = size - 1; at > 0; at--)
        play(g, at);
}

void place_group_add(struct place_group *g, struct place *p)
{
    if (g->n == g->size)
        resize(g, g->size == 0 ? 4 : g->size * 2);
    p->group = g;
    p->slot = g->n++;
    g->slots[p->slot] = p;
    update_slot(g, p->slot);
}

void place_group_remove(struct place_group *g, struct place *p)
{
    size_t slot = p->slot, last = --g->n;
    g->slots[slot] = g->slots[last];
    g->slots[slot]->slot = slot;
    p->group = NULL;
    set_leaf(g, last); /* before the tournament looks at it again */
    if (slot != last)
        update_slot(g, slot);
    update_slot(g, last);
}

void place_group_update(struct place_group *g, const struct place *p)
{
    update_slot(g, p->slot);
}

static uint32_t best_below(const struct place_group *g, size_t at, int64_t vcpus, int64_t memory)
{
    uint32_t winner = g->winners[at];
    if (winner == PLACE_NOBODY || g->slots[winner]->memory_free < memory || g->vcpus[at] < vcpus)
        return PLACE_NOBODY;
    if (g->slots[winner]->vcpus_free >= vcpus)
        return winner;
    return better(g, best_below(g, 2 * at, vcpus, memory), best_below(g, 2 * at + 1, vcpus, memory));
}

struct place *place_group_best(const struct place_group *g, int64_t vcpus, int64_t memory)
{
    if (g->n == 0)
        return NULL;
    uint32_t slot = best_below(g, 1, vcpus, memory);
    return slot == PLACE_NOBODY ? NULL : g->slots[slot];
}

size_t place_group_size_bytes(const struct place_group *g)
{
    return sizeof(*g) + g->size * (sizeof(struct place *) + 2 * sizeof(*g->winners) + 2 * sizeof(*g->vcpus)) +
           g->n * sizeof(struct place);
}
