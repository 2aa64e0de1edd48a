#pragma once
/* notifier/notifier.h - active-notifier: tails a log and says on NATS that it has moved. Layer: notifier. Thread: loop.
 * Any number may run side by side: the same thing said twice is harmless. It keeps nothing: each start reads the log
 * from its beginning to know nodes and instances (notifier/audience.h), and says only what comes after. */
#include "net/nats_client.h"
#include "store/store.h"

struct notifier;
struct notifier_options {
    uv_loop_t *loop;
    struct store *store; /* open; handed over when notifier_open returns OK */
    const char *installation;
    unsigned poll_ms;
    struct nats_client_options nats; /* its on_state and ctx are set here */
    /* why NULL: no reason any more not to be ready. Texts for people. */
    void (*on_state)(void *ctx, bool is_ready, const struct errinfo *why);
    void *ctx;
};

must_check enum err notifier_open(const struct notifier_options *o, struct notifier **ret, struct errinfo *err);

struct notifier_numbers {
    uint64_t seq; /* of the log, read and told */
    struct nats_client_counts nats;
};
void notifier_numbers(const struct notifier *n, struct notifier_numbers *ret);
void notifier_close(struct notifier *n, void (*closed)(void *ctx), void *ctx);
