/* Event logs of applications' streams: /v1/logs/{id}/events. An operator may read and append to any; a node does it for
 * an instance that is placed on it (header Slipform-Instance), which reads its process's inputs and its output and
 * appends to its output only. */
#include "api/follow.h"
#include "api/handlers.h"
#include "api/parts.h"
#include "base/clock.h"
#include "base/own.h"
#include "event/hash.h"

#define PAGE_MAX 1000
#define APPEND_MAX 1000
/* What this process appends wakes who waits; what another one does is seen when it looks (chosen). */
#define LOOK_US 5000000
/* Where each replica may append, that is the way news come (chosen: one question of a few rows). */
#define LOOK_SHARED_US 500000

struct expected {
    int64_t seq;
    struct str sum;
};
static const struct field EXPECTED_FIELDS[] = {
    FIELD_REQ(I64, expected, seq, "seq", "number of the last record that the caller has read; 0: none"),
    FIELD_OPT(STR, expected, sum, "sum", "its checksum, 'crc32c:' and 8 hex digits; left out with seq 0"),
};
static const struct field_table EXPECTED_WIRE = FIELD_TABLE(expected, EXPECTED_FIELDS);

struct new_event {
    struct str type, payload;
    struct id id;
};
static const struct field NEW_EVENT_FIELDS[] = {
    FIELD_REQ(STR, new_event, type, "type", "name of its type"),
    FIELD_REQ(ID, new_event, id, "id", "the caller's: an append whose answer was lost is looked for by it"),
    FIELD_REQ(JSON, new_event, payload, "payload", "a JSON object"),
};
static const struct field_table NEW_EVENT_WIRE = FIELD_TABLE(new_event, NEW_EVENT_FIELDS);

struct append_document {
    struct expected expected;
    struct objects events;
};
static const struct field APPEND_FIELDS[] = {
    FIELD_SUB(OBJECT, append_document, expected, "expected", EXPECTED_WIRE, "append only if the log still ends here"),
    FIELD_SUB(OBJECTS, append_document, events, "events", NEW_EVENT_WIRE, "appended all or none, at most 1000"),
};
const struct field_table LOG_APPEND_WIRE = FIELD_TABLE(append_document, APPEND_FIELDS);

struct record_document {
    int64_t seq;
    struct event_time time;
    struct str type, payload, sum;
    struct id id;
    bool more;
};
static const struct field RECORD_FIELDS[] = {
    FIELD_REQ(I64, record_document, seq, "seq", "place in the log, from 1"),
    FIELD_REQ(TIME, record_document, time, "time", "event time"),
    FIELD_REQ(STR, record_document, type, "type", "name of its type"),
    FIELD_OPT(ID, record_document, id, "id", "event"),
    FIELD_REQ(JSON, record_document, payload, "payload", "a JSON object"),
    FIELD_REQ(STR, record_document, sum, "sum", "checksum of the record, to expect it in an append"),
    FIELD_OPT(BOOL, record_document, more, "more", "the next one was appended with it"),
};
const struct field_table LOG_RECORD_WIRE = FIELD_TABLE(record_document, RECORD_FIELDS);

/* ---- who may ---- */

static bool has_id(struct id_list list, struct id id)
{
    for (size_t i = 0; i < list.n; i++)
        if (id_eq(list.items[i], id))
            return true;
    return false;
}

static bool is_allowed(const struct process *p, struct id stream, bool writes)
{
    bool is_output = !id_is_none(stream) && id_eq(p->output_stream_id, stream);
    return is_output || (!writes && has_id(p->input_stream_ids, stream));
}

/* Answers like for a log that is not there: who may not use it need not know of it. */
static bool node_may(struct call *c, const struct definition *log, bool writes)
{
    struct id id = ID_NONE;
    const char *header = http_request_header(c->r, "Slipform-Instance");
    if (header == NULL || !id_parse(str_from(header), &id)) {
        call_reply_problem(c, 400, err_name(ERR_INVALID),
                           "a node asks for one of its instances: header Slipform-Instance is missing");
        return false;
    }
    const struct instance *i = model_instance(call_model(c), id);
    if (i == NULL || i->node == NULL || strcmp(i->node->name, c->caller.id) != 0 || i->process == NULL ||
        !is_allowed(i->process, log->stream_id, writes)) {
        call_reply_missing(c, "log for this instance");
        return false;
    }
    return true;
}

/* NULL: answered. */
static struct log_queue *queue_of(struct call *c, bool writes, struct id *ret_log)
{
    if (!call_id(c, "id", "log", ret_log))
        return NULL;
    const struct definition *log = model_definition(call_model(c), *ret_log);
    if (log == NULL || log->kind != EVENT_CREATE_EVENT_LOG) {
        call_reply_missing(c, "log");
        return NULL;
    }
    if (c->caller.role == CALLER_NODE && !node_may(c, log, writes))
        return NULL;
    struct stream_logs *logs = control_stream_logs(c->api->o.control);
    if (logs == NULL) {
        call_reply_problem(c, 503, err_name(ERR_UNAVAILABLE), "this replica keeps no logs of streams");
        return NULL;
    }
    return stream_logs_of(logs, *ret_log);
}

/* ---- answers ---- */

static void add_end(struct buf *out, const char *key, struct store_pos at)
{
    buf_addf(out, ",\"%s\":{\"seq\":%llu,\"sum\":\"crc32c:%08x\"}", key, (unsigned long long)at.seq, at.sum);
}

static void add_record(struct buf *out, const struct store_record *r)
{
    char sum[24];
    (void)snprintf(sum, sizeof(sum), "crc32c:%08x", r->e.sum);
    struct record_document doc = {.seq = (int64_t)r->seq,
                                  .time = r->e.time,
                                  .type = r->e.type,
                                  .payload = r->e.payload,
                                  .sum = str_from(sum),
                                  .id = r->e.id,
                                  .more = r->e.more};
    fields_encode(&LOG_RECORD_WIRE, &doc, out);
}

static void add_records(struct buf *out, const struct store_record *records, size_t n)
{
    buf_add_c(out, "{\"items\":[");
    for (size_t i = 0; i < n; i++) {
        buf_add_c(out, i > 0 ? "," : "");
        add_record(out, &records[i]);
    }
    buf_add_char(out, ']');
}

/* The clock of the log's store, so that a reader elsewhere knows how far it has got. */
static void add_clock(struct buf *out, const struct call *c)
{
    buf_addf(out, ",\"clock_us\":%lld", (long long)control_clock_us(c->api->o.control));
}

static void add_batch(struct buf *out, const struct call *c, const struct store_batch *b)
{
    add_records(out, b->items, b->n);
    add_end(out, "after", b->after);
    add_end(out, "end", b->end);
    add_clock(out, c);
}

/* ---- reading ---- */

/* A call that reads; while it waits it is in the api's list. */
struct log_wait {
    struct call *call;
    struct id log;
    uint64_t after;
    size_t limit;
    int64_t until_us, look_us;   /* monotonic */
    struct log_wait *next, **at; /* at NULL: not in the list */
};

static void page_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err);

static void page_fetch(struct log_wait *w)
{
    log_queue_read(stream_logs_of(control_stream_logs(w->call->api->o.control), w->log), w->after, w->limit, page_read,
                   w);
}

static void leave_list(struct log_wait *w)
{
    *w->at = w->next;
    if (w->next != NULL)
        w->next->at = w->at;
    w->at = NULL;
}

static void wait_cancelled(struct http_request *r, void *ctx)
{
    leave_list(ctx);
    http_request_drop(r); /* frees the call, and w with it */
}

static void wait_begin(struct log_wait *w, int64_t now_us)
{
    struct api *api = w->call->api;
    w->look_us = now_us + (stream_logs_are_shared(control_stream_logs(api->o.control)) ? LOOK_SHARED_US : LOOK_US);
    w->at = &api->log_waits;
    w->next = api->log_waits;
    if (w->next != NULL)
        w->next->at = &w->next;
    api->log_waits = w;
    http_request_on_cancel(w->call->r, wait_cancelled, w);
    api_tick_needed(api);
}

/* What is read is not bothered by a peer that goes: it is answered into the void. */
static void wait_end(struct log_wait *w)
{
    leave_list(w);
    http_request_on_cancel(w->call->r, NULL, NULL);
    page_fetch(w);
}

static void page_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    struct log_wait *w = ctx;
    struct call *c = w->call;
    int64_t now_us = clock_mono_us();
    if (rc != OK) {
        call_reply_error(c, err);
        return;
    }
    if (batch->n == 0 && now_us < w->until_us && !c->api->is_stopping && !http_request_is_cancelled(c->r)) {
        wait_begin(w, now_us);
        return;
    }
    AUTO(buf) struct buf text = {0};
    add_batch(&text, c, batch);
    buf_add_char(&text, '}');
    call_reply_text(c, 200, buf_str(&text));
}

void log_waits_look(struct api *api, int64_t now_us, bool is_stopping)
{
    for (struct log_wait *w = api->log_waits, *next = NULL; w != NULL; w = next) {
        next = w->next;
        if (is_stopping || now_us >= w->until_us || now_us >= w->look_us)
            wait_end(w);
    }
}

static void log_has_grown(struct api *api, struct id log)
{
    for (struct log_wait *w = api->log_waits, *next = NULL; w != NULL; w = next) {
        next = w->next;
        if (id_eq(w->log, log))
            wait_end(w);
    }
}

void log_events_get(struct call *c)
{
    struct id log;
    int64_t after = 0, limit = 0, wait_s = 0;
    if (queue_of(c, false, &log) == NULL || !call_query_i64(c, "after", 0, INT64_MAX, 0, &after) ||
        !call_query_i64(c, "limit", 1, PAGE_MAX, PAGE_MAX, &limit) ||
        !call_query_i64(c, "wait", 0, FOLLOW_WAIT_S_MAX, 0, &wait_s))
        return;
    struct log_wait *w = arena_alloc(&c->arena, sizeof(*w));
    *w = (struct log_wait){.call = c,
                           .log = log,
                           .after = (uint64_t)after,
                           .limit = (size_t)limit,
                           .until_us = clock_mono_us() + wait_s * 1000000};
    page_fetch(w);
}

/* ---- appending ---- */

struct append {
    struct call *call;
    struct id log;
    uint64_t after_seq;
};

static void news_read(void *ctx, enum err rc, const struct store_batch *batch, const struct errinfo *err)
{
    const struct append *a = ctx; /* in the call's arena */
    if (rc != OK) {
        call_reply_error(a->call, err);
        return;
    }
    AUTO(buf) struct buf text = {0};
    add_batch(&text, a->call, batch);
    buf_add_c(&text, ",\"code\":\"conflict\",\"detail\":\"the log has news behind what was expected\"}");
    call_reply_text(a->call, 409, buf_str(&text));
}

static void appended(void *ctx, enum err rc, struct id log, const struct store_record *records, size_t n,
                     const struct errinfo *err)
{
    struct append *a = ctx; /* in the call's arena */
    struct call *c = a->call;
    if (rc == ERR_CONFLICT) { /* what was expected may be another log's: then the reader begins anew */
        log_queue_read(stream_logs_of(control_stream_logs(c->api->o.control), a->log), a->after_seq, PAGE_MAX,
                       news_read, a);
        return;
    }
    if (rc != OK) {
        call_reply_error(c, err);
        return;
    }
    log_has_grown(c->api, a->log);
    AUTO(buf) struct buf text = {0};
    struct app_position at = {log, records[n - 1].seq, records[n - 1].e.sum};
    char position[APP_CURSOR_TEXT_SIZE];
    app_cursor_format(&at, position);
    http_respond_header(c->r, "Slipform-Position", position);
    add_records(&text, records, n);
    add_clock(&text, c);
    buf_add_char(&text, '}');
    call_reply_text(c, 201, buf_str(&text));
}

void log_events_post(struct call *c)
{
    struct append *a = arena_alloc(&c->arena, sizeof(*a));
    struct append_document doc;
    struct store_pos expect = {0};
    struct log_queue *q = queue_of(c, true, &a->log);
    if (q == NULL || !call_read(c, &LOG_APPEND_WIRE, &doc))
        return;
    if (doc.expected.seq < 0 || (doc.expected.seq > 0 && !crc32c_parse(doc.expected.sum, &expect.sum))) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "'expected' is {\"seq\":N,\"sum\":\"crc32c:…\"}");
        return;
    }
    if (doc.events.n == 0 || doc.events.n > APPEND_MAX) {
        call_reply_problem(c, 400, err_name(ERR_INVALID), "'events' holds 1 to %d events", APPEND_MAX);
        return;
    }
    expect.seq = (uint64_t)doc.expected.seq;
    a->call = c;
    a->after_seq = expect.seq;
    const struct new_event *from = doc.events.items;
    struct store_event *events = arena_alloc(&c->arena, doc.events.n * sizeof(*events));
    for (size_t i = 0; i < doc.events.n; i++)
        events[i] = (struct store_event){.type = from[i].type, .id = from[i].id, .payload = from[i].payload};
    log_queue_append(q, expect, events, doc.events.n, appended, a);
}
