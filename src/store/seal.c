#include "store/seal.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/own.h"
#include "event/fields.h"
#include "event/hash.h"

void seal_name(uint64_t first_seq, char ret_name[static 32])
{
    (void)snprintf(ret_name, 32, "%020" PRIu64 ".seal", first_seq);
}

void seal_encode(const struct seal *s, struct buf *out)
{
    char log[ID_TEXT_SIZE], time[EVENT_TIME_TEXT_SIZE], digest[DIGEST_TEXT_SIZE];
    id_format(s->log, log);
    event_time_format(s->time, time);
    hash_digest_format(s->digest, digest);
    size_t from = out->len;
    buf_addf(out,
             "{\"format\":1,\"log\":\"%s\",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"length\":%" PRIu64
             ",\"time\":\"%s\",\"sum\":\"crc32c:%08" PRIx32 "\",\"digest\":\"%s\"",
             log, s->first, s->last, s->length, time, s->sum, digest);
    uint32_t check = crc32c(0, out->ptr + from, out->len - from);
    buf_addf(out, ",\"check\":\"crc32c:%08" PRIx32 "\"}\n", check);
}

/* What seal_encode wrote, to be read; the check is compared by writing it again. */
struct seal_text {
    struct id log;
    int64_t first, last, length;
    struct event_time time;
    struct str sum, digest;
};
static const struct field SEAL_TEXT_FIELDS[] = {
    FIELD_REQ(ID, seal_text, log, "log", "incarnation of the log"),
    FIELD_REQ(I64, seal_text, first, "first", "seq of the segment's first record"),
    FIELD_REQ(I64, seal_text, last, "last", "seq of its last"),
    FIELD_REQ(I64, seal_text, length, "length", "bytes of it"),
    FIELD_REQ(TIME, seal_text, time, "time", "of its last record"),
    FIELD_REQ(STR, seal_text, sum, "sum", "of its last record"),
    FIELD_REQ(STR, seal_text, digest, "digest", "SHA-256 of its bytes"),
};
static const struct field_table SEAL_TEXT_TABLE = FIELD_TABLE(seal_text, SEAL_TEXT_FIELDS);

bool seal_decode(struct str text, struct seal *ret)
{
    AUTO(arena) struct arena arena = {0};
    AUTO(buf) struct buf again = {0};
    struct seal_text t;
    uint32_t sum = 0;
    struct seal s;
    if (text.len > SEAL_SIZE_MAX || fields_parse(&SEAL_TEXT_TABLE, text, &arena, &t, NULL) != OK ||
        !crc32c_parse(t.sum, &sum) || !hash_digest_parse(t.digest, s.digest) || t.first < 0 || t.last < 0 ||
        t.length < 0)
        return false;
    s.log = t.log;
    s.first = (uint64_t)t.first;
    s.last = (uint64_t)t.last;
    s.length = (uint64_t)t.length;
    s.time = t.time;
    s.sum = sum;
    seal_encode(&s, &again);
    if (!str_eq(buf_str(&again), text))
        return false;
    *ret = s;
    return true;
}
