#pragma once
/* control/parts.h - what a control is made of; only for the files of this room.
 * Layer: control. */
#include "control/collector.h"
#include "control/control.h"
#include "control/keyring.h"
#include "control/leases.h"
#include "control/preferred.h"
#include "control/write_proof.h"
#include "crypto/seal_keys.h"
#include "platform/decide.h"
#include "platform/plan.h"

struct planner;
struct watchdog;
struct certifier;
struct prover;
struct housekeeping;

struct control {
    struct control_options o;
    struct model *model;
    struct arena event_texts; /* of the event that is being folded; kept for the next */
    struct app *app;
    struct gateway gateway;
    struct id_source ids;
    struct seen *seen;
    struct bulk_queue *bulk;         /* NULL: none are kept here */
    struct stream_logs *stream_logs; /* NULL: none are kept here */
    struct statistics *statistics;   /* NULL: it is not kept here */
    struct certificates *certificates;
    struct seal_file seal_file; /* of o.seal_key_file, for identities; the keyring has one of its own */
    struct keyring *keyring;    /* NULL: without one */
    struct control_listener *listeners;
    struct planner *planner;     /* NULL: not this process's */
    struct watchdog *watchdog;   /* NULL: not this process's */
    struct certifier *certifier; /* NULL: not this process's */
    struct prover *prover;       /* NULL: not this process's, or there is no resolver to ask */
    struct log_queue *reading;   /* of the platform's own log, for people and tools */
    struct housekeeping *housekeeping;
    struct collector *collector; /* NULL: not this process's */
    struct leases *leases;       /* who else works on this log */
    struct write_proof *write_proof;
    int64_t live_mono_us;    /* when this replica went live; 0: not yet */
    int64_t listens_mono_us; /* since when it could hear without a gap: what edges it knows rests on that */
    uv_timer_t pulse;        /* of sight.c */
    int64_t pulse_us;        /* its last one, monotonic */
    bool was_ready;          /* as last told */
    struct errinfo told_why;
    bool may_vote;     /* as of the watchdog's last look */
    uint64_t hash_seq; /* position of hash */
    char hash[HASH_TEXT_SIZE];
    bool is_hashed, is_closing;
    char checkpoint_path[CONTROL_PATH_SIZE];
    uint64_t checkpoint_seq;           /* that this process began with; 0: with the first event */
    struct errinfo checkpoint_trouble; /* as last told */
    unsigned closing_n;                /* parts that are not closed yet */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* How the runtime folds, tries and keeps the model. */
void control_fold_options(struct control *c, struct app_options *ret);
/* Say what is wrong with the checkpoint, once. */
void control_tell_checkpoint(struct control *c);

/* The arguments that all decisions share. */
struct decide control_decide(struct control *c);
/* Append a list to what app will append. */
void control_events_add(struct app_events *to, const struct event_list *list);
/* sight.c: tell on_state when it has changed; look now and then. */
void control_tell_state(struct control *c);
void control_pulse_start(struct control *c);
void control_pulse_stop(struct control *c); /* ends with control_part_closed */

/* Edges as this replica hears them itself, on the clock of now_ms. In the arena. */
struct edge_observed *control_edges(const struct control *c, int64_t now_ms, struct arena *a, size_t *ret_n);

/* Is this replica the one that does first what concerns this id (control/preferred.h)? Also when nobody is known. */
bool control_is_preferred(const struct control *c, struct id what);

/* A part has closed its handles. */
void control_part_closed(struct control *c);

struct planner *planner_new(struct control *c);
void planner_look(struct planner *p);   /* there may be something to do */
void planner_forget(struct planner *p); /* the model is another one: what was kept of it is of no use */
void planner_count(const struct planner *p, struct control_counts *ret); /* its part of them */
void planner_close(struct planner *p);                                   /* ends with control_part_closed */

struct watchdog *watchdog_new(struct control *c);
void watchdog_close(struct watchdog *w); /* ends with control_part_closed */

struct certifier *certifier_new(struct control *c);
void certifier_look(struct certifier *w);
void certifier_close(struct certifier *w); /* ends with control_part_closed */

struct housekeeping *housekeeping_new(struct control *c);
void housekeeping_close(struct housekeeping *h); /* ends with control_part_closed */

struct sockaddr_storage;
struct prover *prover_new(struct control *c, const struct sockaddr_storage *server);
void prover_close(struct prover *w);
