#pragma once
/* api/parts.h - what an api is made of; only for the files of this room. Layer: api. */
#include "api/call.h"

struct blob_jobs;
struct idempotency;
struct stream;
struct log_wait;

struct api {
    struct api_options o;
    struct http_route *http_routes; /* row i is that of rows[i] */
    struct api_route *rows;
    size_t rows_n;
    struct operator_tokens tokens;
    struct joins { /* to the waitlist: how many may come now, as of when */
        int64_t left_n, at_us;
    } joins;
    struct idempotency *idempotency;
    struct blob_jobs *blob_jobs;
    struct control_listener listener;
    uv_timer_t timer; /* runs while something waits or streams */
    bool is_timer_on, is_stopping;
    struct wait *waits;           /* for anything */
    struct wait *node_waits;      /* for what a node is asked for */
    struct wait_node *wait_nodes; /* those, by node */
    uint64_t asked_n;             /* of model_asked_n: looked at up to here */
    uint64_t looked_seq;          /* as of this position */
    int64_t swept_us, timed_us;   /* when all of these were looked at, and their time */
    struct log_wait *log_waits;
    struct stream *streams;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* The one table: every route of both APIs (api/table.c). */
struct api_table_row {
    int face; /* enum api_face */
    struct api_route route;
};
enum api_face { FACE_BOTH = 0, FACE_MANAGEMENT = 1, FACE_PUBLIC = 2 };
extern const struct api_table_row API_TABLE[];
extern const size_t API_TABLE_N;

/* Something waits or streams: look at it on news, and every API_TICK_MS. */
#define API_TICK_MS 200u
void api_tick_needed(struct api *api);

/* api/call.c */
enum err api_authorize(struct http_request *r, const struct http_route *route, void *ctx, struct errinfo *err);
void api_handle(struct http_request *r, void *ctx);
void api_on_headers(struct http_request *r, void *ctx);
/* api/projects.c: the project of the path, by id or slug. NULL: answered 404. */
const struct project *project_of(struct call *c);
/* Open the secrets of a process: done(c, env) with "NAME=value", lent and wiped behind it, now or in a later turn; or
 * the call was answered. */
void secrets_open(struct call *c, const struct process *p, void (*done)(struct call *c, struct strs env));
/* Overwrite the values. */
void secrets_wipe(struct strs env);
/* api/follow.c, api/stream.c: model or clock have moved. */
void follow_look(struct api *api, int64_t now_us, bool is_stopping);
void stream_look(struct api *api, bool is_stopping);
/* api/stream_logs.c: those who wait for records of a log. */
void log_waits_look(struct api *api, int64_t now_us, bool is_stopping);
void follow_forget(struct wait *w);

/* api/idempotency.c: answers to POSTs with an Idempotency-Key, the last 1024 of them, in memory: a replica that is
 * started anew has forgotten them. */
struct idempotency *idempotency_new(void);
void idempotency_free(struct idempotency *x);
/* True: the call may go on (c->idempotent is set when it has a key). False: answered, as before or with a problem. */
bool idempotency_begin(struct idempotency *x, struct call *c);
void idempotency_keep(struct idempotent *i, int status, struct str body, const char *location, const char *position);
void idempotency_drop(struct idempotent *i); /* not answered, or not in a way to keep */
