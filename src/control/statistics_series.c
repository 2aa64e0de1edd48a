#include "control/statistics_series.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/own.h"
#include "event/fields.h"

/* Of one read (chosen: some thousand records). */
#define READ_SIZE ((size_t)1024 * 1024)

struct record {
    int64_t seq;
    struct event_time time;
    struct str type;
    struct id id;
    struct str payload;
};
static const struct field RECORD_FIELDS[] = {
    FIELD_REQ(I64, record, seq, "seq", "place in the log, from 1"),
    FIELD_REQ(TIME, record, time, "time", "when it was recorded"),
    FIELD_REQ(STR, record, type, "type", "name of its type"),
    FIELD_REQ(ID, record, id, "id", "event"),
    FIELD_REQ(JSON, record, payload, "payload", "a JSON object"),
};
static const struct field_table RECORD_WIRE = FIELD_TABLE(record, RECORD_FIELDS);

/* ---- appending ---- */

struct append {
    struct arena arena; /* of the records' texts */
    struct store_record *records;
    size_t n;
    uint64_t *ret_end;
    log_append_fn done;
    void *ctx;
};

static void append_free(struct append *a)
{
    arena_done(&a->arena);
    free(a);
}

static void appended(void *ctx, enum err rc, int64_t seq, const struct errinfo *err)
{
    struct append *a = ctx;
    if (rc == OK || rc == ERR_CONFLICT)
        *a->ret_end = (uint64_t)seq;
    a->done(a->ctx, rc, ID_NONE, a->records, a->n, err);
    append_free(a);
}

enum err statistics_series_append(struct bulk_queue *q, uint64_t expect, const struct store_event *events, size_t n,
                                  uint64_t size_max, uint64_t *ret_end, log_append_fn done, void *ctx,
                                  struct errinfo *err)
{
    struct append *a = mem_alloc(sizeof(*a));
    AUTO(buf) struct buf lines = {0};
    int64_t now_ns = clock_wall_us() * 1000;
    *a = (struct append){.n = n, .ret_end = ret_end, .done = done, .ctx = ctx};
    a->records = arena_alloc(&a->arena, n * sizeof(*a->records));
    for (size_t i = 0; i < n; i++) {
        struct store_record *r = &a->records[i];
        *r = (struct store_record){.seq = expect + i + 1,
                                   .e = {.time = {now_ns, (int64_t)i},
                                         .type = arena_str(&a->arena, events[i].type),
                                         .id = events[i].id,
                                         .payload = arena_str(&a->arena, events[i].payload)}};
        const struct record line = {(int64_t)r->seq, r->e.time, r->e.type, r->e.id, r->e.payload};
        fields_encode(&RECORD_WIRE, &line, &lines);
        buf_add_char(&lines, '\n');
    }
    enum err rc = bulk_queue_append(q, STATISTICS_SERIES, buf_str(&lines), (int64_t)expect, size_max, appended, a, err);
    if (rc != OK)
        append_free(a);
    return rc;
}

/* ---- reading ---- */

struct reading {
    uint64_t after;
    size_t n;
    log_read_fn done;
    void *ctx;
};

/* Lines to records, at most as many as were asked for; ret->end: the last number that was met. */
static void take_lines(struct str lines, size_t max, struct arena *a, struct store_batch *ret)
{
    struct str rest = lines, line;
    size_t room = 0;
    ret->items = NULL;
    while (rest.len > 0 && str_next(&rest, '\n', &line)) {
        struct record found;
        if (fields_parse(&RECORD_WIRE, line, a, &found, NULL) != OK)
            continue; /* of a newer program */
        ret->end.seq = (uint64_t)found.seq;
        if (ret->n == max)
            continue;
        if (ret->n == room) {
            room = room == 0 ? 64 : room * 2;
            ret->items = mem_realloc(ret->items, room * sizeof(*ret->items));
        }
        ret->items[ret->n++] = (struct store_record){
            .seq = (uint64_t)found.seq,
            .e = {.time = found.time, .type = found.type, .id = found.id, .payload = found.payload}};
    }
}

static void was_read(void *ctx, enum err rc, const struct bulk_cursor *at, struct str lines, const struct errinfo *err)
{
    struct reading *r = ctx;
    AUTO(arena) struct arena a = {0};
    struct store_batch found = {.after = {.seq = r->after}, .end = {.seq = r->after}};
    (void)at;
    if (rc == OK)
        take_lines(lines, r->n, &a, &found);
    if (lines.len >= READ_SIZE / 2) /* it was cut: there may be more than was met */
        found.end.seq++;
    r->done(r->ctx, rc, &found, err);
    free(found.items);
    free(r);
}

void statistics_series_read(struct bulk_queue *q, uint64_t after_seq, size_t n, size_t tail_size, log_read_fn done,
                            void *ctx)
{
    struct reading *r = mem_alloc(sizeof(*r));
    *r = (struct reading){after_seq, n, done, ctx};
    struct bulk_cursor from = {.series = STATISTICS_SERIES, .after = (int64_t)after_seq};
    bulk_queue_read(q, &from, tail_size, READ_SIZE, was_read, r);
}
