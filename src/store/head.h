#pragma once
/* store/head.h - how far a files log is durable: two slots, written in turn. Format: docs/formats/event-log.md.
 * Layer: store. No I/O. */
#include "event/id.h"
#include "event/time.h"

/* 512: one sector, so that a disk writes a slot whole or not at all; its JSON needs 420 (test_store_files: head_slots).
 */
#define HEAD_SLOT_SIZE 512u
#define HEAD_SIZE 1024u /* two slots */

struct head {
    struct id log, boot;
    uint64_t generation;
    uint64_t segment, length; /* first seq of the last segment; its durable bytes */
    uint64_t seq;             /* last durable record, with its time and sum */
    struct event_time time;
    uint32_t sum;
};

void head_encode(const struct head *h, char ret_slot[static HEAD_SLOT_SIZE]);
/* Only what head_encode would write is good. */
bool head_decode(const char slot[static HEAD_SLOT_SIZE], struct head *ret);
/* Number of good slots: 2; 1 when one is half-written or damaged; 0. *ret is the newest good one. */
int head_choose(const char bytes[static HEAD_SIZE], struct head *ret);
/* Where the slot of a generation stands. */
static inline size_t head_offset(uint64_t generation)
{
    return generation % 2 == 0 ? 0 : HEAD_SLOT_SIZE;
}
