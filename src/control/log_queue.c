#include "control/log_queue.h"

#include <stdlib.h>

#include "base/own.h"

struct job {
    struct job *next;
    struct arena arena; /* of events and records */
    uint64_t after_seq;
    size_t n;
    struct store_pos expect;
    const struct store_event *events; /* NULL: a read */
    struct store_record *records;
    log_read_fn read_done;
    log_append_fn append_done;
    void *ctx;
};

struct log_queue {
    uv_loop_t *loop;
    uv_work_t work;
    char *spec;
    enum store_mode mode;
    struct id log;
    struct store *store;       /* NULL until a job has opened it */
    struct job *first, **last; /* the first one is being done when is_busy */
    size_t jobs_n;
    bool is_busy, is_closing, must_reopen;
    void (*closed)(void *ctx);
    void *closed_ctx;
    enum err rc; /* of the job that was done */
    struct errinfo err;
    struct store_batch batch;
};

struct log_queue *log_queue_new(uv_loop_t *loop, const char *spec, enum store_mode mode, struct id log)
{
    struct log_queue *q = mem_alloc(sizeof(*q));
    *q = (struct log_queue){.loop = loop, .spec = mem_strdup(spec), .mode = mode, .log = log};
    q->last = &q->first;
    q->work.data = q;
    return q;
}

static void log_queue_free(struct log_queue *q)
{
    void (*closed)(void *) = q->closed;
    void *ctx = q->closed_ctx;
    store_close(q->store);
    free(q->spec);
    free(q);
    if (closed != NULL)
        closed(ctx);
}

/* An append whose outcome nobody knows: open anew and look for its first event. */
static enum err resolve(struct log_queue *q, struct job *j, struct errinfo *err)
{
    uint64_t seq = 0;
    struct errinfo why = *err;
    enum err rc = store_reopen(q->store, NULL, err);
    if (rc == OK)
        rc = store_find_id(q->store, j->expect.seq, j->events[0].id, &seq, err);
    if (rc == ERR_NOT_FOUND)
        return err_set(err, ERR_UNAVAILABLE, "nothing was written: %s", why.msg);
    if (rc != OK)
        return err_wrap(err, ERR_IO, "whether the events were written is not known");
    rc = store_read(q->store, seq - 1, j->n, 0, &q->batch, err);
    if (rc != OK || q->batch.n < j->n)
        return err_set(err, ERR_IO, "the events were written, but cannot be read back");
    for (size_t i = 0; i < j->n; i++)
        j->records[i] = q->batch.items[i];
    return OK;
}

static enum err do_job(struct log_queue *q, struct job *j)
{
    if (j->events == NULL)
        return store_read(q->store, j->after_seq, j->n, ENVELOPE_BATCH_SIZE_MAX, &q->batch, &q->err);
    enum err rc = store_append(q->store, j->expect, j->events, j->n, j->records, &q->err);
    return rc == ERR_IO ? resolve(q, j, &q->err) : rc;
}

/* A handle that failed stays failed: it is opened anew before the next job, also a read, and as the same handle, which
 * knows what may still be under way. Another log in its place is another handle's. */
static enum err make_ready(struct log_queue *q)
{
    struct store_options options = {.mode = q->mode, .log = q->log};
    enum err rc = q->must_reopen ? store_reopen(q->store, NULL, &q->err) : OK;
    if (rc == ERR_CONFLICT) {
        store_close(TAKE(q->store));
        rc = OK;
    }
    q->must_reopen = rc != OK;
    return rc != OK || q->store != NULL ? rc : store_open(q->spec, &options, &q->store, NULL, &q->err);
}

static void in_pool(uv_work_t *work)
{
    struct log_queue *q = work->data;
    q->rc = make_ready(q);
    if (q->rc != OK)
        return;
    q->rc = do_job(q, q->first);
    q->must_reopen = q->rc == ERR_IO;
}

static void begin(struct log_queue *q);

static void in_loop(uv_work_t *work, int status)
{
    struct log_queue *q = work->data;
    struct job *j = q->first;
    (void)status; /* the job is never cancelled */
    q->first = j->next;
    if (q->first == NULL)
        q->last = &q->first;
    q->jobs_n--;
    struct store_batch batch = q->batch;
    struct errinfo err = q->err;
    enum err rc = q->rc;
    if (j->events == NULL)
        j->read_done(j->ctx, rc, &batch, &err);
    else
        j->append_done(j->ctx, rc, q->store == NULL ? ID_NONE : store_log_id(q->store), j->records, j->n, &err);
    store_batch_done(&batch);
    arena_done(&j->arena);
    free(j);
    q->is_busy = false; /* not before: what done calls must not free or begin */
    if (q->first != NULL)
        begin(q);
    else if (q->is_closing)
        log_queue_free(q);
}

static void begin(struct log_queue *q)
{
    if (q->is_busy)
        return;
    q->is_busy = true;
    q->batch = (struct store_batch){0};
    q->err = (struct errinfo){0};
    uv_queue_work(q->loop, &q->work, in_pool, in_loop);
}

static void add(struct log_queue *q, struct job *j)
{
    *q->last = j;
    q->last = &j->next;
    q->jobs_n++;
    begin(q);
}

void log_queue_read(struct log_queue *q, uint64_t after_seq, size_t n, log_read_fn done, void *ctx)
{
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.after_seq = after_seq, .n = n, .read_done = done, .ctx = ctx};
    add(q, j);
}

void log_queue_append(struct log_queue *q, struct store_pos expect, const struct store_event *events, size_t n,
                      log_append_fn done, void *ctx)
{
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.expect = expect, .n = n, .append_done = done, .ctx = ctx};
    struct store_event *copy = arena_alloc(&j->arena, n * sizeof(*copy));
    for (size_t i = 0; i < n; i++) {
        copy[i] = events[i];
        copy[i].type = arena_str(&j->arena, events[i].type);
        copy[i].payload = arena_str(&j->arena, events[i].payload);
    }
    j->events = copy;
    j->records = arena_alloc(&j->arena, n * sizeof(*j->records));
    add(q, j);
}

size_t log_queue_waiting(const struct log_queue *q)
{
    return q->jobs_n;
}

void log_queue_close(struct log_queue *q, void (*closed)(void *ctx), void *ctx)
{
    q->is_closing = true;
    q->closed = closed;
    q->closed_ctx = ctx;
    if (!q->is_busy)
        log_queue_free(q);
}
