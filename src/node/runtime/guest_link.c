#include "node/runtime/guest_link.h"

#include <unistd.h>

#include "base/mem.h"
#include "base/own.h"
#include "base/random.h"

struct guest_link {
    uv_pipe_t pipe;
    uv_timer_t timer;      /* ends the pause of a flood */
    uv_timer_t again;      /* an ATTACH that has no answer yet */
    int64_t stop_grace_ms; /* -1: it was not asked to stop */
    int handles_n;
    struct guest_link_events events;
    uint8_t nonce[GUEST_NONCE_SIZE];
    bool has_hello, is_over, is_closing, is_paused;
    struct buf in;
    size_t skipped;
    uint32_t handled; /* last number; a frame that comes again is not handled again */
    size_t window_bytes;
    uint64_t window_end_ms;
    char room[16384];
};

struct write {
    uv_write_t request;
    char *bytes;
};

static void on_written(uv_write_t *request, int status)
{
    struct write *w = (struct write *)(void *)request;
    (void)status; /* a broken connection shows when reading */
    free(w->bytes);
    free(w);
}

static void send_frame(struct guest_link *l, enum guest_frame_type type, uint32_t number, struct str payload)
{
    AUTO(buf) struct buf frame = {0};
    guest_frame_add(&frame, type, number, payload);
    struct write *w = mem_alloc(sizeof(*w));
    size_t len = frame.len;
    w->bytes = buf_take(&frame);
    uv_buf_t part = uv_buf_init(w->bytes, (unsigned)len);
    if (l->is_closing || uv_write(&w->request, (uv_stream_t *)&l->pipe, &part, 1, on_written) < 0) {
        free(w->bytes);
        free(w);
    }
}

static void broken(struct guest_link *l, const char *why)
{
    if (l->is_over)
        return;
    l->is_over = true;
    (void)uv_read_stop((uv_stream_t *)&l->pipe);
    l->events.on_broken(l->events.arg, why);
}

static void on_hello(struct guest_link *l, struct str payload)
{
    AUTO(arena) struct arena a = {0};
    struct guest_hello hello;
    if (fields_parse(&GUEST_HELLO_WIRE, payload, &a, &hello, NULL) != OK) {
        broken(l, "its hello cannot be read");
        return;
    }
    l->has_hello = true;
    (void)uv_timer_stop(&l->again);
    l->events.on_hello(l->events.arg, &hello);
}

static void on_dropped(struct guest_link *l, struct str payload)
{
    AUTO(arena) struct arena a = {0};
    struct guest_dropped dropped;
    if (fields_parse(&GUEST_DROPPED_WIRE, payload, &a, &dropped, NULL) == OK)
        l->events.on_dropped(l->events.arg, &dropped);
}

static void on_exit_frame(struct guest_link *l, struct str payload)
{
    AUTO(arena) struct arena a = {0};
    struct guest_exit how;
    if (fields_parse(&GUEST_EXIT_WIRE, payload, &a, &how, NULL) != OK)
        broken(l, "its exit status cannot be read");
    else
        l->events.on_exit(l->events.arg, &how);
}

static void handle(struct guest_link *l, const struct guest_frame *f)
{
    bool is_new = f->number == 0 || (int32_t)(f->number - l->handled) > 0;
    if (!is_new)
        return;
    if (f->number != 0)
        l->handled = f->number;
    switch (f->type) {
    case GUEST_STARTED: l->events.on_started(l->events.arg); break;
    case GUEST_OUTPUT:
        if (f->payload.len > 1 && (f->payload.ptr[0] == 1 || f->payload.ptr[0] == 2))
            l->events.on_output(l->events.arg, f->payload.ptr[0], str_slice(f->payload, 1, f->payload.len));
        break;
    case GUEST_DROPPED: on_dropped(l, f->payload); break;
    case GUEST_EXIT: on_exit_frame(l, f->payload); break;
    case GUEST_HELLO: break; /* an answer to an earlier greeting */
    case GUEST_CONFIG:
    case GUEST_ATTACH:
    case GUEST_STOP:
    case GUEST_ACK: broken(l, "it sent a frame that only hosts send"); break;
    }
}

/* Take one frame off `in`. False: more bytes are needed, or it is over. */
static bool take(struct guest_link *l, size_t *at)
{
    struct guest_frame f;
    size_t used;
    struct str rest = str_slice(buf_str(&l->in), *at, l->in.len);
    enum err rc =
        l->has_hello ? guest_frame_next(rest, &f, &used, NULL) : guest_hello_find(rest, l->nonce, &f, &used, NULL);
    *at += used;
    if (rc == ERR_NOT_FOUND || l->is_over)
        return false;
    if (rc != OK && l->has_hello)
        broken(l, "it sent bytes that are no frame");
    else if (rc != OK && (l->skipped += used) > LINK_SKIP_MAX)
        broken(l, "it did not say hello");
    else if (rc == OK && !l->has_hello)
        on_hello(l, f.payload);
    else if (rc == OK)
        handle(l, &f);
    return !l->is_over && !l->is_closing;
}

static void take_all(struct guest_link *l)
{
    size_t at = 0;
    uint32_t before = l->handled;
    while (take(l, &at))
        ;
    buf_consume(&l->in, at);
    if (l->handled != before)
        send_frame(l, GUEST_ACK, l->handled, (struct str){0});
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct guest_link *l = handle->data;
    *ret = uv_buf_init(l->room, sizeof(l->room));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes);

static void on_pause_over(uv_timer_t *timer)
{
    struct guest_link *l = timer->data;
    l->is_paused = false;
    if (!l->is_over)
        (void)uv_read_start((uv_stream_t *)&l->pipe, on_alloc, on_read);
}

static void watch_rate(struct guest_link *l, size_t n)
{
    uint64_t now_ms = uv_now(l->pipe.loop);
    if (now_ms >= l->window_end_ms) {
        l->window_end_ms = now_ms + LINK_WINDOW_MS;
        l->window_bytes = 0;
    }
    l->window_bytes += n;
    if (l->window_bytes <= LINK_WINDOW_BYTES || l->is_over || l->is_closing)
        return;
    l->is_paused = true;
    (void)uv_read_stop((uv_stream_t *)&l->pipe);
    (void)uv_timer_start(&l->timer, on_pause_over, l->window_end_ms - now_ms, 0);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *bytes)
{
    struct guest_link *l = stream->data;
    if (n == 0 || l->is_over)
        return;
    if (n < 0) {
        l->is_over = true;
        (void)uv_read_stop(stream);
        l->events.on_closed(l->events.arg);
        return;
    }
    buf_add(&l->in, bytes->base, (size_t)n); /* bounded: a frame is at most 64 KiB, all whole ones are taken */
    take_all(l);
    watch_rate(l, (size_t)n);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct guest_link *l = handle->data;
    if (--l->handles_n > 0)
        return;
    buf_done(&l->in);
    free(l);
}

enum err guest_link_open(uv_loop_t *loop, int fd, const struct guest_link_events *events, struct guest_link **ret_link,
                         struct errinfo *err)
{
    struct guest_link *l = mem_alloc(sizeof(*l));
    l->events = *events;
    l->handles_n = 3;
    l->stop_grace_ms = -1;
    (void)uv_pipe_init(loop, &l->pipe, 0);
    (void)uv_timer_init(loop, &l->timer);
    (void)uv_timer_init(loop, &l->again);
    l->pipe.data = l->timer.data = l->again.data = l;
    int rc = uv_pipe_open(&l->pipe, fd);
    if (rc < 0)
        (void)close(fd);
    else
        rc = uv_read_start((uv_stream_t *)&l->pipe, on_alloc, on_read);
    if (rc < 0) {
        guest_link_close(l);
        return err_set(err, ERR_IO, "read from the guest: %s", uv_strerror(rc));
    }
    *ret_link = l;
    return OK;
}

static void send_stop(struct guest_link *l)
{
    AUTO(buf) struct buf payload = {0};
    fields_encode(&GUEST_STOP_WIRE, &(struct guest_stop){l->stop_grace_ms}, &payload);
    send_frame(l, GUEST_STOP, 0, buf_str(&payload));
}

/* What we said may have been lost between the end of the host before us and us: the guest's port forgets what it got
 * when it learns late that somebody has gone. An ATTACH twice is no harm, nor is a STOP. */
static void on_again(uv_timer_t *timer)
{
    struct guest_link *l = timer->data;
    if (l->is_over || l->has_hello)
        return;
    guest_link_greet(l, (struct str){0});
    if (l->stop_grace_ms >= 0)
        send_stop(l);
}

void guest_link_greet(struct guest_link *l, struct str config)
{
    random_bytes(l->nonce, sizeof(l->nonce));
    l->has_hello = false;
    AUTO(buf) struct buf payload = {0};
    buf_add(&payload, l->nonce, sizeof(l->nonce));
    buf_add_str(&payload, config);
    send_frame(l, config.len > 0 ? GUEST_CONFIG : GUEST_ATTACH, 0, buf_str(&payload));
    if (config.len == 0)
        (void)uv_timer_start(&l->again, on_again, LINK_GREET_AGAIN_MS, 0);
}

void guest_link_stop(struct guest_link *l, int64_t grace_ms)
{
    l->stop_grace_ms = grace_ms < 0 ? 0 : grace_ms;
    send_stop(l);
}

void guest_link_close(struct guest_link *l)
{
    if (l == NULL)
        return;
    l->is_over = l->is_closing = true;
    uv_close((uv_handle_t *)&l->timer, on_handle_closed);
    uv_close((uv_handle_t *)&l->again, on_handle_closed);
    uv_close((uv_handle_t *)&l->pipe, on_handle_closed);
}
