#pragma once
/* node/runtime/runtime.h - the one table behind which instances run; nothing here knows a hypervisor.
 * Layer: node. Thread: loop.
 *
 * The life of an instance: start() -> on_line…, on_started -> stop() -> on_line… -> on_exit -> free(), and then clean()
 * before it is started again in place, or destroy() when it goes for good.
 * An instance outlives the agent: after its restart, adopt() finds it by what start() wrote to the state folder, lines
 * go on (a few may come twice, none is lost while the agent was away unless on_line says so), on_exit comes as before.
 * What can go wrong: start() fails and leaves nothing; the program cannot be started inside a microVM -> on_exit with
 * the cause, no on_started; the hypervisor dies -> on_exit; the guest says nonsense or nothing -> on_exit, killed; it
 * says too much -> lines are cut and dropped, and a line says how many. */
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "base/str.h"
#include "os/cgroup.h"
#include "wire/instance.h"

/* What the host gives to an instance beside its spec. All borrowed for the call. */
struct runtime_facts {
    const struct instance_spec *spec;
    const char *state_dir;    /* of this instance on this node; made here, kept across restarts, removed by destroy */
    const char *const *env;   /* NULL-terminated NAME=value of the platform; they win over image and spec */
    const char *program_path; /* host: its program */
    const char *config_path;  /* host: passed as --config; NULL: none */
    const char *work_dir;     /* host: its current folder; NULL: state_dir */
    const char *image_path;   /* microVM: root file system (erofs), read only */
    const char *hostname;     /* microVM */
    const char *tap;          /* microVM: name of an existing tap; NULL: no network */
    int netns_fd;             /* where the tap is, or host: where the program runs; 0: ours */
    uint8_t mac[6];           /* microVM: of its interface */
    const char *ipv6_address; /* microVM: without prefix length; NULL: none */
    const char *ipv6_gateway; /* on the link */
    const char *ipv4_address; /* microVM: for egress; NULL: none */
    const char *ipv4_gateway; /* on the link */
    const char *gateway_mac;  /* "02:…": permanent neighbour; NULL: none */
    const char *resolver;     /* NULL: none */
    const char *cgroup;       /* "slipform/<installation>-<tag>/<node>/<instance>"; NULL: none */
};

struct runtime_exit {
    bool is_known;   /* false: how it ended cannot be known (a plain child that ended while adopted) */
    bool ok;         /* known, and ended by itself with code 0 */
    int exit_code;   /* of the program, when signal is 0 */
    int signal;      /* that ended the program, or 0 */
    char cause[384]; /* for a person: "exited with code 3", "the microVM was killed by signal 9" */
};

enum runtime_stream { RUNTIME_STDOUT, RUNTIME_STDERR, RUNTIME_CONSOLE };
const char *runtime_stream_name(enum runtime_stream stream); /* stdout, stderr, console */

/* Called from the loop, never from inside start() or adopt(). */
struct runtime_events {
    /* One line without its newline, at most RUNTIME_LINE_MAX bytes, not necessarily UTF-8, without NUL. */
    void (*on_line)(void *arg, enum runtime_stream stream, struct str text);
    void (*on_started)(void *arg); /* the program runs (not: it is healthy); also soon after adopt() when it does */
    void (*on_exit)(void *arg, const struct runtime_exit *how); /* once, after the last line. free() is allowed here */
    void *arg;
};
/* 8 KiB: what is longer is cut, and the line says so (chosen, never measured; test_runtime: cut). */
#define RUNTIME_LINE_MAX 8192
/* Lines beyond that are counted, and a line says how many (chosen, never measured; test_runtime: rate). */
#define RUNTIME_LINES_PER_S 1000
#define RUNTIME_LINES_BURST 5000
#define RUNTIME_LINE_BYTES_PER_S (512 * 1024)
#define RUNTIME_LINE_BYTES_BURST (4 * 1024 * 1024)

/* Of this node, for all instances; borrowed for as long as the runtimes are used. */
struct runtime_host {
    uv_loop_t *loop;
    struct cgroup_host cgroups;
    uid_t uid; /* of the unprivileged user `slipform`: hypervisors, and host programs with run_as slipform */
    gid_t gid;
    const char *qemu_path;      /* NULL: /usr/bin/qemu-system-x86_64 */
    const char *kernel_path;    /* absolute; readable by uid */
    const char *initramfs_path; /* absolute; made by tools/make-initramfs; readable by uid */
    bool kvm;                   /* only when the pre-flight has proved it: runtime_probe */
    bool bare;                  /* no user change, no cgroup, no sandbox: only for comparison by the benchmark */
};

struct runtime_instance; /* one that was started or adopted; each runtime has its own behind it */

struct runtime_ops {
    const char *name; /* qemu, host, null */
    bool is_isolated; /* a microVM */
    bool wants_image; /* facts.image_path */
    bool wants_tap;   /* facts.tap, facts.mac, addresses */
    /* *ret_instance is returned: free(). `events` is copied. OK: it is being started | ERR_INVALID the spec or facts
     * are wrong: starting again is of no use | ERR_NOT_FOUND program or image missing | ERR_UNAVAILABLE | ERR_IO */
    enum err (*start)(const struct runtime_host *host, const struct runtime_facts *facts,
                      const struct runtime_events *events, struct runtime_instance **ret_instance, struct errinfo *err);
    /* Find it again after a restart of the agent. OK | ERR_NOT_FOUND it is gone (or never was) */
    enum err (*adopt)(const struct runtime_host *host, const struct runtime_facts *facts,
                      const struct runtime_events *events, struct runtime_instance **ret_instance, struct errinfo *err);
    /* Ask it to end; after grace_ms it is killed. Calling it again has no effect. */
    void (*stop)(struct runtime_instance *i, int64_t grace_ms);
    /* End its main process (or its microVM) now. Children of a host program go on: its next start may adopt them. */
    void (*kill)(struct runtime_instance *i);
    /* Of its first process on the host; 0: none. */
    pid_t (*pid)(const struct runtime_instance *i);
    bool (*is_accelerated)(const struct runtime_instance *i);
    /* Stop watching; what runs goes on. NULL is fine. */
    void (*free)(struct runtime_instance *i);
    /* After its end, before it is started again: remove sockets and marks. Children of a host program go on. */
    enum err (*clean)(const struct runtime_host *host, const char *state_dir, const char *cgroup, struct errinfo *err);
    /* For good: kill whatever is left in its cgroup, remove cgroup and state folder. Idempotent; needs no instance.
     * OK | ERR_CONFLICT processes are still ending: try again soon | ERR_IO */
    enum err (*destroy)(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                        struct errinfo *err);
};

extern const struct runtime_ops RUNTIME_NULL, RUNTIME_HOST, RUNTIME_QEMU;
/* NULL for a name that is not known. */
const struct runtime_ops *runtime_find(struct str name);

/* Boot a guest without a root file system, see it say hello, and end. What the pre-flight calls before anything is
 * promised: a hypervisor that can be opened need not be one that works. Asynchronous, at most timeout_ms. */
struct runtime_probe_result {
    bool ok;
    bool kvm;             /* as asked */
    char kernel[64];      /* of the guest */
    int64_t boot_ms;      /* from start to hello */
    int64_t memory_bytes; /* that the guest saw */
    char detail[384];     /* for a person: what was seen, or why not */
};
typedef void runtime_probe_fn(void *arg, const struct runtime_probe_result *result);
struct runtime_probe_options {
    const struct runtime_host *host; /* borrowed while the probe lives */
    bool kvm;
    const char *state_dir; /* borrowed for the call, as cgroup; made, and removed again */
    const char *cgroup;    /* made, and removed again; NULL: none */
    int64_t timeout_ms;
    runtime_probe_fn *done;
    void *arg;
};
struct runtime_probe;
/* The guest is nobody's instance: it dies with this process. What a process that was killed left in state_dir and
 * cgroup is removed by runtime_probe_sweep.
 * OK: done will be called once, from the loop, unless it is cancelled before; *ret_probe lives until then. */
must_check enum err runtime_probe(const struct runtime_probe_options *o, struct runtime_probe **ret_probe,
                                  struct errinfo *err);
/* Kill the guest; done is not called any more. NULL is fine. */
void runtime_probe_cancel(struct runtime_probe *p);
/* End and remove what an earlier probe left there; nothing there is fine. OK | ERR_CONFLICT it is still ending | ERR_IO
 */
must_check enum err runtime_probe_sweep(const struct runtime_host *host, const char *state_dir, const char *cgroup,
                                        struct errinfo *err);
