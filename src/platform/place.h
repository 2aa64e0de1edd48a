#pragma once
/* platform/place.h - which node an instance goes to, and which address it gets there.
 * Preferred, in this order: not the node that its predecessor failed on, a node with few instances of the same process,
 * a zone with few, the most free memory, the lowest id. Required: ready, the label, room, a proved runtime.
 * What is given away is remembered, so that one plan can place many.
 * Layer: platform. Pure. */
#include "platform/model.h"
#include "platform/settings.h"

struct place {
    const struct node *node;
    int64_t vcpus_free, memory_free; /* under the overcommit of settings */
    uint64_t host_next;
    uint32_t here_n; /* instances of the process that is being placed */
};
struct places {
    struct place *items;
    size_t n;
    struct arena *arena;
    const struct platform_settings *settings;
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

/* Every node with what is free there now. */
void places_init(struct places *p, const struct model *m, const struct platform_settings *s, struct arena *a);
/* n placements for one wish, all or none. False: no room; *ret_why (in the arena) says what is needed and what is free.
 */
bool places_take(struct places *p, const struct wish *wish, size_t n, struct placement *ret, const char **ret_why);
