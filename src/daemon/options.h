#pragma once
/* daemon/options.h - the command line of a program; private to daemon/. Layer: daemon. */
#include "base/buf.h"
#include "daemon/daemon.h"

#define OPTION_FLAGS_MAX 16

struct options {
    bool help, version, check_config;
    const char *config;                        /* NULL: none */
    const char *flag_values[OPTION_FLAGS_MAX]; /* by index of program->flags; NULL: not given */
};

/* OK | ERR_INVALID: text for people, usage error. Values are lent by argv. */
must_check enum err options_parse(int argc, char **argv, const struct program *program, struct options *ret,
                                  struct errinfo *err);
void options_help(const struct program *program, const struct setting *table, size_t n, struct buf *out);
