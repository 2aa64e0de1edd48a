#pragma once
/* os/ns.h - named network namespaces, kept in /run/netns as `ip netns` does, so that `ip -n <name>` sees them.
 * Layer: os. Ours are called slipform-*. A namespace lives as long as its name, whoever is in it. */
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define NETNS_NAME_MAX 128

/* Make it, with loopback down. OK | ERR_CONFLICT it exists | ERR_INVALID name | ERR_IO */
must_check enum err netns_create(const char *name, struct errinfo *err);
/* Take its name away. It ends with the last process in it. OK also when there is none. */
must_check enum err netns_delete(const char *name, struct errinfo *err);
bool netns_exists(const char *name);
/* *ret_fd is returned: close. OK | ERR_NOT_FOUND | ERR_IO */
must_check enum err netns_open(const char *name, int *ret_fd, struct errinfo *err);
/* The one that this thread is in. *ret_fd is returned: close. */
must_check enum err netns_open_self(int *ret_fd, struct errinfo *err);

/* Enter for good. Only the calling thread moves: a program does this first in main, before the loop has threads. */
must_check enum err netns_enter(int netns_fd, struct errinfo *err);
/* Call fn(arg) inside and come back; answers what fn answered. Aborts when the way back is closed. Sockets that fn
 * opens stay in that namespace. */
must_check enum err netns_run(int netns_fd, enum err (*fn)(void *arg, struct errinfo *err), void *arg,
                              struct errinfo *err);

/* Each name that starts with prefix. */
must_check enum err netns_each(const char *prefix, void (*fn)(const char *name, void *arg), void *arg,
                               struct errinfo *err);
