#pragma once
/* platform/place.h - which node an instance goes to, and which address it gets there.
 *
 * Required: a ready node (so no draining one) with the label, the proved runtime and room; in one of its
 * availabilityZones, for an application that names some.
 * Preferred, in this order, never required:
 *   1. not the node that its predecessor failed on
 *   2. a node with few instances of the same process
 *   3. while all of them are in one zone: another zone
 *   4. a zone that is not hot: filled at most PLACE_HOT_PERMILLE more than all zones together. So every zone gets its
 *      share of every process, but one node alone in its zone is not filled while ten others idle
 *   5. a region with few of them, then a zone with few, then the zone that is filled least
 *   6. the node with the most free memory, the lowest id
 *
 * What is free is kept here and brought up to date by places_set_node and places_set_instance; nodes that are alike
 * (zone, labels, runtimes) are a group with a tree over what is free on them, so that a choice costs the logarithm of
 * the nodes, times the groups. What a plan takes is remembered until places_forget: a plan may never come to be.
 * Layer: platform. Pure. */
#include "platform/key_index.h"
#include "platform/model.h"
#include "platform/settings.h"

/* A zone is hot when it is filled 10 % of its memory more than all zones together (chosen; test_place:
 * zones_of_uneven_size). */
#define PLACE_HOT_PERMILLE 100

/* A node. */
struct place {
    struct id id;            /* first: places are in an id_index */
    const struct node *node; /* lent by the model since the last places_set_node */
    struct place_group *group;
    int64_t vcpus_all, memory_all;   /* under the overcommit of settings */
    int64_t vcpus_free, memory_free; /* may be below zero: a node's capacity can shrink */
    int64_t memory_leaving;          /* of it, in use by instances that are on their way out */
    int64_t memory_held;             /* of it, held in this plan for somebody who waits */
    uint64_t hosts_taken;            /* addresses behind the node's host_next, which only the model knows */
    size_t slot;                     /* in its group */
    uint32_t here_n;                 /* instances of the process that is being placed */
    enum node_status status;
    int64_t since_ns; /* of the status */
    bool is_open;     /* ready */
    bool is_lifted;   /* out of its group's tree: it has some of that process, or is to be avoided */
};

struct place_take {
    struct place *place;
    struct id process_id;
    int64_t vcpus, memory;
    uint64_t hosts_taken; /* as it was */
    bool is_hold;
};

struct places {
    const struct platform_settings *settings;
    struct arena *arena; /* of the plan at hand */
    struct id_index nodes;
    struct key_index by_node;    /* the same, to find one quickly */
    struct place_group **groups; /* few: zones times kinds of nodes */
    size_t groups_n;
    struct holding *holdings; /* what each instance uses: open addressing, a power of two */
    size_t holdings_n, holdings_size;
    bool has_grown;           /* there is more room somewhere since the caller set it to false */
    bool has_turned;          /* a node may be placed on that could not be, or no more, or anew; likewise */
    bool has_zone;            /* a zone has one that had none of that kind; likewise */
    int64_t newest_ns;        /* no open node became so later */
    size_t refused_n;         /* takes that found no room */
    struct place_take *takes; /* of this plan */
    size_t takes_n, takes_size;
    struct id process_id; /* whose instances here_n counts; none: nobody's */
    struct place **lifted;
    size_t lifted_n, lifted_size;
};

struct wish {
    const struct process *process; /* to spread its instances; NULL: none yet */
    const char *label;             /* "worker", "control" */
    struct str runtime;            /* by name; empty: the best proved one that isolates */
    const struct resources *needs;
    const struct node *avoid; /* NULL: none */
    bool has_address;         /* out of the node's /64 */
};
struct placement {
    const struct node *node;
    const char *runtime, *address; /* address: "" when none was wished for; in the arena */
};

void places_init(struct places *p, const struct platform_settings *s);
/* What is free in the model now: of one node, or (ID_NONE) of all. Cost: all that is on them. places_done. */
void places_of_model(struct places *p, const struct model *m, const struct platform_settings *s, struct arena *a,
                     struct id node_id);
void places_done(struct places *p);
size_t places_size_bytes(const struct places *p);
/* A node is there, or is another: its status, capacity, labels, runtimes. True: its status is another one. */
bool places_set_node(struct places *p, const struct node *n);
void places_remove_node(struct places *p, struct id node_id);
/* What an instance uses of which node. */
void places_set_instance(struct places *p, const struct instance *i);
void places_remove_instance(struct places *p, struct id instance_id);

/* n placements for one wish, all or none. False: no room; *ret_why (in the arena; NULL: do not say) says what is needed
 * and what is free. */
bool places_take(struct places *p, const struct wish *wish, size_t n, struct placement *ret, const char **ret_why);
/* As many of n as there is room for. */
size_t places_take_some(struct places *p, const struct wish *wish, size_t n, struct placement *ret);
/* One on a node that has none of the wish's process, out of this zone (NULL: anywhere), and that has been ready since
 * before_ns or earlier. *ret_next_ns: since when the next one is ready, with room or not, for which that is too early;
 * INT64_MAX: there is none. */
bool places_take_fresh(struct places *p, const struct wish *wish, const struct zone *out_of, int64_t before_ns,
                       struct placement *ret, int64_t *ret_next_ns);
/* Ready nodes that the wish may be placed on, with room or not, out of this zone (NULL: anywhere). */
size_t places_suited_n(const struct places *p, const struct wish *wish, const struct zone *out_of);
bool places_is_suited(const struct places *p, const struct wish *wish, const struct node *n);
/* What is needed for n and what is free, as places_take says it. */
const char *places_say_why(struct places *p, const struct wish *wish, size_t n);
bool places_has_room_for_one(struct places *p, const struct wish *wish);
/* One would fit on some node once those that are on their way out have left; or there is no node yet that could be
 * asked. */
bool places_may_fit_soon(const struct places *p, const struct wish *wish);
/* Hold what is free for n that must wait, on the n nodes (or all, if fewer) with the most memory free or about to be:
 * nobody else gets it in this plan. Returns a number that stands for the choice of nodes; 0: none, it would not fit
 * there even if they were empty. */
uint64_t places_hold(struct places *p, const struct wish *wish, size_t n);
/* Take back what this plan took and held. */
void places_forget(struct places *p);
/* What is known of a node. NULL: nothing. */
const struct place *places_find(const struct places *p, struct id node_id);
