#pragma once
/* api/handlers.h - every handler that the table of routes names. Layer: api. */
#include "api/call.h"

/* instances.c */
void instances_list(struct call *c);
void instances_create(struct call *c);
void instance_get(struct call *c);
void instance_delete(struct call *c);
void instance_put_state(struct call *c);
void instance_secrets(struct call *c);
void instance_post_logs(struct call *c);
/* images.c */
void images_list(struct call *c);
void images_on_headers(struct call *c);
void images_create(struct call *c);
void image_get(struct call *c);
void image_delete(struct call *c);
void image_put_status(struct call *c);
void image_download(struct call *c);
/* nodes.c */
void regions_list(struct call *c);
void regions_create(struct call *c);
void zones_list(struct call *c);
void zones_create(struct call *c);
void nodes_list(struct call *c);
void nodes_join(struct call *c);
void node_get(struct call *c);
void node_drain(struct call *c);
void node_undrain(struct call *c);
void node_leave(struct call *c);
void node_put_status(struct call *c);
/* routes.c */
void routes_list(struct call *c);
void certificate_get(struct call *c);
/* applications.c */
void applications_list(struct call *c);
void application_get(struct call *c);
void application_put(struct call *c);
void application_delete(struct call *c);
void process_get(struct call *c);
void process_timeline_get(struct call *c);
/* projects.c */
void projects_list(struct call *c);
void projects_create(struct call *c);
void project_get(struct call *c);
void project_patch(struct call *c);
void project_delete(struct call *c);
/* domains.c */
void domains_list(struct call *c);
void domains_create(struct call *c);
void domain_get(struct call *c);
void domain_delete(struct call *c);
void domain_put_verified(struct call *c);
/* secrets.c */
void secrets_list(struct call *c);
void secret_put(struct call *c);
void secret_delete(struct call *c);
/* waitlist.c */
void waitlist_join(struct call *c);
void waitlist_list(struct call *c);
/* subjects.c */
void subject_erase(struct call *c);
void waitlist_erase(struct call *c);
/* deployments.c */
void deployments_list(struct call *c);
void deployments_on_headers(struct call *c);
void deployments_create(struct call *c);
void deployment_get(struct call *c);
void deployment_put_status(struct call *c);
/* logs.c */
void instance_logs_get(struct call *c);
void image_logs_get(struct call *c);
void deployment_logs_get(struct call *c);
/* events.c */
void events_get(struct call *c);
/* stream_logs.c */
void log_events_get(struct call *c);
void log_events_post(struct call *c);
/* system.c */
void healthz(struct call *c);
void readyz(struct call *c);
void replica_get(struct call *c);
void metrics_get(struct call *c);
void openapi_get(struct call *c);
void not_in_this_version(struct call *c);

/* Bodies and answers that only the API knows; the rest stands in wire/. */
extern const struct field_table STATUS_WIRE, REGION_WIRE, ZONE_WIRE, INSTANCE_ORDER_WIRE, SECRETS_WIRE, LOG_SEQ_WIRE,
    EMPTY_WIRE, EVENT_WIRE, LOG_APPEND_WIRE, LOG_RECORD_WIRE, IMAGE_ORDER_WIRE, APPLICATION_WIRE,
    APPLICATION_RESOURCE_WIRE, TIMELINE_WIRE, READY_WIRE;
