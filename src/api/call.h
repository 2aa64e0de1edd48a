#pragma once
/* api/call.h - one request on its way through the api: who asks, what it may keep, how it is answered.
 * Layer: api. A call lives as long as its request: after an answer neither may be touched. */
#include "api/api.h"
#include "api/caller.h"
#include "control/view.h"
#include "event/fields.h"

struct call;
struct wait; /* a call that waits for news, see api/follow.h */

enum route_flags {
    ROUTE_EARLY = 1,  /* answered also while the process replays or is stalled */
    ROUTE_LIST = 2,   /* the answer is {"items":[…]} of the answer table */
    ROUTE_FEED = 4,   /* takes cursor and wait: contract for reading */
    ROUTE_LINES = 8,  /* the answer is a line of the answer table after the other, NDJSON or SSE */
    ROUTE_BYTES = 16, /* the answer is no JSON */
    ROUTE_FIXED = 64, /* what the id names never changes: who acts on it is answered as who only looks */
    ROUTE_HEARD = 32  /* its handler hears the caller also where call_submit refuses (control/sight.h) */
};

/* One row of the API: what net needs to route it, what the documentation says about it. */
struct api_route {
    const char *method, *pattern;
    void (*handle)(struct call *c);
    void (*on_headers)(struct call *c); /* optional: before the body, which it may take elsewhere */
    int callers;                        /* mask of enum caller_role; 0: anybody */
    int flags;
    uint64_t body_limit_bytes;                  /* 0: 64 KiB */
    const struct field_table *request, *answer; /* NULL: no JSON body */
    int status;                                 /* of success */
    const char *query;                          /* names of query parameters, separated by spaces; others are refused */
    const char *doc;
};

struct call {
    struct api *api;
    struct http_request *r;
    const struct api_route *route;
    struct caller caller;
    struct arena arena; /* of the call */
    void *data;         /* of the handler */
    void (*data_free)(void *data);
    struct idempotent *idempotent;   /* an answer that is to be kept; NULL: none */
    struct wait *wait;               /* NULL: does not wait */
    const char *location, *position; /* headers that were set; in the arena */
    bool is_answered;
    enum sight sight; /* when it came, or was last looked at: not SIGHT_LIVE: the answer says that it is old */
};

/* Whether the caller gets what it asks for by what this replica sees of the log (control/sight.h). False: answered 503.
 */
bool call_may_answer(struct call *c);

/* Headers of the answer to come. Location is prefix and id; Slipform-Position is where the model stands now; where that
 * is not the log's end, Slipform-Stale says why: "stalled" or "unseen". Answers of GET have both by themselves. */
void call_location(struct call *c, const char *prefix, struct id id);
void call_position(struct call *c);
/* The route's answer with its status; or with another status, or another document. */
void call_reply(struct call *c, const void *document);
void call_reply_status(struct call *c, int status, const struct field_table *table, const void *document);
/* JSON text as it is. */
void call_reply_text(struct call *c, int status, struct str json);
/* A problem whose code and status follow from err; its text goes to the caller, but for ERR_IO and ERR_CORRUPT, which
 * are logged. */
void call_reply_error(struct call *c, const struct errinfo *err);
/* A problem with its own status and code. */
void call_reply_problem(struct call *c, int status, const char *code, const char *detail_fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* 404: also for what is not the caller's. what: "instance". */
void call_reply_missing(struct call *c, const char *what);
/* What was there once may be over: says so, and where one can still read of it (model_missing). */
void call_reply_gone(struct call *c, enum object_kind kind, struct id id);

/* The body by a table, into that arena. OK | ERR_INVALID what is wrong with it; *ret_document is undefined then. */
must_check enum err call_decode(const struct call *c, const struct field_table *table, struct arena *arena,
                                void *ret_document, struct errinfo *err);
/* The same into the call's arena. False: answered. */
bool call_read(struct call *c, const struct field_table *table, void *ret_document);
/* Whether the JSON body has this member: for those whose absence means something else than zero. */
bool call_body_has(struct call *c, const char *member);
/* The path parameter `name` as an id. False: answered 404, because no such thing can exist. */
bool call_id(struct call *c, const char *name, const char *what, struct id *ret_id);
/* A query parameter as an id; *ret_id is ID_NONE when it is absent. False: answered 400. */
bool call_query_id(struct call *c, const char *name, struct id *ret_id);
bool call_query_i64(struct call *c, const char *name, int64_t min, int64_t max, int64_t fallback, int64_t *ret);
struct str call_query_str(const struct call *c, const char *name); /* {NULL,0} when absent */

const struct model *call_model(const struct call *c);

/* Run a command; args live in the call's arena. An error is answered; else the position is set and done answers. */
void call_submit(struct call *c, control_decide_fn decide, void *args,
                 void (*done)(struct call *c, void *args, size_t events_n));
