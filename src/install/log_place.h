#pragma once
/* install/log_place.h - where the platform's log is, as its programs and the installer name it. Layer: install. */
#include "install/installation.h"

/* Three files, and two addresses of each operator. */
#define LOG_SPEC_SIZE (4 * PATH_SIZE + INVENTORY_NODES_MAX * 128)
/* In JetStream. */
#define LOG_STREAM "platform"
enum log_rights {
    LOG_AS_REPLICA, /* append and read */
    LOG_AS_OWNER,   /* make it, or what is missing of it; on servers of somebody else that is done by hand */
};
/* A spec as in store/store.h, for a program of the first operator; no secret is in it. Returns ret. */
const char *log_spec(const struct home *h, enum log_rights rights, char ret[static LOG_SPEC_SIZE]);
/* For a replica, or a notifier, on operator `n`. */
const char *log_spec_on(const struct home *h, const struct installation_node *n, char ret[static LOG_SPEC_SIZE]);
