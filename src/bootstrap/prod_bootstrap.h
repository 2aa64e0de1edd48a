#pragma once
/* bootstrap/prod_bootstrap.h - the platform process over the hardcoded bootstrap log, with live gateways and no
 * workloads.
 *
 * Happy path: fold event 1, carry out its effects until they succeed, note "1 done", fold event 2, …; at the log's end
 * it stops. It emits nothing and is never in replay mode: a new run starts at event 1, because its effects are
 * idempotent; the note only lets an interrupted run go on where it was. What fails is tried again until the deadline.
 * Layer: bootstrap. Blocks. */
#include "gateway/runner/runner.h"
#include "platform/model.h"

struct bootstrap_options {
    const char *log_file;        /* JSONL */
    const char *checkpoint_file; /* the note */
    const char *installation;    /* owner that is written as "bootstrap" stays "bootstrap"; for texts */
    int64_t effect_timeout_ms;   /* 0: 60,000 for each effect */
    /* The agent of node `name`. ERR_NOT_FOUND: the inventory has no such node. */
    enum err (*find_runner)(void *ctx, struct str name, struct runner *ret, struct errinfo *err);
    void (*say)(void *ctx, const char *text); /* one line per effect */
    void *ctx;
};

/* OK at the log's end | ERR_INVALID, ERR_CORRUPT naming the line | ERR_UNAVAILABLE an effect did not succeed in time */
must_check enum err bootstrap_run(const struct bootstrap_options *o, struct errinfo *err);

/* One row per line that is wrong (or all lines, with `all`): what `slipform bootstrap --check` prints. *ret_bad counts.
 */
struct bootstrap_line {
    uint64_t line;
    bool ok;
    const char *cause; /* lent for the call */
};
must_check enum err bootstrap_check(const char *log_file, void (*on_line)(void *ctx, const struct bootstrap_line *l),
                                    void *ctx, uint64_t *ret_bad, struct errinfo *err);

/* The instances that the log places, in its order; texts live in the arena. */
struct bootstrap_instance {
    struct id instance_id;
    struct str node, name; /* of the node, of the process */
};
must_check enum err bootstrap_instances(const char *log_file, struct arena *a, struct bootstrap_instance **ret,
                                        size_t *ret_n, struct errinfo *err);

/* Append CreateRegion and CreateZone to the platform's own log where they are absent: the first events of an
 * installation. `store_spec` as in store/store.h. log: the incarnation that this installation has had (another one is
 * ERR_CONFLICT, none ERR_NOT_FOUND), or ID_NONE: it is made when it is not there. ret_log: which it is. */
must_check enum err bootstrap_seed_places(const char *store_spec, struct id log, struct str region,
                                          const struct str *zones, size_t zones_n, struct id *ret_log,
                                          struct errinfo *err);
