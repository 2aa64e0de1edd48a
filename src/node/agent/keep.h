#pragma once
/* node/agent/keep.h - what the agent keeps on its disk, so that it asks nobody after a restart.
 * Layer: node. Format: docs/formats/node-agent.md. Every file is replaced whole and durably. */
#include "node/converge/converge.h"
#include "wire/instance.h"

/* state.json of an instance. */
struct kept_state {
    struct str status, health, cause; /* as reported last */
    bool was_started, is_failed, is_finished, is_removing, leaves_tombstone;
    int64_t restarts, boot_ms;
    struct str tap, ipv4, mac; /* of its network; empty: none */
    struct str revision;       /* hex: of spec and program of the run under way */
    struct str since;          /* RFC 3339, of the status */
};
extern const struct field_table KEPT_STATE_TABLE;

/* agent.json: who we are to the control plane. */
struct kept_agent {
    struct str incarnation; /* made when the home is new: an older one's reports are older */
    int64_t report_seq;     /* numbers up to here may have been used */
};
extern const struct field_table KEPT_AGENT_TABLE;

/* <folder>/<name>.json by its table. OK | ERR_IO */
must_check enum err keep_write(const char *folder, const char *name, const struct field_table *table, const void *value,
                               struct errinfo *err);
/* OK | ERR_NOT_FOUND | ERR_CORRUPT it is not what was written: says which file | ERR_IO */
must_check enum err keep_read(const char *folder, const char *name, const struct field_table *table,
                              struct arena *arena, void *ret_value, struct errinfo *err);
