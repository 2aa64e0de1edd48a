#pragma once
/* os/child_root.h - a root folder of its own for a child: an empty read-only file system with a few things in it.
 * Layer: os, inside. */
#include "os/child.h"

struct child_root_plan {
    const struct child_root *root; /* borrowed; NULL: none */
    char *targets[CHILD_ROOT_MAX]; /* of each entry, below root->folder; owned */
    bool is_folder[CHILD_ROOT_MAX];
    dev_t devices[CHILD_ROOT_MAX];
    char *dev; /* "<folder>/dev"; owned */
};

/* In the parent: everything that allocates or looks. OK | ERR_INVALID | ERR_NOT_FOUND */
must_check enum err child_root_plan(const struct child_root *root, struct child_root_plan *ret_plan,
                                    struct errinfo *err);
void child_root_plan_done(struct child_root_plan *plan);
/* In the child, after fork, as root: only system calls. False: errno says why. */
bool child_root_enter(const struct child_root_plan *plan, uid_t uid, gid_t gid);
