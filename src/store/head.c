#include "store/head.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/own.h"
#include "event/fields.h"
#include "event/hash.h"

void head_encode(const struct head *h, char ret_slot[static HEAD_SLOT_SIZE])
{
    char log[ID_TEXT_SIZE], boot[ID_TEXT_SIZE], time[EVENT_TIME_TEXT_SIZE];
    id_format(h->log, log);
    id_format(h->boot, boot);
    event_time_format(h->time, time);
    char text[HEAD_SLOT_SIZE];
    int n = snprintf(text, sizeof(text),
                     "{\"format\":1,\"log\":\"%s\",\"generation\":%" PRIu64 ",\"boot\":\"%s\",\"segment\":%" PRIu64
                     ",\"length\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"time\":\"%s\",\"sum\":\"crc32c:%08" PRIx32 "\"",
                     log, h->generation, boot, h->segment, h->length, h->seq, time, h->sum);
    assert(n > 0 && (size_t)n + sizeof(",\"check\":\"crc32c:00000000\"}\n") <= sizeof(text));
    uint32_t check = crc32c(0, text, (size_t)n);
    int m = snprintf(text + n, sizeof(text) - (size_t)n, ",\"check\":\"crc32c:%08" PRIx32 "\"}", check);
    memset(ret_slot, ' ', HEAD_SLOT_SIZE);
    memcpy(ret_slot, text, (size_t)n + (size_t)m);
    ret_slot[HEAD_SLOT_SIZE - 1] = '\n';
}

/* What head_encode wrote, to be read; the check is compared by writing it again. */
struct head_text {
    struct id log, boot;
    int64_t generation, segment, length, seq;
    struct event_time time;
    struct str sum;
};
static const struct field HEAD_TEXT_FIELDS[] = {
    FIELD_REQ(ID, head_text, log, "log", "incarnation of the log"),
    FIELD_REQ(I64, head_text, generation, "generation", "rises with each append"),
    FIELD_REQ(ID, head_text, boot, "boot", "of the kernel that ran"),
    FIELD_REQ(I64, head_text, segment, "segment", "first seq of the last segment"),
    FIELD_REQ(I64, head_text, length, "length", "durable bytes of it"),
    FIELD_REQ(I64, head_text, seq, "seq", "last durable record"),
    FIELD_REQ(TIME, head_text, time, "time", "of that record"),
    FIELD_REQ(STR, head_text, sum, "sum", "of that record"),
};
static const struct field_table HEAD_TEXT_TABLE = FIELD_TABLE(head_text, HEAD_TEXT_FIELDS);

bool head_decode(const char slot[static HEAD_SLOT_SIZE], struct head *ret)
{
    AUTO(arena) struct arena arena = {0};
    struct head_text t;
    uint32_t sum = 0;
    if (fields_parse(&HEAD_TEXT_TABLE, (struct str){slot, HEAD_SLOT_SIZE}, &arena, &t, NULL) != OK ||
        !crc32c_parse(t.sum, &sum) || t.generation < 0 || t.segment < 0 || t.length < 0 || t.seq < 0)
        return false;
    struct head h = {.log = t.log,
                     .boot = t.boot,
                     .generation = (uint64_t)t.generation,
                     .segment = (uint64_t)t.segment,
                     .length = (uint64_t)t.length,
                     .seq = (uint64_t)t.seq,
                     .time = t.time,
                     .sum = sum};
    char again[HEAD_SLOT_SIZE];
    head_encode(&h, again);
    if (memcmp(again, slot, HEAD_SLOT_SIZE) != 0)
        return false;
    *ret = h;
    return true;
}

int head_choose(const char bytes[static HEAD_SIZE], struct head *ret)
{
    struct head slots[2];
    bool good[2];
    for (uint64_t i = 0; i < 2; i++)
        good[i] = head_decode(bytes + head_offset(i), &slots[i]) && slots[i].generation % 2 == i;
    if (good[0] && good[1])
        *ret = slots[slots[1].generation > slots[0].generation];
    else if (good[0] || good[1])
        *ret = slots[good[1]];
    return good[0] + good[1];
}
