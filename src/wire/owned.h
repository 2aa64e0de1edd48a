#pragma once
/* wire/owned.h - what belongs to a project: its domains
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md */
#include "event/fields.h"

/* POST /v1/projects/{id}/domains. */
struct domain_create {
    struct str host; /* lower case */
};
extern const struct field_table DOMAIN_CREATE_WIRE;

/* GET /v1/projects/{id}/domains and below. */
struct domain_resource {
    struct id domain_id;  /* domain */
    struct id project_id; /* project */
    struct str host;      /* lower case */
    struct str status;    /* pending, verified, serving, failed */
    struct str cause;     /* why it failed */
    struct str change;    /* what brings it on, for a person */
    struct str url;       /* https://…, once it serves */
    struct str txt_name;  /* of the TXT record that proves whose it is */
    struct str txt_value; /* what it must say */
    struct str target;    /* where the host must lead: CNAME to this, or the addresses of the edges */
    struct str created;   /* RFC 3339 */
    struct str since;     /* RFC 3339, of the status */
};
extern const struct field_table DOMAIN_RESOURCE_WIRE;
