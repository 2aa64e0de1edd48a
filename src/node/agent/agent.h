#pragma once
/* node/agent/agent.h - the node-agent: keeps what a node should run running, and tells the control plane.
 * Layer: node (uses wire, net, os). Thread: loop. One per host, the only root program. Files:
 * docs/formats/node-agent.md
 *
 * What should run comes by POST /v1/instances (owner `bootstrap`) and by following the management API (owner: the
 * installation). converge/ decides, this carries out: image, tap, start, checks, stop. All of it is on disk, so a
 * restart asks nobody: what still runs is adopted, what should run and doesn't is started. */
#include "base/log.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "os/netlink.h"
#include "wire/node.h"

/* Everything is borrowed for as long as the agent lives. */
struct agent_options {
    uv_loop_t *loop;
    const struct logger *log;
    struct http_client *client;
    const char *installation;
    struct id node_id;
    const char *node_name, *zone, *region;
    const char *const *labels;
    size_t labels_n;
    const char *prefix; /* "" or NULL: no microVMs here */
    const char *agent_url;
    const char *home, *program_folder;
    const char *kernel_path, *initramfs_path, *qemu_path;
    const char *const *listen;
    size_t listen_n;
    const char *const *management_apis; /* "https://host:port"; may be none yet */
    size_t management_apis_n;
    const char *ca_file, *cert_file, *key_file;
    const char *fabric_interface, *os_tag;
    const char *const *denied; /* networks that guests must not reach beside the private ones */
    size_t denied_n;
    int64_t proxy_port, route_table;
    const char *const *resolvers; /* upstreams; none: those of /etc/resolv.conf */
    size_t resolvers_n;
    const char *const *runtimes; /* allowed ones; none: all that are proved */
    size_t runtimes_n;
    struct resources capacity; /* members that are not 0 replace what was found */
    const char *run_as_user;   /* the unprivileged user */
    bool stop_all;             /* stop everything, take OS objects away, end */
    bool probe;                /* only the pre-flight, then on_probed */
    void (*on_probed)(void *ctx, struct objects rows, struct strs runtimes);
    /* Called once: after --stop-all, or when the agent cannot go on. */
    void (*on_end)(void *ctx, enum err rc, const struct errinfo *err);
    void (*on_ready)(void *ctx);
    void (*on_request)(void *ctx, const struct http_exchange *x);
    void *ctx;
};

struct agent;
/* Takes the lock of its home, adopts, listens. *ret_agent is returned, also when it fails: agent_stop, agent_free.
 * OK | ERR_CONFLICT another agent has this home | ERR_INVALID settings | ERR_IO */
must_check enum err agent_start(const struct agent_options *o, struct agent **ret_agent, struct errinfo *err);
/* Stop the agent, not what it runs. on_stopped is called when every handle is closed. */
void agent_stop(struct agent *a, void (*on_stopped)(void *ctx), void *ctx);
void agent_free(struct agent *a);
/* Somebody says that what should run here may be something else: ask now, unless an answer is under way. */
void agent_hint(struct agent *a);
/* For metrics. */
size_t agent_instances_n(const struct agent *a);
