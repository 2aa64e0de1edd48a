/* The kinds of stores of our own programs. */
#include "store/kind.h"

const struct store_kind *const STORE_KINDS[] = {&STORE_FILES,  &STORE_JETSTREAM, &STORE_JSONL, &STORE_POSTGRES,
                                                &STORE_REMOTE, &STORE_SIMULATED, NULL};
