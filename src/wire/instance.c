#include "wire/instance.h"

#include <stddef.h>

static const struct field RESOURCES_FIELDS[] = {
    FIELD_OPT(I64, resources, vcpus, "vcpus", "virtual processors"),
    FIELD_OPT(I64, resources, memory_bytes, "memory_bytes", "memory"),
    FIELD_OPT(I64, resources, disk_bytes, "disk_bytes", "writable disk"),
};
const struct field_table RESOURCES_WIRE = FIELD_TABLE(resources, RESOURCES_FIELDS);

static const struct field HEALTH_CHECK_FIELDS[] = {
    FIELD_OPT(STR, health_check, path, "path", "HTTP path; empty: a TCP connect"),
    FIELD_OPT(I64, health_check, interval_seconds, "interval_seconds", "between two checks; 0: 2"),
    FIELD_OPT(I64, health_check, timeout_seconds, "timeout_seconds", "of one check; 0: 2"),
    FIELD_OPT(I64, health_check, start_timeout_seconds, "start_timeout_seconds", "until the first success; 0: 60"),
};
const struct field_table HEALTH_CHECK_WIRE = FIELD_TABLE(health_check, HEALTH_CHECK_FIELDS);

static const struct field IMAGE_CONFIG_FIELDS[] = {
    FIELD_OPT(STRS, image_config, entrypoint, "entrypoint", "of the image"),
    FIELD_OPT(STRS, image_config, cmd, "cmd", "of the image"),
    FIELD_OPT(STRS, image_config, env, "env", "NAME=value"),
    FIELD_OPT(STR, image_config, workdir, "workdir", "working directory"),
    FIELD_OPT(STR, image_config, user, "user", "name or uid[:gid]"),
    FIELD_OPT(STR, image_config, stop_signal, "stop_signal", "default SIGTERM"),
};
const struct field_table IMAGE_CONFIG_WIRE = FIELD_TABLE(image_config, IMAGE_CONFIG_FIELDS);

static const struct field INSTANCE_SPEC_FIELDS[] = {
    FIELD_REQ(ID, instance_spec, instance_id, "instance_id", "fixed by the log"),
    FIELD_REQ(ID, instance_spec, process_id, "process_id", "process that it runs"),
    FIELD_OPT(ID, instance_spec, deployment_id, "deployment_id", "set for a deployment of a project"),
    FIELD_OPT(ID, instance_spec, project_id, "project_id", "likewise"),
    FIELD_REQ(STR, instance_spec, name, "name", "process name: the program, or the project slug"),
    FIELD_REQ(STR, instance_spec, owner, "owner", "bootstrap, or the name of an installation"),
    FIELD_OPT(STR, instance_spec, runtime, "runtime",
              "firecracker, qemu, oci, host, null; empty: the best that the pre-flight proved"),
    FIELD_OPT(STR, instance_spec, restart, "restart", "always (also empty) or never"),
    FIELD_OPT(STR, instance_spec, desired, "desired",
              "running (also empty), draining (goes on running, takes no new work), stopped"),
    FIELD_OPT(STR, instance_spec, artifact_url, "artifact_url", "file:<program> in the program folder of the agent"),
    FIELD_OPT(ID, instance_spec, image_id, "image_id", "image to fetch: GET /v1/images/{id}/download"),
    FIELD_OPT(STR, instance_spec, image_digest, "image_digest", "sha256:… of its root file system"),
    FIELD_OPT(I64, instance_spec, image_size_bytes, "image_size_bytes", "of its root file system"),
    FIELD_SUB(OBJECT, instance_spec, image_config, "image_config", IMAGE_CONFIG_WIRE, "how its program is started"),
    FIELD_OPT(STR, instance_spec, address, "address", "IPv6 of the microVM, without prefix length"),
    FIELD_OPT(I64, instance_spec, port, "port", "that it listens on; 0: none to check"),
    FIELD_OPT(STRS, instance_spec, workloads, "workloads", "for host programs: * or names"),
    FIELD_OPT(STRS, instance_spec, env, "env", "NAME=value beside what the platform sets"),
    FIELD_OPT(STRS, instance_spec, secret_names, "secret_names",
              "of its secret environment, fetched before each start"),
    FIELD_OPT(JSON, instance_spec, config, "config",
              "settings of a host program; the agent writes them as its YAML file (JSON is YAML)"),
    FIELD_OPT(STR, instance_spec, run_as, "run_as", "host runtime: root (default) or slipform, the unprivileged user"),
    FIELD_OPT(STRS, instance_spec, capabilities, "capabilities", "host runtime: kept as ambient, e.g. NET_ADMIN"),
    FIELD_SUB(OBJECT, instance_spec, resources, "resources", RESOURCES_WIRE, "limits; 0 members: defaults"),
    FIELD_SUB(OBJECT, instance_spec, health, "health", HEALTH_CHECK_WIRE, "how health is checked"),
    FIELD_OPT(I64, instance_spec, stop_grace_seconds, "stop_grace_seconds", "between SIGTERM and SIGKILL; 0: 10"),
    FIELD_OPT(STR, instance_spec, project, "project", "slug, for SLIPFORM_PROJECT"),
    FIELD_OPT(STR, instance_spec, region, "region", "for SLIPFORM_REGION"),
    FIELD_OPT(STR, instance_spec, zone, "zone", "for SLIPFORM_ZONE"),
};
const struct field_table INSTANCE_SPEC_WIRE = FIELD_TABLE(instance_spec, INSTANCE_SPEC_FIELDS);

static const struct field INSTANCE_STATISTICS_FIELDS[] = {
    FIELD_OPT(I64, instance_statistics, pid, "pid", "of its first process on the host"),
    FIELD_OPT(I64, instance_statistics, restarts, "restarts", "in place, so far"),
    FIELD_OPT(I64, instance_statistics, memory_bytes, "memory_bytes", "resident"),
    FIELD_OPT(I64, instance_statistics, cpu_ms, "cpu_ms", "used since its start"),
    FIELD_OPT(BOOL, instance_statistics, accelerated, "accelerated", "by KVM"),
    FIELD_OPT(STR, instance_statistics, runtime, "runtime", "that really runs it"),
    FIELD_OPT(STR, instance_statistics, metrics_url, "metrics_url", "of a host program"),
    FIELD_OPT(I64, instance_statistics, boot_ms, "boot_ms", "from start to the first healthy check"),
};
const struct field_table INSTANCE_STATISTICS_WIRE = FIELD_TABLE(instance_statistics, INSTANCE_STATISTICS_FIELDS);

static const struct field INSTANCE_STATE_FIELDS[] = {
    FIELD_OPT(STR, instance_state, desired, "desired", "running, stopped"),
    FIELD_OPT(STR, instance_state, observed, "observed", "starting, running, draining, stopped, failed"),
    FIELD_OPT(STR, instance_state, health, "health", "NOMINAL, WARNING, ERROR, STALL, TIMEOUT, EXIT"),
    FIELD_OPT(STR, instance_state, cause, "cause", "why, for a person"),
    FIELD_OPT(STR, instance_state, boot_id, "boot_id", "of the host, from its kernel, and of the agent state"),
    FIELD_OPT(I64, instance_state, report_seq, "report_seq", "rises within a boot id"),
    FIELD_SUB(OBJECT, instance_state, statistics, "statistics", INSTANCE_STATISTICS_WIRE, "last seen"),
};
const struct field_table INSTANCE_STATE_WIRE = FIELD_TABLE(instance_state, INSTANCE_STATE_FIELDS);

static const struct field INSTANCE_EVENT_FIELDS[] = {
    FIELD_REQ(TIME, instance_event, time, "time", "of the event"),
    FIELD_REQ(STR, instance_event, status, "status", "after it"),
    FIELD_OPT(STR, instance_event, health, "health", "after it"),
    FIELD_OPT(STR, instance_event, cause, "cause", "why"),
};
const struct field_table INSTANCE_EVENT_WIRE = FIELD_TABLE(instance_event, INSTANCE_EVENT_FIELDS);

static const struct field INSTANCE_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, instance_resource, instance_id, "instance_id", "instance"),
    FIELD_OPT(ID, instance_resource, deployment_id, "deployment_id", "deployment"),
    FIELD_OPT(STR, instance_resource, project, "project", "slug"),
    FIELD_OPT(ID, instance_resource, node_id, "node_id", "where"),
    FIELD_OPT(STR, instance_resource, node, "node", "name of the node"),
    FIELD_OPT(STR, instance_resource, zone, "zone", "of the node"),
    FIELD_OPT(STR, instance_resource, region, "region", "of the node"),
    FIELD_OPT(STR, instance_resource, owner, "owner", "owner"),
    FIELD_OPT(STR, instance_resource, desired, "desired", "running, draining, stopped"),
    FIELD_REQ(STR, instance_resource, status, "status",
              "pending, starting, running, draining, stopped, failed, lost or suspended"),
    FIELD_OPT(STR, instance_resource, health, "health", "NOMINAL, …"),
    FIELD_OPT(STR, instance_resource, cause, "cause", "why"),
    FIELD_OPT(STR, instance_resource, since, "since", "RFC 3339, of the status"),
    FIELD_OPT(STR, instance_resource, ipv6, "ipv6", "its address"),
    FIELD_OPT(I64, instance_resource, port, "port", "that it listens on"),
    FIELD_SUB(OBJECT, instance_resource, spec, "spec", INSTANCE_SPEC_WIRE, "what the agent is asked for"),
    FIELD_SUB(OBJECT, instance_resource, statistics, "statistics", INSTANCE_STATISTICS_WIRE, "last seen"),
    FIELD_SUB(OBJECTS, instance_resource, history, "history", INSTANCE_EVENT_WIRE, "newest last, at most 32"),
    FIELD_OPT(JSON, instance_resource, because, "because", "what its placement was decided from"),
    FIELD_SUB(OBJECT, instance_resource, explanation, "explanation", EXPLANATION_WIRE, "why it is so; GET of one only"),
};
const struct field_table INSTANCE_RESOURCE_WIRE = FIELD_TABLE(instance_resource, INSTANCE_RESOURCE_FIELDS);
