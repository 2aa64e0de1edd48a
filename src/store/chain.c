#include "store/chain.h"

#include <errno.h>
#include <inttypes.h>

#include "base/own.h"
#include "event/hash.h"

/* 256 KiB: a whole record at the most, so that two parts hold one (chosen; more made it no faster). */
#define PART_SIZE 262144u

/* How a line ends: TAIL_BEGIN, eight digits, TAIL_END. */
static const char TAIL_BEGIN[] = ",\"sum\":\"crc32c:", TAIL_END[] = "\"}";
enum {
    BEGIN_LEN = sizeof(TAIL_BEGIN) - 1,
    END_LEN = sizeof(TAIL_END) - 1,
    TAIL_LEN = BEGIN_LEN + 8 + END_LEN,
};

static bool digits_parse(const char *digits, uint32_t *ret)
{
    static const char DIGITS[] = "0123456789abcdef";
    *ret = 0;
    for (size_t i = 0; i < 8; i++) {
        const char *digit = memchr(DIGITS, digits[i], 16);
        if (digit == NULL)
            return false;
        *ret = *ret << 4 | (uint32_t)(digit - DIGITS);
    }
    return true;
}

/* The sum at the end of a line without its newline. */
static bool sum_of(struct str line, uint32_t *ret)
{
    if (line.len < TAIL_LEN)
        return false;
    const char *tail = line.ptr + line.len - TAIL_LEN;
    return memcmp(tail, TAIL_BEGIN, BEGIN_LEN) == 0 && memcmp(tail + BEGIN_LEN + 8, TAIL_END, END_LEN) == 0 &&
           digits_parse(tail + BEGIN_LEN, ret);
}

static bool time_of(struct str line, struct event_time *ret)
{
    const struct str before = STR("{\"time\":\"");
    struct str rest = line, text;
    if (!str_starts(line, before))
        return false;
    rest = str_slice(line, before.len, line.len);
    return str_next(&rest, '"', &text) && event_time_parse(text, ret);
}

struct chain {
    struct scan_at *at;
    struct index *places;
    uint64_t first_seq;
    struct str last; /* line, lent by the part */
};

/* OK: the record continues the chain, and at stands behind it. */
static bool take(struct chain *c, struct str line)
{
    uint32_t said = 0;
    if (!sum_of(line, &said) || crc32c(c->at->sum, line.ptr, line.len - TAIL_LEN) != said)
        return false;
    bool is_place = c->places != NULL && (c->at->seq + 1) % INDEX_EVERY == 0;
    struct event_time time = c->at->time;
    if (is_place && !time_of(line, &time))
        return false;
    *c->at = (struct scan_at){c->at->seq + 1, said, time, c->at->segment, c->at->offset + line.len + 1};
    c->last = line;
    if (is_place)
        index_add(c->places, c->first_seq, c->at);
    return true;
}

/* All whole lines of the part. false: one is damaged, or the last one that is good has no time. */
static bool take_lines(struct chain *c, struct str part, size_t *ret_used)
{
    bool is_good = true;
    c->last = (struct str){NULL, 0};
    for (*ret_used = 0; is_good && *ret_used < part.len;) {
        const char *from = part.ptr + *ret_used, *newline = memchr(from, '\n', part.len - *ret_used);
        if (newline == NULL)
            break;
        is_good = take(c, (struct str){from, (size_t)(newline - from)});
        *ret_used = (size_t)(newline + 1 - part.ptr);
    }
    return (c->last.ptr == NULL || time_of(c->last, &c->at->time)) && is_good;
}

enum err chain_follow(const struct store_disk *d, int fd, uint64_t first_seq, uint64_t until, struct scan_at *at,
                      struct index *places, struct hash *hash, bool *ret_is_whole, struct errinfo *err)
{
    AUTO(buf) struct buf part = {0};
    struct chain c = {.at = at, .places = places, .first_seq = first_seq};
    uint64_t read_to = at->offset;
    bool is_good = true;
    *ret_is_whole = false;
    while (is_good && read_to < until) {
        size_t want = until - read_to < PART_SIZE ? (size_t)(until - read_to) : PART_SIZE, used = 0;
        buf_reserve(&part, want);
        ssize_t n = disk_pread(d, fd, part.ptr + part.len, want, read_to);
        if (n < 0)
            return err_set_os(err, ERR_IO, errno, "read a log at byte %" PRIu64, read_to);
        if (hash != NULL)
            hash_add(hash, part.ptr + part.len, (size_t)n);
        part.len += (size_t)n;
        read_to += (uint64_t)n;
        is_good = n == (ssize_t)want && take_lines(&c, buf_str(&part), &used) && part.len - used <= ENVELOPE_SIZE_MAX;
        buf_consume(&part, used);
    }
    *ret_is_whole = is_good && at->offset == until;
    return OK;
}

bool chain_is_at(const struct store_disk *d, int fd, uint64_t offset, uint32_t sum)
{
    char tail[TAIL_LEN + 1];
    uint32_t said = 0;
    if (offset == 0)
        return true;
    return offset > TAIL_LEN && disk_pread(d, fd, tail, sizeof(tail), offset - sizeof(tail)) == (ssize_t)sizeof(tail) &&
           tail[TAIL_LEN] == '\n' && sum_of((struct str){tail, TAIL_LEN}, &said) && said == sum;
}
