#pragma once
/* platform/what_if_compare.h - two lists of decisions: what stands in both, and what is otherwise. Only what_if.c
 * includes it. Layer: platform. Pure. */
#include "platform/what_if.h"

/* An event as it is compared: its payload without `because`, and without ids that are new in its list. */
struct decision {
    struct str text; /* kind and payload */
    struct str rule;
    struct id about; /* the object; of what is created, whose it is */
    const struct event *event;
    const struct decision *other; /* the same decision in the other list, or another about the same object */
    bool is_same;
};
struct decisions {
    struct decision *items;
    size_t n;
};
/* What an event is about: the object that its payload names first. A new instance: its process. */
struct id decision_about(const struct event *ev);
/* Lives in the arena; events are borrowed. */
struct decisions decisions_of(const struct event *events, size_t n, struct arena *a);
/* Pairs what is the same, in order; then the rest by object and kind. */
void decisions_pair(struct decisions *a, struct decisions *b);
/* The same decisions in the same order. */
bool decisions_are_same(const struct decisions *a, const struct decisions *b);
