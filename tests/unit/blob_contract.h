#pragma once
/* unit/blob_contract.h - what every blob store promises: one suite, run for each kind by its factory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "blob/blob.h"

/* SHA-256 of "abc" (FIPS 180-4, example). */
#define ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

struct blob_factory {
    const char *name;
    struct blob_store *(*open)(void); /* an empty place each time */
    struct blob_store *(*again)(
        void); /* another handle on the last place, with nothing of its own in memory or cache */
};
/* Runs all of it as one group of cmocka; returns the number of failures. */
int blob_contract_run(const struct blob_factory *factory);
