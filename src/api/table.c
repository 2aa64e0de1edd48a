/* The one table of routes. Documentation, authentication, limits and routing all come from a row. */
#include "api/handlers.h"
#include "api/parts.h"
#include "api/upload.h"
#include "wire/owned.h"

#define ANYBODY CALLER_ANYBODY
#define OPERATOR CALLER_OPERATOR
#define NODE CALLER_NODE
#define EDGE CALLER_EDGE
#define BUILDER CALLER_BUILDER
#define CONTROL CALLER_CONTROL
#define LIST (ROUTE_LIST | ROUTE_FEED)
#define PAGING "cursor wait limit after"
/* A batch of log lines (chosen). */
#define REPORT_SIZE_MAX ((uint64_t)1024 * 1024)
/* A heartbeat of a node with 1,000 instances, each with a report of 3 KiB from its program (chosen). */
#define HEARTBEAT_SIZE_MAX ((uint64_t)4 * 1024 * 1024)
/* A batch of events, whose payloads are at most 1 MiB, and what JSON adds to each (chosen). */
#define APPEND_SIZE_MAX ((uint64_t)2 * 1024 * 1024)

/* GET of a list that can be followed. */
#define FEED(face_, pattern_, fn, who, table, query_, doc_)                                                            \
    {                                                                                                                  \
        face_,                                                                                                         \
        {                                                                                                              \
            .method = "GET", .pattern = pattern_, .handle = fn, .callers = who, .flags = LIST, .answer = &(table),     \
            .status = 200, .query = query_, .doc = doc_                                                                \
        }                                                                                                              \
    }
#define GET(face_, pattern_, fn, who, table, query_, doc_)                                                             \
    {                                                                                                                  \
        face_,                                                                                                         \
        {                                                                                                              \
            .method = "GET", .pattern = pattern_, .handle = fn, .callers = who, .answer = table, .status = 200,        \
            .query = query_, .doc = doc_                                                                               \
        }                                                                                                              \
    }
/* A write with a JSON body, or with none (NULL). */
#define WRITE(face_, method_, pattern_, fn, who, body, table, status_, doc_)                                           \
    {                                                                                                                  \
        face_,                                                                                                         \
        {                                                                                                              \
            .method = method_, .pattern = pattern_, .handle = fn, .callers = who, .request = body, .answer = table,    \
            .status = status_, .doc = doc_                                                                             \
        }                                                                                                              \
    }
#define LATER(face_, method_, pattern_, doc_)                                                                          \
    {                                                                                                                  \
        face_,                                                                                                         \
        {                                                                                                              \
            .method = method_, .pattern = pattern_, .handle = not_in_this_version, .callers = ANYBODY,                 \
            .flags = ROUTE_EARLY, .status = 501, .doc = doc_                                                           \
        }                                                                                                              \
    }

/* clang-format off */
const struct api_table_row API_TABLE[] = {
    /* ---- instances ---- */
    FEED(FACE_MANAGEMENT, "/v1/instances", instances_list, OPERATOR | NODE | CONTROL, INSTANCE_RESOURCE_WIRE,
         "node_id deployment_id project_id status " PAGING, "instances; how a node-agent follows what it must run"),
    WRITE(FACE_MANAGEMENT, "POST", "/v1/instances", instances_create, OPERATOR, &INSTANCE_ORDER_WIRE,
          &INSTANCE_RESOURCE_WIRE, 201, "one more instance of a process"),
    GET(FACE_MANAGEMENT, "/v1/instances/{id}", instance_get, OPERATOR | NODE | CONTROL, &INSTANCE_RESOURCE_WIRE, NULL,
        "an instance with its history and last statistics"),
    WRITE(FACE_MANAGEMENT, "DELETE", "/v1/instances/{id}", instance_delete, OPERATOR, NULL, NULL, 202,
          "it drains, stops, and goes"),
    {FACE_MANAGEMENT, {.method = "PUT", .pattern = "/v1/instances/{id}/state", .handle = instance_put_state,
                       .callers = OPERATOR | NODE, .request = &INSTANCE_STATE_WIRE, .status = 200,
                       .doc = "'desired' by an operator, 'observed' by the node that it is placed on"}},
    GET(FACE_MANAGEMENT, "/v1/instances/{id}/secrets", instance_secrets, NODE, &SECRETS_WIRE, NULL,
        "what only the node of the instance may have: secret environment, identity of a builder"),
    {FACE_MANAGEMENT, {.method = "POST", .pattern = "/v1/instances/{id}/logs", .handle = instance_post_logs,
                       .callers = NODE, .body_limit_bytes = REPORT_SIZE_MAX, .answer = &LOG_SEQ_WIRE, .status = 200,
                       .doc = "NDJSON lines of the instance; a repeated seq is ignored"}},
    {FACE_MANAGEMENT, {.method = "GET", .pattern = "/v1/instances/{id}/logs", .handle = instance_logs_get,
                       .callers = OPERATOR | CONTROL, .flags = ROUTE_LINES, .answer = &LOG_LINE_WIRE, .status = 200,
                       .query = "follow format", .doc = "its lines, NDJSON or SSE"}},
    /* ---- images ---- */
    FEED(FACE_MANAGEMENT, "/v1/images", images_list, OPERATOR | CONTROL, IMAGE_RESOURCE_WIRE, "project_id " PAGING,
         "images"),
    {FACE_MANAGEMENT, {.method = "POST", .pattern = "/v1/images", .handle = images_create,
                       .on_headers = images_on_headers, .callers = OPERATOR, .body_limit_bytes = CONTEXT_SIZE_MAX,
                       .request = &IMAGE_ORDER_WIRE, .answer = &IMAGE_RESOURCE_WIRE, .status = 201,
                       .doc = "build a context: its digest, or itself as application/x-tar; the same again: 200"}},
    GET(FACE_MANAGEMENT, "/v1/images/{id}", image_get, OPERATOR | NODE | BUILDER | CONTROL, &IMAGE_RESOURCE_WIRE, NULL,
        "an image"),
    WRITE(FACE_MANAGEMENT, "DELETE", "/v1/images/{id}", image_delete, OPERATOR, NULL, NULL, 202,
          "an image that nothing uses"),
    {FACE_MANAGEMENT, {.method = "PUT", .pattern = "/v1/images/{id}/status", .handle = image_put_status,
                       .callers = BUILDER | OPERATOR, .request = &IMAGE_STATE_WIRE, .status = 200,
                       .doc = "by its builder: building, ready (digest), failed (cause)"}},
    {FACE_MANAGEMENT, {.method = "GET", .pattern = "/v1/images/{id}/download", .handle = image_download,
                       .callers = NODE | OPERATOR, .status = 200, .flags = ROUTE_BYTES | ROUTE_FIXED,
                       .doc = "its root file system; ranges, ETag"}},
    {FACE_MANAGEMENT, {.method = "GET", .pattern = "/v1/images/{id}/logs", .handle = image_logs_get,
                       .callers = OPERATOR | CONTROL, .flags = ROUTE_LINES, .answer = &LOG_LINE_WIRE, .status = 200,
                       .query = "follow format", .doc = "the lines of its build, NDJSON or SSE"}},
    /* ---- places ---- */
    FEED(FACE_MANAGEMENT, "/v1/regions", regions_list, OPERATOR | NODE | CONTROL, REGION_WIRE, PAGING, "regions"),
    WRITE(FACE_MANAGEMENT, "POST", "/v1/regions", regions_create, OPERATOR, &REGION_WIRE, &REGION_WIRE, 201,
          "a new region"),
    FEED(FACE_MANAGEMENT, "/v1/zones", zones_list, OPERATOR | NODE | CONTROL, ZONE_WIRE, PAGING, "zones of regions"),
    WRITE(FACE_MANAGEMENT, "POST", "/v1/zones", zones_create, OPERATOR, &ZONE_WIRE, &ZONE_WIRE, 201, "a new zone"),
    FEED(FACE_MANAGEMENT, "/v1/nodes", nodes_list, OPERATOR | CONTROL, NODE_RESOURCE_WIRE, PAGING,
         "nodes with their pre-flight, capacity and last sign of life"),
    WRITE(FACE_MANAGEMENT, "POST", "/v1/nodes", nodes_join, NODE | OPERATOR, &NODE_JOIN_WIRE, &NODE_RESOURCE_WIRE, 201,
          "a node introduces itself; again with the same data: 200"),
    GET(FACE_MANAGEMENT, "/v1/nodes/{id}", node_get, OPERATOR | CONTROL, &NODE_RESOURCE_WIRE, NULL, "a node"),
    {FACE_MANAGEMENT, {.method = "PUT", .pattern = "/v1/nodes/{id}/status", .handle = node_put_status, .callers = NODE,
                       .flags = ROUTE_HEARD,
                       .body_limit_bytes = HEARTBEAT_SIZE_MAX, .request = &NODE_REPORT_WIRE, .status = 200,
                       .doc = "heartbeat of the node with what runs there"}},
    WRITE(FACE_MANAGEMENT, "DELETE", "/v1/nodes/{id}", node_leave, OPERATOR, NULL, &NODE_RESOURCE_WIRE, 202,
          "a node that has drained leaves; it may join again"),
    WRITE(FACE_MANAGEMENT, "POST", "/v1/nodes/{id}/drain", node_drain, OPERATOR, NULL, &NODE_RESOURCE_WIRE, 202,
          "what it runs is placed elsewhere first, then goes; nothing new is placed there"),
    WRITE(FACE_MANAGEMENT, "DELETE", "/v1/nodes/{id}/drain", node_undrain, OPERATOR, NULL, &NODE_RESOURCE_WIRE, 202,
          "the drain is taken back"),
    GET(FACE_MANAGEMENT, "/v1/replica", replica_get, OPERATOR, &REPLICA_WIRE, NULL,
        "how the replica that answers is: its log, store, notifier, leases, votes, edges"),
    /* ---- what edges follow ---- */
    FEED(FACE_MANAGEMENT, "/v1/routes", routes_list, EDGE | OPERATOR | CONTROL, ROUTE_WIRE, "confirmed " PAGING,
         "hosts, deployments, endpoints; `confirmed` is the cursor that the edge's Envoy has acknowledged"),
    {FACE_MANAGEMENT, {.method = "GET", .pattern = "/v1/certificates/{id}", .handle = certificate_get, .callers = EDGE,
                       .flags = ROUTE_FIXED, .answer = &CERTIFICATE_WIRE, .status = 200,
                       .doc = "chain and key of one host"}},
    /* ---- the log ---- */
    {FACE_MANAGEMENT, {.method = "GET", .pattern = "/v1/events", .handle = events_get, .callers = OPERATOR | CONTROL,
                       .flags = ROUTE_LIST, .answer = &EVENT_WIRE, .status = 200, .query = "log after limit follow",
                       .doc = "events behind `after` of `log` (platform, statistics): a page, or a stream (SSE with Last-Event-ID, or follow=true)"}},
    FEED(FACE_MANAGEMENT, "/v1/applications", applications_list, OPERATOR, APPLICATION_RESOURCE_WIRE, PAGING,
         "event-sourced applications, each version"),
    GET(FACE_MANAGEMENT, "/v1/applications/{name}/{version}", application_get, OPERATOR, &APPLICATION_RESOURCE_WIRE,
        NULL, "an application at a version"),
    {FACE_MANAGEMENT, {.method = "PUT", .pattern = "/v1/applications/{name}/{version}", .handle = application_put,
                       .callers = OPERATOR, .body_limit_bytes = REPORT_SIZE_MAX, .request = &APPLICATION_WIRE,
                       .answer = &APPLICATION_RESOURCE_WIRE, .status = 201,
                       .doc = "put an application: the same again is 200, the same version with other content 409"}},
    WRITE(FACE_MANAGEMENT, "DELETE", "/v1/applications/{name}/{version}", application_delete, OPERATOR, NULL, NULL, 202,
          "its instances drain and go; its streams stay"),
    GET(FACE_MANAGEMENT, "/v1/processes/{id}", process_get, OPERATOR, &APPLICATION_RESOURCE_WIRE, NULL,
        "the application whose process it is"),
    GET(FACE_MANAGEMENT, "/v1/processes/{id}/timeline", process_timeline_get, OPERATOR, &TIMELINE_WIRE, NULL,
        "what happened to a process and its instances, with causes, and how far each of them is"),
    {FACE_MANAGEMENT, {.method = "GET", .pattern = "/v1/logs/{id}/events", .handle = log_events_get,
                       .callers = OPERATOR | NODE, .flags = ROUTE_LIST, .answer = &LOG_RECORD_WIRE, .status = 200,
                       .query = "after limit wait",
                       .doc = "records of an application's log; wait: seconds for which none are waited for; a node names its instance in Slipform-Instance"}},
    {FACE_MANAGEMENT, {.method = "POST", .pattern = "/v1/logs/{id}/events", .handle = log_events_post,
                       .callers = OPERATOR | NODE, .body_limit_bytes = APPEND_SIZE_MAX, .request = &LOG_APPEND_WIRE,
                       .answer = &LOG_RECORD_WIRE, .flags = ROUTE_LIST, .status = 201,
                       .doc = "append if the log still ends where the caller has read to, else 409 with the news"}},
    /* ---- projects ---- */
    FEED(FACE_PUBLIC, "/v1/projects", projects_list, OPERATOR, PROJECT_RESOURCE_WIRE, PAGING, "projects"),
    WRITE(FACE_PUBLIC, "POST", "/v1/projects", projects_create, OPERATOR, &PROJECT_CREATE_WIRE, &PROJECT_RESOURCE_WIRE,
          201, "a new project; its slug and host are made from its name"),
    GET(FACE_PUBLIC, "/v1/projects/{id}", project_get, OPERATOR, &PROJECT_RESOURCE_WIRE, NULL,
        "a project, by id or slug"),
    WRITE(FACE_PUBLIC, "PATCH", "/v1/projects/{id}", project_patch, OPERATOR, &PROJECT_PATCH_WIRE,
          &PROJECT_RESOURCE_WIRE, 200, "instances of what is live, and what deployments get that do not say themselves; If-Match: its ETag"),
    WRITE(FACE_PUBLIC, "DELETE", "/v1/projects/{id}", project_delete, OPERATOR, NULL, NULL, 202,
          "its deployments go, its slug is free again"),
    FEED(FACE_PUBLIC, "/v1/projects/{id}/domains", domains_list, OPERATOR, DOMAIN_RESOURCE_WIRE, PAGING,
         "host names of its own, and what has to stand in DNS for each"),
    WRITE(FACE_PUBLIC, "POST", "/v1/projects/{id}/domains", domains_create, OPERATOR, &DOMAIN_CREATE_WIRE,
          &DOMAIN_RESOURCE_WIRE, 201, "one more; the same again: 200"),
    GET(FACE_PUBLIC, "/v1/projects/{id}/domains/{host}", domain_get, OPERATOR, &DOMAIN_RESOURCE_WIRE, NULL,
        "a domain of the project"),
    WRITE(FACE_PUBLIC, "DELETE", "/v1/projects/{id}/domains/{host}", domain_delete, OPERATOR, NULL, NULL, 202,
          "edges forget it, others may have it"),
    WRITE(FACE_PUBLIC, "PUT", "/v1/projects/{id}/domains/{host}/verified", domain_put_verified, OPERATOR, NULL,
          &DOMAIN_RESOURCE_WIRE, 200, "an operator vouches for it: it is served without a look at its records"),
    FEED(FACE_PUBLIC, "/v1/projects/{id}/secrets", secrets_list, OPERATOR, SECRET_RESOURCE_WIRE, PAGING,
         "names of its secrets, and when each was set; never their values"),
    WRITE(FACE_PUBLIC, "PUT", "/v1/projects/{id}/secrets/{name}", secret_put, OPERATOR, &SECRET_VALUE_WIRE,
          &SECRET_RESOURCE_WIRE, 200, "an environment variable of the next deployment; its first value: 201"),
    WRITE(FACE_PUBLIC, "DELETE", "/v1/projects/{id}/secrets/{name}", secret_delete, OPERATOR, NULL, NULL, 202,
          "instances that start from now on do not get it"),
    /* ---- deployments ---- */
    FEED(FACE_PUBLIC, "/v1/deployments", deployments_list, OPERATOR, DEPLOYMENT_RESOURCE_WIRE,
         "project_id status " PAGING, "deployments"),
    {FACE_PUBLIC, {.method = "POST", .pattern = "/v1/deployments", .handle = deployments_create,
                   .on_headers = deployments_on_headers, .callers = OPERATOR, .body_limit_bytes = CONTEXT_SIZE_MAX,
                   .request = &DEPLOYMENT_CREATE_WIRE, .answer = &DEPLOYMENT_RESOURCE_WIRE, .status = 201,
                   .query = "project_id instances drain_seconds port runtime vcpus memory_bytes disk_bytes health_path "
                            "health_interval_seconds health_timeout_seconds health_start_timeout_seconds",
                   .doc = "JSON, or the build context itself as application/x-tar with the members as query parameters"}},
    GET(FACE_PUBLIC, "/v1/deployments/{id}", deployment_get, OPERATOR, &DEPLOYMENT_RESOURCE_WIRE, NULL,
        "a deployment"),
    {FACE_PUBLIC, {.method = "GET", .pattern = "/v1/deployments/{id}/logs", .handle = deployment_logs_get,
                   .callers = OPERATOR, .flags = ROUTE_LINES, .answer = &LOG_LINE_WIRE, .status = 200,
                   .query = "follow source format", .doc = "lines of its build and its instances, NDJSON or SSE"}},
    WRITE(FACE_PUBLIC, "PUT", "/v1/deployments/{id}/status", deployment_put_status, OPERATOR, &STATUS_WIRE,
          &DEPLOYMENT_RESOURCE_WIRE, 200, "cancelled, stopped, or live: a new deployment like this one (201)"),
    /* ---- accounts come later ---- */
    {FACE_PUBLIC, {.method = "POST", .pattern = "/v1/waitlist", .handle = waitlist_join, .callers = ANYBODY,
                   .body_limit_bytes = 1024, .request = &WAITLIST_JOIN_WIRE, .answer = &EMPTY_WIRE, .status = 202,
                   .doc = "a place in the waitlist; the answer is the same whether there was one already"}},
    FEED(FACE_PUBLIC, "/v1/waitlist", waitlist_list, OPERATOR, WAITLIST_PLACE_WIRE, PAGING, "who waits, oldest first"),
    WRITE(FACE_PUBLIC, "DELETE", "/v1/waitlist/{id}", waitlist_erase, OPERATOR, NULL, NULL, 202,
          "the person is erased: nobody reads the address again, in no copy of the log"),
    WRITE(FACE_PUBLIC, "DELETE", "/v1/subjects/{id}", subject_erase, OPERATOR, NULL, NULL, 202,
          "a user, or who waits, is erased: nobody reads what is sealed of them again, in no copy of the log"),
    LATER(FACE_PUBLIC, "*", "/v1/auth/github", "there are no accounts, use an operator token"),
    LATER(FACE_PUBLIC, "POST", "/v1/webhook/github", "deploy with 'slipform deploy' or POST /v1/deployments"),
    /* ---- this process ---- */
    {FACE_BOTH, {.method = "GET", .pattern = "/healthz", .handle = healthz, .flags = ROUTE_EARLY, .answer = &EMPTY_WIRE,
                 .status = 200, .doc = "the process answers"}},
    {FACE_BOTH, {.method = "GET", .pattern = "/readyz", .handle = readyz, .flags = ROUTE_EARLY, .answer = &READY_WIRE,
                 .status = 200, .doc = "it has folded its log to the end and can append: position and hash of the model; 503: why not, and what it answers reads from"}},
    {FACE_BOTH, {.method = "GET", .pattern = "/metrics", .handle = metrics_get, .flags = ROUTE_EARLY | ROUTE_BYTES,
                 .callers = OPERATOR | CONTROL, .status = 200, .doc = "Prometheus text"}},
    {FACE_BOTH, {.method = "GET", .pattern = "/openapi.json", .handle = openapi_get, .flags = ROUTE_EARLY,
                 .answer = &EMPTY_WIRE, .status = 200, .doc = "this document"}},
};
/* clang-format on */
const size_t API_TABLE_N = sizeof(API_TABLE) / sizeof(API_TABLE[0]);
