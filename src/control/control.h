#pragma once
/* control/control.h - the shell of the platform process: one event log folded into one model, commands appended to it,
 * and the workloads that look at the model and emit.
 *
 *   command -> control_submit -> decide (platform/) -> conditional append -> fold -> done: durable and folded
 *   news    -> on_change      -> planner, certificates, whoever follows
 *   planner:      plan(model, clock, what was seen) -> append -> fold -> again, until nothing is left; then at its
 * deadline watchdog:     nodes that were not heard are suspected, see control/watchdog.h certificates: each routed host
 * without one, or near its end: key and chain into files, then the event
 *
 * Any number of such processes work on one log; a process is nothing but its fold and what it heard (control/seen.h).
 * Layer: control. Thread: loop. */
#include <uv.h>

#include "app/app.h"
#include "base/log.h"
#include "blob/garbage.h"
#include "control/bulk_queue.h"
#include "control/certificate.h"
#include "control/instance_log.h"
#include "control/log_queue.h"
#include "control/seen.h"
#include "control/sight.h"
#include "control/statistics.h"
#include "control/stream_logs.h"
#include "event/hash.h"
#include "platform/events.h"
#include "platform/model.h"
#include "platform/settings.h"

/* 15 s: several heartbeats of a node-agent (chosen, never measured). */
#define CONTROL_NODE_TIMEOUT_MS_DEFAULT 15000

/* Lines of an instance that is gone are kept for a week (chosen); statistics that nobody reports for an hour. */
#define CONTROL_LOGS_KEPT_S ((int64_t)7 * 86400)
#define CONTROL_STATISTICS_KEPT_S 3600

/* After so many events a checkpoint of the model is written, and at a clean stop: at most so many are folded at a
 * start. 100,000: folded in about a second; a checkpoint holds the loop for 0.1 s at 100,000 instances
 * (test_checkpoint: figures). */
#define CONTROL_CHECKPOINT_EVENTS_DEFAULT 100000u
#define CONTROL_PATH_SIZE 1024u

struct control_options {
    uv_loop_t *loop;
    const struct logger *log;           /* borrowed */
    const char *installation, *replica; /* borrowed for the control's life, like every text here */
    const char *event_store;            /* "files;path=…" */
    bool makes_log;                     /* event_store is made when it is not there; else that is an error: an empty log
                                           would tell every node to end what it runs */
    const char *state_folder;           /* for its checkpoint; NULL: none is kept */
    int64_t checkpoint_events;          /* 0: CONTROL_CHECKPOINT_EVENTS_DEFAULT */
    const char *logs_folder;            /* of instances beside an event_store in files; NULL: none */
    struct bulk_limits bulk_limits;     /* of lines that are kept, all together; 0: the store's figures */
    const char *streams_folder;         /* logs of applications' streams beside an event_store in files; NULL: none */
    const char *statistics_folder;      /* the log 'statistics'; NULL: it is not kept here */
    const char *certificates_folder;    /* NULL: none are kept here */
    const char *ca_cert_file, *ca_key_file; /* NULL: issues nothing */
    const char *seal_key_file;              /* NULL: seals and opens no secrets */
    const char *dns_server;                 /* "127.0.0.1:53", asked for TXT records of domains; NULL: the host's */
    struct blob_store *blobs;               /* collected with has_planner; borrowed. NULL: not from here */
    int64_t blob_collection_s;              /* between two collections; 0: COLLECTOR_EVERY_MS_DEFAULT */
    struct platform_settings settings;      /* app_domain and installation are set from here */
    int edge_https_port;                    /* for URLs; 0 or 443: not written */
    int node_timeout_ms;                    /* 0: CONTROL_NODE_TIMEOUT_MS_DEFAULT */
    bool has_planner, has_watchdog, has_certificates;
    /* It is ready (cause NULL), or is not any more: control_is_ready. Told when that changes. May be NULL. */
    void (*on_state)(void *ctx, bool is_live, const struct errinfo *cause);
    void *ctx;
};

struct control;

/* Start. *ret is returned: control_close. OK | errors of the store, the folders, the CA. */
must_check enum err control_open(const struct control_options *o, struct control **ret, struct errinfo *err);
/* Commands that wait are answered ERR_CANCELLED. closed(ctx) when the loop has nothing of it any more. */
void control_close(struct control *c, void (*closed)(void *ctx), void *ctx);

/* ---- What everybody reads ---- */
const struct model *control_model(const struct control *c); /* lent until the next turn of the loop */
const struct platform_settings *control_settings(const struct control *c);
const char *control_installation(const struct control *c);
const char *control_replica(const struct control *c);
int control_edge_https_port(const struct control *c);
uv_loop_t *control_loop(const struct control *c);
const struct logger *control_logger(const struct control *c);
struct seen *control_seen(const struct control *c);
struct stream_logs *control_stream_logs(const struct control *c);   /* NULL: none are kept here */
struct statistics *control_statistics(const struct control *c);     /* NULL: it is not kept here */
struct bulk_queue *control_logs(const struct control *c);           /* NULL: none are kept here */
struct certificates *control_certificates(const struct control *c); /* NULL: none are kept here */
bool control_is_live(const struct control *c);
struct app_position control_position(const struct control *c);
int64_t control_clock_us(const struct control *c); /* the store's */
struct app *control_app(const struct control *c);  /* for app_wait */
/* What this replica did since it was started. */
struct control_counts {
    uint64_t appends, conflicts;
    uint64_t plans, plans_left, plans_stood_in; /* with something to do: appended as the preferred replica (or the only
                                                 * one), left to that one, appended because that one did not */
};
struct control_counts control_counts(const struct control *c);
/* Of blobs that nobody names, by this replica: false where it does not collect. */
bool control_collected(const struct control *c, struct blob_collected *ret, uint64_t *ret_runs);
/* Of the model; computed once a position. */
void control_model_hash(struct control *c, char ret_text[static HASH_TEXT_SIZE]);

/* ---- Being told of news: after each fold when live. ---- */
struct control_listener {
    void (*on_change)(void *ctx);
    void *ctx;
    struct control_listener *next; /* of the control */
};
void control_listen(struct control *c, struct control_listener *l); /* *l is borrowed until control_unlisten */
void control_unlisten(struct control *c, struct control_listener *l);
/* A node was heard, something is due: the planner looks again. */
void control_kick(struct control *c);
/* An edge confirmed something, or is there again: the planner looks, here and at the other replicas. */
void control_heard_edge(struct control *c);

/* The node's heartbeat was heard and is in `seen`: what its programs say about themselves is recorded, and judged
 * (control/instance_watch.h) if this process has the watchdog. Each heartbeat is judged once. */
void control_heard_node(struct control *c, struct id node_id);

/* ---- Commands ---- */
struct decide;
/* One of platform/decide.h's functions with its arguments. Called again after a conflict: what it keeps in args is set
 * anew by each call. */
typedef enum err (*control_decide_fn)(const struct decide *d, void *args, struct event_list *out, struct errinfo *err);
/* rc OK: durable and folded, events_n of them (0: there was nothing to do). err is lent, never NULL. */
typedef void (*control_done_fn)(void *ctx, enum err rc, size_t events_n, const struct errinfo *err);
/* Whether the command would do nothing, as far as this replica knows: decided at once, on the model as it is, without a
 * look at the store. For what is said again and again, and mostly says what is known. False also for an error, which is
 * to be decided on the newest model: submit it. */
bool control_has_nothing_to_do(struct control *c, control_decide_fn decide, void *args);
/* done is called exactly once, never from inside. args and ctx must live until then. */
void control_submit(struct control *c, control_decide_fn decide, void *args, control_done_fn done, void *ctx);

/* ---- Records of the platform's own log ---- */
/* As log_queue_read; n is 1..1000. */
void control_read_records(struct control *c, uint64_t after_seq, size_t n, log_read_fn done, void *ctx);
