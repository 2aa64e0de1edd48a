#pragma once
/* control/generations.h - a log that is kept in generations: each is an event log of its own (files store) in a folder
 * named by the number of records before it. The last one is written; old ones are deleted as a whole. Only the folders
 * and their queues are here; what is in them is its owner's (control/statistics.h). docs/formats/event-log.md
 * Layer: control. Thread: loop. */
#include "control/log_queue.h"

struct generation {
    uint64_t base;           /* records before it */
    struct log_queue *queue; /* NULL: not open */
};

/* Its owner fills what stands above `items`, zeroes the rest, and lists before anything else. */
struct generations {
    uv_loop_t *loop;
    char *folder;             /* owned; NULL: a series of the bulk store, which is one from 0 on */
    bool writes;              /* else it is only read here */
    uint64_t n_max;           /* more than so many: the first ones go */
    int64_t kept_s;           /* and those that were written last before that */
    struct generation *items; /* by base; never none after the first list */
    size_t n;
    bool is_made; /* there was one in the folder */
};

/* Looks for those that are not known yet. True: there is one behind all others. */
bool generations_list(struct generations *g);
void generations_add(struct generations *g, uint64_t base);
struct generation *generations_last(const struct generations *g);
/* The generation that holds what follows `after`, or the first one. */
struct generation *generations_at(const struct generations *g, uint64_t after);
/* The first one behind, or NULL. */
struct generation *generations_behind(const struct generations *g, uint64_t base);

/* Its queue, opened when it is not. Borrowed; each that was opened tells `closed` once, of one of the two below. */
struct log_queue *generations_open(const struct generations *g, struct generation *one);
/* Too many, or too old: closed, and their folders deleted. */
void generations_drop_old(struct generations *g, void (*closed)(void *ctx), void *ctx);
void generations_close(struct generations *g, void (*closed)(void *ctx), void *ctx);
/* Frees; queues are closed. */
void generations_done(struct generations *g);
