#pragma once
/* unit/folder.h - a folder of its own for a test: *state is its path, it is removed with all it holds. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

static inline int folder_remove_one_(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st, (void)flag, (void)at;
    return remove(path);
}

static inline int folder_setup(void **state)
{
    const char *base = getenv("TMPDIR");
    char *path = mem_printf("%s/slipform-test-XXXXXX", base == NULL ? "/tmp" : base);
    *state = path;
    return mkdtemp(path) == NULL ? -1 : 0;
}

static inline int folder_teardown(void **state)
{
    int rc = nftw(*state, folder_remove_one_, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return rc;
}
