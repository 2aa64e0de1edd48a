#include "api/explain.h"

#include "api/parts.h"

struct explanation_text explanation_of(struct call *c, explain_fn explain, struct id id)
{
    struct explanation e = {0};
    const struct platform_settings *s = control_settings(c->api->o.control);
    if (explain(call_model(c), s, id, &c->arena, &e, NULL) != OK)
        return (struct explanation_text){0};
    return (struct explanation_text){e.where, e.state, e.why, e.change};
}
