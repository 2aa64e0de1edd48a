#pragma once
/* wire/instance.h - an instance: what a node-agent must run, and what it sees
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md */
#include "event/catalogue.h"
#include "wire/explanation.h"

extern const struct field_table RESOURCES_WIRE;

extern const struct field_table HEALTH_CHECK_WIRE;

extern const struct field_table IMAGE_CONFIG_WIRE;

/* What a node-agent is asked to run: POST /v1/instances of the agent, and `spec` of the management API. Idempotent by
 * id. */
struct instance_spec {
    struct id instance_id;    /* fixed by the log */
    struct id process_id;     /* process that it runs */
    struct id deployment_id;  /* set for a deployment of a project */
    struct id project_id;     /* likewise */
    struct str name;          /* process name: the program, or the project slug */
    struct str owner;         /* bootstrap, or the name of an installation */
    struct str runtime;       /* firecracker, qemu, oci, host, null; empty: the best that the pre-flight proved */
    struct str restart;       /* always (also empty) or never */
    struct str desired;       /* running (also empty), draining (goes on running, takes no new work), stopped */
    struct str artifact_url;  /* file:<program> in the program folder of the agent */
    struct id image_id;       /* image to fetch: GET /v1/images/{id}/download */
    struct str image_digest;  /* sha256:… of its root file system */
    int64_t image_size_bytes; /* of its root file system */
    struct image_config image_config; /* how its program is started */
    struct str address;               /* IPv6 of the microVM, without prefix length */
    int64_t port;                     /* that it listens on; 0: none to check */
    struct strs workloads;            /* for host programs: * or names */
    struct strs env;                  /* NAME=value beside what the platform sets */
    struct strs secret_names;         /* of its secret environment: GET /v1/instances/{id}/secrets before each start */
    struct str config;          /* settings of a host program; the agent writes them as its YAML file (JSON is YAML) */
    struct str run_as;          /* host runtime: root (default) or slipform, the unprivileged user */
    struct strs capabilities;   /* host runtime: kept as ambient, e.g. NET_ADMIN */
    struct resources resources; /* limits; 0 members: defaults */
    struct health_check health; /* how health is checked */
    int64_t stop_grace_seconds; /* between SIGTERM and SIGKILL; 0: 10 */
    struct str project;         /* slug, for SLIPFORM_PROJECT */
    struct str region;          /* for SLIPFORM_REGION */
    struct str zone;            /* for SLIPFORM_ZONE */
};
extern const struct field_table INSTANCE_SPEC_WIRE;

/* Last seen by the agent; never an event. */
struct instance_statistics {
    int64_t pid;            /* of its first process on the host */
    int64_t restarts;       /* in place, so far */
    int64_t memory_bytes;   /* resident */
    int64_t cpu_ms;         /* used since its start */
    bool accelerated;       /* by KVM */
    struct str runtime;     /* that really runs it */
    struct str metrics_url; /* of a host program */
    int64_t boot_ms;        /* from start to the first healthy check */
};
extern const struct field_table INSTANCE_STATISTICS_WIRE;

/* PUT /v1/instances/{id}/state: `desired` by an operator, or `observed` and the rest by the node that it is placed on.
 */
struct instance_state {
    struct str desired;                    /* running, stopped */
    struct str observed;                   /* starting, running, draining, stopped, failed */
    struct str health;                     /* NOMINAL, WARNING, ERROR, STALL, TIMEOUT, EXIT */
    struct str cause;                      /* why, for a person */
    struct str boot_id;                    /* of the host, from its kernel, and of the agent state */
    int64_t report_seq;                    /* rises within a boot id */
    struct instance_statistics statistics; /* last seen */
};
extern const struct field_table INSTANCE_STATE_WIRE;

/* One line of an instance history. */
struct instance_event {
    struct event_time time; /* of the event */
    struct str status;      /* after it */
    struct str health;      /* after it */
    struct str cause;       /* why */
};
extern const struct field_table INSTANCE_EVENT_WIRE;

/* GET /v1/instances and /v1/instances/{id}, of the management API and of the agent. */
struct instance_resource {
    struct id instance_id;                 /* instance */
    struct id deployment_id;               /* deployment */
    struct str project;                    /* slug */
    struct id node_id;                     /* where */
    struct str node;                       /* name of the node */
    struct str zone;                       /* of the node */
    struct str region;                     /* of the node */
    struct str owner;                      /* owner */
    struct str desired;                    /* running, draining, stopped */
    struct str status;                     /* enum instance_status, as text */
    struct str health;                     /* NOMINAL, … */
    struct str cause;                      /* why */
    struct str since;                      /* RFC 3339, of the status */
    struct str ipv6;                       /* its address */
    int64_t port;                          /* that it listens on */
    struct instance_spec spec;             /* what the agent is asked for */
    struct instance_statistics statistics; /* last seen */
    struct objects history;                /* of struct instance_event: newest last, at most 32 */
    struct str because;                    /* what its placement was decided from */
    struct explanation_text explanation;   /* of one instance: why it is where it is */
};
extern const struct field_table INSTANCE_RESOURCE_WIRE;
