#pragma once
/* node/runtime/qemu_args.h - the words that QEMU is started with, and the configuration that its guest gets.
 * Layer: node, inside runtime/. Pure. Nothing of the instance's environment is in the words: they are public in /proc.
 */
#include "base/mem.h"
#include "node/runtime/runtime.h"

/* Numbers of the descriptors in QEMU. */
enum { QEMU_FD_GUEST = 3, QEMU_FD_CONSOLE, QEMU_FD_DISK, QEMU_FD_TAP };

/* 256 MiB; what hello and a small web server need several times over. Chosen. */
#define QEMU_MEMORY_DEFAULT (256ll * 1024 * 1024)
#define QEMU_MEMORY_MIN (96ll * 1024 * 1024)
#define QEMU_MEMORY_MAX (512ll * 1024 * 1024 * 1024)
#define QEMU_VCPUS_MAX 64
/* QEMU's own need beside the guest's memory: 126 MB resident were measured under TCG, 64 MiB of them for translated
 * code (tb-size); the rest is head room, as the kernel ends all of it when the limit is met. */
#define QEMU_OVERHEAD_TCG (256ll * 1024 * 1024)
#define QEMU_OVERHEAD_KVM (96ll * 1024 * 1024)
/* Its threads: one per vCPU, the loop, and the pool for the disk. */
#define QEMU_PIDS_MAX 192

struct qemu_machine {
    const char *qemu_path;
    const char *kernel_path, *initramfs_path; /* as QEMU sees them */
    bool kvm;
    bool sandbox;
    bool has_disk, has_tap;
    int64_t vcpus;
    int64_t memory_bytes; /* a multiple of 1 MiB */
    uint8_t mac[6];
    int64_t tsc_khz; /* of this host; TCG guests cannot find it out by themselves */
};

/* Sizes out of resources, with defaults. OK | ERR_INVALID they are out of bounds */
must_check enum err qemu_machine_size(const struct resources *r, struct qemu_machine *ret_machine, struct errinfo *err);
/* NULL-terminated, in the arena. */
const char *const *qemu_argv(const struct qemu_machine *m, struct arena *a);
/* JSON for GUEST_CONFIG. OK | ERR_INVALID too long */
must_check enum err qemu_guest_config(const struct runtime_facts *facts, int64_t memory_bytes, int64_t wall_us,
                                      struct buf *ret_json, struct errinfo *err);
