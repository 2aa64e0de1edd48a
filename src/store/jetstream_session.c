/* The jetstream store: its connection, questions and answers. Every wait is bounded, and in slices for store_cancel. */
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/own.h"
#include "net/nats_connect.h"
#include "store/jetstream.h"

/* ---- news: in a thread of the library ---- */

/* The store's eventfd, duplicated: the library's thread may come once more after the subscription is gone. */
struct news {
    int fd;
};

static void on_grown(natsConnection *conn, natsSubscription *sub, natsMsg *m, void *closure)
{
    (void)conn, (void)sub;
    const struct news *n = closure;
    (void)eventfd_write(n->fd, 1); /* a hint; a full counter is one already */
    natsMsg_Destroy(m);
}

static void on_no_more(void *closure)
{
    struct news *n = closure;
    (void)close(n->fd);
    free(n);
}

static natsStatus subscribe_news(const struct store *s, struct jet *j)
{
    auto_free char *subject = mem_printf("slipform.grown.%s", j->stream);
    int fd = s->news_fd < 0 ? -1 : fcntl(s->news_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return NATS_OK; /* looking now and then is the net */
    struct news *n = mem_alloc(sizeof(*n));
    *n = (struct news){fd};
    natsStatus st = natsConnection_Subscribe(&j->grown, j->conn, subject, on_grown, n);
    if (st != NATS_OK)
        on_no_more(n);
    else
        st = natsSubscription_SetOnCompleteCB(j->grown, on_no_more, n);
    return st;
}

/* ---- the connection ---- */

void jet_disconnect(struct jet *j)
{
    natsSubscription *subs[] = {j->inbox, j->grown};
    nats_leave(j->conn, subs, sizeof(subs) / sizeof(subs[0]));
    free(j->inbox_name);
    j->inbox_name = NULL;
    j->inbox = j->grown = NULL;
    j->conn = NULL;
}

static natsStatus open_inbox(struct jet *j)
{
    natsInbox *name = NULL;
    natsStatus st = natsInbox_Create(&name);
    if (st != NATS_OK)
        return st;
    j->inbox_name = mem_strdup(name);
    natsInbox_Destroy(name);
    auto_free char *all = mem_printf("%s.*", j->inbox_name);
    return natsConnection_SubscribeSync(&j->inbox, j->conn, all);
}

static enum err connect_now(struct store *s, struct jet *j, struct errinfo *err)
{
    natsOptions *o = NULL;
    enum err rc = jet_spec_options(s, j, &o, err);
    if (rc == OK)
        rc = jet_spec_connect(s, o, &j->conn, err);
    natsOptions_Destroy(o);
    if (rc != OK)
        return rc;
    natsStatus st = open_inbox(j);
    if (st == NATS_OK)
        st = subscribe_news(s, j);
    if (st != NATS_OK) {
        jet_disconnect(j);
        return err_set(err, ERR_UNAVAILABLE, "log '%s': connecting to NATS: %s", s->name, natsStatus_GetText(st));
    }
    int64_t payload_max = natsConnection_GetMaxPayload(j->conn);
    if (payload_max >= (int64_t)JET_PAYLOAD_MIN)
        return OK;
    jet_disconnect(j);
    return err_set(err, ERR_INVALID,
                   "log '%s': its nats-server takes %lld bytes in a message, an append may have %u: put 'max_payload: "
                   "2MB' into its configuration",
                   s->name, (long long)payload_max, JET_PAYLOAD_MIN);
}

static enum err check_cancelled(const struct store *s, struct errinfo *err)
{
    return atomic_load(&s->is_cancelled) ? err_set(err, ERR_CANCELLED, "log '%s': asked to stop", s->name) : OK;
}

/* The stream could have been made anew while nobody looked. OK | ERR_IO */
static enum err check_same(struct store *s, struct id known, struct errinfo *err)
{
    auto_json json_t *doc = NULL;
    struct id now = ID_NONE;
    enum err rc = jet_stream_info(s, &doc, err);
    if (rc != OK && rc != ERR_NOT_FOUND)
        return rc;
    const json_t *marks = json_object_get(json_object_get(doc, "config"), "metadata");
    if (rc == OK && id_parse(json_member_str(marks, "slipform-log"), &now) && id_eq(now, known))
        return OK;
    return err_set(err, ERR_IO, "log '%s' was replaced by another one, or is gone: it must be opened anew", s->name);
}

enum err jet_ready(struct store *s, struct errinfo *err)
{
    struct jet *j = s->impl;
    enum err rc = check_cancelled(s, err);
    if (rc != OK)
        return rc;
    if (j->conn != NULL && natsConnection_IsClosed(j->conn))
        jet_disconnect(j);
    if (j->conn != NULL)
        return OK;
    rc = connect_now(s, j, err);
    if (rc == OK && !id_is_none(s->log))
        rc = check_same(s, s->log, err);
    if (rc != OK)
        jet_disconnect(j);
    return rc;
}

/* ---- questions ---- */

static enum err lost(const struct store *s, struct jet *j, const char *what, struct errinfo *err)
{
    jet_disconnect(j);
    return err_set(err, ERR_IO, "log '%s': no answer of NATS: %s", s->name, what);
}

/* The question was delivered to nobody. */
static enum err nobody(const struct store *s, struct errinfo *err)
{
    return err_set(err, ERR_UNAVAILABLE, "log '%s': nobody of NATS answers for its stream now", s->name);
}

/* The number of the question that a message answers; 0: none. */
static uint64_t number_of(const struct jet *j, const natsMsg *m)
{
    struct str subject = str_from(natsMsg_GetSubject(m));
    uint64_t number = 0;
    size_t n = strlen(j->inbox_name) + 1;
    return subject.len > n && str_parse_u64(str_slice(subject, n, subject.len), UINT64_MAX, &number) ? number : 0;
}

enum err jet_next(struct store *s, natsMsg **ret, struct errinfo *err)
{
    struct jet *j = s->impl;
    int64_t until_us = clock_mono_us() + (int64_t)j->timeout_ms * 1000;
    *ret = NULL;
    for (;;) {
        natsMsg *m = NULL;
        natsStatus st = natsSubscription_NextMsg(&m, j->inbox, JET_SLICE_MS);
        if (st == NATS_OK && number_of(j, m) == j->asked) {
            *ret = m;
            return OK;
        }
        natsMsg_Destroy(m);           /* too late for a question before */
        if (st == NATS_NO_RESPONDERS) /* how the library tells 503; a question that got no answer left no inbox */
            return nobody(s, err);
        if (st != NATS_OK && st != NATS_TIMEOUT)
            return lost(s, j, natsStatus_GetText(st), err);
        enum err rc = check_cancelled(s, err);
        if (rc != OK) {
            jet_disconnect(j);
            return rc;
        }
        if (clock_mono_us() >= until_us)
            return lost(s, j, "the time is up", err);
    }
}

static natsStatus send_question(struct jet *j, const struct jet_question *q)
{
    auto_free char *reply = mem_printf("%s.%llu", j->inbox_name, (unsigned long long)++j->asked);
    auto_message natsMsg *m = NULL;
    natsStatus st = natsMsg_Create(&m, q->subject, reply, q->body.ptr, (int)q->body.len);
    for (size_t i = 0; i < q->headers_n && st == NATS_OK; i++)
        st = natsMsgHeader_Set(m, q->headers[i].name, q->headers[i].value);
    return st == NATS_OK ? natsConnection_PublishMsg(j->conn, m) : st;
}

enum err jet_ask(struct store *s, const struct jet_question *q, natsMsg **ret, struct errinfo *err)
{
    struct jet *j = s->impl;
    *ret = NULL;
    if (j->conn == NULL)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': not connected", s->name);
    natsStatus st = send_question(j, q);
    if (st != NATS_OK)
        return lost(s, j, natsStatus_GetText(st), err);
    enum err rc = jet_next(s, ret, err);
    if (rc != OK || jet_status(*ret) != 503)
        return rc;
    natsMsg_Destroy(*ret);
    *ret = NULL;
    return nobody(s, err);
}

enum err jet_again(enum err rc, struct errinfo *err)
{
    if (rc != ERR_IO)
        return rc;
    if (err != NULL)
        err->code = ERR_UNAVAILABLE;
    return ERR_UNAVAILABLE;
}

enum err jet_api(struct store *s, const char *subject, struct str body, json_t **ret_doc, int *ret_code,
                 struct errinfo *err)
{
    auto_message natsMsg *m = NULL;
    *ret_doc = NULL;
    enum err rc = jet_ask(s, &(struct jet_question){.subject = subject, .body = body}, &m, err);
    if (rc != OK)
        return jet_again(rc, err);
    rc = json_parse((struct str){natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, ret_doc, err);
    if (rc != OK)
        return err_set(err, ERR_UNAVAILABLE, "log '%s': an answer of NATS is no JSON document", s->name);
    const json_t *error = json_object_get(*ret_doc, "error");
    *ret_code = (int)json_integer_value(json_object_get(error, "err_code"));
    if (error == NULL)
        return OK;
    return err_set(err, ERR_UNAVAILABLE, "log '%s': NATS says: %.*s (%d)", s->name,
                   STR_ARG(json_member_str(error, "description")), *ret_code);
}

struct str jet_header_of(natsMsg *m, const char *name)
{
    const char *value = NULL;
    return natsMsgHeader_Get(m, name, &value) == NATS_OK && value != NULL ? str_from(value) : (struct str){NULL, 0};
}

int jet_status(natsMsg *m)
{
    uint64_t status = 0;
    return str_parse_u64(jet_header_of(m, "Status"), 999, &status) ? (int)status : 0;
}
