#pragma once
/* gateway/runner/runner.h - the runner of an installation: asks node-agents to start and delete instances, by the same
 * API that an operator uses. Idempotent by instance id. Layer: gateway (wire, net). Blocks. */
#include "base/err.h"
#include "wire/instance.h"

/* A node-agent and who asks it. All borrowed. */
struct runner {
    const char *agent_url; /* "https://[…]:7610" */
    const char *peer_uri;  /* slipform://<installation>/node/<name>: anybody else is refused */
    const char *ca_file, *cert_file, *key_file;
};

/* OK accepted (or it had it already) | ERR_UNAVAILABLE not now | ERR_INVALID, ERR_DENIED by the agent */
must_check enum err runner_start(const struct runner *r, const struct instance_spec *spec, struct errinfo *err);
/* *ret texts live in the arena. */
must_check enum err runner_get(const struct runner *r, struct id instance_id, struct arena *a,
                               struct instance_resource *ret, struct errinfo *err);
must_check enum err runner_is_well(const struct runner *r, struct errinfo *err);
