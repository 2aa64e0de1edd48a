#pragma once
/* daemon/settings.h - settings of a program: a table of rows, filled from defaults, one YAML file, the environment.
 * Layer: daemon. The file is one flat mapping of setting names; lists are YAML sequences. SLIPFORM_<NAME> (upper case)
 * overrides the file; lists there are separated by commas. Unknown keys and wrong values are errors with file and line.
 * A file has at most CRYPTO_FILE_SIZE_MAX bytes. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

enum setting_type {
    SETTING_TEXT,  /* const char *; NULL when absent and without default */
    SETTING_PATH,  /* const char *; a relative path is relative to the settings file's folder */
    SETTING_INT,   /* int64_t within [min, max] */
    SETTING_BOOL,  /* bool: true or false */
    SETTING_SIZE,  /* uint64_t bytes within [min, max]: 512, 64KiB, 16MiB, 2GiB */
    SETTING_LIST,  /* struct setting_list of texts */
    SETTING_CHOICE /* const char *; one of `choices`, separated by '|' */
};

/* 1,000: values of a list in a file (chosen, never measured; test_daemon: settings_errors_name_the_place). */
#define SETTING_LIST_MAX 1000

struct setting_list {
    const char **items;
    size_t n;
};

struct setting {
    const char *name; /* snake_case */
    enum setting_type type;
    size_t offset;        /* offsetof the field in the program's settings struct */
    const char *fallback; /* text as the environment would have it; NULL: absent (NULL, 0, false, empty list) */
    bool required;
    int64_t min, max; /* INT and SIZE; both 0: no bound but not negative */
    const char *choices;
    const char *doc; /* one line */
};

/* Fill *ret_settings (zeroed first) from table[0..n). All texts go to the arena.
 *   file  NULL: no file          environment  e.g. environ; NULL: none
 * OK | ERR_NOT_FOUND file | ERR_INVALID "<file>:<line>: ..." or "SLIPFORM_X: ..." or a required one that is missing. */
must_check enum err settings_load(const struct setting *table, size_t n, const char *file, char *const *environment,
                                  struct arena *arena, void *ret_settings, size_t settings_size, struct errinfo *err);
/* For --help: one block per row. */
void settings_help(const struct setting *table, size_t n, struct buf *out);
