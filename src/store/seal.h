#pragma once
/* store/seal.h - what is written beside a segment once nothing is appended to it any more: where it ends, and its
 * SHA-256. Layer: store. No I/O. Format: docs/formats/event-log.md */
#include "event/hash.h"
#include "event/id.h"
#include "event/time.h"

struct buf;

/* 1 KiB; its JSON has some 330 bytes. */
#define SEAL_SIZE_MAX 1024u

struct seal {
    struct id log;
    uint64_t first, last; /* seqs */
    uint64_t length;      /* bytes of the segment */
    struct event_time time;
    uint32_t sum; /* time and sum of the last record */
    uint8_t digest[HASH_SIZE];
};

void seal_encode(const struct seal *s, struct buf *out);
/* Only what seal_encode would write is good. */
bool seal_decode(struct str text, struct seal *ret);
/* "00000000000000000001.seal"; 32 bytes. */
void seal_name(uint64_t first_seq, char ret_name[static 32]);
