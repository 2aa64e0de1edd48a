#pragma once
/* control/write_proof.h - after an append that failed: does the log take one again? Asked without one, since there may
 * be nothing to write for long, and who asks whether this replica is ready sends it no writes while it says no.
 * Layer: control. Thread: loop; the store is asked in uv's pool, with a handle of its own, so that one that hangs keeps
 * nothing else from it: neither the look at the log's end, which sight is, nor the lease. */

struct control;
struct write_proof;

struct write_proof *write_proof_new(struct control *c); /* returned: write_proof_close */
/* Once a second: asks (store_prove) when the last append failed and the log's end is seen; then rests for as long as
 * that took. Nothing is asked while all is well. */
void write_proof_look(struct write_proof *w);
void write_proof_close(struct write_proof *w); /* ends with control_part_closed */
