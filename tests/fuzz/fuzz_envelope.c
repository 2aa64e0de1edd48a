/* A line of an event log: what is accepted can be written again and reads the same. */
#include <assert.h>

#include "base/own.h"
#include "event/envelope.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str line = {(const char *)data, size};
    struct envelope e, back;
    struct errinfo err;
    if (envelope_decode(line, 0, &e, &err) != OK)
        return 0;
    AUTO(buf) struct buf out = {0};
    uint32_t sum = envelope_encode(&e, 7, &out);
    enum err rc = envelope_decode((struct str){out.ptr, out.len - 1}, 7, &back, &err);
    if (rc == ERR_LIMIT) /* ours is a little longer */
        return 0;
    assert(rc == OK);
    assert(back.has_sum && back.sum == sum && back.more == e.more && id_eq(back.id, e.id));
    assert(str_eq(back.type, e.type) && str_eq(back.payload, e.payload));
    assert(event_time_cmp(back.time, e.time) == 0);
    return 0;
}
