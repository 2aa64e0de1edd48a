#pragma once
/* platform/work.h - which objects the rules of a plan must look at, and when.
 *
 * An object has a record here only while there is a reason: it changed since a rule looked at it last (it is *dirty*),
 * a rule asked to be woken at a time, or it waits for something that many wait for (room, edges, a certificate).
 * Dirty ones come out in the order of the rules, so that a plan of what changed and a plan of everything look at the
 * same objects in the same order. Marking, taking out and waking cost the logarithm of the records.
 * Layer: platform. Pure. */
#include "base/map.h"
#include "event/id.h"

/* In the order in which a plan looks at them. */
enum work_class {
    WORK_NODE,
    WORK_INSTANCE,
    WORK_IMAGE,
    WORK_PROCESS, /* by project, then id: what is there is kept whole before something new gets room */
    WORK_UNPLACED /* deployments that wait to be placed: first come, first served */
};
#define WORK_NEVER INT64_MAX

/* What many wait for. TURN: among those who wait for room, whoever has waited longest gets what becomes free.
 * NODES: a node that may be placed on and could not be before, or the other way
 * round. ZONES: the first such node of a zone, or of a kind. CLOCK: it steps back, so that what was due is not yet. */
enum { WORK_ROOM, WORK_EDGES, WORK_CERTIFICATE, WORK_TURNS, WORK_NODES, WORK_ZONES, WORK_CLOCK, WORK_WAITS_N };
enum {
    WORK_WAITS_ROOM = 1 << WORK_ROOM,
    WORK_WAITS_EDGES = 1 << WORK_EDGES,
    WORK_WAITS_CERTIFICATE = 1 << WORK_CERTIFICATE,
    WORK_WAITS_TURN = 1 << WORK_TURNS,
    WORK_WAITS_NODE = 1 << WORK_NODES,
    WORK_WAITS_ZONE = 1 << WORK_ZONES,
    WORK_WAITS_CLOCK = 1 << WORK_CLOCK
};

struct work {
    struct work_key {
        struct id id;
        uint32_t kind; /* enum object_kind */
    } key;
    uint32_t waits; /* WORK_WAITS_* */
    enum work_class class;
    uint64_t seq;    /* order among WORK_UNPLACED */
    struct id scope; /* order among WORK_PROCESS */
    int64_t at_ms;   /* WORK_NEVER: no time */
    size_t heap_at[2];
    struct work *next[WORK_WAITS_N], *before[WORK_WAITS_N]; /* of those that wait for the same */
    UT_hash_handle hh;
};

struct work_heap {
    struct work **items;
    size_t n, size;
};

struct work_list {
    struct work *all;
    struct work_heap heaps[2];          /* dirty, timed */
    struct work *waiting[WORK_WAITS_N]; /* the first of each */
};

void work_done(struct work_list *l);
/* It is dirty, and stands there in the order. */
void work_mark(struct work_list *l, struct work_key key, enum work_class class, uint64_t seq, struct id scope);
struct work *work_find(const struct work_list *l, struct work_key key); /* NULL: there is no reason to look at it */
bool work_is_dirty(const struct work *w);
bool work_has(const struct work_list *l, struct work_key key);
/* It waits for these, besides what it waits for. */
void work_wait(struct work_list *l, struct work_key key, uint32_t waits);
/* It is gone. */
void work_drop(struct work_list *l, struct work_key key);
/* Not dirty any more; what it waits for stays. */
void work_unmark(struct work_list *l, struct work *w);
/* Dirty: those whose time has come; those that wait for any of these and are of this class or a later one. */
void work_mark_due(struct work_list *l, int64_t now_ms);
void work_mark_waiting(struct work_list *l, uint32_t waits, enum work_class from);
/* The first dirty one; NULL: none. It stays dirty. */
struct work *work_first(const struct work_list *l);
/* A rule has looked at it: not dirty any more; this is when to look again and what it waits for. It may be freed. */
void work_settle(struct work_list *l, struct work *w, int64_t at_ms, uint32_t waits);
/* The first time of all; WORK_NEVER. */
int64_t work_soonest(const struct work_list *l);
size_t work_size_bytes(const struct work_list *l);
