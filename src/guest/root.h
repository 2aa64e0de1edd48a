#pragma once
/* guest/root.h - what a program finds around it: kernel file systems, modules, the image as its root.
 * Layer: guest. PID 1 only. */
#include "wire/guest.h"

/* proc, sys and dev of the initramfs. */
must_check enum err root_mount_early(struct errinfo *err);
/* Load /modules/NN-*.ko in the order of their names. */
must_check enum err root_load_modules(struct errinfo *err);
/* The read-only image with a writable layer in memory becomes "/", with proc, sys, dev, devpts, shm, tmp, run and
 * cgroup2 in it; hosts, hostname and resolv.conf are written. */
must_check enum err root_switch(const struct guest_config *c, struct errinfo *err);
