#pragma once
/* event/envelope.h - one event as one line: {"time":…,"type":…,"id":…,"payload":{…},"sum":"crc32c:…"}.
 * Layer: event. Pure. Format: docs/formats/event-log.md */
#include "base/buf.h"
#include "base/err.h"
#include "event/id.h"
#include "event/time.h"

/* Contract: an event is at most 256 KiB, a batch 1 MiB (test_event: envelope_limits). */
#define ENVELOPE_SIZE_MAX 262144u
#define ENVELOPE_BATCH_SIZE_MAX 1048576u

struct envelope {
    struct event_time time;
    struct str type;    /* what follows the last ':' and the last '.', e.g. "CreateInstance" */
    struct id id;       /* ID_NONE: an imported line without one (unverified) */
    struct str payload; /* JSON text of one object */
    bool more;          /* the next record belongs to the same append: a batch is kept whole (default: no) */
    bool has_sum;
    uint32_t sum; /* CRC-32C over the line before `,"sum"`, seeded with the previous record's sum */
};

/* Write the line with its newline; `sum` continues from prev_sum (0 for the first record of a log).
 * e->type is the bare name. Returns the record's sum. */
uint32_t envelope_encode(const struct envelope *e, uint32_t prev_sum, struct buf *out);
/* Read a line (without its newline). Texts are borrowed from the line. The payload is checked to be one well-formed
 * JSON object, its members are not. prev_sum  the sum of the record before; checked when the line carries one OK |
 * ERR_INVALID malformed | ERR_CORRUPT the sum does not match | ERR_LIMIT too long */
must_check enum err envelope_decode(struct str line, uint32_t prev_sum, struct envelope *ret, struct errinfo *err);
