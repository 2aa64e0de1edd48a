#pragma once
/* edge/envoy/process.h - keep one Envoy running. Layer: edge. Thread: loop.
 *
 * Happy path: nothing of ours runs, so it is started in a session of its own; its pid and the instant of its start go
 * to <run_dir>/envoy.json; when we die it goes on; when we come back with the same bootstrap it is adopted. It is
 * started again when it dies (0.1 s, doubled to 10 s, from the start after 10 s of life). With another bootstrap or
 * binary the old one is ended and a new one started. envoy_stop ends it: listeners drained, then SIGTERM, then SIGKILL.
 */
#include <uv.h>

#include "base/err.h"
#include "base/log.h"

struct envoy;

struct envoy_options {
    uv_loop_t *loop;
    const struct logger *log; /* starts, ends */
    const char *binary;       /* of Envoy */
    const char *run_dir;      /* exists; absolute and short (socket paths have 107 bytes at most) */
    const char *bootstrap;    /* JSON text; written to <run_dir>/bootstrap.json */
    int64_t concurrency;      /* worker threads */
    /* It became (or is no longer) live: its admin interface says so. May be NULL. */
    void (*on_live)(void *ctx, bool is_live);
    void *ctx;
};

/* <run_dir>/admin.sock, <run_dir>/xds.sock as the bootstraps name them. Returned: free(). */
char *envoy_admin_path(const char *run_dir);
char *envoy_xds_path(const char *run_dir);

/* Adopt or start. All texts are copied. Returned: envoy_stop or envoy_leave.
 * OK also when the start fails for now (it is tried again, logged) | ERR_INVALID paths | ERR_IO files */
must_check enum err envoy_open(const struct envoy_options *o, struct envoy **ret_envoy, struct errinfo *err);
bool envoy_is_live(const struct envoy *e);
bool envoy_was_adopted(const struct envoy *e);
/* Starts after the first, adoptions not counted. */
uint64_t envoy_restarts(const struct envoy *e);
pid_t envoy_pid(const struct envoy *e); /* 0: not running */
/* End it gracefully within grace_ms, then free; on_stopped once everything is closed. */
void envoy_stop(struct envoy *e, unsigned grace_ms, void (*on_stopped)(void *ctx), void *ctx);
