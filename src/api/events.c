/* The log itself: GET /v1/events as a page, or as a stream that goes on (SSE with Last-Event-ID, NDJSON with follow).
 */
#include "api/handlers.h"
#include "api/parts.h"
#include "api/stream.h"
#include "base/own.h"

#define LOG_NAME "platform"
#define STATISTICS_NAME "statistics"
#define PAGE_MAX 1000
#define STREAM_READ_N 200u

struct event_document {
    struct str log;
    int64_t seq;
    struct event_time time;
    struct str type;
    struct id id;
    struct str payload; /* JSON */
};
static const struct field EVENT_FIELDS[] = {
    FIELD_REQ(STR, event_document, log, "log", "log"),
    FIELD_REQ(I64, event_document, seq, "seq", "place in the log, from 1"),
    FIELD_REQ(TIME, event_document, time, "time", "event time"),
    FIELD_REQ(STR, event_document, type, "type", "name of the kind"),
    FIELD_OPT(ID, event_document, id, "id", "event"),
    FIELD_REQ(JSON, event_document, payload, "payload", "see docs/events.md"),
};
const struct field_table EVENT_WIRE = FIELD_TABLE(event_document, EVENT_FIELDS);

/* The log that is read: the platform's, or that of statistics. */
struct source {
    struct control *control;
    bool is_statistics;
};

static uint64_t source_end(const struct source *s)
{
    return s->is_statistics ? statistics_end(control_statistics(s->control)) : control_position(s->control).seq;
}

static void source_read(const struct source *s, uint64_t after, size_t n, log_read_fn done, void *ctx)
{
    if (s->is_statistics)
        statistics_read(control_statistics(s->control), after, n, done, ctx);
    else
        control_read_records(s->control, after, n, done, ctx);
}

static void add_event(struct buf *out, const struct source *s, const struct store_record *r)
{
    struct event_document doc = {s->is_statistics ? STR(STATISTICS_NAME) : STR(LOG_NAME),
                                 (int64_t)r->seq,
                                 r->e.time,
                                 r->e.type,
                                 r->e.id,
                                 r->e.payload};
    fields_encode(&EVENT_WIRE, &doc, out);
}

/* By its name, or its incarnation's id; absent: the same. False: answered. */
static bool log_is_known(struct call *c, struct source *ret)
{
    struct control *control = c->api->o.control;
    struct str asked = call_query_str(c, "log");
    char id[ID_TEXT_SIZE];
    id_format(control_position(control).log, id);
    *ret = (struct source){control, str_eq_c(asked, STATISTICS_NAME) && control_statistics(control) != NULL};
    if (asked.ptr == NULL || str_eq_c(asked, LOG_NAME) || str_eq_c(asked, id) || ret->is_statistics)
        return true;
    call_reply_missing(c, "log here: leave 'log' out for that of the platform, or say 'statistics'");
    return false;
}

/* ---- a page ---- */

struct page {
    struct call *call;
    struct source source;
};

static void page_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    const struct page *p = ctx; /* in the call's arena */
    if (rc != OK) {
        call_reply_error(p->call, err);
        return;
    }
    AUTO(buf) struct buf text = {0};
    buf_add_c(&text, "{\"items\":[");
    for (size_t i = 0; i < batch->n; i++) {
        buf_add_c(&text, i > 0 ? "," : "");
        add_event(&text, &p->source, &batch->items[i]);
    }
    uint64_t last = batch->n > 0 ? batch->items[batch->n - 1].seq : batch->after.seq;
    buf_addf(&text, "],\"end\":%llu", (unsigned long long)batch->end.seq);
    if (last < batch->end.seq)
        buf_addf(&text, ",\"next\":\"%llu\"", (unsigned long long)last);
    buf_add_char(&text, '}');
    call_reply_text(p->call, 200, buf_str(&text));
}

/* ---- a stream ---- */

struct event_stream {
    struct stream *stream; /* while a read is on its way: held */
    struct source source;
    uint64_t after;
    bool is_reading;
};

static void pump(struct stream *s, void *ctx, bool is_stopping);

static void stream_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    struct event_stream *e = ctx;
    struct stream *s = e->stream;
    e->is_reading = false;
    if (rc != OK) {
        log_err(control_logger(stream_api(s)->o.control), err, "GET /v1/events");
        stream_end(s);
    }
    for (size_t i = 0; rc == OK && i < batch->n; i++) {
        AUTO(buf) struct buf line = {0};
        char id[24];
        (void)snprintf(id, sizeof(id), "%llu", (unsigned long long)batch->items[i].seq);
        add_event(&line, &e->source, &batch->items[i]);
        stream_line(s, buf_str(&line), id);
        e->after = batch->items[i].seq;
    }
    if (!stream_is_over(s))
        pump(s, e, false);
    stream_release(s);
}

static void pump(struct stream *s, void *ctx, bool is_stopping)
{
    struct event_stream *e = ctx;
    if (is_stopping || e->is_reading || !stream_has_room(s) || source_end(&e->source) <= e->after)
        return;
    e->is_reading = true;
    e->stream = s;
    stream_hold(s);
    source_read(&e->source, e->after, STREAM_READ_N, stream_read, e);
}

static void begin_stream(struct call *c, const struct source *source, uint64_t after)
{
    struct event_stream *e = mem_alloc(sizeof(*e));
    e->after = after;
    e->source = *source;
    stream_begin(c, &(struct stream_source){.ctx = e, .pump = pump, .free = free});
}

void events_get(struct call *c)
{
    struct page *p = arena_alloc(&c->arena, sizeof(*p));
    int64_t after = 0, limit = 0;
    const char *last_id = http_request_header(c->r, "Last-Event-ID");
    struct str follow = call_query_str(c, "follow");
    if (!log_is_known(c, &p->source) || !call_query_i64(c, "after", 0, INT64_MAX, 0, &after) ||
        !call_query_i64(c, "limit", 1, PAGE_MAX, PAGE_MAX, &limit))
        return;
    if (last_id != NULL && (!str_parse_i64(str_from(last_id), &after) || after < 0)) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "Last-Event-ID must be the seq of an event");
        return;
    }
    if ((uint64_t)after > source_end(&p->source) && !p->source.is_statistics) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "the log ends at %llu, before 'after'",
                           (unsigned long long)source_end(&p->source));
        return;
    }
    if (stream_wants_sse(c) || str_eq_c(follow, "true")) {
        begin_stream(c, &p->source, (uint64_t)after);
        return;
    }
    p->call = c;
    source_read(&p->source, (uint64_t)after, (size_t)limit, page_read, p);
}
