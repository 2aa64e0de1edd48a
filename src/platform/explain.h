#pragma once
/* platform/explain.h - every decision explains itself: why something is where it is, why it waits or failed, and what
 * would change that. Made of the model alone: `because` of the events that decided, causes that were reported, states,
 * and what is free now. Sentences for people; nothing parses them.
 * Layer: platform. Pure. */
#include "platform/model.h"
#include "platform/settings.h"

/* Texts live in the arena; empty when there is nothing to say. */
struct explanation {
    struct str where;  /* where it is, and why there */
    struct str state;  /* what it does, since when */
    struct str why;    /* why it waits, or failed */
    struct str change; /* what would change that: who has to do what, or what happens by itself and when */
};

/* OK | ERR_NOT_FOUND */
must_check enum err explain_instance(const struct model *m, const struct platform_settings *s, struct id id,
                                     struct arena *a, struct explanation *ret, struct errinfo *err);
must_check enum err explain_deployment(const struct model *m, const struct platform_settings *s, struct id id,
                                       struct arena *a, struct explanation *ret, struct errinfo *err);
must_check enum err explain_node(const struct model *m, const struct platform_settings *s, struct id id,
                                 struct arena *a, struct explanation *ret, struct errinfo *err);
/* An event-sourced application at a version. */
must_check enum err explain_application(const struct model *m, const struct platform_settings *s, struct id process_id,
                                        struct arena *a, struct explanation *ret, struct errinfo *err);
