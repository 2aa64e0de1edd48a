/* The jetstream store: reading. Messages come in parts from any of the servers, which may be a moment behind the
 * leader; what a part lacks, the leader is asked for. Every record is checked against the one before. */
#include <inttypes.h>
#include <stdio.h>

#include "base/own.h"
#include "store/jetstream.h"

/* Messages of one question (chosen). */
#define PART_MESSAGES_MAX 256u
enum { STATUS_END = 204, STATUS_NONE = 404 };

struct reading {
    struct store *s;
    uint64_t after_seq;
    size_t records_max, size_max, bytes, room;
    struct lines_end at; /* behind the last record that was decoded */
    uint64_t message;    /* the last one that was taken whole */
    bool is_full;
    struct store_batch *ret;
};

static enum err damaged(const struct reading *r, const char *cause, struct errinfo *err)
{
    const struct jet *j = r->s->impl;
    struct store_damage d = {.seq = r->at.seq + 1};
    (void)snprintf(d.file, sizeof(d.file), "%.40s:%" PRIu64, j->stream, r->message + 1);
    (void)snprintf(d.cause, sizeof(d.cause), "%.255s", cause);
    return store_set_damage(r->s, &d, err);
}

static enum err take_line(struct reading *r, struct str line, struct errinfo *err)
{
    struct envelope e;
    struct errinfo why = {0};
    if (envelope_decode(line, r->at.sum, &e, &why) != OK || !e.has_sum)
        return damaged(r, why.msg[0] != '\0' ? why.msg : "the record has no sum", err);
    if (event_time_cmp(e.time, r->at.time) <= 0)
        return damaged(r, "its time is not later than that of the record before", err);
    if (r->at.seq >= r->after_seq) {
        r->is_full = r->is_full || (r->records_max > 0 && r->ret->n == r->records_max) ||
                     (r->size_max > 0 && r->ret->n > 0 && r->bytes + line.len + 1 > r->size_max);
        if (!r->is_full)
            store_batch_add(r->ret, &r->room, r->at.seq + 1, &e);
        r->bytes += line.len + 1;
    }
    r->at = (struct lines_end){r->at.seq + 1, e.sum, e.time};
    if (r->at.seq == r->after_seq)
        r->ret->after = (struct store_pos){r->at.seq, r->at.sum};
    return OK;
}

/* The lines of the message behind r->message. */
static enum err take_message(struct reading *r, natsMsg *m, struct errinfo *err)
{
    struct jet *j = r->s->impl;
    struct jet_span span;
    struct jet_place from = {r->message, r->at};
    struct str rest = {natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, line;
    enum err rc = OK;
    if (!jet_span_read(m, &span))
        return damaged(r, "the message is none of a log", err);
    if (span.first != r->at.seq + 1 || span.before != r->at.sum)
        return damaged(r, "the message does not continue the one before", err);
    while (rc == OK && rest.len > 0 && str_next(&rest, '\n', &line))
        rc = take_line(r, line, err);
    if (rc == OK && (r->at.seq != span.end.seq || r->at.sum != span.end.sum))
        rc = damaged(r, "the message does not end as its headers say", err);
    if (rc != OK)
        return rc;
    r->message++;
    if (span.count > 0) {
        j->from = from;
        j->upto = (struct jet_place){r->message, r->at};
    }
    return OK;
}

/* One message, from the leader. */
static enum err read_one(struct reading *r, struct errinfo *err)
{
    auto_message natsMsg *m = NULL;
    struct jet_span span;
    enum err rc = jet_message(r->s, r->message + 1, &m, &span, err);
    return rc == OK ? take_message(r, m, err) : rc;
}

static bool is_next(const struct reading *r, natsMsg *m)
{
    uint64_t seq = 0;
    return str_parse_u64(jet_header_of(m, "Nats-Sequence"), UINT64_MAX / 2, &seq) && seq == r->message + 1;
}

static uint64_t part_messages(const struct reading *r)
{
    return r->records_max > 0 && r->records_max < PART_MESSAGES_MAX ? r->records_max : PART_MESSAGES_MAX;
}

/* Ask for the next messages; *ret is the first answer. */
static enum err ask_part(const struct reading *r, natsMsg **ret, struct errinfo *err)
{
    const struct jet *j = r->s->impl;
    auto_free char *subject = mem_printf("$JS.API.DIRECT.GET.%s", j->stream);
    size_t size = r->size_max > 0 && r->size_max < ENVELOPE_BATCH_SIZE_MAX ? r->size_max : ENVELOPE_BATCH_SIZE_MAX;
    auto_free char *body = mem_printf("{\"seq\":%" PRIu64 ",\"batch\":%" PRIu64 ",\"max_bytes\":%zu}", r->message + 1,
                                      part_messages(r), size);
    return jet_again(jet_ask(r->s, &(struct jet_question){.subject = subject, .body = str_from(body)}, ret, err), err);
}

/* What comes of one question: messages up to a status. *ret_n: how many were taken. */
static enum err read_part(struct reading *r, size_t *ret_n, struct errinfo *err)
{
    auto_message natsMsg *m = NULL;
    enum err rc = ask_part(r, &m, err);
    for (*ret_n = 0; rc == OK && !r->is_full && jet_status(m) == 0;) {
        if (!is_next(r, m)) /* that server lacks one: the leader knows whether it is gone */
            return OK;
        rc = take_message(r, m, err);
        natsMsg_Destroy(m);
        m = NULL;
        *ret_n += rc == OK;
        if (rc == OK && !r->is_full)
            rc = jet_again(jet_next(r->s, &m, err), err);
    }
    if (rc == OK && m != NULL && jet_status(m) != 0 && jet_status(m) != STATUS_END && jet_status(m) != STATUS_NONE)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': NATS answers %d: %.*s", r->s->name, jet_status(m),
                       STR_ARG(jet_header_of(m, "Description")));
    return rc;
}

static bool is_done(const struct reading *r)
{
    return r->is_full || r->at.seq >= r->ret->end.seq || (r->records_max > 0 && r->ret->n >= r->records_max);
}

static enum err read_on(struct reading *r, struct errinfo *err)
{
    enum err rc = OK;
    while (rc == OK && !is_done(r)) {
        size_t n = 0;
        rc = read_part(r, &n, err);
        if (rc == OK && n == 0 && !is_done(r))
            rc = read_one(r, err);
    }
    if (rc == OK || r->ret->n == 0)
        return rc;
    if (rc == ERR_CORRUPT) /* what is good first; the next read meets it again */
        r->s->is_damaged = false;
    return OK;
}

enum err jet_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max, struct store_batch *ret,
                  struct errinfo *err)
{
    struct jet *j = s->impl;
    enum err rc = jet_ready(s, err);
    if (rc == OK)
        rc = jet_tail(s, err);
    if (rc != OK)
        return rc;
    if (after_seq > j->tail.end.seq)
        return err_set(err, ERR_NOT_FOUND, "log '%s' ends at %" PRIu64 ", before %" PRIu64, s->name, j->tail.end.seq,
                       after_seq);
    ret->end = ret->after = (struct store_pos){j->tail.end.seq, j->tail.end.sum};
    if (after_seq == j->tail.end.seq)
        return OK;
    struct jet_place place;
    rc = jet_find(s, after_seq + 1, &place, err);
    if (rc != OK)
        return rc;
    struct reading r = {.s = s,
                        .after_seq = after_seq,
                        .records_max = records_max,
                        .size_max = size_max,
                        .at = place.end,
                        .message = place.message,
                        .ret = ret};
    if (place.end.seq == after_seq)
        ret->after = (struct store_pos){place.end.seq, place.end.sum};
    return read_on(&r, err);
}
