/* A log that the platform keeps, over HTTP: how an application in a microVM reads and appends its events.
 *   remote;url=http://[fd00::1]:7620;log=<uuid>     GET, POST <url>/v1/logs/<log>/events
 * Every record is checked against the one before it by its checksum as it came, like records of a file. Whether there
 * is such a log, and whether this instance may, the platform says at the first call. Its clock is that of the log's
 * store as last told, plus the time that has passed here since. */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/own.h"
#include "event/hash.h"
#include "net/http_client.h"
#include "store/kind.h"

/* Chosen: an append is one fdatasync and two hops; more than that is a platform that does not answer. */
enum { TIMEOUT_MS = 20000, PAGE_MAX = 1000 };

struct remote {
    char *url; /* of the events */
    struct store_pos end;
    int64_t clock_us, clock_mono_us; /* the store's as told at this instant */
};

static void remote_close(struct store *s)
{
    struct remote *r = s->impl;
    free(r->url);
    free(r);
}

static enum err remote_open(struct store *s, struct store_repair *ret_repair, struct errinfo *err)
{
    (void)ret_repair;
    struct str url = store_spec_get(s, "url"), log = store_spec_get(s, "log");
    struct id id;
    if (url.len == 0 || !id_parse(log, &id))
        return err_set(err, ERR_INVALID, "event store '%s' needs 'url=http://…' and 'log=<id>'", s->spec);
    struct remote *r = mem_alloc(sizeof(*r));
    r->url = mem_printf("%.*s/v1/logs/%.*s/events", STR_ARG(url), STR_ARG(log));
    s->impl = r;
    s->log = id;
    free(s->name);
    s->name = mem_strdup(r->url);
    return OK;
}

static bool pos_parse(const json_t *doc, struct store_pos *ret)
{
    uint32_t sum = 0;
    json_int_t seq = json_integer_value(json_object_get(doc, "seq"));
    if (seq < 0 || !crc32c_parse(json_member_str(doc, "sum"), &sum))
        return false;
    *ret = (struct store_pos){(uint64_t)seq, sum};
    return true;
}

static void note_clock(struct remote *r, const json_t *doc)
{
    json_int_t us = json_integer_value(json_object_get(doc, "clock_us"));
    if (us <= 0)
        return;
    r->clock_us = us;
    r->clock_mono_us = clock_mono_us();
}

static void note_end(struct store *s, struct store_pos end)
{
    struct remote *r = s->impl;
    r->end = end;
    atomic_store(&s->known_seq, end.seq);
}

static enum err no_answer_err(const struct http_result *a, struct errinfo *err)
{
    *err = a->err;
    if (a->status == 404)
        return err_set(err, ERR_NOT_FOUND, "%s", a->err.msg);
    if (a->status == 403 || a->status == 401)
        return err_set(err, ERR_DENIED, "%s", a->err.msg);
    return err_set(err, ERR_UNAVAILABLE, "%s", a->err.msg);
}

/* ---- reading ---- */

static enum err record_parse(const struct store *s, const json_t *item, struct store_pos *at, struct arena *a,
                             struct store_record *ret, struct errinfo *err)
{
    struct store_pos pos;
    struct event_time time;
    struct id id = ID_NONE;
    json_t *payload = json_object_get(item, "payload");
    struct str type = json_member_str(item, "type"), id_text = json_member_str(item, "id");
    if (!pos_parse(item, &pos) || !event_time_parse(json_member_str(item, "time"), &time) || !json_is_object(payload) ||
        type.len == 0 || (id_text.len > 0 && !id_parse(id_text, &id)))
        return err_set(err, ERR_CORRUPT, "log '%s': record %llu is no event", s->name, (unsigned long long)at->seq + 1);
    auto_free char *text = json_format(payload);
    *ret = (struct store_record){.seq = pos.seq,
                                 .e = {.time = time,
                                       .type = arena_str(a, type),
                                       .id = id,
                                       .payload = arena_str(a, str_from(text)),
                                       .more = json_is_true(json_object_get(item, "more")),
                                       .has_sum = true,
                                       .sum = pos.sum}};
    if (pos.seq != at->seq + 1)
        return err_set(err, ERR_CORRUPT, "log '%s': record %llu comes after %llu", s->name, (unsigned long long)pos.seq,
                       (unsigned long long)at->seq);
    *at = pos;
    return OK;
}

static enum err fetch(struct store *s, struct remote *r, uint64_t after_seq, size_t n, json_t **ret_doc,
                      struct errinfo *err)
{
    auto_free char *url = mem_printf("%s?after=%llu&limit=%zu", r->url, (unsigned long long)after_seq, n);
    struct http_call_options call = {.url = url, .total_timeout_ms = TIMEOUT_MS};
    struct http_result answer __attribute__((cleanup(http_result_cleanup))) = {0};
    if (s->is_cancelled)
        return err_set(err, ERR_CANCELLED, "reading '%s' was cancelled", s->name);
    if (http_fetch(&call, NULL, &answer) != OK)
        return no_answer_err(&answer, err);
    enum err rc = json_parse(buf_str(&answer.body), ret_doc, err);
    if (rc != OK)
        return err_wrap(err, ERR_UNAVAILABLE, "the answer of '%s'", s->name);
    note_clock(r, *ret_doc);
    return OK;
}

static enum err remote_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                            struct store_batch *ret, struct errinfo *err)
{
    struct remote *r = s->impl;
    auto_json json_t *doc = NULL;
    size_t n = records_max == 0 || records_max > PAGE_MAX ? PAGE_MAX : records_max, room = 0;
    (void)size_max; /* the platform's own bound is a batch */
    enum err rc = fetch(s, r, after_seq, n, &doc, err);
    if (rc != OK)
        return rc;
    if (!pos_parse(json_object_get(doc, "after"), &ret->after) || !pos_parse(json_object_get(doc, "end"), &ret->end))
        return err_set(err, ERR_UNAVAILABLE, "the answer of '%s' is no part of a log", s->name);
    struct store_pos at = ret->after;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        struct store_record record;
        rc = record_parse(s, item, &at, &ret->arena, &record, err);
        if (rc != OK)
            return rc;
        store_batch_add(ret, &room, record.seq, &record.e);
    }
    note_end(s, ret->end);
    return OK;
}

static enum err remote_end(struct store *s, struct store_pos *ret_end, struct errinfo *err)
{
    struct store_batch b = {0};
    struct remote *r = s->impl;
    uint64_t known = r->end.seq;
    enum err rc = remote_read(s, known, 1, 0, &b, err);
    if (rc == OK)
        *ret_end = b.end;
    store_batch_done(&b);
    return rc;
}

/* ---- appending ---- */

static void add_body(struct store_pos expect, const struct store_event *events, size_t n, struct buf *out)
{
    char id[ID_TEXT_SIZE];
    buf_addf(out, "{\"expected\":{\"seq\":%llu,\"sum\":\"crc32c:%08x\"},\"events\":[", (unsigned long long)expect.seq,
             expect.sum);
    for (size_t i = 0; i < n; i++) {
        id_format(events[i].id, id);
        buf_addf(out, "%s{\"type\":\"%.*s\",\"id\":\"%s\",\"payload\":%.*s}", i > 0 ? "," : "", STR_ARG(events[i].type),
                 id, STR_ARG(events[i].payload));
    }
    buf_add_c(out, "]}");
}

static enum err read_written(struct store *s, struct str body, struct store_pos expect,
                             const struct store_event *events, size_t n, struct store_record *ret_records,
                             struct errinfo *err)
{
    AUTO(arena) struct arena a = {0};
    auto_json json_t *doc = NULL;
    struct remote *r = s->impl;
    enum err rc = json_parse(body, &doc, err);
    const json_t *items = json_object_get(doc, "items");
    if (rc != OK || json_array_size(items) != n)
        return err_set(err, ERR_IO, "the answer to an append of '%s' cannot be read", s->name);
    note_clock(r, doc);
    struct store_pos at = expect;
    for (size_t i = 0; i < n; i++) {
        struct store_record record;
        if (record_parse(s, json_array_get(items, i), &at, &a, &record, err) != OK)
            return err_set(err, ERR_IO, "the answer to an append of '%s' cannot be read", s->name);
        record.e.type = events[i].type;
        record.e.payload = events[i].payload;
        store_clock_saw(s, record.e.time);
        if (ret_records != NULL)
            ret_records[i] = record;
    }
    note_end(s, at);
    return OK;
}

/* One command a call: the API knows no groups. */
static enum err remote_append(struct store *s, struct store_pos expect, const struct store_group *groups,
                              size_t groups_n, struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    const struct remote *r = s->impl;
    const struct store_event *events = groups[0].events;
    size_t n = groups[0].n;
    (void)groups_n;
    *ret_taken = 1;
    AUTO(buf) struct buf body = {0};
    for (size_t i = 0; i < n; i++)
        if (events[i].has_time)
            return err_set(err, ERR_INVALID, "log '%s': times are chosen by the platform's store", s->name);
    add_body(expect, events, n, &body);
    struct http_call_options call = {
        .method = "POST", .url = r->url, .body = buf_str(&body), .total_timeout_ms = TIMEOUT_MS};
    struct http_result answer __attribute__((cleanup(http_result_cleanup))) = {0};
    if (s->is_cancelled)
        return err_set(err, ERR_CANCELLED, "appending to '%s' was cancelled", s->name);
    if (http_fetch(&call, NULL, &answer) == OK)
        return read_written(s, buf_str(&answer.body), expect, events, n, ret_records, err);
    *err = answer.err;
    if (answer.status == 409)
        return err_set(err, ERR_CONFLICT, "log '%s' has news behind %llu", s->name, (unsigned long long)expect.seq);
    if (answer.status == 400)
        return err_set(err, ERR_INVALID, "%s", answer.err.msg);
    if (answer.status == 413)
        return err_set(err, ERR_LIMIT, "%s", answer.err.msg);
    if (answer.status == 0 || answer.status >= 500) /* it may have been written: look for it */
        return err_set(err, ERR_IO, "%s", answer.err.msg);
    return no_answer_err(&answer, err);
}

static int64_t remote_clock_us(struct store *s)
{
    const struct remote *r = s->impl;
    return r->clock_us == 0 ? clock_wall_us() : r->clock_us + (clock_mono_us() - r->clock_mono_us);
}

/* What others append is told by a call that waits there; its own appends the runtime knows. */
static char *remote_watch_url(struct store *s)
{
    const struct remote *r = s->impl;
    return mem_strdup(r->url);
}

const struct store_kind STORE_REMOTE = {
    .name = "remote",
    .open = remote_open,
    .close = remote_close,
    .append = remote_append,
    .read = remote_read,
    .end = remote_end,
    .clock_us = remote_clock_us,
    .watch_url = remote_watch_url,
};
