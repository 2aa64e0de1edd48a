#pragma once
/* edge/xds/delta.h - one delta ADS stream: DeltaDiscoveryRequest bytes in, DeltaDiscoveryResponse bytes out.
 * Layer: edge. No I/O. The decisions are those of route_map/rollout. */
#include "base/buf.h"
#include "base/err.h"
#include "edge/route_map/rollout.h"

struct delta;

/* What one request was, for logs and metrics. */
struct delta_event {
    enum xds_type type;
    bool is_known_type; /* false: nothing of ours, ignored */
    bool is_ack, is_refusal;
    size_t resources_n; /* acknowledged or refused */
    char text[512];     /* error_detail of a refusal */
};

struct delta *delta_new(void);
void delta_free(struct delta *d);
/* One message of the client. OK | ERR_INVALID not such a message: end the stream. */
must_check enum err delta_receive(struct delta *d, struct str bytes, struct delta_event *ret_event,
                                  struct errinfo *err);
/* Append the next message to the client; false: nothing to say now. */
bool delta_next(struct delta *d, const struct catalogue *c, struct buf *out);
/* Lent. */
const struct rollout *delta_rollout(const struct delta *d);
