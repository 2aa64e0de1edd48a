#include "api/api.h"

#include <stdlib.h>

#include "api/parts.h"
#include "base/clock.h"
#include "blob/jobs.h"

/* Bodies are documents; routes that take more say so (chosen). */
#define BODY_LIMIT ((uint64_t)64 * 1024)

static void look(struct api *api, bool is_stopping)
{
    follow_look(api, clock_mono_us(), is_stopping);
    stream_look(api, is_stopping);
    log_waits_look(api, clock_mono_us(), is_stopping);
    if (api->is_timer_on && api->waits == NULL && api->node_waits == NULL && api->log_waits == NULL &&
        api->streams == NULL) {
        uv_timer_stop(&api->timer);
        api->is_timer_on = false;
    }
}

static void on_tick(uv_timer_t *timer)
{
    look(timer->data, false);
}

static void on_change(void *ctx)
{
    look(ctx, false);
}

void api_tick_needed(struct api *api)
{
    if (api->is_timer_on || api->is_stopping)
        return;
    api->is_timer_on = true;
    uv_timer_start(&api->timer, on_tick, API_TICK_MS, API_TICK_MS);
}

static bool is_offered(const struct api_options *o, const struct api_table_row *row)
{
    return row->face == FACE_BOTH || (row->face == FACE_MANAGEMENT && o->management) ||
           (row->face == FACE_PUBLIC && o->is_public);
}

static struct http_route http_route_of(const struct api_route *row)
{
    return (struct http_route){.method = row->method,
                               .pattern = row->pattern,
                               .handler = api_handle,
                               .on_headers = row->on_headers != NULL ? api_on_headers : NULL,
                               .body_limit_bytes = row->body_limit_bytes != 0 ? row->body_limit_bytes : BODY_LIMIT,
                               .auth = row->callers,
                               .doc = row->doc};
}

struct api *api_new(const struct api_options *o)
{
    struct api *api = mem_alloc(sizeof(*api));
    api->o = *o;
    api->tokens.file = o->token_file;
    api->idempotency = idempotency_new();
    api->blob_jobs = blob_jobs_new(control_loop(o->control), o->blobs);
    api->rows = mem_calloc(API_TABLE_N, sizeof(*api->rows));
    api->http_routes = mem_calloc(API_TABLE_N, sizeof(*api->http_routes));
    for (size_t i = 0; i < API_TABLE_N; i++) {
        if (!is_offered(o, &API_TABLE[i]))
            continue;
        api->rows[api->rows_n] = API_TABLE[i].route;
        api->http_routes[api->rows_n++] = http_route_of(&API_TABLE[i].route);
    }
    api->listener = (struct control_listener){.on_change = on_change, .ctx = api};
    control_listen(o->control, &api->listener);
    uv_timer_init(control_loop(o->control), &api->timer);
    api->timer.data = api;
    return api;
}

void api_stop(struct api *api)
{
    api->is_stopping = true;
    look(api, true);
}

static void on_closed(uv_handle_t *handle)
{
    struct api *api = handle->data;
    void (*closed)(void *) = api->closed;
    void *ctx = api->closed_ctx;
    operator_tokens_done(&api->tokens);
    idempotency_free(api->idempotency);
    blob_jobs_free(api->blob_jobs); /* every request is answered: none is under way */
    free(api->rows);
    free(api->http_routes);
    free(api);
    if (closed != NULL)
        closed(ctx);
}

void api_close(struct api *api, void (*closed)(void *ctx), void *ctx)
{
    control_unlisten(api->o.control, &api->listener);
    api->closed = closed;
    api->closed_ctx = ctx;
    uv_close((uv_handle_t *)&api->timer, on_closed);
}

static void on_done(const struct http_exchange *x, void *ctx)
{
    const struct api *api = ctx;
    if (api->o.on_exchange != NULL)
        api->o.on_exchange(api->o.exchange_ctx, x);
}

void api_server_options(struct api *api, struct http_server_options *ret_options)
{
    ret_options->routes = api->http_routes;
    ret_options->routes_n = api->rows_n;
    ret_options->ctx = api;
    ret_options->authorize = api_authorize;
    ret_options->on_done = on_done;
    ret_options->body_limit_bytes = BODY_LIMIT;
}
