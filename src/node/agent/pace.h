#pragma once
/* node/agent/pace.h - when an agent speaks to the control plane, so that thousands of them do not speak at once: after
 * all replicas were started together every agent of the installation comes back, and a replica makes some 700
 * handshakes in a second of a processor. Layer: node. Pure.
 *
 * *jitter is a random number of the caller's, not 0, that is another one after each call. */
#include <stdint.h>

/* 5 s: a node that was not heard for a few of them is suspected (chosen). */
#define PACE_HEARTBEAT_MS 5000
/* Reports and logs that were not taken are sent again: 0.5 s doubling to 10 s (chosen, never measured). */
#define PACE_RETRY_MS_MIN 500
#define PACE_RETRY_MS_MAX 10000
/* A connection is waited for, its handshake included: 3 s doubling to 12, less than the 15 of a whole call (chosen).
 * Who always gave up after 3 s would, while more than 2,000 wait in line, only make work for a replica. */
#define PACE_PATIENCE_MS_MIN 3000
#define PACE_PATIENCE_MS_MAX 12000

/* Until the next heartbeat: a tenth less or more, so that agents that were started together part. */
int64_t pace_heartbeat_ms(uint64_t *jitter);
/* After failures_n failures in a row before this one: spread by a half either way. */
int64_t pace_retry_ms(unsigned failures_n, uint64_t *jitter);
/* For the next connection, after failures_n failures in a row. */
unsigned pace_patience_ms(unsigned failures_n);
