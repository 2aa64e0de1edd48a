#pragma once
/* os/run.h - run one of the system's programs (ip, nft, …) to its end. Layer: os. Blocks: for the installer and for
 * short helpers. A program of our own, or one that lives longer, is a child: os/child.h. */
#include "base/buf.h"
#include "base/err.h"

struct run_options {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH and the system's sbin folders; no shell */
    struct str stdin_text;
    const char *netns;  /* name below /run/netns to run in; NULL: ours */
    int64_t timeout_ms; /* 0: 60,000; killed when over */
};

/* OK exit code 0; *ret_output (may be NULL) gets stdout and stderr | ERR_NOT_FOUND no such program or namespace
 * | ERR_IO another end, with the last line that it wrote | ERR_UNAVAILABLE timed out */
must_check enum err run_program(const struct run_options *o, struct buf *ret_output, struct errinfo *err);
