#pragma once
/* platform/snapshot.h - a whole model as bytes: what a checkpoint holds, and what model_hash is the hash of.
 * Canonical: two models that folded the same events have the same bytes, and no other bytes decode to them.
 * Format: docs/formats/snapshot.md. Layer: platform (may use base, event). Pure. */
#include "base/buf.h"
#include "platform/model.h"

/* Raised when a fold makes something else of the same events though no object has another member: models of both would
 * differ without a sign. Members tell by themselves. */
#define SNAPSHOT_FOLD 1u

/* A number of what objects are made of (names, kinds and bounds of all members, in order) and of SNAPSHOT_FOLD: a
 * snapshot is read by the programs that have the same number only; others fold the log. Below 2^63. */
uint64_t snapshot_format(void);
/* All of the model, appended to *out. Not within a trial (asserted). */
void snapshot_encode(const struct model *m, struct buf *out);
/* SHA-256 of the same bytes, which are not kept. */
void snapshot_hash(const struct model *m, uint8_t ret_hash[static 32]);
/* A model that goes on as the one that was encoded. *ret is returned: model_free. bytes are borrowed for the call and
 * need not be trusted: nothing bigger than a small multiple of them is allocated.
 * OK | ERR_CORRUPT they are not a snapshot of this format (says what and where) */
must_check enum err snapshot_decode(struct str bytes, struct model **ret, struct errinfo *err);
