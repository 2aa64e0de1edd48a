#include "wire/explanation.h"

#include <stddef.h>

static const struct field EXPLANATION_FIELDS[] = {
    FIELD_OPT(STR, explanation_text, where, "where", "where it is, and why there"),
    FIELD_OPT(STR, explanation_text, state, "state", "what it does, since when"),
    FIELD_OPT(STR, explanation_text, why, "why", "why it waits, or failed"),
    FIELD_OPT(STR, explanation_text, change, "change", "what would change that"),
};
const struct field_table EXPLANATION_WIRE = FIELD_TABLE(explanation_text, EXPLANATION_FIELDS);
