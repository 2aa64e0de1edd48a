/* The log of a story as a file that `slipform eventlog` and bench-replay read: sim --record FOLDER. */
#include <errno.h>
#include <stdio.h>

#include "base/own.h"
#include "event/envelope.h"
#include "sim.h"

void record(const struct world *w, const char *folder)
{
    auto_free char *path = mem_printf("%s/%" PRIu64 ".jsonl", folder, w->seed);
    AUTO(buf) struct buf lines = {0}, payload = {0};
    uint32_t sum = 0;
    for (size_t i = 0; i < w->log_n; i++) {
        const struct event *ev = &w->log[i];
        buf_clear(&payload);
        event_encode_payload(ev, &payload);
        sum = envelope_encode(&(struct envelope){.time = ev->time,
                                                 .type = str_from(event_kind_row(ev->kind)->name),
                                                 .id = ev->id,
                                                 .payload = buf_str(&payload)},
                              sum, &lines);
    }
    FILE *f = fopen(path, "we");
    if (f == NULL || fwrite(lines.ptr, 1, lines.len, f) != lines.len || fclose(f) != 0) {
        (void)fprintf(stderr, "sim: write '%s': %s\n", path, strerror(errno));
        exit(1);
    }
}
