#pragma once
/* notifier/authorization.h - the part of a nats-server's configuration that says who may do what.
 * Layer: notifier. Pure. A user is the identity in a certificate (verify_and_map); everything that is not allowed is
 * forbidden, requests and answers too:
 *   notifier    publishes below slipform.<installation>, subscribes to nothing
 *   control, public-api   subscribe to logs       edge  to its region       node  to itself */
#include "base/buf.h"
#include "notifier/audience.h"

/* "authorization { users: […] }" for every node that has joined: a program of each role may be on each node. */
void authorization_format(const struct audience *a, const char *installation, struct buf *out);

/* The same in pieces, for who knows the nodes from elsewhere: begin, users, end. */
void authorization_begin(struct buf *out);
void authorization_add_node(const struct audience_node *n, const char *installation, struct buf *out);
/* A program that keeps or reads logs in these servers' JetStream (kind jetstream of store/), `stream` and those beside
 * it: it may make streams and append to them, and neither change nor delete nor empty one; keys of sealed fields can be
 * deleted, and lines beside the log (store/bulk.h) thrown away. identity is a URI. */
void authorization_add_store(const char *identity, const char *stream, struct buf *out);
void authorization_end(struct buf *out);
