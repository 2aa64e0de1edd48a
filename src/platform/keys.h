#pragma once
/* platform/keys.h - by what objects of a model are found besides their id: names, hosts, identities, other ids. Each
 * fold of such an object says keys_add when its key is set and keys_remove before it changes or the object goes; a
 * model that is decoded gets all of them at once (keys_make). Derived: of no account to hash and snapshot. Layer:
 * platform. Pure. */
#include "platform/key_index.h"

enum key_kind {
    KEY_NODE_NAME,
    KEY_NODE_PREFIX,   /* of nodes that have one */
    KEY_PROJECT_SLUG,  /* deleted ones stay */
    KEY_PROJECT_HOST,  /* each host that leads to it */
    KEY_IMAGE_BUILDER, /* of images that have one */
    KEY_PROCESS_IMAGE, /* the image that it runs, of processes that name one; it may not be there yet, or any more */
    KEY_CERTIFICATE_HOST,
    KEY_DOMAIN_HOST,
    KEY_SECRET_NAME,   /* within its project */
    KEY_USER_IDENTITY, /* of those that are not erased */
    KEY_WAITING_IDENTITY,
    KEY_KIND_MAX_
};

struct model;
struct project;
uint64_t key_of_prefix(uint64_t prefix);
uint64_t key_of_secret(const struct project *project, struct str name); /* project: NULL for applications' */
/* All of a decoded model. */
void keys_make(struct model *m);
/* They are what keys_make would make: for tests. */
bool keys_are_right(const struct model *m);
