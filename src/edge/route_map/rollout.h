#pragma once
/* edge/route_map/rollout.h - what one Envoy has, and what to send it next so that it comes to what the catalogue says.
 * Layer: edge. Pure: requests of the client come in, messages come out (the delta variant of xDS: names subscribed,
 * versions held, one answer under way per type until it is acknowledged or refused).
 *
 * Order, so that no request ever meets a route without its cluster:
 *  - a virtual host is sent once the client holds the cluster that it needs and that cluster's endpoints;
 *  - a cluster is taken away once the client holds no virtual host that names it. After a reconnect it is not known
 * what an older virtual host names: then every virtual host has to be current first. A refused version is kept as
 * refused and not sent again; everything else goes on. */
#include "edge/route_map/catalogue.h"

/* 500 resources a message (chosen, never measured): keeps a start with thousands of names in pieces of about a MiB. */
#define ROLLOUT_BATCH_MAX 500
/* The virtual host that every client is given first, whatever it asks for. */
#define ROLLOUT_PLACEHOLDER "edge/placeholder.invalid"

struct rollout_version {
    struct str name, version;
};

/* One request of the client. Everything is borrowed for the call. */
struct rollout_request {
    enum xds_type type;
    const struct str *subscribe, *unsubscribe;
    size_t subscribe_n, unsubscribe_n;
    const struct rollout_version *initial; /* what the client still holds; first request of a stream only */
    size_t initial_n;
    struct str nonce; /* of the answer that this acknowledges or refuses; empty: neither */
    bool is_refusal;
};

struct rollout_item {
    const char *name;                /* lent until the next call */
    const struct resource *resource; /* NULL: removed; not present: "there is no such thing" (a name without a body) */
};

/* One message to the client. */
struct rollout_message {
    enum xds_type type;
    uint64_t nonce; /* of this stream, counted */
    struct rollout_item items[ROLLOUT_BATCH_MAX];
    size_t items_n;
};

struct rollout;
struct rollout *rollout_new(void);
void rollout_free(struct rollout *r);
/* Take in a request. Returns the number of resources that it acknowledged or refused. */
size_t rollout_request(struct rollout *r, const struct rollout_request *request);
/* The next message, which is then under way; false: nothing can be sent now. */
bool rollout_next(struct rollout *r, const struct catalogue *c, struct rollout_message *ret_message);
/* Each name that the client wants or holds and that the catalogue has no word on. is_held: it has something of that
 * name. */
void rollout_wanted(const struct rollout *r, const struct catalogue *c,
                    void (*each)(void *ctx, enum xds_type type, struct str name, bool is_held), void *ctx);
/* The client has started (clusters, listeners and virtual hosts were spoken of), and holds of everything that it asked
 * for, certificates left out, what the catalogue says; nothing is refused, under way or left to take away. */
bool rollout_is_settled(const struct rollout *r, const struct catalogue *c);
/* How many resources of a type the client has acknowledged and holds. */
size_t rollout_held(const struct rollout *r, enum xds_type type);
/* How many are refused at their present version. */
size_t rollout_refused(const struct rollout *r, const struct catalogue *c);
