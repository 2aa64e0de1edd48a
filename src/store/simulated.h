#pragma once
/* store/simulated.h - logs in memory, for simulators and tests: virtual time, seeded faults, no files and no threads.
 * Layer: store. Pure but for what its caller does: the same seed and calls give the same answers.
 *
 * A world holds any number of logs by name; each handle, store_open("simulated;name=X", {.world = w}), is like a
 * connection to one server. Handles of one world are used by one thread. Nothing blocks: a delay is told, not waited
 * for. The world outlives its handles. */
#include "store/store.h"

struct store_world;
struct store_world *store_world_new(uint64_t seed);
void store_world_free(struct store_world *w); /* NULL is fine; no handle may be open */

/* The clock of all stores of this world. It begins at 2026-01-01T00:00:00Z and may jump, also back. */
void store_world_set_now_us(struct store_world *w, int64_t now_us);

/* Odds in 1,000 of each call. {0}: none, as in a new world. */
struct store_odds {
    uint32_t unavailable; /* any call: ERR_UNAVAILABLE, nothing happened */
    uint32_t conflict;    /* append: ERR_CONFLICT though nobody was first (a database's serialisation failure) */
    uint32_t lost_before; /* append: ERR_IO, nothing was written; the handle is failed until store_reopen */
    uint32_t lost_after;  /* append: ERR_IO, all was written; the same */
    uint32_t torn;        /* append: ERR_IO, only the first of several groups were written; the same */
    uint32_t slow;        /* any call: takes up to delay_us_max more */
    int64_t delay_us_max;
};
void store_world_set_odds(struct store_world *w, const struct store_odds *odds);
/* A partition: every call of every handle on that log is ERR_UNAVAILABLE until it is set to false. */
void store_world_set_unreachable(struct store_world *w, const char *name, bool is_unreachable);
/* A fail-over or a restore lost the end: records after seq are gone, the log goes on from there as the same one. */
void store_world_rewind(struct store_world *w, const char *name, uint64_t seq);
/* Bit rot: who reads that record meets ERR_CORRUPT. */
void store_world_damage(struct store_world *w, const char *name, uint64_t seq);

/* How long the last call of this handle took, in virtual microseconds (base 100 for an append, 10 for others). */
int64_t store_simulated_took_us(const struct store *s);
