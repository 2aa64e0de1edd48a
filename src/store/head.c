#include "store/head.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

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

bool head_decode(const char slot[static HEAD_SLOT_SIZE], struct head *ret)
{
    char text[HEAD_SLOT_SIZE + 1], log[ID_TEXT_SIZE] = "", boot[ID_TEXT_SIZE] = "", time[EVENT_TIME_TEXT_SIZE] = "";
    memcpy(text, slot, HEAD_SLOT_SIZE);
    text[HEAD_SLOT_SIZE] = '\0';
    struct head h = {0};
    int n = sscanf(text,
                   "{\"format\":1,\"log\":\"%36[^\"]\",\"generation\":%" SCNu64
                   ",\"boot\":\"%36[^\"]\",\"segment\":%" SCNu64 ",\"length\":%" SCNu64 ",\"seq\":%" SCNu64
                   ",\"time\":\"%55[^\"]\",\"sum\":\"crc32c:%8" SCNx32 "\"",
                   log, &h.generation, boot, &h.segment, &h.length, &h.seq, time, &h.sum);
    if (n != 8 || !id_parse(str_from(log), &h.log) || !id_parse(str_from(boot), &h.boot) ||
        !event_time_parse(str_from(time), &h.time))
        return false;
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
