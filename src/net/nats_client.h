#pragma once
/* net/nats_client.h - a connection to NATS for hints: what is lost costs a delay, so nothing is kept or sent twice.
 * Layer: net. Thread: loop; libnats has threads of its own, none of which calls anybody here: what they bring is put
 * into slots and the loop is woken (uv_async). Connecting and closing may block: they run in uv's pool.
 *
 * Happy path: nats_client_open -> connected -> on_state(true) -> each subscription's `received`, once for however many
 * messages came meanwhile, with the newest. Failures: a connection that is refused or lost is made anew after 0.2 s,
 * doubled up to 10 s, spread by a half either way; on_state(false, why) once until it stands again. A connection that
 * was made again may have missed messages: every `received` is called once with an empty payload: look for yourself. */
#include <stdint.h>

#include <uv.h>

#include "base/err.h"
#include "base/str.h"

/* Longer messages are cut off: a log's id and a position take about 70 bytes (test_notifier: newest_only). */
#define NATS_CLIENT_PAYLOAD_MAX 256u
/* As in kind jetstream of store/ (chosen). */
#define NATS_CLIENT_SERVERS_MAX 16u
/* Of one client: a replica has one for each log that it folds (chosen; test_notifier: refused_options). */
#define NATS_CLIENT_SUBSCRIPTIONS_MAX 64u
/* NATS allows more; ours are under 450 (wire/notification.h). */
#define NATS_CLIENT_SUBJECT_SIZE 512u
/* More is not handed to a connection that does not take it: the message is dropped (chosen). */
#define NATS_CLIENT_BUFFERED_MAX 65536
/* A lost connection is noticed within this, unless the peer is silently gone: then by two pings unanswered (chosen). */
#define NATS_CLIENT_LOOK_MS 200u
#define NATS_CLIENT_PING_MS 5000
#define NATS_CLIENT_CONNECT_MS 2000
#define NATS_CLIENT_BACKOFF_FIRST_MS 200u
#define NATS_CLIENT_BACKOFF_MAX_MS 10000u

struct nats_client;

struct nats_client_options {
    uv_loop_t *loop;
    const char *const *servers; /* "tls://HOST:PORT"; "nats://HOST:PORT" is without TLS; all of one kind, the first that
                                   takes us. Copied */
    size_t servers_n;
    const char *name;                           /* shown by the server's monitoring. Copied, as what follows */
    const char *ca_file, *cert_file, *key_file; /* with tls://; read at each connection, so they can be renewed */
    uint64_t seed;                              /* for jitter */
    unsigned backoff_max_ms;                    /* 0: NATS_CLIENT_BACKOFF_MAX_MS */
    /* It stands (why NULL), or does not, or the server has refused a subject (still up). May be NULL. */
    void (*on_state)(void *ctx, bool is_up, const struct errinfo *why);
    void *ctx;
};

/* Starts to connect at once; nothing of the network can fail it. *ret is returned: nats_client_close.
 * OK | ERR_INVALID no server, an address that is none, with a user or password, kinds mixed, tls:// without files */
must_check enum err nats_client_open(const struct nats_client_options *o, struct nats_client **ret,
                                     struct errinfo *err);
/* Only the check of the addresses, for programs' --check-config. OK, also with none | ERR_INVALID */
must_check enum err nats_client_check_servers(const char *const *servers, size_t n, struct errinfo *err);

/* payload is lent; empty: something may have been missed. */
typedef void (*nats_client_received_fn)(void *ctx, struct str payload);
/* For the client's whole life; in force with the next connection if there is one now: call it before the loop runs.
 * OK | ERR_INVALID subject | ERR_LIMIT NATS_CLIENT_SUBSCRIPTIONS_MAX */
must_check enum err nats_client_subscribe(struct nats_client *c, const char *subject, nats_client_received_fn received,
                                          void *ctx, struct errinfo *err);
/* Hand a message over, or drop it: it is a hint. OK handed over, perhaps lost yet | ERR_UNAVAILABLE not connected, or
 * more than NATS_CLIENT_BUFFERED_MAX wait */
must_check enum err nats_client_publish(struct nats_client *c, const char *subject, struct str payload,
                                        struct errinfo *err);

struct nats_client_counts {
    bool is_up;
    uint64_t connected, received, published, dropped; /* received: calls */
};
struct nats_client_counts nats_client_counts(const struct nats_client *c);

/* No call of `received` or on_state any more; closed(ctx) (may be NULL) when the loop has nothing of it. */
void nats_client_close(struct nats_client *c, void (*closed)(void *ctx), void *ctx);
