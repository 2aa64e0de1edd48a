#pragma once
/* platform/snapshot.h - a whole model as bytes: what a checkpoint holds, and what model_hash is the hash of.
 * Canonical: two models that folded the same events have the same bytes, and no other bytes decode to them.
 * Format: docs/formats/snapshot.md. Layer: platform (may use base, event). Pure. */
#include "base/buf.h"
#include "platform/model.h"

/* Raised when the bytes change their meaning or an object has another member: older snapshots are thrown away, the log
 * is folded again (test_snapshot: the_shape_has_this_format fails until it is raised). */
#define SNAPSHOT_FORMAT 1u

/* All of the model, appended to *out. */
void snapshot_encode(const struct model *m, struct buf *out);
/* A model that goes on as the one that was encoded. *ret is returned: model_free. bytes are borrowed for the call and
 * need not be trusted: nothing bigger than a small multiple of them is allocated.
 * OK | ERR_CORRUPT they are not a snapshot of this format (says what and where) */
must_check enum err snapshot_decode(struct str bytes, struct model **ret, struct errinfo *err);
