/* Reading the event log's records for people and tools. Its own handle, used by one job of uv's pool at a time: the
 * fold is not disturbed. Jobs wait in a queue, in order. */
#include <stdlib.h>

#include "control/parts.h"

/* Bytes of one answer, at least one record (chosen: one append). */
#define READ_SIZE_MAX ENVELOPE_BATCH_SIZE_MAX

struct job {
    uint64_t after_seq;
    size_t n;
    control_records_fn done;
    void *ctx;
    struct job *next;
};

struct log_reading {
    struct control *control;
    struct store *store;
    uv_work_t work;
    struct job *first, **last; /* the first one is being done when is_busy */
    bool is_busy, is_closing;
    enum err rc; /* of the job that was done */
    struct errinfo err;
    struct store_batch batch;
};

enum err log_reading_open(struct control *c, struct log_reading **ret, struct errinfo *err)
{
    struct store *store = NULL;
    struct store_options options = {.mode = STORE_READ};
    enum err rc = store_open(c->o.event_store, &options, &store, NULL, err);
    if (rc != OK)
        return rc;
    struct log_reading *l = mem_alloc(sizeof(*l));
    l->control = c;
    l->store = store;
    l->last = &l->first;
    l->work.data = l;
    *ret = l;
    return OK;
}

void log_reading_discard(struct log_reading *l)
{
    store_close(l->store);
    free(l);
}

static void log_reading_free(struct log_reading *l)
{
    struct control *c = l->control;
    log_reading_discard(l);
    control_part_closed(c);
}

static void in_pool(uv_work_t *work)
{
    struct log_reading *l = work->data;
    l->rc = store_read(l->store, l->first->after_seq, l->first->n, READ_SIZE_MAX, &l->batch, &l->err);
}

static void begin(struct log_reading *l);

static void in_loop(uv_work_t *work, int status)
{
    struct log_reading *l = work->data;
    struct job *j = l->first;
    (void)status; /* the job is never cancelled */
    l->first = j->next;
    if (l->first == NULL)
        l->last = &l->first;
    struct store_batch batch = l->batch;
    enum err rc = l->rc;
    struct errinfo err = l->err;
    j->done(j->ctx, rc, &batch, &err);
    store_batch_done(&batch);
    free(j);
    l->is_busy = false; /* not before: what done calls must not free or begin */
    if (l->first != NULL)
        begin(l);
    else if (l->is_closing)
        log_reading_free(l);
}

static void begin(struct log_reading *l)
{
    if (l->is_busy)
        return;
    l->is_busy = true;
    l->batch = (struct store_batch){0};
    l->err = (struct errinfo){0};
    uv_queue_work(l->control->o.loop, &l->work, in_pool, in_loop);
}

void control_read_records(struct control *c, uint64_t after_seq, size_t n, control_records_fn done, void *ctx)
{
    struct log_reading *l = c->reading;
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.after_seq = after_seq, .n = n, .done = done, .ctx = ctx};
    *l->last = j;
    l->last = &j->next;
    begin(l);
}

void log_reading_close(struct log_reading *l)
{
    l->is_closing = true;
    if (!l->is_busy)
        log_reading_free(l);
}
