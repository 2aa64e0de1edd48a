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
    FIELD_REQ(STR, ready, state, "state", "live: the log's end was seen a moment ago"),
};
const struct field_table READY_WIRE = FIELD_TABLE(ready, READY_FIELDS);

/* A problem (RFC 9457) that says more: what it still answers from, where it only reads. */
struct not_ready {
    struct problem problem;
    struct ready ready;
};
static const struct field NOT_READY_FIELDS[] = {
    FIELD_REQ(STR, not_ready, problem.type, "type", ""),
    FIELD_REQ(STR, not_ready, problem.title, "title", ""),
    FIELD_REQ(I64, not_ready, problem.status, "status", ""),
    FIELD_REQ(STR, not_ready, problem.detail, "detail", "why"),
    FIELD_REQ(STR, not_ready, problem.code, "code", ""),
    FIELD_REQ(STR, not_ready, ready.state, "state", "replaying, stalled, unseen, read-only"),
    FIELD_OPT(STR, not_ready, ready.position, "position", "that it answers reads from"),
    FIELD_OPT(I64, not_ready, ready.seq, "seq", "events folded"),
    FIELD_OPT(STR, not_ready, ready.model_hash, "model_hash", "at this position"),
};
static const struct field_table NOT_READY_WIRE = FIELD_TABLE(not_ready, NOT_READY_FIELDS);

void healthz(struct call *c)
{
    call_reply_text(c, 200, STR("{\"status\":\"ok\"}"));
}

static void reply_not_ready(struct call *c, const struct errinfo *why, const struct ready *r)
{
    AUTO(buf) struct buf text = {0};
    struct not_ready doc = {{.type = STR("about:blank"),
                             .title = STR("Service Unavailable"),
                             .status = 503,
                             .detail = str_from(why->msg),
                             .code = str_from(err_name(why->code))},
                            *r};
    fields_encode(&NOT_READY_WIRE, &doc, &text);
    c->is_answered = true;
    http_respond_header(c->r, "Retry-After", "1");
    http_respond_bytes(c->r, 503, "application/problem+json", buf_str(&text));
}

void readyz(struct call *c)
{
    struct control *control = c->api->o.control;
    struct errinfo why = {0};
    enum sight sight = control_sight(control, NULL);
    bool is_ready = control_is_ready(control, &why);
    struct app_position at = control_position(control);
    char position[APP_CURSOR_TEXT_SIZE] = "", hash[HASH_TEXT_SIZE] = "";
    struct ready r = {.state = str_from(!is_ready && sight == SIGHT_LIVE ? "read-only" : sight_name(sight))};
    if (sight_lets_look(sight)) {
        app_cursor_format(&at, position);
        control_model_hash(control, hash);
        r.position = str_from(position);
        r.model_hash = str_from(hash);
        r.seq = (int64_t)at.seq;
    }
    if (is_ready)
        call_reply(c, &r);
    else
        reply_not_ready(c, &why, &r);
}

void replica_get(struct call *c)
{
    struct replica_resource r;
    view_replica(c->api->o.control, &c->arena, &r);
    if (c->api->o.notifier != NULL)
        c->api->o.notifier(c->api->o.render_ctx, &r.notifier);
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
