#pragma once
/* control/collector.h - collects garbage among the blobs (blob/garbage.h): what no image and no deployment of the model
 * names. In uv's pool; what it may take away it asks in the loop, for each blob anew, and is answered once the log has
 * been read to an end that it had after the question. So a replica that lags, or is blind, takes nothing.
 *
 * One replica at a time: the caller's `may` says whether it is this one's turn, it must have been for
 * COLLECTOR_SETTLE_US without a gap before a collection begins, and it is asked again with each question. Layer:
 * control. Thread: loop. */
#include <uv.h>

#include "base/log.h"
#include "blob/garbage.h"
#include "platform/model.h"

/* 6 hours (chosen): garbage lies two days. */
#define COLLECTOR_EVERY_MS_DEFAULT ((int64_t)6 * 3600 * 1000)
/* Chosen: above two of the leases by which replicas know of each other (15 s). */
#define COLLECTOR_SETTLE_US ((int64_t)40 * 1000000)
/* The log was not read to its end for so long after a question: the collection ends, and nothing is taken (chosen). */
#define COLLECTOR_ANSWER_MS 10000u

struct collector;
struct collector_options {
    uv_loop_t *loop;
    struct blob_store *store; /* borrowed, as all of it */
    const struct logger *log;
    int64_t every_ms, grace_s;         /* 0: the defaults */
    int64_t settle_us;                 /* 0: COLLECTOR_SETTLE_US */
    bool (*may)(void *ctx);            /* it is this replica's turn, and it sees the log */
    void (*look)(void *ctx);           /* read the log to its end */
    int64_t (*end_seen_us)(void *ctx); /* as app_end_seen_us */
    const struct model *(*model)(void *ctx);
    void *ctx;
};
struct collector *collector_new(const struct collector_options *o);
/* A collection under way ends with its next question; cancel the store first. closed(ctx) when it is gone. */
void collector_close(struct collector *c, void (*closed)(void *ctx), void *ctx);
/* Since it was started. *ret_runs: collections that came to their end. */
struct blob_collected collector_counts(const struct collector *c, uint64_t *ret_runs);

/* Whether an image or a deployment needs it: what a build that is over made or was made of is needed while the image is
 * there; what a failed one was made of is not. */
bool blob_is_named(const struct model *m, const char *digest);
