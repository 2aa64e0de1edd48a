#pragma once
/* cli/past.h - the installation as it was: its log folded up to an instant, as rows that people read.
 * Layer: cli. Reads the log on disk, so it works while the control plane is away. */
#include <jansson.h>

#include "cli/command.h"
#include "platform/model.h"

/* Fold up to `at`: an instant (RFC 3339, that instant included) or a position ("120": the first 120 events).
 * *ret_model is returned: model_free. OK | ERR_INVALID at | ERR_NOT_FOUND no log | ERR_CORRUPT damage before it */
must_check enum err past_fold(const struct cli *c, const char *at, struct model **ret_model, struct errinfo *err);

enum past_kind { PAST_NODES, PAST_PROJECTS, PAST_DEPLOYMENTS, PAST_INSTANCES, PAST_IMAGES, PAST_KIND_MAX_ };
const char *past_kind_name(enum past_kind kind); /* "node", "project", ... */
/* All objects of a kind in id order, in the shape of the verbs that list them (instances: as `ps`; what the log does
 * not hold, a pid, is null). "id" and "label" are in each row too. Returned: json_decref. */
json_t *past_rows(const struct model *m, enum past_kind kind);
/* The instant of the last event folded, "" when there is none. */
void past_time(const struct model *m, char ret_text[static EVENT_TIME_TEXT_SIZE]);
