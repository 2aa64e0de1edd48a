#include "api/call.h"

#include <stdarg.h>

#include "api/parts.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "event/fields_read.h"

/* ---- answers ---- */

static const char *status_title(int status)
{
    static const struct {
        int status;
        const char *title;
    } TITLES[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
    };
    for (size_t i = 0; i < sizeof(TITLES) / sizeof(TITLES[0]); i++)
        if (TITLES[i].status == status)
            return TITLES[i].title;
    return "Error";
}

static void answered(struct call *c, int status, struct str body)
{
    c->is_answered = true;
    if (c->idempotent != NULL)
        idempotency_keep(TAKE(c->idempotent), status, body, c->location, c->position);
}

void call_location(struct call *c, const char *prefix, struct id id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    c->location = arena_printf(&c->arena, "%s%s", prefix, text);
    http_respond_header(c->r, "Location", c->location);
}

static bool is_read(const struct call *c)
{
    return strcmp(c->route->method, "GET") == 0 && (c->route->flags & ROUTE_EARLY) == 0;
}

void call_position(struct call *c)
{
    if (c->position != NULL)
        return;
    struct app_position at = control_position(c->api->o.control);
    char text[APP_CURSOR_TEXT_SIZE];
    app_cursor_format(&at, text);
    c->position = arena_strdup(&c->arena, text);
    http_respond_header(c->r, "Slipform-Position", c->position);
    if (is_read(c) && c->sight != SIGHT_LIVE)
        http_respond_header(c->r, "Slipform-Stale", sight_name(c->sight));
}

void call_reply_text(struct call *c, int status, struct str json)
{
    if (is_read(c))
        call_position(c);
    answered(c, status, json);
    http_respond_bytes(c->r, status, "application/json", json);
}

void call_reply_status(struct call *c, int status, const struct field_table *table, const void *document)
{
    AUTO(buf) struct buf text = {0};
    fields_encode(table, document, &text);
    call_reply_text(c, status, buf_str(&text));
}

void call_reply(struct call *c, const void *document)
{
    call_reply_status(c, c->route->status, c->route->answer, document);
}

static void reply_problem(struct call *c, int status, const char *code, struct str detail)
{
    struct problem p = {.type = STR("about:blank"),
                        .title = str_from(status_title(status)),
                        .status = status,
                        .detail = detail,
                        .code = str_from(code)};
    AUTO(buf) struct buf text = {0};
    fields_encode(&PROBLEM_WIRE, &p, &text);
    c->is_answered = true; /* problems are not kept for idempotency: the caller may mend it and try again */
    http_respond_bytes(c->r, status, "application/problem+json", buf_str(&text));
}

void call_reply_problem(struct call *c, int status, const char *code, const char *detail_fmt, ...)
{
    AUTO(buf) struct buf detail = {0};
    va_list ap;
    va_start(ap, detail_fmt);
    buf_vaddf(&detail, detail_fmt, ap);
    va_end(ap);
    reply_problem(c, status, code, buf_str(&detail));
}

void call_reply_error(struct call *c, const struct errinfo *err)
{
    struct str detail = str_from(err->msg);
    int status = err_http_status(err->code);
    if (err->code == ERR_IO || err->code == ERR_CORRUPT) { /* paths and system errors are not for the wire */
        log_err(control_logger(c->api->o.control), err, "%s %s", c->route->method, c->route->pattern);
        detail = STR("the platform could not do this: its log says why");
    }
    if (err->code == ERR_UNAVAILABLE)
        http_respond_header(c->r, "Retry-After", "1");
    reply_problem(c, status, err_name(err->code), detail);
}

void call_reply_missing(struct call *c, const char *what)
{
    call_reply_problem(c, 404, err_name(ERR_NOT_FOUND), "there is no such %s", what);
}

void call_reply_gone(struct call *c, enum object_kind kind, struct id id)
{
    struct errinfo err;
    err_ignore(model_missing(call_model(c), kind, id, &err));
    call_reply_error(c, &err);
}

/* ---- inputs ---- */

const struct model *call_model(const struct call *c)
{
    return control_model(c->api->o.control);
}

/* Programs write the plain form, which needs no tree; its errors are the tree's to tell. */
enum err call_decode(const struct call *c, const struct field_table *table, struct arena *arena, void *ret_document,
                     struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    const char *type = http_request_header(c->r, "Content-Type");
    if (type != NULL && strcmp(type, "application/json") == 0 &&
        fields_read(table, http_request_body(c->r), arena, ret_document))
        return OK;
    enum err rc = http_request_json(c->r, &doc, err);
    return rc == OK ? fields_decode(table, doc, arena, ret_document, err) : rc;
}

bool call_read(struct call *c, const struct field_table *table, void *ret_document)
{
    struct errinfo err = {0};
    enum err rc = call_decode(c, table, &c->arena, ret_document, &err);
    if (rc != OK)
        call_reply_error(c, &err);
    return rc == OK;
}

bool call_body_has(struct call *c, const char *member)
{
    auto_json json_t *doc = NULL;
    return http_request_json(c->r, &doc, NULL) == OK && json_object_get(doc, member) != NULL;
}

bool call_id(struct call *c, const char *name, const char *what, struct id *ret_id)
{
    if (id_parse(str_from(http_request_param(c->r, name)), ret_id))
        return true;
    call_reply_missing(c, what);
    return false;
}

struct str call_query_str(const struct call *c, const char *name)
{
    return str_from(http_request_query(c->r, name));
}

bool call_query_id(struct call *c, const char *name, struct id *ret_id)
{
    struct str text = call_query_str(c, name);
    *ret_id = ID_NONE;
    if (text.ptr == NULL || id_parse(text, ret_id))
        return true;
    call_reply_problem(c, 400, err_name(ERR_INVALID), "query parameter '%s' must be an id (UUID)", name);
    return false;
}

bool call_query_i64(struct call *c, const char *name, int64_t min, int64_t max, int64_t fallback, int64_t *ret)
{
    struct str text = call_query_str(c, name);
    *ret = fallback;
    if (text.ptr == NULL || (str_parse_i64(text, ret) && *ret >= min && *ret <= max))
        return true;
    call_reply_problem(c, 400, err_name(ERR_INVALID), "query parameter '%s' must be a number from %lld to %lld", name,
                       (long long)min, (long long)max);
    return false;
}

/* ---- a request arrives ---- */

static void call_free(void *data)
{
    struct call *c = data;
    if (c->wait != NULL)
        follow_forget(c->wait);
    if (c->idempotent != NULL)
        idempotency_drop(c->idempotent);
    if (c->data_free != NULL)
        c->data_free(c->data);
    arena_done(&c->arena);
    free(c);
}

static struct call *call_new(struct http_request *r, const struct http_route *route, struct api *api)
{
    struct call *c = mem_alloc(sizeof(*c));
    c->api = api;
    c->r = r;
    c->route = &api->rows[route - api->http_routes];
    http_request_set_data(r, c, call_free);
    return c;
}

static void reply_unauthenticated(struct call *c, const char *why)
{
    http_respond_header(c->r, "WWW-Authenticate", "Bearer realm=\"slipform\"");
    call_reply_problem(c, 401, "unauthenticated", "%s", why);
}

enum err api_authorize(struct http_request *r, const struct http_route *route, void *ctx, struct errinfo *err)
{
    struct call *c = call_new(r, route, ctx);
    if (c->route->callers == CALLER_ANYBODY)
        return OK;
    struct errinfo why = {0};
    enum err rc = caller_read(http_request_peer(r), http_request_bearer(r), &c->api->tokens,
                              control_installation(c->api->o.control), &c->caller, &why);
    char roles[96];
    caller_mask_describe(c->route->callers, roles, sizeof(roles));
    if (rc != OK) {
        reply_unauthenticated(c, why.msg);
    } else if (c->caller.role == CALLER_ANYBODY) {
        why.msg[0] = '\0';
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "this is for %s: send 'Authorization: Bearer <token>' or use a client certificate", roles);
        reply_unauthenticated(c, text);
    } else if ((c->route->callers & (int)c->caller.role) == 0) {
        call_reply_problem(c, 403, err_name(ERR_DENIED), "this is for %s, the certificate is that of %s '%s'", roles,
                           caller_role_name(c->caller.role), c->caller.id);
    } else {
        return OK;
    }
    return err_set(err, ERR_DENIED, "refused");
}

static bool query_is_known(struct call *c)
{
    const char *name = NULL, *value = NULL;
    for (size_t i = 0; http_request_query_at(c->r, i, &name, &value); i++) {
        struct str rest = str_from(c->route->query), known;
        bool found = false;
        while (!found && str_next(&rest, ' ', &known))
            found = str_eq_c(known, name);
        if (!found) {
            call_reply_problem(c, 400, err_name(ERR_INVALID), "there is no query parameter '%s' here; known: %s", name,
                               c->route->query == NULL ? "none" : c->route->query);
            return false;
        }
    }
    return true;
}

bool call_may_answer(struct call *c)
{
    struct errinfo why = {0};
    if ((c->route->flags & ROUTE_EARLY) != 0)
        return true;
    c->sight = control_sight(c->api->o.control, &why);
    bool only_looks = is_read(c) && (c->caller.role == CALLER_OPERATOR || (c->route->flags & ROUTE_FIXED) != 0);
    bool is_heard = (c->route->flags & ROUTE_HEARD) != 0;
    if (c->sight == SIGHT_LIVE || (sight_lets_look(c->sight) && (only_looks || is_heard)))
        return true;
    call_reply_error(c, &why);
    return false;
}

static void run(struct call *c)
{
    if (idempotency_begin(c->api->idempotency, c))
        c->route->handle(c);
}

static void reached(void *ctx, enum err rc, const struct errinfo *err)
{
    struct call *c = ctx;
    if (rc == OK) {
        if (call_may_answer(c))
            run(c);
    } else if (rc == ERR_UNAVAILABLE) {
        http_respond_header(c->r, "Retry-After", "1");
        call_reply_problem(
            c, 503, "behind",
            "this replica has not folded the position that you have seen yet: ask again, or another one");
    } else {
        call_reply_error(c, err);
    }
}

/* The position that the reader has seen: of Slipform-Position, or a feed's cursor. False: answered. */
static bool seen_position(struct call *c, uint64_t *ret_seq)
{
    const char *texts[] = {http_request_header(c->r, "Slipform-Position"),
                           (c->route->flags & ROUTE_FEED) != 0 ? http_request_query(c->r, "cursor") : NULL};
    struct app_position now = control_position(c->api->o.control), at;
    *ret_seq = 0;
    for (int i = 0; i < 2; i++) {
        struct errinfo err = {0};
        if (texts[i] == NULL || texts[i][0] == '\0')
            continue;
        if (app_cursor_parse(str_from(texts[i]), &at, &err) != OK) {
            call_reply_problem(c, 400, err_name(ERR_INVALID), "%s '%s' is not one of ours: leave it out to start anew",
                               i == 0 ? "header Slipform-Position" : "cursor", texts[i]);
            return false;
        }
        if (id_eq(at.log, now.log) && at.seq > *ret_seq) /* of another log: nothing to compare with */
            *ret_seq = at.seq;
    }
    return true;
}

static void heard_of_node(struct call *c)
{
    if (c->caller.role != CALLER_NODE)
        return;
    const struct node *n = model_node_by_name(call_model(c), str_from(c->caller.id));
    if (n != NULL)
        seen_node_alive(control_seen(c->api->o.control), n->id, clock_mono_us(), clock_wall_us());
}

void api_on_headers(struct http_request *r, void *ctx)
{
    struct call *c = http_request_data(r);
    (void)ctx;
    if (call_may_answer(c) && query_is_known(c))
        c->route->on_headers(c);
}

void api_handle(struct http_request *r, void *ctx)
{
    struct call *c = http_request_data(r);
    struct api *api = ctx;
    uint64_t seq = 0;
    heard_of_node(c);
    if (!call_may_answer(c) || !query_is_known(c))
        return;
    if ((c->route->flags & ROUTE_EARLY) != 0) {
        c->route->handle(c);
        return;
    }
    if (!seen_position(c, &seq))
        return;
    if (seq <= control_position(api->o.control).seq)
        run(c);
    else
        (void)app_wait(control_app(api->o.control), seq, APP_BEHIND_MS, reached, c);
}

/* ---- commands ---- */

struct command {
    struct call *call;
    void *args;
    void (*done)(struct call *c, void *args, size_t events_n);
};

static void command_done(void *ctx, enum err rc, size_t events_n, const struct errinfo *err)
{
    const struct command *cmd = ctx; /* in the call's arena */
    struct call *c = cmd->call;
    if (rc != OK) {
        call_reply_error(c, err);
        return;
    }
    call_position(c);
    cmd->done(c, cmd->args, events_n);
}

void call_submit(struct call *c, control_decide_fn decide, void *args,
                 void (*done)(struct call *c, void *args, size_t events_n))
{
    struct errinfo why = {0};
    if (control_sight(c->api->o.control, &why) != SIGHT_LIVE) {
        call_reply_error(c, &why);
        return;
    }
    struct command *cmd = arena_alloc(&c->arena, sizeof(*cmd));
    *cmd = (struct command){c, args, done};
    control_submit(c->api->o.control, decide, args, command_done, cmd);
}
