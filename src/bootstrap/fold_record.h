#pragma once
/* bootstrap/fold_record.h - one record of a log into a model, outside of the runtime: for whoever reads a log without
 * the control plane. Layer: bootstrap. Blocks. */
#include "platform/model.h"
#include "store/store.h"

/* What the log sets aside is passed over, as every fold does (docs/internals/set-aside.md).
 * OK | ERR_CORRUPT the fold refuses it, and nothing sets it aside: the model is as it was | as store_read of what is
 * behind, which is read only for a record that is refused. */
must_check enum err fold_record(struct store *s, struct model *m, const struct store_record *r, struct errinfo *err);
