#pragma once
/* notifier/audience.h - who may care about the events of a log: a small fold, far less than the platform's model.
 * Layer: notifier. Pure. A region's edges care about every event but statistics (an edge that is waiting for an answer
 * anyway is not disturbed); a node about instances that are placed on it and about its own draining and leaving. Who is
 * missed here learns of it by his own asking. */
#include "event/catalogue.h"

struct audience;
struct audience *audience_new(void);
void audience_free(struct audience *a); /* NULL is fine */

/* Fold one event and note who cares. An event that cannot be read is passed over: it stalls the platform, not us. */
void audience_see(struct audience *a, const struct envelope *e);

struct audience_node {
    struct id node_id;
    struct str name, region; /* lent until the next event; region "" when its zone is not known */
};
/* Call edge for each region and node for each node that was noted, and forget that. Either may be NULL. */
void audience_take(struct audience *a, void (*edge)(void *ctx, struct str region),
                   void (*node)(void *ctx, struct id node_id), void *ctx);
/* All nodes that are there, in the order of their joining. */
void audience_nodes(const struct audience *a, void (*node)(void *ctx, const struct audience_node *n), void *ctx);
