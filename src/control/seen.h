#pragma once
/* control/seen.h - what this replica heard and the log does not hold: heartbeats of nodes, statistics of instances,
 * how far edges have confirmed. In memory only: gone with the process, heard anew within seconds.
 * Layer: control. Thread: loop. Instants are monotonic microseconds that the caller passes in; last_wall_us is for
 * people. */
#include "base/mem.h"
#include "wire/node.h"

struct seen;

struct seen_node {
    struct id node_id;
    int64_t heard_us;          /* last heartbeat or other sign of life */
    int64_t heard_wall_us;     /* the same, for people */
    struct node_report report; /* the last one; zero before the first */
};

struct seen_edge {
    struct str name;        /* of its certificate */
    int64_t heard_us;       /* begin or end of its last poll */
    unsigned polls_n;       /* that wait now: it is live */
    uint64_t confirmed_seq; /* its Envoy serves the routes as of this position; 0: not known yet */
};

struct seen *seen_new(void); /* seen_free */
void seen_free(struct seen *s);

/* Any authenticated request of a node. */
void seen_node_alive(struct seen *s, struct id node_id, int64_t now_us, int64_t wall_us);
/* A heartbeat. Takes the arena that the report was decoded into (*arena is {0} afterwards). A report that is older than
 * the last one of the same boot is ignored: false, and the arena is freed. */
bool seen_node_report(struct seen *s, struct id node_id, const struct node_report *report, struct arena *arena,
                      int64_t now_us, int64_t wall_us);
/* NULL: never heard of. Lent until the next report. */
const struct seen_node *seen_node_find(const struct seen *s, struct id node_id);

/* What that node's last heartbeat holds of an instance. NULL: nothing. Lent until the next report. */
const struct instance_report *seen_instance_report(const struct seen *s, struct id node_id, struct id instance_id);

/* Texts are copied. */
void seen_instance_statistics(struct seen *s, struct id instance_id, const struct instance_statistics *statistics,
                              int64_t now_us);
/* NULL: never heard of. Lent until the next report. */
const struct instance_statistics *seen_instance_find(const struct seen *s, struct id instance_id);
/* Those that were last reported before that instant go. */
void seen_forget_silent(struct seen *s, int64_t before_us);

/* An edge that polls again after that long may have been given up by the other replicas (one poll and a half, chosen).
 */
#define SEEN_EDGE_SILENT_US 7000000
/* A poll of an edge begins and ends. confirmed_seq 0: nothing confirmed by it. Returns true when what it has confirmed
 * is news, or that it is there. A lower number than before is taken too: an edge that was set up anew serves nothing
 * yet. */
bool seen_edge_poll_begin(struct seen *s, const char *name, uint64_t confirmed_seq, int64_t now_us);
void seen_edge_poll_end(struct seen *s, const char *name, int64_t now_us);
/* All edges that were heard of, live or not, in order of name. Lent until the next poll of an edge. */
size_t seen_edges_n(const struct seen *s);
const struct seen_edge *seen_edge_at(const struct seen *s, size_t i);
