#pragma once
/* cli/status_replicas.h - the part of `slipform status` that is about the replicas of the control plane: each as it
 * tells itself (GET /v1/replica), and what they know of each other. Layer: cli. */
#include <jansson.h>

#include "cli/command.h"

/* Sets `replicas`, `leases`, `suspects` and `edges` of doc, the last three as the first replica that answers knows
 * them; adds what is wrong to problems. doc: has its `programs`, which say what an id of a replica is to people. */
void status_replicas(const struct cli *c, json_t *doc, json_t *problems);
/* The same as tables. */
void status_replicas_print(const json_t *doc);

/* One more of {code, title, detail, hint}. */
void status_problem(json_t *problems, const char *code, const char *title, const char *detail, const char *hint);
