#pragma once
/* api/api.h - the HTTP face of the platform process: route tables of the management and the public API over a control.
 * Layer: api. Thread: loop. A request: net finds the row -> api_authorize names the caller and checks the row's mask ->
 * api_handle waits for the position that the reader has seen, replays an idempotent answer, calls the row's handler. */
#include "blob/blob.h"
#include "control/control.h"
#include "net/http_server.h"
#include "wire/replica.h"

struct api;

struct api_options {
    struct control *control;    /* borrowed while the api lives */
    struct blob_store *blobs;   /* borrowed */
    const char *token_file;     /* hashes of operators' tokens; NULL: none. Borrowed */
    bool management, is_public; /* which of the two route tables; both in one process is fine */
    /* Prometheus text for /metrics; NULL: answers 404. */
    void (*render_metrics)(void *ctx, struct buf *out);
    void *render_ctx;
    /* How hints of news come; NULL: they do not. ctx: render_ctx. */
    void (*notifier)(void *ctx, struct replica_notifier *ret);
    /* Each finished request, for metrics. May be NULL. */
    void (*on_exchange)(void *ctx, const struct http_exchange *x);
    void *exchange_ctx;
};

/* Returned: api_close. */
struct api *api_new(const struct api_options *o);
/* Requests that wait for news are answered now, streams end: call it before closing the servers. */
void api_stop(struct api *api);
/* After every server that uses its routes is closed, before the control is. closed(ctx) when it is gone. */
void api_close(struct api *api, void (*closed)(void *ctx), void *ctx);
/* Fills routes, ctx, authorize and body limit of a server's options. */
void api_server_options(struct api *api, struct http_server_options *ret_options);
/* The same document that GET /openapi.json answers; appended. */
void api_openapi(const struct api *api, struct buf *out);
