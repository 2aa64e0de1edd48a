#pragma once
/* platform/place_tree.h - nodes that are alike, and which of them has the most room. Only place*.c include it.
 * A tournament over the slots of a group: each inner node knows the winner below it (most free memory, lowest id) and
 * the most vcpus that are free below it. Changing a place and finding the best one cost the logarithm of the group,
 * unless memory and vcpus run out on different nodes. Layer: platform. Pure. */
#include "platform/place.h"

struct place_group {
    struct id zone_id, region_id;
    char *zone_name;
    struct text_list_copy {
        const char **items;
        size_t n;
    } labels, runtimes;
    bool has_prefix;
    struct place **slots;
    size_t n, size;    /* size: a power of two */
    uint32_t *winners; /* 2 * size: [1] is the root, [size + slot] the leaves; PLACE_NOBODY */
    int64_t *vcpus;    /* likewise: the most that is free */
    /* Of open places: */
    size_t open_n;
    int64_t memory_all, memory_used;
};

#define PLACE_NOBODY UINT32_MAX

/* Does the node belong to it? */
bool place_group_fits(const struct place_group *g, const struct node *n);
struct place_group *place_group_new(const struct node *n);
void place_group_free(struct place_group *g);
void place_group_add(struct place_group *g, struct place *p);
void place_group_remove(struct place_group *g, struct place *p);
/* What is free on it, or whether it may be chosen, has changed. */
void place_group_update(struct place_group *g, const struct place *p);
/* The one with the most free memory among those that have this much; NULL: none. */
struct place *place_group_best(const struct place_group *g, int64_t vcpus, int64_t memory);
/* Label, runtime and address of the wish can be had there. */
bool place_group_may(const struct place_group *g, const struct wish *w);
/* That much less is free. */
void place_use(struct place *p, int64_t vcpus, int64_t memory);
/* The same until places_forget. */
void places_take_here(struct places *p, struct place *place, struct id process_id, int64_t vcpus, int64_t memory);
/* Take back takes from this one on. */
void places_give_back(struct places *p, size_t until);
size_t place_group_size_bytes(const struct place_group *g);
