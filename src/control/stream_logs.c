#include "control/stream_logs.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/map.h"
#include "base/own.h"

struct stream_log {
    struct id id;
    struct log_queue *queue;
    UT_hash_handle hh;
};

struct stream_logs {
    uv_loop_t *loop;
    char *event_store, *folder;
    size_t open_max;
    struct stream_log *logs; /* the one that was used last is the last */
    size_t closing_n;
    bool is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

struct stream_logs *stream_logs_new(uv_loop_t *loop, const char *event_store, const char *folder)
{
    auto_free char *spec = store_spec_beside(event_store, folder, "x");
    if (spec == NULL)
        return NULL;
    struct stream_logs *s = mem_alloc(sizeof(*s));
    *s = (struct stream_logs){.loop = loop, .event_store = mem_strdup(event_store)};
    if (str_starts(str_from(spec), STR("files;")))
        s->folder = mem_strdup(folder);
    s->open_max = s->folder != NULL ? STREAM_LOGS_OPEN_MAX : STREAM_LOGS_OPEN_SHARED_MAX;
    return s;
}

bool stream_logs_are_shared(const struct stream_logs *s)
{
    return s->folder == NULL;
}

static void queue_closed(void *ctx)
{
    struct stream_logs *s = ctx;
    if (--s->closing_n > 0 || !s->is_closing)
        return;
    void (*closed)(void *) = s->closed;
    void *closed_ctx = s->closed_ctx;
    free(s->event_store);
    free(s->folder);
    free(s);
    if (closed != NULL)
        closed(closed_ctx);
}

static void drop(struct stream_logs *s, struct stream_log *l)
{
    HASH_DEL(s->logs, l);
    s->closing_n++;
    log_queue_close(l->queue, queue_closed, s);
    free(l);
}

static void make_room(struct stream_logs *s)
{
    struct stream_log *l, *next;
    HASH_ITER(hh, s->logs, l, next)
    {
        if (HASH_COUNT(s->logs) < s->open_max)
            return;
        if (log_queue_waiting(l->queue) == 0)
            drop(s, l);
    }
}

struct log_queue *stream_logs_of(struct stream_logs *s, struct id log_id)
{
    struct stream_log *l = NULL;
    HASH_FIND(hh, s->logs, &log_id, sizeof(log_id), l);
    if (l != NULL) {
        HASH_DEL(s->logs, l);
    } else {
        make_room(s);
        if (s->folder != NULL)
            (void)mkdir(s->folder, 0750); /* when it is not to be had, the first job says why */
        char id[ID_TEXT_SIZE];
        id_format(log_id, id);
        auto_free char *spec = store_spec_beside(s->event_store, s->folder, id);
        l = mem_alloc(sizeof(*l));
        *l = (struct stream_log){.id = log_id, .queue = log_queue_new(s->loop, spec, STORE_CREATE, ID_NONE)};
    }
    HASH_ADD(hh, s->logs, id, sizeof(l->id), l);
    return l->queue;
}

void stream_logs_close(struct stream_logs *s, void (*closed)(void *ctx), void *ctx)
{
    s->is_closing = true;
    s->closed = closed;
    s->closed_ctx = ctx;
    s->closing_n++; /* this call */
    struct stream_log *l, *next;
    HASH_ITER(hh, s->logs, l, next)
    drop(s, l);
    queue_closed(s);
}
