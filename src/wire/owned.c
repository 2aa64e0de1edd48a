#include "wire/owned.h"

#include <stddef.h>

static const struct field DOMAIN_CREATE_FIELDS[] = {
    FIELD_REQ(STR, domain_create, host, "host", "a name like app.example.org, in lower case"),
};
const struct field_table DOMAIN_CREATE_WIRE = FIELD_TABLE(domain_create, DOMAIN_CREATE_FIELDS);

static const struct field DOMAIN_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, domain_resource, domain_id, "domain_id", "domain"),
    FIELD_REQ(ID, domain_resource, project_id, "project_id", "project"),
    FIELD_REQ(STR, domain_resource, host, "host", "lower case"),
    FIELD_REQ(STR, domain_resource, status, "status", "pending, verified, serving, failed"),
    FIELD_OPT(STR, domain_resource, cause, "cause", "why it failed"),
    FIELD_OPT(STR, domain_resource, change, "change", "what brings it on"),
    FIELD_OPT(STR, domain_resource, url, "url", "https://… once it serves"),
    FIELD_REQ(STR, domain_resource, txt_name, "txt_name", "of the TXT record that proves whose it is"),
    FIELD_REQ(STR, domain_resource, txt_value, "txt_value", "what it must say"),
    FIELD_REQ(STR, domain_resource, target, "target", "where the host must lead: a CNAME to this"),
    FIELD_OPT(STR, domain_resource, created, "created", "RFC 3339"),
    FIELD_OPT(STR, domain_resource, since, "since", "RFC 3339, of the status"),
};
const struct field_table DOMAIN_RESOURCE_WIRE = FIELD_TABLE(domain_resource, DOMAIN_RESOURCE_FIELDS);

static const struct field SECRET_VALUE_FIELDS[] = {
    FIELD_REQ(STR, secret_value, value, "value", "1 to 16384 bytes"),
};
const struct field_table SECRET_VALUE_WIRE = FIELD_TABLE(secret_value, SECRET_VALUE_FIELDS);

static const struct field SECRET_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, secret_resource, secret_id, "secret_id", "secret"),
    FIELD_REQ(ID, secret_resource, project_id, "project_id", "project"),
    FIELD_REQ(STR, secret_resource, name, "name", "of the environment variable"),
    FIELD_REQ(STR, secret_resource, set, "set", "RFC 3339, when it was last set"),
    FIELD_OPT(BOOL, secret_resource, is_live, "is_live", "what is live was deployed after it was set"),
};
const struct field_table SECRET_RESOURCE_WIRE = FIELD_TABLE(secret_resource, SECRET_RESOURCE_FIELDS);

static const struct field WAITLIST_JOIN_FIELDS[] = {
    FIELD_REQ(STR, waitlist_join, email, "email", "name@host, at most 254 bytes"),
};
const struct field_table WAITLIST_JOIN_WIRE = FIELD_TABLE(waitlist_join, WAITLIST_JOIN_FIELDS);

static const struct field WAITLIST_PLACE_FIELDS[] = {
    FIELD_REQ(ID, waitlist_place, waiting_id, "waiting_id", "place"),
    FIELD_REQ(STR, waitlist_place, email, "email", "as it was given"),
    FIELD_REQ(STR, waitlist_place, created, "created", "RFC 3339"),
};
const struct field_table WAITLIST_PLACE_WIRE = FIELD_TABLE(waitlist_place, WAITLIST_PLACE_FIELDS);
