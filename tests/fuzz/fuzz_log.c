/* The files of an event log. First byte 'a': one JSONL file of others; else a files store: that byte says how much of
 * the segment its head names. Verifying and reading agree, and say where the damage is. */
#include <stdio.h>

#include "event/hash.h"
#include "fuzz.h"
#include "store/head.h"
#include "store/scan.h"
#include "store/store.h"

static uint64_t read_all(const char *spec, enum err *ret_rc)
{
    struct store *s;
    uint64_t n = 0;
    struct store_options options = {.mode = STORE_READ};
    *ret_rc = store_open(spec, &options, &s, NULL, NULL);
    if (*ret_rc != OK)
        return 0;
    for (;;) {
        AUTO(store_batch) struct store_batch b = {0};
        *ret_rc = store_read(s, n, 2, 0, &b, NULL);
        if (*ret_rc != OK || b.n == 0)
            break;
        n += b.n;
    }
    store_close(s);
    return n;
}

static void verify(const char *path, const char *spec)
{
    struct store_verdict v;
    struct errinfo err;
    enum err rc = store_verify(path, &v, &err), read_rc;
    if (rc != OK)
        return;
    uint64_t n = read_all(spec, &read_rc);
    if (v.ok)
        assert(read_rc == OK && n == v.events);
    else
        assert(v.first_bad.cause[0] != '\0');
}

/* A head that goes with the bytes: so that records behind a good one are looked at, too. */
static void write_head(const char *folder, struct str segment, uint64_t length)
{
    struct head h = {.log = {{1}}, .boot = {{2}}, .generation = 2, .segment = 1, .length = length};
    struct str rest = str_slice(segment, 0, length), line;
    char slots[HEAD_SIZE];
    h.time = EVENT_TIME_MIN;
    while (str_next(&rest, '\n', &line)) {
        struct envelope e;
        if (envelope_decode(line, h.sum, &e, NULL) != OK)
            break;
        h.seq++;
        h.sum = e.sum;
        h.time = e.time;
    }
    head_encode(&h, slots);
    h.generation = 1;
    head_encode(&h, slots + HEAD_SLOT_SIZE);
    fuzz_write(folder, "head", (struct str){slots, HEAD_SIZE});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str bytes = {(const char *)data + 1, size - 1};
    const char *folder = fuzz_folder();
    char path[128], spec[160], name[SEGMENT_NAME_SIZE];
    segment_name(1, name);
    (void)snprintf(path, sizeof(path), "%s%s%s", folder, data[0] == 'a' ? "/" : "", data[0] == 'a' ? name : "");
    (void)snprintf(spec, sizeof(spec), "%s;path=%s", data[0] == 'a' ? "jsonl" : "files", path);
    fuzz_write(folder, name, bytes);
    if (data[0] != 'a')
        write_head(folder, bytes, data[0] == 'f' ? bytes.len : bytes.len * data[0] / 256);
    verify(path, spec);
    return 0;
}
