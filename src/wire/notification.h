#pragma once
/* wire/notification.h - what active-notifier publishes on NATS, and where. docs/formats/notifications.md
 * Layer: wire. Pure. A notification says that a log has moved, never what is new: who gets it reads for himself.
 *
 *   slipform.<installation>.log.<log-id>          replicas: the log has grown
 *   slipform.<installation>.region.<region>.edge  edges of a region: routes may be others
 *   slipform.<installation>.node.<node-id>        one node-agent: what it should run may be something else
 *
 * In names every byte but letters, digits, '-' and '_' is written as '=' and two hex digits, so that no name adds a
 * level or a wildcard to a subject. */
#include "base/buf.h"
#include "event/fields.h"

/* Of an installation and of a region, in bytes (crypto/identity.h has the same). Longer ones are cut off. */
#define NOTIFICATION_NAME_MAX 63u
/* Two such names with every byte escaped, and the rest. */
#define NOTIFICATION_SUBJECT_SIZE 512u

struct notification {
    struct id log_id; /* its incarnation */
    int64_t seq;      /* it reaches at least this far */
};
extern const struct field_table NOTIFICATION_WIRE;

void notification_log_subject(const char *installation, struct id log, char ret[static NOTIFICATION_SUBJECT_SIZE]);
void notification_edge_subject(const char *installation, struct str region, char ret[static NOTIFICATION_SUBJECT_SIZE]);
void notification_node_subject(const char *installation, struct id node, char ret[static NOTIFICATION_SUBJECT_SIZE]);
