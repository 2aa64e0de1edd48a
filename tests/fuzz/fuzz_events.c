/* Each line is a kind of event (its first byte) and a payload. Written again it reads the same. */
#include "event/catalogue.h"
#include "fuzz.h"

static void event(enum event_kind kind, struct str payload)
{
    AUTO(arena) struct arena a = {0};
    AUTO(buf) struct buf text = {0}, again = {0};
    struct event e, back;
    const struct event_kind_row *row = event_kind_row(kind);
    struct envelope line = {.type = {row->name, row->name_len}, .payload = payload};
    if (event_decode(&line, &a, &e, NULL) != OK)
        return;
    event_encode_payload(&e, &text);
    line.payload = buf_str(&text);
    assert(event_decode(&line, &a, &back, NULL) == OK);
    event_encode_payload(&back, &again);
    assert(str_eq(buf_str(&text), buf_str(&again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size}, line, payload;
    size_t kind;
    while (str_next(&text, '\n', &line))
        if (fuzz_choose((const uint8_t *)line.ptr, line.len, EVENT_KIND_MAX_, &kind, &payload))
            event((enum event_kind)kind, payload);
    return 0;
}
