#pragma once
/* wire/image.h - an image: what a builder reports, how it is listed
 * Layer: wire. Types and tables only; JSON keys are the snake_case names of the members.
 * Format: docs/formats/documents.md */
#include "wire/instance.h"

/* PUT /v1/images/{id}/status, only by the builder of that image. */
struct image_state {
    struct str status;          /* building, ready, failed */
    struct str digest;          /* sha256:… of the root file system */
    int64_t size_bytes;         /* of the root file system */
    struct image_config config; /* how its program is started */
    struct str cause;           /* why it failed, at most 4 KiB */
};
extern const struct field_table IMAGE_STATE_WIRE;

/* GET /v1/images. */
struct image_resource {
    struct id image_id;            /* image */
    struct id project_id;          /* project */
    struct str status;             /* building, ready, failed */
    struct str digest;             /* sha256:… */
    int64_t size_bytes;            /* of the root file system */
    struct image_config config;    /* how its program is started */
    struct str context_digest;     /* built from */
    struct id builder_instance_id; /* built by */
    struct str cause;              /* why it failed */
    struct str created;            /* RFC 3339 */
};
extern const struct field_table IMAGE_RESOURCE_WIRE;
