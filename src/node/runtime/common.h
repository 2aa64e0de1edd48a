#pragma once
/* node/runtime/common.h - what runtimes share: the mark of what was started, texts for ends, sockets by folder.
 * Layer: node, inside runtime/. */
#include <signal.h>

#include "base/mem.h"
#include "node/runtime/runtime.h"
#include "os/child.h"

/* Every runtime's instance begins with it. */
struct runtime_instance {
    const struct runtime_ops *ops;
};

/* What start() writes to the state folder for adopt(): <state_dir>/running.json. */
struct runtime_mark {
    struct str runtime; /* name */
    struct str boot_id; /* of the host's boot */
    int64_t pid, start_ticks;
    bool accelerated;
};
must_check enum err runtime_mark_write(const char *state_dir, const struct runtime_mark *mark, struct errinfo *err);
/* OK: it is the mark of `runtime` and of this boot | ERR_NOT_FOUND */
must_check enum err runtime_mark_read(const char *state_dir, const char *runtime, struct arena *a,
                                      struct runtime_mark *ret_mark, struct errinfo *err);
must_check enum err runtime_mark_remove(const char *state_dir, struct errinfo *err);
/* Write the mark of a child of this boot. */
must_check enum err runtime_mark_child(const char *state_dir, const char *runtime, struct child_ref ref,
                                       bool accelerated, struct errinfo *err);

/* Kill what is left in the cgroup, remove it and the state folder. */
must_check enum err runtime_destroy(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                                    struct errinfo *err);
/* "exited with code 3", "was killed by signal 9 (Killed)" behind `who`. */
void runtime_describe(char *text, size_t size, const char *who, int exit_code, int signal);
