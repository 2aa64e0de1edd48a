#pragma once
/* cli/project.h - the project that a verb names. Layer: cli. */
#include "cli/client.h"

/* By name, slug or id. *ret_project is returned: json_decref. OK | ERR_NOT_FOUND there is none, says how to see them |
 * errors of the call */
must_check enum err project_find(const struct cli *c, const char *name, json_t **ret_project, struct errinfo *err);
