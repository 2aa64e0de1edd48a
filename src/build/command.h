#pragma once
/* build/command.h - run a program to its end, line by line. Layer: build. Blocking: the build core is a process of its
 * own. */
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* 8 KiB: longer lines come in pieces (chosen, never measured). */
#define COMMAND_LINE_SIZE_MAX 8192u

struct command {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *env;  /* NULL-terminated */
    int64_t deadline_us;     /* of the monotonic clock; then it is killed */
    /* Each line of stdout and stderr, without its newline. NULL: kept for the error text only. */
    void (*on_line)(struct str line, void *ctx);
    void *ctx;
    /* When set: stdout goes here, whole (at most 1 MiB), and only stderr comes by lines. */
    struct buf *output;
};
#define COMMAND_OUTPUT_SIZE_MAX ((size_t)1024 * 1024)

/* OK exit status 0 | ERR_IO "<program> ended with exit status N: <last line>" | ERR_UNAVAILABLE the deadline passed
 * | ERR_NOT_FOUND no such program | ERR_LIMIT more output than allowed. */
must_check enum err command_run(const struct command *c, struct errinfo *err);

/* Start and leave running; its stdout and stderr go to log_fd. *ret_pid is a child of ours. */
must_check enum err command_start(const struct command *c, int log_fd, int *ret_pid, struct errinfo *err);
