#pragma once
/* platform/explain_room.h - room in words: what a process needs, what is free where, who cannot take it and why.
 * Only explain*.c include it. Layer: platform. Pure. */
#include "platform/model.h"
#include "platform/settings.h"

struct room {
    int64_t fits_n;     /* instances that there is room for, all nodes together */
    const char *needs;  /* "3 instances of 1 vcpus and 256 MiB" */
    const char *free;   /* "w1 has 120 MiB; w2 is lost", in the order of what is free, bounded */
    const char *change; /* "add a worker with …, or stop something, or ask for less" */
};
/* For n more instances of p on its kind of nodes. Everything in the arena. */
struct room room_for(const struct model *m, const struct platform_settings *s, const struct process *p, int64_t n,
                     struct arena *a);
/* "12 vcpus and 1792 MiB" */
const char *size_text(struct arena *a, int64_t vcpus, int64_t memory_bytes);
/* What is left of a node under the overcommit of settings; may be below zero when its capacity shrank. */
struct resources node_free(const struct platform_settings *s, const struct node *n);
/* "2026-11-22T12:00:00Z" */
const char *when_text(struct arena *a, int64_t at_ns);
