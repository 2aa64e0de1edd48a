#pragma once
/* node/preflight/preflight.h - what this host can really do: rows for people, and the runtimes that are proved.
 * Layer: node (uses os). Thread: loop.
 * A device that can be opened proves nothing: a probe guest is booted, by KVM, and where that fails without it. That
 * takes seconds, so its outcome is kept for this boot of the host and these files. */
#include <uv.h>

#include "node/runtime/runtime.h"
#include "wire/node.h"

#define PREFLIGHT_PROBE_MS 10000

struct preflight_options {
    uv_loop_t *loop;
    const struct runtime_host *host; /* all borrowed while the pre-flight lives */
    const char *home;
    const char *probe_folder;    /* of the probe guest, */
    const char *probe_cgroup;    /* and where it runs; NULL: where we do */
    bool has_microvms;           /* the node has a prefix */
    const char *fabric;          /* NULL: none */
    const char *const *runtimes; /* allowed ones; none: all */
    size_t runtimes_n;
    bool again;   /* do not use what was kept */
    bool is_sole; /* nobody else probes in that folder: what is found there is of an earlier run, and ended */
    /* Once, from the loop. */
    void (*on_done)(void *arg);
    void *arg;
};

struct preflight;
struct preflight *preflight_start(const struct preflight_options *o);
/* Ends the probe guest too. */
void preflight_free(struct preflight *p);
bool preflight_is_done(const struct preflight *p);
/* Of struct preflight_check; lent while p lives. Only what has been looked at so far. */
struct objects preflight_rows(const struct preflight *p);
/* Proved and allowed, best first; lent. */
struct strs preflight_runtimes(const struct preflight *p);
/* Why no microVM could be booted, where some are wanted; NULL: one was, or none is. Lent. */
const char *preflight_failure(const struct preflight *p);
/* A microVM was booted by KVM. */
bool preflight_has_kvm(const struct preflight *p);
