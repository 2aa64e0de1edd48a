#pragma once
/* cli/command.h - the verbs of `slipform` as a table of data: help, parsing and completion come from the same rows.
 * Layer: cli. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "install/installation.h"

enum flag_type { FLAG_BOOL, FLAG_TEXT, FLAG_COUNT };

struct flag {
    const char *name; /* without the dashes */
    enum flag_type type;
    const char *placeholder, *doc; /* doc NULL: end of the list */
};

/* 8: more would be a settings file (chosen). */
#define COMMAND_FLAGS_MAX 24
#define COMMAND_ARGS_MAX 8

struct cli;
struct command {
    const char *name, *args_doc, *summary;
    const struct flag *flags; /* ends with a row without name */
    int args_min, args_max;
    bool needs_installation; /* an error says `slipform up` when there is none */
    int (*run)(struct cli *c);
    const char *details; /* of --help, behind the options; NULL: none */
};

/* One call of the program. */
#define CLI_POSITION_SIZE 128
struct cli {
    const struct command *command;
    const char *args[COMMAND_ARGS_MAX];
    int args_n;
    const char *values[COMMAND_FLAGS_MAX]; /* by flag row; NULL: not given; bools: "" */
    bool json;                             /* --json: one document on stdout, problems on stderr */
    bool stderr_is_tty;
    struct home home;
    char
        *position; /* CLI_POSITION_SIZE: what the platform's last answer held; sent with the next call, which sees it */
    char exe_folder[PATH_SIZE]; /* where this program and its sisters are */
};

bool cli_flag(const struct cli *c, const char *name);
const char *cli_text(const struct cli *c, const char *name); /* NULL: not given */
int64_t cli_count(const struct cli *c, const char *name, int64_t fallback);

/* Say an error as a person or, with --json, a script wants it; returns the exit code. */
int cli_fail(const struct cli *c, const struct errinfo *err);
int cli_failf(const struct cli *c, enum err code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Progress on stderr: one line. */
void cli_say(const struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The whole program. */
int cli_main(int argc, char **argv);
/* Ends with a row without name. */
extern const struct command CLI_COMMANDS[];
