#pragma once
/* control/preferred.h - which of several replicas does first what any of them could do, so that they do not all do it
 * at once and leave it to the log to throw away the work of all but one. The others do it a second later if it is still
 * needed. Never correctness depends on this: every append is conditional, and every rule holds whoever plans.
 *
 * What is preferred is a whole plan, not each object in it: a plan is decided as one (room that one event gives away
 * the next does not count on), so the replicas of a log agree on one of them for all plans: docs/decisions/
 * preferred-replica.md. Certificates are made one by one, so their replica is chosen for each host.
 * Layer: control. Pure: no clock, no loop; the simulator runs it too. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/events.h"

/* What the others leave to the preferred one: as APP_NOT_PREFERRED_MS (chosen). */
#define PREFERRED_LEAVES_MS 1000
/* A plan that was not empty at any look for this long is appended whatever is in it: news that come faster than anybody
 * plans cannot keep a replica waiting for ever (chosen). */
#define PREFERRED_LEAVES_MS_MAX 5000

/* Rendezvous hash: the index of the one that is preferred for `what`; SIZE_MAX when there are none. The order of the
 * names plays no part; when one goes or comes, only what it is preferred for moves. */
size_t preferred_of(const struct strs *replicas, struct id what);
/* Is it `self`? Also when nobody is known. */
bool preferred_is(const struct strs *replicas, struct str self, struct id what);

/* What a replica that is not preferred has seen to be left to do, since when. {0} to begin with; preferred_done. */
struct preferred_left {
    struct preferred_thing {
        uint64_t what; /* kind of the event and the object that it is about */
        int64_t since_ms;
    } *things;
    size_t things_n;
    int64_t since_ms; /* of the first plan that was not empty, without an empty one in between */
};
void preferred_done(struct preferred_left *l);
/* A replica that is not preferred has planned this at now_ms (any clock that does not jump). True: append it, for some
 * of it was left for a second. False: leave it, and look again at *ret_again_ms (INT64_MAX: nothing is left). */
bool preferred_stands_in(struct preferred_left *l, const struct event_list *plan, int64_t now_ms,
                         int64_t *ret_again_ms);
