#pragma once
/* wire/node.h - a node: how it joins, what it reports, how it is listed
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md */
#include "wire/explanation.h"
#include "wire/instance.h"
#include "wire/umbilical.h"

/* POST /v1/nodes by the node-agent at its start (idempotent by id). */
struct node_join {
    struct id node_id;    /* given by the installer */
    struct str name;      /* unique in the installation */
    struct str zone;      /* name of its zone */
    struct str region;    /* name of its region */
    struct strs labels;   /* control, worker */
    struct str prefix;    /* the /64 of its microVMs; empty: none */
    struct str agent_url; /* of its API */
};
extern const struct field_table NODE_JOIN_WIRE;

/* One row of the pre-flight. */
struct preflight_check {
    struct str check;  /* name, e.g. kvm, qemu, probe-guest, cgroup, nft */
    bool ok;           /* passed */
    struct str detail; /* what was seen */
    struct str hint;   /* what to do */
};
extern const struct field_table PREFLIGHT_CHECK_WIRE;

/* One instance in a heartbeat. */
struct instance_report {
    struct id instance_id;                 /* instance */
    struct str status;                     /* observed */
    struct str health;                     /* observed */
    struct instance_statistics statistics; /* last seen */
    struct umbilical umbilical;            /* what its program says; empty: nothing so far */
};
extern const struct field_table INSTANCE_REPORT_WIRE;

/* PUT /v1/nodes/{id}/status by its agent every few seconds: the heartbeat. */
struct node_report {
    struct str boot_id;        /* of the host and the agent state */
    int64_t report_seq;        /* rises within a boot id */
    struct str status;         /* ready, or joining while the pre-flight runs */
    struct str cause;          /* why not ready */
    struct resources capacity; /* offered to instances */
    struct resources used;     /* reserved by instances */
    struct strs runtimes;      /* proved by the pre-flight, best first */
    struct objects preflight;  /* of struct preflight_check: rows */
    struct str cursor;         /* of the desired state that it has applied */
    struct objects instances;  /* of struct instance_report: what runs there */
};
extern const struct field_table NODE_REPORT_WIRE;

/* GET /v1/nodes: also `slipform nodes --json`. */
struct node_resource {
    struct id node_id;                   /* node */
    struct str name;                     /* name */
    struct str zone;                     /* zone */
    struct str region;                   /* region */
    struct str status;                   /* joining, ready, draining, gone, lost */
    struct str cause;                    /* why */
    struct strs labels;                  /* labels */
    struct str prefix;                   /* /64 */
    struct str agent_url;                /* its API */
    struct resources capacity;           /* offered */
    struct resources used;               /* reserved */
    struct strs runtimes;                /* proved, best first */
    struct objects preflight;            /* of struct preflight_check: rows */
    struct str last_seen;                /* RFC 3339, of its last heartbeat */
    struct explanation_text explanation; /* of one node: why it is where it is */
};
extern const struct field_table NODE_RESOURCE_WIRE;
