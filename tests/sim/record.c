/* The log of a story as a file that `slipform eventlog` and bench-replay read: sim --record FOLDER. */
#include <errno.h>
#include <stdio.h>

#include "sim.h"

void record(struct world *w, const char *folder)
{
    auto_free char *path = mem_printf("%s/%" PRIu64 ".jsonl", folder, w->story->seed);
    FILE *f = fopen(path, "we");
    if (f == NULL || fwrite(w->store.bytes.ptr, 1, w->store.durable_size, f) != w->store.durable_size || fclose(f) != 0)
        broken(w, RULE_sound, "write '%s': %s", path, strerror(errno));
}
