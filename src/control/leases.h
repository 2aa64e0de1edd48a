#pragma once
/* control/leases.h - this replica's lease in the store, and who else holds one: whose votes count, which formats all
 * can read. Layer: control. Thread: loop; the store is asked in uv's pool, with a handle of its own. */
#include <stdbool.h>
#include <stdint.h>

#include "event/fields.h"

struct control;
struct leases;

/* Returned: leases_close. It is taken at once, and again five times before it runs out. */
struct leases *leases_new(struct control *c);
/* What it says of this replica has changed: say it now. l may be NULL. */
void leases_renew(struct leases *l);
/* An edge has confirmed something, or is new: the others are told soon, twice a second at most. l may be NULL. */
void leases_tell_edges(struct leases *l);
void leases_close(struct leases *l); /* given back; ends with control_part_closed */

/* Those that vote, by name; lent until the next turn of the loop. False: it is not known who is there, or nobody votes.
 * NULL: nothing is known. */
bool leases_voters(const struct leases *l, struct strs *ret_names);
struct store_lease;
/* All of them, by name; none when it is not known. Lent until the next turn of the loop. l may be NULL. */
const struct store_lease *leases_known(const struct leases *l, size_t *ret_n);
/* Those that plan and see the end of the log, by name; lent until the next turn of the loop. None: it is not known who
 * is there. l may be NULL. */
void leases_planners(const struct leases *l, struct strs *ret_names);
/* What the others tell of edges (control/edges.h); lent until the next turn of the loop. l may be NULL: nothing. */
struct edges_heard;
const struct edges_heard *leases_edges(const struct leases *l);
/* Since when that is known without a gap, monotonic; INT64_MAX: it is not. l may be NULL. */
int64_t leases_known_since_us(const struct leases *l);
/* The lowest format that any of them reads; 0: not known. */
int64_t leases_format_min(const struct leases *l);
