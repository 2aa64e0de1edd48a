/* The jetstream store: the kind. store/jetstream.h says how it is made. */
#include "store/jetstream.h"

#include <poll.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/own.h"

static void jet_close(struct store *s)
{
    struct jet *j = s->impl;
    jet_disconnect(j);
    free(j->servers);
    free(j->stream);
    free(j->subject);
    free(j->bucket);
    free(j->keys);
    buf_done(&j->text);
    free(j);
    s->impl = NULL;
}

/* While a log is opened, a question that nobody answers is asked again after this: a stream has no leader in the
 * moments in which it is made (chosen). */
#define ASK_AGAIN_MS 1000u

static enum err find_or_make(struct store *s, struct errinfo *err)
{
    enum err rc = jet_ready(s, err);
    if (rc == OK)
        rc = jet_stream_check(s, err);
    if (rc == OK && s->mode != STORE_READ && !str_eq_c(store_spec_get(s, "beside"), "no"))
        rc = jet_bucket_make(s, err);
    if (rc == OK)
        rc = jet_fence(s, err);
    return rc == OK ? jet_tail(s, err) : rc;
}

/* Several may make it at the same time: replicas that are started together for the first time. */
static enum err find_patiently(struct store *s, struct jet *j, struct errinfo *err)
{
    uint64_t timeout_ms = j->timeout_ms;
    int64_t until_us = clock_mono_us() + (int64_t)timeout_ms * 1000;
    j->timeout_ms = timeout_ms < ASK_AGAIN_MS ? timeout_ms : ASK_AGAIN_MS;
    enum err rc = find_or_make(s, err);
    while (rc == ERR_UNAVAILABLE && clock_mono_us() < until_us && !atomic_load(&s->is_cancelled)) {
        (void)poll(NULL, 0, JET_SLICE_MS);
        rc = find_or_make(s, err);
    }
    j->timeout_ms = timeout_ms;
    return rc;
}

static enum err open_stream(struct store *s, struct jet *j, struct errinfo *err)
{
    enum err rc = jet_spec_read(s, j, err);
    if (rc != OK)
        return rc;
    free(s->name);
    s->name = mem_printf("jetstream:%s", j->stream);
    s->log = ID_NONE; /* whichever it is: store_reopen compares */
    rc = jet_ready(s, err);
    if (rc == OK)
        rc = jet_check_sync(s, err);
    return rc == OK ? find_patiently(s, j, err) : rc;
}

static enum err jet_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    (void)ret_repair;
    struct id before = s->log;
    struct jet *j = mem_alloc(sizeof(*j));
    j->tail.end.time = j->from.end.time = j->upto.end.time = EVENT_TIME_MIN;
    s->impl = j;
    if (s->news_fd < 0)
        s->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* without one: looking now and then is the net */
    enum err rc = open_stream(s, j, err);
    if (rc == OK) {
        store_clock_saw(s, j->tail.end.time);
        return OK;
    }
    if (id_is_none(s->log))
        s->log = before;
    jet_close(s);
    return rc;
}

static enum err jet_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    const struct jet *j = s->impl;
    enum err rc = jet_ready(s, err);
    if (rc == OK)
        rc = jet_tail(s, err);
    if (rc == OK)
        *ret_end = (struct store_pos){j->tail.end.seq, j->tail.end.sum};
    return rc;
}

static int64_t jet_clock_us(struct store *s)
{
    int64_t offset_us = atomic_load(&s->clock_offset_us);
    return offset_us == 0 ? clock_wall_us() : clock_mono_us() + offset_us;
}

const struct store_kind STORE_JETSTREAM = {
    .name = "jetstream",
    .open = jet_open,
    .close = jet_close,
    .append = jet_append,
    .prove = jet_prove,
    .read = jet_read,
    .end = jet_end,
    .clock_us = jet_clock_us,
    .has_news = true,
    .lease_put = jet_lease_put,
    .lease_drop = jet_lease_drop,
    .lease_list = jet_lease_list,
    .key_put = jet_key_put,
    .key_get = jet_key_get,
    .key_drop = jet_key_drop,
    .key_list = jet_key_list,
};
