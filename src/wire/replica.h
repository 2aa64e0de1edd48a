#pragma once
/* wire/replica.h - how one replica of the control plane is, and what it knows of the others: GET /v1/replica. For
 * people who look for what is wrong: `slipform status` asks every replica for it. Layer: wire. */
#include "event/fields.h"

/* A lease of the log: who works on it, as the asked replica last read it. */
struct replica_lease {
    struct str replica, until; /* until: RFC 3339, on the store's clock */
    int64_t left_ms, format;
    bool votes, plans, goes_first;
};
extern const struct field_table REPLICA_LEASE_WIRE;

/* Who takes a node for lost. */
struct replica_vote {
    struct id node_id;
    struct str node, status;
    struct strs suspected_by; /* replicas, by name */
};
extern const struct field_table REPLICA_VOTE_WIRE;

/* An edge as all replicas together know it. */
struct replica_edge {
    struct str edge;
    int64_t confirmed_seq, silent_ms;
};
extern const struct field_table REPLICA_EDGE_WIRE;

struct replica_store {
    struct str kind;
    bool has_appended;
    int64_t append_us, append_ms_ago;    /* the last append of this replica: there and back, and when */
    struct str append_error, read_error; /* NULL: none */
};
extern const struct field_table REPLICA_STORE_WIRE;

/* nats_servers, where active-notifier says that there is news. */
struct replica_notifier {
    bool is_configured, is_connected;
    int64_t hints, hint_ms_ago; /* hint_ms_ago: -1: none came yet */
};
extern const struct field_table REPLICA_NOTIFIER_WIRE;

struct replica_resource {
    struct str replica, state, cause, position;
    int64_t seq, lag_events, end_seen_ms_ago; /* end_seen_ms_ago: -1: never */
    bool goes_first, votes, plans;
    int64_t appends, conflicts, plans_own, plans_left, plans_stood_in;
    struct replica_store store;
    struct replica_notifier notifier;
    struct objects leases, votes_list, edges;
};
extern const struct field_table REPLICA_WIRE;
