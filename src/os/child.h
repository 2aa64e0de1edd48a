#pragma once
/* os/child.h - child processes without a shell: started, watched through a pidfd in the loop, adopted after a restart.
 * Layer: os (libuv). Thread: loop.
 *
 * A child outlives us unless somebody kills it: it may have a session and a cgroup of its own. After our restart it is
 * found again by its pid and the instant of its start (`struct child_ref`, kept on disk together with the boot id), so
 * a pid that was given to another process meanwhile is never mistaken for it. The end of an adopted child is reported
 * as well, but its status is unknown: only a parent learns it. */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"

struct cgroup_host;

/* Who a process is on this boot. pid 0: none. */
struct child_ref {
    pid_t pid;
    uint64_t start_ticks; /* field 22 of /proc/<pid>/stat */
};

struct child_status {
    bool is_known; /* false: it was adopted, so how it ended is not known */
    int exit_code; /* when signal is 0 */
    int signal;    /* that killed it, or 0 */
};

/* Descriptor `from` of ours becomes number `to` in the child. */
struct child_fd {
    int from, to;
};

/* What a child with a root of its own finds there. `to` is absolute: at the top, or in /dev. */
enum child_root_kind {
    CHILD_ROOT_BIND,   /* the file or folder `from` of ours, read only */
    CHILD_ROOT_LINK,   /* a symbolic link to `from` */
    CHILD_ROOT_DEVICE, /* the same device as `from`, owned by the child's user */
};
struct child_root_entry {
    enum child_root_kind kind;
    const char *from, *to;
};
#define CHILD_ROOT_MAX 16 /* chosen, never measured */
struct child_root {
    const char *folder; /* where it is put together; made, and empty for everybody else */
    const struct child_root_entry *entries;
    size_t entries_n;
};

/* Everything is borrowed for the call. A zeroed spec with `argv` starts argv[0] as ourselves: same user, same
 * namespaces, environment empty, folder "/", stdin, stdout and stderr on /dev/null, no other descriptor open. */
struct child_spec {
    const char *program;     /* path; NULL: argv[0]. Never searched in PATH */
    const char *const *argv; /* NULL-terminated */
    const char *const *env;  /* NULL-terminated "NAME=value"; NULL: empty */
    const char *cwd;         /* NULL: "/" */
    const struct child_fd *fds;
    size_t fds_n;                  /* <= CHILD_FDS_MAX; numbers 0..2 that are not listed are /dev/null */
    bool drop_user;                /* become uid and gid below, with no supplementary group */
    uid_t uid;                     /* when drop_user */
    gid_t gid;                     /* when drop_user */
    bool drop_caps;                /* keep only `caps`: permitted, effective, inheritable, ambient and bounding set */
    const int *caps;               /* CAP_… numbers, kept also across a change of user */
    size_t caps_n;                 /* <= 41 */
    bool no_new_privs;             /* a set-uid program gains nothing */
    bool new_session;              /* setsid: no terminal, no signals meant for our group */
    bool die_with_parent;          /* SIGKILL when we die; only for short helpers that must not outlive us */
    int netns_fd;                  /* network namespace to enter; 0: ours */
    int unshare_flags;             /* CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWNET (after netns_fd); 0: none */
    const struct child_root *root; /* it sees nothing of our files but this; needs root. NULL: our root */
    uint64_t nofile_max;           /* soft limit of descriptors, capped by the hard one; 0: ours */
    uint64_t fsize_max;            /* largest file that it may write; 0: ours */
    const struct cgroup_host *cgroups; /* with cgroup: starts inside it */
    const char *cgroup;                /* name of an existing cgroup; NULL: ours */
    /* Called in us, once we know who the child is and before its program runs: what this writes to disk is there before
     * the program does anything. An error ends the child and is the answer of child_spawn. Should we die in between,
     * the program never runs: so a process that no file names cannot exist. NULL: none. */
    enum err (*before_run)(struct child_ref ref, void *arg, struct errinfo *err);
    void *before_run_arg;
};
#define CHILD_FDS_MAX 16 /* chosen, never measured */

struct child;
/* Once, from the loop, when the process has ended. The child may be freed in it. */
typedef void child_exit_fn(struct child *c, const struct child_status *status, void *arg);

/* Start a process. *ret_child is returned: child_free. The program has been replaced by execve when OK returns, so a
 * missing program is an error here.
 * OK | ERR_INVALID bad spec | ERR_NOT_FOUND no such program | ERR_IO with the step that failed */
must_check enum err child_spawn(uv_loop_t *loop, const struct child_spec *spec, child_exit_fn *on_exit, void *arg,
                                struct child **ret_child, struct errinfo *err);
/* Watch a process that was started by an earlier run of ours. OK | ERR_NOT_FOUND it is gone | ERR_IO */
must_check enum err child_adopt(uv_loop_t *loop, struct child_ref ref, child_exit_fn *on_exit, void *arg,
                                struct child **ret_child, struct errinfo *err);
/* Run to its end (no loop): for short helpers. `timeout_ms` kills it. *ret_output (may be NULL) gets its stdout and
 * stderr, at most CHILD_OUTPUT_MAX bytes.
 * OK exit code 0 | ERR_IO another end, with the last line of its output | ERR_UNAVAILABLE timed out | as child_spawn */
struct buf;
must_check enum err child_run(const struct child_spec *spec, int64_t timeout_ms, struct buf *ret_output,
                              struct errinfo *err);
#define CHILD_OUTPUT_MAX (1024 * 1024)

struct child_ref child_ref(const struct child *c);
pid_t child_pid(const struct child *c);
/* Through the pidfd: never another process. OK also when it has ended already. */
must_check enum err child_kill(struct child *c, int signal, struct errinfo *err);
/* Stop watching; the process goes on. NULL is fine. */
void child_free(struct child *c);

/* The start of a process now alive (a zombie is not). OK | ERR_NOT_FOUND */
must_check enum err child_ref_of_pid(pid_t pid, struct child_ref *ret_ref, struct errinfo *err);
/* Is that very process alive? A zombie is not. */
bool child_ref_is_alive(struct child_ref ref);

#define BOOT_ID_SIZE 37
/* /proc/sys/kernel/random/boot_id: a child_ref means nothing after a reboot. */
must_check enum err boot_id_read(char ret_boot_id[static BOOT_ID_SIZE], struct errinfo *err);
