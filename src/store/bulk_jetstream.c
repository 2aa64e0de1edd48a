/* The bulk store in NATS JetStream: stream <stream>-bulk beside that of the log, which discards what is old by age and
 * bytes; a subject each series, a message each chunk. Its headers:
 *   Slipform-Last  number of its last line    Slipform-Upto  bytes of the series up to and with it, ever
 *   Slipform-Mark  a message: what is before it goes when the series has grown by half of what it may have
 * A message is put behind the last of its subject, else it is refused: that is what makes a line stand once. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/own.h"
#include "store/bulk_kind.h"
#include "store/jetstream.h"

enum { NAME_IN_USE = 10058, NO_ROOM = 10047, WRONG_LAST = 10071, WRONG_LAST_CONSTANT = 10164 };
enum { STATUS_END = 204, STATUS_NONE = 404 };
/* Messages of one question (chosen). */
#define PART_MESSAGES 64

static char *stream_of(const struct bulk *b)
{
    const struct jet *j = b->log->impl;
    return mem_printf("%s-bulk", j->stream);
}

static char *subject_of(const struct bulk *b, const char *series)
{
    const struct jet *j = b->log->impl;
    return mem_printf("slipform.bulk.%s.%s", j->stream, series);
}

/* ---- the stream ---- */

/* The limits are those of who opened it last. */
static enum err make_stream(struct bulk *b, struct errinfo *err)
{
    const struct jet *j = b->log->impl;
    auto_free char *name = stream_of(b), *subjects = subject_of(b, "*");
    auto_json json_t *config = json_pack(
        "{s:s, s:[s], s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:b, s:s}", "name", name, "subjects", subjects,
        "retention", "limits", "storage", "file", "discard", "old", "num_replicas", (json_int_t)j->replicas, "max_age",
        (json_int_t)b->limits.kept_s * 1000000000, "max_bytes", (json_int_t)b->limits.size_bytes, "max_msgs", -1,
        "max_msgs_per_subject", -1, "allow_direct", 1, "description", "lines of instances and statistics of slipform");
    auto_free char *text = json_format(config);
    enum err rc = OK;
    int code = NAME_IN_USE;
    for (int i = 0; i < 2 && code == NAME_IN_USE; i++) {
        auto_json json_t *doc = NULL;
        auto_free char *subject = mem_printf("$JS.API.STREAM.%s.%s", i == 0 ? "CREATE" : "UPDATE", name);
        rc = jet_api(b->log, subject, str_from(text), &doc, &code, err);
    }
    if (code == NO_ROOM)
        return err_set(err, ERR_UNAVAILABLE,
                       "the servers have no room for stream '%s': give them more, or lines less (bulk_size_mib)", name);
    return rc == OK ? OK : err_wrap(err, rc, "make stream '%s'", name);
}

static enum err open_stream(struct bulk *b, const char *spec, struct errinfo *err)
{
    enum err rc = store_open(spec, NULL, &b->log, NULL, err);
    return rc == OK ? make_stream(b, err) : rc;
}

/* ---- messages ---- */

struct chunk {
    uint64_t message, last, upto, mark;
    struct str lines; /* the message's */
};

static bool chunk_read(natsMsg *m, struct chunk *ret)
{
    *ret = (struct chunk){.lines = {natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}};
    return str_parse_u64(jet_header_of(m, "Nats-Sequence"), UINT64_MAX / 2, &ret->message) &&
           str_parse_u64(jet_header_of(m, "Slipform-Last"), INT64_MAX, &ret->last) &&
           str_parse_u64(jet_header_of(m, "Slipform-Upto"), INT64_MAX, &ret->upto) &&
           str_parse_u64(jet_header_of(m, "Slipform-Mark"), UINT64_MAX / 2, &ret->mark);
}

static enum err not_ours(const char *subject, struct errinfo *err)
{
    return err_set(err, ERR_CORRUPT, "a message of '%s' is no chunk of lines: somebody else wrote it", subject);
}

static enum err end(struct bulk *b, struct bulk_known *k, struct errinfo *err)
{
    auto_free char *stream = stream_of(b), *subject = subject_of(b, k->name);
    auto_free char *body = mem_printf("{\"last_by_subj\":\"%s\"}", subject);
    auto_message natsMsg *m = NULL;
    struct chunk c = {0};
    enum err rc = jet_ready(b->log, err);
    if (rc == OK)
        rc = jet_leader_message(b->log, stream, body, &m, err);
    if (rc == OK && !chunk_read(m, &c))
        rc = not_ours(subject, err);
    if (rc != OK && rc != ERR_NOT_FOUND)
        return rc;
    k->last = (int64_t)c.last;
    k->message = c.message;
    k->bytes = c.upto;
    k->mark = c.mark;
    return OK;
}

/* ---- appending ---- */

static enum err read_answer(natsMsg *m, struct bulk_known *k, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    if (json_parse((struct str){natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, &doc, NULL) != OK)
        return err_set(err, ERR_UNAVAILABLE, "series '%s': an answer of NATS is no JSON document", k->name);
    const json_t *error = json_object_get(doc, "error");
    json_int_t code = json_integer_value(json_object_get(error, "err_code"));
    if (code == WRONG_LAST || code == WRONG_LAST_CONSTANT)
        return err_set(err, ERR_CONFLICT, "series '%s' ends elsewhere", k->name);
    if (error != NULL)
        return err_set(err, ERR_UNAVAILABLE, "series '%s': NATS says: %.*s (%lld)", k->name,
                       STR_ARG(json_member_str(error, "description")), (long long)code);
    k->message = (uint64_t)json_integer_value(json_object_get(doc, "seq"));
    return OK;
}

static enum err publish(struct bulk *b, struct bulk_known *k, struct str chunk, int64_t last, struct errinfo *err)
{
    char expected[24], number[24], upto[24], mark[24];
    auto_free char *stream = stream_of(b), *subject = subject_of(b, k->name);
    (void)snprintf(expected, sizeof(expected), "%" PRIu64, k->message);
    (void)snprintf(number, sizeof(number), "%" PRId64, last);
    (void)snprintf(upto, sizeof(upto), "%" PRIu64, k->bytes + chunk.len);
    (void)snprintf(mark, sizeof(mark), "%" PRIu64, k->mark);
    const struct jet_header headers[] = {{"Nats-Expected-Stream", stream},
                                         {"Nats-Expected-Last-Subject-Sequence", expected},
                                         {"Slipform-Last", number},
                                         {"Slipform-Upto", upto},
                                         {"Slipform-Mark", mark}};
    const struct jet_question q = {
        .subject = subject, .body = chunk, .headers = headers, .headers_n = sizeof(headers) / sizeof(headers[0])};
    auto_message natsMsg *m = NULL;
    enum err rc = jet_again(jet_ask(b->log, &q, &m, err), err);
    return rc == OK ? read_answer(m, k, err) : rc;
}

static enum err purge(struct bulk *b, const char *series, uint64_t before, struct errinfo *err)
{
    auto_free char *stream = stream_of(b), *subject = subject_of(b, series);
    auto_free char *api = mem_printf("$JS.API.STREAM.PURGE.%s", stream);
    auto_free char *body = before == 0 ? mem_printf("{\"filter\":\"%s\"}", subject)
                                       : mem_printf("{\"filter\":\"%s\",\"seq\":%" PRIu64 "}", subject, before);
    auto_json json_t *doc = NULL;
    int code = 0;
    return jet_api(b->log, api, str_from(body), &doc, &code, err);
}

static enum err put(struct bulk *b, struct bulk_known *k, struct str chunk, int64_t last, uint64_t size_max,
                    struct errinfo *err)
{
    uint64_t half = size_max / 2 > 0 ? size_max / 2 : 1, before = k->bytes / half;
    enum err rc = jet_ready(b->log, err);
    if (rc == OK)
        rc = publish(b, k, chunk, last, err);
    if (rc == ERR_CONFLICT) {
        rc = end(b, k, err);
        return rc == OK ? err_set(err, ERR_CONFLICT, "series '%s' ends elsewhere", k->name) : rc;
    }
    if (rc != OK)
        return rc;
    k->last = last;
    k->bytes += chunk.len;
    if (k->bytes / half > before) {
        if (k->mark > 0)
            err_ignore(purge(b, k->name, k->mark, NULL)); /* else the stream's own limits take it */
        k->mark = k->message;
    }
    return OK;
}

/* ---- reading ---- */

/* Ask for messages of a subject from `from` on. */
static enum err ask(struct bulk *b, const char *subject, uint64_t from, int n, size_t size, natsMsg **ret,
                    struct errinfo *err)
{
    auto_free char *stream = stream_of(b);
    auto_free char *api = mem_printf("$JS.API.DIRECT.GET.%s", stream);
    auto_free char *body =
        n == 1 ? mem_printf("{\"seq\":%" PRIu64 ",\"next_by_subj\":\"%s\"}", from, subject)
               : mem_printf("{\"seq\":%" PRIu64 ",\"next_by_subj\":\"%s\",\"batch\":%d,\"max_bytes\":%zu}", from,
                            subject, n, size);
    enum err rc = jet_ready(b->log, err);
    if (rc == OK)
        rc = jet_again(jet_ask(b->log, &(struct jet_question){.subject = api, .body = str_from(body)}, ret, err), err);
    if (rc != OK || jet_status(*ret) == 0 || jet_status(*ret) == STATUS_END || jet_status(*ret) == STATUS_NONE)
        return rc;
    return err_set(err, ERR_UNAVAILABLE, "'%s': NATS answers %d: %.*s", subject, jet_status(*ret),
                   STR_ARG(jet_header_of(*ret, "Description")));
}

/* What one question brings. *ret_n: messages, also those that are behind the cursor. */
static enum err read_part(struct bulk *b, const char *subject, struct bulk_cursor *c, size_t size_max, struct buf *ret,
                          size_t *ret_n, struct errinfo *err)
{
    auto_message natsMsg *m = NULL;
    enum err rc =
        ask(b, subject, c->hint == 0 ? 1 : c->hint, PART_MESSAGES, size_max < 1024 ? 1024 : size_max, &m, err);
    for (*ret_n = 0; rc == OK && jet_status(m) == 0; (*ret_n)++) {
        struct chunk found;
        if (!chunk_read(m, &found))
            return not_ours(subject, err);
        if (found.message >= c->hint) {
            c->hint = found.message + 1;
            if (found.last > (uint64_t)c->after)
                buf_add_str(ret, found.lines);
        }
        natsMsg_Destroy(m);
        m = NULL;
        rc = jet_again(jet_next(b->log, &m, err), err);
    }
    return rc;
}

static enum err read_chunks(struct bulk *b, struct bulk_cursor *c, size_t size_max, struct buf *ret,
                            struct errinfo *err)
{
    auto_free char *subject = subject_of(b, c->series);
    enum err rc = OK;
    for (size_t n = 1; rc == OK && n > 0 && ret->len == 0;)
        rc = read_part(b, subject, c, size_max, ret, &n, err);
    return rc;
}

/* By halves: the first message behind which there are no more than `size` bytes. */
static enum err tail(struct bulk *b, struct bulk_cursor *c, size_t size, struct errinfo *err)
{
    struct bulk_known k = {0};
    (void)str_copy_to(str_from(c->series), k.name, sizeof(k.name));
    enum err rc = end(b, &k, err);
    auto_free char *subject = subject_of(b, c->series);
    uint64_t low = 1, high = k.message;
    while (rc == OK && low < high) {
        auto_message natsMsg *m = NULL;
        struct chunk found;
        uint64_t middle = low + (high - low) / 2;
        rc = ask(b, subject, middle, 1, 0, &m, err);
        if (rc != OK)
            break;
        if (jet_status(m) != 0) /* a server that is behind */
            high = middle;
        else if (!chunk_read(m, &found))
            rc = not_ours(subject, err);
        else if (found.message >= high || k.bytes + found.lines.len <= size + found.upto)
            high = middle;
        else
            low = found.message + 1;
    }
    c->after = 0;
    c->hint = high;
    return rc;
}

/* ---- throwing away ---- */

static enum err drop(struct bulk *b, const char *series, struct errinfo *err)
{
    enum err rc = jet_ready(b->log, err);
    return rc == OK ? purge(b, series, 0, err) : rc;
}

/* The server knows how old a message is, and lets none grow older than all may. */
static enum err idle(struct bulk *b, int64_t before_us, const char *after, char ret[static BULK_PAGE][BULK_NAME_SIZE],
                     size_t *ret_n, struct errinfo *err)
{
    (void)b, (void)before_us, (void)after, (void)ret, (void)ret_n, (void)err;
    return OK;
}

static enum err sweep(struct bulk *b, int64_t now_us, struct errinfo *err)
{
    (void)b, (void)now_us, (void)err;
    return OK;
}

const struct bulk_kind BULK_JETSTREAM = {
    .name = "jetstream",
    .open = open_stream,
    .put = put,
    .end = end,
    .read = read_chunks,
    .tail = tail,
    .drop = drop,
    .idle = idle,
    .sweep = sweep,
};
