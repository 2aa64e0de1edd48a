#pragma once
/* daemon/hints.h - a program that is told by NATS that there may be news for it. Layer: daemon. Thread: loop.
 * Optional: without nats_servers nothing is opened; with NATS away, or refusing us, the program lives by its own asking
 * and says so in its log once. Metrics: slipform_nats_up, slipform_nats_hints. */
#include "daemon/daemon.h"

/* The row of the setting, in a struct whose member is a setting_list. */
#define HINTS_SETTING(settings_, member_)                                                                              \
    {.name = "nats_servers",                                                                                           \
     .type = SETTING_LIST,                                                                                             \
     .offset = offsetof(settings_, member_),                                                                           \
     .doc = "tls://HOST:PORT of nats-servers, where active-notifier says that there is news; none: found by asking"}

struct hints;
/* Call hint(ctx) whenever `subject` has a message, and when one may have been missed. With the identity of the program.
 *   servers  lent for the call     *ret is returned: hints_close; NULL when servers is empty
 * OK | ERR_INVALID addresses, or certificates are missing */
must_check enum err hints_open(struct daemon *d, const struct setting_list *servers, const char *subject,
                               void (*hint)(void *ctx), void *ctx, struct hints **ret, struct errinfo *err);
struct hints_state {
    bool is_open, is_up; /* is_open: false without nats_servers */
    uint64_t received;
    int64_t hinted_us; /* the last one, monotonic; 0: none yet */
};
struct hints_state hints_state(const struct hints *h); /* h may be NULL */
/* No hint any more; closed(ctx) when the loop has nothing of it, at once for NULL. The daemon must live until then. */
void hints_close(struct hints *h, void (*closed)(void *ctx), void *ctx);
