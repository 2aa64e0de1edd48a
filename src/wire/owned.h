#pragma once
/* wire/owned.h - what belongs to somebody: domains and secrets of a project, places in the waitlist
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

/* PUT /v1/projects/{id}/secrets/{name}. Never answered, stored or logged in clear. */
struct secret_value {
    struct str value; /* 1 to SECRET_VALUE_MAX bytes */
};
extern const struct field_table SECRET_VALUE_WIRE;
/* 16 KiB: an environment takes 64 KiB in all (chosen; test_api: test_secrets_of_a_project). */
#define SECRET_VALUE_MAX 16384u

/* GET /v1/projects/{id}/secrets: names only. */
struct secret_resource {
    struct id secret_id;  /* secret */
    struct id project_id; /* project */
    struct str name;      /* of the environment variable */
    struct str set;       /* RFC 3339, when it was last set */
    bool is_live;         /* what is live was deployed after it was set */
};
extern const struct field_table SECRET_RESOURCE_WIRE;

/* POST /v1/waitlist, by anybody. */
struct waitlist_join {
    struct str email;
};
extern const struct field_table WAITLIST_JOIN_WIRE;

/* GET /v1/waitlist, by an operator. */
struct waitlist_place {
    struct id waiting_id; /* place */
    struct str email;     /* as it was given */
    struct str created;   /* RFC 3339 */
};
extern const struct field_table WAITLIST_PLACE_WIRE;
