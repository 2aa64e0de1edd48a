#pragma once
/* os/cgroup.h - limits for groups of processes, and their end all at once: cgroups v2, or v1 (cpu, memory, pids).
 * Layer: os. Names are ours: "slipform/<installation>-<tag>/<node>/<instance>". No object is held: the kernel has the
 * state. Where the host has no usable controllers, `kind` is CGROUP_NONE and every function answers ERR_UNAVAILABLE. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum cgroup_kind { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };
enum { CGROUP_CPU, CGROUP_MEMORY, CGROUP_PIDS, CGROUP_CPUACCT, CGROUP_CONTROLLERS_N };

/* What this host offers; a plain value. */
struct cgroup_host {
    enum cgroup_kind kind;
    char mount[CGROUP_CONTROLLERS_N][128]; /* v1: one per controller, "" where it is missing; v2: all the same */
};

/* 0: no limit. */
struct cgroup_limits {
    int64_t cpu_milli; /* 1000 is one core */
    int64_t memory_bytes;
    int64_t pids_max;
};

struct cgroup_usage {
    int64_t cpu_us;       /* used so far */
    int64_t memory_bytes; /* charged now, page cache too */
    int64_t pids;
};

/* Look at /proc/self/mountinfo. v2 counts only where it offers memory or pids. */
void cgroup_detect(struct cgroup_host *ret_host);
const char *cgroup_kind_name(enum cgroup_kind kind); /* none, v1, v2 */

/* Make it (with its parents) if it isn't there, and set its limits. Name: relative, no "..".
 * OK | ERR_INVALID name | ERR_UNAVAILABLE none here, or a wanted controller is missing: *err names it; the group exists
 * then, and processes can be added and killed | ERR_IO */
must_check enum err cgroup_create(const struct cgroup_host *h, const char *name, const struct cgroup_limits *limits,
                                  struct errinfo *err);
/* OK | ERR_NOT_FOUND. What the host does not count is 0. */
must_check enum err cgroup_usage(const struct cgroup_host *h, const char *name, struct cgroup_usage *ret_usage,
                                 struct errinfo *err);
/* SIGKILL to every process in it and below it. OK also when there is none. */
must_check enum err cgroup_kill(const struct cgroup_host *h, const char *name, struct errinfo *err);
/* Remove it and what is below it. Not its parents. OK also when it is gone | ERR_CONFLICT processes are left: kill
 * them, wait for their end, try again | ERR_IO */
must_check enum err cgroup_remove(const struct cgroup_host *h, const char *name, struct errinfo *err);
/* Remove parents of name that are empty, up to and with "slipform". Never fails: a group in use stays. */
void cgroup_prune(const struct cgroup_host *h, const char *name);
/* Open the files that a starting child writes "0" to in order to be in the group. Fills at most
 * CGROUP_CONTROLLERS_N descriptors (O_CLOEXEC, the caller closes). */
must_check enum err cgroup_open_procs(const struct cgroup_host *h, const char *name, int ret_fds[], size_t *ret_n,
                                      struct errinfo *err);
