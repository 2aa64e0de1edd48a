#pragma once
/* cli/eventlog.h - what the verbs of `slipform eventlog` share. Layer: cli. */
#include "app/set_aside.h"
#include "cli/verbs.h"
#include "platform/model.h"
#include "store/store.h"

int eventlog_cat(struct cli *c, const char *log);
int eventlog_export(struct cli *c, const char *log, const char *file);
int eventlog_copy(struct cli *c, const char *from, const char *to);
int eventlog_import(struct cli *c, const char *file);
int eventlog_replay(struct cli *c, const char *log);
int eventlog_set_aside(struct cli *c, const char *log, const char *seq);

/* The spec of what was given: itself, or a folder as `files`, a file as `jsonl`. Returned: free(). */
char *eventlog_spec(const char *text);
/* eventlog_spec, opened. *ret: store_close. */
must_check enum err eventlog_open(const char *text, enum store_mode mode, struct store **ret, struct errinfo *err);
/* Fold behind m->seq up to record `until` (0: all), as the platform does: what a SetAside names is passed over.
 * OK | ERR_CORRUPT a record is refused: m->seq is the one before | as store_read */
must_check enum err eventlog_fold(struct store *s, struct model *m, uint64_t until, struct errinfo *err);
/* One record as a line of JSON, as `slipform events --json` has it; no newline. */
void eventlog_add_json(struct buf *out, const struct store *s, const struct store_record *r);
