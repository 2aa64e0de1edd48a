#include "wire/image.h"

#include <stddef.h>

static const struct field IMAGE_STATE_FIELDS[] = {
    FIELD_REQ(STR, image_state, status, "status", "building, ready, failed"),
    FIELD_OPT(STR, image_state, digest, "digest", "sha256:… of the root file system"),
    FIELD_OPT(I64, image_state, size_bytes, "size_bytes", "of the root file system"),
    FIELD_SUB(OBJECT, image_state, config, "config", IMAGE_CONFIG_WIRE, "how its program is started"),
    FIELD_OPT(STR, image_state, cause, "cause", "why it failed, at most 4 KiB"),
};
const struct field_table IMAGE_STATE_WIRE = FIELD_TABLE(image_state, IMAGE_STATE_FIELDS);

static const struct field IMAGE_RESOURCE_FIELDS[] = {
    FIELD_REQ(ID, image_resource, image_id, "image_id", "image"),
    FIELD_OPT(ID, image_resource, project_id, "project_id", "project"),
    FIELD_REQ(STR, image_resource, status, "status", "building, ready, failed"),
    FIELD_OPT(STR, image_resource, digest, "digest", "sha256:…"),
    FIELD_OPT(I64, image_resource, size_bytes, "size_bytes", "of the root file system"),
    FIELD_SUB(OBJECT, image_resource, config, "config", IMAGE_CONFIG_WIRE, "how its program is started"),
    FIELD_OPT(STR, image_resource, context_digest, "context_digest", "built from"),
    FIELD_OPT(ID, image_resource, builder_instance_id, "builder_instance_id", "built by"),
    FIELD_OPT(STR, image_resource, cause, "cause", "why it failed"),
    FIELD_OPT(STR, image_resource, created, "created", "RFC 3339"),
};
const struct field_table IMAGE_RESOURCE_WIRE = FIELD_TABLE(image_resource, IMAGE_RESOURCE_FIELDS);
