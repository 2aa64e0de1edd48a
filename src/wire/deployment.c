#include "wire/deployment.h"

#include <stddef.h>

static const struct field PROJECT_CREATE_FIELDS[] = {
    FIELD_REQ(STR, project_create, name, "name", "for people; its slug is made from it"),
};
const struct field_table PROJECT_CREATE_WIRE = FIELD_TABLE(project_create, PROJECT_CREATE_FIELDS);

static const struct field SCALING_FIELDS[] = {
    FIELD_OPT(STR, scaling_document, metric, "metric", "cpu, requests"),
    FIELD_OPT(I64, scaling_document, min, "min", "fewest instances"),
    FIELD_OPT(I64, scaling_document, max, "max", "most instances; 0: no rule"),
    FIELD_OPT(I64, scaling_document, target_percent, "target_percent", "of the metric, an instance"),
    FIELD_OPT(I64, scaling_document, cool_down_seconds, "cool_down_seconds", "between two changes"),
};
const struct field_table SCALING_WIRE = FIELD_TABLE(scaling_document, SCALING_FIELDS);

static const struct field PROJECT_PATCH_FIELDS[] = {
    FIELD_OPT(STR, project_patch, name, "name", "for people; the slug stays"),
    FIELD_OPT(STR, project_patch, repository, "repository", "git repository whose pushes are deployed"),
    FIELD_OPT(STR, project_patch, branch, "branch", "that is deployed"),
    FIELD_OPT(I64, project_patch, instances, "instances",
              "of the live deployment from now on, and of deployments that do not say"),
    FIELD_OPT(I64, project_patch, drain_seconds, "drain_seconds", "when a deployment does not say"),
    FIELD_OPT(I64, project_patch, port, "port", "likewise"),
    FIELD_SUB(OBJECT, project_patch, resources, "resources", RESOURCES_WIRE, "likewise"),
    FIELD_SUB(OBJECT, project_patch, scaling, "scaling", SCALING_WIRE,
              "bounds of every deployment; nothing scales by itself yet; max 0: none; not together with instances"),
    FIELD_OPT(STRS, project_patch, cleared, "cleared",
              "back to the default: repository, branch, instancesWanted, drainSeconds, port, resources"),
};
const struct field_table PROJECT_PATCH_WIRE = FIELD_TABLE(project_patch, PROJECT_PATCH_FIELDS);

static const struct field PROJECT_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, project_resource, project_id, "project_id", "project"),
    FIELD_REQ(STR, project_resource, name, "name", "for people"),
    FIELD_REQ(STR, project_resource, slug, "slug", "host label"),
    FIELD_OPT(STR, project_resource, url, "url", "https://…"),
    FIELD_OPT(STRS, project_resource, hosts, "hosts", "names that it answers to"),
    FIELD_OPT(ID, project_resource, live_deployment_id, "live_deployment_id", "that serves"),
    FIELD_OPT(STR, project_resource, repository, "repository", "git repository whose pushes are deployed"),
    FIELD_OPT(STR, project_resource, branch, "branch", "that is deployed"),
    FIELD_OPT(I64, project_resource, instances, "instances", "when a deployment does not say; absent: the default"),
    FIELD_OPT(I64, project_resource, drain_seconds, "drain_seconds", "likewise"),
    FIELD_OPT(I64, project_resource, port, "port", "likewise"),
    FIELD_SUB(OBJECT, project_resource, resources, "resources", RESOURCES_WIRE, "likewise"),
    FIELD_OPT(I64, project_resource, instances_wanted, "instances_wanted", "of the live deployment"),
    FIELD_SUB(OBJECT, project_resource, scaling, "scaling", SCALING_WIRE, "bounds of every deployment"),
};
const struct field_table PROJECT_RESOURCE_WIRE = FIELD_TABLE(project_resource, PROJECT_RESOURCE_FIELDS);

static const struct field DEPLOYMENT_CREATE_FIELDS[] = {
    FIELD_REQ(ID, deployment_order, project_id, "project_id", "project"),
    FIELD_OPT(STR, deployment_order, context_digest, "context_digest", "of an uploaded context"),
    FIELD_OPT(ID, deployment_order, image_id, "image_id", "run this image"),
    FIELD_OPT(I64, deployment_order, instances, "instances", "at least; 0: 3"),
    FIELD_OPT(I64, deployment_order, drain_seconds, "drain_seconds", "-1: default 300"),
    FIELD_OPT(I64, deployment_order, port, "port", "0: 8080"),
    FIELD_OPT(STR, deployment_order, runtime, "runtime", "empty: the best that is proved"),
    FIELD_SUB(OBJECT, deployment_order, resources, "resources", RESOURCES_WIRE, "of each instance"),
    FIELD_SUB(OBJECT, deployment_order, health, "health", HEALTH_CHECK_WIRE, "how health is checked"),
};
const struct field_table DEPLOYMENT_CREATE_WIRE = FIELD_TABLE(deployment_order, DEPLOYMENT_CREATE_FIELDS);

static const struct field DEPLOYMENT_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, deployment_resource, deployment_id, "deployment_id", "deployment"),
    FIELD_REQ(ID, deployment_resource, project_id, "project_id", "project"),
    FIELD_OPT(STR, deployment_resource, project, "project", "slug"),
    FIELD_REQ(STR, deployment_resource, status, "status", "queued … cancelled"),
    FIELD_OPT(STR, deployment_resource, cause, "cause", "why"),
    FIELD_OPT(STR, deployment_resource, url, "url", "https://… when it has been live"),
    FIELD_OPT(STR, deployment_resource, host, "host", "first host"),
    FIELD_OPT(ID, deployment_resource, image_id, "image_id", "image"),
    FIELD_OPT(ID, deployment_resource, builder_instance_id, "builder_instance_id", "whose log is the build log"),
    FIELD_OPT(I64, deployment_resource, instances_wanted, "instances_wanted", "at least"),
    FIELD_OPT(I64, deployment_resource, instances_healthy, "instances_healthy", "now"),
    FIELD_OPT(I64, deployment_resource, drain_seconds, "drain_seconds", "of the old ones after the switch"),
    FIELD_OPT(STR, deployment_resource, created, "created", "RFC 3339"),
    FIELD_OPT(STR, deployment_resource, since, "since", "RFC 3339, of the status"),
    FIELD_OPT(JSON, deployment_resource, because, "because", "what it waits for, or was decided from"),
    FIELD_SUB(OBJECT, deployment_resource, explanation, "explanation", EXPLANATION_WIRE,
              "why it is so; GET of one only"),
};
const struct field_table DEPLOYMENT_RESOURCE_WIRE = FIELD_TABLE(deployment_resource, DEPLOYMENT_RESOURCE_FIELDS);

static const struct field LOG_LINE_FIELDS[] = {
    FIELD_REQ(STR, log_line, time, "time", "RFC 3339"),
    FIELD_REQ(ID, log_line, instance_id, "instance_id", "instance"),
    FIELD_REQ(STR, log_line, stream, "stream", "stdout, stderr, console, build"),
    FIELD_REQ(STR, log_line, text, "text", "without its newline"),
    FIELD_OPT(I64, log_line, seq, "seq", "rises per instance; a repeated one is ignored"),
};
const struct field_table LOG_LINE_WIRE = FIELD_TABLE(log_line, LOG_LINE_FIELDS);

static const struct field PROBLEM_FIELDS[] = {
    FIELD_OPT(STR, problem, type, "type", "about:blank"),
    FIELD_REQ(STR, problem, title, "title", "for people"),
    FIELD_REQ(I64, problem, status, "status", "HTTP status"),
    FIELD_OPT(STR, problem, detail, "detail", "what happened, to what, what to do"),
    FIELD_REQ(STR, problem, code, "code", "stable: err_name()"),
};
const struct field_table PROBLEM_WIRE = FIELD_TABLE(problem, PROBLEM_FIELDS);
