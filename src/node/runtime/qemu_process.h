#pragma once
/* node/runtime/qemu_process.h - QEMU's process: the descriptors it is given, its root, its cgroup, its start.
 * Layer: node, inside runtime/. Borrows all it gets for the call. */
#include "node/runtime/qemu.h"

/* Names in the state folder. */
#define QEMU_GUEST_SOCKET "guest.sock"
#define QEMU_CONSOLE_SOCKET "console.sock"
#define QEMU_LOG "qemu.log"
#define QEMU_LOG_MAX (1024 * 1024)

/* What QEMU gets: its two sockets (listening), its log, disk and tap. */
struct qemu_fds {
    struct child_fd list[CHILD_FDS_MAX];
    size_t n;
};
/* *ret_fds is returned, also on error: qemu_fds_cleanup.
 * OK | ERR_NOT_FOUND no such disk or tap | ERR_INVALID | ERR_IO */
must_check enum err qemu_fds_open(const struct qemu_request *r, int folder_fd, struct qemu_fds *ret_fds,
                                  struct errinfo *err);
void qemu_fds_cleanup(struct qemu_fds *fds);
/* Our end of a socket that QEMU has or will have; from then on whether it runs or not. *ret_fd is returned. */
must_check enum err qemu_connect(int folder_fd, const char *name, int *ret_fd, struct errinfo *err);

/* The cgroup of r, with its limits; none where there are no cgroups. */
must_check enum err qemu_cgroup_make(const struct qemu_request *r, struct errinfo *err);
/* Starts it. Its mark is in the state folder before it runs; what child_spawn says otherwise. */
must_check enum err qemu_spawn(const struct qemu_request *r, const struct qemu_fds *fds, child_exit_fn *on_exit,
                               void *arg, struct child **ret_child, struct errinfo *err);
