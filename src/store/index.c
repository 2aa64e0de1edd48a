#include "store/index.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/own.h"
#include "event/fields.h"
#include "event/hash.h"

/* {"seq":…,"offset":…,"sum":"crc32c:…","time":"…","check":"crc32c:…"}: 20 + 20 + 8 + 55 + 8 digits and 70 around. */
enum { LINE_SIZE_MAX = 256 };

void index_done(struct index *x)
{
    free(x->items);
    *x = (struct index){0};
}

static void add(struct index *x, const struct scan_at *at)
{
    if (x->n == x->size) {
        x->size = x->size == 0 ? 64 : x->size * 2;
        x->items = mem_realloc(x->items, x->size * sizeof(*x->items));
    }
    x->items[x->n++] = *at;
}

static uint64_t next_seq(const struct index *x, uint64_t first_seq)
{
    return x->n > 0 ? x->items[x->n - 1].seq + INDEX_EVERY : (first_seq + INDEX_EVERY - 1) / INDEX_EVERY * INDEX_EVERY;
}

void index_add(struct index *x, uint64_t first_seq, const struct scan_at *at)
{
    if (at->seq == next_seq(x, first_seq))
        add(x, at);
}

const struct scan_at *index_find(const struct index *x, uint64_t after_seq)
{
    size_t from = 0, to = x->n; /* entries before `from` are not behind after_seq, those from `to` on are */
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (x->items[mid].seq <= after_seq)
            from = mid + 1;
        else
            to = mid;
    }
    return from == 0 ? NULL : &x->items[from - 1];
}

void index_name(uint64_t first_seq, char ret_name[static SEGMENT_NAME_SIZE])
{
    (void)snprintf(ret_name, SEGMENT_NAME_SIZE, "%020" PRIu64 ".index", first_seq);
}

/* The check begins with the log's id, so that the index of another log is none. */
static size_t entry_encode(struct id log, const struct scan_at *at, char ret[static LINE_SIZE_MAX])
{
    char time[EVENT_TIME_TEXT_SIZE];
    event_time_format(at->time, time);
    int n = snprintf(ret, LINE_SIZE_MAX,
                     "{\"seq\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"sum\":\"crc32c:%08" PRIx32 "\",\"time\":\"%s\"",
                     at->seq, at->offset, at->sum, time);
    uint32_t check = crc32c(crc32c(0, log.bytes, sizeof(log.bytes)), ret, (size_t)n);
    int m = snprintf(ret + n, LINE_SIZE_MAX - (size_t)n, ",\"check\":\"crc32c:%08" PRIx32 "\"}\n", check);
    assert(n > 0 && m > 0 && n + m < LINE_SIZE_MAX);
    return (size_t)n + (size_t)m;
}

struct entry_text {
    int64_t seq, offset;
    struct str sum;
    struct event_time time;
};
static const struct field ENTRY_TEXT_FIELDS[] = {
    FIELD_REQ(I64, entry_text, seq, "seq", "of the record before the place"),
    FIELD_REQ(I64, entry_text, offset, "offset", "bytes from the segment's start"),
    FIELD_REQ(STR, entry_text, sum, "sum", "of that record"),
    FIELD_REQ(TIME, entry_text, time, "time", "of that record"),
};
static const struct field_table ENTRY_TEXT_TABLE = FIELD_TABLE(entry_text, ENTRY_TEXT_FIELDS);

/* Only what entry_encode would write is good. */
static bool entry_decode(struct id log, struct str line, size_t segment, struct scan_at *ret)
{
    AUTO(arena) struct arena arena = {0};
    struct entry_text t;
    uint32_t sum = 0;
    if (line.len >= LINE_SIZE_MAX || fields_parse(&ENTRY_TEXT_TABLE, line, &arena, &t, NULL) != OK ||
        !crc32c_parse(t.sum, &sum) || t.seq < 0 || t.offset < 0)
        return false;
    *ret = (struct scan_at){
        .seq = (uint64_t)t.seq, .offset = (uint64_t)t.offset, .segment = segment, .time = t.time, .sum = sum};
    char again[LINE_SIZE_MAX];
    size_t n = entry_encode(log, ret, again);
    return n == line.len + 1 && memcmp(again, line.ptr, line.len) == 0;
}

static bool decode_all(struct id log, struct str text, uint64_t first_seq, size_t segment, struct index *ret)
{
    struct str rest = text, line;
    if (text.len > 0 && text.ptr[text.len - 1] != '\n')
        return false;
    while (rest.len > 0 && str_next(&rest, '\n', &line)) {
        struct scan_at at;
        if (!entry_decode(log, line, segment, &at) || at.seq != next_seq(ret, first_seq))
            return false;
        add(ret, &at);
    }
    return true;
}

enum err index_load(const struct store_disk *d, int dir_fd, struct id log, uint64_t first_seq, size_t segment,
                    struct index *ret, struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    char name[SEGMENT_NAME_SIZE];
    index_name(first_seq, name);
    *ret = (struct index){0};
    enum err rc = disk_read_file(d, dir_fd, name, INDEX_SIZE_MAX, &text, err);
    if (rc != OK)
        return rc == ERR_LIMIT ? ERR_CORRUPT : rc;
    if (decode_all(log, buf_str(&text), first_seq, segment, ret)) {
        ret->saved_n = ret->n;
        return OK;
    }
    index_done(ret);
    return err_set(err, ERR_CORRUPT, "'%s' is not as it was written", name);
}

enum err index_save(const struct store_disk *d, int dir_fd, struct id log, uint64_t first_seq, struct index *x,
                    struct errinfo *err)
{
    AUTO(buf) struct buf text = {0};
    char name[SEGMENT_NAME_SIZE];
    index_name(first_seq, name);
    for (size_t i = 0; i < x->n; i++) {
        char line[LINE_SIZE_MAX];
        buf_add(&text, line, entry_encode(log, &x->items[i], line));
    }
    enum err rc = disk_replace(d, dir_fd, name, buf_str(&text), false, err);
    if (rc == OK)
        x->saved_n = x->n;
    return rc;
}
