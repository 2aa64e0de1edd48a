#include "control/bulk_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/own.h"

/* After so much of what all may have was written here, this process sweeps by itself. */
#define SWEEP_SHARE 64u

enum job_kind { JOB_APPEND, JOB_READ, JOB_SWEEP, JOB_DROP };

struct job {
    struct job *next;
    enum job_kind kind;
    struct bulk_cursor at; /* and the series of an append */
    struct buf lines;      /* to be appended; that were read */
    int64_t expect, seq;
    uint64_t size_max;
    size_t tail_size;
    bulk_append_fn append_done;
    bulk_read_fn read_done;
    void *ctx;
};

/* One sweep: throw away what is old, then, name by name, what nobody knows any more. */
struct sweep {
    bool is_under_way;
    int64_t now_us, before_us;
    bool (*is_known)(void *ctx, const char *series);
    bulk_sweep_fn done;
    void *ctx;
    char after[BULK_NAME_SIZE];
    char names[BULK_PAGE][BULK_NAME_SIZE]; /* those that are to be dropped */
    size_t names_n, found_n, dropped_n;
};

struct bulk_queue {
    uv_loop_t *loop;
    uv_work_t work;
    char *spec;
    struct bulk_limits limits;
    struct bulk *bulk; /* NULL until a job has opened it */
    struct job *first, **last;
    size_t waiting_bytes; /* of appends */
    uint64_t written_bytes;
    bool is_busy, is_closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
    enum err rc; /* of the job that was done */
    struct errinfo err;
    struct sweep sweep;
};

char *bulk_queue_spec(const char *event_store, const char *folder)
{
    struct str rest = str_from(event_store), kind;
    (void)str_next(&rest, ';', &kind);
    if (str_eq_c(kind, "files"))
        return folder == NULL ? NULL : mem_printf("folder;path=%s", folder);
    return mem_strdup(event_store);
}

struct bulk_queue *bulk_queue_new(uv_loop_t *loop, const char *spec, const struct bulk_limits *limits)
{
    struct bulk_queue *q = mem_alloc(sizeof(*q));
    *q = (struct bulk_queue){.loop = loop, .spec = mem_strdup(spec), .limits = *limits};
    if (q->limits.size_bytes == 0)
        q->limits.size_bytes = BULK_SIZE_DEFAULT;
    q->last = &q->first;
    q->work.data = q;
    return q;
}

static void queue_free(struct bulk_queue *q)
{
    void (*closed)(void *) = q->closed;
    void *ctx = q->closed_ctx;
    bulk_close(q->bulk);
    free(q->spec);
    free(q);
    if (closed != NULL)
        closed(ctx);
}

/* ---- in the pool ---- */

static enum err do_read(struct bulk_queue *q, struct job *j)
{
    enum err rc = j->tail_size > 0 ? bulk_tail(q->bulk, &j->at, j->tail_size, &q->err) : OK;
    return rc == OK ? bulk_read(q->bulk, &j->at, j->size_max, &j->lines, &q->err) : rc;
}

static enum err do_sweep(struct bulk_queue *q)
{
    struct sweep *w = &q->sweep;
    enum err rc = w->after[0] == '\0' ? bulk_sweep(q->bulk, w->now_us, &q->err) : OK;
    return rc == OK ? bulk_idle(q->bulk, w->before_us, w->after, w->names, &w->found_n, &q->err) : rc;
}

static enum err do_drop(struct bulk_queue *q)
{
    struct sweep *w = &q->sweep;
    for (size_t i = 0; i < w->names_n; i++, w->dropped_n++) {
        enum err rc = bulk_drop(q->bulk, w->names[i], &q->err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static enum err do_job(struct bulk_queue *q, struct job *j)
{
    switch (j->kind) {
    case JOB_APPEND:
        return bulk_append(q->bulk, j->at.series, buf_str(&j->lines), j->expect, j->size_max, &j->seq, &q->err);
    case JOB_READ: return do_read(q, j);
    case JOB_SWEEP: return do_sweep(q);
    case JOB_DROP: return do_drop(q);
    }
    return OK;
}

static void in_pool(uv_work_t *work)
{
    struct bulk_queue *q = work->data;
    q->rc = q->bulk != NULL ? OK : bulk_open(q->spec, &q->limits, &q->bulk, &q->err);
    if (q->rc == OK)
        q->rc = do_job(q, q->first);
    if (q->rc == ERR_IO) { /* perhaps another log is there now: it is looked at anew */
        bulk_close(q->bulk);
        q->bulk = NULL;
    }
}

/* ---- in the loop ---- */

static void in_loop(uv_work_t *work, int status);

static void begin(struct bulk_queue *q)
{
    if (q->is_busy || q->first == NULL)
        return;
    q->is_busy = true;
    q->err = (struct errinfo){0};
    uv_queue_work(q->loop, &q->work, in_pool, in_loop);
}

static void add(struct bulk_queue *q, struct job *j)
{
    *q->last = j;
    q->last = &j->next;
}

static struct job *job_new(enum job_kind kind, void *ctx)
{
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){.kind = kind, .ctx = ctx};
    return j;
}

static void sweep_over(struct bulk_queue *q, enum err rc, const struct errinfo *err)
{
    q->sweep.is_under_way = false;
    if (q->sweep.done != NULL)
        q->sweep.done(q->sweep.ctx, rc, q->sweep.dropped_n, err);
}

/* A page of names was found: those that nobody knows are to be dropped. */
static void page_found(struct bulk_queue *q, enum err rc, const struct errinfo *err)
{
    struct sweep *w = &q->sweep;
    w->names_n = 0;
    if (rc != OK || w->found_n == 0 || q->is_closing) {
        sweep_over(q, rc, err);
        return;
    }
    memcpy(w->after, w->names[w->found_n - 1], sizeof(w->after));
    for (size_t i = 0; i < w->found_n; i++)
        if (w->is_known != NULL && !w->is_known(w->ctx, w->names[i]))
            memmove(w->names[w->names_n++], w->names[i], sizeof(w->names[0]));
    add(q, job_new(JOB_DROP, NULL));
}

static void page_dropped(struct bulk_queue *q, enum err rc, const struct errinfo *err)
{
    if (rc != OK || q->sweep.found_n < BULK_PAGE || q->is_closing)
        sweep_over(q, rc, err);
    else
        add(q, job_new(JOB_SWEEP, NULL));
}

static void answer(struct bulk_queue *q, struct job *j, enum err rc, const struct errinfo *err)
{
    switch (j->kind) {
    case JOB_APPEND: j->append_done(j->ctx, rc, j->seq, err); return;
    case JOB_READ: j->read_done(j->ctx, rc, &j->at, rc == OK ? buf_str(&j->lines) : (struct str){NULL, 0}, err); return;
    case JOB_SWEEP: page_found(q, rc, err); return;
    case JOB_DROP: page_dropped(q, rc, err); return;
    }
}

static void in_loop(uv_work_t *work, int status)
{
    struct bulk_queue *q = work->data;
    struct job *j = q->first;
    (void)status; /* the job is never cancelled */
    q->first = j->next;
    if (q->first == NULL)
        q->last = &q->first;
    if (j->kind == JOB_APPEND) {
        q->waiting_bytes -= j->lines.len;
        q->written_bytes += j->lines.len;
    }
    struct errinfo err = q->err;
    answer(q, j, q->rc, &err); /* is_busy is still set: what it adds is not begun from inside */
    buf_done(&j->lines);
    free(j);
    if (q->written_bytes > q->limits.size_bytes / SWEEP_SHARE && !q->is_closing) {
        q->written_bytes = 0;
        (void)bulk_queue_sweep(q, clock_wall_us(), 0, NULL, NULL, NULL);
    }
    q->is_busy = false;
    if (q->first != NULL)
        begin(q);
    else if (q->is_closing)
        queue_free(q);
}

enum err bulk_queue_append(struct bulk_queue *q, const char *series, struct str lines, int64_t expect,
                           uint64_t size_max, bulk_append_fn done, void *ctx, struct errinfo *err)
{
    if (q->waiting_bytes + lines.len > BULK_QUEUE_SIZE_MAX)
        return err_set(err, ERR_UNAVAILABLE, "lines come faster than they can be kept: send them again");
    struct job *j = job_new(JOB_APPEND, ctx);
    (void)str_copy_to(str_from(series), j->at.series, sizeof(j->at.series));
    buf_add_str(&j->lines, lines);
    j->expect = expect;
    j->size_max = size_max;
    j->append_done = done;
    q->waiting_bytes += lines.len;
    add(q, j);
    begin(q);
    return OK;
}

void bulk_queue_read(struct bulk_queue *q, const struct bulk_cursor *from, size_t tail_size, size_t size_max,
                     bulk_read_fn done, void *ctx)
{
    struct job *j = job_new(JOB_READ, ctx);
    j->at = *from;
    j->tail_size = tail_size;
    j->size_max = size_max;
    j->read_done = done;
    add(q, j);
    begin(q);
}

bool bulk_queue_sweep(struct bulk_queue *q, int64_t now_us, int64_t before_us,
                      bool (*is_known)(void *ctx, const char *series), bulk_sweep_fn done, void *ctx)
{
    if (q->sweep.is_under_way)
        return false;
    q->sweep = (struct sweep){
        .is_under_way = true, .now_us = now_us, .before_us = before_us, .is_known = is_known, .done = done, .ctx = ctx};
    add(q, job_new(JOB_SWEEP, NULL));
    begin(q);
    return true;
}

void bulk_queue_close(struct bulk_queue *q, void (*closed)(void *ctx), void *ctx)
{
    q->is_closing = true;
    q->closed = closed;
    q->closed_ctx = ctx;
    if (!q->is_busy)
        queue_free(q);
}
