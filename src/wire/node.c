#include "wire/node.h"

#include <stddef.h>

static const struct field NODE_JOIN_FIELDS[] = {
    FIELD_REQ(ID, node_join, node_id, "node_id", "given by the installer"),
    FIELD_REQ(STR, node_join, name, "name", "unique in the installation"),
    FIELD_REQ(STR, node_join, zone, "zone", "name of its zone"),
    FIELD_REQ(STR, node_join, region, "region", "name of its region"),
    FIELD_OPT(STRS, node_join, labels, "labels", "control, worker"),
    FIELD_OPT(STR, node_join, prefix, "prefix", "the /64 of its microVMs; empty: none"),
    FIELD_OPT(STR, node_join, agent_url, "agent_url", "of its API"),
};
const struct field_table NODE_JOIN_WIRE = FIELD_TABLE(node_join, NODE_JOIN_FIELDS);

static const struct field PREFLIGHT_CHECK_FIELDS[] = {
    FIELD_REQ(STR, preflight_check, check, "check", "name, e.g. kvm, qemu, probe-guest, cgroup, nft"),
    FIELD_REQ(BOOL, preflight_check, ok, "ok", "passed"),
    FIELD_OPT(STR, preflight_check, detail, "detail", "what was seen"),
    FIELD_OPT(STR, preflight_check, hint, "hint", "what to do"),
};
const struct field_table PREFLIGHT_CHECK_WIRE = FIELD_TABLE(preflight_check, PREFLIGHT_CHECK_FIELDS);

static const struct field INSTANCE_REPORT_FIELDS[] = {
    FIELD_REQ(ID, instance_report, instance_id, "instance_id", "instance"),
    FIELD_REQ(STR, instance_report, status, "status", "observed"),
    FIELD_OPT(STR, instance_report, health, "health", "observed"),
    FIELD_SUB(OBJECT, instance_report, statistics, "statistics", INSTANCE_STATISTICS_WIRE, "last seen"),
    FIELD_SUB(OBJECT, instance_report, umbilical, "umbilical", UMBILICAL_WIRE, "what its program says about itself"),
};
const struct field_table INSTANCE_REPORT_WIRE = FIELD_TABLE(instance_report, INSTANCE_REPORT_FIELDS);

static const struct field NODE_REPORT_FIELDS[] = {
    FIELD_REQ(STR, node_report, boot_id, "boot_id", "of the host and the agent state"),
    FIELD_REQ(I64, node_report, report_seq, "report_seq", "rises within a boot id"),
    FIELD_REQ(STR, node_report, status, "status", "ready, or joining while the pre-flight runs"),
    FIELD_OPT(STR, node_report, cause, "cause", "why not ready"),
    FIELD_SUB(OBJECT, node_report, capacity, "capacity", RESOURCES_WIRE, "offered to instances"),
    FIELD_SUB(OBJECT, node_report, used, "used", RESOURCES_WIRE, "reserved by instances"),
    FIELD_OPT(STRS, node_report, runtimes, "runtimes", "proved by the pre-flight, best first"),
    FIELD_SUB(OBJECTS, node_report, preflight, "preflight", PREFLIGHT_CHECK_WIRE, "rows"),
    FIELD_OPT(STR, node_report, cursor, "cursor", "of the desired state that it has applied"),
    FIELD_SUB(OBJECTS, node_report, instances, "instances", INSTANCE_REPORT_WIRE, "what runs there"),
};
const struct field_table NODE_REPORT_WIRE = FIELD_TABLE(node_report, NODE_REPORT_FIELDS);

static const struct field NODE_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, node_resource, node_id, "node_id", "node"),
    FIELD_REQ(STR, node_resource, name, "name", "name"),
    FIELD_OPT(STR, node_resource, zone, "zone", "zone"),
    FIELD_OPT(STR, node_resource, region, "region", "region"),
    FIELD_REQ(STR, node_resource, status, "status", "joining, ready, draining, gone, lost"),
    FIELD_OPT(STR, node_resource, cause, "cause", "why"),
    FIELD_OPT(STRS, node_resource, labels, "labels", "labels"),
    FIELD_OPT(STR, node_resource, prefix, "prefix", "/64"),
    FIELD_OPT(STR, node_resource, agent_url, "agent_url", "its API"),
    FIELD_SUB(OBJECT, node_resource, capacity, "capacity", RESOURCES_WIRE, "offered"),
    FIELD_SUB(OBJECT, node_resource, used, "used", RESOURCES_WIRE, "reserved"),
    FIELD_OPT(STRS, node_resource, runtimes, "runtimes", "proved, best first"),
    FIELD_SUB(OBJECTS, node_resource, preflight, "preflight", PREFLIGHT_CHECK_WIRE, "rows"),
    FIELD_OPT(STR, node_resource, last_seen, "last_seen", "RFC 3339, of its last heartbeat"),
    FIELD_SUB(OBJECT, node_resource, explanation, "explanation", EXPLANATION_WIRE, "why it is so; GET of one only"),
};
const struct field_table NODE_RESOURCE_WIRE = FIELD_TABLE(node_resource, NODE_RESOURCE_FIELDS);
