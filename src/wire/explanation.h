#pragma once
/* wire/explanation.h - why something is where it is and what would change it, in sentences for people (nothing parses
 * them): a member of GET of an instance, a deployment, a node, an application. Layer: wire. */
#include "event/fields.h"

struct explanation_text {
    struct str where;  /* where it is, and why there */
    struct str state;  /* what it does, since when */
    struct str why;    /* why it waits, or failed */
    struct str change; /* what would change that */
};
extern const struct field_table EXPLANATION_WIRE;
