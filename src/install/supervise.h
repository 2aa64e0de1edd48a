#pragma once
/* install/supervise.h - keeps the node-agents of this machine alive where PID 1 is not systemd. Layer: install.
 *
 * Happy path: one process per installation; it starts a node-agent per host of the inventory, each in its network
 * namespace, writes who runs where to <home>/run/supervise.json, and starts one again when it ends (1 s later, doubling
 * to 30 s). A service that may not be started yet is waited for, and that is no restart. SIGTERM: it ends the agents
 * (which leave their instances running) and itself. It was killed: the agents go on, the next one finds them in
 * supervise.json and adopts them. Services (install/services.h) are kept alive in the same way; stores among them
 * outlive the supervisor. */
#include "install/installation.h"

/* Run in this process until SIGTERM. OK | ERR_CONFLICT another one runs | ERR_IO */
must_check enum err supervise_run(const struct home *h, struct errinfo *err);
/* Start one in the background, `exe` being the path of slipform, and wait until it has its lock. OK also when one runs.
 */
must_check enum err supervise_start(const struct home *h, const char *exe, struct errinfo *err);
/* End it and the agents, and wait for them. OK also when none runs. */
must_check enum err supervise_stop(const struct home *h, struct errinfo *err);
bool supervise_is_running(const struct home *h);

struct supervised {
    struct str name; /* node, or "store:" and a service */
    int64_t pid, start_ticks, restarts;
};
struct supervise_state {
    int64_t pid;
    struct objects agents; /* of struct supervised */
};
/* The service's name; empty: it is a node-agent. */
struct str supervised_service(const struct supervised *s);
const struct supervised *supervise_find_service(const struct supervise_state *state, const char *name); /* NULL */
/* After supervise_stop, which leaves stores running for the programs that write to them, once those have ended: the one
 * that was started last goes first. OK also when none runs. */
must_check enum err supervise_stop_services(const struct home *h, struct errinfo *err);
struct service;
/* End that one, which the supervisor may start again. *ret_has_run: there was something to end. OK also when not. */
must_check enum err supervise_stop_service(const struct home *h, const struct service *service, bool *ret_has_run,
                                           struct errinfo *err);
/* What supervise.json says, without the pids that are not theirs any more; all zero when there is none. Texts in the
 * arena. */
void supervise_state_read(const struct home *h, struct arena *a, struct supervise_state *ret);
