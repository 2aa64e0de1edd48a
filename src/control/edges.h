#pragma once
/* control/edges.h - which edges are there and what each has confirmed, as far as any replica knows: an edge asks one
 * replica at a time, and another one may be the one that plans. Each replica tells by its lease what it hears
 * (edges_tell), and keeps what the others tell (edges_hear); the planner sees both (edges_observe).
 *
 * What is known of an edge is on the side of waiting:
 *  - it is there as long as anybody has heard it within edge_live_seconds. What a lease says is true for as long as
 * that lease holds, and counts for edge_live_seconds more when it has run out: until then an edge whose replica has
 * died is on its way to another one.
 *  - it has confirmed the lowest of what those say who have heard it so lately: a poll that one replica takes for alive
 *    may be of the life before a crash.
 * Layer: control. Pure: no clock, no loop; the simulator runs it too. Instants are milliseconds of any one clock. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "platform/plan.h"

/* Edges of all other replicas that are kept; more than that count as one that has confirmed nothing (chosen). */
#define EDGES_HEARD_MAX 4096u
/* A name as in a certificate, and its NUL. */
#define EDGE_NAME_SIZE 64u

struct edges_heard {
    struct edge_row { /* by: empty for the one that stands for those that have no row */
        char by[EDGE_NAME_SIZE], name[EDGE_NAME_SIZE]; /* by: the replica that hears it */
        uint64_t confirmed_seq;
        int64_t seen_ms;
    } *rows;
    size_t n;
};
void edges_heard_done(struct edges_heard *h); /* {0} to begin with */

/* The text of a lease: "NAME SEQ SILENT_MS;" for each edge that was heard within live_ms, in the order given. Those
 * that do not fit are one, named '*': the lowest that any of them has confirmed, heard when the last of them was. */
void edges_tell(const struct edge_observed *edges, size_t n, int64_t now_ms, int64_t live_ms, char *ret, size_t size);

/* The lease of `by` holds at now_ms, and says this. True: an edge is new, or has confirmed something else. What is no
 * such text is passed over: a replica of another version.
 */
bool edges_hear(struct edges_heard *h, struct str by, struct str text, int64_t now_ms);
/* What was heard before that instant is forgotten. */
void edges_forget(struct edges_heard *h, int64_t before_ms);

/* What the planner is to know: own, and what is told of the others (NULL: nothing), an edge once, by name; those that
 * nobody heard within live_ms are left out. Lives in the arena, names of `own` are lent. */
struct edge_observed *edges_observe(const struct edges_heard *h, const struct edge_observed *own, size_t own_n,
                                    int64_t now_ms, int64_t live_ms, struct arena *a, size_t *ret_n);
