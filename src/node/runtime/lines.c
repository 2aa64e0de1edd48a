#include "node/runtime/lines.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

/* A flood is told of once in this time. */
#define TELL_US 1000000

static void fill(struct lines *l, int64_t now_us)
{
    if (!l->has_budget) {
        l->has_budget = true;
        l->filled_at_us = now_us;
        l->budget_lines_milli = RUNTIME_LINES_BURST * 1000;
        l->budget_bytes = RUNTIME_LINE_BYTES_BURST;
    }
    int64_t ms = (now_us - l->filled_at_us) / 1000;
    if (ms <= 0)
        return;
    l->filled_at_us += ms * 1000;
    if (ms > 60000)
        ms = 60000; /* both budgets are full after that long */
    l->budget_lines_milli += ms * RUNTIME_LINES_PER_S;
    if (l->budget_lines_milli > RUNTIME_LINES_BURST * 1000)
        l->budget_lines_milli = RUNTIME_LINES_BURST * 1000;
    l->budget_bytes += ms * RUNTIME_LINE_BYTES_PER_S / 1000;
    if (l->budget_bytes > RUNTIME_LINE_BYTES_BURST)
        l->budget_bytes = RUNTIME_LINE_BYTES_BURST;
}

static void tell_dropped(struct lines *l, int64_t now_us)
{
    if (l->dropped_lines == 0)
        return;
    lines_note(l, RUNTIME_STDERR, "slipform: dropped %llu lines: more than %d lines or %d KiB a second",
               (unsigned long long)l->dropped_lines, RUNTIME_LINES_PER_S, RUNTIME_LINE_BYTES_PER_S / 1024);
    l->dropped_lines = 0;
    l->tell_at_us = now_us + TELL_US;
}

static void emit(struct lines *l, enum runtime_stream stream, struct str text, uint64_t cut_bytes, int64_t now_us)
{
    fill(l, now_us);
    if (l->budget_lines_milli < 1000 || l->budget_bytes < (int64_t)text.len) {
        if (l->dropped_lines == 0)
            l->tell_at_us = now_us + TELL_US;
        l->dropped_lines++;
    } else {
        l->budget_lines_milli -= 1000;
        l->budget_bytes -= (int64_t)text.len;
        l->fn(l->arg, stream, text);
        if (cut_bytes > 0)
            lines_note(l, stream, "slipform: the line above goes on for %llu bytes", (unsigned long long)cut_bytes);
    }
    if (l->dropped_lines > 0 && now_us >= l->tell_at_us)
        tell_dropped(l, now_us);
}

static void keep_part(struct lines_stream *s, struct str part)
{
    if (s->part == NULL)
        s->part = mem_alloc(RUNTIME_LINE_MAX);
    size_t space = RUNTIME_LINE_MAX - s->part_len, take = part.len < space ? part.len : space;
    if (take > 0)
        for (size_t i = 0; i < take; i++)
            s->part[s->part_len + i] = (char)(part.ptr[i] == '\0' ? '?' : part.ptr[i]); /* JSON documents refuse NUL */
    s->part_len += take;
    s->cut_bytes += part.len - take;
}

static void end_line(struct lines *l, enum runtime_stream stream, int64_t now_us)
{
    struct lines_stream *s = &l->streams[stream];
    struct str text = {s->part == NULL ? "" : s->part, s->part_len};
    if (text.len > 0 && s->cut_bytes == 0 && text.ptr[text.len - 1] == '\r')
        text.len--;
    uint64_t cut_bytes = s->cut_bytes;
    s->part_len = 0;
    s->cut_bytes = 0;
    emit(l, stream, text, cut_bytes, now_us);
}

void lines_add(struct lines *l, enum runtime_stream stream, struct str bytes, int64_t now_us)
{
    while (bytes.len > 0) {
        size_t end = str_find(bytes, '\n');
        keep_part(&l->streams[stream], str_slice(bytes, 0, end));
        if (end == bytes.len)
            return;
        end_line(l, stream, now_us);
        bytes = str_slice(bytes, end + 1, bytes.len);
    }
}

void lines_note(struct lines *l, enum runtime_stream stream, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    l->fn(l->arg, stream, str_from(text));
}

void lines_end(struct lines *l, int64_t now_us)
{
    for (int stream = 0; stream < LINES_STREAMS_N; stream++)
        if (l->streams[stream].part_len > 0)
            end_line(l, (enum runtime_stream)stream, now_us);
    tell_dropped(l, now_us);
}

void lines_done(struct lines *l)
{
    for (int stream = 0; stream < LINES_STREAMS_N; stream++)
        free(l->streams[stream].part);
    *l = (struct lines){0};
}
