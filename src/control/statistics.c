/* load (the newest two generations: what was recorded last of each instance) -> hear -> each flush: append what is new
 * -> the generation is full: the next one, old ones go. Failures: an append that conflicts -> read the news, drop what
 * they hold, append the rest; any other error -> told once, tried again with the next flush, windows beyond
 * STATISTICS_PENDING_MAX are given up; a generation that is damaged -> the next one is begun. */
#include "control/statistics.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/own.h"
#include "control/generations.h"
#include "control/statistics_series.h"
#include "event/catalogue.h"

enum { LOAD_N = 1000, FILES_MAX = 64, APPEND_MAX = 1000 };
/* Of a series: what is looked at at the beginning (chosen: two generations). */
static const size_t LOAD_SIZE = 2 * STATISTICS_GENERATION_SIZE;
/* A line around its payload: time, type, id, sum. */
static const uint64_t LINE_EXTRA = 180;

struct row {
    struct id id;
    int64_t window_end_ns; /* recorded up to here */
    struct instance_progress now, recorded;
    int64_t heard_us;
    UT_hash_handle hh;
};
struct pending {
    struct id id;
    struct umbilical_window window;
};

struct statistics {
    struct statistics_options o;
    struct generations generations;
    struct store_pos at; /* of the last one: read and written up to here */
    uint64_t size_bytes; /* of it, about */
    uint64_t series_end; /* of a series: as it was met last */
    bool is_loading, is_busy, is_closing;
    size_t load_at; /* generation that is being loaded */
    struct row *rows;
    struct pending *pending;
    size_t pending_n;
    uint64_t lost_n;
    char told[256];
    uv_timer_t timer;
    size_t handles_n; /* open, and jobs under way */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- generations ---- */

static struct log_queue *queue_of(struct statistics *s, struct generation *g)
{
    if (g->queue == NULL)
        s->handles_n++;
    return generations_open(&s->generations, g);
}

/* As log_queue_read, of either. */
static void read_records(struct statistics *s, struct generation *g, uint64_t after, size_t n, size_t tail_size,
                         log_read_fn done, void *ctx)
{
    if (s->o.bulk != NULL)
        statistics_series_read(s->o.bulk, after, n, tail_size, done, ctx);
    else
        log_queue_read(queue_of(s, g), after, n, done, ctx);
}

static void one_less(struct statistics *s);

static void queue_closed(void *ctx)
{
    one_less(ctx);
}

static void drop_old(struct statistics *s)
{
    generations_drop_old(&s->generations, queue_closed, s);
}

static void begin_next(struct statistics *s)
{
    uint64_t base = generations_last(&s->generations)->base;
    generations_add(&s->generations, base + (s->at.seq > 0 ? s->at.seq : 1)); /* 0: damaged from its first record on */
    s->at = (struct store_pos){0};
    s->size_bytes = 0;
    drop_old(s);
}

/* ---- what is known of an instance ---- */

static struct row *row_get(struct statistics *s, struct id id)
{
    struct row *r = NULL;
    HASH_FIND(hh, s->rows, &id, sizeof(id), r);
    if (r == NULL) {
        r = mem_alloc(sizeof(*r));
        *r = (struct row){.id = id};
        HASH_ADD(hh, s->rows, id, sizeof(r->id), r);
    }
    return r;
}

static void tell(struct statistics *s, const struct errinfo *err)
{
    if (strcmp(s->told, err->msg) == 0)
        return;
    (void)snprintf(s->told, sizeof(s->told), "%.255s", err->msg);
    log_err(s->o.log, err, "the log of statistics");
}

/* A record of another run, another replica, or ours. */
static void see(struct statistics *s, const struct store_record *record)
{
    AUTO(arena) struct arena a = {0};
    struct event ev;
    if (event_decode(&record->e, &a, &ev, NULL) != OK)
        return;
    if (ev.kind == EVENT_INSTANCE_PROGRESS) {
        row_get(s, ev.instance_progress.instance_id)->recorded = ev.instance_progress;
    } else if (ev.kind == EVENT_INSTANCE_IOPW) {
        struct row *r = row_get(s, ev.instance_iopw.instance_id);
        if (ev.instance_iopw.window_end.instant_ns > r->window_end_ns)
            r->window_end_ns = ev.instance_iopw.window_end.instant_ns;
    }
}

static void push(struct statistics *s, struct id id, const struct umbilical_window *w)
{
    for (size_t i = s->pending_n; i > 0; i--)
        if (id_eq(s->pending[i - 1].id, id) && s->pending[i - 1].window.end.instant_ns >= w->end.instant_ns)
            return;
    if (s->pending_n == STATISTICS_PENDING_MAX) {
        memmove(&s->pending[0], &s->pending[1], --s->pending_n * sizeof(s->pending[0]));
        s->lost_n++;
    }
    s->pending[s->pending_n++] = (struct pending){id, *w};
}

void statistics_hear(struct statistics *s, struct id instance_id, const struct umbilical_report *r, int64_t now_us)
{
    if (!s->o.writes || s->is_closing)
        return;
    struct row *row = row_get(s, instance_id);
    row->heard_us = now_us;
    row->now = (struct instance_progress){.instance_id = instance_id,
                                          .checkpoint = r->checkpoint,
                                          .n_input_events_handled = r->n_input_events_handled,
                                          .n_output_events = r->n_output_events,
                                          .lag_events = r->lag_events,
                                          .n_errors = r->n_errors,
                                          .n_effects_parked = r->n_effects_parked};
    const struct umbilical_window *windows = r->windows.items;
    for (size_t i = 0; i < r->windows.n; i++)
        if (windows[i].end.instant_ns > row->window_end_ns)
            push(s, instance_id, &windows[i]);
}

static bool is_same(const struct instance_progress *a, const struct instance_progress *b)
{
    return event_time_cmp(a->checkpoint, b->checkpoint) == 0 &&
           a->n_input_events_handled == b->n_input_events_handled && a->n_output_events == b->n_output_events &&
           a->lag_events == b->lag_events && a->n_errors == b->n_errors && a->n_effects_parked == b->n_effects_parked;
}

void statistics_forget_silent(struct statistics *s, int64_t before_us)
{
    struct row *r = NULL, *next = NULL;
    HASH_ITER(hh, s->rows, r, next)
    {
        if (r->heard_us >= before_us)
            continue;
        HASH_DEL(s->rows, r);
        free(r);
    }
}

/* ---- writing ---- */

struct batch {
    struct arena arena;
    struct store_event *events;
    size_t n;
};

static void add_event(struct batch *b, const struct event *e, struct id id)
{
    const struct event_kind_row *row = event_kind_row(e->kind);
    AUTO(buf) struct buf text = {0};
    event_encode_payload(e, &text);
    b->events[b->n++] = (struct store_event){
        .type = {row->name, row->name_len}, .id = id, .payload = arena_str(&b->arena, buf_str(&text))};
}

static struct id event_id(const char *what, struct id instance, int64_t a, int64_t b)
{
    char name[96];
    (void)snprintf(name, sizeof(name), "%s %lld %lld", what, (long long)a, (long long)b);
    return id_derive(instance, name);
}

static void collect_windows(struct statistics *s, struct batch *b)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->pending_n; i++) {
        const struct pending p = s->pending[i];
        const struct umbilical_window *w = &p.window;
        if (w->end.instant_ns <= row_get(s, p.id)->window_end_ns)
            continue; /* it is recorded */
        s->pending[kept++] = p;
        struct event e = {.kind = EVENT_INSTANCE_IOPW,
                          .instance_iopw = {.instance_id = p.id,
                                            .window_start = w->start,
                                            .window_end = w->end,
                                            .n_input_events_handled_ok = w->n_input_events_handled_ok,
                                            .n_output_events = w->n_output_events,
                                            .n_errors = w->n_errors}};
        if (b->n < APPEND_MAX)
            add_event(b, &e, event_id("iopw", p.id, w->end.instant_ns, 0));
    }
    s->pending_n = kept;
}

static void collect(struct statistics *s, struct batch *b)
{
    b->events = arena_alloc(&b->arena, APPEND_MAX * sizeof(*b->events));
    collect_windows(s, b);
    for (const struct row *r = s->rows; r != NULL; r = r->hh.next) {
        struct event e = {.kind = EVENT_INSTANCE_PROGRESS, .instance_progress = r->now};
        if (b->n < APPEND_MAX && r->heard_us > 0 && !is_same(&r->now, &r->recorded))
            add_event(b, &e, event_id("progress", r->id, r->now.checkpoint.instant_ns, (int64_t)statistics_end(s)));
    }
}

static void read_news(struct statistics *s);
static void flush(struct statistics *s);

/* The job under way is over. False: nothing goes on, this is the end. */
static bool job_done(struct statistics *s)
{
    s->is_busy = false;
    bool goes_on = !s->is_closing;
    one_less(s);
    return goes_on;
}

static void appended(void *ctx, enum err rc, struct id log, const struct store_record *records, size_t n,
                     const struct errinfo *err)
{
    struct statistics *s = ctx;
    (void)log;
    for (size_t i = 0; rc == OK && i < n; i++) {
        see(s, &records[i]);
        s->size_bytes += records[i].e.payload.len + LINE_EXTRA;
        s->at = (struct store_pos){records[i].seq, records[i].e.sum};
    }
    if (!job_done(s))
        return;
    s->generations.is_made = s->generations.is_made || rc == OK;
    if (rc == OK)
        s->told[0] = '\0';
    if (rc == ERR_CONFLICT && s->o.bulk != NULL && s->series_end < s->at.seq)
        s->at.seq = s->series_end; /* it was thrown away */
    if (rc == ERR_CONFLICT)
        read_news(s);
    else if (rc == ERR_CORRUPT && s->at.seq > 0 && s->o.bulk == NULL)
        begin_next(s);
    else if (rc != OK)
        tell(s, err);
    else if (s->size_bytes >= s->o.generation_size_bytes && s->o.bulk == NULL)
        begin_next(s);
}

static void start_job(struct statistics *s)
{
    s->is_busy = true;
    s->handles_n++;
}

static void append_batch(struct statistics *s, const struct batch *b)
{
    struct errinfo err = {0};
    start_job(s);
    if (s->o.bulk == NULL) {
        log_queue_append(queue_of(s, generations_last(&s->generations)), s->at, b->events, b->n, appended, s);
        return;
    }
    uint64_t size_max = s->o.generation_size_bytes * s->o.generations_n;
    if (statistics_series_append(s->o.bulk, s->at.seq, b->events, b->n, size_max, &s->series_end, appended, s, &err) ==
        OK)
        return;
    tell(s, &err);
    (void)job_done(s);
}

static void flush(struct statistics *s)
{
    struct batch b = {0};
    if (s->is_busy || s->is_loading || s->is_closing)
        return;
    collect(s, &b);
    if (b.n > 0) {
        append_batch(s, &b);
    }
    arena_done(&b.arena);
}

/* Another replica appended: what it recorded is not written again. */
static void news_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    struct statistics *s = ctx;
    for (size_t i = 0; rc == OK && i < batch->n; i++)
        see(s, &batch->items[i]);
    bool is_more = rc == OK && batch->n > 0;
    if (is_more)
        s->at = (struct store_pos){batch->items[batch->n - 1].seq, batch->items[batch->n - 1].e.sum};
    uint64_t end = rc == OK ? batch->end.seq : 0;
    if (!job_done(s))
        return;
    if (rc != OK)
        tell(s, err);
    else if (s->at.seq < end)
        read_news(s);
    else
        flush(s);
}

static void read_news(struct statistics *s)
{
    start_job(s);
    read_records(s, generations_last(&s->generations), s->at.seq, LOAD_N, 0, news_read, s);
}

/* ---- beginning ---- */

static void load(struct statistics *s);

static void loaded(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    struct statistics *s = ctx;
    for (size_t i = 0; rc == OK && i < batch->n; i++) {
        see(s, &batch->items[i]);
        s->size_bytes += batch->items[i].e.payload.len + LINE_EXTRA;
        s->at = (struct store_pos){batch->items[i].seq, batch->items[i].e.sum};
    }
    bool is_done = rc != OK || s->at.seq >= batch->end.seq, is_last = s->load_at + 1 == s->generations.n;
    if (!job_done(s))
        return;
    if (rc != OK && rc != ERR_NOT_FOUND)
        tell(s, err);
    if (is_done && is_last) {
        s->is_loading = false;
        if (rc == ERR_CORRUPT && s->o.bulk == NULL)
            begin_next(s);
        drop_old(s);
    } else if (is_done) {
        s->load_at++;
        s->at = (struct store_pos){0};
        s->size_bytes = 0;
    }
    if (s->is_loading)
        load(s);
}

static void load(struct statistics *s)
{
    start_job(s);
    read_records(s, &s->generations.items[s->load_at], s->at.seq, LOAD_N, s->at.seq == 0 ? LOAD_SIZE : 0, loaded, s);
}

/* Another replica has begun a generation, or this one only reads. */
static void follow_generations(struct statistics *s)
{
    if (s->is_busy || s->is_loading || !generations_list(&s->generations))
        return;
    s->at = (struct store_pos){0};
    s->size_bytes = 0;
    s->load_at = s->generations.n - 1;
    s->is_loading = s->o.writes;
    if (s->is_loading)
        load(s);
}

static void on_timer(uv_timer_t *timer)
{
    struct statistics *s = timer->data;
    follow_generations(s);
    if (!s->is_busy && !s->is_loading)
        drop_old(s);
    flush(s);
}

struct statistics *statistics_new(const struct statistics_options *o)
{
    struct statistics *s = mem_alloc(sizeof(*s));
    *s = (struct statistics){.o = *o, .handles_n = 1};
    if (s->o.generation_size_bytes == 0)
        s->o.generation_size_bytes = STATISTICS_GENERATION_SIZE;
    if (s->o.generations_n == 0)
        s->o.generations_n = STATISTICS_GENERATIONS_N;
    if (s->o.kept_s == 0)
        s->o.kept_s = STATISTICS_KEPT_S;
    if (s->o.flush_ms == 0)
        s->o.flush_ms = STATISTICS_FLUSH_MS;
    s->generations = (struct generations){.loop = o->loop,
                                          .folder = o->bulk != NULL ? NULL : mem_strdup(o->folder),
                                          .writes = o->writes,
                                          .n_max = s->o.generations_n,
                                          .kept_s = s->o.kept_s};
    (void)generations_list(&s->generations);
    (void)uv_timer_init(o->loop, &s->timer); /* cannot fail: it only fills the handle */
    s->timer.data = s;
    if (!o->writes)
        return s;
    if (o->bulk == NULL)
        (void)mkdir(s->generations.folder, 0750); /* when it is not to be had, the first append says why */
    s->pending = mem_calloc(STATISTICS_PENDING_MAX, sizeof(*s->pending));
    (void)uv_timer_start(&s->timer, on_timer, (uint64_t)s->o.flush_ms, (uint64_t)s->o.flush_ms);
    s->is_loading = s->generations.is_made || o->bulk != NULL;
    s->load_at = s->generations.n > 1 ? s->generations.n - 2 : 0;
    if (s->is_loading)
        load(s);
    return s;
}

/* ---- reading ---- */

struct reading {
    struct statistics *s;
    uint64_t base, after;
    size_t n;
    log_read_fn done;
    void *ctx;
};

static void read_from(struct reading *r, struct generation *g);

static void was_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    struct reading *r = ctx;
    struct statistics *s = r->s;
    struct generation *next = generations_behind(&s->generations, r->base);
    if (next == NULL && rc == OK && !s->o.writes)
        s->at.seq = batch->end.seq;
    if (next != NULL && !s->is_closing && (rc != OK || batch->n == 0)) {
        read_from(r, next); /* nothing more in this one, or it was dropped meanwhile */
        one_less(s);
        return;
    }
    struct store_batch found = {0};
    AUTO(arena) struct arena a = {0};
    if (rc == OK || rc == ERR_NOT_FOUND) { /* nothing was ever written: an empty log */
        found.items = arena_alloc(&a, (batch->n + 1) * sizeof(*found.items));
        for (size_t i = 0; rc == OK && i < batch->n; i++) {
            found.items[found.n] = batch->items[i];
            found.items[found.n++].seq += r->base;
        }
        uint64_t end = r->base + (rc == OK ? batch->end.seq : 0);
        found.after.seq = r->after;
        found.end.seq = end > statistics_end(s) ? end : statistics_end(s);
        rc = OK;
    }
    r->done(r->ctx, rc, &found, err);
    free(r);
    one_less(s);
}

static void read_from(struct reading *r, struct generation *g)
{
    r->base = g->base;
    r->s->handles_n++;
    read_records(r->s, g, r->after > g->base ? r->after - g->base : 0, r->n, 0, was_read, r);
}

void statistics_read(struct statistics *s, uint64_t after_seq, size_t n, log_read_fn done, void *ctx)
{
    struct reading *r = mem_alloc(sizeof(*r));
    *r = (struct reading){.s = s, .after = after_seq, .n = n, .done = done, .ctx = ctx};
    if (!s->o.writes)
        follow_generations(s);
    read_from(r, generations_at(&s->generations, after_seq));
}

uint64_t statistics_end(const struct statistics *s)
{
    return generations_last(&s->generations)->base + s->at.seq;
}

uint64_t statistics_lost_n(const struct statistics *s)
{
    return s->lost_n;
}

/* ---- closing ---- */

static void one_less(struct statistics *s)
{
    if (--s->handles_n > 0)
        return;
    void (*closed)(void *) = s->closed;
    void *ctx = s->closed_ctx;
    struct row *r = NULL, *next = NULL;
    HASH_ITER(hh, s->rows, r, next)
    {
        HASH_DEL(s->rows, r);
        free(r);
    }
    free(s->pending);
    generations_done(&s->generations);
    free(s);
    if (closed != NULL)
        closed(ctx);
}

static void timer_closed(uv_handle_t *handle)
{
    one_less(handle->data);
}

void statistics_close(struct statistics *s, void (*closed)(void *ctx), void *ctx)
{
    s->is_closing = true;
    s->closed = closed;
    s->closed_ctx = ctx;
    generations_close(&s->generations, queue_closed, s);
    uv_close((uv_handle_t *)&s->timer, timer_closed);
}
