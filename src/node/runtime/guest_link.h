#pragma once
/* node/runtime/guest_link.h - the host's end of the channel into a microVM (wire/guest.h).
 * Layer: node, inside runtime/. Nothing that comes from the guest is trusted: what is read is bounded in size and in
 * rate, frames are acknowledged only once they were handled, and a guest that sends nonsense is reported as broken. */
#include <uv.h>

#include "wire/guest.h"

/* Read at most that much in LINK_WINDOW_MS: a flood costs a bounded share of the loop (chosen, never measured). */
#define LINK_WINDOW_BYTES (512 * 1024)
#define LINK_WINDOW_MS 100
/* Bytes before the guest's hello that may be left of an earlier connection: what QEMU and two sockets hold. */
#define LINK_SKIP_MAX (1024 * 1024)
/* An ATTACH that was not answered is said again: a guest answers in milliseconds (chosen; test_runtime:
 * link_greets_again).
 */
#define LINK_GREET_AGAIN_MS 1000

struct guest_link;
struct guest_link_events {
    void (*on_hello)(void *arg, const struct guest_hello *hello);
    void (*on_started)(void *arg);
    void (*on_output)(void *arg, int stream /* 1 or 2 */, struct str bytes);
    void (*on_dropped)(void *arg, const struct guest_dropped *dropped);
    void (*on_exit)(void *arg, const struct guest_exit *how);
    void (*on_broken)(void *arg, const char *why); /* it does not keep to the protocol; nothing comes after it */
    void (*on_closed)(void *arg);                  /* the hypervisor has closed it; nothing comes after it */
    void *arg;
};

/* Over a connected socket. Takes fd, also on error. */
must_check enum err guest_link_open(uv_loop_t *loop, int fd, const struct guest_link_events *events,
                                    struct guest_link **ret_link, struct errinfo *err);
/* The first thing to say: with config (its JSON, at most GUEST_CONFIG_MAX) to a microVM that was just started, without
 * (empty) after a restart of the agent; that one is said again until it is answered. */
#define GUEST_CONFIG_MAX (GUEST_FRAME_PAYLOAD_MAX - GUEST_NONCE_SIZE)
void guest_link_greet(struct guest_link *l, struct str config);
void guest_link_stop(struct guest_link *l, int64_t grace_ms);
void guest_link_close(struct guest_link *l);
