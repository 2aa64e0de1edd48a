#include "wire/replica.h"

#include <stddef.h>

static const struct field LEASE_FIELDS[] = {
    FIELD_REQ(STR, replica_lease, replica, "replica", "who holds it"),
    FIELD_REQ(STR, replica_lease, until, "until", "until when, unless it is renewed; the store's clock"),
    FIELD_REQ(I64, replica_lease, left_ms, "left_ms", "milliseconds until then"),
    FIELD_REQ(I64, replica_lease, format, "format", "newest format of events that it reads"),
    FIELD_REQ(BOOL, replica_lease, votes, "votes", "it votes about nodes now"),
    FIELD_REQ(BOOL, replica_lease, plans, "plans", "it plans now"),
    FIELD_REQ(BOOL, replica_lease, goes_first, "goes_first", "the others leave plans to it for a second"),
};
const struct field_table REPLICA_LEASE_WIRE = FIELD_TABLE(replica_lease, LEASE_FIELDS);

static const struct field VOTE_FIELDS[] = {
    FIELD_REQ(ID, replica_vote, node_id, "node_id", "node"),
    FIELD_REQ(STR, replica_vote, node, "node", "its name"),
    FIELD_REQ(STR, replica_vote, status, "status", "of the node"),
    FIELD_REQ(STRS, replica_vote, suspected_by, "suspected_by", "replicas that do not hear it"),
};
const struct field_table REPLICA_VOTE_WIRE = FIELD_TABLE(replica_vote, VOTE_FIELDS);

static const struct field EDGE_FIELDS[] = {
    FIELD_REQ(STR, replica_edge, edge, "edge", "its name"),
    FIELD_REQ(I64, replica_edge, confirmed_seq, "confirmed_seq", "its Envoy serves the routes as of this event"),
    FIELD_REQ(I64, replica_edge, silent_ms, "silent_ms", "since any replica heard it"),
};
const struct field_table REPLICA_EDGE_WIRE = FIELD_TABLE(replica_edge, EDGE_FIELDS);

static const struct field STORE_FIELDS[] = {
    FIELD_REQ(STR, replica_store, kind, "kind", "files, postgres, jetstream"),
    FIELD_REQ(BOOL, replica_store, has_appended, "has_appended", "false: nothing yet, the figures say nothing"),
    FIELD_REQ(I64, replica_store, append_us, "append_us", "the last append of this replica, there and back"),
    FIELD_REQ(I64, replica_store, append_ms_ago, "append_ms_ago", "since it ended"),
    FIELD_OPT(STR, replica_store, append_error, "append_error", "the last one failed"),
    FIELD_OPT(STR, replica_store, read_error, "read_error", "the log cannot be read"),
};
const struct field_table REPLICA_STORE_WIRE = FIELD_TABLE(replica_store, STORE_FIELDS);

static const struct field NOTIFIER_FIELDS[] = {
    FIELD_REQ(BOOL, replica_notifier, is_configured, "is_configured", "false: news are found by asking"),
    FIELD_REQ(BOOL, replica_notifier, is_connected, "is_connected", "to one of nats_servers"),
    FIELD_REQ(I64, replica_notifier, hints, "hints", "of news, since the start"),
    FIELD_REQ(I64, replica_notifier, hint_ms_ago, "hint_ms_ago", "since the last one; -1: none yet"),
};
const struct field_table REPLICA_NOTIFIER_WIRE = FIELD_TABLE(replica_notifier, NOTIFIER_FIELDS);

static const struct field REPLICA_FIELDS[] = {
    FIELD_REQ(STR, replica_resource, replica, "replica", "its name"),
    FIELD_REQ(STR, replica_resource, state, "state", "live, stalled, unseen, read-only"),
    FIELD_OPT(STR, replica_resource, cause, "cause", "why it is not live"),
    FIELD_REQ(STR, replica_resource, position, "position", "as in Slipform-Position"),
    FIELD_REQ(I64, replica_resource, seq, "seq", "events folded"),
    FIELD_REQ(I64, replica_resource, lag_events, "lag_events", "that it knows of and has not folded"),
    FIELD_REQ(I64, replica_resource, end_seen_ms_ago, "end_seen_ms_ago", "since it held all of the log; -1: never"),
    FIELD_REQ(BOOL, replica_resource, goes_first, "goes_first", "the others leave plans to it for a second"),
    FIELD_REQ(BOOL, replica_resource, votes, "votes", "it votes about nodes now"),
    FIELD_REQ(BOOL, replica_resource, plans, "plans", "it has the planner, and sees the log"),
    FIELD_REQ(I64, replica_resource, appends, "appends", "since its start"),
    FIELD_REQ(I64, replica_resource, conflicts, "conflicts", "appends that met news"),
    FIELD_REQ(I64, replica_resource, plans_own, "plans_own", "appended as the one that goes first"),
    FIELD_REQ(I64, replica_resource, plans_left, "plans_left", "left to that one"),
    FIELD_REQ(I64, replica_resource, plans_stood_in, "plans_stood_in", "appended because that one did not"),
    FIELD_SUB(OBJECT, replica_resource, store, "store", REPLICA_STORE_WIRE, "the store as this replica finds it"),
    FIELD_SUB(OBJECT, replica_resource, notifier, "notifier", REPLICA_NOTIFIER_WIRE, "hints of news by NATS"),
    FIELD_SUB(OBJECTS, replica_resource, leases, "leases", REPLICA_LEASE_WIRE, "who works on the log"),
    FIELD_SUB(OBJECTS, replica_resource, votes_list, "suspects", REPLICA_VOTE_WIRE,
              "nodes that somebody does not hear"),
    FIELD_SUB(OBJECTS, replica_resource, edges, "edges", REPLICA_EDGE_WIRE, "edges that any replica hears"),
};
const struct field_table REPLICA_WIRE = FIELD_TABLE(replica_resource, REPLICA_FIELDS);
