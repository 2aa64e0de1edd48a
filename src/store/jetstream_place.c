/* The jetstream store: where a record stands among the stream's messages, and where the log ends. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/own.h"
#include "event/hash.h"
#include "store/jetstream.h"

enum { NO_MESSAGE = 10037 };
/* An end behind the one that this handle met is asked for again that long: a leader that was just elected may be a
 * moment behind. Then it is said as it is, of one server (chosen). */
#define BEHIND_US_MAX 2000000
#define BEHIND_PAUSE_US 50000u
/* And of several servers by every call until this is over (chosen: longer than an election on a busy machine). */
#define BELIEVED_US 60000000

bool jet_span_read(natsMsg *m, struct jet_span *ret)
{
    uint64_t first = 0, count = 0;
    *ret = (struct jet_span){0};
    if (!str_parse_u64(jet_header_of(m, "Slipform-First"), UINT64_MAX / 2, &first) || first == 0 ||
        !str_parse_u64(jet_header_of(m, "Slipform-Count"), ENVELOPE_BATCH_SIZE_MAX, &count) ||
        !crc32c_parse(jet_header_of(m, "Slipform-Before"), &ret->before) ||
        !crc32c_parse(jet_header_of(m, "Slipform-Sum"), &ret->end.sum) ||
        !event_time_parse(jet_header_of(m, "Slipform-Time"), &ret->end.time))
        return false;
    ret->first = first;
    ret->count = count;
    ret->end.seq = first - 1 + count;
    return count > 0 || ret->before == ret->end.sum;
}

static enum err damaged(struct store *s, uint64_t message, uint64_t seq, const char *cause, struct errinfo *err)
{
    const struct jet *j = s->impl;
    struct store_damage d = {.seq = seq, .offset = 0};
    (void)snprintf(d.file, sizeof(d.file), "%.40s:%" PRIu64, j->stream, message);
    (void)snprintf(d.cause, sizeof(d.cause), "%.255s", cause);
    return store_set_damage(s, &d, err);
}

/* ---- a message as the leader has it: base64 in JSON ---- */

static bool decode_base64(struct str text, struct buf *ret)
{
    AUTO(buf) struct buf url = {0};
    buf_add_str(&url, str_slice(text, 0, str_find(text, '=')));
    for (size_t i = 0; i < url.len; i++) {
        if (url.ptr[i] == '+')
            url.ptr[i] = '-';
        else if (url.ptr[i] == '/')
            url.ptr[i] = '_';
    }
    buf_clear(ret);
    return url.len == 0 || base64url_parse(buf_str(&url), ret);
}

/* "NATS/1.0\r\nName: value\r\n…\r\n" */
static bool add_headers(natsMsg *m, struct str text)
{
    struct str line, name;
    bool is_fine = text.len == 0 || str_next(&text, '\n', &line);
    while (is_fine && str_next(&text, '\n', &line)) {
        struct str value = str_trim(line);
        if (value.len == 0 || !str_next(&value, ':', &name))
            continue;
        value = str_trim(value);
        auto_free char *n = mem_strndup(name.ptr, name.len), *v = mem_strndup(value.ptr, value.len);
        is_fine = natsMsgHeader_Set(m, n, v) == NATS_OK;
    }
    return is_fine;
}

/* *ret: as a reader gets it, with its stream sequence as header Nats-Sequence. */
static bool message_of(const json_t *doc, natsMsg **ret)
{
    AUTO(buf) struct buf headers = {0}, body = {0};
    const json_t *found = json_object_get(doc, "message");
    char seq[32];
    (void)snprintf(seq, sizeof(seq), "%lld", (long long)json_integer_value(json_object_get(found, "seq")));
    if (!decode_base64(json_member_str(found, "hdrs"), &headers) ||
        !decode_base64(json_member_str(found, "data"), &body) ||
        natsMsg_Create(ret, "leader", NULL, body.ptr, (int)body.len) != NATS_OK)
        return false;
    return add_headers(*ret, buf_str(&headers)) && natsMsgHeader_Set(*ret, "Nats-Sequence", seq) == NATS_OK;
}

enum err jet_leader_message(struct store *s, const char *stream, const char *body, natsMsg **ret, struct errinfo *err)
{
    auto_free char *subject = mem_printf("$JS.API.STREAM.MSG.GET.%s", stream);
    auto_json json_t *doc = NULL;
    int code = 0;
    enum err rc = jet_api(s, subject, str_from(body), &doc, &code, err);
    if (code == NO_MESSAGE)
        return err_set(err, ERR_NOT_FOUND, "log '%s' has no such message", s->name);
    if (rc == OK && !message_of(doc, ret))
        rc = err_set(err, ERR_UNAVAILABLE, "log '%s': an answer of NATS is no message", s->name);
    return rc;
}

static enum err ask_leader(struct store *s, const char *body, natsMsg **ret, struct errinfo *err)
{
    const struct jet *j = s->impl;
    return jet_leader_message(s, j->stream, body, ret, err);
}

enum err jet_message(struct store *s, uint64_t message, natsMsg **ret, struct jet_span *ret_span, struct errinfo *err)
{
    char body[48];
    (void)snprintf(body, sizeof(body), "{\"seq\":%" PRIu64 "}", message);
    natsMsg_Destroy(*ret);
    *ret = NULL;
    enum err rc = ask_leader(s, body, ret, err);
    if (rc == ERR_NOT_FOUND)
        return damaged(s, message, 0, "the message is gone", err);
    if (rc == OK && !jet_span_read(*ret, ret_span))
        return damaged(s, message, 0, "the message is none of a log", err);
    return rc;
}

/* ---- the end ---- */

static enum err ask_tail(struct store *s, struct jet_place *ret, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_message natsMsg *m = NULL;
    struct jet_span span;
    auto_free char *body = mem_printf("{\"last_by_subj\":\"%s\"}", j->subject);
    *ret = (struct jet_place){.end.time = EVENT_TIME_MIN};
    enum err rc = ask_leader(s, body, &m, err);
    if (rc == ERR_NOT_FOUND)
        return OK;
    if (rc != OK)
        return rc;
    if (!str_parse_u64(jet_header_of(m, "Nats-Sequence"), UINT64_MAX / 2, &ret->message) || !jet_span_read(m, &span))
        return damaged(s, ret->message, 0, "the last message is none of a log", err);
    ret->end = span.end;
    return OK;
}

static void pause_a_moment(void)
{
    struct timespec t = {.tv_nsec = (long)BEHIND_PAUSE_US * 1000};
    (void)nanosleep(&t, NULL);
}

/* Of several servers, one that has just become leader has all that was acknowledged, but may not have applied it yet:
 * on a busy machine for seconds. Taken for a lost tail, it would stop whoever folds the log for good. */
static bool is_to_be_waited_for(struct jet *j)
{
    int64_t now_us = clock_mono_us();
    if (j->behind_us == 0)
        j->behind_us = now_us;
    return j->replicas > 1 && now_us - j->behind_us < BELIEVED_US;
}

enum err jet_tail(struct store *s, struct errinfo *err)
{
    struct jet *j = s->impl;
    struct jet_place found;
    int64_t until_us = clock_mono_us() + BEHIND_US_MAX;
    enum err rc = ask_tail(s, &found, err);
    while (rc == OK && found.message < j->tail.message && clock_mono_us() < until_us) {
        if (atomic_load(&s->is_cancelled))
            return err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name);
        pause_a_moment();
        rc = ask_tail(s, &found, err);
    }
    if (rc != OK)
        return rc;
    bool is_behind = found.message < j->tail.message;
    if (is_behind && is_to_be_waited_for(j))
        return err_set(err, ERR_UNAVAILABLE,
                       "log '%s': its leader has %" PRIu64 " messages, and acknowledged %" PRIu64
                       " before: it is asked again until it has them, or a minute is over",
                       s->name, found.message, j->tail.message);
    j->behind_us = 0;
    if (is_behind) /* it lost its tail: nothing of before is believed */
        j->from = j->upto = (struct jet_place){.end.time = EVENT_TIME_MIN};
    j->tail = found;
    return OK;
}

/* ---- places ---- */

static struct jet_place before(const struct jet_span *span, uint64_t message)
{
    /* The time of the record before is not told by a message: readers check that of those behind it. */
    return (struct jet_place){message - 1, {span->first - 1, span->before, EVENT_TIME_MIN}};
}

/* The first of the messages lo..hi that ends at seq or behind it; hi does. */
static enum err search(struct store *s, uint64_t seq, uint64_t lo, uint64_t hi, struct jet_place *ret,
                       struct errinfo *err)
{
    auto_message natsMsg *m = NULL;
    struct jet_span span = {0};
    uint64_t looked_at = 0, guess = seq; /* an append is often one record */
    enum err rc = OK;
    while (lo < hi && rc == OK) {
        uint64_t middle = guess > lo && guess < hi ? guess : lo + (hi - lo) / 2;
        guess = guess > lo && guess < hi ? guess - 1 : 0;
        looked_at = middle;
        rc = jet_message(s, middle, &m, &span, err);
        if (rc == OK && span.end.seq >= seq)
            hi = middle;
        else
            lo = middle + 1;
        if (span.end.seq != seq && span.end.seq + 1 != seq)
            guess = 0;
    }
    if (rc == OK && looked_at != lo)
        rc = jet_message(s, lo, &m, &span, err);
    if (rc != OK)
        return rc;
    if (span.first > seq || span.end.seq < seq)
        return damaged(s, lo, seq, "no message holds the record", err);
    *ret = before(&span, lo);
    return OK;
}

enum err jet_find(struct store *s, uint64_t seq, struct jet_place *ret, struct errinfo *err)
{
    const struct jet *j = s->impl;
    if (j->upto.end.seq == seq - 1) {
        *ret = j->upto;
        return OK;
    }
    if (j->from.end.seq < seq && seq <= j->upto.end.seq) {
        *ret = j->from;
        return OK;
    }
    if (seq == 1) {
        *ret = (struct jet_place){.end.time = EVENT_TIME_MIN};
        return OK;
    }
    return search(s, seq, 1, j->tail.message, ret, err);
}
