#pragma once
/* control/sight.h - how much this replica sees of its log, and what it may do with that: the one place of the rule.
 *
 *   sight      what it is                                        who only looks   who acts on it, writes, plans, votes
 *   REPLAYING  it folds what was there before it began           no               no
 *   LIVE       its model held all of the log SIGHT_FRESH_MS ago  yes              yes
 *   STALLED    its fold refused an event, or the log is damaged  yes, and is told no
 *   UNSEEN     it has not seen the log's end for SIGHT_FRESH_MS  yes, and is told no
 *
 * Who only looks is a person: an old answer, with the position that it is of and the word that it is old, helps more
 * than none. Who acts on it is a program: node-agents start and stop what they are told, edges lead requests there. An
 * old answer to one that follows tells it nothing new, but to one that starts anew it gives back instances that are
 * gone and addresses that are somebody else's: it gets 503, keeps what it has and asks again, or another replica.
 * Heartbeats are heard (and answered 503: they could not be recorded), so that nodes are not strangers when sight comes
 * back. A reader that has seen more than the model holds gets 503 `behind` in every case.
 *
 * What an id names for ever (a certificate, an image: ROUTE_FIXED) is given to programs as to people: there is no older
 * answer, and a host that nobody asked for yet is served, too.
 *
 * Five seconds bound also what a replica does that was stopped for a while and goes on with what it knew: before it has
 * read the log's end again it only looks. What the log itself protects (a write on what is not its end) needs no
 * clock: every append is conditional. */
#include <stdbool.h>
#include <stdint.h>

/* Five looks at the log (APP_POLL_MS); less than an edge or a node is waited for (chosen). */
#define SIGHT_FRESH_MS 5000

enum sight { SIGHT_REPLAYING, SIGHT_LIVE, SIGHT_STALLED, SIGHT_UNSEEN };
const char *sight_name(enum sight s); /* "replaying", "live", "stalled", "unseen" */

/* end_seen_us: before the look that showed that the model held all of the log; INT64_MIN: never. Monotonic, as now_us.
 */
enum sight sight_of(bool is_live, bool is_stalled, int64_t end_seen_us, int64_t now_us);
/* It may answer who only looks; with SIGHT_LIVE everybody. */
bool sight_lets_look(enum sight s);

struct control;
struct errinfo;
/* ret_why (may be NULL): why it is not LIVE; OK when it is. */
enum sight control_sight(const struct control *c, struct errinfo *ret_why);
/* As it is told to who asks whether this replica is ready: its sight, and whether it could append the last time, or has
 * proved since that it could (control/write_proof.h). True: it is. ret_why: why not. */
bool control_is_ready(const struct control *c, struct errinfo *ret_why);

/* Since when this replica has listened without a gap, monotonic: a loop that stood still was deaf. What it knows of
 * edges and nodes rests on that. Looks at the clock itself, so it is right before any timer has run. */
int64_t control_listens_us(struct control *c);
/* It stood still a moment ago and its timers have not run since: what it heard last says nothing about now. */
bool control_was_deaf(struct control *c);
