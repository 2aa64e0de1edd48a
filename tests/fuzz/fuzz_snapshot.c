/* A snapshot with changes: the input is a list of changes to a good one, so that it stays near the format whatever that
 * is today. What is taken encodes to the same bytes and can be folded on. */
#include <assert.h>

#include "../unit/random_events.h"
#include "fuzz.h"
#include "platform/snapshot.h"

/* Each change: what (1 byte), where (2 bytes), a byte. */
static void change(struct buf *b, const uint8_t step[static 4])
{
    size_t at = b->len == 0 ? 0 : ((size_t)step[1] << 8 | step[2]) % b->len;
    AUTO(buf) struct buf out = {0};
    buf_add(&out, b->ptr, at);
    switch (step[0] % 4) {
    case 0: /* another byte */
        buf_add(&out, &step[3], 1);
        buf_add(&out, b->ptr + at + 1, b->len - at - (b->len > 0));
        break;
    case 1: /* some are gone */ {
        size_t n = step[3] % 16u < b->len - at ? step[3] % 16u : b->len - at;
        buf_add(&out, b->ptr + at + n, b->len - at - n);
        break;
    }
    case 2: /* one more */
        buf_add(&out, &step[3], 1);
        buf_add(&out, b->ptr + at, b->len - at);
        break;
    default: /* the end is gone */ break;
    }
    buf_clear(b);
    buf_add(b, out.ptr, out.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct random_events r = random_events(data[0] % 4);
    struct model *m = model_new();
    random_fold(&r, m, 10u << data[0] % 4);
    AUTO(buf) struct buf bytes = {0}, again = {0};
    snapshot_encode(m, &bytes);
    model_free(m);
    for (size_t i = 1; i + 4 <= size && bytes.len > 0; i += 4)
        change(&bytes, data + i);
    struct errinfo err;
    uint8_t *exact = mem_alloc(bytes.len + 1); /* no byte more, so that a sanitizer sees one read too far */
    uint8_t *start = exact + 1;
    memcpy(start, bytes.ptr, bytes.len);
    if (snapshot_decode((struct str){(const char *)start, bytes.len}, &m, &err) == OK) {
        snapshot_encode(m, &again);
        assert(again.len == bytes.len && memcmp(again.ptr, start, again.len) == 0);
        random_fold(&r, m, 20);
        model_free(m);
    }
    free(exact);
    return 0;
}
