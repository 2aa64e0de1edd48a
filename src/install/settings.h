#pragma once
/* install/settings.h - the YAML file of each program that an installation starts. Layer: install. */
#include "install/up.h"

/* Write nodes/<node>/node-agent.yaml and nodes/<node>/settings/<program>.yaml of every host; those that are the same
 * stay untouched. *ret_changed: at least one is new. */
must_check enum err settings_write_all(const struct home *h, const struct up_options *o, bool *ret_changed,
                                       struct errinfo *err);
/* The spec of a bucket of somebody else (inst.blobs) for programs of operator `n`, with the cache there. Returned. */
char *settings_blobs(const struct home *h, const struct installation_node *n);
