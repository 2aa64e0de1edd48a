/* The jetstream store: appending. One message is one append: the server takes it whole or not at all, and only when the
 * stream's last message is the one that this append was decided behind.
 *
 * What can go wrong: somebody was first (ERR_CONFLICT); nobody took it (ERR_UNAVAILABLE); no answer (ERR_IO, the handle
 * is failed). Without an answer the message may still be under way, to a server that is slow, or between two. Opening
 * the handle again puts an empty message, a fence, where it was to go: when that, or anything else, stands there, it
 * can never be taken any more, and what is read then is how it went. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#include "base/own.h"
#include "store/jetstream.h"

/* Of the server: not the last message; the same while another append is being agreed on. */
enum { WRONG_LAST = 10071, WRONG_LAST_CONSTANT = 10164, TOO_LARGE = 10054, NO_ROOM = 10047, NO_RESOURCES = 10023 };
/* Fences of others, one behind the other, while an append tries (chosen). */
enum { TRIES_MAX = 8 };

struct message_headers {
    char expected[24], first[24], count[24], before[24], sum[24], time[EVENT_TIME_TEXT_SIZE];
    struct jet_header list[7];
};
enum { HEADERS_N = 7 };

static void set_headers(const struct jet *j, const struct lines_end *end, struct message_headers *h)
{
    const struct jet_place *tail = &j->tail;
    (void)snprintf(h->expected, sizeof(h->expected), "%" PRIu64, tail->message);
    (void)snprintf(h->first, sizeof(h->first), "%" PRIu64, tail->end.seq + 1);
    (void)snprintf(h->count, sizeof(h->count), "%" PRIu64, end->seq - tail->end.seq);
    (void)snprintf(h->before, sizeof(h->before), "crc32c:%08" PRIx32, tail->end.sum);
    (void)snprintf(h->sum, sizeof(h->sum), "crc32c:%08" PRIx32, end->sum);
    event_time_format(end->time, h->time);
    const struct jet_header list[HEADERS_N] = {
        {"Nats-Expected-Stream", j->stream}, {"Nats-Expected-Last-Sequence", h->expected},
        {"Slipform-First", h->first},        {"Slipform-Count", h->count},
        {"Slipform-Before", h->before},      {"Slipform-Sum", h->sum},
        {"Slipform-Time", h->time}};
    memcpy(h->list, list, sizeof(list));
}

static enum err refusal(struct store *s, int code, const char *text, struct errinfo *err)
{
    if (code == WRONG_LAST || code == WRONG_LAST_CONSTANT)
        return err_set(err, ERR_CONFLICT, "log '%s' has news: %s", s->name, text);
    if (code == TOO_LARGE)
        return err_set(err, ERR_LIMIT, "log '%s': %s", s->name, text);
    if (code == NO_ROOM || code == NO_RESOURCES)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': nothing was written, make room: %s", s->name, text);
    return err_set(err, ERR_IO, "log '%s': NATS says: %s (%d); it must be opened anew", s->name, text, code);
}

static enum err read_answer(struct store *s, natsMsg *m, uint64_t *ret_message, struct errinfo *err)
{
    const struct jet *j = s->impl;
    auto_json json_t *doc = NULL;
    struct str text = {natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)};
    if (json_parse(text, &doc, NULL) != OK)
        return err_set(err, ERR_IO, "log '%s': an answer of NATS is no JSON document", s->name);
    const json_t *error = json_object_get(doc, "error");
    auto_free char *why = mem_printf("%.*s", STR_ARG(json_member_str(error, "description")));
    if (error != NULL)
        return refusal(s, (int)json_integer_value(json_object_get(error, "err_code")), why, err);
    json_int_t seq = json_integer_value(json_object_get(doc, "seq"));
    if (seq <= 0 || (uint64_t)seq != j->tail.message + 1)
        return err_set(err, ERR_IO, "log '%s': NATS put message %lld where %" PRIu64 " was expected", s->name,
                       (long long)seq, j->tail.message + 1);
    *ret_message = (uint64_t)seq;
    return OK;
}

/* Put a message behind the tail, which moves on. OK | ERR_CONFLICT, ERR_UNAVAILABLE, ERR_LIMIT nothing written | ERR_IO
 */
static enum err publish(struct store *s, struct str lines, const struct lines_end *end, struct errinfo *err)
{
    struct jet *j = s->impl;
    auto_message natsMsg *m = NULL;
    struct message_headers h;
    uint64_t message = 0;
    set_headers(j, end, &h);
    struct jet_question q = {.subject = j->subject, .body = lines, .headers = h.list, .headers_n = HEADERS_N};
    enum err rc = jet_ask(s, &q, &m, err);
    if (rc == ERR_CANCELLED)
        rc = err_set(err, ERR_IO, "log '%s': asked to stop while an append was under way", s->name);
    if (rc == OK)
        rc = read_answer(s, m, &message, err);
    if (rc == OK)
        j->tail = (struct jet_place){message, *end};
    return rc;
}

static bool is_expected(const struct jet *j, struct store_pos expect)
{
    return j->tail.end.seq == expect.seq && j->tail.end.sum == expect.sum;
}

static enum err append_once(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                            struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    struct jet *j = s->impl;
    enum err rc = is_expected(j, expect) ? OK : jet_tail(s, err);
    if (rc != OK)
        return jet_again(rc, err);
    if (!is_expected(j, expect))
        return err_set(err, ERR_CONFLICT, "log '%s' ends at %" PRIu64 ", not at the expected %" PRIu64, s->name,
                       j->tail.end.seq, expect.seq);
    struct lines_end end = j->tail.end;
    rc = lines_build(s, groups, groups_n, store_clock_us(s), &end, &j->text, ret_records, ret_taken, err);
    if (rc != OK)
        return rc;
    rc = publish(s, buf_str(&j->text), &end, err);
    if (rc == ERR_IO) {
        j->is_failed = true;
        s->unsure_after = j->tail.message;
        s->is_unsure = true;
    }
    if (rc == OK)
        store_clock_saw(s, end.time);
    return rc;
}

enum err jet_append(struct store *s, struct store_pos expect, const struct store_group *groups, size_t groups_n,
                    struct store_record *ret_records, size_t *ret_taken, struct errinfo *err)
{
    struct jet *j = s->impl;
    if (j->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    enum err rc = jet_ready(s, err);
    if (rc == OK)
        rc = append_once(s, expect, groups, groups_n, ret_records, ret_taken, err);
    for (int i = 1; i < TRIES_MAX && rc == ERR_CONFLICT && is_expected(j, expect); i++) {
        struct errinfo ignored; /* a fence may stand there: no news for who reads records */
        uint64_t message = j->tail.message;
        if (jet_tail(s, &ignored) != OK || !is_expected(j, expect))
            return rc;
        if (j->tail.message == message) /* another append is being agreed on: it is not hurried by questions */
            (void)poll(NULL, 0, i);
        rc = append_once(s, expect, groups, groups_n, ret_records, ret_taken, err);
    }
    return rc;
}

enum err jet_fence(struct store *s, struct errinfo *err)
{
    struct jet *j = s->impl;
    if (!s->is_unsure || s->mode == STORE_READ)
        return OK;
    enum err rc = jet_tail(s, err);
    if (rc != OK)
        return rc;
    if (j->tail.message <= s->unsure_after) {
        struct lines_end end = j->tail.end;
        rc = publish(s, (struct str){NULL, 0}, &end, err);
        if (rc == ERR_CONFLICT) /* something came to stand there */
            rc = jet_tail(s, err);
    }
    if (rc != OK)
        return jet_again(rc, err);
    s->is_unsure = false;
    return OK;
}

/* A fence where nothing is under way: readers pass over it, and it is agreed on as an append is. */
enum err jet_prove(struct store *s, struct errinfo *err)
{
    struct jet *j = s->impl;
    if (j->is_failed)
        return err_set(err, ERR_IO, "log '%s' failed before, it must be opened anew", s->name);
    enum err rc = jet_ready(s, err);
    for (int i = 0; rc == OK && i < TRIES_MAX; i++) {
        rc = jet_tail(s, err);
        if (rc != OK)
            break;
        struct lines_end end = j->tail.end;
        rc = publish(s, (struct str){NULL, 0}, &end, err);
        if (rc != ERR_CONFLICT)
            break;
        (void)poll(NULL, 0, i); /* somebody else was first */
        rc = i + 1 < TRIES_MAX ? OK : rc;
    }
    return jet_again(rc, err);
}
