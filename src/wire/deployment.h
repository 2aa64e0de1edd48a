#pragma once
/* wire/deployment.h - projects and deployments of the public API
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md */
#include "wire/explanation.h"
#include "wire/instance.h"

/* POST /v1/projects. */
struct project_create {
    struct str name; /* for people; its slug is made from it */
};
extern const struct field_table PROJECT_CREATE_WIRE;

/* How many instances every deployment of a project may have. max 0: no rule. Nothing measures the metric yet. */
struct scaling_document {
    struct str metric;         /* cpu, requests */
    int64_t min, max;          /* instances */
    int64_t target_percent;    /* of the metric, an instance */
    int64_t cool_down_seconds; /* between two changes */
};
extern const struct field_table SCALING_WIRE;

/* PATCH /v1/projects/{id}. What is absent stays as it is. */
struct project_patch {
    struct str name, repository, branch;
    int64_t instances;           /* of the live deployment from now on, and of deployments that do not say */
    int64_t drain_seconds, port; /* of deployments that do not say */
    struct resources resources;
    struct scaling_document scaling;
    struct strs cleared; /* repository, branch, instancesWanted, drainSeconds, port, resources: back to the default */
};
extern const struct field_table PROJECT_PATCH_WIRE;

/* GET /v1/projects: also `slipform projects --json`. */
struct project_resource {
    struct id project_id;         /* project */
    struct str name;              /* for people */
    struct str slug;              /* host label */
    struct str url;               /* https://… */
    struct strs hosts;            /* names that it answers to */
    struct id live_deployment_id; /* that serves */
    struct str repository;        /* whose pushes are deployed */
    struct str branch;            /* of it */
    int64_t instances; /* of deployments that do not say; 0: the installation's default, like all that follow */
    int64_t drain_seconds, port;
    struct resources resources;
    int64_t instances_wanted;        /* of the live deployment; 0: nothing is live */
    struct scaling_document scaling; /* max 0: no rule */
};
extern const struct field_table PROJECT_RESOURCE_WIRE;

/* POST /v1/deployments (JSON; or application/x-tar with these members but context_digest as query parameters). */
struct deployment_order {
    struct id project_id;       /* project */
    struct str context_digest;  /* of an uploaded context */
    struct id image_id;         /* run this image */
    int64_t instances;          /* at least; 0: 3 */
    int64_t drain_seconds;      /* -1: default 300 */
    int64_t port;               /* 0: 8080 */
    struct str runtime;         /* empty: the best that is proved */
    struct resources resources; /* of each instance */
    struct health_check health; /* how health is checked */
};
extern const struct field_table DEPLOYMENT_CREATE_WIRE;

/* GET /v1/deployments/{id}: also `slipform status ID --json`. */
struct deployment_resource {
    struct id deployment_id;             /* deployment */
    struct id project_id;                /* project */
    struct str project;                  /* slug */
    struct str status;                   /* queued … cancelled */
    struct str cause;                    /* why */
    struct str url;                      /* https://… when it has been live */
    struct str host;                     /* first host */
    struct id image_id;                  /* image */
    struct id builder_instance_id;       /* whose log is the build log */
    int64_t instances_wanted;            /* at least */
    int64_t instances_healthy;           /* now */
    int64_t drain_seconds;               /* of the old ones after the switch */
    struct str created;                  /* RFC 3339 */
    struct str since;                    /* RFC 3339, of the status */
    struct str because;                  /* what it waits for, or was decided from */
    struct explanation_text explanation; /* of one deployment: why it is where it is */
};
extern const struct field_table DEPLOYMENT_RESOURCE_WIRE;

/* A line of GET …/logs (NDJSON) and of POST /v1/instances/{id}/logs. */
struct log_line {
    struct str time;       /* RFC 3339 */
    struct id instance_id; /* instance */
    struct str stream;     /* stdout, stderr, console, build */
    struct str text;       /* without its newline */
    int64_t seq;           /* rises per instance; a repeated one is ignored */
};
extern const struct field_table LOG_LINE_WIRE;

/* RFC 9457, on the wire and on stderr with --json. */
struct problem {
    struct str type;   /* about:blank */
    struct str title;  /* for people */
    int64_t status;    /* HTTP status */
    struct str detail; /* what happened, to what, what to do */
    struct str code;   /* stable: err_name() */
};
extern const struct field_table PROBLEM_WIRE;
