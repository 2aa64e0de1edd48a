/* What says how this process is. */
#include "api/handlers.h"
#include "api/parts.h"
#include "base/own.h"

static const struct field EMPTY_FIELDS[] = {
    {NULL, FIELD_STR, 0, false, NULL, NULL}, /* C has no empty arrays */
};
const struct field_table EMPTY_WIRE = {"empty", 0, EMPTY_FIELDS, 0};

struct ready {
    struct str position, model_hash, state;
    int64_t seq;
};
static const struct field READY_FIELDS[] = {
    FIELD_REQ(STR, ready, position, "position", "as in Slipform-Position"),
    FIELD_REQ(I64, ready, seq, "seq", "events folded"),
    FIELD_REQ(STR, ready, model_hash, "model_hash", "the same on every replica at this position"),
    FIELD_REQ(STR, ready, state, "state", "live"),
};
const struct field_table READY_WIRE = FIELD_TABLE(ready, READY_FIELDS);

void healthz(struct call *c)
{
    call_reply_text(c, 200, STR("{\"status\":\"ok\"}"));
}

void readyz(struct call *c)
{
    struct control *control = c->api->o.control;
    struct errinfo why = {0};
    control_state(control, &why);
    if (why.code != OK) {
        call_reply_error(c, &why);
        return;
    }
    struct app_position at = control_position(control);
    char position[APP_CURSOR_TEXT_SIZE], hash[HASH_TEXT_SIZE];
    app_cursor_format(&at, position);
    control_model_hash(control, hash);
    struct ready r = {str_from(position), str_from(hash), STR("live"), (int64_t)at.seq};
    call_reply(c, &r);
}

void metrics_get(struct call *c)
{
    if (c->api->o.render_metrics == NULL) {
        call_reply_missing(c, "resource");
        return;
    }
    AUTO(buf) struct buf text = {0};
    c->api->o.render_metrics(c->api->o.render_ctx, &text);
    c->is_answered = true;
    http_respond_bytes(c->r, 200, "text/plain; version=0.0.4", buf_str(&text));
}

void openapi_get(struct call *c)
{
    AUTO(buf) struct buf text = {0};
    api_openapi(c->api, &text);
    call_reply_text(c, 200, buf_str(&text));
}

void not_in_this_version(struct call *c)
{
    call_reply_problem(c, 501, "not-in-this-version", "not in this version: %s", c->route->doc);
}
