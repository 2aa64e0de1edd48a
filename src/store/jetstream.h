#pragma once
/* store/jetstream.h - the jetstream store: a log is a stream of NATS JetStream; for the files of this room only.
 * Layer: store. docs/decisions/jetstream-store.md says why a message is an append.
 *
 * A message holds the lines of one append, or none (a fence); its headers say what they are:
 *   Slipform-First   number of its first record, or of the next one in a fence     Slipform-Count  records
 *   Slipform-Before  sum of the record before the first       Slipform-Sum, Slipform-Time  of the last record so far
 *
 * A handle has one connection. libnats has threads of its own; they fill the handle's inbox, where calls wait in
 * slices, and write to an eventfd when the log grew (jet_news). The library never connects anew by itself and never
 * sends anything twice: a lost connection is closed, the next call makes another one. */
#include <nats/nats.h>

#include "base/json.h"
#include "store/kind.h"
#include "store/lines.h"

/* Until the server's answer (chosen: a leader is elected within 4 s by the server's defaults). */
#define JET_TIMEOUT_MS 5000u
/* A cancelled call is noticed within this (chosen). */
#define JET_SLICE_MS 50
/* What the server must take in one message: the largest append, and its headers. */
#define JET_PAYLOAD_MIN (ENVELOPE_BATCH_SIZE_MAX + 4096u)

/* A place between two messages. {.end.time = EVENT_TIME_MIN}: the beginning. */
struct jet_place {
    uint64_t message; /* stream sequence of the one before */
    struct lines_end end;
};

struct jet {
    natsConnection *conn; /* NULL: lost, the next call connects */
    natsSubscription *inbox, *grown;
    char *inbox_name;
    uint64_t asked; /* number of the last question: its answer comes to <inbox>.<number> */
    char *servers, *stream, *subject, *bucket, *keys;
    uint64_t timeout_ms, replicas;
    bool is_failed;              /* an append whose answer was lost */
    struct jet_place tail;       /* as last met */
    int64_t behind_us;           /* since when the leader says less than that; 0: it does not */
    struct jet_place from, upto; /* around the message that was read last */
    struct buf text;
};

/* ---- jetstream_spec.c ---- */

/* Check every key of the spec and fill in j's names and bounds.
 * OK | ERR_INVALID a key that is not known or missing, a secret in an address, a number out of bounds */
must_check enum err jet_spec_read(const struct store *s, struct jet *j, struct errinfo *err);
/* The options that the spec names, but servers: TLS, credentials. *ret: natsOptions_Destroy, also on an error. */
must_check enum err jet_spec_options(const struct store *s, const struct jet *j, natsOptions **ret,
                                     struct errinfo *err);
/* To one of its servers. As nats_connect_err (net/nats_connect.h). */
must_check enum err jet_spec_connect(const struct store *s, natsOptions *o, natsConnection **ret, struct errinfo *err);
/* Do the servers write an append to disk before they acknowledge it? Asks each monitoring address of the spec.
 * OK | ERR_INVALID one does not | ERR_UNAVAILABLE not more than half of them answer */
must_check enum err jet_check_sync(const struct store *s, struct errinfo *err);

/* ---- jetstream_session.c ---- */

/* Before each call. OK | ERR_CANCELLED | ERR_UNAVAILABLE | ERR_DENIED | ERR_INVALID the server takes too little */
must_check enum err jet_ready(struct store *s, struct errinfo *err);
void jet_disconnect(struct jet *j);

/* One header of a question. */
struct jet_header {
    const char *name, *value;
};
struct jet_question {
    const char *subject;
    struct str body;
    const struct jet_header *headers;
    size_t headers_n;
};
/* Ask, and wait for one answer: natsMsg_Destroy.
 * OK | ERR_UNAVAILABLE it was not delivered to anybody | ERR_IO no answer: it may have been; the connection is closed
 *    | ERR_CANCELLED no answer was waited for */
must_check enum err jet_ask(struct store *s, const struct jet_question *q, natsMsg **ret, struct errinfo *err);
/* More answers to the last question. OK | ERR_UNAVAILABLE it was delivered to nobody | ERR_IO | ERR_CANCELLED */
must_check enum err jet_next(struct store *s, natsMsg **ret, struct errinfo *err);
/* What a question that may be asked again answers: ERR_IO becomes ERR_UNAVAILABLE. */
must_check enum err jet_again(enum err rc, struct errinfo *err);
/* jet_ask with a JSON answer, for what may be asked again.
 *   ret_code  of the server's error, 0: none     *ret_doc: json_decref, also on an error
 * OK | ERR_UNAVAILABLE also when the server says no: *ret_code | ERR_CANCELLED */
must_check enum err jet_api(struct store *s, const char *subject, struct str body, json_t **ret_doc, int *ret_code,
                            struct errinfo *err);
static inline void jet_message_cleanup(natsMsg **m)
{
    natsMsg_Destroy(*m);
}
#define auto_message __attribute__((cleanup(jet_message_cleanup)))
/* A header as text; {NULL,0} when absent. Lent. */
struct str jet_header_of(natsMsg *m, const char *name);
/* Status of an answer without content: 204, 404, 503; 0: none. */
int jet_status(natsMsg *m);

/* ---- jetstream_stream.c ---- */

/* The stream is there and as it must be; with STORE_CREATE it is made. Sets s->log and the clock.
 * OK | ERR_NOT_FOUND | ERR_INVALID its limits are wrong: what, and how to mend it | ERR_CONFLICT of somebody else */
must_check enum err jet_stream_check(struct store *s, struct errinfo *err);
/* Ask the stream's leader how it is: notes the clock. OK | ERR_NOT_FOUND */
must_check enum err jet_stream_info(struct store *s, json_t **ret_doc, struct errinfo *err);
/* Make the buckets of leases and of keys, unless they are there. */
must_check enum err jet_bucket_make(struct store *s, struct errinfo *err);

/* ---- jetstream_place.c ---- */

/* The headers of a message, `value` finds them. false: it is none of a log */
struct jet_span {
    uint64_t first, count;
    uint32_t before;
    struct lines_end end;
};
bool jet_span_read(natsMsg *m, struct jet_span *ret);
/* Ask the leader for the end; j->tail. Never goes back behind what this handle met, but for a log that really did. */
must_check enum err jet_tail(struct store *s, struct errinfo *err);
/* A message of the stream. OK | ERR_CORRUPT it is gone, or none of a log */
must_check enum err jet_message(struct store *s, uint64_t message, natsMsg **ret, struct jet_span *ret_span,
                                struct errinfo *err);
/* A message of any stream as its leader has it; body: which. Its number is header Nats-Sequence.
 * OK | ERR_NOT_FOUND no such message | ERR_UNAVAILABLE, ERR_CANCELLED */
must_check enum err jet_leader_message(struct store *s, const char *stream, const char *body, natsMsg **ret,
                                       struct errinfo *err);
/* The place before the message that holds record seq, 1 <= seq <= the tail's. Cost: some questions, unless it is where
 * was read last. */
must_check enum err jet_find(struct store *s, uint64_t seq, struct jet_place *ret, struct errinfo *err);

/* ---- jetstream_read.c, jetstream_append.c, jetstream_lease.c, jetstream_key.c ---- */

must_check enum err jet_read(struct store *s, uint64_t after_seq, size_t records_max, size_t size_max,
                             struct store_batch *ret, struct errinfo *err);
must_check enum err jet_append(struct store *s, struct store_pos expect, const struct store_group *groups,
                               size_t groups_n, struct store_record *ret_records, size_t *ret_taken,
                               struct errinfo *err);
/* After an append whose answer was lost: nothing of it comes any more when OK returns. */
must_check enum err jet_fence(struct store *s, struct errinfo *err);
must_check enum err jet_prove(struct store *s, struct errinfo *err);
must_check enum err jet_lease_put(struct store *s, const struct store_lease *lease, struct errinfo *err);
must_check enum err jet_lease_drop(struct store *s, const char *name, struct errinfo *err);
must_check enum err jet_lease_list(struct store *s, struct store_lease *ret, size_t max, size_t *ret_n,
                                   struct errinfo *err);
must_check enum err jet_key_put(struct store *s, const struct store_key *key, const char *was, struct errinfo *err);
must_check enum err jet_key_get(struct store *s, const char *name, struct store_key *ret, struct errinfo *err);
must_check enum err jet_key_drop(struct store *s, const char *name, struct errinfo *err);
must_check enum err jet_key_list(struct store *s, const char *after, struct store_key *ret, size_t max, size_t *ret_n,
                                 struct errinfo *err);
