#pragma once
/* node/runtime/lines.h - bytes that a program wrote, as bounded lines at a bounded rate.
 * Layer: node. Pure: time comes in. */
#include "node/runtime/runtime.h"

#define LINES_STREAMS_N 3

typedef void lines_fn(void *arg, enum runtime_stream stream, struct str text);

struct lines_stream {
    char *part; /* RUNTIME_LINE_MAX bytes, made when first needed; owned */
    size_t part_len;
    uint64_t cut_bytes; /* of this line, beyond RUNTIME_LINE_MAX */
};

/* {0} with fn and arg set is ready for use. */
struct lines {
    lines_fn *fn;
    void *arg;
    struct lines_stream streams[LINES_STREAMS_N];
    bool has_budget; /* the budgets below have been filled */
    int64_t filled_at_us;
    int64_t budget_lines_milli, budget_bytes;
    uint64_t dropped_lines; /* and not yet told */
    int64_t tell_at_us;
};

/* Bytes as they come. now_us never goes back. */
void lines_add(struct lines *l, enum runtime_stream stream, struct str bytes, int64_t now_us);
/* A line of ours about the output, free of charge. */
void lines_note(struct lines *l, enum runtime_stream stream, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* At the end: what has no newline becomes a line, what was dropped is told. */
void lines_end(struct lines *l, int64_t now_us);
void lines_done(struct lines *l);
