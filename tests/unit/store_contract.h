#pragma once
/* unit/store_contract.h - what every store that can append promises: one suite, run for each kind by its factory. */
#include "store_help.h"

struct contract_factory {
    const char *name;
    void (*setup)(struct fixture *x); /* an empty place for one log: spec and opt */
    void (*teardown)(struct fixture *x);
    bool has_processes; /* other processes see the same log */
    /* From now on calls of all handles fail now and then, by this seed; 0: not any more. */
    void (*set_faults)(struct fixture *x, uint64_t seed);
};

/* Runs all of it as one group of cmocka; returns the number of failures. */
int contract_run(const struct contract_factory *f);
