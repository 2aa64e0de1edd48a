/* Tables of event payloads: one row a member, in the order in which it is written. */
#include "event/catalogue.h"

#include <assert.h>
#include <stddef.h>

static const struct field RESOURCES_FIELDS[] = {
    FIELD_OPT(I64, resources, vcpus, "vcpus", "virtual processors"),
    FIELD_OPT(I64, resources, memory_bytes, "memoryBytes", "memory"),
    FIELD_OPT(I64, resources, disk_bytes, "diskBytes", "writable disk"),
};
/* Named apart from the tables of wire/, whose keys are snake_case: both stand in one openapi.json. */
#define NAMED_TABLE(name, struct_, rows) {name, sizeof(struct struct_), rows, sizeof(rows) / sizeof((rows)[0])}
const struct field_table RESOURCES_TABLE = NAMED_TABLE("event_resources", resources, RESOURCES_FIELDS);

static const struct field HEALTH_CHECK_FIELDS[] = {
    FIELD_OPT(STR, health_check, path, "path", "HTTP path; empty: a TCP connect"),
    FIELD_OPT(I64, health_check, interval_seconds, "intervalSeconds", "between two checks"),
    FIELD_OPT(I64, health_check, timeout_seconds, "timeoutSeconds", "of one check"),
    FIELD_OPT(I64, health_check, start_timeout_seconds, "startTimeoutSeconds", "until the first success"),
};
const struct field_table HEALTH_CHECK_TABLE = NAMED_TABLE("event_health_check", health_check, HEALTH_CHECK_FIELDS);

static const struct field IMAGE_CONFIG_FIELDS[] = {
    FIELD_OPT(STRS, image_config, entrypoint, "entrypoint", "of the image"),
    FIELD_OPT(STRS, image_config, cmd, "cmd", "of the image"),
    FIELD_OPT(STRS, image_config, env, "env", "NAME=value"),
    FIELD_OPT(STR, image_config, workdir, "workdir", "working directory"),
    FIELD_OPT(STR, image_config, user, "user", "name or uid[:gid]"),
    FIELD_OPT(STR, image_config, stop_signal, "stopSignal", "default SIGTERM"),
};
const struct field_table IMAGE_CONFIG_TABLE = FIELD_TABLE(image_config, IMAGE_CONFIG_FIELDS);

static const struct field CREATE_REGION_FIELDS[] = {
    FIELD_REQ(ID, create_region, region_id, "regionId", "region"),
    FIELD_REQ(STR, create_region, name, "name", "e.g. eu-central-1"),
};
static const struct field_table CREATE_REGION_TABLE = FIELD_TABLE(create_region, CREATE_REGION_FIELDS);

static const struct field CREATE_ZONE_FIELDS[] = {
    FIELD_REQ(ID, create_zone, zone_id, "zoneId", "zone"),
    FIELD_REQ(ID, create_zone, region_id, "regionId", "region that it is in"),
    FIELD_REQ(STR, create_zone, name, "name", "e.g. a"),
};
static const struct field_table CREATE_ZONE_TABLE = FIELD_TABLE(create_zone, CREATE_ZONE_FIELDS);

static const struct field JOIN_NODE_FIELDS[] = {
    FIELD_REQ(ID, join_node, node_id, "nodeId", "node"),
    FIELD_REQ(ID, join_node, zone_id, "zoneId", "zone that it is in"),
    FIELD_REQ(STR, join_node, name, "name", "unique in the installation"),
    FIELD_OPT(STRS, join_node, labels, "labels", "control, worker"),
    FIELD_OPT(STR, join_node, prefix, "prefix", "the /64 of its microVMs"),
    FIELD_OPT(STR, join_node, agent_url, "agentUrl", "its node-agent"),
};
static const struct field_table JOIN_NODE_TABLE = FIELD_TABLE(join_node, JOIN_NODE_FIELDS);

static const struct field NODE_STATUS_CHANGE_FIELDS[] = {
    FIELD_REQ(ID, node_status_change, node_id, "nodeId", "node"),
    FIELD_REQ(STR, node_status_change, status, "status", "joining, ready, draining, gone, lost"),
    FIELD_OPT(STR, node_status_change, cause, "cause", "why"),
    FIELD_SUB(OBJECT, node_status_change, capacity, "capacity", RESOURCES_TABLE, "what it offers"),
    FIELD_OPT(STRS, node_status_change, runtimes, "runtimes", "proved by its pre-flight, best first"),
    FIELD_OPT(STR, node_status_change, boot_id, "bootId", "of the host, from its kernel"),
    FIELD_OPT(I64, node_status_change, report_seq, "reportSeq", "rises within a boot"),
    FIELD_OPT(JSON, node_status_change, because, "because", "what it was decided from"),
};
static const struct field_table NODE_STATUS_CHANGE_TABLE = FIELD_TABLE(node_status_change, NODE_STATUS_CHANGE_FIELDS);

static const struct field SUSPECT_NODE_FIELDS[] = {
    FIELD_REQ(ID, suspect_node, node_id, "nodeId", "node"),
    FIELD_REQ(STR, suspect_node, replica, "replica", "control-plane replica that votes"),
    FIELD_OPT(STR, suspect_node, cause, "cause", "what it saw"),
};
static const struct field_table SUSPECT_NODE_TABLE = FIELD_TABLE(suspect_node, SUSPECT_NODE_FIELDS);

static const struct field TRUST_NODE_FIELDS[] = {
    FIELD_REQ(ID, trust_node, node_id, "nodeId", "node"),
    FIELD_REQ(STR, trust_node, replica, "replica", "control-plane replica that votes"),
};
static const struct field_table TRUST_NODE_TABLE = FIELD_TABLE(trust_node, TRUST_NODE_FIELDS);

static const struct field CREATE_TYPE_FIELDS[] = {
    FIELD_REQ(ID, create_type, type_id, "typeId", "type"),
    FIELD_REQ(STR, create_type, name, "name", "name"),
    FIELD_OPT(JSON, create_type, field_type_tags, "fieldTypeTags", "tags of the fields"),
};
static const struct field_table CREATE_TYPE_TABLE = FIELD_TABLE(create_type, CREATE_TYPE_FIELDS);

static const struct field CREATE_GATEWAY_FIELDS[] = {
    FIELD_REQ(ID, create_gateway, gateway_id, "gatewayId", "gateway"),
    FIELD_REQ(STR, create_gateway, name, "name", "an extension: event store, runner, DNS, …"),
    FIELD_OPT(JSON, create_gateway, config, "config", "its settings"),
};
static const struct field_table CREATE_GATEWAY_TABLE = FIELD_TABLE(create_gateway, CREATE_GATEWAY_FIELDS);

static const struct field CREATE_STREAM_FIELDS[] = {
    FIELD_REQ(ID, create_stream, stream_id, "streamId", "stream"),
    FIELD_REQ(STR, create_stream, name, "name", "name"),
    FIELD_OPT(STR, create_stream, version, "version", "version"),
    FIELD_OPT(STRS, create_stream, event_types, "eventTypes", "kinds that it carries"),
    FIELD_OPT(STR, create_stream, event_store, "eventStore", "kind;key=value;…"),
};
static const struct field_table CREATE_STREAM_TABLE = FIELD_TABLE(create_stream, CREATE_STREAM_FIELDS);

static const struct field CREATE_EVENT_LOG_FIELDS[] = {
    FIELD_REQ(ID, create_event_log, stream_id, "streamId", "stream that it belongs to"),
    FIELD_REQ(ID, create_event_log, log_id, "logId", "log"),
    FIELD_OPT(STR, create_event_log, partition_range, "partitionRange", "* or a hash range"),
    FIELD_OPT(TIME, create_event_log, start, "start", "event time"),
};
static const struct field_table CREATE_EVENT_LOG_TABLE = FIELD_TABLE(create_event_log, CREATE_EVENT_LOG_FIELDS);

static const struct field CREATE_PROCESS_FIELDS[] = {
    FIELD_REQ(ID, create_process, process_id, "processId", "process; a deployment is one"),
    FIELD_REQ(STR, create_process, name, "name", "name"),
    FIELD_OPT(STR, create_process, version, "version", "version"),
    FIELD_OPT(STR, create_process, artifact_url, "artifactUrl", "file:<program>, or empty when there is an image"),
    FIELD_OPT(STRS, create_process, availability_zones, "availabilityZones", "zones that it may run in; empty: all"),
    FIELD_OPT(IDS, create_process, input_stream_ids, "inputStreamIds", "streams that it folds"),
    FIELD_OPT(ID, create_process, output_stream_id, "outputStreamId", "stream that it appends to"),
    FIELD_OPT(ID, create_process, project_id, "projectId", "project of a deployment"),
    FIELD_OPT(STR, create_process, image_digest, "imageDigest", "sha256:…"),
    FIELD_OPT(ID, create_process, image_id, "imageId", "image"),
    FIELD_OPT(JSON, create_process, config, "config", "settings of the program"),
    FIELD_OPT(JSON, create_process, secret_refs, "secretRefs", "names of secrets"),
    FIELD_SUB(OBJECT, create_process, resources, "resources", RESOURCES_TABLE, "of each instance"),
    FIELD_OPT(I64, create_process, instances_wanted, "instancesWanted", "how many"),
    FIELD_SUB(OBJECT, create_process, health, "health", HEALTH_CHECK_TABLE, "how health is checked"),
    FIELD_OPT(I64, create_process, port, "port", "that it listens on"),
    FIELD_OPT(I64, create_process, drain_seconds, "drainSeconds", "old instances go this long after the switch"),
    FIELD_OPT(STR, create_process, runtime, "runtime", "asked for by name"),
    FIELD_OPT(STR, create_process, host_label, "hostLabel", "application that edges lead to; absent: none do"),
    FIELD_OPT(JSON, create_process, because, "because", "what it was decided from"),
};
static const struct field_table CREATE_PROCESS_TABLE = FIELD_TABLE(create_process, CREATE_PROCESS_FIELDS);

static const struct field CREATE_INSTANCE_FIELDS[] = {
    FIELD_REQ(ID, create_instance, instance_id, "instanceId", "instance"),
    FIELD_REQ(ID, create_instance, process_id, "processId", "process that it runs"),
    FIELD_OPT(IDS, create_instance, log_ids, "logIds", "logs that it folds"),
    FIELD_OPT(STRS, create_instance, partition_ranges, "partitionRanges", "its share of each: * or a hash range"),
    FIELD_OPT(STR, create_instance, partition_range, "partitionRange", "older form: one range for all logs"),
    FIELD_OPT(STR, create_instance, runner_url, "runnerUrl", "node:<name>"),
    FIELD_OPT(STRS, create_instance, workloads, "workloads", "* or names"),
    FIELD_OPT(ID, create_instance, node_id, "nodeId", "node that it is placed on"),
    FIELD_OPT(STR, create_instance, owner, "owner", "bootstrap, or an installation"),
    FIELD_OPT(STR, create_instance, runtime, "runtime", "firecracker, qemu, oci, host, null"),
    FIELD_OPT(STR, create_instance, address, "address", "its own IPv6"),
    FIELD_OPT(STR, create_instance, restart, "restart", "always (default) or never"),
    FIELD_OPT(JSON, create_instance, because, "because", "what it was decided from"),
};
static const struct field_table CREATE_INSTANCE_TABLE = FIELD_TABLE(create_instance, CREATE_INSTANCE_FIELDS);

static const struct field DELETE_INSTANCE_FIELDS[] = {
    FIELD_REQ(ID, delete_instance, instance_id, "instanceId", "instance"),
    FIELD_OPT(JSON, delete_instance, because, "because", "what it was decided from"),
};
static const struct field_table DELETE_INSTANCE_TABLE = FIELD_TABLE(delete_instance, DELETE_INSTANCE_FIELDS);

static const struct field DELETE_PROCESS_FIELDS[] = {
    FIELD_REQ(ID, delete_process, process_id, "processId", "process"),
    FIELD_OPT(JSON, delete_process, because, "because", "what it was decided from"),
};
static const struct field_table DELETE_PROCESS_TABLE = FIELD_TABLE(delete_process, DELETE_PROCESS_FIELDS);

static const struct field INSTANCE_STATUS_CHANGE_FIELDS[] = {
    FIELD_REQ(ID, instance_status_change, instance_id, "instanceId", "instance"),
    FIELD_REQ(STR, instance_status_change, status, "status",
              "pending, starting, running, draining, stopped, failed, lost, suspended"),
    FIELD_OPT(STR, instance_status_change, health, "health", "NOMINAL, WARNING, ERROR, STALL, TIMEOUT, EXIT"),
    FIELD_OPT(STR, instance_status_change, cause, "cause", "why"),
    FIELD_OPT(ID, instance_status_change, node_id, "nodeId", "that observed it; absent: decided by the control plane"),
    FIELD_OPT(STR, instance_status_change, boot_id, "bootId", "of the node"),
    FIELD_OPT(I64, instance_status_change, report_seq, "reportSeq", "rises within a boot"),
    FIELD_OPT(I64, instance_status_change, restarts, "restarts", "in place, so far"),
    FIELD_OPT(STR, instance_status_change, desired, "desired",
              "wanted by the control plane from now on: running, stopped, deleted; absent: as before"),
    FIELD_OPT(BOOL, instance_status_change, withdraw, "withdraw",
              "its node is told to stop it only by the next such event: once no edge leads to it any more"),
    FIELD_OPT(JSON, instance_status_change, because, "because", "what it was decided from"),
    FIELD_OPT(STR, instance_status_change, watched, "watched",
              "health as the watchdog sees it; absent: as before, and `health` is what the node saw"),
};
static const struct field_table INSTANCE_STATUS_CHANGE_TABLE =
    FIELD_TABLE(instance_status_change, INSTANCE_STATUS_CHANGE_FIELDS);

static const struct field CREATE_PROJECT_FIELDS[] = {
    FIELD_REQ(ID, create_project, project_id, "projectId", "project"),
    FIELD_REQ(STR, create_project, name, "name", "for people"),
    FIELD_REQ(STR, create_project, slug, "slug", "host label, unique"),
};
static const struct field_table CREATE_PROJECT_TABLE = FIELD_TABLE(create_project, CREATE_PROJECT_FIELDS);

static const struct field DELETE_PROJECT_FIELDS[] = {
    FIELD_REQ(ID, delete_project, project_id, "projectId", "project"),
};
static const struct field_table DELETE_PROJECT_TABLE = FIELD_TABLE(delete_project, DELETE_PROJECT_FIELDS);

static const struct field CREATE_IMAGE_FIELDS[] = {
    FIELD_REQ(ID, create_image, image_id, "imageId", "image"),
    FIELD_OPT(ID, create_image, project_id, "projectId", "project that it is built for"),
    FIELD_OPT(STR, create_image, context_digest, "contextDigest", "tar that it is built from"),
    FIELD_OPT(ID, create_image, builder_instance_id, "builderInstanceId", "instance that builds it"),
    FIELD_OPT(JSON, create_image, because, "because", "what it was decided from"),
};
static const struct field_table CREATE_IMAGE_TABLE = FIELD_TABLE(create_image, CREATE_IMAGE_FIELDS);

static const struct field IMAGE_STATUS_CHANGE_FIELDS[] = {
    FIELD_REQ(ID, image_status_change, image_id, "imageId", "image"),
    FIELD_REQ(STR, image_status_change, status, "status", "building, ready, failed"),
    FIELD_OPT(STR, image_status_change, digest, "digest", "of the root file system"),
    FIELD_OPT(I64, image_status_change, size_bytes, "sizeBytes", "of the root file system"),
    FIELD_SUB(OBJECT, image_status_change, config, "config", IMAGE_CONFIG_TABLE, "how it is started"),
    FIELD_OPT(STR, image_status_change, cause, "cause", "why it failed"),
    FIELD_OPT(JSON, image_status_change, because, "because", "what it was decided from"),
};
static const struct field_table IMAGE_STATUS_CHANGE_TABLE =
    FIELD_TABLE(image_status_change, IMAGE_STATUS_CHANGE_FIELDS);

static const struct field CREATE_DEPLOYMENT_FIELDS[] = {
    FIELD_REQ(ID, create_deployment, deployment_id, "deploymentId", "deployment; its process has the same id"),
    FIELD_REQ(ID, create_deployment, project_id, "projectId", "project"),
    FIELD_OPT(STR, create_deployment, context_digest, "contextDigest", "tar to build"),
    FIELD_OPT(ID, create_deployment, image_id, "imageId", "image to run instead"),
    FIELD_OPT(I64, create_deployment, instances_wanted, "instancesWanted", "at least; 0: three"),
    FIELD_OPT(I64, create_deployment, drain_seconds, "drainSeconds", "old instances go this long after the switch"),
    FIELD_OPT(I64, create_deployment, port, "port", "that the program listens on; 0: 8080"),
    FIELD_OPT(STR, create_deployment, runtime, "runtime", "asked for by name; empty: the best that is proved"),
    FIELD_SUB(OBJECT, create_deployment, resources, "resources", RESOURCES_TABLE, "of each instance"),
    FIELD_SUB(OBJECT, create_deployment, health, "health", HEALTH_CHECK_TABLE, "how health is checked"),
    FIELD_OPT(STR, create_deployment, requested_by, "requestedBy", "who"),
    FIELD_OPT(JSON, create_deployment, because, "because", "what it was decided from"),
};
static const struct field_table CREATE_DEPLOYMENT_TABLE = FIELD_TABLE(create_deployment, CREATE_DEPLOYMENT_FIELDS);

static const struct field DEPLOYMENT_STATUS_CHANGE_FIELDS[] = {
    FIELD_REQ(ID, deployment_status_change, deployment_id, "deploymentId", "deployment"),
    FIELD_REQ(STR, deployment_status_change, status, "status",
              "queued, building, starting, live, draining, stopped, failed, cancelled"),
    FIELD_OPT(STR, deployment_status_change, cause, "cause", "why"),
    FIELD_OPT(BOOL, deployment_status_change, edges_confirmed, "edgesConfirmed",
              "draining: every live edge has switched, the drain time runs from this event"),
    FIELD_OPT(JSON, deployment_status_change, because, "because", "what it was decided from"),
};
static const struct field_table DEPLOYMENT_STATUS_CHANGE_TABLE =
    FIELD_TABLE(deployment_status_change, DEPLOYMENT_STATUS_CHANGE_FIELDS);

static const struct field ROUTE_DEPLOYMENT_FIELDS[] = {
    FIELD_REQ(ID, route_deployment, deployment_id, "deploymentId", "deployment that serves from now on"),
    FIELD_OPT(ID, route_deployment, project_id, "projectId", "project; absent (format 2): an application's process"),
    FIELD_OPT(STRS, route_deployment, hosts, "hosts", "names that it answers to"),
    FIELD_OPT(BOOL, route_deployment, beside, "beside",
              "true: it serves beside the live one, which it replaces one by one"),
    FIELD_OPT(JSON, route_deployment, because, "because", "what it was decided from"),
};
static const struct field_table ROUTE_DEPLOYMENT_TABLE = FIELD_TABLE(route_deployment, ROUTE_DEPLOYMENT_FIELDS);

static const struct field ISSUE_CERTIFICATE_FIELDS[] = {
    FIELD_REQ(ID, issue_certificate, certificate_id, "certificateId", "certificate"),
    FIELD_REQ(STR, issue_certificate, host, "host", "name that it is for"),
    FIELD_OPT(STR, issue_certificate, not_after, "notAfter", "RFC 3339"),
};
static const struct field_table ISSUE_CERTIFICATE_TABLE = FIELD_TABLE(issue_certificate, ISSUE_CERTIFICATE_FIELDS);

/* ---- Format 2 ---- */

static const struct field RAISE_FORMAT_FIELDS[] = {
    FIELD_REQ(I64, raise_format, format, "format", "kinds of this format may be written from now on"),
    FIELD_OPT(JSON, raise_format, because, "because", "what it was decided from"),
};
static const struct field_table RAISE_FORMAT_TABLE = FIELD_TABLE(raise_format, RAISE_FORMAT_FIELDS);

static const struct field SET_ASIDE_FIELDS[] = {
    FIELD_OPT(ID, set_aside, log_id, "logId", "log; absent: this one"),
    FIELD_REQ(I64, set_aside, seq, "seq", "position of the record that no fold takes"),
    FIELD_REQ(STR, set_aside, reason, "reason", "why"),
    FIELD_OPT(STR, set_aside, requested_by, "requestedBy", "who"),
};
static const struct field_table SET_ASIDE_TABLE = FIELD_TABLE(set_aside, SET_ASIDE_FIELDS);

static const struct field DRAIN_NODE_FIELDS[] = {
    FIELD_REQ(ID, drain_node, node_id, "nodeId", "node"),
    FIELD_OPT(STR, drain_node, cause, "cause", "why"),
    FIELD_OPT(JSON, drain_node, because, "because", "what it was decided from"),
};
static const struct field_table DRAIN_NODE_TABLE = FIELD_TABLE(drain_node, DRAIN_NODE_FIELDS);

static const struct field LEAVE_NODE_FIELDS[] = {
    FIELD_REQ(ID, leave_node, node_id, "nodeId", "node"),
    FIELD_OPT(STR, leave_node, cause, "cause", "why"),
    FIELD_OPT(JSON, leave_node, because, "because", "what it was decided from"),
};
static const struct field_table LEAVE_NODE_TABLE = FIELD_TABLE(leave_node, LEAVE_NODE_FIELDS);

static const struct field CREATE_USER_FIELDS[] = {
    FIELD_REQ(ID, create_user, user_id, "userId", "user"),
    FIELD_REQ(STR, create_user, identity, "identity", "keyed digest of who signs in"),
    FIELD_OPT(JSON, create_user, name, "name", "sealed"),
    FIELD_OPT(JSON, create_user, email, "email", "sealed"),
};
static const struct field_table CREATE_USER_TABLE = FIELD_TABLE(create_user, CREATE_USER_FIELDS);

static const struct field JOIN_WAITLIST_FIELDS[] = {
    FIELD_REQ(ID, join_waitlist, entry_id, "entryId", "place in the list"),
    FIELD_REQ(STR, join_waitlist, identity, "identity", "keyed digest of the address"),
    FIELD_OPT(JSON, join_waitlist, email, "email", "sealed"),
};
static const struct field_table JOIN_WAITLIST_TABLE = FIELD_TABLE(join_waitlist, JOIN_WAITLIST_FIELDS);

static const struct field ERASE_SUBJECT_FIELDS[] = {
    FIELD_REQ(ID, erase_subject, subject_id, "subjectId", "a user, or a place in the waitlist"),
    FIELD_OPT(JSON, erase_subject, because, "because", "what it was decided from"),
};
static const struct field_table ERASE_SUBJECT_TABLE = FIELD_TABLE(erase_subject, ERASE_SUBJECT_FIELDS);

static const struct field UPDATE_PROJECT_FIELDS[] = {
    FIELD_REQ(ID, update_project, project_id, "projectId", "project"),
    FIELD_OPT(STR, update_project, name, "name", "for people; absent: as before, like all that follow"),
    FIELD_OPT(STR, update_project, repository, "repository", "git repository whose pushes are deployed"),
    FIELD_OPT(STR, update_project, branch, "branch", "that is deployed"),
    FIELD_OPT(I64, update_project, instances_wanted, "instancesWanted", "when a deployment does not say"),
    FIELD_OPT(I64, update_project, drain_seconds, "drainSeconds", "likewise"),
    FIELD_OPT(I64, update_project, port, "port", "likewise"),
    FIELD_SUB(OBJECT, update_project, resources, "resources", RESOURCES_TABLE, "likewise"),
    FIELD_OPT(STRS, update_project, cleared, "cleared", "keys of members that go back to the default"),
};
static const struct field_table UPDATE_PROJECT_TABLE = FIELD_TABLE(update_project, UPDATE_PROJECT_FIELDS);

static const struct field DELETE_IMAGE_FIELDS[] = {
    FIELD_REQ(ID, delete_image, image_id, "imageId", "image"),
    FIELD_OPT(JSON, delete_image, because, "because", "what it was decided from"),
};
static const struct field_table DELETE_IMAGE_TABLE = FIELD_TABLE(delete_image, DELETE_IMAGE_FIELDS);

static const struct field ATTACH_DOMAIN_FIELDS[] = {
    FIELD_REQ(ID, attach_domain, domain_id, "domainId", "domain"),
    FIELD_REQ(ID, attach_domain, project_id, "projectId", "project that it shall lead to"),
    FIELD_REQ(STR, attach_domain, host, "host", "name, unique"),
    FIELD_OPT(STR, attach_domain, challenge, "challenge", "what its TXT record must say"),
};
static const struct field_table ATTACH_DOMAIN_TABLE = FIELD_TABLE(attach_domain, ATTACH_DOMAIN_FIELDS);

static const struct field VERIFY_DOMAIN_FIELDS[] = {
    FIELD_REQ(ID, verify_domain, domain_id, "domainId", "domain"),
    FIELD_REQ(STR, verify_domain, status, "status", "verified, serving, failed"),
    FIELD_OPT(STR, verify_domain, cause, "cause", "why"),
    FIELD_OPT(JSON, verify_domain, because, "because", "what it was decided from"),
};
static const struct field_table VERIFY_DOMAIN_TABLE = FIELD_TABLE(verify_domain, VERIFY_DOMAIN_FIELDS);

static const struct field DETACH_DOMAIN_FIELDS[] = {
    FIELD_REQ(ID, detach_domain, domain_id, "domainId", "domain"),
    FIELD_OPT(JSON, detach_domain, because, "because", "what it was decided from"),
};
static const struct field_table DETACH_DOMAIN_TABLE = FIELD_TABLE(detach_domain, DETACH_DOMAIN_FIELDS);

static const struct field SET_SECRET_FIELDS[] = {
    FIELD_REQ(ID, set_secret, secret_id, "secretId", "secret; known already: another value"),
    FIELD_OPT(ID, set_secret, project_id, "projectId", "project; absent: of event-sourced applications"),
    FIELD_REQ(STR, set_secret, name, "name", "of the environment variable"),
    FIELD_OPT(JSON, set_secret, value, "value", "sealed"),
};
static const struct field_table SET_SECRET_TABLE = FIELD_TABLE(set_secret, SET_SECRET_FIELDS);

static const struct field UNSET_SECRET_FIELDS[] = {
    FIELD_REQ(ID, unset_secret, secret_id, "secretId", "secret"),
};
static const struct field_table UNSET_SECRET_TABLE = FIELD_TABLE(unset_secret, UNSET_SECRET_FIELDS);

static const struct field SCALE_PROCESS_FIELDS[] = {
    FIELD_REQ(ID, scale_process, process_id, "processId", "process"),
    FIELD_REQ(I64, scale_process, instances_wanted, "instancesWanted", "how many"),
    FIELD_OPT(STR, scale_process, cause, "cause", "why"),
    FIELD_OPT(JSON, scale_process, because, "because", "what it was decided from"),
};
static const struct field_table SCALE_PROCESS_TABLE = FIELD_TABLE(scale_process, SCALE_PROCESS_FIELDS);

static const struct field SET_SCALING_RULE_FIELDS[] = {
    FIELD_OPT(ID, set_scaling_rule, project_id, "projectId", "project; or"),
    FIELD_OPT(ID, set_scaling_rule, process_id, "processId", "process"),
    FIELD_OPT(STR, set_scaling_rule, metric, "metric", "cpu, requests"),
    FIELD_OPT(I64, set_scaling_rule, target_percent, "targetPercent", "of what an instance can do"),
    FIELD_OPT(I64, set_scaling_rule, instances_min, "instancesMin", "never fewer"),
    FIELD_OPT(I64, set_scaling_rule, instances_max, "instancesMax", "never more; absent: no rule any more"),
    FIELD_OPT(I64, set_scaling_rule, cool_down_seconds, "coolDownSeconds", "between two changes"),
};
static const struct field_table SET_SCALING_RULE_TABLE = FIELD_TABLE(set_scaling_rule, SET_SCALING_RULE_FIELDS);

static const struct field INSTANCE_PROGRESS_FIELDS[] = {
    FIELD_REQ(ID, instance_progress, instance_id, "instanceId", "instance"),
    FIELD_OPT(TIME, instance_progress, checkpoint, "checkpoint", "event time that it has handled"),
    FIELD_OPT(I64, instance_progress, n_input_events_handled, "nInputEventsHandled", "since it began"),
    FIELD_OPT(I64, instance_progress, n_output_events, "nOutputEvents", "likewise"),
    FIELD_OPT(I64, instance_progress, lag_events, "lagEvents", "of its inputs, not handled yet"),
    FIELD_OPT(I64, instance_progress, n_errors, "nErrors", "since it began"),
    FIELD_OPT(I64, instance_progress, n_effects_parked, "nEffectsParked", "now"),
};
static const struct field_table INSTANCE_PROGRESS_TABLE = FIELD_TABLE(instance_progress, INSTANCE_PROGRESS_FIELDS);

static const struct field INSTANCE_IOPW_FIELDS[] = {
    FIELD_REQ(ID, instance_iopw, instance_id, "instanceId", "instance"),
    FIELD_OPT(TIME, instance_iopw, window_start, "windowStart", "event time"),
    FIELD_OPT(TIME, instance_iopw, window_end, "windowEnd", "event time"),
    FIELD_OPT(I64, instance_iopw, n_input_events_handled_ok, "nInputEventsHandledOk", "within the window"),
    FIELD_OPT(I64, instance_iopw, n_output_events, "nOutputEvents", "likewise"),
    FIELD_OPT(I64, instance_iopw, n_errors, "nErrors", "likewise"),
};
static const struct field_table INSTANCE_IOPW_TABLE = FIELD_TABLE(instance_iopw, INSTANCE_IOPW_FIELDS);

static const struct field REBUILD_IMAGE_FIELDS[] = {
    FIELD_REQ(ID, rebuild_image, image_id, "imageId", "image, which is being built"),
    FIELD_REQ(ID, rebuild_image, builder_instance_id, "builderInstanceId",
              "instance that builds it from now on; what the one before says counts no more"),
    FIELD_OPT(STR, rebuild_image, cause, "cause", "how each builder before ended, for a person"),
    FIELD_OPT(JSON, rebuild_image, because, "because", "what it was decided from"),
};
static const struct field_table REBUILD_IMAGE_TABLE = FIELD_TABLE(rebuild_image, REBUILD_IMAGE_FIELDS);

static const struct event_kind_row ROWS[] = {
#define EVENT_KIND_ROW(constant, type, name)                                                                           \
    [EVENT_##constant] = {EVENT_##constant, name, sizeof(name) - 1, &constant##_TABLE},
    EVENT_KINDS(EVENT_KIND_ROW)
#undef EVENT_KIND_ROW
};
static_assert(sizeof(ROWS) / sizeof(ROWS[0]) == EVENT_KIND_MAX_, "every kind has a row");

const struct event_kind_row *event_kind_row(enum event_kind kind)
{
    assert(kind < EVENT_KIND_MAX_);
    return &ROWS[kind];
}

const struct event_kind_row *event_kind_find(struct str name)
{
    for (size_t i = 0; i < EVENT_KIND_MAX_; i++)
        if (ROWS[i].name_len == name.len && memcmp(ROWS[i].name, name.ptr, name.len) == 0)
            return &ROWS[i];
    return NULL;
}

int event_kind_format(enum event_kind kind)
{
    return kind < EVENT_RAISE_FORMAT ? 1 : 2;
}

bool event_kind_is_statistic(enum event_kind kind)
{
    return kind == EVENT_INSTANCE_PROGRESS || kind == EVENT_INSTANCE_IOPW;
}

/* Upstream's form has a health where we have a status. */
static void lift_status(struct instance_status_change *c)
{
    enum instance_status status;
    enum health health;
    if (c->status.len == 0 || instance_status_parse(c->status, &status) || !health_parse(c->status, &health))
        return;
    c->health = c->status;
    c->status = str_from(instance_status_name(health == HEALTH_EXIT ? INSTANCE_STOPPED : INSTANCE_RUNNING));
}

void event_lift(struct event *e, struct arena *a)
{
    if (e->kind == EVENT_INSTANCE_STATUS_CHANGE)
        lift_status(&e->instance_status_change);
    if (e->kind != EVENT_CREATE_INSTANCE)
        return;
    struct create_instance *c = &e->create_instance;
    if (c->partition_range.len == 0 || c->partition_ranges.n > 0)
        return;
    size_t n = c->log_ids.n == 0 ? 1 : c->log_ids.n;
    c->partition_ranges = (struct strs){arena_alloc(a, n * sizeof(struct str)), n};
    for (size_t i = 0; i < n; i++)
        c->partition_ranges.items[i] = c->partition_range;
    c->partition_range = (struct str){0};
}

/* Members of an anonymous union: they all begin at one offset. */
static void *payload_of(struct event *e)
{
    return &e->create_region;
}

enum err event_decode(const struct envelope *e, struct arena *a, struct event *ret, struct errinfo *err)
{
    const struct event_kind_row *row = event_kind_find(e->type);
    if (row == NULL)
        return err_set(err, ERR_NOT_FOUND, "unknown kind of event '%.*s'", STR_ARG(e->type));
    memset(ret, 0, sizeof(*ret));
    ret->time = e->time;
    ret->id = e->id;
    ret->kind = row->kind;
    enum err rc = fields_parse(row->fields, e->payload, a, payload_of(ret), err);
    if (rc != OK)
        return err_wrap(err, rc, "%s", row->name);
    event_lift(ret, a);
    return OK;
}

void event_encode_payload(const struct event *e, struct buf *out)
{
    fields_encode(event_kind_row(e->kind)->fields, &e->create_region, out);
}

static const char *const INSTANCE_NAMES[] = {"pending", "starting", "running", "draining",
                                             "stopped", "failed",   "lost",    "suspended"};
static const char *const HEALTH_NAMES[] = {"", "NOMINAL", "WARNING", "ERROR", "STALL", "TIMEOUT", "EXIT"};
static const char *const DEPLOYMENT_NAMES[] = {"queued",   "building", "starting", "live",
                                               "draining", "stopped",  "failed",   "cancelled"};
static const char *const NODE_NAMES[] = {"joining", "ready", "draining", "gone", "lost"};
static const char *const IMAGE_NAMES[] = {"building", "ready", "failed"};

static const char *const DOMAIN_NAMES[] = {"pending", "verified", "serving", "failed"};

static bool find_name(struct str text, const char *const *names, unsigned n, unsigned *ret)
{
    for (unsigned i = 0; i < n; i++)
        if (str_eq_c(text, names[i])) {
            *ret = i;
            return true;
        }
    return false;
}

static_assert(sizeof(INSTANCE_NAMES) / sizeof(INSTANCE_NAMES[0]) == INSTANCE_STATUS_MAX_, "every state has a name");
const char *instance_status_name(enum instance_status s)
{
    assert(s < INSTANCE_STATUS_MAX_);
    return INSTANCE_NAMES[s];
}
bool instance_status_parse(struct str text, enum instance_status *ret)
{
    unsigned i = 0;
    if (!find_name(text, INSTANCE_NAMES, INSTANCE_STATUS_MAX_, &i))
        return false;
    *ret = (enum instance_status)i;
    return true;
}

static_assert(sizeof(HEALTH_NAMES) / sizeof(HEALTH_NAMES[0]) == HEALTH_MAX_, "every state has a name");
const char *health_name(enum health h)
{
    assert(h < HEALTH_MAX_);
    return HEALTH_NAMES[h];
}
bool health_parse(struct str text, enum health *ret)
{
    unsigned i = 0;
    if (!find_name(text, HEALTH_NAMES, HEALTH_MAX_, &i))
        return false;
    *ret = (enum health)i;
    return true;
}

static_assert(sizeof(DEPLOYMENT_NAMES) / sizeof(DEPLOYMENT_NAMES[0]) == DEPLOYMENT_STATUS_MAX_,
              "every state has a name");
const char *deployment_status_name(enum deployment_status s)
{
    assert(s < DEPLOYMENT_STATUS_MAX_);
    return DEPLOYMENT_NAMES[s];
}
bool deployment_status_parse(struct str text, enum deployment_status *ret)
{
    unsigned i = 0;
    if (!find_name(text, DEPLOYMENT_NAMES, DEPLOYMENT_STATUS_MAX_, &i))
        return false;
    *ret = (enum deployment_status)i;
    return true;
}

static_assert(sizeof(NODE_NAMES) / sizeof(NODE_NAMES[0]) == NODE_STATUS_MAX_, "every state has a name");
const char *node_status_name(enum node_status s)
{
    assert(s < NODE_STATUS_MAX_);
    return NODE_NAMES[s];
}
bool node_status_parse(struct str text, enum node_status *ret)
{
    unsigned i = 0;
    if (!find_name(text, NODE_NAMES, NODE_STATUS_MAX_, &i))
        return false;
    *ret = (enum node_status)i;
    return true;
}

static_assert(sizeof(IMAGE_NAMES) / sizeof(IMAGE_NAMES[0]) == IMAGE_STATUS_MAX_, "every state has a name");
const char *image_status_name(enum image_status s)
{
    assert(s < IMAGE_STATUS_MAX_);
    return IMAGE_NAMES[s];
}
bool image_status_parse(struct str text, enum image_status *ret)
{
    unsigned i = 0;
    if (!find_name(text, IMAGE_NAMES, IMAGE_STATUS_MAX_, &i))
        return false;
    *ret = (enum image_status)i;
    return true;
}

static_assert(sizeof(DOMAIN_NAMES) / sizeof(DOMAIN_NAMES[0]) == DOMAIN_STATUS_MAX_, "every state has a name");
const char *domain_status_name(enum domain_status s)
{
    assert(s < DOMAIN_STATUS_MAX_);
    return DOMAIN_NAMES[s];
}
bool domain_status_parse(struct str text, enum domain_status *ret)
{
    unsigned i = 0;
    if (!find_name(text, DOMAIN_NAMES, DOMAIN_STATUS_MAX_, &i))
        return false;
    *ret = (enum domain_status)i;
    return true;
}
