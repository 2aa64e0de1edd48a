#pragma once
/* app/set_aside.h - the audited way out when a fold refuses an event: a SetAside at the end of the same log names it,
 * and every fold passes over it from then on. docs/internals/set-aside.md Layer: app (may use store, event, base).
 * Thread: any that may block. */
#include "store/store.h"

/* Does a SetAside behind record `seq` name it? Reads on from *after (at least seq), which moves to where it has looked:
 * the next question reads news only. OK: yes | ERR_NOT_FOUND: not so far | as store_read. Cost: reads what is behind.
 */
must_check enum err app_set_aside_find(struct store *s, uint64_t seq, uint64_t *after, struct errinfo *err);
