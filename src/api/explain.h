#pragma once
/* api/explain.h - the `explanation` member of an answer. Layer: api. */
#include "api/call.h"
#include "platform/explain.h"
#include "wire/explanation.h"

typedef enum err (*explain_fn)(const struct model *m, const struct platform_settings *s, struct id id, struct arena *a,
                               struct explanation *ret, struct errinfo *err);
/* Into the call's arena; empty when the object is gone meanwhile. */
struct explanation_text explanation_of(struct call *c, explain_fn explain, struct id id);
