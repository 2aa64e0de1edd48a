#include "control/instance_log.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "wire/deployment.h"

/* Of one read (chosen). */
#define READ_SIZE ((size_t)128 * 1024)
/* Of what a line says of its stream: stdout, stderr, console, build (chosen). */
#define STREAM_NAME_MAX ((size_t)64)

/* ---- lines that a node sent ---- */

/* Not in the middle of a character: half of one is no JSON. */
static void cut(struct str *text)
{
    if (text->len <= INSTANCE_LOG_TEXT_SIZE_MAX)
        return;
    text->len = INSTANCE_LOG_TEXT_SIZE_MAX;
    while (text->len > 0 && ((unsigned char)text->ptr[text->len] & 0xc0) == 0x80)
        text->len--;
}

static enum err read_line(struct str text, size_t line_n, struct id instance, struct arena *a, struct log_line *ret,
                          struct errinfo *err)
{
    enum err rc = fields_parse(&LOG_LINE_WIRE, text, a, ret, err);
    if (rc != OK)
        return err_wrap(err, rc, "line %zu", line_n);
    if (!id_is_none(ret->instance_id) && !id_eq(ret->instance_id, instance))
        return err_set(err, ERR_INVALID, "line %zu: 'instance_id' is that of another instance", line_n);
    if (ret->seq < 1)
        return err_set(err, ERR_INVALID, "line %zu: 'seq' must be a number from 1", line_n);
    if (ret->stream.len > STREAM_NAME_MAX || ret->time.len > STREAM_NAME_MAX)
        return err_set(err, ERR_INVALID, "line %zu: 'stream' and 'time' have at most %zu bytes", line_n,
                       STREAM_NAME_MAX);
    ret->instance_id = instance;
    cut(&ret->text);
    return OK;
}

enum err instance_log_lines(struct str ndjson, struct id instance, struct buf *out, struct errinfo *err)
{
    struct str rest = ndjson, text;
    int64_t seq = 0;
    for (size_t line_n = 1; str_next(&rest, '\n', &text); line_n++) {
        AUTO(arena) struct arena a = {0};
        struct log_line line;
        if (str_is_empty(str_trim(text)))
            continue;
        enum err rc = read_line(text, line_n, instance, &a, &line, err);
        if (rc != OK)
            return rc;
        if (line.seq <= seq)
            continue;
        seq = line.seq;
        fields_encode(&LOG_LINE_WIRE, &line, out);
        buf_add_char(out, '\n');
    }
    return OK;
}

enum err instance_logs_append(struct bulk_queue *q, struct id instance, struct str ndjson, bulk_append_fn done,
                              void *ctx, struct errinfo *err)
{
    char series[ID_TEXT_SIZE];
    AUTO(buf) struct buf lines = {0};
    enum err rc = instance_log_lines(ndjson, instance, &lines, err);
    if (rc != OK)
        return rc;
    id_format(instance, series);
    return bulk_queue_append(q, series, buf_str(&lines), BULK_ANY, INSTANCE_LOG_SIZE_MAX, done, ctx, err);
}

/* ---- throwing away ---- */

struct sweep {
    bool (*is_known)(void *ctx, struct id instance);
    bulk_sweep_fn done;
    void *ctx;
};

/* A series of another name is nobody's instance: it stays. */
static bool is_known_series(void *ctx, const char *series)
{
    const struct sweep *s = ctx;
    struct id id;
    return !id_parse(str_from(series), &id) || s->is_known(s->ctx, id);
}

static void swept(void *ctx, enum err rc, size_t dropped_n, const struct errinfo *err)
{
    struct sweep *s = ctx;
    s->done(s->ctx, rc, dropped_n, err);
    free(s);
}

void instance_logs_sweep(struct bulk_queue *q, int64_t now_us, int64_t before_us,
                         bool (*is_known)(void *ctx, struct id instance), bulk_sweep_fn done, void *ctx)
{
    struct sweep *s = mem_alloc(sizeof(*s));
    *s = (struct sweep){is_known, done, ctx};
    if (!bulk_queue_sweep(q, now_us, before_us, is_known_series, swept, s))
        free(s);
}

/* ---- reading ---- */

struct log_reader {
    struct bulk_queue *queue;
    struct bulk_cursor at;
    size_t tail_size; /* of the first read */
    void (*changed)(void *ctx);
    void *ctx;
    struct buf lines;
    size_t begin, line_len; /* what was handed out; of the peeked line, with its newline */
    bool is_reading, is_freed;
    bool is_at_end;    /* the last read brought nothing */
    int64_t looked_us; /* when it did; monotonic */
    bool has_failed;   /* the last read */
    struct errinfo err;
};

struct log_reader *log_reader_new(struct bulk_queue *q, struct id instance, size_t tail_size,
                                  void (*changed)(void *ctx), void *ctx)
{
    struct log_reader *r = mem_alloc(sizeof(*r));
    *r = (struct log_reader){.queue = q, .tail_size = tail_size, .changed = changed, .ctx = ctx};
    id_format(instance, r->at.series);
    return r;
}

void log_reader_free(struct log_reader *r)
{
    if (r == NULL)
        return;
    r->is_freed = true;
    if (r->is_reading)
        return; /* its answer frees it */
    buf_done(&r->lines);
    free(r);
}

static void was_read(void *ctx, enum err rc, const struct bulk_cursor *at, struct str lines, const struct errinfo *err)
{
    struct log_reader *r = ctx;
    r->is_reading = false;
    if (r->is_freed) {
        log_reader_free(r);
        return;
    }
    r->looked_us = clock_mono_us();
    r->has_failed = rc != OK;
    if (rc == OK) {
        buf_consume(&r->lines, r->begin);
        r->begin = 0;
        buf_add_str(&r->lines, lines);
        r->at = *at;
        r->tail_size = 0;
        r->is_at_end = lines.len == 0;
    } else {
        r->err = *err;
    }
    r->changed(r->ctx); /* which may free it */
}

static void look(struct log_reader *r)
{
    r->is_reading = true;
    bulk_queue_read(r->queue, &r->at, r->tail_size, READ_SIZE, was_read, r);
}

enum log_have log_reader_peek(struct log_reader *r, struct str *ret_line)
{
    struct str rest = str_slice(buf_str(&r->lines), r->begin, r->lines.len);
    size_t end = str_find(rest, '\n');
    if (end < rest.len) {
        r->line_len = end + 1;
        *ret_line = str_slice(rest, 0, end);
        return LOG_LINE;
    }
    bool is_recent = clock_mono_us() - r->looked_us < INSTANCE_LOG_LOOK_MS * 1000;
    bool had_failed = r->has_failed, was_at_end = r->is_at_end;
    if (!r->is_reading && !((had_failed || was_at_end) && is_recent))
        look(r);
    if (had_failed)
        return LOG_FAILED;
    return was_at_end ? LOG_NONE : LOG_WAIT;
}

void log_reader_next(struct log_reader *r)
{
    r->begin += r->line_len;
    r->line_len = 0;
}

const struct errinfo *log_reader_error(const struct log_reader *r)
{
    return &r->err;
}
