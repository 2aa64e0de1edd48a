#pragma once
/* api/follow.h - lists, and following them: GET …?cursor=<opaque>&wait=<s> (contract for reading).
 * Layer: api. Without a cursor the answer is everything, `full`. With one it is what changed since, and the ids of what
 * went; when there is nothing it waits. So it holds for every list: a reader that pages (limit, after) gets `next`. */
#include "api/call.h"

/* 30 s: the contract. */
#define FOLLOW_WAIT_S_MAX 30
/* Items of one answer; more of them come with `next` (chosen). */
#define FOLLOW_LIMIT_MAX 10000

/* What an answer is collected into. */
struct feed {
    uint64_t since; /* objects that changed behind this position are news */
    bool is_full;   /* everything is asked for */
    struct id after;
    size_t limit;
    struct buf items, removed;
    size_t items_n, removed_n;
    struct id last;
    bool has_more;
    char cursor[APP_CURSOR_TEXT_SIZE]; /* of the model that it was collected from */
};

/* Called with the model as it is; walks in id order and adds. It may be called several times for one call. */
typedef void (*collect_fn)(struct call *c, struct feed *f);

/* Whether the object belongs into the answer; then feed_add it. */
bool feed_wants(struct feed *f, struct id id, uint64_t changed_seq);
void feed_add(struct feed *f, const struct field_table *table, struct id id, const void *document);
/* It is not in the list any more (deleted, or it does not match the filter); nothing in a full answer. */
void feed_remove(struct feed *f, struct id id);
/* What the model remembers as removed. scope: of an instance its node; ID_NONE: any. */
void feed_remove_gone(struct call *c, struct feed *f, enum object_kind kind, struct id scope);

/* The answer is to be: finish(c, f) completes f->items, perhaps later, and calls follow_reply once; f is lent for the
 * call. */
typedef void (*finish_fn)(struct call *c, const struct feed *f);
void follow_finished(struct call *c, collect_fn collect, finish_fn finish);
void follow_reply(struct call *c, const struct feed *f);

/* Answer the list, now or when there is news: query parameters cursor, wait, limit, after. */
void follow(struct call *c, collect_fn collect);
/* The same of a list in which nothing is new before the node is asked for something else (node->instances_seq): there
 * may be thousands of them, and an event concerns one. */
void follow_asked(struct call *c, collect_fn collect, struct id node_id);
/* The same for what a project has: that of the path, whose id (not it: it may go meanwhile) collect finds in c->data.
 */
void follow_of_project(struct call *c, collect_fn collect);
