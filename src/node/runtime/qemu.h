#pragma once
/* node/runtime/qemu.h - one microVM under QEMU, for the runtime `qemu` and for the probe of the pre-flight.
 * Layer: node, inside runtime/. */
#include "node/runtime/common.h"
#include "node/runtime/qemu_args.h"
#include "wire/guest.h"

/* Everything borrowed for the call. */
struct qemu_request {
    const struct runtime_host *host;
    struct qemu_machine machine;
    const char *state_dir; /* made */
    const char *cgroup;    /* NULL: none */
    const char *disk_path; /* NULL: none */
    const char *tap;       /* NULL: none */
    int netns_fd;          /* where the tap is; 0: ours */
    bool dies_with_us;     /* it is no instance: the kernel kills it when we end, however we end */
    struct str config;     /* JSON for the guest */
    struct runtime_events events;
    void (*on_hello)(void *arg, const struct guest_hello *hello); /* may be NULL; with events.arg */
};
must_check enum err qemu_boot(const struct qemu_request *r, struct runtime_instance **ret_instance,
                              struct errinfo *err);
/* Ticks of this processor's time stamp counter per ms, measured against the clock for 10 ms. */
int64_t qemu_measure_tsc_khz(void);
