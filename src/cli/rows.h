#pragma once
/* cli/rows.h - what the list verbs show, gathered from the APIs and shaped as the black-box contract has it. Layer:
 * cli. */
#include "cli/client.h"

/* A copy of `row` with exactly `keys`, in that shape: null for what is absent. Returned. */
json_t *row_shape(const json_t *row, const char *const *keys, size_t keys_n);
/* GET {agent}{path} of a node's agent. Returned doc: json_decref. */
must_check enum err agent_call(const struct cli *c, const struct installation_node *n, const char *path,
                               json_t **ret_doc, struct errinfo *err);
/* Every instance: those of the control plane, and the bootstrap's as their agents tell. Rows of `ps`. When the control
 * plane does not answer, the agents tell all, and *ret_partial is true. Returned: json_decref. */
json_t *rows_instances(const struct cli *c, bool *ret_partial);
/* Print rows as the verb shows them: JSON array or table. Returns the exit code. */
struct column;
int rows_print(const struct cli *c, const json_t *rows, const struct column *columns);
