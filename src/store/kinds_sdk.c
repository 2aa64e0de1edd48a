/* The kinds of stores that applications have: no database, so that they need no client library of one. */
#include "store/kind.h"

const struct store_kind *const STORE_KINDS[] = {&STORE_FILES, &STORE_JSONL, &STORE_REMOTE, &STORE_SIMULATED, NULL};
