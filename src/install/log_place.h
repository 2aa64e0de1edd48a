#pragma once
/* install/log_place.h - where the platform's log is, as its programs and the installer name it. Layer: install. */
#include "install/installation.h"

#define LOG_SPEC_SIZE (PATH_SIZE + 256)
enum log_rights {
    LOG_AS_REPLICA, /* append and read */
    LOG_AS_OWNER,   /* make it, or what is missing of it */
};
/* A spec as in store/store.h; no secret is in it. Returns ret. */
const char *log_spec(const struct home *h, enum log_rights rights, char ret[static LOG_SPEC_SIZE]);
