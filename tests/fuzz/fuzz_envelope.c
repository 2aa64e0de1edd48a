/* A line of an event log: what is accepted can be written again and reads the same; the first reader of envelopes, byte
 * by byte, says the same of it. */
#include <assert.h>

#include "../unit/reference_envelope.h"
#include "base/own.h"
#include "event/envelope.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str line = {(const char *)data, size};
    struct envelope e, back;
    struct errinfo err;
    struct envelope by_reference = {0};
    struct errinfo reference_err = {0};
    err = (struct errinfo){0};
    enum err first = envelope_decode(line, 0, &e, &err);
    assert(first == reference_envelope_decode(line, 0, &by_reference, &reference_err));
    assert(strcmp(err.msg, reference_err.msg) == 0);
    if (first != OK)
        return 0;
    assert(str_eq(e.type, by_reference.type) && str_eq(e.payload, by_reference.payload) && e.sum == by_reference.sum);
    assert(event_time_cmp(e.time, by_reference.time) == 0 && id_eq(e.id, by_reference.id));
    assert(e.more == by_reference.more && e.has_sum == by_reference.has_sum);
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
