#pragma once
/* build/image_config.h - how an image's program is started, out of its OCI configuration. Layer: build. */
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/image.h"

/* text: what `buildah inspect --type image` prints (member OCIv1, an OCI image configuration 1.0). Texts are copied
 * into the arena. OK | ERR_INVALID what is wrong with it, e.g. nothing to start. */
must_check enum err image_config_parse(struct str text, struct arena *arena, struct image_config *ret_config,
                                       struct errinfo *err);
