#include "build/run.h"

#include <signal.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/own.h"
#include "wire/image.h"

/* Pauses between attempts of a report: 0.5 s, doubled up to 15 s; 10 minutes for the result, a minute for the
 * beginning, 4 s once we were asked to stop (chosen: an upgrade of the control plane takes some seconds). */
#define PAUSE_MS_MIN 500u
#define PAUSE_MS_MAX 15000u
#define BEGIN_TIMEOUT_MS 60000u
#define RESULT_TIMEOUT_MS 600000u
#define STOP_TIMEOUT_MS 4000u
#define CALL_TIMEOUT_MS 10000u
/* A replica that was asked before it folded what another one wrote is at most this far behind (chosen: a log that is
 * not seen for 5 s makes it answer 503). */
#define BEHIND_TIMEOUT_MS 10000u
/* A cause of 4 KiB and a configuration of 64 KiB, escaped. */
#define RESULT_SIZE_MAX ((size_t)512 * 1024)

enum state { STATE_BEGINNING, STATE_BUILDING, STATE_REPORTING, STATE_DONE };

struct build_run {
    struct build_run_options o;
    enum state state;
    bool is_stopping;
    uv_process_t process;
    uv_pipe_t in, result_pipe;
    uv_write_t write;
    uv_timer_t timer;
    struct buf request, result, report; /* report: the body of what is being told */
    bool is_ready;                      /* the report says ready */
    bool has_exited, has_result;        /* both ends of the core have come */
    struct http_call *call;
    char *path;
    size_t url_at;
    uint64_t report_since_ms, report_for_ms;
    unsigned pause_ms;
    int handles_open, exit_code;
    char chunk[4096];
};

static void report_send(struct build_run *r);

static void handle_closed(uv_handle_t *h)
{
    struct build_run *r = h->data;
    if (--r->handles_open > 0)
        return;
    r->o.on_done(r->exit_code, r->o.ctx);
    buf_done(&r->request);
    buf_done(&r->result);
    buf_done(&r->report);
    free(r->path);
    free(r);
}

static void close_handle(uv_handle_t *h)
{
    if (!uv_is_closing(h))
        uv_close(h, handle_closed);
}

static void finish(struct build_run *r, int exit_code)
{
    r->state = STATE_DONE;
    r->exit_code = exit_code;
    close_handle((uv_handle_t *)&r->timer);
}

/* --- reports */

static void on_timer(uv_timer_t *t)
{
    report_send(t->data);
}

static void core_start(struct build_run *r);

static void report_over(struct build_run *r, bool arrived)
{
    if (r->state == STATE_BEGINNING && arrived && !r->is_stopping)
        core_start(r);
    else if (r->state == STATE_BEGINNING)
        finish(r, 1);
    else
        finish(r, arrived && r->is_ready ? 0 : 1);
}

static void on_reported(struct http_result *result, void *ctx)
{
    struct build_run *r = ctx;
    r->call = NULL;
    if (result->code == OK) {
        report_over(r, true);
        return;
    }
    uint64_t now_ms = uv_now(r->o.loop);
    bool is_refused = result->status >= 400 && result->status < 500 && result->status != 408 && result->status != 429;
    /* It does not know the image yet, or not that this is its builder now. */
    bool may_be_behind = (result->status == 404 || result->status == 403) && r->o.management_urls_n > 1 &&
                         now_ms - r->report_since_ms < BEHIND_TIMEOUT_MS;
    r->url_at++;
    if ((is_refused && !may_be_behind) || now_ms - r->report_since_ms > r->report_for_ms) {
        log_err(r->o.log, &result->err, "the image's status could not be reported");
        report_over(r, false);
        return;
    }
    log_warn(r->o.log, "reporting the image's status again in %u ms: %s", r->pause_ms, result->err.msg);
    (void)uv_timer_start(&r->timer, on_timer, r->pause_ms, 0);
    r->pause_ms = r->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : r->pause_ms * 2;
}

static void report_send(struct build_run *r)
{
    struct http_call_options call = r->o.call;
    auto_free char *url = mem_printf("%s%s", r->o.management_urls[r->url_at % r->o.management_urls_n], r->path);
    call.method = "PUT";
    call.url = url;
    call.body = buf_str(&r->report);
    call.total_timeout_ms = CALL_TIMEOUT_MS;
    r->call = http_client_send(r->o.client, &call, on_reported, r);
}

static void report(struct build_run *r, const struct image_state *state, uint64_t for_ms)
{
    buf_clear(&r->report);
    fields_encode(&IMAGE_STATE_WIRE, state, &r->report);
    r->is_ready = str_eq_c(state->status, "ready");
    r->report_since_ms = uv_now(r->o.loop);
    r->report_for_ms = r->is_stopping ? STOP_TIMEOUT_MS : for_ms;
    r->pause_ms = PAUSE_MS_MIN;
    report_send(r);
}

/* --- the core */

static void report_result(struct build_run *r)
{
    AUTO(arena) struct arena arena = {0};
    struct image_state state = {0};
    struct errinfo err = {0};
    r->state = STATE_REPORTING;
    enum err rc = fields_parse(&IMAGE_STATE_WIRE, buf_str(&r->result), &arena, &state, &err);
    bool is_ready = rc == OK && str_eq_c(state.status, "ready");
    bool has_failed = rc == OK && str_eq_c(state.status, "failed") && !r->is_stopping;
    if (!is_ready && !has_failed) { /* nothing that the build itself did: it is for the planner to try it elsewhere */
        log_error(r->o.log, r->is_stopping ? "the build was stopped before its end"
                                           : "the build ended without a result: its core was killed, or died");
        finish(r, 1);
        return;
    }
    log_info(r->o.log, "the image is %.*s", STR_ARG(state.status));
    report(r, &state, RESULT_TIMEOUT_MS);
}

static void core_part_ended(struct build_run *r)
{
    if (r->has_exited && r->has_result)
        report_result(r);
}

static void on_core_exit(uv_process_t *p, int64_t status, int signal)
{
    struct build_run *r = p->data;
    (void)status, (void)signal; /* the result says more, and its absence says enough */
    r->has_exited = true;
    close_handle((uv_handle_t *)p);
    core_part_ended(r);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct build_run *r = h->data;
    (void)suggested;
    *ret = uv_buf_init(r->chunk, sizeof(r->chunk));
}

static void on_result(uv_stream_t *s, ssize_t n, const uv_buf_t *bytes)
{
    struct build_run *r = s->data;
    if (n > 0 && r->result.len + (size_t)n <= RESULT_SIZE_MAX) {
        buf_add(&r->result, bytes->base, (size_t)n);
        return;
    }
    if (n == 0)
        return;
    r->has_result = true;
    close_handle((uv_handle_t *)s);
    core_part_ended(r);
}

static void on_written(uv_write_t *w, int status)
{
    struct build_run *r = w->data;
    (void)status; /* a core that does not read ends without a result */
    close_handle((uv_handle_t *)&r->in);
}

/* The build's output is this program's: stdout and stderr are inherited. */
static void core_start(struct build_run *r)
{
    r->state = STATE_BUILDING;
    (void)uv_pipe_init(r->o.loop, &r->in, 0);
    (void)uv_pipe_init(r->o.loop, &r->result_pipe, 0);
    r->handles_open += 3;
    uv_stdio_container_t stdio[4] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&r->in},
        {.flags = UV_INHERIT_FD, .data.fd = 1},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r->result_pipe}};
    char *file = mem_strdup(r->o.core), flag[] = "--core", name[] = "image-builder", *argv[] = {name, flag, NULL};
    char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *env[] = {path, NULL};
    const uv_process_options_t o = {
        .exit_cb = on_core_exit, .file = file, .args = argv, .env = env, .stdio_count = 4, .stdio = stdio};
    int rc = uv_spawn(r->o.loop, &r->process, &o);
    free(file);
    if (rc != 0) {
        log_error(r->o.log, "start the build core: %s", uv_strerror(rc));
        r->has_exited = true;
        r->has_result = true;
        close_handle((uv_handle_t *)&r->process);
        close_handle((uv_handle_t *)&r->in);
        close_handle((uv_handle_t *)&r->result_pipe);
        core_part_ended(r);
        return;
    }
    fields_encode(&BUILD_REQUEST_TABLE, r->o.request, &r->request);
    uv_buf_t bytes = uv_buf_init(r->request.ptr, (unsigned)r->request.len);
    (void)uv_write(&r->write, (uv_stream_t *)&r->in, &bytes, 1, on_written);
    (void)uv_read_start((uv_stream_t *)&r->result_pipe, on_alloc, on_result);
}

struct build_run *build_run_start(const struct build_run_options *o)
{
    struct build_run *r = mem_alloc(sizeof(*r));
    char id[ID_TEXT_SIZE];
    r->o = *o;
    id_format(o->request->image_id, id);
    r->path = mem_printf("/v1/images/%s/status", id);
    r->in.data = r;
    r->result_pipe.data = r;
    r->process.data = r;
    r->write.data = r;
    (void)uv_timer_init(o->loop, &r->timer);
    r->timer.data = r;
    r->handles_open = 1;
    report(r, &(struct image_state){.status = STR("building")}, BEGIN_TIMEOUT_MS);
    return r;
}

void build_run_stop(struct build_run *r)
{
    if (r->is_stopping || r->state == STATE_DONE)
        return;
    r->is_stopping = true;
    if (r->state == STATE_BUILDING && !r->has_exited) {
        (void)uv_process_kill(&r->process, SIGTERM);
        return;
    }
    if (r->state == STATE_BUILDING) /* its result is about to be read */
        return;
    if (r->call != NULL)
        http_call_cancel(r->call);
    r->call = NULL;
    (void)uv_timer_stop(&r->timer);
    if (r->state == STATE_REPORTING) { /* one more attempt at what there is to tell */
        r->report_since_ms = uv_now(r->o.loop);
        r->report_for_ms = STOP_TIMEOUT_MS;
        r->pause_ms = PAUSE_MS_MIN;
        report_send(r);
        return;
    }
    finish(r, 1);
}
