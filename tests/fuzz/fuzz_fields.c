/* A payload: the first byte names a kind of event (from 'A'), the rest is its payload. The quick reader and jansson's
 * tree agree. */
#include <assert.h>

#include "base/own.h"
#include "event/catalogue.h"
#include "event/fields_read.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct field_table *t =
        event_kind_row((enum event_kind)((data[0] + 256u - 'A') % 256u % EVENT_KIND_MAX_))->fields;
    struct str text = {(const char *)data + 1, size - 1};
    AUTO(arena) struct arena a = {0};
    void *quick = arena_alloc(&a, t->size), *slow = arena_alloc(&a, t->size);
    struct errinfo quick_err = {0}, slow_err = {0};
    enum err quick_rc = fields_parse(t, text, &a, quick, &quick_err);
    enum err slow_rc = fields_parse_tree(t, text, &a, slow, &slow_err);
    assert(quick_rc == slow_rc && strcmp(quick_err.msg, slow_err.msg) == 0);
    if (slow_rc != OK)
        return 0;
    AUTO(buf) struct buf by_quick = {0}, by_slow = {0};
    fields_encode(t, quick, &by_quick);
    fields_encode(t, slow, &by_slow);
    assert(str_eq(buf_str(&by_quick), buf_str(&by_slow)));
    return 0;
}
