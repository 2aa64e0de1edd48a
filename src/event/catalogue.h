#pragma once
/* event/catalogue.h - the one table of event kinds and their payloads. docs/events.md is made from it.
 * Layer: event. Pure. Names and keys: the contract of the project; new kinds and optional fields only. */
#include "event/envelope.h"
#include "event/fields.h"

/* What a process or an instance may use. 0: the default of whoever places it. */
struct resources {
    int64_t vcpus, memory_bytes, disk_bytes;
};
/* How health is checked: HTTP GET `path` on the port, or a TCP connect when the path is empty. */
struct health_check {
    struct str path;
    int64_t interval_seconds, timeout_seconds, start_timeout_seconds;
};
/* How an image's program is started (OCI image configuration). */
struct image_config {
    struct strs entrypoint, cmd, env;
    struct str workdir, user, stop_signal;
};

struct create_region {
    struct id region_id;
    struct str name;
};
struct create_zone {
    struct id zone_id, region_id;
    struct str name;
};
struct join_node {
    struct id node_id, zone_id;
    struct str name;
    struct strs labels;   /* "control", "worker" */
    struct str prefix;    /* the node's /64 for its microVMs, "fd00:0:0:1::/64"; empty: places none */
    struct str agent_url; /* of its node-agent */
};
struct node_status_change {
    struct id node_id;
    struct str status, cause;
    struct resources capacity;
    struct strs runtimes; /* that its pre-flight proved, best first */
    struct str boot_id;
    int64_t report_seq;
    struct str because;
};
struct suspect_node {
    struct id node_id;
    struct str replica, cause;
};
struct trust_node {
    struct id node_id;
    struct str replica;
};
struct create_type {
    struct id type_id;
    struct str name, field_type_tags;
};
struct create_gateway {
    struct id gateway_id;
    struct str name, config;
};
struct create_stream {
    struct id stream_id;
    struct str name, version;
    struct strs event_types;
    struct str event_store; /* "kind;key=value;…" */
};
struct create_event_log {
    struct id stream_id, log_id;
    struct str partition_range;
    struct event_time start;
};
struct create_process {
    struct id process_id;
    struct str name, version, artifact_url;
    struct strs availability_zones;
    struct ids input_stream_ids;
    struct id output_stream_id;
    struct id project_id; /* ours from here: a deployment of a project is a process */
    struct str image_digest;
    struct id image_id;
    struct str config, secret_refs; /* JSON */
    struct resources resources;
    int64_t instances_wanted;
    struct health_check health;
    int64_t port, drain_seconds;
    struct str runtime;
    struct str host_label; /* of an event-sourced application that edges lead to; empty: none do */
    struct str because;    /* JSON */
};
struct create_instance {
    struct id instance_id, process_id;
    struct ids log_ids;
    struct strs partition_ranges; /* event/partition.h: its share of each of log_ids */
    struct str partition_range;   /* an older shape: event_decode makes it partition_ranges */
    struct str runner_url;        /* "node:<name>" in a bootstrap log */
    struct strs workloads;        /* "*" or names */
    struct id node_id;
    struct str owner, runtime, address, restart; /* restart: "always" (also when empty) or "never" */
    struct str because;
};
struct delete_instance {
    struct id instance_id;
    struct str because;
};
struct delete_process {
    struct id process_id;
    struct str because;
};
struct instance_status_change {
    struct id instance_id;
    struct str status, health, cause;
    struct id node_id; /* that observed it; none: decided by the control plane */
    struct str boot_id;
    int64_t report_seq, restarts;
    struct str desired; /* what the control plane wants from now on: running, stopped, deleted; empty: as before */
    bool withdraw;      /* draining: its node learns of `desired` by the next such event, when no edge leads to it */
    struct str because;
    struct str watched; /* health as the watchdog sees it; empty: as before, `health` is what the node saw */
};
struct create_project {
    struct id project_id;
    struct str name, slug;
};
struct delete_project {
    struct id project_id;
};
struct create_image {
    struct id image_id, project_id;
    struct str context_digest; /* a tar in blob storage */
    struct id builder_instance_id;
    struct str because;
};
struct rebuild_image { /* another builder takes the place of one that the machine failed */
    struct id image_id, builder_instance_id;
    struct str cause; /* how the former ones ended */
    struct str because;
};
struct image_status_change {
    struct id image_id;
    struct str status, digest;
    int64_t size_bytes;
    struct image_config config;
    struct str cause, because;
};
struct create_deployment {
    struct id deployment_id, project_id;
    struct str context_digest; /* build this, or … */
    struct id image_id;        /* … run this */
    int64_t instances_wanted, drain_seconds, port;
    struct str runtime; /* empty: the best that is proved */
    struct resources resources;
    struct health_check health;
    struct str requested_by, because;
};
struct deployment_status_change {
    struct id deployment_id;
    struct str status, cause;
    bool edges_confirmed; /* draining: every live edge has switched, the drain time runs from this event */
    struct str because;
};
struct route_deployment {
    struct id deployment_id, project_id;
    struct strs hosts;
    bool beside; /* the live one goes on; this one's healthy instances serve too */
    struct str because;
};
struct issue_certificate {
    struct id certificate_id;
    struct str host, not_after; /* RFC 3339 */
};

/* ---- Format 2 (event_kind_format) ---- */
struct raise_format {
    int64_t format; /* from now on kinds of this format may be written */
    struct str because;
};
struct set_aside {
    struct id log_id;
    int64_t seq; /* of the record that no fold takes */
    struct str reason, requested_by;
};
struct drain_node {
    struct id node_id;
    struct str cause, because;
};
struct leave_node {
    struct id node_id;
    struct str cause, because;
};
struct create_user {
    struct id user_id;
    struct str identity;    /* keyed digest of who signs in: finds the user without knowing them */
    struct str name, email; /* JSON, sealed: {"sealed":"<key id>:…"} */
};
struct join_waitlist {
    struct id entry_id;
    struct str identity; /* keyed digest of the address: nobody waits twice */
    struct str email;    /* JSON, sealed */
};
struct erase_subject {
    struct id subject_id; /* of a user or of a place in the waitlist */
    struct str because;
};
struct update_project {
    struct id project_id;
    struct str name, repository, branch; /* empty: as before */
    int64_t instances_wanted, drain_seconds, port;
    struct resources resources; /* members that are 0: as before */
    struct strs cleared;        /* keys of members that go back to the default */
};
struct delete_image {
    struct id image_id;
    struct str because;
};
struct attach_domain {
    struct id domain_id, project_id;
    struct str host, challenge; /* what its TXT record must say */
};
struct verify_domain {
    struct id domain_id;
    struct str status, cause; /* verified, serving, failed */
    struct str because;
};
struct detach_domain {
    struct id domain_id;
    struct str because;
};
struct set_secret {
    struct id secret_id, project_id; /* project_id none: of the installation's applications */
    struct str name, value;          /* value: JSON, sealed */
};
struct unset_secret {
    struct id secret_id;
};
struct scale_process {
    struct id process_id;
    int64_t instances_wanted;
    struct str cause, because; /* because: the load window that it was decided from */
};
struct set_scaling_rule {
    struct id project_id, process_id; /* one of them */
    int64_t instances_min, instances_max, target_percent, cool_down_seconds;
    struct str metric; /* cpu, requests; empty with instances_max 0: no rule any more */
};
/* Statistics: a stream of their own. A model's fold takes them and changes nothing. */
struct instance_progress {
    struct id instance_id;
    struct event_time checkpoint;
    int64_t n_input_events_handled, n_output_events;
    int64_t lag_events, n_errors, n_effects_parked;
};
struct instance_iopw {
    struct id instance_id;
    struct event_time window_start, window_end;
    int64_t n_input_events_handled_ok, n_output_events, n_errors;
};

/* X(kind constant, struct, "name") */
#define EVENT_KINDS(X)                                                                                                 \
    X(CREATE_REGION, create_region, "CreateRegion")                                                                    \
    X(CREATE_ZONE, create_zone, "CreateZone")                                                                          \
    X(JOIN_NODE, join_node, "JoinNode")                                                                                \
    X(NODE_STATUS_CHANGE, node_status_change, "NodeStatusChange")                                                      \
    X(SUSPECT_NODE, suspect_node, "SuspectNode")                                                                       \
    X(TRUST_NODE, trust_node, "TrustNode")                                                                             \
    X(CREATE_TYPE, create_type, "CreateType")                                                                          \
    X(CREATE_GATEWAY, create_gateway, "CreateGateway")                                                                 \
    X(CREATE_STREAM, create_stream, "CreateStream")                                                                    \
    X(CREATE_EVENT_LOG, create_event_log, "CreateEventLog")                                                            \
    X(CREATE_PROCESS, create_process, "CreateProcess")                                                                 \
    X(CREATE_INSTANCE, create_instance, "CreateInstance")                                                              \
    X(DELETE_INSTANCE, delete_instance, "DeleteInstance")                                                              \
    X(DELETE_PROCESS, delete_process, "DeleteProcess")                                                                 \
    X(INSTANCE_STATUS_CHANGE, instance_status_change, "InstanceStatusChange")                                          \
    X(CREATE_PROJECT, create_project, "CreateProject")                                                                 \
    X(DELETE_PROJECT, delete_project, "DeleteProject")                                                                 \
    X(CREATE_IMAGE, create_image, "CreateImage")                                                                       \
    X(IMAGE_STATUS_CHANGE, image_status_change, "ImageStatusChange")                                                   \
    X(CREATE_DEPLOYMENT, create_deployment, "CreateDeployment")                                                        \
    X(DEPLOYMENT_STATUS_CHANGE, deployment_status_change, "DeploymentStatusChange")                                    \
    X(ROUTE_DEPLOYMENT, route_deployment, "RouteDeployment")                                                           \
    X(ISSUE_CERTIFICATE, issue_certificate, "IssueCertificate")                                                        \
    X(RAISE_FORMAT, raise_format, "RaiseFormat")                                                                       \
    X(SET_ASIDE, set_aside, "SetAside")                                                                                \
    X(DRAIN_NODE, drain_node, "DrainNode")                                                                             \
    X(LEAVE_NODE, leave_node, "LeaveNode")                                                                             \
    X(CREATE_USER, create_user, "CreateUser")                                                                          \
    X(JOIN_WAITLIST, join_waitlist, "JoinWaitlist")                                                                    \
    X(ERASE_SUBJECT, erase_subject, "EraseSubject")                                                                    \
    X(UPDATE_PROJECT, update_project, "UpdateProject")                                                                 \
    X(DELETE_IMAGE, delete_image, "DeleteImage")                                                                       \
    X(ATTACH_DOMAIN, attach_domain, "AttachDomain")                                                                    \
    X(VERIFY_DOMAIN, verify_domain, "VerifyDomain")                                                                    \
    X(DETACH_DOMAIN, detach_domain, "DetachDomain")                                                                    \
    X(SET_SECRET, set_secret, "SetSecret")                                                                             \
    X(UNSET_SECRET, unset_secret, "UnsetSecret")                                                                       \
    X(SCALE_PROCESS, scale_process, "ScaleProcess")                                                                    \
    X(SET_SCALING_RULE, set_scaling_rule, "SetScalingRule")                                                            \
    X(INSTANCE_PROGRESS, instance_progress, "InstanceProgress")                                                        \
    X(INSTANCE_IOPW, instance_iopw, "InstanceIopw")                                                                    \
    X(REBUILD_IMAGE, rebuild_image, "RebuildImage")

enum event_kind {
#define EVENT_KIND_CONSTANT(constant, type, name) EVENT_##constant,
    EVENT_KINDS(EVENT_KIND_CONSTANT)
#undef EVENT_KIND_CONSTANT
        EVENT_KIND_MAX_
};

/* A decoded event: what folds see and planners return. Texts live in whatever arena it was decoded into. */
struct event {
    struct event_time time;
    struct id id;
    enum event_kind kind;
    union {
#define EVENT_KIND_MEMBER(constant, type, name) struct type type;
        EVENT_KINDS(EVENT_KIND_MEMBER)
#undef EVENT_KIND_MEMBER
    };
};

struct event_kind_row {
    enum event_kind kind;
    const char *name;
    size_t name_len;
    const struct field_table *fields;
};
/* The row of a kind; every kind has one. */
const struct event_kind_row *event_kind_row(enum event_kind kind);
/* NULL: a name that this version does not know. */
const struct event_kind_row *event_kind_find(struct str name);

/* Formats grow: a kind is written only when the log's format (RaiseFormat) is at least the one that brought it, so that
 * no replica meets a kind that it cannot read. Every log begins with format 1; this version reads EVENT_FORMAT.
 * Format 3 brought no kind, but a fold that forgets (platform/model.h: struct retention), which no replica may begin
 * before all do. */
#define EVENT_FORMAT_FORGETS 3
#define EVENT_FORMAT 3
int event_kind_format(enum event_kind kind);
/* InstanceProgress, InstanceIopw: no decision folds them. */
bool event_kind_is_statistic(enum event_kind kind);

/* Older shapes of a decoded event become the newest, so that folds know one only: a single partitionRange is one for
 * each of logIds. event_decode does it; any other decoder must. */
void event_lift(struct event *e, struct arena *a);

/* Type the payload of a record. OK | ERR_NOT_FOUND unknown kind | ERR_INVALID naming the field. */
must_check enum err event_decode(const struct envelope *e, struct arena *a, struct event *ret, struct errinfo *err);
/* The payload as JSON text (the envelope's `payload`). */
void event_encode_payload(const struct event *e, struct buf *out);

/* Tables that the documents of wire/ share. */
extern const struct field_table RESOURCES_TABLE, HEALTH_CHECK_TABLE, IMAGE_CONFIG_TABLE;

/* States. The texts are the contract; STATUS_NAMES in the order of the enums. */
enum instance_status {
    INSTANCE_PENDING,
    INSTANCE_STARTING,
    INSTANCE_RUNNING,
    INSTANCE_DRAINING,
    INSTANCE_STOPPED,
    INSTANCE_FAILED,
    INSTANCE_LOST,
    INSTANCE_SUSPENDED,
    INSTANCE_STATUS_MAX_
};
enum health {
    HEALTH_UNKNOWN, /* "" */
    HEALTH_NOMINAL,
    HEALTH_WARNING,
    HEALTH_ERROR,
    HEALTH_STALL,
    HEALTH_TIMEOUT,
    HEALTH_EXIT,
    HEALTH_MAX_
};
enum deployment_status {
    DEPLOYMENT_QUEUED,
    DEPLOYMENT_BUILDING,
    DEPLOYMENT_STARTING,
    DEPLOYMENT_LIVE,
    DEPLOYMENT_DRAINING,
    DEPLOYMENT_STOPPED,
    DEPLOYMENT_FAILED,
    DEPLOYMENT_CANCELLED,
    DEPLOYMENT_STATUS_MAX_
};
enum node_status { NODE_JOINING, NODE_READY, NODE_DRAINING, NODE_GONE, NODE_LOST, NODE_STATUS_MAX_ };
enum image_status { IMAGE_BUILDING, IMAGE_READY, IMAGE_FAILED, IMAGE_STATUS_MAX_ };
enum domain_status { DOMAIN_PENDING, DOMAIN_VERIFIED, DOMAIN_SERVING, DOMAIN_FAILED, DOMAIN_STATUS_MAX_ };

/* `cause` of an instance that its node stopped on purpose (slipform down) and starts again: no restart, no failure. */
#define INSTANCE_CAUSE_NODE_STOPPED "it was stopped with its node"
const char *instance_status_name(enum instance_status s);
const char *health_name(enum health h);
const char *deployment_status_name(enum deployment_status s);
const char *node_status_name(enum node_status s);
const char *image_status_name(enum image_status s);
const char *domain_status_name(enum domain_status s);
bool instance_status_parse(struct str text, enum instance_status *ret);
bool health_parse(struct str text, enum health *ret); /* "" is HEALTH_UNKNOWN */
bool deployment_status_parse(struct str text, enum deployment_status *ret);
bool node_status_parse(struct str text, enum node_status *ret);
bool image_status_parse(struct str text, enum image_status *ret);
bool domain_status_parse(struct str text, enum domain_status *ret);
